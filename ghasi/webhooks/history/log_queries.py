"""The SQL of deliveries as customers see them and send them again; the worker's own is in delivery_queries.py.

A delivery is in webhooks.pending or in webhooks.deliveries. Both have the primary key (endpoint_id, event_id) and ids
carry their time. Nothing older than it is kept is shown: every function takes the least id that is young enough, as
`oldest`. Lists that may be long have their SQL in list_queries.py.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from ghasi.storage.pool import Connection, Pool, Record
from ghasi.webhooks.model import MOST_ATTEMPTS_SHOWN, Attempted, Logged, LoggedDetail

PENDING = """
    SELECT endpoint_id, event_id, 'pending' AS state, attempts, NULL::smallint AS status_code,
        NULL::timestamptz AS completed_at, CASE WHEN leased THEN least(due_at, now()) ELSE due_at END AS due_at
    FROM webhooks.pending
"""
OVER = """
    SELECT endpoint_id, event_id, state, attempts, status_code, completed_at, NULL::timestamptz AS due_at
    FROM webhooks.deliveries
"""
SHOWN = """
    SELECT found.endpoint_id, found.event_id, events.type, events.message_id, found.state, found.attempts,
        coalesce(last.status_code, found.status_code) AS status_code, found.completed_at, found.due_at
"""
JOINED = """
    JOIN webhooks.events ON events.id = found.event_id
    LEFT JOIN LATERAL (
        SELECT tried.number, tried.status_code FROM webhooks.attempts AS tried
        WHERE tried.endpoint_id = found.endpoint_id AND tried.event_id = found.event_id
        ORDER BY tried.number DESC LIMIT 1
    ) AS last ON found.state <> 'succeeded'
"""
"""What is known of deliveries `found`: their events, and the last attempt of those that did not succeed."""
_OWN = "endpoint_id = (SELECT id FROM webhooks.endpoints WHERE account_id = $1 AND id = $2 AND deleted_at IS NULL)"


async def list_message_deliveries(
    pool: Pool, account_id: UUID, message_id: UUID, most: int, *, oldest: UUID, before: tuple[UUID, UUID] | None
) -> list[Logged]:
    """Return up to `most` deliveries that an account's message caused, by (event, endpoint), the newest first.

    Endpoints that were deleted are among them.
    """
    where = """
        WHERE endpoint_id = ANY(ARRAY(SELECT id FROM webhooks.endpoints WHERE account_id = $1))
            AND event_id = ANY(ARRAY(
                SELECT id FROM webhooks.events WHERE account_id = $1 AND message_id = $2 AND id >= $4
            ))
            AND ($5::uuid IS NULL OR (event_id, endpoint_id) < ($5, $6::uuid))
    """
    rows = await pool.fetch(
        f"""
        {SHOWN} FROM ({PENDING} {where} UNION ALL {OVER} {where}) AS found {JOINED}
        ORDER BY found.event_id DESC, found.endpoint_id DESC LIMIT $3
        """,
        account_id,
        message_id,
        most,
        oldest,
        *(before or (None, None)),
    )
    return [Logged(*row) for row in rows]


async def find_delivery(
    connection: Connection, account_id: UUID, endpoint_id: UUID, event_id: UUID, *, oldest: UUID
) -> Logged | None:
    """Return one delivery to an account's endpoint."""
    row = await _find(connection, "", (account_id, endpoint_id, event_id, oldest))
    return None if row is None else Logged(*row)


async def find_delivery_detail(
    connection: Connection, account_id: UUID, endpoint_id: UUID, event_id: UUID, *, oldest: UUID
) -> tuple[Logged, LoggedDetail] | None:
    """Return one delivery to an account's endpoint with what is sent."""
    more = """,
        (SELECT url FROM webhooks.endpoints WHERE id = found.endpoint_id), events.body,
        ended.duration_ms, ended.response
    """
    row = await _find(connection, more, (account_id, endpoint_id, event_id, oldest))
    return None if row is None else (Logged(*tuple(row)[:9]), LoggedDetail(*tuple(row)[9:]))


async def _find(connection: Connection, more: str, values: tuple[UUID, UUID, UUID, UUID]) -> Record | None:
    where = f"WHERE {_OWN} AND event_id = $3 AND event_id >= $4"
    return await connection.fetchrow(
        f"""
        {SHOWN} {more}
        FROM ({PENDING} {where} UNION ALL {OVER} {where}) AS found {JOINED}
            LEFT JOIN webhooks.deliveries AS ended
                ON ended.endpoint_id = found.endpoint_id AND ended.event_id = found.event_id
        WHERE events.account_id = $1
        """,
        *values,
    )


async def list_attempts(connection: Connection, account_id: UUID, endpoint_id: UUID, event_id: UUID) -> list[Attempted]:
    """Return the latest attempts of a delivery that have rows of their own, oldest first."""
    rows = await connection.fetch(
        f"""
        SELECT number, at, duration_ms, status_code, response, error FROM webhooks.attempts
        WHERE {_OWN} AND event_id = $3
        ORDER BY number DESC LIMIT $4
        """,
        account_id,
        endpoint_id,
        event_id,
        MOST_ATTEMPTS_SHOWN,
    )
    return [Attempted(*row) for row in reversed(rows)]


