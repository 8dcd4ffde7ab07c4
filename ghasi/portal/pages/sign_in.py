"""The sign-in page: two forms, one to sign in and one to create an account, and what becomes of them."""

import asyncio
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ghasi.client.errors import ApiError, ApiUnreachableError
from ghasi.portal import identity_provider
from ghasi.portal.failures import explain
from ghasi.portal.identity_provider import IdentityError
from ghasi.portal.rendering import page
from ghasi.portal.sessions import Portal, client_for, end, find_claims, keep

MAX_FORM_BYTES = 16 * 1024
FORM_S = 60.0
ALMOST = "Your account is created. Sign in to open it."


async def show_sign_in(request: Request) -> Response:
    """Show both forms, or lead on who is signed in."""
    return RedirectResponse("/", 303) if find_claims(request) is not None else _form("sign-in", {})


async def sign_in(request: Request) -> Response:
    """Sign in at the identity provider and then at the API."""
    portal: Portal = request.app.state.portal
    form = await _read_form(request)
    try:
        id_token = await identity_provider.sign_in(
            portal.http, portal.settings, form.get("email", "").strip(), form.get("password", "")
        )
    except IdentityError as error:
        return _form("sign-in", form, error)
    return await _open(request, form, id_token)


async def sign_up(request: Request) -> Response:
    """Create a user at the identity provider; the API makes the account on the first sign-in."""
    portal: Portal = request.app.state.portal
    form = await _read_form(request)
    try:
        id_token = await identity_provider.sign_up(
            portal.http,
            portal.settings,
            form.get("name", "").strip(),
            form.get("email", "").strip(),
            form.get("password", ""),
        )
    except IdentityError as error:
        return _form("sign-up", form, error)
    return await _open(request, form, id_token, notice=ALMOST)


async def sign_out(request: Request) -> Response:
    """End the session."""
    await end(request)
    return RedirectResponse("/sign-in", 303)


async def lead_home(_: Request) -> Response:
    """Lead on from an address that takes forms alone: a browser asks for it when its address bar is used."""
    return RedirectResponse("/", 303)


async def _open(request: Request, form: dict[str, str], id_token: str, notice: str | None = None) -> Response:
    api = client_for(request)
    try:
        await api.sign_in_with_firebase(id_token)
        keep(request, api)
    except (ApiError, ApiUnreachableError) as error:
        status, text = explain(error)
        # a user that was just created exists now: what remains to do is signing in
        return _form("sign-in", form, IdentityError(status, "", text), notice)
    return RedirectResponse("/", 303)


def _form(name: str, values: dict[str, str], error: IdentityError | None = None, notice: str | None = None) -> Response:
    """Render the page: `name` is the form that was sent, its input is kept save the password."""
    kept = {key: values.get(key, "") for key in ("name", "email")}
    status = 200 if error is None else error.status
    return page("sign_in.html", status, form=name, values=kept, error=error, notice=notice)


async def _read_form(request: Request) -> dict[str, str]:
    """Read a form as browsers send it; raises HTTPException 413 or 408 when it is larger or slower than ours can be."""
    body = bytearray()
    try:
        async with asyncio.timeout(FORM_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_FORM_BYTES:
                    raise HTTPException(413)
    except TimeoutError:
        # RFC 9110, section 15.5.9: nothing waits for the rest
        raise HTTPException(408, headers={"connection": "close"}) from None
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
