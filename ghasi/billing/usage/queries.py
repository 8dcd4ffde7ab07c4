"""SQL that reads usage and outcomes by the periods that its caller has drawn. Knows no rules."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

from ghasi.billing.model import OutcomeSums, Sums
from ghasi.storage.pool import Pool

Group = tuple[int, str, Sums]
"""Period, group, and what was used."""


async def list_usage(
    pool: Pool, account_id: UUID, bounds: Sequence[datetime], column: Literal["country", "status"]
) -> list[Group]:
    """Return an account's usage by period and country or status, without those that have none.

    Period n is from `bounds[n]` (inclusive) to `bounds[n + 1]`.
    """
    rows = await pool.fetch(
        f"""
        SELECT width_bucket(at, $4::timestamptz[]) - 1 AS period, {column} AS of,
               sum(messages)::bigint, sum(segments)::bigint, sum(amount_micros)::bigint
        FROM billing.usage_quarters
        WHERE account_id = $1 AND at >= $2 AND at < $3
        GROUP BY period, of
        HAVING sum(messages) > 0
        ORDER BY period, of
        """,
        account_id,
        bounds[0],
        bounds[-1],
        bounds,
    )
    return [(row[0], row[1], Sums(*row[2:])) for row in rows]


async def list_named(
    pool: Pool, account_id: UUID, bounds: Sequence[datetime], dimension: str, most: int
) -> list[Group]:
    """Return an account's usage by period and sender, API key or reference, as list_usage: the `most` largest ones."""
    rows = await pool.fetch(
        """
        WITH used AS MATERIALIZED (
            SELECT width_bucket(at, $4::timestamptz[]) - 1 AS period, value, sum(messages)::bigint AS messages,
                   sum(segments)::bigint AS segments, sum(amount_micros)::bigint AS amount_micros
            FROM billing.usage_groups
            WHERE account_id = $1 AND dimension = $5 AND at >= $2 AND at < $3
            GROUP BY period, value
            HAVING sum(messages) > 0
        ), largest AS (
            SELECT value FROM used GROUP BY value ORDER BY sum(messages) DESC, value LIMIT $6
        )
        SELECT period, value, messages, segments, amount_micros FROM used JOIN largest USING (value)
        ORDER BY period, value
        """,
        account_id,
        bounds[0],
        bounds[-1],
        bounds,
        dimension,
        most,
    )
    return [(row[0], row[1], Sums(*row[2:])) for row in rows]


async def list_outcomes(pool: Pool, account_id: UUID, bounds: Sequence[datetime]) -> dict[int, OutcomeSums]:
    """Return an account's outcomes by period, as list_usage has them."""
    rows = await pool.fetch(
        """
        SELECT width_bucket(at, $4::timestamptz[]) - 1 AS period,
               sum(messages)::bigint, sum(delivered)::bigint, sum(failed)::bigint, sum(segments)::bigint,
               sum(amount_micros)::bigint, sum(refused)::bigint, sum(received)::bigint,
               sum(received_segments)::bigint, sum(received_micros)::bigint
        FROM billing.outcome_quarters
        WHERE account_id = $1 AND at >= $2 AND at < $3
        GROUP BY period
        """,
        account_id,
        bounds[0],
        bounds[-1],
        bounds,
    )
    return {row[0]: OutcomeSums(*row[1:]) for row in rows}
