"""What goes over the wire to and from sms-orchestrator and message-store: messages, batches, events and previews.

Owns no rule beyond a field's own shape: which text is how many segments is the service's.
"""

from datetime import datetime
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct, field

from ghasi.contract.shapes.common import FieldError, Input, Moment, Money, PageQuery

MessageStatus = Literal[
    "scheduled", "accepted", "sent", "delivered", "undelivered", "failed", "expired", "canceled", "unknown", "received"
]
"""An inbound message is received, and nothing else."""
Direction = Literal["outbound", "inbound"]
FINAL_STATUSES: frozenset[str] = frozenset(
    {"delivered", "undelivered", "failed", "expired", "canceled", "unknown", "received"}
)
MOST_IN_BATCH = 1000
Recipient = Annotated[str, Meta(min_length=1, max_length=32)]
Text = Annotated[str, Meta(min_length=1, max_length=20000)]
SenderName = Annotated[str, Meta(min_length=1, max_length=32)]
Reference = Annotated[str, Meta(min_length=1, max_length=255)]
Validity = Annotated[int, Meta(ge=60, le=172800, description="seconds")]
SendAt = Annotated[datetime, Meta(tz=True, description="RFC 3339, 5 minutes to 30 days ahead")]
MESSAGE_EVENTS: tuple[str, ...] = tuple(f"message.{status}" for status in MessageStatus.__args__)  # type: ignore[attr-defined]


class NewMessage(Input, frozen=True, kw_only=True):
    """A text to be sent: `to` in E.164, `body` of 1 character to 10 segments, `from` a number or a name.

    `validity_s` runs from `send_at`, or from now. With `smart_encoding` typographic characters become their GSM-7
    look-alikes where that spares the message UCS-2; the text of the resource is what is sent.
    """

    to: Recipient
    body: Text
    sender: SenderName | None = field(default=None, name="from")
    reference: Reference | None = None
    send_at: SendAt | None = None
    validity_s: Validity | None = None
    smart_encoding: bool = False


class BatchRecipient(Input, frozen=True, kw_only=True):
    """Who gets a batch's one text; `variables` take the places of `{{name}}` in it."""

    to: Recipient
    variables: dict[str, Annotated[str, Meta(max_length=1000)]] = field(default_factory=dict)
    reference: Reference | None = None


class NewBatch(Input, frozen=True, kw_only=True):
    """Up to 1,000 messages: either `messages`, or one `body` with its `recipients`.

    The other fields belong to the one body. Each message is accepted or refused by itself.
    """

    one_by_one: ClassVar[tuple[str, ...]] = ("messages", "recipients")

    messages: Annotated[list[NewMessage], Meta(min_length=1, max_length=MOST_IN_BATCH)] | None = None
    recipients: Annotated[list[BatchRecipient], Meta(min_length=1, max_length=MOST_IN_BATCH)] | None = None
    body: Text | None = None
    sender: SenderName | None = field(default=None, name="from")
    reference: Reference | None = None
    send_at: SendAt | None = None
    validity_s: Validity | None = None
    smart_encoding: bool = False


class MessageError(Struct, frozen=True):
    """Why a message was not delivered, by a stable code."""

    code: str
    message: str


class Message(Struct, frozen=True):
    """A message as it stands now."""

    id: str
    direction: Direction
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


class BatchError(Struct, frozen=True):
    """Why a message of a batch was refused; `code` is of the same catalogue as problems."""

    code: str
    detail: str
    errors: list[FieldError]


class BatchItem(Struct, frozen=True):
    """One message of a batch, by its place in the request from 0: accepted, or refused with an error."""

    index: int
    message: Message | None
    error: BatchError | None


class Batch(Struct, frozen=True):
    """What became of a batch, in the order of the request."""

    accepted: int
    refused: int
    data: list[BatchItem]


class MessageEvent(Struct, frozen=True):
    """A status that a message has passed."""

    status: MessageStatus
    at: str
    detail: str | None


class MessageDetail(Message, frozen=True):
    """A message with the statuses it has passed: `accepted` first, `scheduled` before it where there was a time."""

    events: list[MessageEvent]


class MessageQuery(PageQuery, frozen=True, kw_only=True):
    """Filters of the message list; times bound `created_at`, both exclusive."""

    status: MessageStatus | None = None
    direction: Direction | None = None
    to: Recipient | None = None
    sender: SenderName | None = field(default=None, name="from")
    reference: Reference | None = None
    created_after: Moment | None = None
    created_before: Moment | None = None


class MessageExportQuery(Input, frozen=True, kw_only=True):
    """The message list's filters, unpaged."""

    status: MessageStatus | None = None
    direction: Direction | None = None
    to: Recipient | None = None
    sender: SenderName | None = field(default=None, name="from")
    reference: Reference | None = None
    created_after: Moment | None = None
    created_before: Moment | None = None


class PreviewInput(Input, frozen=True, kw_only=True):
    """A message as it is being written; without `to` there is no country and no price.

    It may have all that a message to be sent has; `reference` and `validity_s` change nothing here.
    """

    body: Annotated[str, Meta(max_length=20000)]
    to: Annotated[str, Meta(max_length=32)] | None = None
    sender: Annotated[str, Meta(max_length=32)] | None = field(default=None, name="from")
    reference: Reference | None = None
    send_at: SendAt | None = None
    validity_s: Validity | None = None
    smart_encoding: bool = False


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
    `errors` says why it would be refused as it stands. `body` is the text that would be sent: with `smart_encoding` it
    may differ from the one given. `price` is of all segments, null where no rate is known: by the rate for the
    destination and the sender at its first tier, without the plan's discounts and before the carrier is known.
    """

    body: str
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
