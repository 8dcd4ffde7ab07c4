"""What messages are inside the service: drafts to be written, stored rows, and how a row becomes the resource.

Owns the mapping between table and resource and the statuses a message has passed. Touches no database.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any, Literal, Protocol
from uuid import UUID

import msgspec

from ghasi.contract.message_errors import MESSAGE_ERRORS
from ghasi.contract.shapes import Message, MessageDetail, MessageError, MessageEvent, MessageStatus
from ghasi.contract.values import id_rfc3339, money, new_id, optional_rfc3339, rfc3339
from ghasi.messages.senders.senders import SenderRules
from ghasi.storage.events.outbox import Event, to_json
from ghasi.storage.pool import Record

DEFAULT_VALIDITY_S = 86_400
_UUID_LENGTH = 36
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Draft:
    """An accepted message on its way into the database; `response` is its resource as JSON, sent and stored as such.

    `pool_rules` are there where the sender comes from the pool, and is known once the recipient's own has been read.
    """

    id: UUID
    account_id: UUID
    user_id: UUID
    credential: str
    recipient: str
    sender: str | None
    body: str
    encoding: Literal["gsm7", "ucs2"]
    segments: int
    country: str | None
    reference: str | None
    validity_s: int | None
    send_at: datetime | None = None
    response: bytes = b""
    daily_cap: int | None = None
    has_opt_outs: bool = False
    pool_rules: SenderRules | None = None
    idempotency_key: str | None = None
    body_hash: bytes = b""

    @property
    def is_plain(self) -> bool:
        """Whether nothing has to be read or locked before it is written."""
        return (
            self.idempotency_key is None
            and self.daily_cap is None
            and not self.has_opt_outs
            and self.pool_rules is None
        )

    @property
    def status(self) -> MessageStatus:
        """What the message begins as."""
        return "accepted" if self.send_at is None else "scheduled"


class Keyed(Protocol):
    """A request with an Idempotency-Key."""

    account_id: UUID
    idempotency_key: str | None
    body_hash: bytes
    response: bytes


class Stored(msgspec.Struct):
    """A message's row: the columns of messages.messages that its resource and its rules need."""

    id: UUID
    account_id: UUID
    direction: Literal["outbound", "inbound"]
    recipient: str
    sender: str | None
    body: str | None
    encoding: Literal["gsm7", "ucs2"]
    segments: int
    country: str | None
    reference: str | None
    validity_s: int | None
    send_at: datetime | None
    status: MessageStatus
    sequence: int
    sent_at: datetime | None
    unknown_at: datetime | None
    completed_at: datetime | None
    error_code: str | None
    error_detail: str | None
    price_micros: int | None
    currency: str | None
    carrier: str | None
    resubmitted: bool
    accepted_at: datetime | None
    credential: str | None
    carrier_class: str | None


