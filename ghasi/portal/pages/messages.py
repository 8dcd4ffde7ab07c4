"""The page of a signed-in visitor: the account's last messages."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ghasi.portal.rendering import page
from ghasi.portal.sessions import ROLE, Portal, get_visit

SHOWN = 25


async def show_messages(request: Request) -> Response:
    """Show the newest messages; without the role that the contract asks for, say so."""
    portal: Portal = request.app.state.portal
    visit = await get_visit(request)
    if ROLE not in visit.claims.roles:
        return page("no_access.html", 403, claims=visit.claims)
    listed = await visit.ask(lambda api: api.list_messages(limit=SHOWN))
    return page(
        "messages.html", claims=visit.claims, messages=listed.data, has_more=listed.next_cursor is not None,
        api_url=portal.settings.public_api_url,
    )  # fmt: skip


async def send_to_sign_in(_: Request, error: Exception) -> Response:
    """Lead a visitor without a session to the sign-in page."""
    del error
    return RedirectResponse("/sign-in", 303)
