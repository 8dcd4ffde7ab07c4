"""The SQL of deleting messages' texts from stored payloads, and from what endpoints answered to them."""

from collections.abc import Sequence
from uuid import UUID

from ghasi.storage.pool import Connection


async def lock_bodies(connection: Connection, message_ids: Sequence[UUID]) -> list[tuple[UUID, str]]:
    """Lock the events of messages, in one order whoever asks, and return their ids and bodies."""
    rows = await connection.fetch(
        "SELECT id, body FROM webhooks.events WHERE message_id = ANY($1::uuid[]) ORDER BY id FOR UPDATE", message_ids
    )
    return [(row["id"], row["body"]) for row in rows]


async def rewrite_bodies(connection: Connection, rows: Sequence[tuple[UUID, str]]) -> None:
    """Write the bodies of events anew."""
    await connection.execute(
        """
        UPDATE webhooks.events AS event SET body = new.body
        FROM unnest($1::uuid[], $2::text[]) AS new (id, body) WHERE event.id = new.id
        """,
        [event_id for event_id, _ in rows],
        [body for _, body in rows],
    )


async def delete_responses(connection: Connection, event_ids: Sequence[UUID]) -> None:
    """Delete what endpoints answered to events: an answer may repeat what it was sent."""
    for table in ("deliveries", "attempts"):
        await connection.execute(
            f"""
            UPDATE webhooks.{table} AS logged SET response = NULL
            FROM webhooks.events AS event JOIN webhooks.endpoints AS endpoint USING (account_id)
            WHERE event.id = ANY($1::uuid[]) AND logged.endpoint_id = endpoint.id AND logged.event_id = event.id
                AND logged.response IS NOT NULL
            """,
            event_ids,
        )


async def take_sweep(connection: Connection) -> UUID | None:
    """Lock the sweep and return the message up to which it has come; None while another process is at it."""
    after: UUID | None = await connection.fetchval(
        "SELECT after_id FROM webhooks.sweeps WHERE name = 'texts' FOR UPDATE SKIP LOCKED"
    )
    return after


async def move_sweep(connection: Connection, after: UUID) -> None:
    """Write down how far the locked sweep has come."""
    await connection.execute("UPDATE webhooks.sweeps SET after_id = $1 WHERE name = 'texts'", after)


async def list_messages(connection: Connection, after: UUID, before: UUID, most: int) -> list[UUID]:
    """Return up to `most` messages between two ids that some event is about, in order."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT message_id FROM webhooks.events WHERE message_id > $1 AND message_id < $2
        ORDER BY message_id LIMIT $3
        """,
        after,
        before,
        most,
    )
    return [row["message_id"] for row in rows]
