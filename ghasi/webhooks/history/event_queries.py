"""The SQL of stored events, as replays and dry runs read them, and of what a replay makes of them.

An event is stored when some endpoint of its account wanted it. Those of a test are no part of this.
"""

from collections.abc import Sequence
from uuid import UUID

from ghasi.storage.pool import Connection, Pool
from ghasi.webhooks.model import StoredEvent


async def lock_events(
    connection: Connection, account_id: UUID, since: UUID, until: UUID, most: int, *, with_bodies: bool
) -> list[StoredEvent]:
    """Return up to `most` events of an account from `since` on and before `until`, the oldest first.

    With bodies of those about endpoints, and if asked for of those about messages. Texts in them are not deleted until
    the transaction ends: whoever does that locks an event before its deliveries.
    """
    rows = await connection.fetch(
        f"""
        SELECT id, type, CASE WHEN $4 OR type LIKE 'webhook.%' THEN body END FROM webhooks.events
        WHERE account_id = $1 AND id >= $2 AND id < $3 AND NOT test
        ORDER BY id LIMIT {most:d} FOR KEY SHARE
        """,
        account_id,
        since,
        until,
        with_bodies,
    )
    return [StoredEvent(*row) for row in rows]


async def insert_unsent(connection: Connection, account_id: UUID, endpoint_id: UUID, event_ids: Sequence[UUID]) -> int:
    """Make deliveries, due now, of those events that have none to an account's endpoint, and return how many."""
    inserted = await connection.execute(
        """
        INSERT INTO webhooks.pending (endpoint_id, event_id, due_at, queued_at)
        SELECT own.id, chosen.event_id, now(), clock_timestamp()
        FROM webhooks.endpoints AS own, unnest($3::uuid[]) AS chosen (event_id)
        WHERE own.account_id = $1 AND own.id = $2
            AND NOT EXISTS (
                SELECT FROM webhooks.deliveries AS over
                WHERE over.endpoint_id = own.id AND over.event_id = chosen.event_id
            )
        ON CONFLICT DO NOTHING
        """,
        account_id,
        endpoint_id,
        event_ids,
    )
    return int(str(inserted).rsplit(maxsplit=1)[-1])


async def find_event(pool: Pool, account_id: UUID, message_id: UUID, event_type: str, *, oldest: UUID) -> str | None:
    """Return the body of the latest stored event of a type about an account's message."""
    body: str | None = await pool.fetchval(
        """
        SELECT body FROM webhooks.events
        WHERE account_id = $1 AND message_id = $2 AND type = $3 AND id >= $4 AND NOT test
        ORDER BY id DESC LIMIT 1
        """,
        account_id,
        message_id,
        event_type,
        oldest,
    )
    return body
