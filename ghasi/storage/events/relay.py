"""Publishes a source's outbox to its stream, in order, and says how far it has come.

One process at a time relays a source. It holds an advisory lock in a transaction that has no xid until the position is
moved, rather than the position's row: a transaction with an xid that waits for NATS would hold back every reader of an
outbox in the database. A process that hangs with the lock loses it: PostgreSQL ends its session.

Every message says which one it follows, so that the stream has the order of the outbox whatever gets lost on the way:
behind a message that was not stored nothing is. What is published again, after a crash between publishing and moving,
JetStream knows by its id for two minutes; consumers are idempotent beyond that.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from ghasi.storage.bells import Bells
from ghasi.storage.events import carrier, positions
from ghasi.storage.events.carrier import RELAY
from ghasi.storage.events.link import Connection, Link
from ghasi.storage.events.outbox import event_of, read_after
from ghasi.storage.events.positions import NIL, SESSION_ENDS_MS, Position, Watermark
from ghasi.storage.events.stream import (
    LAST_MESSAGE_ID,
    MESSAGE_ID,
    TRANSACTION,
    Streams,
    created_at,
    find_stream,
    is_history_of,
    make_stream,
    write_payload,
)
from ghasi.storage.pool import Connection as Database
from ghasi.storage.pool import Pool, Record

BATCH = 500
ACKNOWLEDGED_S = 5.0
SETTLED = timedelta(seconds=3)
"""Transactions that write are over by then, and clocks differ by less."""
WATERMARK_S = 1.0
LOCK = "hashtextextended('events.relay:' || $1, 0)"
"""The advisory lock of a source's relay."""
log = structlog.get_logger("ghasi.storage")


class PublishError(Exception):
    """JetStream did not take a message; the text is its answer."""


class StreamReplacedError(Exception):
    """The stream is another than the one that was published to: what it holds is to be found out anew."""


class _Refusal(msgspec.Struct, frozen=True):
    err_code: int = 0
    description: str = ""


class _Acknowledgement(msgspec.Struct, frozen=True):
    seq: int = 0
    duplicate: bool = False
    error: _Refusal | None = None


_read_acknowledgement = msgspec.json.Decoder(_Acknowledgement).decode


class Publisher:
    """Publishes to one stream over one connection, many messages at a time."""

    def __init__(self, connection: Connection, streams: Streams, source: str, created: datetime) -> None:
        self.connection = connection
        self.created = created
        self._streams = streams
        self._source = source
        self._inbox = connection.client.new_inbox()
        self._attempt = 0
        self._answers: dict[int, _Acknowledgement] = {}
        self._awaited = 0
        self._answered: asyncio.Future[None] | None = None
        self._last: str | None = None
        self._subscription: Subscription | None = None

    async def open(self) -> None:
        """Listen for acknowledgements."""
        listening = self.connection.client.subscribe(f"{self._inbox}.*.*", cb=self._on_answer)
        self._subscription = await self.connection.ask(listening)

    def close(self) -> None:
        """Stop listening."""
        if self._subscription is not None:
            self.connection.forget(self._subscription)

    async def publish(self, rows: Sequence[Record]) -> tuple[int, UUID]:
        """Publish rows of the outbox in order; return the sequence and the id of the newest once all are stored.

        Raises NatsAwayError, PublishError or StreamReplacedError; some may be stored then. That the last was stored now
        says that all are: each says which it follows. So it alone is asked for, and all only where it was refused, or
        had been stored before: that says nothing of the others.
        """
        refusal = ""
        for each in (False, True, True):
            answers = await self._send(rows, each=each)
            refused = next(((number, one.error) for number, one in sorted(answers.items()) if one.error), None)
            if refused is None and (each or not answers[len(rows) - 1].duplicate):
                newest = max(answers, key=lambda number: answers[number].seq)
                self._last = str(rows[newest]["id"])
                return answers[newest].seq, rows[newest]["id"]
            if not each:
                await self._look_again()
            # somebody else has published, or the server was started again and has forgotten its last id
            self._last = None
            if refused is not None:
                refusal = refused[1].description
                if each:
                    rows = rows[refused[0] :]
        raise PublishError(refusal)

    async def _look_again(self) -> None:
        info = await find_stream(self.connection, self._streams.name(self._source))
        if info is None or created_at(info) != self.created:
            raise StreamReplacedError

    async def _send(self, rows: Sequence[Record], *, each: bool) -> dict[int, _Acknowledgement]:
        """Publish rows and return the acknowledgements by number: of each, or of the last alone."""
        self._attempt += 1
        self._answers, self._awaited = {}, len(rows) if each else 1
        self._answered = asyncio.get_running_loop().create_future()
        client, previous, reply = self.connection.client, self._last, f"{self._inbox}.{self._attempt}."
        with self.connection.guarded():
            for number, row in enumerate(rows):
                headers = {MESSAGE_ID: str(row["id"]), TRANSACTION: str(row["xid"])}
                if previous is not None:
                    headers[LAST_MESSAGE_ID] = previous
                previous = headers[MESSAGE_ID]
                subject = self._streams.subject(self._source, row["account_id"], row["type"])
                asked = each or number == len(rows) - 1
                await client.publish(
                    subject, write_payload(event_of(row)), reply=f"{reply}{number}" if asked else "", headers=headers
                )
        await self.connection.within(self._answered, ACKNOWLEDGED_S)
        return self._answers

    async def _on_answer(self, message: Msg) -> None:
        _, attempt, number = message.subject.rsplit(".", 2)
        if int(attempt) != self._attempt or self._answered is None or self._answered.done():
            return
        if not message.data:  # 503: nobody serves the subject
            self.connection.drop()
            return
        self._answers[int(number)] = _read_acknowledgement(message.data)
        if len(self._answers) == self._awaited:
            self._answered.set_result(None)

    async def tell(self, watermark: Watermark) -> None:
        """Say how far the stream goes; who does not hear it hears the next."""
        with self.connection.guarded():
            await self.connection.client.publish(self._streams.watermarks(self._source), msgspec.json.encode(watermark))


