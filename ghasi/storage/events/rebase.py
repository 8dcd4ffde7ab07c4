"""Makes positions mean something again after a restore into another cluster, which counts transactions anew."""

import asyncpg
import structlog

from ghasi.storage.events.outbox import CONSUMERS

log = structlog.get_logger("ghasi.storage")


async def rebase(connection: asyncpg.Connection) -> bool:
    """Look whether this is another cluster than the last time, and rebase then; return whether there was need.

    Old xids would lie in the future. Events that all consumers have read are deleted, where all are here; the rest get
    this transaction's xid and are read, or relayed, again: consumers are idempotent. What a consumer has read of a
    stream stays as it is.
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
        rows = await connection.fetch("SELECT schemaname FROM pg_tables WHERE tablename = 'positions'")
        here = {row["schemaname"] for row in rows}
        for source, consumers in CONSUMERS.items():
            if source in here:
                await _rebase_outbox(connection, source, [reader for reader in consumers if reader in here])
            for reader in here.intersection((source, *consumers)):
                await connection.execute(
                    f"UPDATE {reader}.positions SET xid = '0', id = '00000000-0000-0000-0000-000000000000' "
                    "WHERE source = $1",
                    source,
                )
    log.warning("outboxes_rebased", previous=known, current=current)
    return True


async def _rebase_outbox(connection: asyncpg.Connection, source: str, consumers: list[str]) -> None:
    if len(consumers) == len(CONSUMERS[source]):
        positions = " UNION ALL ".join(
            f"SELECT xid, id FROM {consumer}.positions WHERE source = '{source}'" for consumer in consumers
        )
        # a consumer without a position has read nothing
        await connection.execute(
            f"""
            DELETE FROM {source}.outbox AS event
            USING (SELECT xid, id, count(*) OVER () AS consumers FROM ({positions}) AS every
                   ORDER BY xid, id LIMIT 1) AS first
            WHERE first.consumers = $1 AND (event.xid, event.id) <= (first.xid, first.id)
            """,
            len(consumers),
        )
    await connection.execute(f"UPDATE {source}.outbox SET xid = pg_current_xact_id()")
