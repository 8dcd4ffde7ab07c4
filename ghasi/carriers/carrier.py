"""What every carrier is to the rest of Ghasi: it takes segments, and brings receipts and what phones send.

Owns the words (segment, submit result, receipt, inbound part) and the Carrier protocol. Knows no database and no
account.
"""

from asyncio import Future
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal, Protocol

from msgspec import Struct

Encoding = Literal["gsm7", "latin1", "ucs2", "text"]
"""GSM-7 as unpacked septets (one an octet), Latin-1, UCS-2 as UTF-16BE; text is UTF-8, for what is no SMSC."""


class Split(Struct, frozen=True):
    """A text as one carrier's submits, in the order of the parts.

    `parts` are user data without headers. A carrier that splits long texts itself has one part for the whole, however
    many segments that is.
    """

    encoding: Encoding
    parts: list[bytes]

    @property
    def count(self) -> int:
        """The number of submits, at least 1."""
        return len(self.parts)


class Segment(Struct, frozen=True):
    """One submit of a message, as its carrier's `split` gave it.

    `to` is E.164 with +; `sender` is E.164 with +, a short code or a name, or None for the carrier's default.
    A part of a long message has `parts` > 1, its `part` from 1 and the `udh_reference` (0 to 255) of all its parts.
    `message_id` is ours, for a carrier that takes one along; with `part` it names the submit, and never changes.
    """

    to: str
    sender: str | None
    encoding: Encoding
    payload: bytes
    part: int = 1
    parts: int = 1
    udh_reference: int = 0
    validity_s: int | None = None
    message_id: str = ""


class Outcome(StrEnum):
    """What became of a submit."""

    ACCEPTED = "accepted"
    REFUSED = "refused"  # by the carrier, for good: a message error
    THROTTLED = "throttled"  # try again later
    UNSENT = "unsent"  # it was never written to the carrier: try again, no doubt about it
    UNANSWERED = "unanswered"  # written, but the link broke or no answer came: it may or may not have been taken


class SubmitResult(Struct, frozen=True):
    """A submit's end. ACCEPTED has the carrier's message id; REFUSED our error code and what the carrier said."""

    outcome: Outcome
    carrier_message_id: str | None = None
    error_code: str | None = None
    detail: str | None = None


ReceiptState = Literal["accepted", "delivered", "undelivered", "failed", "expired", "unknown"]
RECEIPT_ERRORS: dict[ReceiptState, str | None] = {
    "accepted": None,
    "delivered": None,
    "undelivered": "undeliverable",
    "failed": "message_rejected",
    "expired": "expired",
    "unknown": "delivery_unknown",
}
"""The message error of a receipt that says no more than its state."""


class Receipt(Struct, frozen=True):
    """What a carrier reports of a segment. `state` accepted is an intermediate report, all others are final.

    `handle` is the carrier's own, to acknowledge the receipt by.
    """

    carrier: str
    carrier_message_id: str
    state: ReceiptState
    at: datetime
    error_code: str | None
    detail: str | None
    handle: object


class InboundPart(Struct, frozen=True):
    """A short message from a phone, or one part of a longer one; what to make of the parts is its receiver's.

    `sender` and `recipient` are E.164 with + where the carrier says so, else as they came. `payload` is user data
    without header. A part of a longer message has `parts` > 1, its `part` from 1 and the `reference` of all its
    parts, which the phone chose. `handle` is the carrier's own, to acknowledge it by.

    `session` changes whenever one of the carrier's connections is lost: within a session a carrier has had our answers,
    so that what is the same again was sent again by the phone. Empty where a carrier can't tell.
    """

    carrier: str
    sender: str
    recipient: str
    encoding: Encoding
    payload: bytes
    reference: int
    part: int
    parts: int
    at: datetime
    handle: object
    session: str = ""


ReceiptSink = Callable[[Sequence[Receipt]], None]
"""Called, without waiting, with all receipts of one read of the socket; never raises."""
InboundSink = Callable[[Sequence[InboundPart]], None]
"""Called, without waiting, with all that phones sent of one read of the socket; never raises."""


@dataclass(frozen=True, slots=True)
class CarrierState:
    """A carrier as an operator sees it."""

    name: str
    kind: str
    bound: bool
    """Whether it can take segments at all, here."""
    links: int
    """Connections that are up, of `links_wanted`, which are those of the binds held here."""
    links_wanted: int
    window: int
    """Of all links wanted here together."""
    outstanding: int
    throughput_per_s: int | None
    """The part of the binds held here."""
    detail: str


class Carrier(Protocol):
    """A connection to an operator's SMSC. All methods but start and stop return at once.

    It has so many binds, numbered from 1, of which this process holds all, some or none.
    """

    name: str
    on_unknown_submit: Literal["resend", "unknown"]

    async def start(
        self, on_receipts: ReceiptSink, on_inbound: InboundSink, *, binds: Collection[int] | None = None
    ) -> None:
        """Begin to connect with these binds, or all, and keep connecting until stop; does not wait for the bind."""

    def hold(self, binds: Collection[int], until: float) -> None:
        """Have exactly these binds from now on, until time.monotonic() is `until`; to be said again and again.

        One that is let go takes nothing new, gets its answers, unbinds and closes. LET_GO_S before `until` all are let
        go at once, and at `until` the last connection is closed, whatever it waits for.
        """

    def held(self) -> Collection[int]:
        """Return the binds that are here: those too that were let go, while they wait for answers."""

    async def stop(self) -> None:
        """Wait, bounded, for outstanding answers, unbind and close."""

    def split(self, text: str) -> Split:
        """Return a text as this carrier's submits; raises ValueError for a text that no message can carry."""

    def capacity(self) -> int:
        """How many segments may be submitted now without waiting: 0 when not bound."""

    def submit(self, segment: Segment) -> Future[SubmitResult]:
        """Submit a segment; the future always gets a result, never an exception."""

    def acknowledge(self, words: Sequence[Receipt | InboundPart], *, accepted: bool) -> None:
        """Answer what was brought once it is committed; not accepted asks the carrier to send it again."""

    def state(self) -> CarrierState:
        """Return what an operator sees."""
