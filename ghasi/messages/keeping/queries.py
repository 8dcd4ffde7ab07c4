"""All SQL of keeping and forgetting: sweeps through messages by id, texts that go, and rows that nobody needs.

Owns messages.sweeps, awaited, late_bodies and redactions. Each function is bounded by `most`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from ghasi.contract.shapes import FINAL_STATUSES, MessageStatus
from ghasi.messages.model import COLUMNS, Stored, stored
from ghasi.storage.pool import Connection, Pool, Record

Sweep = Literal["receipts", "bodies", "late_bodies", "submissions", "late_submissions"]
_FINAL = sorted(FINAL_STATUSES)


@dataclass(frozen=True, slots=True)
class Awaited:
    """A message that has come to its unknown_at, as it stands: no status is one that is no longer there.

    `expires_at` is of its place in the dispatch queue, where it has one.
    """

    message_id: UUID
    status: MessageStatus | None
    send_at: datetime | None
    validity_s: int | None
    expires_at: datetime | None


async def take_sweep(connection: Connection, sweep: Sweep) -> UUID | None:
    """Lock a sweep and return the id up to which it has come; None while another process is at it."""
    after: UUID | None = await connection.fetchval(
        "SELECT after_id FROM messages.sweeps WHERE name = $1 FOR UPDATE SKIP LOCKED", sweep
    )
    return after


async def move_sweep(connection: Connection, sweep: Sweep, after: UUID) -> None:
    """Write down how far a locked sweep has come."""
    await connection.execute("UPDATE messages.sweeps SET after_id = $2 WHERE name = $1", sweep, after)


async def find_sweep(pool: Pool, sweep: Sweep) -> UUID:
    """Return the id up to which a sweep has come."""
    after: UUID = await pool.fetchval("SELECT after_id FROM messages.sweeps WHERE name = $1", sweep)
    return after


async def find_end(connection: Connection, after: UUID, before: UUID, most: int) -> UUID | None:
    """Return the last of up to `most` messages whose ids lie between two; None where there is none."""
    end: UUID | None = await connection.fetchval(
        """
        SELECT id FROM (SELECT id FROM messages.messages WHERE id > $1 AND id < $2 ORDER BY id LIMIT $3) AS batch
        ORDER BY id DESC LIMIT 1
        """,
        after,
        before,
        most,
    )
    return end


async def list_open(connection: Connection, after: UUID, until: UUID) -> list[Record]:
    """Return id, accepted_at, send_at and validity_s of the messages of a range that have not ended."""
    rows: list[Record] = await connection.fetch(
        """
        SELECT id, accepted_at, send_at, validity_s FROM messages.messages
        WHERE id > $1 AND id <= $2 AND status <> ALL($3::text[])
        """,
        after,
        until,
        _FINAL,
    )
    return rows


async def insert_awaited(connection: Connection, rows: Sequence[tuple[UUID, datetime]]) -> None:
    """Remember when messages become unknown."""
    await connection.execute(
        """
        INSERT INTO messages.awaited (message_id, unknown_at)
        SELECT * FROM unnest($1::uuid[], $2::timestamptz[]) ON CONFLICT DO NOTHING
        """,
        [message_id for message_id, _ in rows],
        [unknown_at for _, unknown_at in rows],
    )


async def list_awaited(pool: Pool, now: datetime, most: int) -> list[Awaited]:
    """Return messages whose unknown_at has come, the longest overdue first."""
    rows = await pool.fetch(
        """
        SELECT due.message_id, message.status, message.send_at, message.validity_s, dispatch.expires_at
        FROM (SELECT * FROM messages.awaited WHERE unknown_at <= $1 ORDER BY unknown_at LIMIT $2) AS due
        LEFT JOIN messages.messages AS message ON message.id = due.message_id
        LEFT JOIN messages.dispatch AS dispatch ON dispatch.message_id = due.message_id
        """,
        now,
        most,
    )
    return [Awaited(*tuple(row)) for row in rows]


async def delete_awaited(pool: Pool, ids: Sequence[UUID]) -> None:
    """Forget messages that have ended."""
    await pool.execute("DELETE FROM messages.awaited WHERE message_id = ANY($1::uuid[])", ids)


async def postpone_awaited(pool: Pool, rows: Sequence[tuple[UUID, datetime]]) -> None:
    """Come back to messages later."""
    await pool.execute(
        """
        UPDATE messages.awaited AS awaited SET unknown_at = later.unknown_at
        FROM unnest($1::uuid[], $2::timestamptz[]) AS later (message_id, unknown_at)
        WHERE awaited.message_id = later.message_id
        """,
        [message_id for message_id, _ in rows],
        [unknown_at for _, unknown_at in rows],
    )


async def delete_bodies(connection: Connection, after: UUID, until: UUID, late_since: datetime) -> int:
    """Delete the texts of the ended messages of a range; remember those that have not ended. Return how many went.

    Of those that ended after `late_since` copies may be left that are younger than their message: they are remembered
    too. Locks the rows in the order of their ids, as dispatch does.
    """
    deleted: int = await connection.fetchval(
        """
        WITH ended AS (
            SELECT id FROM messages.messages
            WHERE id > $1 AND id <= $2 AND body IS NOT NULL AND status = ANY($3::text[])
            ORDER BY id FOR UPDATE
        ), deleted AS (
            UPDATE messages.messages AS message SET body = NULL FROM ended
            WHERE message.id = ended.id AND message.id > $1 AND message.id <= $2
            RETURNING message.id, message.completed_at
        ), copied AS (
            INSERT INTO messages.redactions (message_id) SELECT id FROM deleted WHERE completed_at > $4
            ON CONFLICT DO NOTHING
        ), late AS (
            INSERT INTO messages.late_bodies (message_id)
            SELECT id FROM messages.messages
            WHERE id > $1 AND id <= $2 AND body IS NOT NULL AND status <> ALL($3::text[])
            ON CONFLICT DO NOTHING
        )
        SELECT count(*) FROM deleted
        """,
        after,
        until,
        _FINAL,
        late_since,
    )
    return deleted


async def list_late_bodies(connection: Connection, after: UUID, most: int) -> list[UUID]:
    """Return up to `most` messages that had not ended when their text had reached its age."""
    rows = await connection.fetch(
        "SELECT message_id FROM messages.late_bodies WHERE message_id > $1 ORDER BY message_id LIMIT $2", after, most
    )
    return [row["message_id"] for row in rows]


async def delete_late_bodies(connection: Connection, ids: Sequence[UUID]) -> list[UUID]:
    """Delete the texts of those of these messages that have ended, forget them here, and return them."""
    rows = await connection.fetch(
        """
        WITH ended AS (
            SELECT id FROM messages.messages WHERE id = ANY($1::uuid[]) AND status = ANY($2::text[])
            ORDER BY id FOR UPDATE
        ), deleted AS (
            UPDATE messages.messages AS message SET body = NULL FROM ended WHERE message.id = ended.id
        )
        DELETE FROM messages.late_bodies AS late
        WHERE late.message_id = ANY($1::uuid[])
          AND (late.message_id IN (SELECT id FROM ended)
               OR NOT EXISTS (SELECT FROM messages.messages AS message WHERE message.id = late.message_id))
        RETURNING late.message_id
        """,
        ids,
        _FINAL,
    )
    return [row["message_id"] for row in rows]


async def delete_body(connection: Connection, account_id: UUID, message_id: UUID) -> None:
    """Delete the text of a message whose row is locked."""
    await connection.execute(
        "UPDATE messages.messages SET body = NULL WHERE id = $1 AND account_id = $2", message_id, account_id
    )


async def insert_redactions(connection: Connection, ids: Sequence[UUID]) -> None:
    """Remember that copies of these messages' texts may be left."""
    await connection.execute(
        "INSERT INTO messages.redactions (message_id) SELECT unnest($1::uuid[]) ON CONFLICT DO NOTHING", ids
    )


