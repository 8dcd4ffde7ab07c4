"""What goes over the wire to and from webhook-dispatcher: endpoints, the log of what was sent to them, and events.

Owns no rule beyond a field's own shape: when an attempt is made is the service's.
"""

from datetime import timedelta
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from ghasi.contract.shapes.billing_invoices import Invoice
from ghasi.contract.shapes.billing_ledger import BillingAlert
from ghasi.contract.shapes.common import Cursor, Input, Moment, PageQuery
from ghasi.contract.shapes.messages import MESSAGE_EVENTS, Message, MessageStatus

EventPattern = Annotated[str, Meta(min_length=1, max_length=60, pattern=r"^(\*|[a-z_]+\.(\*|[a-z_]+))$")]
Country = Annotated[str, Meta(pattern="^[A-Z]{2}$", description="ISO 3166-1 alpha-2")]
FieldPattern = Annotated[str, Meta(min_length=1, max_length=255, description="a value, or how it begins and `*`")]
_Some = Meta(min_length=1, max_length=100)
MetadataName = Annotated[str, Meta(min_length=1, max_length=40)]
MetadataValue = Annotated[str, Meta(max_length=500)]
FifoKey = Literal["endpoint", "message", "to", "from", "reference"]
FilterField = Literal["country", "status", "reference", "sender"]
AfterHold = Literal["skip", "drop"]
DisabledReason = Literal["gone", "failing"]
DISABLED_AFTER = timedelta(days=5)
"""How long every attempt has to have failed for the next that fails to disable its endpoint."""


class EventFilter(Input, frozen=True, kw_only=True, omit_defaults=True):
    """Which messages an endpoint hears of: every field that is given has to have one of its values.

    It is asked of events about messages alone.
    """

    country: Annotated[list[Country], _Some] | None = None
    status: Annotated[list[MessageStatus], _Some] | None = None
    reference: Annotated[list[FieldPattern], _Some] | None = None
    sender: Annotated[list[FieldPattern], _Some] | None = None


class Fifo(Input, frozen=True, kw_only=True):
    """In order: of those with the same value of `by`, a delivery waits until the one before it is over.

    One that fails holds the others for `hold_s` at most, from its first attempt on. After that it is passed and goes on
    being tried (`skip`), or has failed (`drop`). `endpoint` has all its deliveries in one order.
    """

    by: FifoKey = "endpoint"
    hold_s: Annotated[int, Meta(ge=0, le=86400, description="seconds")] = 3600
    after_hold: AfterHold = "skip"


class WebhookInput(Input, frozen=True, kw_only=True):
    """An endpoint to be made or changed; a change keeps what it omits, save `url` and `events`.

    Values of `headers` are never shown again. `rate_per_s` is how many attempts an endpoint gets in a second at most.
    """

    url: Annotated[str, Meta(min_length=1, max_length=2000)]
    events: Annotated[list[EventPattern], Meta(min_length=1, max_length=50)]
    description: Annotated[str, Meta(max_length=500)] | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    headers: dict[str, str] | UnsetType | None = UNSET
    filter: EventFilter | UnsetType | None = UNSET
    metadata: Annotated[dict[MetadataName, MetadataValue], Meta(max_length=50)] | UnsetType | None = UNSET
    rate_per_s: Annotated[int, Meta(ge=1, le=1000)] | UnsetType | None = UNSET
    fifo: Fifo | UnsetType | None = UNSET


class Webhook(Struct, frozen=True):
    """An endpoint without its secret and its headers' values.

    `failing_since` is when the first of its attempts failed after which none succeeded. An endpoint that Ghasi disabled
    says why in `disabled_reason`: `gone` (it answered 410) or `failing` (every attempt had failed for five days).
    """

    id: str
    url: str
    events: list[str]
    description: str | None
    enabled: bool
    created_at: str
    updated_at: str
    disabled_reason: str | None
    header_names: list[str]
    filter: EventFilter | None
    metadata: dict[str, str]
    rate_per_s: int | None
    fifo: Fifo | None
    failing_since: str | None


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


class LoggedAttempt(DeliveryAttempt, frozen=True):
    """An attempt in an endpoint's log, with the delivery that it was of."""

    delivery_id: str
    event_type: str
    message_id: str | None


_Id = Annotated[str, Meta(min_length=36, max_length=36)]
ResponseStatus = Annotated[
    str, Meta(pattern="^([1-9][0-9]{2}|[1-9]xx|none)$", description="as 503, a class as 5xx, or none: no answer came")
]


class LogQuery(PageQuery, frozen=True, kw_only=True):
    """Filters of every log of webhooks; times bound the event's `created_at`, both exclusive.

    A page may have fewer rows than `limit`, or none, and still a `next_cursor`: there may be more further back.
    """

    response_status: ResponseStatus | None = None
    event_type: EventType | None = None
    message_id: _Id | None = None
    created_after: Moment | None = None
    created_before: Moment | None = None


