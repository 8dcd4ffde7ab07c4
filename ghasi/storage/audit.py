"""The append-only log of what operators and customers change: written in the transaction that changes it.

So each database has its own.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec

from ghasi.contract.values import new_id
from ghasi.storage.pool import Connection, Pool


@dataclass(frozen=True, slots=True)
class Entry:
    """One change: who (`user:ID`, `key:ID`, `operator:NAME`), what (`api_key.revoked`), to what, by which request."""

    id: UUID
    at: datetime
    actor: str
    action: str
    account_id: UUID | None
    subject: str
    request_id: str | None
    detail: str


async def record(
    connection: Connection | Pool,
    *,
    actor: str,
    action: str,
    subject: str,
    account_id: UUID | None = None,
    request_id: str | None = None,
    **detail: object,
) -> None:
    """Write one entry; `detail` never holds a secret or a message's text."""
    await connection.execute(
        """
        INSERT INTO storage.audit_log (id, actor, action, account_id, subject, request_id, detail)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        """,
        new_id(),
        actor,
        action,
        account_id,
        subject,
        request_id,
        msgspec.json.encode(detail).decode(),
    )


async def list_entries(pool: Pool, *, account_id: UUID | None = None, limit: int = 50) -> list[Entry]:
    """Return the newest entries, of one account or of all."""
    rows = await pool.fetch(
        """
        SELECT id, at, actor, action, account_id, subject, request_id, detail FROM storage.audit_log
        WHERE $1::uuid IS NULL OR account_id = $1
        ORDER BY id DESC LIMIT $2
        """,
        account_id,
        limit,
    )
    return [Entry(*row.values()) for row in rows]


async def list_all_entries(pools: Iterable[Pool], *, account_id: UUID | None = None, limit: int = 50) -> list[Entry]:
    """Return the newest entries of several databases; one that went along when its service moved is there once."""
    found = {
        entry.id: entry for pool in pools for entry in await list_entries(pool, account_id=account_id, limit=limit)
    }
    return sorted(found.values(), key=lambda entry: entry.id, reverse=True)[:limit]
