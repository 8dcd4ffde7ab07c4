"""Events carried by NATS JetStream: a consumer needs nothing of the source's database.

Where a consumer stands is in its own database alone, beside what it wrote. It reads by a consumer of JetStream's that
lives as long as the connection, begins behind that position and acknowledges nothing. Several processes may read for
the same consumer: under the lock of the position each passes over what another has applied, and one that falls behind
waits until the position stands still.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import structlog

from ghasi.storage.bells import Bells
from ghasi.storage.events import carrier, positions
from ghasi.storage.events.carrier import MOST, POLL_S, PRUNED_AT_ONCE, RELAY, Standing
from ghasi.storage.events.link import Link
from ghasi.storage.events.outbox import Event, Handler, count_after, oldest_below
from ghasi.storage.events.positions import BEGINNING, Position
from ghasi.storage.events.reader import Message, Reader, open_reader
from ghasi.storage.events.relay import LOCK, Relay
from ghasi.storage.events.rewriting import Change, rewrite
from ghasi.storage.events.stream import Streams, find_stream, read_payload
from ghasi.storage.pool import Connection, Pool

TOLD_WITHIN_S = 10.0
"""Without a watermark for so long, a consumer does not know that it has read all: its lag counts from the last."""


log = structlog.get_logger("ghasi.storage")


class JetStreamEvents:
    """The carrier with a relay for each source."""

    def __init__(self, pool: Pool, bells: Bells, link: Link, streams: Streams, **pace: Any) -> None:
        """`pace` is for tests, and the relay's."""
        self._pool, self._bells, self._link, self._streams, self._pace = pool, bells, link, streams, pace

    async def follow(
        self,
        source: str,
        consumer: str,
        handle: Handler,
        *,
        most: int = MOST,
        gather_s: float = 0.0,
        applied: Callable[[], None] = lambda: None,
    ) -> None:
        """See Events."""
        reading = Reading(source, consumer, handle, most, applied)
        follower = Follower(self._pool, self._link, self._streams, reading)
        await carrier.repeat(follower.turn, source, consumer, gather_s=gather_s)

    async def relay(self, source: str) -> None:
        """See Events."""
        await Relay(self._pool, self._bells, self._link, self._streams, source, **self._pace).run()

    async def has_read_until(self, source: str, consumer: str, until: datetime) -> bool:
        """See Events; known from what the relay says once a second, of the time three seconds before."""
        position = await positions.find(self._pool, consumer, source)
        return position is not None and position.watermark is not None and position.watermark >= until

    async def prune(self, source: str, keep: timedelta, most: int = PRUNED_AT_ONCE) -> int:
        """Delete up to `most` events that were relayed and are older than `keep`: the rest refills a lost stream."""
        pruned: int = await self._pool.fetchval(
            f"""
            WITH pruned AS (
                DELETE FROM {source}.outbox WHERE ctid = ANY(ARRAY(
                    {oldest_below(source, f"SELECT xid FROM {source}.positions WHERE source = '{source}'")}
                )) RETURNING at
            ), noted AS (
                UPDATE {source}.positions SET watermark = greatest(watermark, (SELECT max(at) FROM pruned))
                WHERE source = '{source}'
            )
            SELECT count(*) FROM pruned
            """,
            keep,
            most,
        )
        return pruned

    async def replay(self, connection: Connection, source: str, consumer: str, since: datetime) -> None:
        """See Events; as far back as the stream keeps."""
        await positions.make(connection, consumer, source)
        await positions.go_back(connection, consumer, source, since)

    async def rewrite(self, source: str, subjects: Mapping[UUID, UUID], change: Change) -> None:
        """See Events. Begins when the relay has published what it may have read before the outbox was changed."""
        async with self._pool.acquire() as database, database.transaction():
            await database.execute(f"SELECT pg_advisory_xact_lock({LOCK})", source)
        connection = await self._link.connection()
        count = await rewrite(connection, self._streams, source, subjects, change)
        log.info("events_rewritten", source=source, events=count)

    async def standing(self, source: str, consumer: str) -> Standing:
        """See Events; how much lies before a consumer NATS says, if it is there."""
        position = await positions.find(self._pool, source if consumer == RELAY else consumer, source)
        if consumer == RELAY:
            xid, last_id = (position.xid, position.id) if position else (0, positions.NIL)
            behind, oldest = await count_after(self._pool, source, xid, last_id)
            return Standing(source, RELAY, "NATS", f"{xid} {last_id}", behind, oldest or datetime.now(UTC))
        sequence = position.sequence if position else 0
        watermark = None if position is None or position.watermark == BEGINNING else position.watermark
        return Standing(source, consumer, "NATS", str(sequence), await self._behind(source, position), watermark)

    async def _behind(self, source: str, position: Position | None) -> int | None:
        try:
            connection = await self._link.connection()
            info = await find_stream(connection, self._streams.name(source))
        except carrier.CarrierAwayError:
            return None
        if info is None:
            return None
        read_to = position.sequence if position is not None and position.stream == info.created else 0
        return max(0, info.state.last_seq - max(read_to, info.state.first_seq - 1))


@dataclass(frozen=True, slots=True)
class Reading:
    """What `follow` was called with."""

    source: str
    consumer: str
    handle: Handler
    most: int
    applied: Callable[[], None]


