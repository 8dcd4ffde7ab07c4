"""All SQL about what messages cost: prices that billing gave, and rates for showing one before sending."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from ghasi.contract.pricing import Rate, RateKey, Tier
from ghasi.storage.pool import Connection, Pool

_SELECTED = ", ".join(("id", *RateKey._fields, "amount_micros", "valid_from", "tiers"))


async def set_prices(connection: Connection, rows: Sequence[tuple[UUID, int, str]]) -> None:
    """Take over billing's price of messages: (message id, micros, currency)."""
    ids = [row[0] for row in rows]
    await connection.execute(
        """
        UPDATE messages.messages AS message SET price_micros = new.amount_micros, currency = new.currency
        FROM unnest($1::uuid[], $2::bigint[], $3::text[]) AS new (id, amount_micros, currency)
        WHERE message.id = new.id AND message.id BETWEEN $4 AND $5
        """,
        ids,
        [row[1] for row in rows],
        [row[2] for row in rows],
        min(ids),
        max(ids),
    )


async def find_account(pool: Pool, account_id: UUID) -> tuple[str | None, str, int]:
    """Return an account's currency where billing has told it, its plans as JSON, and the position of the last rate."""
    (row,) = await pool.fetch(
        """
        SELECT account.currency, coalesce(account.plans, '[]'), coalesce(rates.position, 0)
        FROM (SELECT max(position) AS position FROM messages.rates) AS rates
        LEFT JOIN messages.account_currencies AS account ON account.account_id = $1
        """,
        account_id,
    )
    return row[0], row[1], row[2]


async def list_rates(pool: Pool, after: int, most: int) -> tuple[list[Rate], int]:
    """Return up to `most` rates behind a position, and the position of the last."""
    rows = await pool.fetch(
        f"SELECT {_SELECTED}, position FROM messages.rates WHERE position > $1 ORDER BY position LIMIT $2", after, most
    )
    rates = [
        Rate(row[0], RateKey(*row[1:9]), row[9], row[10], tuple(Tier(*tier) for tier in msgspec.json.decode(row[11])))
        for row in rows
    ]
    return rates, rows[-1]["position"] if rows else after


async def insert_rates(connection: Connection, rates: Sequence[Rate]) -> None:
    """Take over billing's rates. One that is known stays."""
    await connection.execute(
        f"""
        INSERT INTO messages.rates ({_SELECTED})
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::text[],
                             $8::text[], $9::text[], $10::bigint[], $11::timestamptz[], $12::json[])
        ON CONFLICT (id) DO NOTHING
        """,
        [rate.id for rate in rates],
        *(list(column) for column in zip(*(rate.key for rate in rates), strict=True)),
        [rate.amount_micros for rate in rates],
        [rate.valid_from for rate in rates],
        [msgspec.json.encode(rate.tiers).decode() for rate in rates],
    )


async def upsert_accounts(connection: Connection, rows: Sequence[tuple[UUID, str, str, int]]) -> None:
    """Take over how accounts are billed, unless a later word is known: (account, currency, plans, sequence)."""
    await connection.execute(
        """
        INSERT INTO messages.account_currencies AS known (account_id, currency, plans, sequence)
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::json[], $4::int[])
        ON CONFLICT (account_id) DO UPDATE
            SET currency = excluded.currency, plans = excluded.plans, sequence = excluded.sequence
            WHERE known.sequence < excluded.sequence
        """,
        *(list(column) for column in zip(*rows, strict=True)),
    )
