"""SQL that reads usage and outcomes by the periods that its caller has drawn. Knows no rules."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from ghasi.billing.model import OutcomeSums, Sums
from ghasi.storage.pool import Pool

_GROUPS = {None: "NULL::text", "country": "country", "status": "status"}


async def list_usage(
    pool: Pool, account_id: UUID, bounds: Sequence[datetime], group_by: str | None
) -> list[tuple[int, str | None, Sums]]:
    """Return an account's usage by period and group, without those that have none.

    Period n is from `bounds[n]` (inclusive) to `bounds[n + 1]`.
    """
    rows = await pool.fetch(
        f"""
        SELECT width_bucket(at, $4::timestamptz[]) - 1 AS period, {_GROUPS[group_by]} AS of,
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


async def list_outcomes(pool: Pool, account_id: UUID, bounds: Sequence[datetime]) -> dict[int, OutcomeSums]:
    """Return an account's outcomes by period, as list_usage has them."""
    rows = await pool.fetch(
        """
        SELECT width_bucket(at, $4::timestamptz[]) - 1 AS period,
               sum(messages)::bigint, sum(delivered)::bigint, sum(failed)::bigint, sum(segments)::bigint,
               sum(amount_micros)::bigint
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
