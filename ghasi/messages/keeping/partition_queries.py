"""All SQL of the months of messages: making, showing, detaching and dropping them."""

from uuid import UUID

from ghasi.contract.shapes import FINAL_STATUSES
from ghasi.storage.pool import Connection, Pool, Record

_FINAL = sorted(FINAL_STATUSES)


async def make_partitions(pool: Pool) -> None:
    """Make this month's and the next two months' partitions."""
    await pool.execute(
        """
        SELECT messages.make_partition((date_trunc('month', now() AT TIME ZONE 'UTC')
                                        + make_interval(months => ahead))::date)
        FROM generate_series(0, 2) AS ahead
        """
    )


async def list_partitions(pool: Pool) -> list[Record]:
    """Return table, month, estimated rows, bytes and whether it is attached of all months, the newest first."""
    rows: list[Record] = await pool.fetch(
        """
        SELECT partition.relname, to_char(to_date(substring(partition.relname FROM '[0-9]{4}_[0-9]{2}$'), 'YYYY_MM'),
                                          'YYYY-MM'),
               partition.reltuples::bigint, pg_total_relation_size(partition.oid), partition.relispartition
        FROM pg_class AS partition
        WHERE partition.relnamespace = 'messages'::regnamespace AND partition.relkind = 'r'
          AND partition.relname ~ '^messages_([0-9]{4}_[0-9]{2}|other)$'
        ORDER BY 2 DESC NULLS LAST
        """
    )
    return rows


async def count_on_their_way(pool: Pool, first: UUID, beyond: UUID) -> int:
    """Count messages of a range that are awaited, to be dispatched, or scheduled."""
    count: int = await pool.fetchval(
        """
        SELECT count(DISTINCT message_id) FROM (
            SELECT awaited.message_id FROM messages.awaited
            JOIN messages.messages AS message ON message.id = awaited.message_id
            WHERE awaited.message_id >= $1 AND awaited.message_id < $2 AND message.status <> ALL($3::text[])
            UNION ALL
            SELECT message_id FROM messages.dispatch WHERE message_id >= $1 AND message_id < $2
            UNION ALL
            SELECT message_id FROM messages.scheduled WHERE message_id >= $1 AND message_id < $2
        ) AS waiting
        """,
        first,
        beyond,
        _FINAL,
    )
    return count


async def detach_partition(connection: Connection, table: str, lock_timeout_ms: int) -> None:
    """Detach a partition whose name is one of ours; raises LockNotAvailableError when somebody holds it too long."""
    await connection.execute(f"SET LOCAL lock_timeout = {lock_timeout_ms}")
    await connection.execute(f"ALTER TABLE messages.messages DETACH PARTITION messages.{table}")


async def drop_partition(pool: Pool, table: str) -> None:
    """Delete a detached month whose name is one of ours."""
    await pool.execute(f"DROP TABLE messages.{table}")
