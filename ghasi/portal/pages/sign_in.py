"""The pages before signing in: sign in, create an account, set a new password, take up an invitation.

The browser signs in at the identity provider by itself (assets/sign_in.js): no password comes here. What comes is an ID
token, in the body of POST /sign-in, which the API exchanges for a session. It is kept nowhere and shown nowhere.
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Meta
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from ghasi.client.errors import ApiError, ApiUnreachableError
from ghasi.portal.failures import explain
from ghasi.portal.forms import read_body
from ghasi.portal.protection import allow, allow_popups, local_path
from ghasi.portal.rendering import page
from ghasi.portal.sessions import Portal, client_for, end, find_claims, keep
from ghasi.settings import Settings

MAX_BODY_BYTES = 24 * 1024
"""More than the longest ID token, invitation and path."""
EMULATOR_PATH = "/identitytoolkit.googleapis.com"
FIREBASE = ("https://identitytoolkit.googleapis.com", "https://securetoken.googleapis.com")
GOOGLE = "https://apis.google.com"
NOT_ACCEPTED = "Ghasi did not accept this sign-in. Please try again."
REFUSALS = {
    "invalid_invitation": "This invitation is for another email, or it has ended or been used. Ask for a new one.",
    "already_in_account": "You are in another account already, so you can't take up this invitation.",
}
"""What the API's codes mean here."""


class SignIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /sign-in; `next` is where the visitor was going."""

    id_token: Annotated[str, Meta(min_length=1, max_length=16384)]
    invitation: Annotated[str, Meta(min_length=1, max_length=100)] | None = None
    next: Annotated[str, Meta(max_length=4096)] | None = None


@dataclass(frozen=True, slots=True)
class IdentityProvider:
    """Where the browser signs in: `emulator` is an origin that speaks as Google's emulator, None is Firebase itself."""

    api_key: str
    project_id: str
    auth_domain: str
    emulator: str | None
    has_google: bool

    @classmethod
    def of(cls, settings: Settings) -> "IdentityProvider":
        """Read the settings: an emulator is known by the path that it has and Firebase has not."""
        url = urlsplit(settings.firebase_auth_url)
        emulator = f"{url.scheme}://{url.netloc}" if url.path == EMULATOR_PATH else None
        project_id = settings.firebase_project_id or ""
        return cls(
            # an emulator takes any key
            settings.firebase_api_key or ("local" if emulator else ""),
            project_id,
            settings.firebase_auth_domain or f"{project_id}.firebaseapp.com",
            emulator,
            settings.firebase_google and emulator is None,
        )

    def as_json(self) -> dict[str, str | None]:
        """Write what the page's script reads."""
        return {
            "apiKey": self.api_key,
            "projectId": self.project_id,
            "authDomain": self.auth_domain,
            "emulator": self.emulator,
        }


async def show_sign_in(request: Request) -> Response:
    """Show the form, or lead on who is signed in."""
    return _lead_on(request) or _door(request, "sign_in/sign_in.html", notice=request.query_params.get("notice"))


async def show_sign_up(request: Request) -> Response:
    """Show the form to create an account, or lead on who is signed in."""
    return _lead_on(request) or _door(request, "sign_in/sign_up.html")


async def show_reset_password(request: Request) -> Response:
    """Ask for the address or, by a link from a mail, for the new password; the script alone reads the code."""
    mode = request.query_params.get("mode") or ("resetPassword" if "oobCode" in request.query_params else None)
    if mode not in {None, "resetPassword", "verifyEmail"}:
        raise HTTPException(404)
    return _door(request, "sign_in/reset_password.html", mode=mode)


async def show_invitation(request: Request) -> Response:
    """Greet who was invited; the invitation is in the address's fragment, which only the script sees."""
    claims = find_claims(request)
    return _door(request, "sign_in/join.html", signed_in_as=claims.email if claims else None)


async def sign_in(request: Request) -> Response:
    """Exchange an ID token for a session, and say where to go; what is refused is JSON {code, message}."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return _needs_script(request)
    try:
        wanted = msgspec.json.decode(await read_body(request, MAX_BODY_BYTES), type=SignIn)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _json({"code": "invalid_request", "message": NOT_ACCEPTED}, HTTPStatus.UNPROCESSABLE_ENTITY)
    api = client_for(request)
    try:
        await api.sign_in_with_firebase(wanted.id_token, wanted.invitation)
        keep(request, api)
    except (ApiError, ApiUnreachableError) as error:
        return _refusal(error)
    return _json({"next": local_path(wanted.next)})


async def refuse_form(request: Request) -> Response:
    """Answer a form that came without the page's script; what it holds is not read."""
    return _needs_script(request)


async def sign_out(request: Request) -> Response:
    """End the session."""
    await end(request)
    return RedirectResponse("/sign-in", 303)


async def lead_home(_: Request) -> Response:
    """Lead on from an address that takes forms alone: a browser asks for it when its address bar is used."""
    return RedirectResponse("/", 303)


ROUTES = [
    Route("/sign-in", show_sign_in),
    Route("/sign-in", sign_in, methods=["POST"]),
    Route("/sign-up", show_sign_up),
    Route("/sign-up", refuse_form, methods=["POST"]),
    Route("/reset-password", show_reset_password),
    Route("/reset-password", refuse_form, methods=["POST"]),
    Route("/join", show_invitation),
    Route("/sign-out", lead_home),
    Route("/sign-out", sign_out, methods=["POST"]),
]


def _lead_on(request: Request) -> Response | None:
    if find_claims(request) is None:
        return None
    return RedirectResponse(local_path(request.query_params.get("next")), 303)


def _door(request: Request, template: str, status: int = 200, **context: Any) -> Response:
    """Answer with a page whose script may reach the identity provider."""
    portal: Portal = request.app.state.portal
    provider = IdentityProvider.of(portal.settings)
    allow(request, "connect-src", *((provider.emulator,) if provider.emulator else FIREBASE))
    if provider.has_google:
        allow(request, "script-src", GOOGLE)
        allow(request, "frame-src", f"https://{provider.auth_domain}")
        allow_popups(request)
    path = local_path(request.query_params.get("next"))
    return page(
        template, status, request=request, provider=provider,
        query="" if path == "/" else f"?next={quote(path, safe='')}", **context,
    )  # fmt: skip


def _needs_script(request: Request) -> Response:
    text = "Signing in needs JavaScript. Nothing was done with what you sent."
    return page(
        "failure.html", HTTPStatus.UNSUPPORTED_MEDIA_TYPE, request=request, title="JavaScript is off", text=text,
        reference=None, retry=False,
    )  # fmt: skip


def _refusal(error: ApiError | ApiUnreachableError) -> Response:
    status, text = explain(error)
    code = error.code if isinstance(error, ApiError) else "unreachable"
    if isinstance(error, ApiError) and error.status == HTTPStatus.UNAUTHORIZED:
        status, text = HTTPStatus.UNAUTHORIZED, NOT_ACCEPTED
    response = _json({"code": code, "message": REFUSALS.get(code, text)}, status)
    if isinstance(error, ApiError) and error.retry_after_s is not None:
        response.headers["Retry-After"] = f"{error.retry_after_s:.0f}"
    return response


def _json(body: dict[str, str], status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")
