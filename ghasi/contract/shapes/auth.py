"""What goes over the wire to and from auth-service: sessions, people, accounts, invitations and API keys.

Owns no rule beyond a field's own shape: who may do what is the service's.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from ghasi.contract.shapes.common import Input, Moment, Name

Scope = Literal["messages:send", "messages:read", "webhooks:read", "webhooks:write", "billing:read"]
SCOPES: tuple[Scope, ...] = ("messages:send", "messages:read", "webhooks:read", "webhooks:write", "billing:read")


class FirebaseSignIn(Input, frozen=True, kw_only=True):
    """A Firebase ID token, fresh from the identity provider."""

    id_token: Annotated[str, Meta(min_length=1, max_length=16384)]
    invitation: (
        Annotated[str, Meta(min_length=1, max_length=100, description="Join the account that invites; an extension")]
        | None
    ) = None


class User(Struct, frozen=True):
    """A person in an account."""

    id: str
    email: str
    name: str
    roles: list[str]


class Account(Struct, frozen=True):
    """The customer."""

    id: str
    name: str


class Session(Struct, frozen=True):
    """An access token and whom it is for; the refresh token travels in its cookie."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: Annotated[int, Meta(description="seconds")]
    user: User
    account: Account


class Me(Struct, frozen=True):
    """The caller of /v1/auth/me."""

    user: User
    account: Account


Role = Literal["owner", "member"]
ROLES: tuple[Role, ...] = ("owner", "member")


class AccountDetail(Account, frozen=True):
    """The caller's account, and the caller's own role in it."""

    status: Literal["active", "suspended"]
    role: Role
    created_at: str


class AccountInput(Input, frozen=True, kw_only=True):
    """An account's new name."""

    name: Name


class Preferences(Struct, frozen=True):
    """How the caller reads times and money; null is as the browser has it."""

    time_zone: str | None
    locale: str | None


class PreferencesInput(Input, frozen=True, kw_only=True):
    """The caller's preferences: an IANA time zone and a BCP 47 language tag, or null for the browser's own."""

    time_zone: Annotated[str, Meta(min_length=1, max_length=64, description="IANA, such as Asia/Kabul")] | None
    locale: Annotated[str, Meta(min_length=2, max_length=35, description="BCP 47, such as en-GB")] | None


class Member(Struct, frozen=True):
    """A person in the account."""

    id: str
    email: str
    name: str
    role: Role
    created_at: str
    signed_in_at: str


class MemberInput(Input, frozen=True, kw_only=True):
    """A person's new role."""

    role: Role


class NewInvitation(Input, frozen=True, kw_only=True):
    """Whom to invite, and as what."""

    email: Annotated[str, Meta(min_length=3, max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")]
    role: Role = "member"


class Invitation(Struct, frozen=True):
    """An invitation that was not taken up yet."""

    id: str
    email: str
    role: Role
    created_at: str
    expires_at: str


class CreatedInvitation(Invitation, frozen=True):
    """A new invitation; `token` is shown this once and is what the invited person joins with."""

    token: str


class NewApiKey(Input, frozen=True, kw_only=True):
    """An API key to be made; without `scopes` it has all of them, without `expires_at` it does not expire."""

    name: Name
    scopes: Annotated[list[Scope], Meta(min_length=1, max_length=5)] | None = None
    expires_at: Moment | None = None


class ApiKey(Struct, frozen=True):
    """An API key without its secret; `prefix` is the key's beginning, to recognise it by."""

    id: str
    name: str
    prefix: str
    scopes: list[Scope]
    created_at: str
    expires_at: str | None
    last_used_at: str | None


class CreatedApiKey(ApiKey, frozen=True):
    """A new API key; `key` is shown this once."""

    key: str


class JsonWebKey(Struct, frozen=True):
    """A public RS256 key (RFC 7517)."""

    kty: Literal["RSA"]
    use: Literal["sig"]
    alg: Literal["RS256"]
    kid: str
    n: str
    e: str


class JsonWebKeySet(Struct, frozen=True):
    """The published keys that sign access tokens (RFC 7517, section 5)."""

    keys: list[JsonWebKey]
