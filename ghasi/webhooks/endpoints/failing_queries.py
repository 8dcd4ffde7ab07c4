"""The SQL of endpoints that fail: since when, what they were warned of, and disabling them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from ghasi.contract.values import first_id
from ghasi.storage.pool import Connection, Pool
from ghasi.webhooks.model import Standing, Tried, Verdict

_STRAGGLING = timedelta(minutes=1)


async def clear(pool: Pool, tried: Sequence[Tried]) -> None:
    """Let endpoints fail no more whose attempts have all succeeded.

    Where none was failing this is a look into an index of those few, and nothing is written or locked.
    """
    await pool.execute(
        """
        UPDATE webhooks.endpoints SET failing_since = NULL
        WHERE id = ANY(ARRAY(
            SELECT failing.id FROM webhooks.endpoints AS failing
            JOIN unnest($1::uuid[], $2::timestamptz[]) AS tried (endpoint_id, succeeded_at)
                ON failing.id = tried.endpoint_id AND failing.failing_since <= tried.succeeded_at
            WHERE failing.failing_since IS NOT NULL AND failing.enabled
            ORDER BY failing.id FOR UPDATE OF failing
        ))
        """,
        [one.endpoint_id for one in tried],
        [one.succeeded_at for one in tried],
    )


async def lock_changing(connection: Connection, tried: Sequence[Tried], steps_s: Sequence[float]) -> list[Standing]:
    """Lock the enabled endpoints on which attempts change something, in the order of their ids.

    That is: they begin to fail or recover, are gone, or have failed for the step (of `steps_s`) after their last
    warning. The last two only where nobody changed the endpoint since the attempt began.
    """
    rows = await connection.fetch(
        """
        SELECT id, account_id, url, endpoints.version, failing_since, warned
        FROM webhooks.endpoints
        JOIN unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::int[], $5::int[])
            AS tried (endpoint_id, succeeded_at, failed_at, version, gone) ON id = tried.endpoint_id
        WHERE enabled AND deleted_at IS NULL AND (
            failing_since <= tried.succeeded_at
            OR failing_since IS NULL AND tried.failed_at IS NOT NULL
            OR endpoints.version = tried.gone
            OR endpoints.version = tried.version
                AND tried.failed_at >= failing_since + make_interval(secs => ($6::float8[])[warned + 1])
        )
        ORDER BY id FOR UPDATE OF endpoints
        """,
        [one.endpoint_id for one in tried],
        [one.succeeded_at for one in tried],
        [one.failed_at for one in tried],
        [one.version for one in tried],
        [one.gone for one in tried],
        steps_s,
    )
    return [Standing(*row) for row in rows]


async def list_recovered(connection: Connection, marked: Sequence[tuple[UUID, datetime]]) -> set[UUID]:
    """Return the endpoints, given with the time since when they are said to fail, that took something just after it.

    Only deliveries of events from about that time are looked at: what succeeded later has cleared the mark.
    """
    rows = await connection.fetch(
        """
        SELECT marked.endpoint_id
        FROM unnest($1::uuid[], $2::timestamptz[], $3::uuid[], $4::uuid[])
            AS marked (endpoint_id, since, first_id, last_id)
        WHERE EXISTS (
            SELECT FROM webhooks.deliveries AS logged
            WHERE logged.endpoint_id = marked.endpoint_id AND logged.event_id BETWEEN marked.first_id AND marked.last_id
                AND logged.state = 'succeeded' AND logged.completed_at > marked.since
        )
        """,
        [endpoint_id for endpoint_id, _ in marked],
        [since for _, since in marked],
        [first_id(since - _STRAGGLING) for _, since in marked],
        [first_id(since + _STRAGGLING) for _, since in marked],
    )
    return {row["endpoint_id"] for row in rows}


async def apply(connection: Connection, verdicts: Sequence[Verdict]) -> None:
    """Write what becomes of locked endpoints; what is pending of those that are disabled is dropped."""
    await connection.execute(
        """
        UPDATE webhooks.endpoints
        SET failing_since = verdict.since, warned = verdict.warned, enabled = verdict.reason IS NULL,
            disabled_reason = verdict.reason,
            dropped_before = CASE WHEN verdict.reason IS NULL THEN dropped_before ELSE clock_timestamp() END,
            updated_at = CASE WHEN verdict.reason IS NULL THEN updated_at ELSE now() END,
            version = version + (verdict.reason IS NOT NULL)::int
        FROM unnest($1::uuid[], $2::timestamptz[], $3::smallint[], $4::text[])
            AS verdict (endpoint_id, since, warned, reason)
        WHERE id = verdict.endpoint_id
        """,
        [verdict.standing.id for verdict in verdicts],
        [verdict.failing_since for verdict in verdicts],
        [verdict.warned for verdict in verdicts],
        [verdict.reason for verdict in verdicts],
    )


async def count_failing(pool: Pool) -> int:
    """Count the enabled endpoints that fail."""
    return int(
        await pool.fetchval(
            "SELECT count(*) FROM webhooks.endpoints WHERE failing_since IS NOT NULL AND enabled AND deleted_at IS NULL"
        )
    )
