"""The customer's portal: pages over the public API, of which it is an ordinary client.

Owns its paths and what is around every page. It has no database and no state; all it knows comes from the API, with
the visitor's own token.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ghasi.client.api import open_session
from ghasi.client.errors import ApiError, ApiUnreachableError
from ghasi.portal import failures
from ghasi.portal.pages import messages, sign_in
from ghasi.portal.protection import Protection, protect
from ghasi.portal.rendering import ASSETS
from ghasi.portal.sessions import Portal, SignedOutError
from ghasi.settings import Settings


def portal_app(settings: Settings) -> Starlette:
    """Make the app; its lifespan opens the connections and must be run."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with open_session() as http:
            app.state.portal = portal = Portal.open(settings, http)
            yield
            await asyncio.gather(*portal.renewals.values(), return_exceptions=True)

    app = Starlette(
        routes=[
            Route("/", messages.show_messages),
            Route("/sign-in", sign_in.show_sign_in),
            Route("/sign-in", sign_in.sign_in, methods=["POST"]),
            Route("/sign-up", sign_in.lead_home),
            Route("/sign-up", sign_in.sign_up, methods=["POST"]),
            Route("/sign-out", sign_in.lead_home),
            Route("/sign-out", sign_in.sign_out, methods=["POST"]),
            Route("/assets/{name}", ASSETS.serve),
            Route("/healthz", _health),
        ],
        middleware=[Middleware(Protection, portal_url=settings.public_portal_url)],
        exception_handlers={
            SignedOutError: messages.send_to_sign_in,
            ApiError: failures.answer_api_failure,
            ApiUnreachableError: failures.answer_api_failure,
            HTTPException: failures.answer_http_error,
            ClientDisconnect: failures.answer_disconnect,
            Exception: _fault,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # it would lead to whatever host the request names
    return app


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _fault(request: Request, error: Exception) -> Response:
    return protect(await failures.answer_fault(request, error))
