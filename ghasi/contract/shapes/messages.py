"""What goes over the wire to and from sms-orchestrator and message-store: messages, their events and previews.

Owns no rule beyond a field's own shape: which text is how many segments is the service's.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from ghasi.contract.shapes.common import FieldError, Input, Moment, Money, PageQuery

MessageStatus = Literal[
    "scheduled", "accepted", "sent", "delivered", "undelivered", "failed", "expired", "canceled", "unknown"
]
FINAL_STATUSES: frozenset[str] = frozenset({"delivered", "undelivered", "failed", "expired", "canceled", "unknown"})
MESSAGE_EVENTS: tuple[str, ...] = tuple(f"message.{status}" for status in MessageStatus.__args__)  # type: ignore[attr-defined]


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
