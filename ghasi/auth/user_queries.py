"""The SQL of accounts and the people in them as they themselves see and change them, one function a statement.

Decides nothing. Every statement takes the account_id; a user who was removed is none.
"""

from datetime import datetime
from uuid import UUID

from ghasi.auth.model import Account, Member
from ghasi.contract.shapes import Preferences, Role
from ghasi.storage.pool import Connection, Pool

_ACCOUNT = (
    "accounts.id, accounts.name, accounts.status, accounts.countries, accounts.daily_cap, accounts.sequence, "
    "accounts.created_at"
)
_MEMBER = "id, email, name, role, created_at, signed_in_at"


async def find_account(connection: Connection | Pool, account_id: UUID, user_id: UUID) -> tuple[Account, Role] | None:
    """Return an account and a user's role in it; None where the user is not in it."""
    row = await connection.fetchrow(
        f"""
        SELECT {_ACCOUNT}, users.role FROM auth.users JOIN auth.accounts ON accounts.id = users.account_id
        WHERE users.id = $2 AND users.account_id = $1 AND users.removed_at IS NULL
        """,
        account_id,
        user_id,
    )
    if row is None:
        return None
    *account, role = row.values()
    return Account(*account), role


async def rename_account(connection: Connection, account_id: UUID, name: str) -> Account:
    """Name an account, which is there, and count the change."""
    row = await connection.fetchrow(
        f"UPDATE auth.accounts SET name = $2, sequence = sequence + 1 WHERE id = $1 RETURNING {_ACCOUNT}",
        account_id,
        name,
    )
    assert row is not None  # noqa: S101 - the caller holds its row
    return Account(*row.values())


async def find_preferences(pool: Pool, account_id: UUID, user_id: UUID) -> Preferences | None:
    """Return a user's time zone and locale."""
    row = await pool.fetchrow(
        "SELECT time_zone, locale FROM auth.users WHERE id = $2 AND account_id = $1 AND removed_at IS NULL",
        account_id,
        user_id,
    )
    return Preferences(*row.values()) if row else None


async def set_preferences(
    pool: Pool, account_id: UUID, user_id: UUID, *, time_zone: str | None, locale: str | None
) -> Preferences | None:
    """Set a user's time zone and locale; None where there is no such user."""
    row = await pool.fetchrow(
        """
        UPDATE auth.users SET time_zone = $3, locale = $4
        WHERE id = $2 AND account_id = $1 AND removed_at IS NULL RETURNING time_zone, locale
        """,
        account_id,
        user_id,
        time_zone,
        locale,
    )
    return Preferences(*row.values()) if row else None


async def find_role(connection: Connection | Pool, account_id: UUID, user_id: UUID) -> Role | None:
    """Return a user's role in an account; None where they are not in it."""
    role: Role | None = await connection.fetchval(
        "SELECT role FROM auth.users WHERE id = $2 AND account_id = $1 AND removed_at IS NULL", account_id, user_id
    )
    return role


async def find_member(connection: Connection, account_id: UUID, user_id: UUID) -> Member | None:
    """Return a person in an account."""
    row = await connection.fetchrow(
        f"SELECT {_MEMBER} FROM auth.users WHERE id = $2 AND account_id = $1 AND removed_at IS NULL",
        account_id,
        user_id,
    )
    return Member(*row.values()) if row else None


async def list_members(pool: Pool, account_id: UUID, before: UUID | None, limit: int) -> list[Member]:
    """Return the people in an account, newest first, older than `before`."""
    rows = await pool.fetch(
        f"""
        SELECT {_MEMBER} FROM auth.users
        WHERE account_id = $1 AND removed_at IS NULL AND ($2::uuid IS NULL OR id < $2)
        ORDER BY id DESC LIMIT $3
        """,
        account_id,
        before,
        limit,
    )
    return [Member(*row.values()) for row in rows]


async def has_address(connection: Connection, account_id: UUID, address: str) -> bool:
    """Say whether someone in an account has an e-mail address, given in lower case."""
    found: bool = await connection.fetchval(
        """
        SELECT EXISTS (
            SELECT FROM auth.users WHERE account_id = $1 AND removed_at IS NULL AND lower(email) = $2
        )
        """,
        account_id,
        address,
    )
    return found


async def has_other_owner(connection: Connection, account_id: UUID, user_id: UUID) -> bool:
    """Say whether an account has an owner besides a user."""
    found: bool = await connection.fetchval(
        """
        SELECT EXISTS (
            SELECT FROM auth.users WHERE account_id = $1 AND removed_at IS NULL AND role = 'owner' AND id <> $2
        )
        """,
        account_id,
        user_id,
    )
    return found


async def set_role(connection: Connection, account_id: UUID, user_id: UUID, role: Role) -> int:
    """Set a user's role in the account; return the sequence of the event that tells it."""
    sequence: int = await connection.fetchval(
        "UPDATE auth.users SET role = $3, sequence = sequence + 1 WHERE id = $2 AND account_id = $1 RETURNING sequence",
        account_id,
        user_id,
        role,
    )
    return sequence


async def remove_user(connection: Connection, account_id: UUID, user_id: UUID, now: datetime) -> int:
    """Take a user out of the account; return the sequence of the event that tells it."""
    sequence: int = await connection.fetchval(
        """
        UPDATE auth.users SET removed_at = $3, sequence = sequence + 1
        WHERE id = $2 AND account_id = $1 RETURNING sequence
        """,
        account_id,
        user_id,
        now,
    )
    return sequence


async def revoke_sessions(connection: Connection, account_id: UUID, user_id: UUID, now: datetime) -> None:
    """Revoke the refresh tokens of all of a user's sign-ins."""
    await connection.execute(
        """
        UPDATE auth.refresh_families SET revoked_at = $3
        FROM auth.users WHERE users.id = $2 AND users.account_id = $1
            AND refresh_families.user_id = users.id AND refresh_families.revoked_at IS NULL
        """,
        account_id,
        user_id,
        now,
    )
