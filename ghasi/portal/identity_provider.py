"""Asks the identity provider (Firebase, its emulator or the local identity server) by Firebase Auth's REST API.

Owns its errors in plain words. Sees a password for as long as it is handed on, and keeps none.
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp
import msgspec
import structlog

from ghasi.portal.failures import RATE_LIMITED
from ghasi.settings import Settings

TIMEOUT_S = 5.0
UNREACHABLE = "The sign-in service cannot be reached right now. Please try again in a moment."
_WRONG = ("password", "That e-mail address and password do not belong together.")
_NO_EMAIL = ("email", "Enter an e-mail address, like ann@example.com.")
REFUSALS: dict[str, tuple[str, str]] = {
    "EMAIL_EXISTS": ("email", "There is already an account with this e-mail address. Sign in instead."),
    "INVALID_EMAIL": _NO_EMAIL,
    "MISSING_EMAIL": _NO_EMAIL,
    "MISSING_PASSWORD": ("password", "Enter a password."),
    "WEAK_PASSWORD": ("password", "Use a password of at least 6 characters."),
    "PASSWORD_DOES_NOT_MEET_REQUIREMENTS": ("password", "This password does not meet the requirements."),
    "INVALID_DISPLAY_NAME": ("name", "Use a name of at most 256 characters."),
    "INVALID_LOGIN_CREDENTIALS": _WRONG,
    "EMAIL_NOT_FOUND": _WRONG,
    "INVALID_PASSWORD": _WRONG,
    "USER_DISABLED": ("", "This user is disabled. Please ask the operator."),
    "TOO_MANY_ATTEMPTS_TRY_LATER": ("", "Too many attempts. Please wait a few minutes and try again."),
    "OPERATION_NOT_ALLOWED": ("", "Signing in this way is not open here."),
    "ADMIN_ONLY_OPERATION": ("", "New accounts are made by the operator here."),
}
"""Firebase's codes: the field each belongs to (none: the whole form) and what to say."""
log = structlog.get_logger("ghasi.portal")


@dataclass
class IdentityError(Exception):
    """The provider refused or is away; `field` is the input at fault, if one is, and `status` what the page answers."""

    status: int
    field: str
    text: str


async def sign_in(http: aiohttp.ClientSession, settings: Settings, email: str, password: str) -> str:
    """Return an ID token for a password; raises IdentityError."""
    return await _ask(http, settings, "signInWithPassword", {"email": email, "password": password})


async def sign_up(http: aiohttp.ClientSession, settings: Settings, name: str, email: str, password: str) -> str:
    """Create a user and return an ID token; raises IdentityError."""
    fields = {"email": email, "password": password}
    return await _ask(http, settings, "signUp", {**fields, "displayName": name} if name else fields)


async def _ask(http: aiohttp.ClientSession, settings: Settings, action: str, fields: dict[str, str]) -> str:
    try:
        async with http.post(
            f"{settings.firebase_auth_url}/v1/accounts:{action}",
            # the local server and the emulator take any key
            params={"key": settings.firebase_api_key or "local"},
            data=msgspec.json.encode({**fields, "returnSecureToken": True}),
            headers={"Content-Type": "application/json"},
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
            allow_redirects=False,
        ) as answer:
            status, raw = answer.status, await answer.read()
    except (TimeoutError, aiohttp.ClientError) as error:
        log.warning("identity_unreachable", error=type(error).__name__)
        raise IdentityError(HTTPStatus.SERVICE_UNAVAILABLE, "", UNREACHABLE) from None
    return _id_token(status, raw)


def _id_token(status: int, raw: bytes) -> str:
    try:
        body: Any = msgspec.json.decode(raw, type=dict[str, Any])
        if status == HTTPStatus.OK:
            return str(body["idToken"])
        code = str(body["error"]["message"]).partition(":")[0].strip()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError):
        code = "no answer of Firebase's"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        raise IdentityError(HTTPStatus.TOO_MANY_REQUESTS, "", RATE_LIMITED)
    if code in REFUSALS:
        raise IdentityError(HTTPStatus.UNPROCESSABLE_ENTITY, *REFUSALS[code])
    log.warning("identity_refused", status=status, code=code)
    raise IdentityError(HTTPStatus.SERVICE_UNAVAILABLE, "", UNREACHABLE)
