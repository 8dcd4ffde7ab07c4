"""The seam between services: each writes what happened to its own outbox, in the transaction in which it happens.

Owns order and positions. A transaction that began earlier may commit later, so rows carry their transaction's id and
are read in the order (xid, id), only below the oldest transaction still running: whatever is read next lies behind the
position, always. That order may show a subject's sequence 2 before its 1; events carry the subject's whole state, so
that a consumer needs no order, only the greatest sequence it has seen. A consumer writes its rows and its position in
one transaction and is idempotent by event id. Nothing here knows what an event means.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from uuid import UUID

import asyncpg
import msgspec
import structlog
from prometheus_client import Counter, Gauge

from ghasi.storage.pool import Connection, Pool

POLL_S = 0.25
CONSUMERS: dict[str, tuple[str, ...]] = {
    "auth": ("messages", "billing"),
    "messages": ("webhooks", "billing"),
    "billing": ("messages", "webhooks"),
}
"""Which schemas read which outbox; pruning waits for all of them."""

log = structlog.get_logger("ghasi.storage")
_lag = Gauge(
    "ghasi_outbox_lag_seconds", "Age of the oldest event not read yet", ["source", "consumer"],
    multiprocess_mode="livemax",
)  # fmt: skip
_read = Counter("ghasi_outbox_events_total", "Events read", ["source", "consumer"])
_failures = Counter(
    "ghasi_outbox_failures_total", "Batches of events that could not be applied", ["source", "consumer"]
)


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to a subject; `data` is JSON text; `sequence` counts per subject under its row lock.

    `private` is JSON text for services alone, where `data` goes out to customers as it is.
    """

    id: UUID
    type: str
    account_id: UUID
    subject_id: UUID
    sequence: int
    at: datetime
    data: str
    version: int = 1
    private: str | None = None


Handler = Callable[[Connection, Sequence[Event]], Awaitable[None]]


async def append(connection: Connection, schema: str, events: Sequence[Event]) -> None:
    """Write events to a service's outbox, within the caller's transaction."""
    if not events:
        return
    await connection.execute(
        f"""
        INSERT INTO {schema}.outbox (id, type, version, account_id, subject_id, sequence, at, data, private)
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::smallint[], $4::uuid[], $5::uuid[], $6::int[],
                             $7::timestamptz[], $8::json[], $9::json[])
        """,
        [event.id for event in events],
        [event.type for event in events],
        [event.version for event in events],
        [event.account_id for event in events],
        [event.subject_id for event in events],
        [event.sequence for event in events],
        [event.at for event in events],
        [event.data for event in events],
        [event.private for event in events],
    )


async def consume(pool: Pool, source: str, consumer: str, handle: Handler, most: int = 500) -> int:
    """Read up to `most` events behind the consumer's position and apply them; return how many there were.

    `handle` runs in the transaction that moves the position: it writes to the consumer's schema and does no other I/O.
    While another process holds the position this returns 0.
    """
    async with pool.acquire() as connection, connection.transaction():
        position = await connection.fetchrow(
            f"SELECT xid, id FROM {consumer}.positions WHERE source = $1 FOR UPDATE SKIP LOCKED", source
        )
        if position is None:
            await connection.execute(
                f"INSERT INTO {consumer}.positions (source) VALUES ($1) ON CONFLICT DO NOTHING", source
            )
            return 0
        rows = await connection.fetch(
            f"""
            SELECT id, type, account_id, subject_id, sequence, at, data, version, private, xid
            FROM {source}.outbox
            WHERE (xid, id) > ($1, $2) AND xid < pg_snapshot_xmin(pg_current_snapshot())
            ORDER BY xid, id
            LIMIT $3
            """,
            position["xid"],
            position["id"],
            most,
        )
        _lag.labels(source, consumer).set((datetime.now(UTC) - rows[0]["at"]).total_seconds() if rows else 0.0)
        if not rows:
            return 0
        await handle(connection, [Event(*tuple(row)[:9]) for row in rows])
        last = rows[-1]
        await connection.execute(
            f"UPDATE {consumer}.positions SET xid = $2, id = $3 WHERE source = $1", source, last["xid"], last["id"]
        )
    _read.labels(source, consumer).inc(len(rows))
    return len(rows)


async def has_read_until(connection: Connection | Pool, source: str, consumer: str, until: datetime) -> bool:
    """Whether the consumer has read every event that happened before `until`.

    A transaction that still runs is not seen here: write transactions stay under 2 s, so ask some seconds later.
    """
    position = await connection.fetchrow(f"SELECT xid, id FROM {consumer}.positions WHERE source = $1", source)
    unread: bool = await connection.fetchval(
        f"SELECT EXISTS (SELECT FROM {source}.outbox WHERE (xid, id) > ($1, $2) AND at < $3)",
        position["xid"] if position else 0,
        position["id"] if position else UUID(int=0),
        until,
    )
    return not unread


