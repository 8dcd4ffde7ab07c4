"""SQL that checks what billing keeps: charges beside their messages, and sums beside charges. Changes nothing."""

from collections.abc import Collection
from datetime import date, datetime
from uuid import UUID

from ghasi.billing.model import Charge
from ghasi.storage.pool import Connection, Pool, Record

LONGEST_S = 3600.0
"""How long one of these may take: they read a month of charges."""
_CHARGE = ", ".join(Charge._fields)
# charges of a month; their messages may have been made long before, but not after
_COUNTED = """
    FROM billing.charges
    WHERE message_id > $1 AND message_id < $2 AND at >= $3 AND at < $4 AND ($5::uuid IS NULL OR account_id = $5)
"""
_SUMS = """count(*) AS messages, coalesce(sum(segments), 0) AS segments,
    coalesce(sum(amount_micros), 0) AS amount_micros"""
_QUARTER = "date_bin('15 minutes', at, '2000-01-01Z')"


async def list_charges(pool: Pool, after: UUID, until: UUID, account_id: UUID | None) -> list[Charge]:
    """Return the charges of messages behind one id up to another, of one account or of all."""
    rows = await pool.fetch(
        f"""
        SELECT {_CHARGE} FROM billing.charges
        WHERE message_id > $1 AND message_id <= $2 AND ($3::uuid IS NULL OR account_id = $3)
        """,
        after,
        until,
        account_id,
    )
    return [Charge._make(row) for row in rows]


async def list_charges_of(pool: Pool, message_ids: Collection[UUID]) -> list[Charge]:
    """Return the charges of messages."""
    rows = await pool.fetch(f"SELECT {_CHARGE} FROM billing.charges WHERE message_id = ANY($1)", list(message_ids))
    return [Charge._make(row) for row in rows]


async def list_rate_times(pool: Pool) -> dict[UUID, datetime]:
    """Return when each rate was added."""
    return {row[0]: row[1] for row in await pool.fetch("SELECT id, created_at FROM billing.rates")}


async def list_currencies(pool: Pool) -> dict[UUID, str]:
    """Return every account's currency, once it is fixed."""
    return {row[0]: row[1] for row in await pool.fetch("SELECT account_id, currency FROM billing.accounts")}


Scope = tuple[UUID, UUID, datetime, datetime, UUID | None]
"""Ids of messages, both exclusive, a month's first moment and the next one's, and an account or None."""


async def check_quarters(connection: Connection, scope: Scope, most: int) -> list[Record]:
    """Return rows of usage_quarters that are not the sums of their charges: key, kept, counted."""
    return await _differences(
        connection,
        f"""
        WITH counted AS (
            SELECT account_id, {_QUARTER} AS at, country, status, {_SUMS} {_COUNTED} AND reversal_tally_id IS NULL
            GROUP BY 1, 2, 3, 4
        ), kept AS (
            SELECT * FROM billing.usage_quarters WHERE at >= $3 AND at < $4 AND ($5::uuid IS NULL OR account_id = $5)
        )
        SELECT account_id, concat_ws(' ', to_char(at, 'YYYY-MM-DD HH24:MI'), country, status) AS what,
        """,
        "account_id, at, country, status",
        scope,
        most,
    )


async def check_groups(connection: Connection, scope: Scope, month: date, most: int) -> list[Record]:
    """Return rows of usage_groups that are not the sums of the charges of the values that are named."""
    return await _differences(
        connection,
        f"""
        WITH counted AS (
            SELECT charge.account_id, dimension, charge.at, value, {_SUMS}
            FROM (SELECT account_id, {_QUARTER} AS at, sender, api_key_id, reference, segments, amount_micros
                  {_COUNTED} AND reversal_tally_id IS NULL) AS charge
            CROSS JOIN LATERAL (VALUES ('sender', charge.sender), ('api_key', charge.api_key_id::text),
                                       ('reference', charge.reference)) AS told (dimension, value)
            JOIN billing.usage_values AS named USING (account_id, dimension, value)
            WHERE named.month = $7
            GROUP BY 1, 2, 3, 4
        ), kept AS (
            SELECT * FROM billing.usage_groups WHERE at >= $3 AND at < $4 AND ($5::uuid IS NULL OR account_id = $5)
        )
        SELECT account_id, concat_ws(' ', to_char(at, 'YYYY-MM-DD HH24:MI'), dimension, value) AS what,
        """,
        "account_id, dimension, at, value",
        scope,
        most,
        month,
    )


