"""How far a consumer has read a source: one row of its own `positions`, moved in the transaction that applies events.

The row has both places, that in the outbox and that in the stream, and both are kept by whoever carries: so that an
installation may go from one carrier to the other and back. A service's row by its own name is its relay's. All the SQL
on positions but the rebase.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import msgspec

from ghasi.storage.pool import Connection, Pool

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
"""A watermark that says nothing, save that JetStream carries."""
NIL = UUID(int=0)
_COLUMNS = "xid, id, stream, sequence, message, watermark"
SESSION_ENDS_MS = 15_000
"""How long a process that hangs, or whose machine is gone without a word, keeps others out.

PostgreSQL ends its session then. Longer than a relay waits for acknowledgements, several times over.
"""


class Watermark(msgspec.Struct, frozen=True):
    """What a relay tells: all that happened `before` is in the `stream`, up to `sequence`."""

    stream: datetime
    sequence: int
    before: datetime


@dataclass(frozen=True, slots=True)
class Position:
    """A row of `positions`: (xid, id) of the outbox; `sequence` of the `stream` made then, and the message there.

    `watermark`: all that happened before has been applied; None while PostgreSQL carries. Of a relay: what happened
    later has not been pruned.
    """

    xid: int
    id: UUID
    stream: datetime | None
    sequence: int
    message: UUID | None
    watermark: datetime | None


async def find(connection: Connection | Pool, reader: str, source: str) -> Position | None:
    """Return a position, if there is one."""
    row = await connection.fetchrow(f"SELECT {_COLUMNS} FROM {reader}.positions WHERE source = $1", source)
    return None if row is None else Position(*row.values())


async def lock(connection: Connection, reader: str, source: str) -> Position | None:
    """Lock a position until the transaction ends; None while another holds it. One that is missing is made.

    PostgreSQL ends the session, and so the lock, when the transaction stands still for SESSION_ENDS_MS. What the
    transaction does is planned once a connection: its statements are for batches, and planning over a year's partitions
    for each of them takes as long as carrying it out.
    """
    row = await connection.fetchrow(
        f"""
        SELECT {_COLUMNS}, set_config('idle_in_transaction_session_timeout', $2, true),
            set_config('plan_cache_mode', 'force_generic_plan', true)
        FROM {reader}.positions WHERE source = $1 FOR UPDATE SKIP LOCKED
        """,
        source,
        str(SESSION_ENDS_MS),
    )
    if row is None:
        await make(connection, reader, source)
        return None
    return Position(*tuple(row)[:-2])


async def make(connection: Connection | Pool, reader: str, source: str) -> None:
    """Make a position at the very beginning, where there is none."""
    await connection.execute(f"INSERT INTO {reader}.positions (source) VALUES ($1) ON CONFLICT DO NOTHING", source)


async def move(connection: Connection, reader: str, source: str, position: Position) -> None:
    """Write where a reader is now, in the transaction that holds the row; a watermark only rises."""
    await connection.execute(
        f"""
        UPDATE {reader}.positions
        SET xid = $2, id = $3, stream = $4, sequence = $5, message = $6, watermark = greatest(watermark, $7)
        WHERE source = $1
        """,
        source,
        position.xid,
        position.id,
        position.stream,
        position.sequence,
        position.message,
        position.watermark,
    )


async def move_in_outbox(connection: Connection, reader: str, source: str, xid: int, last_id: UUID) -> None:
    """Write how far an outbox has been read, where PostgreSQL carries."""
    await connection.execute(
        f"UPDATE {reader}.positions SET xid = $2, id = $3, watermark = NULL WHERE source = $1", source, xid, last_id
    )


async def raise_watermark(pool: Pool, reader: str, source: str, told: Watermark) -> None:
    """Write a newer watermark, if the position has come as far.

    What a crash loses of it is told again in a moment, so that nobody waits for the disk.
    """
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL synchronous_commit = off")
        await connection.execute(
            f"""
            UPDATE {reader}.positions SET watermark = $4
            WHERE source = $1 AND stream = $2 AND sequence >= $3 AND watermark < $4
            """,
            source,
            told.stream,
            told.sequence,
            told.before,
        )


async def go_back(connection: Connection, reader: str, source: str, since: datetime) -> None:
    """Let a consumer that reads a stream begin anew with what happened at `since`."""
    await connection.execute(
        f"""
        UPDATE {reader}.positions
        SET stream = NULL, sequence = 0, message = NULL, watermark = least(watermark, $2) WHERE source = $1
        """,
        source,
        since,
    )
