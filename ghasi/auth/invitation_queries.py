"""The SQL of invitations, one function a statement.

Decides nothing. Every statement takes the account_id, save those by the token's hash, which finds the account.
"""

from datetime import datetime
from uuid import UUID

from ghasi.auth.model import Invitation
from ghasi.storage.pool import Connection, Pool

_INVITATION = "SELECT id, account_id, email, role, created_at, expires_at, taken_at FROM auth.invitations "


async def list_invitations(pool: Pool, account_id: UUID, before: UUID | None, limit: int) -> list[Invitation]:
    """Return an account's invitations that were not taken up, expired ones too, newest first, older than `before`."""
    rows = await pool.fetch(
        _INVITATION
        + """
        WHERE account_id = $1 AND taken_at IS NULL AND ($2::uuid IS NULL OR id < $2)
        ORDER BY id DESC LIMIT $3
        """,
        account_id,
        before,
        limit,
    )
    return [Invitation(*row.values()) for row in rows]


async def count_open_invitations(connection: Connection, account_id: UUID, now: datetime) -> int:
    """Return how many of an account's invitations can be taken up."""
    count: int = await connection.fetchval(
        "SELECT count(*) FROM auth.invitations WHERE account_id = $1 AND taken_at IS NULL AND expires_at > $2",
        account_id,
        now,
    )
    return count


async def insert_invitation(connection: Connection, invitation: Invitation, *, address: str, token_hash: bytes) -> None:
    """Add an invitation; `address` is its e-mail in lower case."""
    await connection.execute(
        """
        INSERT INTO auth.invitations (id, account_id, email, address, role, hash, created_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        invitation.id,
        invitation.account_id,
        invitation.email,
        address,
        invitation.role,
        token_hash,
        invitation.created_at,
        invitation.expires_at,
    )


async def delete_invitation(connection: Connection, account_id: UUID, invitation_id: UUID) -> str | None:
    """Delete an invitation that was not taken up and return its e-mail; None where there is none."""
    email: str | None = await connection.fetchval(
        "DELETE FROM auth.invitations WHERE id = $2 AND account_id = $1 AND taken_at IS NULL RETURNING email",
        account_id,
        invitation_id,
    )
    return email


async def delete_invitation_to(connection: Connection, account_id: UUID, address: str) -> None:
    """Delete the invitation to an address, given in lower case, that was not taken up."""
    await connection.execute(
        "DELETE FROM auth.invitations WHERE account_id = $1 AND address = $2 AND taken_at IS NULL", account_id, address
    )


async def lock_invitation(connection: Connection, token_hash: bytes) -> Invitation | None:
    """Return the invitation of a token, of whatever account, taken up or not, and hold it."""
    row = await connection.fetchrow(_INVITATION + "WHERE hash = $1 FOR UPDATE", token_hash)
    return Invitation(*row.values()) if row else None


async def mark_invitation_taken(connection: Connection, account_id: UUID, invitation_id: UUID, now: datetime) -> None:
    """Note that somebody joined by an invitation."""
    await connection.execute(
        "UPDATE auth.invitations SET taken_at = $3 WHERE id = $2 AND account_id = $1", account_id, invitation_id, now
    )