async def take_untold(connection: Connection, most: int) -> list[Stored]:
    """Take messages whose text is deleted and of which nobody has been told; locks them until the commit."""
    rows = await connection.fetch(
        f"""
        WITH untold AS (
            SELECT message_id FROM messages.redactions WHERE NOT told
            ORDER BY message_id LIMIT $1 FOR UPDATE SKIP LOCKED
        ), told AS (
            UPDATE messages.redactions AS redaction SET told = true FROM untold
            WHERE redaction.message_id = untold.message_id
            RETURNING redaction.message_id
        )
        SELECT {COLUMNS} FROM messages.messages WHERE id IN (SELECT message_id FROM told)
        """,
        most,
    )
    return [stored(row) for row in rows]


async def list_told(pool: Pool, most: int) -> dict[UUID, UUID | None]:
    """Return messages whose text is deleted and of which webhooks has been told, with their accounts.

    Of one in a month that was detached the account is None.
    """
    rows = await pool.fetch(
        """
        SELECT message_id, account_id FROM messages.redactions LEFT JOIN messages.messages ON id = message_id
        WHERE told ORDER BY message_id LIMIT $1
        """,
        most,
    )
    return {row["message_id"]: row["account_id"] for row in rows}


async def list_events_with_text(pool: Pool, ids: Sequence[UUID], most: int) -> list[Record]:
    """Return xid, id and data of events that hold the text of one of these messages.

    Reads all of the outbox, which holds an hour's events; an index would cost each message more than that.
    """
    rows: list[Record] = await pool.fetch(
        """
        SELECT xid, id, data FROM messages.outbox
        WHERE subject_id = ANY($1::uuid[]) AND data ->> 'body' IS NOT NULL LIMIT $2
        """,
        ids,
        most,
    )
    return rows


