"""SQL of rates. Knows no rules."""

from collections.abc import Sequence

import msgspec

from ghasi.contract.pricing import Rate, RateKey, Tier
from ghasi.storage.pool import Connection, Pool, Record

_COLUMNS = ("id", *RateKey._fields, "amount_micros", "valid_from", "tiers")
_SELECTED = ", ".join(_COLUMNS)
_NO_TIERS = "[]"


async def lock_rates(connection: Connection) -> None:
    """Keep other imports out until the end of the transaction; readers go on."""
    await connection.execute("LOCK TABLE billing.rates IN SHARE ROW EXCLUSIVE MODE")


async def list_rates(connection: Connection | Pool, *, after: int = 0) -> tuple[list[Rate], int]:
    """Return the rates behind a position in the order in which they were added, and the position of the last."""
    rows = await connection.fetch(
        f"SELECT {_SELECTED}, position FROM billing.rates WHERE position > $1 ORDER BY position", after
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
