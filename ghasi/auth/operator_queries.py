"""The SQL of what operators see and change, one function a statement. Decides nothing."""

from collections.abc import Sequence
from uuid import UUID

from ghasi.auth.model import Account, AccountEntry, AccountStatus, User, UserEntry
from ghasi.storage.pool import Connection, Pool

_ACCOUNT = "id, name, status, countries, daily_cap, sequence, created_at"


async def list_accounts(pool: Pool, before: UUID | None, limit: int) -> list[AccountEntry]:
    """Return accounts with their own limits, newest first."""
    rows = await pool.fetch(
        f"""
        SELECT {_ACCOUNT},
            ARRAY(SELECT limit_group FROM auth.account_limits WHERE account_id = id ORDER BY limit_group),
            ARRAY(SELECT per_minute FROM auth.account_limits WHERE account_id = id ORDER BY limit_group)
        FROM auth.accounts WHERE $1::uuid IS NULL OR id < $1 ORDER BY id DESC LIMIT $2
        """,
        before,
        limit,
    )
    return [AccountEntry(Account(*row[:7]), dict(zip(row[7], row[8], strict=True))) for row in map(tuple, rows)]


async def set_status(connection: Connection, account_id: UUID, status: AccountStatus) -> Account | None:
    """Set an account's status and count the change; None where there is no such account."""
    row = await connection.fetchrow(
        f"UPDATE auth.accounts SET status = $2, sequence = sequence + 1 WHERE id = $1 RETURNING {_ACCOUNT}",
        account_id,
        status,
    )
    return Account(*row.values()) if row else None


async def set_countries(connection: Connection, account_id: UUID, countries: Sequence[str] | None) -> Account | None:
    """Set where an account may send to (None: anywhere) and count the change."""
    row = await connection.fetchrow(
        f"UPDATE auth.accounts SET countries = $2, sequence = sequence + 1 WHERE id = $1 RETURNING {_ACCOUNT}",
        account_id,
        countries,
    )
    return Account(*row.values()) if row else None


async def set_daily_cap(connection: Connection, account_id: UUID, daily_cap: int | None) -> Account | None:
    """Set an account's daily cap of messages (None: no cap) and count the change."""
    row = await connection.fetchrow(
        f"UPDATE auth.accounts SET daily_cap = $2, sequence = sequence + 1 WHERE id = $1 RETURNING {_ACCOUNT}",
        account_id,
        daily_cap,
    )
    return Account(*row.values()) if row else None


async def set_limit(connection: Connection, account_id: UUID, group: str, per_minute: int) -> None:
    """Give an account a limit of its own."""
    await connection.execute(
        """
        INSERT INTO auth.account_limits (account_id, limit_group, per_minute) VALUES ($1, $2, $3)
        ON CONFLICT (account_id, limit_group) DO UPDATE SET per_minute = excluded.per_minute
        """,
        account_id,
        group,
        per_minute,
    )


async def delete_limit(connection: Connection, account_id: UUID, group: str) -> None:
    """Let the settings limit an account again."""
    await connection.execute(
        "DELETE FROM auth.account_limits WHERE account_id = $1 AND limit_group = $2", account_id, group
    )


async def list_users(
    pool: Pool, account_id: UUID | None, email: str | None, before: UUID | None, limit: int
) -> list[UserEntry]:
    """Return users of one account or of all, removed ones too, newest first, `email` as a filter."""
    rows = await pool.fetch(
        """
        SELECT users.id, users.account_id, accounts.name, users.email, users.name, users.roles, users.role,
            users.time_zone, users.locale, users.created_at, users.signed_in_at, users.removed_at
        FROM auth.users JOIN auth.accounts ON accounts.id = users.account_id
        WHERE ($1::uuid IS NULL OR users.account_id = $1) AND ($2::text IS NULL OR lower(users.email) = lower($2))
            AND ($3::uuid IS NULL OR users.id < $3)
        ORDER BY users.id DESC LIMIT $4
        """,
        account_id,
        email,
        before,
        limit,
    )
    return [UserEntry(User(*row[:9]), *row[9:]) for row in map(tuple, rows)]


async def lock_roles(connection: Connection, user_id: UUID) -> list[str] | None:
    """Return a user's roles and hold the row; None where there is no such user."""
    roles: list[str] | None = await connection.fetchval(
        "SELECT roles FROM auth.users WHERE id = $1 FOR NO KEY UPDATE", user_id
    )
    return roles


async def set_roles(connection: Connection, user_id: UUID, roles: Sequence[str]) -> None:
    """Set a user's roles."""
    await connection.execute("UPDATE auth.users SET roles = $2 WHERE id = $1", user_id, roles)
