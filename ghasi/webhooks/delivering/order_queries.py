"""The SQL of deliveries that go in order, and of the rates of endpoints; other claims are in delivery_queries.py.

Rows with an order_key are found by the index (endpoint_id, order_key, event_id): ids are UUIDv7, so that events are in
the order in which they happened. What is leased of a key, or waits after a failure, holds up what comes behind it.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from ghasi.storage.pool import Connection, Pool
from ghasi.webhooks.delivering.delivery_queries import ASYNCHRONOUS, CLAIMED
from ghasi.webhooks.model import Claimed

_FARTHEST = timedelta(minutes=1)
"""Each worker plans a second ahead: what is planned beyond this was so before a clock was put back."""


class Front(NamedTuple):
    """The first event that an endpoint is to get of a key; `due` unless it is leased or waits after a failure."""

    endpoint_id: UUID
    order_key: str
    event_id: UUID
    due: bool


async def list_fronts(pool: Pool, after: tuple[UUID, str], most: int) -> list[Front]:
    """Return the fronts of up to `most` keys that something pending has, by endpoint and key, behind `after`."""
    rows = await pool.fetch(
        """
        WITH RECURSIVE fronts AS (
            (SELECT endpoint_id, order_key, event_id, due_at FROM webhooks.pending
             WHERE order_key IS NOT NULL AND (endpoint_id, order_key) > ($1, $2::text)
             ORDER BY endpoint_id, order_key, event_id LIMIT 1)
            UNION ALL
            SELECT next.* FROM fronts CROSS JOIN LATERAL (
                SELECT endpoint_id, order_key, event_id, due_at FROM webhooks.pending
                WHERE order_key IS NOT NULL AND (endpoint_id, order_key) > (fronts.endpoint_id, fronts.order_key)
                ORDER BY endpoint_id, order_key, event_id LIMIT 1
            ) AS next
        )
        SELECT endpoint_id, order_key, event_id, due_at <= now() FROM fronts LIMIT $3
        """,
        *after,
        most,
    )
    return [Front(*row) for row in rows]


async def try_lock_claims(connection: Connection) -> bool:
    """Be the only one that claims in order until the transaction ends; False when another is at it."""
    locked: bool = await connection.fetchval("SELECT pg_try_advisory_xact_lock(hashtextextended('webhooks:order', 0))")
    return locked


async def claim_runs(
    connection: Connection, wanted: Sequence[tuple[UUID, str, int]], lease: timedelta
) -> list[Claimed]:
    """Lease of each (endpoint, key, most) the first deliveries that are due, up to what waits; return them in order.

    Of a key of which something is leased already, nothing. To be called under try_lock_claims.
    """
    rows = await connection.fetch(
        f"""
        WITH {ASYNCHRONOUS}, chosen AS (
            SELECT front.endpoint_id, front.event_id, front.claims
            FROM asynchronous, unnest($1::uuid[], $2::text[], $3::int[]) AS wanted (endpoint_id, order_key, most)
            CROSS JOIN LATERAL (
                SELECT first.endpoint_id, first.event_id, first.claims,
                    bool_or(first.due_at > now()) OVER (ORDER BY first.event_id) AS held
                FROM (
                    SELECT endpoint_id, event_id, claims, due_at FROM webhooks.pending
                    WHERE pending.endpoint_id = wanted.endpoint_id AND pending.order_key = wanted.order_key
                    ORDER BY event_id LIMIT wanted.most
                ) AS first
            ) AS front
            WHERE NOT front.held AND NOT EXISTS (
                SELECT FROM webhooks.pending AS taken
                WHERE taken.endpoint_id = wanted.endpoint_id AND taken.order_key = wanted.order_key
                    AND taken.leased AND taken.due_at > now()
            )
        )
        UPDATE webhooks.pending SET due_at = now() + $4::interval, claims = pending.claims + 1, leased = true
        FROM chosen JOIN webhooks.events ON events.id = chosen.event_id
        WHERE pending.endpoint_id = chosen.endpoint_id AND pending.event_id = chosen.event_id
            AND pending.claims = chosen.claims
        RETURNING {CLAIMED}
        """,
        [endpoint_id for endpoint_id, _, _ in wanted],
        [key for _, key, _ in wanted],
        [most for _, _, most in wanted],
        lease,
    )
    return sorted((Claimed(*row) for row in rows), key=lambda claimed: claimed.event_id)


async def put_in_order(connection: Connection, endpoint_id: UUID, keys: Mapping[UUID, str | None]) -> None:
    """Give an endpoint's pending deliveries, by event, their keys: those that nobody is at, and that have none."""
    await connection.execute(
        """
        UPDATE webhooks.pending SET order_key = keyed.order_key
        FROM unnest($2::uuid[], $3::text[]) AS keyed (event_id, order_key)
        WHERE pending.endpoint_id = $1 AND pending.event_id = keyed.event_id AND keyed.order_key IS NOT NULL
            AND pending.order_key IS NULL AND NOT pending.leased
        """,
        endpoint_id,
        list(keys.keys()),
        list(keys.values()),
    )


async def pass_by(pool: Pool) -> None:
    """Take out of the order what has held up others for long enough, save where the endpoint gives it up instead.

    What is being written is left to the next time: whoever writes many results locks them in another order.
    """
    await pool.execute(
        """
        UPDATE webhooks.pending SET order_key = NULL, hold_until = NULL
        WHERE ctid = ANY(ARRAY(
            SELECT held.ctid FROM webhooks.pending AS held JOIN webhooks.endpoints ON endpoints.id = held.endpoint_id
            WHERE held.hold_until <= now() AND endpoints.fifo ->> 'after_hold' IS DISTINCT FROM 'drop'
            FOR UPDATE OF held SKIP LOCKED
        ))
        """
    )


async def reserve(pool: Pool, wanted: Sequence[tuple[UUID, int, int]]) -> dict[UUID, float]:
    """Plan attempts, given as (endpoint, how many, rate in a second), behind all that is planned.

    Returns in how many seconds the first of each endpoint may begin; the others follow at even distances.
    """
    rows = await pool.fetch(
        f"""
        WITH {ASYNCHRONOUS}
        INSERT INTO webhooks.paces AS pace (endpoint_id, next_at)
        SELECT endpoint_id, now() + many * make_interval(secs => 1.0 / rate)
        FROM asynchronous, unnest($1::uuid[], $2::int[], $3::int[]) AS wanted (endpoint_id, many, rate)
        ORDER BY endpoint_id
        ON CONFLICT (endpoint_id) DO UPDATE
            SET next_at = (excluded.next_at - now())
                + CASE WHEN pace.next_at BETWEEN now() AND now() + $4::interval THEN pace.next_at ELSE now() END
        RETURNING endpoint_id, next_at - now() AS until
        """,
        [endpoint_id for endpoint_id, _, _ in wanted],
        [many for _, many, _ in wanted],
        [rate for _, _, rate in wanted],
        _FARTHEST,
    )
    planned = {endpoint_id: many / rate for endpoint_id, many, rate in wanted}
    return {row["endpoint_id"]: row["until"].total_seconds() - planned[row["endpoint_id"]] for row in rows}
