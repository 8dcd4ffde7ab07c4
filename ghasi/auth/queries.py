"""The SQL of accounts, users, sessions, signing keys and the gateway's lease, one function a statement.

Decides nothing. `user_queries.py`, `invitation_queries.py`, `api_key_queries.py` and `operator_queries.py` have the
rest of the schema's SQL. A user who was removed is none to the statements here.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from ghasi.auth.model import (
    Account,
    Identity,
    RefreshFamily,
    RefreshToken,
    SigningKey,
    User,
)
from ghasi.contract.shapes import Role
from ghasi.storage.pool import Connection, Pool

_KEY_ROTATION_LOCK = 0x67686B79  # "ghky"
_USER = """
SELECT users.id, users.account_id, accounts.name, users.email, users.name, users.roles, users.role,
    users.time_zone, users.locale
FROM auth.users JOIN auth.accounts ON accounts.id = users.account_id
"""

# accounts and users


async def lock_sign_up(connection: Connection, issuer: str, subject: str) -> None:
    """Let one transaction at a time sign up a person; held to its end."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"{issuer}\n{subject}")


async def update_signed_in_user(
    connection: Connection, identity: Identity, name: str, now: datetime
) -> tuple[UUID, UUID] | None:
    """Write what the identity provider says of a user now; return user and account, or None where there is none."""
    row = await connection.fetchrow(
        """
        UPDATE auth.users SET email = $3, name = $4, signed_in_at = $5
        WHERE issuer = $1 AND subject = $2 AND removed_at IS NULL RETURNING id, account_id
        """,
        identity.issuer,
        identity.subject,
        identity.email,
        name,
        now,
    )
    return (row["id"], row["account_id"]) if row else None


async def insert_account(connection: Connection, account_id: UUID, name: str, now: datetime) -> Account:
    """Make an account: active, every country, no cap."""
    row = await connection.fetchrow(
        """
        INSERT INTO auth.accounts (id, name, created_at) VALUES ($1, $2, $3)
        RETURNING id, name, status, countries, daily_cap, sequence, created_at
        """,
        account_id,
        name,
        now,
    )
    assert row is not None  # noqa: S101 - INSERT ... RETURNING gives a row or raises
    return Account(*row.values())


async def insert_user(
    connection: Connection,
    user_id: UUID,
    account_id: UUID,
    identity: Identity,
    *,
    name: str,
    roles: Sequence[str],
    role: Role,
    now: datetime,
) -> None:
    """Make a user in an account."""
    await connection.execute(
        """
        INSERT INTO auth.users (id, account_id, issuer, subject, email, name, roles, role, created_at, signed_in_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)
        """,
        user_id,
        account_id,
        identity.issuer,
        identity.subject,
        identity.email,
        name,
        roles,
        role,
        now,
    )


async def find_user(connection: Connection | Pool, user_id: UUID) -> User | None:
    """Return a user with the account's name."""
    row = await connection.fetchrow(_USER + "WHERE users.id = $1 AND users.removed_at IS NULL", user_id)
    return User(*row.values()) if row else None


async def lock_account(connection: Connection, account_id: UUID) -> str | None:
    """Return an account's status and hold its row: what is counted per account is counted by one at a time."""
    status: str | None = await connection.fetchval(
        "SELECT status FROM auth.accounts WHERE id = $1 FOR NO KEY UPDATE", account_id
    )
    return status


# refresh tokens


async def insert_refresh_family(
    connection: Connection, family_id: UUID, user_id: UUID, now: datetime, expires_at: datetime
) -> None:
    """Begin the refresh tokens of one sign-in."""
    await connection.execute(
        "INSERT INTO auth.refresh_families (id, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4)",
        family_id,
        user_id,
        now,
        expires_at,
    )


async def insert_refresh_token(
    connection: Connection, token_hash: bytes, family_id: UUID, now: datetime, expires_at: datetime
) -> None:
    """Add a refresh token to its family."""
    await connection.execute(
        "INSERT INTO auth.refresh_tokens (hash, family_id, issued_at, expires_at) VALUES ($1, $2, $3, $4)",
        token_hash,
        family_id,
        now,
        expires_at,
    )


async def lock_refresh_family(connection: Connection, token_hash: bytes) -> RefreshFamily | None:
    """Return the family of a token and hold it: its tokens are used by one request at a time."""
    row = await connection.fetchrow(
        """
        SELECT id, user_id, expires_at, revoked_at FROM auth.refresh_families
        WHERE id = (SELECT family_id FROM auth.refresh_tokens WHERE hash = $1) FOR UPDATE
        """,
        token_hash,
    )
    return RefreshFamily(*row.values()) if row else None


async def list_refresh_tokens(
    connection: Connection, family_id: UUID, hashes: Sequence[bytes]
) -> dict[bytes, RefreshToken]:
    """Return those of some tokens that the family has, by hash."""
    rows = await connection.fetch(
        "SELECT hash, expires_at, used_at FROM auth.refresh_tokens WHERE family_id = $1 AND hash = ANY($2::bytea[])",
        family_id,
        hashes,
    )
    return {row["hash"]: RefreshToken(row["expires_at"], row["used_at"]) for row in rows}


async def mark_refresh_token_used(connection: Connection, token_hash: bytes, now: datetime) -> None:
    """Note when a token first gave its successor."""
    await connection.execute("UPDATE auth.refresh_tokens SET used_at = $2 WHERE hash = $1", token_hash, now)


