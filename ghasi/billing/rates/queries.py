"""SQL of rates. Knows no rules."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from ghasi.contract.pricing import Rate, RateKey, Tier
from ghasi.storage.pool import Connection, Pool, Record

_COLUMNS = ("id", *RateKey._fields, "amount_micros", "valid_from", "tiers")
_SELECTED = ", ".join(_COLUMNS)
_NO_TIERS = "[]"


async def lock_rates(connection: Connection) -> None:
    """Keep other imports out until the end of the transaction; readers go on."""
    await connection.execute("LOCK TABLE billing.rates IN SHARE ROW EXCLUSIVE MODE")


async def list_rates(
    connection: Connection | Pool, *, after: int = 0, most: int | None = None
) -> tuple[list[Rate], int]:
    """Return the rates behind a position in the order in which they were added, and the position of the last."""
    rows = await connection.fetch(
        f"SELECT {_SELECTED}, position FROM billing.rates WHERE position > $1 ORDER BY position LIMIT $2", after, most
    )
    return [_rate(row) for row in rows], rows[-1]["position"] if rows else after


async def insert_rates(connection: Connection, rates: Sequence[Rate]) -> None:
    """Add rates in their order; the caller holds the lock."""
    await connection.copy_records_to_table(
        "rates",
        schema_name="billing",
        columns=_COLUMNS,
        records=(
            (rate.id, *rate.key, rate.amount_micros, rate.valid_from, msgspec.json.encode(rate.tiers).decode())
            for rate in rates
        ),
    )


async def list_rates_of(
    pool: Pool,
    account_id: UUID,
    plan: str | None,
    currency: str,
    *,
    at: datetime,
    countries: Sequence[str] | None,
    prefixes: Sequence[str] | None,
    prefix: str,
    direction: str | None,
    before: UUID | None,
    limit: int,
) -> list[Rate]:
    """Return the rates of a moment that are an account's, its plan's or everybody's, newest first.

    `countries` and `prefixes` are those that rates may have, None any; `prefix` is what theirs begins with.
    """
    of_a_scope = """
        SELECT * FROM billing.rates AS rate
        WHERE currency = $1 AND (plan IS NULL OR plan = $3) AND valid_from <= $4 AND ($9::uuid IS NULL OR id < $9)
            AND ($5::text[] IS NULL OR country = ANY($5)) AND ($6::text[] IS NULL OR prefix = ANY($6))
            AND starts_with(prefix, $7) AND ($8::text IS NULL OR direction = $8)
            AND NOT EXISTS (
                SELECT FROM billing.rates AS later
                WHERE (later.currency, later.country, later.prefix, later.direction)
                    = (rate.currency, rate.country, rate.prefix, rate.direction)
                    AND (later.account_id, later.plan, later.sender_kind, later.carrier_class)
                    IS NOT DISTINCT FROM (rate.account_id, rate.plan, rate.sender_kind, rate.carrier_class)
                    AND (later.valid_from, later.id) > (rate.valid_from, rate.id) AND later.valid_from <= $4
            )
    """
    rows = await pool.fetch(
        f"""
        SELECT {_SELECTED} FROM (
            ({of_a_scope} AND account_id IS NULL ORDER BY id DESC LIMIT $10)
            UNION ALL
            ({of_a_scope} AND account_id = $2 ORDER BY id DESC LIMIT $10)
        ) AS found ORDER BY id DESC LIMIT $10
        """,
        currency,
        account_id,
        plan,
        at,
        countries,
        prefixes,
        prefix,
        direction,
        before,
        limit,
    )
    return [_rate(row) for row in rows]


async def has_default(connection: Connection, currency: str) -> bool:
    """Whether a currency has a rate that holds for everybody's messages anywhere."""
    found: bool = await connection.fetchval(
        """
        SELECT EXISTS (
            SELECT FROM billing.rates
            WHERE currency = $1 AND country = '*' AND prefix = '' AND direction = 'outbound' AND account_id IS NULL
                AND plan IS NULL AND sender_kind IS NULL AND carrier_class IS NULL
        )
        """,
        currency,
    )
    return found


def _rate(row: Record) -> Rate:
    _, *key, amount_micros, valid_from, tiers = tuple(row)[: len(_COLUMNS)]
    return Rate(row[0], RateKey(*key), amount_micros, valid_from, _tiers(tiers))


def _tiers(text: str) -> tuple[Tier, ...]:
    return () if text == _NO_TIERS else tuple(Tier(*tier) for tier in msgspec.json.decode(text))