class DeliveryQuery(LogQuery, frozen=True, kw_only=True):
    """Filters of an endpoint's delivery log; `response_status` is of the last attempt."""

    status: DeliveryStatus | None = None


class AccountDeliveryQuery(DeliveryQuery, frozen=True, kw_only=True):
    """Filters of the log of deliveries to all endpoints of an account."""

    webhook_id: _Id | None = None


class AttemptQuery(LogQuery, frozen=True, kw_only=True):
    """Filters of an endpoint's attempts."""

    outcome: Literal["succeeded", "failed"] | None = None


class TestEvent(Input, frozen=True, kw_only=True):
    """Which event to send as a test."""

    event_type: EventType = "message.delivered"


class Recovery(Input, frozen=True, kw_only=True):
    """Since when deliveries that failed are to be sent again."""

    since: Moment


class Recovered(Struct, frozen=True):
    """How many deliveries are sent again."""

    deliveries: int


class Replay(Input, frozen=True, kw_only=True):
    """Of which time an endpoint is to get the events that it asks for now; without `until` those up to now.

    `cursor` goes on where the answer before ended; the other fields stay as they were.
    """

    since: Moment
    until: Moment | None = None
    event_types: Annotated[list[EventType], Meta(min_length=1, max_length=50)] | None = None
    cursor: Cursor | None = None


class Replayed(Struct, frozen=True):
    """How many deliveries are sent; `next_cursor` is null when there are no further events in the range."""

    deliveries: int
    next_cursor: str | None


class EventSample(Input, frozen=True, kw_only=True, rename={"sender": "from"}):
    """What a filter asks of an event's message."""

    country: Country | None = None
    status: MessageStatus | None = None
    reference: Annotated[str, Meta(max_length=255)] | None = None
    sender: Annotated[str, Meta(max_length=255)] | None = None
    to: Annotated[str, Meta(max_length=255)] | None = None


class DryRun(Input, frozen=True, kw_only=True):
    """An event that might be: of a message that is told of in `data`, or as it was of the message of an id."""

    event_type: EventType
    data: EventSample | None = None
    message_id: _Id | None = None


class Reach(Struct, frozen=True):
    """Whether an event would reach an endpoint and, if not, why; `field` is what its filter does not let pass."""

    webhook_id: str
    url: str
    description: str | None
    reached: bool
    reason: Literal["reached", "disabled", "event_type", "filter"]
    field: FilterField | None


class DryRunResult(Struct, frozen=True):
    """What an event would reach: every endpoint of the account, the newest first."""

    data: list[Reach]


class FailingWebhook(Struct, frozen=True):
    """The data of `webhook.failing`: after one, three and four days in which every attempt to an endpoint failed.

    It is disabled at `disables_at`, or by the first attempt that fails after it. `url` lacks its query.
    """

    webhook_id: str
    url: str
    failing_since: str
    disables_at: str


class DisabledWebhook(Struct, frozen=True):
    """The data of `webhook.disabled`: Ghasi has disabled an endpoint; what was still to be delivered to it is canceled.

    `url` lacks its query.
    """

    webhook_id: str
    url: str
    reason: DisabledReason
    failing_since: str | None


class ExhaustedDelivery(Struct, frozen=True):
    """The data of `webhook.exhausted`: the last retry of a delivery has failed, and `error` says how.

    `message_id` is null where the event was about none. `url` lacks its query.
    """

    webhook_id: str
    url: str
    delivery_id: str
    event_type: str
    message_id: str | None
    attempts: int
    response_status: int | None
    error: str


WEBHOOK_EVENT_DATA: dict[str, type[Struct]] = {
    "webhook.failing": FailingWebhook,
    "webhook.disabled": DisabledWebhook,
    "webhook.exhausted": ExhaustedDelivery,
}
BILLING_EVENT_DATA: dict[str, type[Struct]] = {
    "billing.alert": BillingAlert,
    "invoice.opened": Invoice,
    "invoice.paid": Invoice,
    "invoice.overdue": Invoice,
}
"""What of billing's outbox goes to customers; an invoice is as GET /v1/billing/invoices lists it."""
EVENT_DATA: dict[str, type[Struct]] = {
    **dict.fromkeys(MESSAGE_EVENTS, Message), **WEBHOOK_EVENT_DATA, **BILLING_EVENT_DATA
}  # fmt: skip
"""Every type of event, with the shape of its `data`; those about an endpoint go to the account's other endpoints."""
EVENT_TYPES: tuple[str, ...] = tuple(EVENT_DATA)
