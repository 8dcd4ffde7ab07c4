"""How a message moves from status to status. Pure: facts in, statuses out.

States only move forward: accepted, sent, then one final; a message that became unknown may still get a real end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ghasi.contract.shapes import MessageStatus
from ghasi.messages.model import Stored

PartState = Literal["accepted", "refused", "delivered", "undelivered", "failed", "expired", "unknown"]
_WORST_FIRST: tuple[PartState, ...] = ("failed", "undelivered", "expired", "unknown")
_STATUS: dict[PartState, MessageStatus] = {
    "failed": "failed", "undelivered": "undelivered", "expired": "expired", "unknown": "unknown",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Part:
    """What is known of one segment: taken or refused by the carrier, or its receipt's final state."""

    part: int
    state: PartState
    carrier: str
    at: datetime
    error_code: str | None = None
    detail: str | None = None


def advance(message: Stored, parts: Sequence[Part]) -> list[MessageStatus]:
    """Move a message as far as its parts allow; change it in place and return the statuses it passed, in order.

    It is sent when the carrier has taken every segment, delivered when every segment is; one segment that ends
    otherwise ends the message, since it cannot be delivered whole any more. A refused segment fails it before it
    counts as sent.
    """
    passed: list[MessageStatus] = []
    if message.status == "accepted":
        refused = next((part for part in parts if part.state == "refused"), None)
        if refused is not None:
            _end(message, "failed", refused, passed)
            return passed
        if len(parts) < message.segments:
            return passed
        message.status, message.carrier = "sent", parts[0].carrier
        message.sent_at = max(part.at for part in parts)
        message.sequence += 1
        passed.append("sent")
    if message.status not in ("sent", "unknown"):
        return passed
    for state in _WORST_FIRST:
        ended = next((part for part in parts if part.state == state), None)
        if ended is not None:
            if _STATUS[state] != message.status:
                _end(message, _STATUS[state], ended, passed)
            return passed
    if len(parts) == message.segments and all(part.state == "delivered" for part in parts):
        _end(message, "delivered", max(parts, key=lambda part: part.at), passed)
    return passed


def _end(message: Stored, status: MessageStatus, cause: Part, passed: list[MessageStatus]) -> None:
    end(message, status, at=cause.at, error_code=cause.error_code, error_detail=cause.detail)
    passed.append(status)


def end(
    message: Stored, status: MessageStatus, *, at: datetime, error_code: str | None, error_detail: str | None
) -> None:
    """Give a message a final status; its own statuses' times never run backwards."""
    message.status = status
    message.sequence += 1
    message.completed_at = max(at, message.sent_at) if message.sent_at else at
    message.error_code = None if status == "delivered" else error_code
    message.error_detail = None if status == "delivered" else error_detail
    if status == "unknown":
        message.unknown_at = message.completed_at