async def rewrite_events(pool: Pool, rows: Sequence[tuple[Any, UUID, str]]) -> None:
    """Write the data of events anew: (xid, id, data)."""
    await pool.execute(
        """
        UPDATE messages.outbox AS event SET data = new.data
        FROM unnest($1::xid8[], $2::uuid[], $3::json[]) AS new (xid, id, data)
        WHERE event.xid = new.xid AND event.id = new.id
        """,
        [xid for xid, _, _ in rows],
        [event_id for _, event_id, _ in rows],
        [data for _, _, data in rows],
    )


async def delete_redactions(pool: Pool, ids: Sequence[UUID]) -> None:
    """Forget redactions of which no copy is left."""
    await pool.execute("DELETE FROM messages.redactions WHERE message_id = ANY($1::uuid[])", ids)


async def list_responses_with(
    connection: Connection, account_id: UUID, message_id: UUID, since: datetime, until: datetime
) -> list[Record]:
    """Return route, key and response of idempotent requests of a time whose answer shows a message.

    By the index on their time and account: an answer is stored in the transaction that accepts its messages.
    """
    rows: list[Record] = await connection.fetch(
        """
        SELECT route, key, response FROM messages.idempotency_keys
        WHERE account_id = $1 AND created_at BETWEEN $3 AND $4 AND position($2 IN response) > 0
        FOR UPDATE
        """,
        account_id,
        str(message_id),
        since,
        until,
    )
    return rows


async def rewrite_response(connection: Connection, account_id: UUID, route: str, key: str, response: str) -> None:
    """Write the answer of an idempotent request anew."""
    await connection.execute(
        "UPDATE messages.idempotency_keys SET response = $4 WHERE account_id = $1 AND route = $2 AND key = $3",
        account_id,
        route,
        key,
        response,
    )


async def find_submissions_end(connection: Connection, after: UUID, before: UUID, most: int) -> UUID | None:
    """Return the message of the last of up to `most` submissions of messages between two ids."""
    end: UUID | None = await connection.fetchval(
        """
        SELECT message_id FROM (SELECT message_id FROM messages.submissions WHERE message_id > $1 AND message_id < $2
                                ORDER BY message_id LIMIT $3) AS batch
        ORDER BY message_id DESC LIMIT 1
        """,
        after,
        before,
        most,
    )
    return end


async def delete_submissions(connection: Connection, after: UUID, until: UUID, older_than: datetime) -> None:
    """Delete the submissions of a range of messages that were made, or last heard of, before a time."""
    await connection.execute(
        "DELETE FROM messages.submissions WHERE message_id > $1 AND message_id <= $2 AND at < $3",
        after,
        until,
        older_than,
    )


async def delete_expired(pool: Pool, keys_kept: timedelta, most: int) -> bool:
    """Delete parked receipts, idempotency keys and daily counts of their age; return whether there may be more."""
    parked = await pool.execute(
        "DELETE FROM messages.parked_receipts WHERE id IN "
        "(SELECT id FROM messages.parked_receipts WHERE keep_until < now() LIMIT $1)",
        most,
    )
    keys = await pool.execute(
        "DELETE FROM messages.idempotency_keys WHERE ctid = ANY(ARRAY("
        "SELECT ctid FROM messages.idempotency_keys WHERE created_at < now() - $1::interval LIMIT $2))",
        keys_kept,
        most,
    )
    await pool.execute("DELETE FROM messages.daily_counts WHERE day < (now() AT TIME ZONE 'UTC')::date - 1")
    return f"DELETE {most}" in (parked, keys)
