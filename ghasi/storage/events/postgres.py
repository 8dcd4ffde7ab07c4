"""Events carried by PostgreSQL: all services share a database, and a consumer reads the source's outbox itself."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog

from ghasi.storage.bells import Bells
from ghasi.storage.events import carrier, positions
from ghasi.storage.events.carrier import MOST, PRUNED_AT_ONCE, Standing
from ghasi.storage.events.outbox import CONSUMERS, Handler, count_after, event_of, oldest_below, read_after
from ghasi.storage.events.positions import BEGINNING, NIL, Position
from ghasi.storage.pool import Connection, Pool

log = structlog.get_logger("ghasi.storage")


class EventsMissingError(Exception):
    """The outbox no longer has all that a consumer of a stream has not read: NATS must carry until it has."""


class PostgresEvents:
    """The carrier without a relay: `bells` wake who follows."""

    def __init__(self, pool: Pool, bells: Bells) -> None:
        self._pool = pool
        self._bells = bells

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

        async def turn() -> bool:
            count = await consume(self._pool, source, consumer, handle, most)
            if count:
                applied()
            return count == most

        await carrier.repeat(turn, source, consumer, self._bells.event(source), gather_s)

    async def relay(self, source: str) -> None:
        """Return at once: consumers read the outbox themselves."""

    async def has_read_until(self, source: str, consumer: str, until: datetime) -> bool:
        """See Events."""
        return await has_read_until(self._pool, source, consumer, until)

    async def prune(self, source: str, keep: timedelta, most: int = PRUNED_AT_ONCE) -> int:
        """Delete up to `most` events that every consumer has read and that are older than `keep`."""
        return await prune(self._pool, source, keep, most)

    async def replay(self, connection: Connection, source: str, consumer: str, since: datetime) -> None:
        """See Events; what was pruned is gone."""
        await positions.make(connection, consumer, source)
        # a batch under way has not moved the position yet: it must, before it is compared
        await connection.execute(f"SELECT FROM {consumer}.positions WHERE source = $1 FOR UPDATE", source)
        await connection.execute(
            f"""
            UPDATE {consumer}.positions AS position SET xid = first.xid, id = $3
            FROM (SELECT min(xid) AS xid FROM {source}.outbox WHERE at >= $2) AS first
            WHERE position.source = $1 AND (first.xid, $3::uuid) < (position.xid, position.id)
            """,
            source,
            since,
            NIL,
        )

    async def rewrite(self, source: str, subjects: Mapping[UUID, UUID], change: Callable[[str], str | None]) -> None:
        """Do nothing: the outbox is all that keeps events."""

    async def standing(self, source: str, consumer: str) -> Standing:
        """See Events."""
        position = await positions.find(self._pool, consumer, source)
        xid, last_id = (position.xid, position.id) if position else (0, NIL)
        behind, oldest = await count_after(self._pool, source, xid, last_id)
        return Standing(source, consumer, "PostgreSQL", f"{xid} {last_id}", behind, oldest or datetime.now(UTC))


async def consume(pool: Pool, source: str, consumer: str, handle: Handler, most: int = MOST) -> int:
    """Read up to `most` events behind the consumer's position and apply them; return how many there were.

    `handle` runs in the transaction that moves the position: it writes to the consumer's schema and does no other I/O.
    While another process holds the position this returns 0.
    """
    async with pool.acquire() as connection, connection.transaction():
        position = await positions.lock(connection, consumer, source)
        if position is None:
            return 0
        if position.watermark is not None:
            await _take_over(connection, source, consumer, position)
        rows = await read_after(connection, source, position.xid, position.id, most)
        carrier.lag.labels(source, consumer).set((datetime.now(UTC) - rows[0]["at"]).total_seconds() if rows else 0.0)
        if not rows:
            return 0
        await handle(connection, [event_of(row) for row in rows])
        last = rows[-1]
        await positions.move_in_outbox(connection, consumer, source, last["xid"], last["id"])
    carrier.read.labels(source, consumer).inc(len(rows))
    return len(rows)


async def _take_over(connection: Connection, source: str, consumer: str, position: Position) -> None:
    """Go on from JetStream; raises EventsMissingError where the outbox lacks what the consumer has not read."""
    relayed = await positions.find(connection, source, source)
    if relayed is not None and relayed.watermark is not None and (position.watermark or BEGINNING) <= relayed.watermark:
        reaches_back = await connection.fetchval(
            f"SELECT EXISTS (SELECT FROM {source}.outbox WHERE (xid, id) <= ($1, $2))", position.xid, position.id
        )
        if not reaches_back:
            raise EventsMissingError(
                f"{consumer} has not read all that {source} gave to NATS, and the outbox no longer has it: "
                "set GHASI_NATS_URL again until `ghasi admin events list` says that nothing waits"
            )
    await positions.move_in_outbox(connection, consumer, source, position.xid, position.id)
    log.info("events_carried_by_postgresql", source=source, consumer=consumer)


async def has_read_until(connection: Connection | Pool, source: str, consumer: str, until: datetime) -> bool:
    """Whether the consumer has read every event that happened before `until`; see Events."""
    position = await positions.find(connection, consumer, source)
    unread: bool = await connection.fetchval(
        f"SELECT EXISTS (SELECT FROM {source}.outbox WHERE (xid, id) > ($1, $2) AND at < $3)",
        position.xid if position else 0,
        position.id if position else NIL,
        until,
    )
    return not unread


async def prune(pool: Pool, source: str, keep: timedelta, most: int = PRUNED_AT_ONCE) -> int:
    """Delete up to `most` events that every consumer has read and that are older than `keep`; return how many."""
    read_by_all = " UNION ALL ".join(
        f"SELECT coalesce((SELECT xid FROM {consumer}.positions WHERE source = '{source}'), '0'::xid8) AS xid"
        for consumer in CONSUMERS[source]
    )
    deleted = await pool.execute(
        f"""
        DELETE FROM {source}.outbox WHERE ctid = ANY(ARRAY(
            {oldest_below(source, f"SELECT min(xid) FROM ({read_by_all}) AS read")}
        ))
        """,
        keep,
        most,
    )
    return int(deleted.split()[-1])
