"""What every carrier is to the rest of Ghasi: something that takes segments and brings receipts.

Owns the words (segment, submit result, receipt) and the Carrier protocol. Knows no database and no account.
"""

from asyncio import Future
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Segment:
    """One short message as it goes on the air.

    `to` is E.164 with +; `sender` is E.164 with +, a short code or a name, or None for the carrier's default.
    `payload` is the user data without header: GSM-7 as unpacked septets (one a byte), UCS-2 as UTF-16BE.
    A part of a long message has `parts` > 1, its `part` from 1 and the `udh_reference` (0 to 255) of all its parts.
    """

    to: str
    sender: str | None
    encoding: Literal["gsm7", "ucs2"]
    payload: bytes
    part: int = 1
    parts: int = 1
    udh_reference: int = 0
    validity_s: int | None = None


class Outcome(StrEnum):
    """What became of a submit."""

    ACCEPTED = "accepted"
    REFUSED = "refused"  # by the carrier, for good: a message error
    THROTTLED = "throttled"  # try again later
    UNSENT = "unsent"  # it was never written to the carrier: try again, no doubt about it
    UNANSWERED = "unanswered"  # written, but the link broke or no answer came: it may or may not have been taken


@dataclass(frozen=True, slots=True)
class SubmitResult:
    """A submit's end. ACCEPTED has the carrier's message id; REFUSED our error code and what the carrier said."""

    outcome: Outcome
    carrier_message_id: str | None = None
    error_code: str | None = None
    detail: str | None = None


ReceiptState = Literal["accepted", "delivered", "undelivered", "failed", "expired", "unknown"]


@dataclass(frozen=True, slots=True)
class Receipt:
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


ReceiptSink = Callable[[Sequence[Receipt]], None]
"""Called, without waiting, with all receipts of one read of the socket; never raises."""


@dataclass(frozen=True, slots=True)
class CarrierState:
    """A carrier as an operator sees it."""

    name: str
    kind: str
    bound: bool
    window: int
    outstanding: int
    detail: str


class Carrier(Protocol):
    """A connection to an operator's SMSC. All methods but start and stop return at once."""

    name: str
    on_unknown_submit: Literal["resend", "unknown"]

    async def start(self, on_receipts: ReceiptSink) -> None:
        """Begin to connect, and keep connecting until stop; does not wait for the bind."""

    async def stop(self) -> None:
        """Wait, bounded, for outstanding answers, unbind and close."""

    def capacity(self) -> int:
        """How many segments may be submitted now without waiting: 0 when not bound."""

    def submit(self, segment: Segment) -> Future[SubmitResult]:
        """Submit a segment; the future always gets a result, never an exception."""

    def acknowledge(self, receipts: Sequence[Receipt], *, accepted: bool) -> None:
        """Answer receipts once they are committed; not accepted asks the carrier to send them again."""

    def state(self) -> CarrierState:
        """Return what an operator sees."""
