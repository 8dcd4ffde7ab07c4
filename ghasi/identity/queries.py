"""The identity server's SQL, one function a statement; imported by this package alone."""

from datetime import datetime

from ghasi.identity.model import OobCode, RefreshToken, User
from ghasi.storage.pool import Connection, Pool, Record

_USER = "local_id, email, display_name, password_hash, email_verified, disabled, created_at, last_login_at, valid_since"


def _user(row: Record | None) -> User | None:
    return None if row is None else User(*row.values())


async def insert_user(
    connection: Connection, *, local_id: str, email: str, display_name: str | None, password_hash: str
) -> User | None:
    """Insert a user; None when the address is taken."""
    return _user(
        await connection.fetchrow(
            f"""
            INSERT INTO identity.users (local_id, email, display_name, password_hash) VALUES ($1, $2, $3, $4)
            ON CONFLICT (email) DO NOTHING RETURNING {_USER}
            """,
            local_id,
            email,
            display_name,
            password_hash,
        )
    )


async def find_user_by_email(pool: Pool, email: str) -> User | None:
    """Return the user of an address in lower case."""
    return _user(await pool.fetchrow(f"SELECT {_USER} FROM identity.users WHERE email = $1", email))


async def find_user(pool: Pool, local_id: str) -> User | None:
    """Return a user by id."""
    return _user(await pool.fetchrow(f"SELECT {_USER} FROM identity.users WHERE local_id = $1", local_id))


async def update_user(
    connection: Connection,
    local_id: str,
    *,
    display_name: str | None,
    password_hash: str | None,
) -> User | None:
    """Set the name, and the password when there is a new one: then earlier sign-ins are over."""
    return _user(
        await connection.fetchrow(
            f"""
            UPDATE identity.users SET display_name = $2, password_hash = coalesce($3, password_hash),
                valid_since = CASE WHEN $3 IS NULL THEN valid_since ELSE date_trunc('second', now()) END
            WHERE local_id = $1 RETURNING {_USER}
            """,
            local_id,
            display_name,
            password_hash,
        )
    )


async def reset_password(connection: Connection, local_id: str, password_hash: str) -> User | None:
    """Set the password of whoever reads the address's mail, which verifies it; earlier sign-ins are over."""
    return _user(
        await connection.fetchrow(
            f"""
            UPDATE identity.users SET password_hash = $2, email_verified = true,
                valid_since = date_trunc('second', now())
            WHERE local_id = $1 RETURNING {_USER}
            """,
            local_id,
            password_hash,
        )
    )


async def verify_email(connection: Connection, local_id: str) -> User | None:
    """Note that the user reads the address's mail."""
    return _user(
        await connection.fetchrow(
            f"UPDATE identity.users SET email_verified = true WHERE local_id = $1 RETURNING {_USER}", local_id
        )
    )


async def insert_refresh_token(
    connection: Connection | Pool, *, token_hash: bytes, local_id: str, auth_time: datetime
) -> None:
    """Keep a sign-in's refresh token and note when it was."""
    await connection.execute(
        """
        WITH seen AS (UPDATE identity.users SET last_login_at = $3 WHERE local_id = $2)
        INSERT INTO identity.refresh_tokens (hash, local_id, auth_time) VALUES ($1, $2, $3)
        """,
        token_hash,
        local_id,
        auth_time,
    )


async def find_refresh_token(pool: Pool, token_hash: bytes) -> RefreshToken | None:
    """Return a refresh token by its SHA-256."""
    row = await pool.fetchrow(
        "SELECT local_id, auth_time, revoked FROM identity.refresh_tokens WHERE hash = $1", token_hash
    )
    return None if row is None else RefreshToken(*row.values())


async def revoke_refresh_tokens(connection: Connection, local_id: str) -> None:
    """Revoke all of a user's refresh tokens."""
    await connection.execute("UPDATE identity.refresh_tokens SET revoked = true WHERE local_id = $1", local_id)


async def insert_oob_code(
    pool: Pool, *, code_hash: bytes, sealed_code: bytes, local_id: str, request_type: str, expires_at: datetime
) -> None:
    """Keep a code, and forget those that ended a day ago."""
    await pool.execute(
        """
        WITH ended AS (DELETE FROM identity.oob_codes WHERE expires_at < now() - interval '1 day')
        INSERT INTO identity.oob_codes (hash, sealed_code, local_id, request_type, expires_at)
        VALUES ($1, $2, $3, $4, $5)
        """,
        code_hash,
        sealed_code,
        local_id,
        request_type,
        expires_at,
    )


async def find_oob_code(pool: Pool, code_hash: bytes) -> OobCode | None:
    """Return a code by its SHA-256, ended or not."""
    row = await pool.fetchrow(
        """
        SELECT local_id, email, request_type, expires_at
        FROM identity.oob_codes JOIN identity.users USING (local_id) WHERE hash = $1
        """,
        code_hash,
    )
    return None if row is None else OobCode(*row.values())


async def take_oob_code(connection: Connection, code_hash: bytes) -> str | None:
    """Delete a code and return its user's id; None when it was used meanwhile."""
    local_id: str | None = await connection.fetchval(
        "DELETE FROM identity.oob_codes WHERE hash = $1 RETURNING local_id", code_hash
    )
    return local_id


async def delete_oob_codes(connection: Connection, local_id: str, request_type: str) -> None:
    """Delete a user's codes of one kind."""
    await connection.execute(
        "DELETE FROM identity.oob_codes WHERE local_id = $1 AND request_type = $2", local_id, request_type
    )


async def list_oob_codes(pool: Pool) -> list[tuple[str, str, bytes]]:
    """Return address, kind and sealed code of those that can still be used, the oldest first."""
    rows = await pool.fetch(
        """
        SELECT email, request_type, sealed_code FROM identity.oob_codes JOIN identity.users USING (local_id)
        WHERE expires_at > now() ORDER BY oob_codes.created_at, hash
        """
    )
    return [(row["email"], row["request_type"], row["sealed_code"]) for row in rows]


async def lock_signing_keys(connection: Connection) -> None:
    """Let one process at a time make the first key."""
    await connection.execute("LOCK TABLE identity.signing_keys IN EXCLUSIVE MODE")


async def list_signing_keys(connection: Connection) -> list[tuple[str, str, bytes]]:
    """Return kid, certificate (PEM) and sealed private key, the newest first."""
    rows = await connection.fetch(
        "SELECT kid, certificate, sealed_private_key FROM identity.signing_keys ORDER BY created_at DESC, kid"
    )
    return [(row["kid"], row["certificate"], row["sealed_private_key"]) for row in rows]


async def insert_signing_key(connection: Connection, *, kid: str, certificate: str, sealed_private_key: bytes) -> None:
    """Keep a key."""
    await connection.execute(
        "INSERT INTO identity.signing_keys (kid, certificate, sealed_private_key) VALUES ($1, $2, $3)",
        kid,
        certificate,
        sealed_private_key,
    )
