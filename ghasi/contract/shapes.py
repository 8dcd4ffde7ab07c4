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


class MessageExportQuery(Input, frozen=True, kw_only=True):
    """The message list's filters, unpaged."""

    status: MessageStatus | None = None
    to: Annotated[str, Meta(min_length=1, max_length=32)] | None = None
    sender: Annotated[str, Meta(min_length=1, max_length=32)] | None = field(default=None, name="from")
    reference: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    created_after: Moment | None = None
    created_before: Moment | None = None


class PreviewInput(Input, frozen=True, kw_only=True):
    """A text as it is being written; without `to` there is no country and no price."""

    body: Annotated[str, Meta(max_length=20000)]
    to: Annotated[str, Meta(max_length=32)] | None = None
    sender: Annotated[str, Meta(max_length=32)] | None = field(default=None, name="from")


class ForcingCharacter(Struct, frozen=True):
    """A character outside GSM 03.38, which forces UCS-2; `suggestion` is what GSM-7 has in its place."""

    character: str
    code_point: Annotated[str, Meta(description="such as U+2019")]
    name: str
    count: int
    suggestion: str | None


class Preview(Struct, frozen=True):
    """What sending would come to; nothing was sent.

    `units` are septets (gsm7) or UTF-16 code units (ucs2); `left` is how many fit into the last segment still.
    `errors` says why it would be refused as it stands; `price` is of all segments, null where no rate is known.
    """

    encoding: Literal["gsm7", "ucs2"]
    segments: int
    characters: int
    units: int
    units_per_segment: int
    left: int
    forcing: list[ForcingCharacter]
    country: str | None
    price: Money | None
    errors: list[FieldError]


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


DeliveryStatus = Literal["pending", "succeeded", "failed", "canceled"]
EventType = Annotated[str, Meta(min_length=1, max_length=60, pattern=r"^[a-z_]+\.[a-z_]+$")]


class Delivery(Struct, frozen=True):
    """One event to one endpoint. `id` is the event's, the same in webhook-id of every attempt; `failed`: no more tries.

    `response_status` is of the last attempt, null where none came; `next_attempt_at` is set while it is pending.
    """

    id: str
    webhook_id: str
    event_type: str
    message_id: str | None
    status: DeliveryStatus
    attempt_count: int
    response_status: int | None
    created_at: str
    completed_at: str | None
    next_attempt_at: str | None


class DeliveryAttempt(Struct, frozen=True):
    """One HTTP try. `error` is null when the endpoint took it; `response_body` is cut to 4 KiB."""

    number: int
    at: str
    duration_ms: int
    response_status: int | None
    response_body: str | None
    error: str | None


class DeliveryDetail(Delivery, frozen=True):
    """A delivery with what is sent (`body`, as the endpoint gets it) to which URL, and its attempts, oldest first."""

    url: str
    body: str
    attempts: list[DeliveryAttempt]


class DeliveryQuery(PageQuery, frozen=True, kw_only=True):
    """Filters of an endpoint's delivery log; times bound `created_at`, both exclusive."""

    status: DeliveryStatus | None = None
    event_type: EventType | None = None
    message_id: Annotated[str, Meta(min_length=36, max_length=36)] | None = None
    created_after: Moment | None = None
    created_before: Moment | None = None


class TestEvent(Input, frozen=True, kw_only=True):
    """Which event to send as a test."""

    event_type: EventType = "message.delivered"


class Recovery(Input, frozen=True, kw_only=True):
    """Since when deliveries that failed are to be sent again."""

    since: Moment


class Recovered(Struct, frozen=True):
    """How many deliveries are sent again."""

    deliveries: int


# billing-service


class UsageQuery(Input, frozen=True, kw_only=True):
    """Usage from `from` (inclusive) to `to` (exclusive), by default the zone's current month by day, ungrouped.

    Both are full quarters of an hour, such as 19:30Z or 09:45Z: zones' days and months begin on one. A range is at most
    31 days long by hour, 366 by day and 3660 by month, and cuts its first and its last period off.
    """

    since: Moment | None = field(default=None, name="from")
    until: Moment | None = field(default=None, name="to")
    granularity: Literal["hour", "day", "month"] = "day"
    group_by: Literal["country", "status"] | None = None
    time_zone: Annotated[str, Meta(min_length=1, max_length=64, description="IANA; whose days and months")] = "UTC"


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
    """Usage of the account; a message counts in the quarter of an hour it was sent."""

    data: list[UsageRow]
    totals: UsageTotals
    currency: str


class SummaryQuery(Input, frozen=True, kw_only=True):
    """From `from` (inclusive) to `to` (exclusive), by default the zone's last 30 days, today being the last of them.

    Both are full quarters of an hour, and the range is as long as usage's at most.
    """

    since: Moment | None = field(default=None, name="from")
    until: Moment | None = field(default=None, name="to")
    granularity: Literal["hour", "day", "month"] = "day"
    time_zone: Annotated[str, Meta(min_length=1, max_length=64, description="IANA; whose days and months")] = "UTC"


class Outcome(Struct, frozen=True):
    """What became of messages: `failed` are undelivered, expired and refused ones; `amount` is what they cost.

    `messages` counts all that carriers took or refused, and those that expired before one took them; those neither
    delivered nor failed are under way or unknown. A message counts when it was sent, one never sent when it failed.
    """

    messages: int
    delivered: int
    failed: int
    segments: int
    amount: str


class SummaryRow(Outcome, frozen=True):
    """The outcome of one period."""

    period_start: str
    period_end: str


class Summary(Struct, frozen=True):
    """A range beside the one as long before it; `data` has every period of the range, empty ones too.

    The range before whole days of the zone is as many days, though one of them may have 23 or 25 hours.
    """

    since: str = field(name="from")
    until: str = field(name="to")
    current: Outcome
    previous: Outcome
    data: list[SummaryRow]
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
    """What a gateway must know: limits per minute that differ, by account and limit group, and users removed lately.

    The access tokens of `removed_users` are to be refused, though they have not expired.
    """

    limits: dict[str, dict[str, int]]
    removed_users: list[str] = []
