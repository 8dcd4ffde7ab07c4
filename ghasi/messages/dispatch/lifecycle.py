"""How a message moves from status to status. Pure: facts in, statuses out.

States only move forward: accepted, sent, then one final; a message that became unknown may still get a real end.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from msgspec import Struct

from ghasi.contract.shapes import MessageStatus
from ghasi.messages.model import Stored

PartState = Literal["accepted", "refused", "delivered", "undelivered", "failed", "expired", "unknown"]
_WORST_FIRST: tuple[Literal["failed", "undelivered", "expired"], ...] = ("failed", "undelivered", "expired")


class Part(Struct, frozen=True):
    """What is known of one submit: taken or refused by the carrier, or its receipt's final state.

    `of` is how many submits the message is; None: as many as it has segments.
    """

    part: int
    state: PartState
    carrier: str
    at: datetime
    error_code: str | None = None
    detail: str | None = None
    of: int | None = None


def advance(message: Stored, parts: Sequence[Part]) -> bool:
    """Move a message on by one status, in place, if its parts allow it; return whether it moved.

    It is sent when the carrier has taken every part, and ends when every part has ended, as the worst of them, since it
    cannot be delivered whole any more; while one of them is unknown, so is the message. So the order in which receipts
    come does not matter. A refused part fails it
    before it counts as sent.
    """
    if message.status == "accepted":
        return _submitted(message, parts)
    return message.status in ("sent", "unknown") and _received(message, parts)


def _submitted(message: Stored, parts: Sequence[Part]) -> bool:
    """Move an accepted message on by what the carrier said to its submits."""
    refused = next((part for part in parts if part.state == "refused"), None)
    if refused is not None:
        _end(message, "failed", refused)
        return True
    if not _is_whole(message, parts):
        return False
    message.status, message.carrier = "sent", parts[0].carrier
    message.sent_at = max(part.at for part in parts)
    message.sequence += 1
    return True


def _received(message: Stored, parts: Sequence[Part]) -> bool:
    """Move a message that was sent on by its receipts."""
    if not _is_whole(message, parts) or any(part.state in ("accepted", "refused") for part in parts):
        return False
    unknown = next((part for part in parts if part.state == "unknown"), None)
    if unknown is not None:
        if message.status == "unknown":
            return False
        _end(message, "unknown", unknown)
        return True
    worst = _worst(parts)
    if worst is not None:
        _end(message, *worst)
    else:
        _end(message, "delivered", max(parts, key=lambda part: part.at))
    return True


def end_unreceipted(message: Stored, parts: Sequence[Part], *, at: datetime, error_code: str) -> None:
    """End a message some of whose receipts never came: by a part that is known to have failed, else as unknown."""
    worst = _worst(parts)
    if worst is not None:
        _end(message, *worst)
    else:
        end(message, "unknown", at=at, error_code=error_code, error_detail=None)


def _is_whole(message: Stored, parts: Sequence[Part]) -> bool:
    """Whether all parts are known."""
    return len(parts) >= ((parts[0].of if parts else None) or message.segments)


def _worst(parts: Sequence[Part]) -> tuple[MessageStatus, Part] | None:
    """Return the worst end of a part and the first part that has it, None when none ended badly."""
    for state in _WORST_FIRST:
        found = next((part for part in parts if part.state == state), None)
        if found is not None:
            return state, found
    return None


def _end(message: Stored, status: MessageStatus, cause: Part) -> None:
    end(message, status, at=cause.at, error_code=cause.error_code, error_detail=cause.detail)


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
