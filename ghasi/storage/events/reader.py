"""Reads a stream behind a position, in batches, over one connection; a new one is opened after whatever goes wrong.

Behind it is a consumer of JetStream's without a name, that JetStream forgets half a minute after the last question. It
is asked for what there is, up to a batch, and answers as soon as there is anything; no more than a batch is under way.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import StreamInfo
from nats.js.errors import APIError
from prometheus_client import Counter

from ghasi.storage.events.link import ANSWER_S, Connection, NatsAwayError
from ghasi.storage.events.positions import BEGINNING, Position, Watermark
from ghasi.storage.events.stream import (
    MESSAGE_ID,
    TRANSACTION,
    Streams,
    created_at,
    find_stream,
    is_history_of,
    sequence_of,
)

WAIT_S = 1.0
FORGOTTEN_S = 30.0
CLOCKS_DIFFER = timedelta(minutes=5)
"""By less do the clocks of NATS and of those who tell when something happened."""
_NANOSECONDS = 1_000_000_000
_CONSUMER = {
    "ack_policy": "none",
    "inactive_threshold": int(FORGOTTEN_S * _NANOSECONDS),
    "mem_storage": True,
    "num_replicas": 1,
    "replay_policy": "instant",
}
_read_watermark = msgspec.json.Decoder(Watermark).decode
log = structlog.get_logger("ghasi.storage")
_missed = Counter(
    "ghasi_outbox_missed_total", "Events that a stream had dropped for their age before their consumer came", ["source"]
)


@dataclass(frozen=True, slots=True)
class Message:
    """One event in a stream."""

    sequence: int
    id: UUID
    xid: int
    payload: bytes


class Reader:
    """Where one process is in a stream: `sequence` is the last that was fetched.

    `pending` is how many there were to be read when it was opened.
    """

    def __init__(self, connection: Connection, name: str, stream: datetime) -> None:
        self.connection = connection
        self.stream = stream
        self.sequence = 0
        self.pending = 0
        self._name = name
        self._inbox = connection.client.new_inbox()
        self._subscriptions: list[Subscription] = []
        self._next = ""
        self._fetched: list[Msg] = []
        self._wanted = 0
        self._fetch: asyncio.Future[str] | None = None
        self._awaited: Watermark | None = None
        self._newest: Watermark | None = None

    async def heed(self, watermarks: str) -> None:
        """Listen to the relay's watermarks; before it is opened, so that none is too old."""
        listening = self.connection.client.subscribe(watermarks, cb=self._on_watermark)
        self._subscriptions.append(await self.connection.ask(listening))

    async def open(self, begins: Mapping[str, object]) -> None:
        """Make the consumer, with where it begins, and listen."""
        client = self.connection.client
        self._subscriptions.append(await self.connection.ask(client.subscribe(self._inbox, cb=self._on_message)))
        question = msgspec.json.encode({"stream_name": self._name, "config": {**_CONSUMER, **begins}})
        answer = await self.connection.ask(
            client.request(f"$JS.API.CONSUMER.CREATE.{self._name}", question, timeout=ANSWER_S)
        )
        made = msgspec.json.decode(answer.data)
        if "error" in made:
            raise APIError.from_error(made["error"])
        self.sequence, self.pending = made["delivered"]["stream_seq"], made["num_pending"]
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{self._name}.{made['name']}"

    async def fetch(self, most: int) -> list[Message]:
        """Wait up to a second for messages and return up to `most`; raises NatsAwayError, and is of no use then."""
        self._fetched, self._wanted = [], most
        self._fetch = asyncio.get_running_loop().create_future()
        question = {"batch": most, "no_wait": True, "expires": int(WAIT_S * _NANOSECONDS)}
        with self.connection.guarded():
            await self.connection.client.publish(self._next, msgspec.json.encode(question), reply=self._inbox)
        status = await self.connection.within(self._fetch, WAIT_S + ANSWER_S)
        if status not in ("", "408", "404"):
            raise NatsAwayError(f"the consumer is gone: {status}")
        messages = []
        for message in self._fetched:
            self.sequence = sequence_of(message.reply)
            headers = message.headers or {}
            if TRANSACTION in headers:  # else it is not ours
                identifier, xid = UUID(headers[MESSAGE_ID]), int(headers[TRANSACTION])
                messages.append(Message(self.sequence, identifier, xid, message.data))
        self._fetched = []
        return messages

    async def _on_message(self, message: Msg) -> None:
        if self._fetch is None or self._fetch.done():
            return
        status = (message.headers or {}).get("Status")
        if status is not None and not message.data:
            if status != "100":
                self._fetch.set_result(status)
            return
        self._fetched.append(message)
        if len(self._fetched) == self._wanted:
            self._fetch.set_result("")

    async def _on_watermark(self, message: Msg) -> None:
        told = _read_watermark(message.data)
        if told.stream == self.stream:
            if self._awaited is None:
                self._awaited = told
            else:
                self._newest = told

    def take_watermark(self, sequence: int) -> Watermark | None:
        """Return the newest watermark that was told and holds for who has applied all up to `sequence`, once.

        Beside the newest one is kept until it holds, or under load there would always be a newer one that does not.
        """
        awaited, newest = self._awaited, self._newest
        if newest is not None and newest.sequence <= sequence:
            self._awaited = self._newest = None
            return newest
        if awaited is not None and awaited.sequence <= sequence:
            self._awaited, self._newest = newest, None
            return awaited
        return None

    def close(self) -> None:
        """Stop listening; JetStream forgets the consumer by itself."""
        for subscription in self._subscriptions:
            self.connection.forget(subscription)
        self._subscriptions = []


async def open_reader(connection: Connection, streams: Streams, source: str, position: Position) -> Reader | None:
    """Open a reader behind a position; None while the stream has not been made.

    Where the stream is not the one that the position was in, it begins with what was stored since the watermark: all
    that happened before has been applied. Without one it begins at the stream's beginning.
    """
    info = await find_stream(connection, streams.name(source))
    if info is None:
        return None
    reader = Reader(connection, streams.name(source), created_at(info))
    try:
        await reader.heed(streams.watermarks(source))
        await reader.open(await _begins(connection, info, position))
    except BaseException:
        reader.close()
        raise
    if info.created == position.stream and position.sequence < reader.sequence == info.state.first_seq - 1:
        log.error("events_missed", source=source, after=position.sequence, before=info.state.first_seq)
        _missed.labels(source).inc(reader.sequence - position.sequence)
    return reader


def since(at: datetime) -> dict[str, object]:
    """Return where a reader begins that is to read all that happened from a time on."""
    start = (at - CLOCKS_DIFFER).astimezone(UTC)
    return {"deliver_policy": "by_start_time", "opt_start_time": start.isoformat().replace("+00:00", "Z")}


async def _begins(connection: Connection, info: StreamInfo, position: Position) -> dict[str, object]:
    if await is_history_of(connection, info, position):
        return {"deliver_policy": "by_start_sequence", "opt_start_seq": position.sequence + 1}
    if position.watermark is not None and position.watermark > BEGINNING:
        return since(position.watermark)
    return {"deliver_policy": "all"}
