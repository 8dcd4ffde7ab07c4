"""SQL of what billing knows of accounts: their currency and their name. Knows no rules."""

from collections.abc import Collection, Sequence
from uuid import UUID

from ghasi.storage.pool import Connection, Pool

# currencies


async def list_currencies(connection: Connection, accounts: Collection[UUID]) -> dict[UUID, str]:
    """Return the currency of those accounts that have one."""
    rows = await connection.fetch(
        "SELECT account_id, currency FROM billing.accounts WHERE account_id = ANY($1)", list(accounts)
    )
    return {row[0]: row[1] for row in rows}


async def find_currency(connection: Connection | Pool, account_id: UUID) -> str | None:
    """Return an account's currency once it is fixed."""
    currency: str | None = await connection.fetchval(
        "SELECT currency FROM billing.accounts WHERE account_id = $1", account_id
    )
    return currency


async def insert_accounts(connection: Connection, accounts: Collection[UUID], currency: str) -> list[UUID]:
    """Fix the currency of accounts that have none; return those."""
    rows = await connection.fetch(
        """
        INSERT INTO billing.accounts (account_id, currency) SELECT unnest($1::uuid[]), $2
        ON CONFLICT DO NOTHING RETURNING account_id
        """,
        sorted(accounts),
        currency,
    )
    return [row[0] for row in rows]


async def next_sequence(connection: Connection, account_id: UUID) -> tuple[str, int]:
    """Count up how often others were told of an account whose currency is fixed; return the currency and the count."""
    rows = await connection.fetch(
        "UPDATE billing.accounts SET sequence = sequence + 1 WHERE account_id = $1 RETURNING currency, sequence",
        account_id,
    )
    return rows[0][0], rows[0][1]


# customers' names


async def upsert_customers(connection: Connection, customers: Sequence[tuple[UUID, str, int]]) -> None:
    """Take over auth-service's word on accounts, unless a later one is known: (id, name, sequence), each id once."""
    await connection.execute(
        """
        INSERT INTO billing.customers AS known (account_id, name, sequence)
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::int[])
        ON CONFLICT (account_id) DO UPDATE SET name = EXCLUDED.name, sequence = EXCLUDED.sequence
        WHERE known.sequence < EXCLUDED.sequence
        """,
        *zip(*customers, strict=True),
    )


async def find_customer_name(connection: Connection | Pool, account_id: UUID) -> str | None:
    """Return an account's name, once auth-service has told it."""
    name: str | None = await connection.fetchval("SELECT name FROM billing.customers WHERE account_id = $1", account_id)
    return name
