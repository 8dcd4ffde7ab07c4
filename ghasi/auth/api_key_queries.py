"""The SQL of API keys and of the Idempotency-Keys that make them, one function a statement.

Decides nothing. Every statement takes the account_id, save the look-up by hash, which finds the account.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from ghasi.auth.model import ApiKey, Creation
from ghasi.storage.pool import Connection, Pool

_API_KEY = """
SELECT id, account_id, user_id, name, prefix, scopes, created_at, expires_at, last_used_at FROM auth.api_keys
"""


async def list_api_keys(pool: Pool, account_id: UUID, before: UUID | None, limit: int) -> list[ApiKey]:
    """Return an account's keys that are not revoked, newest first, older than `before`."""
    rows = await pool.fetch(
        _API_KEY
        + """
        WHERE account_id = $1 AND revoked_at IS NULL AND ($2::uuid IS NULL OR id < $2)
        ORDER BY id DESC LIMIT $3
        """,
        account_id,
        before,
        limit,
    )
    return [ApiKey(*row.values()) for row in rows]


async def count_live_api_keys(connection: Connection, account_id: UUID, now: datetime) -> int:
    """Return how many of an account's keys can be used."""
    count: int = await connection.fetchval(
        """
        SELECT count(*) FROM auth.api_keys
        WHERE account_id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)
        """,
        account_id,
        now,
    )
    return count


async def insert_api_key(connection: Connection, key: ApiKey, key_hash: bytes) -> None:
    """Add an API key."""
    await connection.execute(
        """
        INSERT INTO auth.api_keys (id, account_id, user_id, name, prefix, hash, scopes, created_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        """,
        key.id,
        key.account_id,
        key.user_id,
        key.name,
        key.prefix,
        key_hash,
        key.scopes,
        key.created_at,
        key.expires_at,
    )


async def revoke_api_key(connection: Connection, account_id: UUID, key_id: UUID, now: datetime) -> str | None:
    """Revoke an account's key and return its name; None where there is none that was not revoked before."""
    name: str | None = await connection.fetchval(
        """
        UPDATE auth.api_keys SET revoked_at = $3
        WHERE id = $2 AND account_id = $1 AND revoked_at IS NULL RETURNING name
        """,
        account_id,
        key_id,
        now,
    )
    return name


async def find_live_api_key(pool: Pool, key_hash: bytes, now: datetime) -> ApiKey | None:
    """Return the key of a hash, of whatever account, when it is neither revoked nor expired."""
    row = await pool.fetchrow(
        _API_KEY + "WHERE hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)", key_hash, now
    )
    return ApiKey(*row.values()) if row else None


async def write_last_uses(pool: Pool, ids: Sequence[UUID], times: Sequence[datetime]) -> None:
    """Note when keys were last used; a key that another process writes just now is left to that process."""
    await pool.execute(
        """
        UPDATE auth.api_keys SET last_used_at = used.at
        FROM (
            SELECT api_keys.id, news.at
            FROM auth.api_keys JOIN unnest($1::uuid[], $2::timestamptz[]) AS news (id, at) USING (id)
            WHERE api_keys.last_used_at IS NULL OR api_keys.last_used_at < news.at
            FOR NO KEY UPDATE OF api_keys SKIP LOCKED
        ) AS used
        WHERE api_keys.id = used.id
        """,
        ids,
        times,
    )


async def find_creation(
    connection: Connection, account_id: UUID, operation: str, key: str, since: datetime
) -> Creation | None:
    """Return what an Idempotency-Key made since a time."""
    row = await connection.fetchrow(
        """
        SELECT body_hash, resource_id FROM auth.idempotency_keys
        WHERE account_id = $1 AND operation = $2 AND key = $3 AND created_at > $4
        """,
        account_id,
        operation,
        key,
        since,
    )
    return Creation(*row.values()) if row else None


async def write_creation(
    connection: Connection, account_id: UUID, operation: str, key: str, *, creation: Creation, now: datetime
) -> None:
    """Note what an Idempotency-Key made, over what it made long ago."""
    await connection.execute(
        """
        INSERT INTO auth.idempotency_keys (account_id, operation, key, body_hash, resource_id, created_at)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (account_id, operation, key) DO UPDATE
        SET body_hash = excluded.body_hash, resource_id = excluded.resource_id, created_at = excluded.created_at
        """,
        account_id,
        operation,
        key,
        creation.body_hash,
        creation.resource_id,
        now,
    )
