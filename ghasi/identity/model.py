"""What the local identity server takes and answers: Firebase's field names, and its errors by their codes.

Shapes alone; the rules are in service.py. A field that Firebase knows and this server does not is ignored, as clients
send many (clientType, returnSecureToken ...), save those that would change an account: those are refused.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

ID_TOKEN_LIFE_S = 3600
OOB_CODE_LIFE = timedelta(hours=1)
PASSWORD_RESET, VERIFY_EMAIL = "PASSWORD_RESET", "VERIFY_EMAIL"


class Refusal(Exception):  # noqa: N818 - it is an answer, the client's fault and not ours
    """An error answer; `message` is a code of Firebase's, perhaps with an explanation after a colon."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.status = status

    def body(self) -> dict[str, Any]:
        """Write the error as Google's APIs do."""
        detail = {"message": self.message, "reason": "invalid", "domain": "global"}
        return {"error": {"code": self.status, "message": self.message, "errors": [detail]}}


class Credentials(Struct, frozen=True, rename="camel"):
    """The body of accounts:signUp and accounts:signInWithPassword."""

    email: str | None = None
    password: str | None = None
    display_name: str | None = None


class Lookup(Struct, frozen=True, rename="camel"):
    """The body of accounts:lookup."""

    id_token: str | None = None


class Update(Struct, frozen=True, rename="camel"):
    """The body of accounts:update; `delete_attribute` names what is to be emptied, `oob_code` verifies an address."""

    id_token: str | None = None
    display_name: str | None = None
    password: str | None = None
    delete_attribute: list[str] = []
    email: str | None = None
    photo_url: str | None = None
    oob_code: str | None = None
    return_secure_token: bool = False


class OobRequest(Struct, frozen=True, rename="camel"):
    """The body of accounts:sendOobCode; `id_token` says whose address is to be verified."""

    request_type: str | None = None
    email: str | None = None
    id_token: str | None = None
    return_oob_link: bool = False


class Reset(Struct, frozen=True, rename="camel"):
    """The body of accounts:resetPassword; without a new password it asks what the code is for."""

    oob_code: str | None = None
    new_password: str | None = None


class Exchange(Struct, frozen=True):
    """The body of securetoken's /v1/token, from a form or JSON."""

    grant_type: str | None = None
    refresh_token: str | None = None


@dataclass(frozen=True, slots=True)
class User:
    """A row of identity.users."""

    local_id: str
    email: str
    display_name: str | None
    password_hash: str
    email_verified: bool
    disabled: bool
    created_at: datetime
    last_login_at: datetime
    valid_since: datetime


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A row of identity.refresh_tokens, without its hash."""

    local_id: str
    auth_time: datetime
    revoked: bool


@dataclass(frozen=True, slots=True)
class OobCode:
    """A row of identity.oob_codes, with its user's address and without the code."""

    local_id: str
    email: str
    request_type: str
    expires_at: datetime
