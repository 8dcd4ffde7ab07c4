"""What auth-service keeps, as its functions hand it to each other; holds no rule but lifetimes."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from ghasi.contract import shapes

ACCESS_LIFETIME = timedelta(seconds=900)
REFRESH_IDLE = timedelta(days=30)
REFRESH_ABSOLUTE = timedelta(days=90)
REPLAY_WINDOW = timedelta(seconds=30)
"""For so long a used refresh token gives its successor again: another tab, or an answer that got lost."""
IDEMPOTENCY_WINDOW = timedelta(hours=24)
MOST_API_KEYS = 100
REMOVAL_MARGIN = timedelta(seconds=60)
"""For so much longer than a token lives the gateway is told of a removal: clocks differ, and transactions wait."""
INVITATION_LIFETIME = timedelta(days=7)
INVITATION_KEPT = timedelta(days=30)
"""After its end: its sender sees that it was not taken up, and may send it again."""
MOST_INVITATIONS = 100
CUSTOMER_ROLE = "customer"

AccountStatus = Literal["active", "suspended"]
KeyState = Literal["published", "signing", "retired"]


@dataclass(frozen=True, slots=True)
class Identity:
    """A person as a verified ID token describes them; `name` is empty where the provider knows none."""

    issuer: str
    subject: str
    email: str
    name: str


@dataclass(frozen=True, slots=True)
class Account:
    """A customer; `countries` None is every country, `daily_cap` None is no cap."""

    id: UUID
    name: str
    status: AccountStatus
    countries: list[str] | None
    daily_cap: int | None
    sequence: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class User:
    """A person and the account they are in.

    `roles` are the token's, `role` is what they may do in the account. `time_zone` and `locale` None are the browser's.
    """

    id: UUID
    account_id: UUID
    account_name: str
    email: str
    name: str
    roles: list[str]
    role: shapes.Role
    time_zone: str | None
    locale: str | None

    @property
    def shape(self) -> shapes.User:
        """The person on the wire."""
        return shapes.User(id=str(self.id), email=self.email, name=self.name, roles=self.roles)

    @property
    def account_shape(self) -> shapes.Account:
        """Their account on the wire."""
        return shapes.Account(id=str(self.account_id), name=self.account_name)


@dataclass(frozen=True, slots=True)
class Member:
    """A person as the others in the account see them."""

    id: UUID
    email: str
    name: str
    role: shapes.Role
    created_at: datetime
    signed_in_at: datetime


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invitation without its token; `taken_at` is when somebody joined by it."""

    id: UUID
    account_id: UUID
    email: str
    role: shapes.Role
    created_at: datetime
    expires_at: datetime
    taken_at: datetime | None


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that signs access tokens from `signs_from` on and is published until `published_until`."""

    kid: str
    modulus: str
    exponent: str
    sealed_private_key: bytes
    created_at: datetime
    signs_from: datetime
    published_until: datetime | None


@dataclass(frozen=True, slots=True)
class RefreshFamily:
    """One sign-in; revoked means that none of its refresh tokens is good any more."""

    id: UUID
    user_id: UUID
    expires_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A refresh token, known by its hash; `used_at` is when it first gave its successor."""

    expires_at: datetime
    used_at: datetime | None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key without its secret."""

    id: UUID
    account_id: UUID
    user_id: UUID
    name: str
    prefix: str
    scopes: list[shapes.Scope]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class Creation:
    """What an Idempotency-Key made, and of which body."""

    body_hash: bytes
    resource_id: UUID


@dataclass(frozen=True, slots=True)
class AccountEntry:
    """An account as operators see it, with its own limits per minute by limit group."""

    account: Account
    limits: dict[str, int]


@dataclass(frozen=True, slots=True)
class UserEntry:
    """A user as operators see them; `removed_at` is when they were taken out of the account."""

    user: User
    created_at: datetime
    signed_in_at: datetime
    removed_at: datetime | None


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """A signing key as operators see it."""

    kid: str
    state: KeyState
    created_at: datetime
    signs_from: datetime
    published_until: datetime | None