async def hasten(connection: Connection, account_id: UUID, endpoint_id: UUID, event_id: UUID) -> bool:
    """Make a pending delivery due now, its schedule beginning anew, and return whether it was pending.

    One that is leased is about to be attempted or under way: that is the attempt, and its lease stays.
    """
    changed = await connection.execute(
        f"""
        UPDATE webhooks.pending
        SET attempts_before = attempts, due_at = CASE WHEN leased THEN due_at ELSE least(due_at, now()) END
        WHERE {_OWN} AND event_id = $3
        """,
        account_id,
        endpoint_id,
        event_id,
    )
    return str(changed) == "UPDATE 1"


async def reopen(connection: Connection, account_id: UUID, endpoint_id: UUID, event_id: UUID) -> None:
    """Make a delivery that is over pending again, due now."""
    await _lock_events(connection, account_id, [event_id])
    await reopen_all(connection, account_id, endpoint_id, [event_id])


async def reopen_failed(connection: Connection, account_id: UUID, endpoint_id: UUID, since: UUID, most: int) -> int:
    """Reopen up to `most` failed deliveries of events from `since` on, the oldest first; return how many."""
    rows = await connection.fetch(
        f"""
        SELECT event_id FROM webhooks.deliveries
        WHERE {_OWN} AND state = 'exhausted' AND event_id >= $3 ORDER BY event_id LIMIT $4
        """,
        account_id,
        endpoint_id,
        since,
        most,
    )
    event_ids = [row["event_id"] for row in rows]
    await _lock_events(connection, account_id, event_ids)
    return await reopen_all(connection, account_id, endpoint_id, event_ids)


async def _lock_events(connection: Connection, account_id: UUID, event_ids: Sequence[UUID]) -> None:
    """Wait until nobody deletes the texts of events, who holds their deliveries meanwhile, and hold that back."""
    await connection.execute(
        "SELECT FROM webhooks.events WHERE account_id = $1 AND id = ANY($2) ORDER BY id FOR KEY SHARE",
        account_id,
        event_ids,
    )


async def reopen_all(connection: Connection, account_id: UUID, endpoint_id: UUID, event_ids: Sequence[UUID]) -> int:
    """Reopen those of some deliveries that are over; return how many. Whoever calls it has locked the events.

    They move back from the log; an attempt that succeeded becomes a row of its own, lest it be forgotten.
    `claims` skips one: an attempt that was under way when its delivery was canceled holds the last.
    """
    moved = await connection.execute(
        f"""
        WITH chosen AS (
            SELECT endpoint_id, event_id FROM webhooks.deliveries
            WHERE {_OWN} AND event_id = ANY($3) FOR UPDATE SKIP LOCKED
        ), removed AS (
            DELETE FROM webhooks.deliveries AS logged USING chosen
            WHERE logged.endpoint_id = chosen.endpoint_id AND logged.event_id = chosen.event_id
            RETURNING logged.*
        ), counted AS (
            SELECT removed.*, greatest(removed.attempts, coalesce(last.number, 0) + (state = 'succeeded')::int) AS made
            FROM removed LEFT JOIN LATERAL (
                SELECT number FROM webhooks.attempts AS tried
                WHERE tried.endpoint_id = removed.endpoint_id AND tried.event_id = removed.event_id
                ORDER BY number DESC LIMIT 1
            ) AS last ON true
        ), kept AS (
            INSERT INTO webhooks.attempts (endpoint_id, event_id, number, at, duration_ms, status_code, response)
            SELECT endpoint_id, event_id, made, completed_at - duration_ms * interval '1 millisecond', duration_ms,
                status_code, response
            FROM counted WHERE state = 'succeeded'
        )
        INSERT INTO webhooks.pending
            (endpoint_id, event_id, due_at, queued_at, attempts, claims, attempts_before, claims_before)
        SELECT endpoint_id, event_id, now(), clock_timestamp(), made, claims + 1, made, claims FROM counted
        ON CONFLICT DO NOTHING
        """,
        account_id,
        endpoint_id,
        event_ids,
    )
    return int(str(moved).rsplit(maxsplit=1)[-1])


async def insert_test(
    connection: Connection, account_id: UUID, endpoint_id: UUID, event: tuple[UUID, str, datetime, str]
) -> None:
    """Insert an event (id, type, time, body) for one endpoint alone, due now."""
    await connection.execute(
        """
        WITH event AS (
            INSERT INTO webhooks.events (id, account_id, type, at, body, test) VALUES ($3, $1, $4, $5, $6, true)
            RETURNING id
        )
        INSERT INTO webhooks.pending (endpoint_id, event_id, due_at, queued_at)
        SELECT endpoints.id, event.id, now(), clock_timestamp() FROM webhooks.endpoints, event
        WHERE endpoints.account_id = $1 AND endpoints.id = $2
        """,
        account_id,
        endpoint_id,
        *event,
    )
