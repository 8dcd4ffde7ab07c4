"""SQL of rates. Knows no rules."""

from collections.abc import Sequence

import msgspec

from ghasi.contract.pricing import Rate, RateKey, Tier
from ghasi.storage.pool import Connection, Pool


async def lock_rates(connection: Connection) -> None:
    """Keep other imports out until the end of the transaction; readers go on."""
    await connection.execute("LOCK TABLE billing.rates IN SHARE ROW EXCLUSIVE MODE")


async def list_rates(connection: Connection | Pool, *, after: int = 0) -> tuple[list[Rate], int]:
    """Return the rates behind a position in the order in which they were added, and the position of the last."""
    rows = await connection.fetch(
        """
        SELECT id, currency, direction, account_id, plan, country, prefix, sender_kind, carrier_class, amount_micros,
               valid_from, tiers, position
        FROM billing.rates WHERE position > $1 ORDER BY position
        """,
        after,
    )
    rates = [
        Rate(row[0], RateKey(*row[1:9]), row[9], row[10], tuple(Tier(*tier) for tier in msgspec.json.decode(row[11])))
        for row in rows
    ]
    return rates, rows[-1]["position"] if rows else after


async def insert_rates(connection: Connection, rates: Sequence[Rate]) -> None:
    """Add rates; the caller holds the lock."""
    await connection.execute(
        """
        INSERT INTO billing.rates (id, currency, direction, account_id, plan, country, prefix, sender_kind,
                                   carrier_class, amount_micros, valid_from, tiers)
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::text[],
                             $8::text[], $9::text[], $10::bigint[], $11::timestamptz[], $12::json[])
        """,
        [rate.id for rate in rates],
        *(list(column) for column in zip(*(rate.key for rate in rates), strict=True)),
        [rate.amount_micros for rate in rates],
        [rate.valid_from for rate in rates],
        [msgspec.json.encode(rate.tiers).decode() for rate in rates],
    )