class Follower:
    """Reads a source for a consumer, in this process."""

    def __init__(self, pool: Pool, link: Link, streams: Streams, reading: Reading) -> None:
        self._pool, self._link, self._streams = pool, link, streams
        self._source, self._consumer = reading.source, reading.consumer
        self._handle, self._most, self._applied = reading.handle, reading.most, reading.applied
        self._reader: Reader | None = None
        self._seen: Position | None = None
        self._expected = 0
        self._watermark = BEGINNING
        self._told_at = time.monotonic()

    async def turn(self) -> bool:
        """Wait up to a second for events and apply them; return whether to take the next turn at once."""
        try:
            return await self._turn()
        except BaseException:
            self._leave()
            raise
        finally:
            if time.monotonic() > self._told_at + TOLD_WITHIN_S:
                self._note_silence()

    async def _turn(self) -> bool:
        if self._reader is None or not self._reader.connection.is_open:
            self._reader = await self._open()
            if self._reader is None:
                return False
        messages = await self._reader.fetch(self._most)
        if messages:
            return await self._apply(self._reader, messages)
        carrier.lag.labels(self._source, self._consumer).set(0.0)
        await self._look_around(self._reader)
        return True

    async def _look_around(self, reader: Reader) -> None:
        """Once a second while nothing comes: up to when that is all, and whether an operator has moved the position."""
        told = reader.take_watermark(self._expected)
        if told is not None:
            await positions.raise_watermark(self._pool, self._consumer, self._source, told)
            self._heard(told.before)
        position = await positions.find(self._pool, self._consumer, self._source)
        if position is None or position.stream != reader.stream or position.sequence < self._expected:
            self._leave()

    def _leave(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    async def _open(self) -> Reader | None:
        """Begin to read behind the position, unless another process moves it or there is no stream yet."""
        self._leave()
        position = await positions.find(self._pool, self._consumer, self._source)
        if position is None:
            await positions.make(self._pool, self._consumer, self._source)
            return None
        if position.watermark is not None and position.watermark > self._watermark:
            self._heard(position.watermark)
        seen, self._seen = self._seen, position
        if seen is not None and (seen.stream, seen.sequence) != (position.stream, position.sequence):
            return None
        connection = await self._link.connection()
        reader = await open_reader(connection, self._streams, self._source, position)
        if reader is None:
            return None
        if not await self._adopt(reader, position):
            reader.close()
            return None
        self._seen = None
        return reader

    async def _adopt(self, reader: Reader, position: Position) -> bool:
        """Write where the reader begins, where that is not at the position; return whether it is still as it was."""
        self._expected = reader.sequence
        if (reader.stream, reader.sequence) == (position.stream, position.sequence) and position.watermark is not None:
            return True
        async with self._pool.acquire() as database, database.transaction():
            if await positions.lock(database, self._consumer, self._source) != position:
                return False
            begins = Position(position.xid, position.id, reader.stream, reader.sequence, None, BEGINNING)
            await positions.move(database, self._consumer, self._source, begins)
        return True

    async def _apply(self, reader: Reader, messages: list[Message]) -> bool:
        """Apply what no other process has, with the position, in one transaction."""
        events = [read_payload(message.payload) for message in messages]
        age_s = (datetime.now(UTC) - events[0].at).total_seconds()
        carrier.lag.labels(self._source, self._consumer).set(age_s)
        while (position := await self._try(reader, messages, events)) is None:
            await asyncio.sleep(POLL_S / 5)  # another process is at it
        if position.stream != reader.stream or position.sequence < self._expected:
            self._leave()  # an operator has it begin elsewhere
            return True
        applied = sum(message.sequence > position.sequence for message in messages)
        self._expected = max(position.sequence, messages[-1].sequence)
        if applied:
            carrier.read.labels(self._source, self._consumer).inc(applied)
            self._applied()
        elif position.sequence > messages[-1].sequence:  # another is ahead
            self._leave()
            self._seen = position
            return False
        return True

    async def _try(self, reader: Reader, messages: list[Message], events: list[Event]) -> Position | None:
        """Lock the position and apply what lies behind it; return where it was, None while another process has it."""
        async with self._pool.acquire() as database, database.transaction():
            position = await positions.lock(database, self._consumer, self._source)
            if position is None or position.stream != reader.stream or position.sequence < self._expected:
                return position
            fresh = [event for event, m in zip(events, messages, strict=True) if m.sequence > position.sequence]
            if fresh:
                await self._handle(database, fresh)
                last, told = messages[-1], reader.take_watermark(messages[-1].sequence)
                watermark = None if told is None else told.before
                moved = Position(last.xid, last.id, reader.stream, last.sequence, last.id, watermark)
                await positions.move(database, self._consumer, self._source, moved)
                if watermark is not None:
                    self._heard(watermark)
        return position

    def _heard(self, watermark: datetime) -> None:
        self._watermark, self._told_at = max(self._watermark, watermark), time.monotonic()

    def _note_silence(self) -> None:
        """Without NATS, or a relay, nobody knows what has happened since the last watermark."""
        if self._watermark > BEGINNING:
            silent_s = (datetime.now(UTC) - self._watermark).total_seconds()
            carrier.lag.labels(self._source, self._consumer).set(silent_s)
