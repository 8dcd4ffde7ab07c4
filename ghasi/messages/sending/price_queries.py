"""All SQL about what messages cost: prices that billing gave, and rates for showing one before sending."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from ghasi.storage.pool import Connection, Pool


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


async def find_price(
    pool: Pool, account_id: UUID, default_currency: str, country: str, at: datetime
) -> tuple[int, str] | None:
    """Return the micros of a segment to a country at a moment, and the account's currency.

    The country's own rate, else the default's ('*'), each by the latest validity and of equal ones the last; before the
    first default rate, that one.
    """
    row = await pool.fetchrow(
        """
        WITH account AS (
            SELECT coalesce((SELECT currency FROM messages.account_currencies WHERE account_id = $1), $2) AS currency
        ), found AS (
            (SELECT 1 AS choice, amount_micros, currency FROM messages.rates JOIN account USING (currency)
             WHERE country = $3 AND valid_from <= $4 ORDER BY valid_from DESC, id DESC LIMIT 1)
            UNION ALL
            (SELECT 2, amount_micros, currency FROM messages.rates JOIN account USING (currency)
             WHERE country = '*' AND valid_from <= $4 ORDER BY valid_from DESC, id DESC LIMIT 1)
            UNION ALL
            (SELECT 3, amount_micros, currency FROM messages.rates JOIN account USING (currency)
             WHERE country = '*' ORDER BY valid_from, id LIMIT 1)
        )
        SELECT amount_micros, currency FROM found ORDER BY choice LIMIT 1
        """,
        account_id,
        default_currency,
        country,
        at,
    )
    return None if row is None else (row["amount_micros"], row["currency"])


async def insert_rates(connection: Connection, rows: Sequence[tuple[UUID, str, str, int, datetime]]) -> None:
    """Take over billing's rates: (id, currency, country, micros, valid from). One that is known stays."""
    await connection.execute(
        """
        INSERT INTO messages.rates (id, currency, country, amount_micros, valid_from)
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::timestamptz[])
        ON CONFLICT (id) DO NOTHING
        """,
        *(list(column) for column in zip(*rows, strict=True)),
    )


async def upsert_currencies(connection: Connection, rows: Sequence[tuple[UUID, str, int]]) -> None:
    """Take over the currencies accounts are billed in, unless a later word is known: (account, currency, sequence)."""
    await connection.execute(
        """
        INSERT INTO messages.account_currencies AS known (account_id, currency, sequence)
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::int[])
        ON CONFLICT (account_id) DO UPDATE SET currency = excluded.currency, sequence = excluded.sequence
            WHERE known.sequence < excluded.sequence
        """,
        *(list(column) for column in zip(*rows, strict=True)),
    )
