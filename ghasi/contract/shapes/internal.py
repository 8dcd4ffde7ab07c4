"""What the gateway and auth-service say to each other, which no customer ever sees."""

from typing import Annotated

from msgspec import Meta, Struct

from ghasi.contract.shapes.auth import Scope
from ghasi.contract.shapes.common import Input


class ApiKeyLookup(Input, frozen=True, kw_only=True):
    """The SHA-256 of a presented API key, in hexadecimal."""

    hash: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


class ApiKeyGrant(Struct, frozen=True):
    """What a valid API key stands for; `user_id` is its creator. `expires_at` is a Unix time in seconds."""

    id: str
    account_id: str
    user_id: str
    scopes: list[Scope]
    expires_at: float | None


class ScopeQuery(Input, frozen=True, kw_only=True):
    """The scope that an operation needs; an operation without one takes a user's JWT only."""

    scope: Scope | None = None


class GatewayLease(Input, frozen=True, kw_only=True):
    """A gateway process asks to be, or to go on being, the only one, or one of those that share their limits."""

    instance: Annotated[str, Meta(min_length=8, max_length=64)]
    shares_limits: bool = False


class GatewayState(Struct, frozen=True):
    """What a gateway must know: limits per minute that differ, by account and limit group, and users removed lately.

    The access tokens of `removed_users` are to be refused, though they have not expired.
    """

    limits: dict[str, dict[str, int]]
    removed_users: list[str] = []