async def follow(
    pool: Pool,
    source: str,
    consumer: str,
    handle: Handler,
    *,
    wake: asyncio.Event,
    most: int = 500,
    applied: Callable[[], None] = lambda: None,
) -> None:
    """Consume until cancelled: at once when `wake` is set, every 250 ms anyway, backing off while it fails.

    `applied` is called after the commit of each batch that held events, to ring for what it gave others to do.
    """
    backoff_s = POLL_S
    while True:
        wake.clear()
        try:
            count = await consume(pool, source, consumer, handle, most)
            backoff_s = POLL_S
            if count:
                applied()
        except Exception as error:  # a bad batch must not end the consumer; it stays where it is and is seen
            _failures.labels(source, consumer).inc()
            log.exception("outbox_consumer_failed", source=source, consumer=consumer, error=type(error).__name__)
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, 10.0)
            continue
        if count < most:
            # not asyncio.wait_for: before Python 3.12 it swallows a cancellation that comes just as the event is set
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await wake.wait()


async def prune(pool: Pool, source: str, keep: timedelta, most: int = 10_000) -> int:
    """Delete up to `most` events that every consumer has read and that are older than `keep`; return how many."""
    positions = " UNION ALL ".join(
        f"SELECT coalesce((SELECT xid FROM {consumer}.positions WHERE source = '{source}'), '0'::xid8) AS xid"
        for consumer in CONSUMERS[source]
    )
    deleted = await pool.execute(
        f"""
        DELETE FROM {source}.outbox WHERE (xid, id) IN (
            SELECT xid, id FROM {source}.outbox
            WHERE xid < (SELECT min(xid) FROM ({positions}) AS read) AND at < now() - $1::interval
            ORDER BY xid, id LIMIT $2
        )
        """,
        keep,
        most,
    )
    return int(deleted.split()[-1])


async def rebase(connection: asyncpg.Connection) -> bool:
    """After a restore into another cluster, make positions mean something again; return whether there was need.

    A new cluster counts transactions from the beginning, so that old xids would lie in its future. Events that all
    consumers have read are deleted; the rest get this transaction's xid and are read again by all: consumers are
    idempotent.
    """
    async with connection.transaction():
        current = await connection.fetchval("SELECT system_identifier FROM pg_control_system()")
        known = await connection.fetchval("SELECT system_identifier FROM storage.cluster FOR UPDATE")
        await connection.execute(
            "INSERT INTO storage.cluster (system_identifier) VALUES ($1) "
            "ON CONFLICT (only_row) DO UPDATE SET system_identifier = $1",
            current,
        )
        if known in (None, current):
            return False
        here = {row["nspname"] for row in await connection.fetch("SELECT nspname FROM pg_namespace")}
        for source, consumers in CONSUMERS.items():
            if source not in here:
                continue
            if here.issuperset(consumers):  # what those elsewhere have read is not known here
                await _delete_read(connection, source, consumers)
            await connection.execute(f"UPDATE {source}.outbox SET xid = pg_current_xact_id()")
        for consumer in here.intersection(chain.from_iterable(CONSUMERS.values())):
            await connection.execute(
                f"UPDATE {consumer}.positions SET xid = '0', id = '00000000-0000-0000-0000-000000000000'"
            )
    log.warning("outboxes_rebased", previous=known, current=current)
    return True


async def _delete_read(connection: asyncpg.Connection, source: str, consumers: Sequence[str]) -> None:
    """Delete what all consumers have read; one without a position has read nothing."""
    positions = " UNION ALL ".join(
        f"SELECT xid, id FROM {consumer}.positions WHERE source = '{source}'" for consumer in consumers
    )
    await connection.execute(
        f"""
        DELETE FROM {source}.outbox AS event
        USING (SELECT xid, id, count(*) OVER () AS consumers FROM ({positions}) AS every
               ORDER BY xid, id LIMIT 1) AS first
        WHERE first.consumers = $1 AND (event.xid, event.id) <= (first.xid, first.id)
        """,
        len(consumers),
    )


def latest_of(events: Iterable[Event], event_type: str) -> list[Event]:
    """Return each subject's last event of a type: where it has the whole state, that is the one that counts."""
    latest: dict[UUID, Event] = {}
    for event in events:
        if event.type == event_type:
            known = latest.get(event.subject_id)
            if known is None or known.sequence < event.sequence:
                latest[event.subject_id] = event
    return list(latest.values())


def to_json(value: object) -> str:
    """Encode an event's data."""
    return msgspec.json.encode(value).decode()