class PrivatePart(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a message's events tell services alone: who asked for it, and by which carrier it went.

    `credential` is the id of the API key where `api_key` says so, else the kid of the JWT's key. `accepted_at` is there
    where a message was not accepted at its id's own time: it was scheduled first.
    """

    credential: str | None = None
    api_key: bool = False
    carrier: str | None = None
    carrier_class: str | None = None
    accepted_at: datetime | None = None


COLUMNS = ", ".join(Stored.__struct_fields__)


def stored(row: Record) -> Stored:
    """Make a Stored of a row that was selected by COLUMNS."""
    return Stored(*row.values())


def new_message(draft: Draft) -> Message:
    """Return the resource of a message that has just been accepted or scheduled."""
    return Message(
        id=str(draft.id), direction="outbound", to=draft.recipient, sender=draft.sender, body=draft.body,
        encoding=draft.encoding, segments=draft.segments, status=draft.status, price=None, error=None,
        reference=draft.reference, country=draft.country, created_at=id_rfc3339(draft.id),
        send_at=optional_rfc3339(draft.send_at), sent_at=None, completed_at=None,
    )  # fmt: skip


def new_resource(draft: Draft) -> bytes:
    """Return the resource of a message that has just been accepted or scheduled, as JSON."""
    return _encode(new_message(draft))


SHOWN = (
    "id, direction, recipient, sender, body, encoding, segments, status, price_micros, currency, error_code, "
    "reference, country, send_at, sent_at, completed_at"
)
"""The columns of which a resource is made."""
_shown_of = attrgetter(*SHOWN.split(", "))


def shown(row: Iterable[Any]) -> Message:
    """Return the message of a row that was selected by SHOWN, as the list shows it."""
    return Message(*_fields(row))


def resource(message: Stored) -> Message:
    """Return a message as the list shows it."""
    return Message(*_fields(_shown_of(message)))


def _fields(row: Iterable[Any]) -> tuple[Any, ...]:
    """Return the fields of a resource in their order, made of the columns of SHOWN; by place, for lists are long."""
    (
        identifier, direction, recipient, sender, body, encoding, segments, status, price_micros, currency, error_code,
        reference, country, send_at, sent_at, completed_at,
    ) = row  # fmt: skip
    return (
        str(identifier), direction, recipient, sender, body, encoding, segments, status,
        None if price_micros is None or currency is None else _price(price_micros, currency),
        None if error_code is None else _error(error_code),
        reference, country, id_rfc3339(identifier), optional_rfc3339(send_at), optional_rfc3339(sent_at),
        optional_rfc3339(completed_at),
    )  # fmt: skip


_price = lru_cache(maxsize=1024)(money)


@cache
def _error(code: str) -> MessageError:
    fault = MESSAGE_ERRORS.get(code)
    return MessageError(code=code, message=fault.message if fault else code)


def status_event(message: Stored, now: datetime) -> Event:
    """Return the event of the status that a message has just passed, with the message as it is now."""
    return Event(
        id=new_id(),
        type=f"message.{message.status}",
        account_id=message.account_id,
        subject_id=message.id,
        sequence=message.sequence,
        at=now,
        data=to_json(resource(message)),
        private=private_part(
            message.credential, message.carrier, message.carrier_class, accepted_at=message.accepted_at
        ),
    )


@lru_cache(maxsize=4096)
def private_part(
    credential: str | None,
    carrier: str | None = None,
    carrier_class: str | None = None,
    *,
    accepted_at: datetime | None = None,
) -> str:
    """Return the private part of a message's events as JSON; it must not reach customers."""
    # an API key is named by its id, a UUID; a kid is a thumbprint of another length
    api_key = credential is not None and len(credential) == _UUID_LENGTH
    return to_json(PrivatePart(credential, api_key, carrier, carrier_class, accepted_at))


def detail(message: Stored) -> MessageDetail:
    """Return a message with the statuses it has passed: how it began, then what became of it."""
    events = _first_events(message)
    if message.sent_at is not None:
        carrier = f"taken by {message.carrier}" if message.carrier else None
        if carrier and message.resubmitted:
            carrier += "; submitted again after a submit that was never answered"
        events.append(MessageEvent(status="sent", at=rfc3339(message.sent_at), detail=carrier))
    if message.unknown_at is not None:
        events.append(MessageEvent(status="unknown", at=rfc3339(message.unknown_at), detail=None))
    if message.completed_at is not None and message.status != "unknown":
        events.append(
            MessageEvent(status=message.status, at=rfc3339(message.completed_at), detail=message.error_detail)
        )
    return MessageDetail(*(*_fields(_shown_of(message)), events))


def _first_events(message: Stored) -> list[MessageEvent]:
    """Return the statuses before a carrier had the message; an inbound one has none but its end."""
    if message.direction == "inbound":
        return []
    created_at = id_rfc3339(message.id)
    if message.send_at is None:
        return [MessageEvent(status="accepted", at=created_at, detail=None)]
    events = [MessageEvent(status="scheduled", at=created_at, detail=None)]
    if message.accepted_at is not None:
        events.append(MessageEvent(status="accepted", at=rfc3339(message.accepted_at), detail=None))
    return events
