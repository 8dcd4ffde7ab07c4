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
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from ghasi.client.api import open_session
from ghasi.client.errors import ApiError, ApiUnreachableError
from ghasi.portal import failures
from ghasi.portal.pages import (
    api_keys,
    balance,
    billing,
    billing_profile,
    credit_notes,
    dashboard,
    deliveries,
    invoice,
    message_detail,
    messages,
    opt_outs,
    people,
    preferences,
    rates,
    reference,
    replays,
    send,
    senders,
    sign_in,
    usage,
    webhooks,
)
from ghasi.portal.pages import (
    settings as settings_pages,
)
from ghasi.portal.protection import Protection, protect
from ghasi.portal.rendering import AssetsMissingError, assets, serve_asset
from ghasi.portal.sessions import Portal, SignedOutError
from ghasi.settings import Settings

__all__ = ["AssetsMissingError", "portal_app"]


def portal_app(settings: Settings) -> Starlette:
    """Make the app; its lifespan opens the connections and must be run.

    Raises AssetsMissingError when the scripts and styles are not built.
    """
    assets()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with open_session() as http:
            app.state.portal = portal = Portal.open(settings, http)
            yield
            await asyncio.gather(*portal.renewals.values(), return_exceptions=True)
            await portal.signatures.close()

    app = Starlette(
        routes=[
            *dashboard.ROUTES,
            *billing.ROUTES,
            *usage.ROUTES,
            *balance.ROUTES,
            *rates.ROUTES,
            *credit_notes.ROUTES,
            *invoice.ROUTES,
            *messages.ROUTES,
            *send.ROUTES,
            *message_detail.ROUTES,  # last: it takes any name for an id
            *opt_outs.ROUTES,
            *senders.ROUTES,  # after those: it takes any name for an id
            *reference.ROUTES,
            *settings_pages.ROUTES,
            *preferences.ROUTES,
            *billing_profile.ROUTES,
            *people.ROUTES,
            *api_keys.ROUTES,
            *webhooks.ROUTES,
            *deliveries.ROUTES,
            *replays.ROUTES,
            *sign_in.ROUTES,
            Route("/assets/{name}", serve_asset),
            Route("/favicon.ico", _show_mark),  # asked for beside what has no link to it, such as a PDF
            Route("/healthz", _health),
        ],
        middleware=[Middleware(Protection, portal_url=settings.public_portal_url)],
        exception_handlers={
            SignedOutError: failures.answer_signed_out,
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


async def _show_mark(_: Request) -> Response:
    return RedirectResponse(assets().path("mark.svg"))


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _fault(request: Request, error: Exception) -> Response:
    return protect(await failures.answer_fault(request, error))
