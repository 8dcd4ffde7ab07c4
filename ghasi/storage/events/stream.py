"""A source's stream in JetStream: its name, how long it keeps, how an event is written in it, whose history it holds.

One message an event, on `ghasi.SOURCE.ACCOUNT_ID.TYPE`, its Nats-Msg-Id the event's id, in the order of the outbox. The
payload is the event as JSON. A stream that was lost and made anew has another `created`; one whose tail was lost, as a
power cut may do, has another message at the place that somebody remembers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
import structlog
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig, StreamInfo
from nats.js.errors import NotFoundError

from ghasi.storage.events.link import Connection
from ghasi.storage.events.outbox import Event
from ghasi.storage.events.positions import Position

DUPLICATES_S = 120.0
"""How long JetStream knows an id again."""
KEPT_FOR_EVER = ("auth",)
"""Their outboxes are never pruned either: whoever comes later learns of every account."""
_ACK_TOKENS = 9
"""Where the subject names no domain and account."""
MESSAGE_ID, LAST_MESSAGE_ID, TRANSACTION = "Nats-Msg-Id", "Nats-Expected-Last-Msg-Id", "Ghasi-Transaction"
log = structlog.get_logger("ghasi.storage")


@dataclass(frozen=True, slots=True)
class Streams:
    """How streams are named and kept; `prefix` sets installations, or tests, apart that share a server."""

    keep: timedelta = timedelta(days=3)
    replicas: int = 1
    prefix: str = "ghasi"

    def name(self, source: str) -> str:
        """Return the name of a source's stream."""
        return f"{self.prefix}-{source}".upper()

    def subject(self, source: str, account_id: UUID, event_type: str) -> str:
        """Return where an event is published."""
        return f"{self.prefix}.{source}.{account_id}.{event_type}"

    def watermarks(self, source: str) -> str:
        """Return where the relay says how far it has come: on no stream."""
        return f"{self.prefix}-watermark.{source}"

    def config(self, source: str) -> StreamConfig:
        """Return what the relay sees to; all else of a stream is its operator's."""
        return StreamConfig(
            name=self.name(source),
            subjects=[f"{self.prefix}.{source}.>"],
            storage=StorageType.FILE,
            retention=RetentionPolicy.LIMITS,
            discard=DiscardPolicy.OLD,
            max_age=0.0 if source in KEPT_FOR_EVER else self.keep.total_seconds(),
            duplicate_window=DUPLICATES_S,
            num_replicas=self.replicas,
        )


_NULL = msgspec.Raw(b"null")


class _Envelope(msgspec.Struct, frozen=True):
    id: UUID
    type: str
    account_id: UUID
    subject_id: UUID
    sequence: int
    at: datetime
    data: msgspec.Raw
    version: int = 1
    private: msgspec.Raw = _NULL


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Envelope).decode


def write_payload(event: Event) -> bytes:
    """Return what is published of an event."""
    return _encode(
        _Envelope(
            event.id,
            event.type,
            event.account_id,
            event.subject_id,
            event.sequence,
            event.at,
            msgspec.Raw(event.data.encode()),
            event.version,
            _NULL if event.private is None else msgspec.Raw(event.private.encode()),
        )
    )


def read_payload(payload: bytes) -> Event:
    """Return the event of a message; raises msgspec.MsgspecError."""
    found = _decode(payload)
    private = bytes(found.private)
    return Event(
        found.id,
        found.type,
        found.account_id,
        found.subject_id,
        found.sequence,
        found.at,
        bytes(found.data).decode(),
        found.version,
        None if private == bytes(_NULL) else private.decode(),
    )


def sequence_of(reply: str) -> int:
    """Return a message's place in its stream, from the subject of its acknowledgement (ADR-15 of NATS)."""
    tokens = reply.split(".")
    return int(tokens[5 if len(tokens) == _ACK_TOKENS else 7])


def created_at(info: StreamInfo) -> datetime:
    """Return when a stream was made, which tells it from one of the same name before."""
    if info.created is None:
        raise ValueError("JetStream does not say when the stream was made")
    return info.created


async def find_stream(connection: Connection, name: str) -> StreamInfo | None:
    """Return a stream, if it has been made."""
    try:
        return await connection.ask(connection.jetstream.stream_info(name))
    except NotFoundError:
        return None


async def make_stream(connection: Connection, wanted: StreamConfig) -> StreamInfo:
    """Return a stream, made or changed to what is wanted of it; what else was set on it stays."""
    jetstream, name = connection.jetstream, str(wanted.name)
    info = await find_stream(connection, name)
    if info is None:
        log.info("stream_made", stream=name)
        return await connection.ask(jetstream.add_stream(wanted))
    ours: Mapping[str, object] = {
        "subjects": wanted.subjects,
        "max_age": wanted.max_age,
        "duplicate_window": wanted.duplicate_window,
        "num_replicas": wanted.num_replicas,
    }
    if any(getattr(info.config, key) != value for key, value in ours.items()):
        log.info("stream_changed", stream=name)
        return await connection.ask(jetstream.update_stream(info.config.evolve(**ours)))
    return info


async def is_history_of(connection: Connection, info: StreamInfo, position: Position) -> bool:
    """Whether a stream is the one that a position was in, with all that lay before it then."""
    if info.created != position.stream or info.state.last_seq < position.sequence:
        return False
    if position.message is None or position.sequence < info.state.first_seq:
        return True
    try:
        found = await connection.ask(connection.jetstream.get_msg(str(info.config.name), position.sequence))
    except NotFoundError:  # deleted by itself
        return True
    return (found.headers or {}).get(MESSAGE_ID) == str(position.message)
