"""SQL of what billing knows of accounts: their currency, their name, their people and their profile. Knows no rules."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from ghasi.storage.pool import Connection, Pool


class Profile(NamedTuple):
    """What a customer wants to be called on invoices."""

    legal_name: str | None
    address: tuple[str, ...]
    tax_id: str | None
    email: str | None
    locale: str | None
    updated_at: datetime


# currencies


async def list_currencies(connection: Connection | Pool, accounts: Collection[UUID]) -> dict[UUID, str]:
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


# people


async def upsert_people(connection: Connection, people: Sequence[tuple[UUID, UUID, str | None, int]]) -> None:
    """Take over what people may do in accounts, unless a later word is known: (id, account, role, sequence)."""
    await connection.execute(
        """
        INSERT INTO billing.people AS known (user_id, account_id, role, sequence)
        SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::int[])
        ON CONFLICT (user_id) DO UPDATE SET role = EXCLUDED.role, sequence = EXCLUDED.sequence
        WHERE known.sequence < EXCLUDED.sequence
        """,
        *zip(*people, strict=True),
    )


async def is_owner(connection: Connection | Pool, account_id: UUID, user_id: UUID) -> bool:
    """Return whether a person is an owner of an account."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM billing.people WHERE user_id = $2 AND account_id = $1 AND role = 'owner')",
        account_id,
        user_id,
    )
    return found


# billing profiles


async def find_profile(connection: Connection | Pool, account_id: UUID) -> Profile | None:
    """Return an account's billing profile."""
    row = await connection.fetchrow(
        """
        SELECT legal_name, address, tax_id, email, locale, updated_at
        FROM billing.profiles WHERE account_id = $1
        """,
        account_id,
    )
    return Profile(row[0], tuple(row[1]), *row[2:]) if row else None


async def set_profile(connection: Connection, account_id: UUID, profile: Profile) -> None:
    """Set an account's billing profile."""
    await connection.execute(
        """
        INSERT INTO billing.profiles (account_id, legal_name, address, tax_id, email, locale, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (account_id) DO UPDATE SET legal_name = EXCLUDED.legal_name, address = EXCLUDED.address,
            tax_id = EXCLUDED.tax_id, email = EXCLUDED.email, locale = EXCLUDED.locale,
            updated_at = EXCLUDED.updated_at
        """,
        account_id,
        profile.legal_name,
        list(profile.address),
        profile.tax_id,
        profile.email,
        profile.locale,
        profile.updated_at,
    )