async def revoke_refresh_family(connection: Connection | Pool, token_hash: bytes, now: datetime) -> None:
    """Revoke all refresh tokens of the sign-in that a token came from; no such token, no change."""
    await connection.execute(
        """
        UPDATE auth.refresh_families SET revoked_at = $2
        WHERE id = (SELECT family_id FROM auth.refresh_tokens WHERE hash = $1) AND revoked_at IS NULL
        """,
        token_hash,
        now,
    )


# signing keys


async def lock_key_rotation(connection: Connection) -> None:
    """Let one transaction at a time make signing keys; held to its end."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _KEY_ROTATION_LOCK)


async def list_signing_keys(connection: Connection | Pool) -> list[SigningKey]:
    """Return all signing keys, newest first."""
    rows = await connection.fetch(
        """
        SELECT kid, modulus, exponent, sealed_private_key, created_at, signs_from, published_until
        FROM auth.signing_keys ORDER BY signs_from DESC
        """
    )
    return [SigningKey(*row.values()) for row in rows]


async def insert_signing_key(connection: Connection, key: SigningKey) -> None:
    """Publish a signing key."""
    await connection.execute(
        """
        INSERT INTO auth.signing_keys
            (kid, modulus, exponent, sealed_private_key, created_at, signs_from, published_until)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        """,
        key.kid,
        key.modulus,
        key.exponent,
        key.sealed_private_key,
        key.created_at,
        key.signs_from,
        key.published_until,
    )


async def retire_signing_keys(connection: Connection, published_until: datetime) -> None:
    """Set when the keys that have no such time yet are published no more."""
    await connection.execute(
        "UPDATE auth.signing_keys SET published_until = $1 WHERE published_until IS NULL", published_until
    )


# the gateway


async def take_gateway_lease(pool: Pool, instance: str, lifetime_s: float, *, shares_limits: bool) -> bool:
    """Take or keep the lease, by the database's clock; False while it is held by who does not share limits with us."""
    holder = await pool.fetchval(
        """
        INSERT INTO auth.gateway_lease (instance, shares_limits, valid_until)
        VALUES ($1, $3, clock_timestamp() + make_interval(secs => $2))
        ON CONFLICT (only_row) DO UPDATE SET
            instance = excluded.instance, shares_limits = excluded.shares_limits, valid_until = excluded.valid_until
        WHERE (NOT gateway_lease.shares_limits AND gateway_lease.instance = excluded.instance)
            OR (gateway_lease.shares_limits AND excluded.shares_limits)
            OR gateway_lease.valid_until < clock_timestamp()
        RETURNING instance
        """,
        instance,
        lifetime_s,
        shares_limits,
    )
    return holder is not None


async def list_limits(pool: Pool) -> list[tuple[UUID, str, int]]:
    """Return all accounts' own limits: account, limit group, requests per minute."""
    rows = await pool.fetch("SELECT account_id, limit_group, per_minute FROM auth.account_limits")
    return [(row["account_id"], row["limit_group"], row["per_minute"]) for row in rows]


async def list_removed_users(pool: Pool, since: datetime) -> list[UUID]:
    """Return who was removed since a time, of whatever account."""
    rows = await pool.fetch("SELECT id FROM auth.users WHERE removed_at > $1", since)
    return [row["id"] for row in rows]


# housekeeping


async def delete_refresh_tokens(pool: Pool, expired_by: datetime, most: int) -> int:
    """Delete up to `most` refresh tokens that have expired; return how many."""
    return _count(
        await pool.execute(
            """
            DELETE FROM auth.refresh_tokens WHERE hash IN (
                SELECT hash FROM auth.refresh_tokens WHERE expires_at <= $1
                ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED
            )
            """,
            expired_by,
            most,
        )
    )


async def delete_refresh_families(pool: Pool, expired_by: datetime, most: int) -> int:
    """Delete up to `most` families whose absolute end has passed and that have no tokens left; return how many."""
    return _count(
        await pool.execute(
            """
            DELETE FROM auth.refresh_families WHERE id IN (
                SELECT id FROM auth.refresh_families WHERE expires_at <= $1
                AND NOT EXISTS (SELECT FROM auth.refresh_tokens WHERE family_id = refresh_families.id)
                ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED
            )
            """,
            expired_by,
            most,
        )
    )


async def delete_invitations(pool: Pool, ended_by: datetime, most: int) -> int:
    """Delete up to `most` invitations that had ended by a time, taken up or not; return how many."""
    return _count(
        await pool.execute(
            """
            DELETE FROM auth.invitations WHERE id IN (
                SELECT id FROM auth.invitations WHERE expires_at <= $1
                ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED
            )
            """,
            ended_by,
            most,
        )
    )


async def delete_creations(pool: Pool, made_by: datetime, most: int) -> int:
    """Delete up to `most` Idempotency-Keys that are of no effect any more; return how many."""
    return _count(
        await pool.execute(
            """
            DELETE FROM auth.idempotency_keys WHERE (account_id, operation, key) IN (
                SELECT account_id, operation, key FROM auth.idempotency_keys WHERE created_at <= $1
                ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED
            )
            """,
            made_by,
            most,
        )
    )


async def delete_signing_keys(pool: Pool, withdrawn_by: datetime, most: int) -> int:
    """Delete up to `most` signing keys whose publication has ended; return how many."""
    return _count(
        await pool.execute(
            """
            DELETE FROM auth.signing_keys WHERE kid IN (
                SELECT kid FROM auth.signing_keys WHERE published_until <= $1 LIMIT $2
            )
            """,
            withdrawn_by,
            most,
        )
    )


def _count(tag: str) -> int:
    return int(tag.rsplit(maxsplit=1)[-1])
