"""What messages' events say, as far as billing goes: the newest state of each message, and when it is counted.

Pure: knows no database. Events may come in any order and more than once; that of the greatest sequence counts.
"""

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

import msgspec

from ghasi.billing.model import BilledOn
from ghasi.storage.events.outbox import Event

_REDACTED_EVENT = "message.redacted"
_UNSENT = frozenset({"failed", "expired", "canceled"})
"""How a message ends that was not sent; nothing happens to it any more."""


class MessageState(msgspec.Struct, frozen=True):
    """What billing reads of a message resource; the rest is skipped unread."""

    direction: str
    to: str
    sender: str | None = msgspec.field(name="from")
    country: str | None
    segments: int
    status: str
    reference: str | None
    created_at: datetime
    send_at: datetime | None
    sent_at: datetime | None
    completed_at: datetime | None


class PrivatePart(msgspec.Struct, frozen=True):
    """What billing reads of the part that no customer sees."""

    credential: str | None = None
    api_key: bool = False
    carrier_class: str | None = None
    accepted_at: datetime | None = None


_NO_PART = PrivatePart()
_decode = msgspec.json.Decoder(MessageState).decode
_decode_private = msgspec.json.Decoder(PrivatePart).decode
parse_id = lru_cache(maxsize=8192)(UUID)


class Seen(NamedTuple):
    """The newest event of a message, and the state that it tells of."""

    event: Event
    state: MessageState

    @property
    def private(self) -> PrivatePart:
        """The part that no customer sees; none of events from before there was one."""
        return _NO_PART if self.event.private is None else _decode_private(self.event.private)

    @property
    def accepted_at(self) -> datetime:
        """When the message was accepted; of one that waits in the schedule, when it was made."""
        if self.state.send_at is None:
            return self.state.created_at
        return self.private.accepted_at or self.state.created_at

    @property
    def is_inbound(self) -> bool:
        """Whether it came from a phone."""
        return self.state.direction == "inbound"

    @property
    def ended_unsent(self) -> bool:
        """Whether it has ended without a carrier having taken it."""
        state = self.state
        return state.sent_at is None and state.status in _UNSENT and not self.is_inbound

    @property
    def other_end(self) -> str:
        """The digits of who it was sent to, or came from."""
        return ((self.state.sender or "") if self.is_inbound else self.state.to).removeprefix("+")

    @property
    def own_end(self) -> str | None:
        """The account's own sender, which people see and answer to."""
        return self.state.to if self.is_inbound else self.state.sender

    def counted_at(self, billed_on: BilledOn) -> datetime | None:
        """When it is counted; None while it is not: before its acceptance, or before it is sent."""
        state = self.state
        if billed_on == "accepted" or self.is_inbound:
            return None if state.status == "scheduled" or self.ended_unsent else self.accepted_at
        return state.sent_at


def read_events(events: Iterable[Event]) -> dict[UUID, Seen]:
    """Return the newest state of each message, in the order in which messages are first told of."""
    newest: dict[UUID, Event] = {}
    for event in events:
        if event.type == _REDACTED_EVENT:  # of a message that has ended, and may have been forgotten here
            continue
        known = newest.get(event.subject_id)
        if known is None or event.sequence > known.sequence:
            newest[event.subject_id] = event
    return {message_id: Seen(event, _decode(event.data)) for message_id, event in newest.items()}