async def check_outcomes(connection: Connection, scope: Scope, most: int) -> list[Record]:
    """Return rows of outcome_quarters whose usage is not that of usage_quarters."""
    return await _differences(
        connection,
        """
        WITH counted AS (
            SELECT account_id, at, sum(messages) AS messages, sum(segments) AS segments,
                   sum(amount_micros) AS amount_micros
            FROM billing.usage_quarters
            WHERE at >= $3 AND at < $4 AND ($5::uuid IS NULL OR account_id = $5) AND $1::uuid < $2::uuid
            GROUP BY 1, 2
        ), kept AS (
            SELECT account_id, at, messages - refused + received AS messages,
                   segments + received_segments AS segments, amount_micros + received_micros AS amount_micros
            FROM billing.outcome_quarters WHERE at >= $3 AND at < $4 AND ($5::uuid IS NULL OR account_id = $5)
        )
        SELECT account_id, to_char(at, 'YYYY-MM-DD HH24:MI') AS what,
        """,
        "account_id, at",
        scope,
        most,
    )


async def check_tallies(connection: Connection, scope: Scope, month: date, most: int) -> list[Record]:
    """Return tallies of a month that are not the sums of what was charged under them, less what was given back."""
    return await _differences(
        connection,
        f"""
        WITH charge AS MATERIALIZED (
            SELECT account_id, tally_id, reversal_tally_id, segments, amount_micros {_COUNTED}
        ), counted AS (
            SELECT account_id, id, sum(times) AS messages, sum(times * segments) AS segments,
                   sum(times * amount_micros) AS amount_micros
            FROM (SELECT account_id, tally_id AS id, 1 AS times, segments, amount_micros FROM charge
                  WHERE tally_id IS NOT NULL
                  UNION ALL
                  SELECT account_id, reversal_tally_id, -1, segments, amount_micros FROM charge
                  WHERE reversal_tally_id IS NOT NULL) AS moved
            GROUP BY 1, 2
        ), kept AS (
            SELECT * FROM billing.tallies WHERE month = $7 AND ($5::uuid IS NULL OR account_id = $5)
        )
        SELECT account_id, 'tally ' || id AS what,
        """,
        "account_id, id",
        scope,
        most,
        month,
    )


async def _differences(
    connection: Connection, counted: str, key: str, scope: Scope, most: int, *more: object
) -> list[Record]:
    """Compare `kept` with `counted` by their keys; return account, what, and messages, segments and micros of both."""
    rows: list[Record] = await connection.fetch(
        counted
        + f"""
            coalesce(kept.messages, 0)::bigint AS kept_messages, coalesce(kept.segments, 0)::bigint AS kept_segments,
            coalesce(kept.amount_micros, 0)::bigint AS kept_micros, coalesce(counted.messages, 0)::bigint AS messages,
            coalesce(counted.segments, 0)::bigint AS segments,
            coalesce(counted.amount_micros, 0)::bigint AS amount_micros
        FROM counted FULL JOIN kept USING ({key})
        WHERE (coalesce(kept.messages, 0), coalesce(kept.segments, 0), coalesce(kept.amount_micros, 0))
           <> (coalesce(counted.messages, 0), coalesce(counted.segments, 0), coalesce(counted.amount_micros, 0))
        ORDER BY account_id, what LIMIT $6
        """,
        *scope,
        most,
        *more,
        timeout=LONGEST_S,
    )
    return rows
