"""The SQL of deliveries: fed in bulk, claimed in bulk, written back in bulk. Endpoints' own is in queries.py.

The worker's writes commit with synchronous_commit off: what a crash of the database takes back is done again, with the
same webhook-id, and that is all that is promised of a delivery (at least once). The setting is made inside the
statement (`ASYNCHRONOUS`), which saves its round trip.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from ghasi.contract.values import first_id
from ghasi.storage.events.outbox import Event
from ghasi.storage.pool import Connection, Pool
from ghasi.webhooks.model import Claimed, Fed, Result

ASYNCHRONOUS = "asynchronous AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true) AS set)"
CLAIMED = """
    pending.endpoint_id, pending.event_id, pending.attempts, pending.attempts_before, pending.claims, pending.queued_at,
    events.at, events.body, pending.order_key, pending.hold_until
"""
NIL = UUID(int=0)


async def insert_events(
    connection: Connection, events: Sequence[Event], bodies: Sequence[str], *, about_messages: bool = True
) -> set[UUID]:
    """Insert events with the bodies to be sent; return the ids of those that were not there before."""
    rows = await connection.fetch(
        f"""
        WITH {ASYNCHRONOUS}
        INSERT INTO webhooks.events (id, account_id, message_id, type, at, body)
        SELECT new.* FROM asynchronous,
            unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::timestamptz[], $6::text[]) AS new
        ON CONFLICT DO NOTHING
        RETURNING id
        """,
        [event.id for event in events],
        [event.account_id for event in events],
        [event.subject_id if about_messages else None for event in events],
        [event.type for event in events],
        [event.at for event in events],
        bodies,
    )
    return {row["id"] for row in rows}


async def insert_pending(connection: Connection, deliveries: Sequence[Fed], lease: timedelta) -> None:
    """Insert deliveries, due at once or leased to whoever writes them."""
    await connection.execute(
        """
        INSERT INTO webhooks.pending (endpoint_id, event_id, due_at, claims, leased, order_key)
        SELECT endpoint_id, event_id, CASE WHEN leased THEN now() + $5::interval ELSE now() END, leased::int, leased,
            order_key
        FROM unnest($1::uuid[], $2::uuid[], $3::boolean[], $4::text[]) AS new (endpoint_id, event_id, leased, order_key)
        ON CONFLICT DO NOTHING
        """,
        [delivery.endpoint_id for delivery in deliveries],
        [delivery.event_id for delivery in deliveries],
        [delivery.leased for delivery in deliveries],
        [delivery.order_key for delivery in deliveries],
        lease,
    )


async def claim(
    pool: Pool,
    *,
    after: UUID,
    most: int,
    most_per_endpoint: int,
    rooms: dict[UUID, int],
    lease: timedelta,
) -> list[Claimed]:
    """Lease up to `most` due deliveries that go in no order, endpoint by endpoint from `after` on, and return them.

    Of an endpoint in `rooms` at most so many, of another at most `most_per_endpoint`. It hops from endpoint to endpoint
    by the index, so that a thousand due deliveries of one cost no more than its first few; its room is found by halves.
    """
    known = sorted(rooms)
    rows = await pool.fetch(
        f"""
        WITH RECURSIVE {ASYNCHRONOUS}, queues AS (
            (SELECT endpoint_id FROM webhooks.pending
             WHERE order_key IS NULL AND endpoint_id > $1 ORDER BY endpoint_id LIMIT 1)
            UNION ALL
            SELECT (SELECT next.endpoint_id FROM webhooks.pending AS next
                    WHERE next.order_key IS NULL AND next.endpoint_id > queues.endpoint_id
                    ORDER BY next.endpoint_id LIMIT 1)
            FROM queues WHERE queues.endpoint_id IS NOT NULL
        ), due AS (
            SELECT found.endpoint_id, found.event_id
            FROM asynchronous, queues
            CROSS JOIN width_bucket(queues.endpoint_id, $3::uuid[]) AS room (place)
            CROSS JOIN LATERAL (
                SELECT pending.endpoint_id, pending.event_id FROM webhooks.pending
                WHERE pending.endpoint_id = queues.endpoint_id AND pending.order_key IS NULL
                    AND pending.due_at <= now()
                ORDER BY pending.due_at
                LIMIT CASE ($3::uuid[])[room.place] WHEN queues.endpoint_id THEN ($4::int[])[room.place] ELSE $5 END
                FOR UPDATE SKIP LOCKED
            ) AS found
            LIMIT $2
        )
        UPDATE webhooks.pending SET due_at = now() + $6::interval, claims = claims + 1, leased = true
        FROM due JOIN webhooks.events ON events.id = due.event_id
        WHERE pending.endpoint_id = due.endpoint_id AND pending.event_id = due.event_id
        RETURNING {CLAIMED}
        """,
        after,
        most,
        known,
        [rooms[endpoint_id] for endpoint_id in known],
        most_per_endpoint,
        lease,
    )
    return [Claimed(*row) for row in rows]


async def release(pool: Pool, leases: Sequence[tuple[UUID, UUID, int]]) -> None:
    """Give leases back, given as (endpoint, event, claims): the deliveries are due at once."""
    await pool.execute(
        """
        UPDATE webhooks.pending SET due_at = now(), leased = false
        FROM unnest($1::uuid[], $2::uuid[], $3::int[]) AS given (endpoint_id, event_id, claims)
        WHERE pending.endpoint_id = given.endpoint_id AND pending.event_id = given.event_id
            AND pending.claims = given.claims
        """,
        [lease[0] for lease in leases],
        [lease[1] for lease in leases],
        [lease[2] for lease in leases],
    )


async def finish(connection: Connection | Pool, results: Sequence[Result]) -> set[tuple[UUID, UUID]]:
    """Move deliveries that are over to the log: a failure only where its lease still holds, a success always.

    Unless they were sent again by hand since: then neither a failure that was the last by the schedule before ends
    them, nor a success of an attempt that began before they were reopened. Return those whose last retry failed.
    """
    rows = await connection.fetch(
        f"""
        WITH {ASYNCHRONOUS}, over AS (
            SELECT * FROM asynchronous, unnest(
                $1::uuid[], $2::uuid[], $3::int[], $4::int[], $5::int[], $6::text[], $7::timestamptz[], $8::int[],
                $9::smallint[], $10::text[]
            ) AS result (endpoint_id, event_id, claims, attempts_before, attempts, state, completed_at, duration_ms,
                status_code, response)
        ), removed AS (
            DELETE FROM webhooks.pending USING over
            WHERE pending.endpoint_id = over.endpoint_id AND pending.event_id = over.event_id
                AND CASE over.state WHEN 'succeeded' THEN over.claims > pending.claims_before
                    ELSE pending.claims = over.claims AND pending.attempts_before = over.attempts_before END
            RETURNING over.*, pending.claims AS claimed
        ), logged AS (
            INSERT INTO webhooks.deliveries
                (endpoint_id, event_id, completed_at, attempts, claims, duration_ms, status_code, state, response)
            SELECT endpoint_id, event_id, completed_at, attempts, claimed, duration_ms, status_code, state, response
            FROM removed
            ON CONFLICT DO NOTHING
        )
        SELECT endpoint_id, event_id FROM removed WHERE state = 'exhausted'
        """,
        [result.endpoint_id for result in results],
        [result.event_id for result in results],
        [result.claims for result in results],
        [result.attempts_before for result in results],
        [result.number for result in results],
        [result.outcome for result in results],
        [result.ended_at for result in results],
        # a failed attempt has a row of its own
        [result.duration_ms if result.error is None else None for result in results],
        [result.status_code if result.error is None else None for result in results],
        [result.response if result.error is None else None for result in results],
    )
    return {(row["endpoint_id"], row["event_id"]) for row in rows}


async def insert_attempts(connection: Connection, results: Sequence[Result]) -> None:
    """Insert failed attempts."""
    await connection.execute(
        f"""
        WITH {ASYNCHRONOUS}
        INSERT INTO webhooks.attempts (endpoint_id, event_id, number, at, duration_ms, status_code, error, response)
        SELECT new.* FROM asynchronous, unnest(
            $1::uuid[], $2::uuid[], $3::int[], $4::timestamptz[], $5::int[], $6::smallint[], $7::text[], $8::text[]
        ) AS new
        ON CONFLICT DO NOTHING
        """,
        [result.endpoint_id for result in results],
        [result.event_id for result in results],
        [result.number for result in results],
        [result.at for result in results],
        [result.duration_ms for result in results],
        [result.status_code for result in results],
        [result.error for result in results],
        [result.response for result in results],
    )


async def postpone(connection: Connection, results: Sequence[Result]) -> None:
    """Make failed deliveries that are pending still due again later, where their leases hold.

    To be called after `finish`: what that left was sent again by hand meanwhile, and its schedule begins anew.
    """
    await connection.execute(
        """
        UPDATE webhooks.pending
        SET due_at = clock_timestamp() + make_interval(secs =>
                CASE WHEN pending.attempts_before = result.attempts_before THEN due_in_s ELSE anew_in_s END),
            attempts = result.number, leased = false, hold_until = coalesce(pending.hold_until, result.hold_until)
        FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::int[], $5::int[], $6::float8[], $7::float8[],
                $8::timestamptz[])
            AS result (endpoint_id, event_id, claims, attempts_before, number, due_in_s, anew_in_s, hold_until)
        WHERE pending.endpoint_id = result.endpoint_id AND pending.event_id = result.event_id
            AND pending.claims = result.claims
        """,
        [result.endpoint_id for result in results],
        [result.event_id for result in results],
        [result.claims for result in results],
        [result.attempts_before for result in results],
        [result.number for result in results],
        [result.due_in_s for result in results],
        [result.anew_in_s for result in results],
        [result.hold_until for result in results],
    )


async def cancel(pool: Pool, leases: Sequence[tuple[UUID, UUID, int]]) -> None:
    """Move deliveries whose endpoint wants them no more, given as (endpoint, event, claims), to the log as canceled."""
    await pool.execute(
        """
        WITH removed AS (
            DELETE FROM webhooks.pending
            USING unnest($1::uuid[], $2::uuid[], $3::int[]) AS given (endpoint_id, event_id, claims)
            WHERE pending.endpoint_id = given.endpoint_id AND pending.event_id = given.event_id
                AND pending.claims = given.claims
            RETURNING pending.endpoint_id, pending.event_id, pending.attempts, pending.claims
        )
        INSERT INTO webhooks.deliveries (endpoint_id, event_id, completed_at, attempts, claims, state)
        SELECT endpoint_id, event_id, now(), attempts, claims, 'canceled' FROM removed
        ON CONFLICT DO NOTHING
        """,
        [lease[0] for lease in leases],
        [lease[1] for lease in leases],
        [lease[2] for lease in leases],
    )


async def count_due(pool: Pool, most: int) -> int:
    """Count the deliveries that are due and not leased, up to `most`."""
    return int(
        await pool.fetchval(
            "SELECT count(*) FROM (SELECT FROM webhooks.pending WHERE due_at <= now() LIMIT $1) AS due", most
        )
    )


async def prune(pool: Pool, keep: timedelta, most: int) -> int:
    """Delete up to `most` rows of each kind that are older than `keep`; return how many of the fullest kind there were.

    Ids carry their time, so the primary keys find what is old. What is still pending stays, with its event.
    """
    cutoff = await pool.fetchval("SELECT now() - $1::interval", keep)
    oldest = first_id(cutoff)
    counts = (
        await _prune_log(pool, "deliveries", oldest, most),
        await _prune_log(pool, "attempts", oldest, most),
        await _prune_events(pool, cutoff, most),
        await _prune_endpoints(pool, cutoff, most),
    )
    return max(counts)


async def _prune_log(pool: Pool, table: str, oldest: UUID, most: int) -> int:
    deleted = await pool.execute(
        f"""
        DELETE FROM webhooks.{table} WHERE ctid = ANY(ARRAY(
            SELECT old.place FROM webhooks.endpoints CROSS JOIN LATERAL (
                SELECT ctid AS place FROM webhooks.{table} AS logged
                WHERE logged.endpoint_id = endpoints.id AND logged.event_id < $1 LIMIT $2
            ) AS old LIMIT $2
        ))
        """,
        oldest,
        most,
    )
    return _count(deleted)


async def _prune_events(pool: Pool, cutoff: datetime, most: int) -> int:
    deleted = await pool.execute(
        """
        DELETE FROM webhooks.events WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM webhooks.events
            WHERE id < $1 AND at < $2
                AND NOT EXISTS (SELECT FROM webhooks.pending WHERE pending.event_id = events.id)
            ORDER BY id LIMIT $3
        ))
        """,
        first_id(cutoff),
        cutoff,
        most,
    )
    return _count(deleted)


async def _prune_endpoints(pool: Pool, cutoff: datetime, most: int) -> int:
    """Delete endpoints deleted by their customers, once nothing is left of their log."""
    deleted = await pool.execute(
        """
        DELETE FROM webhooks.endpoints WHERE id = ANY(ARRAY(
            SELECT id FROM webhooks.endpoints
            WHERE deleted_at < $1
                AND NOT EXISTS (SELECT FROM webhooks.pending WHERE endpoint_id = endpoints.id)
                AND NOT EXISTS (SELECT FROM webhooks.deliveries WHERE endpoint_id = endpoints.id)
                AND NOT EXISTS (SELECT FROM webhooks.attempts WHERE endpoint_id = endpoints.id)
            LIMIT $2
        ))
        """,
        cutoff,
        most,
    )
    return _count(deleted)


def _count(answer: str) -> int:
    return int(answer.rsplit(maxsplit=1)[-1])


async def prune_idempotency_keys(pool: Pool, keep: timedelta, most: int) -> int:
    """Delete up to `most` idempotency keys older than `keep`; return how many."""
    deleted = await pool.execute(
        """
        DELETE FROM webhooks.idempotency_keys WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM webhooks.idempotency_keys WHERE created_at < now() - $1::interval LIMIT $2
        ))
        """,
        keep,
        most,
    )
    return _count(deleted)
