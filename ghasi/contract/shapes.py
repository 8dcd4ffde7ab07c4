"""What goes over the wire: requests, query strings and resources, as msgspec structs.

A request refuses fields it does not know. Times are RFC 3339 strings in UTC with milliseconds; money is a decimal
string with its currency; ids are UUIDv7 strings. No rule of a service lives here beyond a field's own shape.
"""

from datetime import datetime
from typing import Annotated, Generic, Literal, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType, field

T = TypeVar("T")

Name = Annotated[str, Meta(min_length=1, max_length=100)]
Moment = Annotated[datetime, Meta(tz=True, description="RFC 3339")]
Limit = Annotated[int, Meta(ge=1, le=100)]
Cursor = Annotated[str, Meta(min_length=1, max_length=500)]
Scope = Literal["messages:send", "messages:read", "webhooks:read", "webhooks:write", "billing:read"]
SCOPES: tuple[Scope, ...] = ("messages:send", "messages:read", "webhooks:read", "webhooks:write", "billing:read")
MessageStatus = Literal[
    "scheduled", "accepted", "sent", "delivered", "undelivered", "failed", "expired", "canceled", "unknown"
]
FINAL_STATUSES: frozenset[str] = frozenset({"delivered", "undelivered", "failed", "expired", "canceled", "unknown"})
MESSAGE_EVENTS: tuple[str, ...] = tuple(f"message.{status}" for status in MessageStatus.__args__)  # type: ignore[attr-defined]


class Input(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A request's body or query string: an unknown field is an error."""


class FieldError(Struct, frozen=True):
    """One field's fault; `field` is its JSON name, `$` the body as a whole."""

    field: str
    message: str


class ProblemBody(Struct, frozen=True):
    """RFC 9457 problem details with Ghasi's stable `code`."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[FieldError] = []


class Page(Struct, Generic[T], frozen=True):
    """One page of a list, newest first; `next_cursor` is null on the last one."""

    data: list[T]
    next_cursor: str | None


class Money(Struct, frozen=True):
    """A decimal string and an ISO 4217 currency, for example 0.0450 USD."""

    amount: str
    currency: str


class PageQuery(Input, frozen=True, kw_only=True):
    """How every list is paged."""

    limit: Limit = 50
    cursor: Cursor | None = None


# auth-service


class FirebaseSignIn(Input, frozen=True, kw_only=True):
    """A Firebase ID token, fresh from the identity provider."""

    id_token: Annotated[str, Meta(min_length=1, max_length=16384)]


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


# sms-orchestrator and message-store


class NewMessage(Input, frozen=True, kw_only=True):
    """A text to be sent: `to` in E.164, `body` of 1 character to 10 segments, `from` a number or a name."""

    to: Annotated[str, Meta(min_length=1, max_length=32)]
    body: Annotated[str, Meta(min_length=1, max_length=20000)]
    sender: Annotated[str, Meta(min_length=1, max_length=32)] | None = field(default=None, name="from")
    reference: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    send_at: Moment | None = None
    validity_s: Annotated[int, Meta(ge=60, le=172800, description="seconds")] | None = None


class MessageError(Struct, frozen=True):
    """Why a message was not delivered, by a stable code."""

    code: str
    message: str


class Message(Struct, frozen=True):
    """A message as it stands now."""

    id: str
    direction: Literal["outbound", "inbound"]
    to: str
    sender: str | None = field(name="from")
    body: str | None
    encoding: Literal["gsm7", "ucs2"]
    segments: int
    status: MessageStatus
    price: Money | None
    error: MessageError | None
    reference: str | None
    country: str | None
    created_at: str
    send_at: str | None
    sent_at: str | None
    completed_at: str | None


class MessageEvent(Struct, frozen=True):
    """A status that a message has passed."""

    status: MessageStatus
    at: str
    detail: str | None


class MessageDetail(Message, frozen=True):
    """A message with the statuses it has passed, `accepted` first."""

    events: list[MessageEvent]


class MessageQuery(PageQuery, frozen=True, kw_only=True):
    """Filters of the message list; times bound `created_at`, both exclusive."""

    status: MessageStatus | None = None
    to: Annotated[str, Meta(min_length=1, max_length=32)] | None = None
    sender: Annotated[str, Meta(min_length=1, max_length=32)] | None = field(default=None, name="from")
    reference: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    created_after: Moment | None = None
    created_before: Moment | None = None


# webhook-dispatcher

EventPattern = Annotated[str, Meta(min_length=1, max_length=60, pattern=r"^(\*|[a-z_]+\.(\*|[a-z_]+))$")]


class WebhookInput(Input, frozen=True, kw_only=True):
    """An endpoint to be made or changed; a change keeps what it omits of description, enabled and headers."""

    url: Annotated[str, Meta(min_length=1, max_length=2000)]
    events: Annotated[list[EventPattern], Meta(min_length=1, max_length=50)]
    description: Annotated[str, Meta(max_length=500)] | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    headers: dict[str, str] | UnsetType | None = UNSET


class Webhook(Struct, frozen=True):
    """An endpoint without its secret."""

    id: str
    url: str
    events: list[str]
    description: str | None
    enabled: bool
    created_at: str
    updated_at: str
    disabled_reason: str | None


class CreatedWebhook(Webhook, frozen=True):
    """An endpoint with its secret (`whsec_...`), shown on creation and rotation alone."""

    secret: str


# billing-service


class UsageQuery(Input, frozen=True, kw_only=True):
    """Usage from `from` (inclusive) to `to` (exclusive), by default the current UTC month by day, ungrouped."""

    since: Moment | None = field(default=None, name="from")
    until: Moment | None = field(default=None, name="to")
    granularity: Literal["hour", "day", "month"] = "day"
    group_by: Literal["country", "status"] | None = None


class UsageRow(Struct, frozen=True):
    """What was used in one period; `group` is the country or status when grouped."""

    period_start: str
    period_end: str
    group: str | None
    messages: int
    segments: int
    amount: str


class UsageTotals(Struct, frozen=True):
    """The sum of all rows."""

    messages: int
    segments: int
    amount: str


class Usage(Struct, frozen=True):
    """Usage of the account; a message counts in the hour it was sent."""

    data: list[UsageRow]
    totals: UsageTotals
    currency: str


InvoiceStatus = Literal["draft", "open", "paid", "void"]


class Invoice(Struct, frozen=True):
    """An invoice over one period; amounts are decimal strings in `currency`."""

    id: str
    number: str | None
    status: InvoiceStatus
    currency: str
    period_start: str
    period_end: str
    subtotal: str
    tax: str
    total: str
    amount_due: str
    issued_at: str | None
    due_at: str | None
    paid_at: str | None


class InvoiceLine(Struct, frozen=True):
    """One line: messages to one country at one price."""

    description: str
    country: str | None
    messages: int
    segments: int
    unit_price: str
    amount: str


class InvoiceDetail(Invoice, frozen=True):
    """An invoice with its lines; the sum of the lines is the subtotal."""

    line_items: list[InvoiceLine]


class InvoiceQuery(PageQuery, frozen=True, kw_only=True):
    """Filters of the invoice list."""

    status: InvoiceStatus | None = None


# between the gateway and auth-service


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


class GatewayLease(Input, frozen=True, kw_only=True):
    """A gateway process asks to be, or to go on being, the only one."""

    instance: Annotated[str, Meta(min_length=8, max_length=64)]


class GatewayState(Struct, frozen=True):
    """What a gateway must know of accounts: limits per minute that differ, by account and limit group."""

    limits: dict[str, dict[str, int]]
