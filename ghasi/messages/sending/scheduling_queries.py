"""All SQL of what happens to messages before they are submitted: their release, and their being canceled.

A message's row is locked before its row in the schedule or in the dispatch queue, by everybody.
"""

from collections.abc import Collection, Sequence
from uuid import UUID

from ghasi.messages.model import COLUMNS, DEFAULT_VALIDITY_S, Stored, stored
from ghasi.storage.pool import Connection, Pool


async def list_due(pool: Pool, most: int) -> list[UUID]:
    """Return up to `most` scheduled messages whose time has come, the earliest first."""
    rows = await pool.fetch(
        "SELECT message_id FROM messages.scheduled WHERE send_at <= now() ORDER BY send_at LIMIT $1", most
    )
    return [row["message_id"] for row in rows]


async def lock_scheduled(connection: Connection, ids: Sequence[UUID]) -> list[Stored]:
    """Lock and return those of the messages that are still scheduled; what somebody else has locked is left to them."""
    rows = await connection.fetch(
        f"""
        SELECT {COLUMNS} FROM messages.messages
        WHERE id = ANY($1::uuid[]) AND id BETWEEN $2 AND $3 AND status = 'scheduled'
        ORDER BY id FOR UPDATE SKIP LOCKED
        """,
        ids,
        min(ids),
        max(ids),
    )
    return [stored(row) for row in rows]


async def list_suspended(connection: Connection, account_ids: Collection[UUID]) -> set[UUID]:
    """Return which of the accounts may send nothing."""
    rows = await connection.fetch(
        "SELECT account_id FROM messages.accounts WHERE account_id = ANY($1::uuid[]) AND status <> 'active'",
        list(account_ids),
    )
    return {row["account_id"] for row in rows}


async def list_exhausted(connection: Connection, account_ids: Collection[UUID]) -> dict[UUID, str]:
    """Return the accounts that have not even what is held for their messages, and what is used up."""
    rows = await connection.fetch(
        """
        SELECT account_id, status FROM messages.spending
        WHERE account_id = ANY($1::uuid[]) AND exhausted AND (until IS NULL OR until > now())
        """,
        list(account_ids),
    )
    return {row["account_id"]: row["status"] for row in rows}


async def end_schedule(connection: Connection, ids: Sequence[UUID]) -> None:
    """Forget the times of messages that are scheduled no more."""
    await connection.execute("DELETE FROM messages.scheduled WHERE message_id = ANY($1::uuid[])", ids)


async def write_unsent(connection: Connection, messages: Sequence[Stored]) -> None:
    """Write what changed in locked messages that no carrier has had."""
    ids = [message.id for message in messages]
    await connection.execute(
        """
        UPDATE messages.messages AS message
        SET status = new.status, sequence = new.sequence, accepted_at = new.accepted_at,
            completed_at = new.completed_at, error_code = new.error_code
        FROM unnest($1::uuid[], $2::text[], $3::smallint[], $4::timestamptz[], $5::timestamptz[], $6::text[])
             AS new (id, status, sequence, accepted_at, completed_at, error_code)
        WHERE message.id = new.id AND message.id BETWEEN $7 AND $8
        """,
        ids,
        [message.status for message in messages],
        [message.sequence for message in messages],
        [message.accepted_at for message in messages],
        [message.completed_at for message in messages],
        [message.error_code for message in messages],
        min(ids),
        max(ids),
    )


async def insert_dispatch(connection: Connection, messages: Sequence[Stored]) -> None:
    """Put scheduled messages into the dispatch queue; their validity runs from the time they were to be sent at."""
    await connection.execute(
        """
        INSERT INTO messages.dispatch (message_id, due_at, expires_at)
        SELECT id, now(), send_at + make_interval(secs => coalesce(validity_s, $4))
        FROM unnest($1::uuid[], $2::timestamptz[], $3::int[]) AS new (id, send_at, validity_s)
        """,
        [message.id for message in messages],
        [message.send_at for message in messages],
        [message.validity_s for message in messages],
        DEFAULT_VALIDITY_S,
    )


async def lock_untouched(connection: Connection, message_id: UUID) -> bool:
    """Lock a message's place in the dispatch queue; whether it is there and no claim of it is without its end."""
    in_doubt: bool | None = await connection.fetchval(
        "SELECT in_doubt FROM messages.dispatch WHERE message_id = $1 FOR UPDATE", message_id
    )
    return in_doubt is False


async def end_unsubmitted(connection: Connection, message_id: UUID) -> bool:
    """Take a message out of the dispatch queue unless a carrier has said something to one of its parts."""
    status: str = await connection.execute(
        """
        DELETE FROM messages.dispatch WHERE message_id = $1
            AND NOT EXISTS (SELECT FROM messages.submissions WHERE message_id = $1)
        """,
        message_id,
    )
    return status == "DELETE 1"
