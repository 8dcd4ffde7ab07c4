"""Lets signed-in customers in to the pages that are theirs, and nobody else.

Owns the one role that counts here. What a person may do in their account is decided by the API.
"""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from ghasi.portal.rendering import page
from ghasi.portal.sessions import ROLE, Visit, get_visit

Page = Callable[[Request, Visit], Awaitable[Response]]


def signed_in(handler: Page) -> Callable[[Request], Awaitable[Response]]:
    """Wrap a page's handler: it gets the visit of a customer.

    Without a session SignedOutError leads to the sign-in page; without the role of the contract's section 3 a page
    says so. It calls the API only when the session has to be renewed.
    """

    async def open_visit(request: Request) -> Response:
        visit = await get_visit(request)
        if ROLE not in visit.claims.roles:
            return page("no_access.html", 403, visit=visit)
        return await handler(request, visit)

    return open_visit