class Relay:
    """The relay of one source in this process."""

    def __init__(self, pool: Pool, bells: Bells, link: Link, streams: Streams, source: str, **pace: Any) -> None:
        """`pace` is for tests: `batch`, `settled` and `watermark_s`."""
        self._pool, self._bells, self._link, self._streams, self._source = pool, bells, link, streams, source
        self._batch: int = pace.get("batch", BATCH)
        self._settled: timedelta = pace.get("settled", SETTLED)
        self._watermark_s: float = pace.get("watermark_s", WATERMARK_S)
        self._publisher: Publisher | None = None
        self._told_at = 0.0

    async def run(self) -> None:
        """Relay until cancelled."""
        await carrier.repeat(self.turn, self._source, RELAY, self._bells.event(self._source))

    async def turn(self) -> bool:
        """Publish a batch, unless another process is at it; return whether there is more."""
        lag = carrier.lag.labels(self._source, RELAY)
        async with self._pool.acquire() as database, database.transaction():
            position = await self._lock(database)
            if position is None:
                lag.set(0.0)
                return False
            rows = await read_after(database, self._source, position.xid, position.id, self._batch)
            lag.set((datetime.now(UTC) - rows[0]["at"]).total_seconds() if rows else 0.0)
            is_due = len(rows) < self._batch and time.monotonic() >= self._told_at + self._watermark_s
            if not rows and not is_due:
                return False
            await database.execute(f"SET LOCAL idle_in_transaction_session_timeout = {SESSION_ENDS_MS}")
            publisher, begins = await self._open(position)
            if begins != position:  # a stream without what was published: the outbox is read from its beginning
                await positions.move(database, self._source, self._source, begins)
                return True
            if rows:
                last = rows[-1]
                try:
                    sequence, message = await publisher.publish(rows)
                except StreamReplacedError:
                    self._leave()
                    return True
                position = replace(position, xid=last["xid"], id=last["id"], sequence=sequence, message=message)
            if is_due:
                before = await self._settles(database, position)
                await publisher.tell(Watermark(publisher.created, position.sequence, before))
                self._told_at = time.monotonic()
            if rows:
                await positions.move(database, self._source, self._source, position)
        carrier.read.labels(self._source, RELAY).inc(len(rows))
        return len(rows) == self._batch

    async def _lock(self, database: Database) -> Position | None:
        """Return the position if no other process relays, until the transaction ends."""
        if not await database.fetchval(f"SELECT pg_try_advisory_xact_lock({LOCK})", self._source):
            return None
        position = await positions.find(database, self._source, self._source)
        if position is None:
            await positions.make(database, self._source, self._source)
        return position

    async def _open(self, position: Position) -> tuple[Publisher, Position]:
        """Return the publisher, and where to go on: at the outbox's beginning where the stream lacks what it had."""
        connection = await self._link.connection()
        known = self._publisher
        if known is not None and known.connection is connection and known.created == position.stream:
            return known, position
        self._leave()
        info = await make_stream(connection, self._streams.config(self._source))
        self._publisher = Publisher(connection, self._streams, self._source, created_at(info))
        await self._publisher.open()
        if await is_history_of(connection, info, position):
            return self._publisher, position
        if position.stream is not None:
            log.warning("stream_refilled", source=self._source, stream=info.config.name)
        return self._publisher, Position(0, NIL, info.created, info.state.last_seq, None, None)

    def _leave(self) -> None:
        if self._publisher is not None:
            self._publisher.close()
            self._publisher = None

    async def _settles(self, database: Database, position: Position) -> datetime:
        """Return a time before which nothing happened that is not in the stream."""
        before: datetime = await database.fetchval(
            f"""
            SELECT least(clock_timestamp() - $3::interval,
                         (SELECT min(at) FROM {self._source}.outbox WHERE (xid, id) > ($1, $2)))
            """,
            position.xid,
            position.id,
            self._settled,
        )
        return before
