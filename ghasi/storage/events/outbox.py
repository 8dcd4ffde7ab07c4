"""What an event is, and the outbox to which a service writes what happens, in the transaction in which it happens.

Owns order. A transaction that began earlier may commit later, so rows carry their transaction's id and are read in the
order (xid, id), only below the oldest transaction still running: whatever is read next lies behind the place so far,
always. That order may show a subject's sequence 2 before its 1; events carry the subject's whole state, so that a
consumer needs no order, only the greatest sequence it has seen. Nothing here knows what an event means, or who carries
it to whom.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from ghasi.storage.pool import Connection, Pool, Record

CONSUMERS: dict[str, tuple[str, ...]] = {
    "auth": ("messages", "billing"),
    "messages": ("webhooks", "billing"),
    "billing": ("messages", "webhooks"),
}
"""Which schemas read which outbox."""


class Event(msgspec.Struct, frozen=True):
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
"""Writes what a batch of events means to its consumer, in the transaction that moves the position; idempotent."""


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


async def read_after(connection: Connection | Pool, source: str, xid: int, last_id: UUID, most: int) -> list[Record]:
    """Read up to `most` events behind a place in an outbox: an event's values in its order, and its xid."""
    rows: list[Record] = await connection.fetch(
        f"""
        SELECT id, type, account_id, subject_id, sequence, at, data, version, private, xid
        FROM {source}.outbox
        WHERE (xid, id) > ($1, $2) AND xid < pg_snapshot_xmin(pg_current_snapshot())
        ORDER BY xid, id
        LIMIT $3
        """,
        xid,
        last_id,
        most,
    )
    return rows


def oldest_below(source: str, place: str) -> str:
    """Return the SQL of where those of an outbox's first $2 events lie that are older than $1, to be pruned.

    They are below a transaction id, which `place` selects. No more are looked at, and they are deleted by their place:
    a day's events are too many to be read each time, which a join with them would do.
    """
    return f"""
        SELECT oldest.place FROM (
            SELECT ctid AS place, at FROM {source}.outbox WHERE xid < ({place}) ORDER BY xid, id LIMIT $2
        ) AS oldest WHERE oldest.at < now() - $1::interval
    """


async def count_after(pool: Pool, source: str, xid: int, last_id: UUID) -> tuple[int, datetime | None]:
    """Count the events behind a place in an outbox, and return when the oldest of them happened."""
    row = await pool.fetchrow(f"SELECT count(*), min(at) FROM {source}.outbox WHERE (xid, id) > ($1, $2)", xid, last_id)
    return (0, None) if row is None else (row[0], row[1])


def event_of(row: Record) -> Event:
    """Return the event of a row of `read_after`."""
    return Event(*tuple(row)[:9])


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
