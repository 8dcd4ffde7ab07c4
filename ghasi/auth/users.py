"""The people in an account: who they are, their roles, and how they leave it.

An account keeps one owner at least: roles change and people leave under the lock of the account's row. Knows nothing
of how people come in: a first sign-in is service's business, an invitation invitations'.
"""

from datetime import datetime
from uuid import UUID

import msgspec

from ghasi.auth import user_queries
from ghasi.auth.accounts import get_role, lock_for_member, lock_for_owner, record
from ghasi.auth.events import user_updated
from ghasi.auth.model import Member
from ghasi.auth.service import require_user
from ghasi.contract import shapes
from ghasi.contract.errors import Problem
from ghasi.contract.serving import Caller
from ghasi.contract.values import decode_id_cursor, page_of, rfc3339
from ghasi.storage.events import outbox
from ghasi.storage.pool import Connection, Pool


async def list_users(pool: Pool, caller: Caller, query: shapes.PageQuery) -> shapes.Page[shapes.Member]:
    """Return a page of the people in the account; raises Problem user_required, user_not_found or invalid_cursor."""
    require_user(caller)
    before = decode_id_cursor(query.cursor)
    await get_role(pool, caller)
    found = await user_queries.list_members(pool, caller.account_id, before, query.limit + 1)
    return page_of(found, query.limit, _shape, lambda member: (member.id,))


async def update_user(
    pool: Pool, caller: Caller, user_id: UUID, body: shapes.MemberInput, *, now: datetime, request_id: str
) -> shapes.Member:
    """Set a person's role in the account; it holds at once.

    Raises Problem user_required, user_not_found, owner_required, not_found for who is not in the account, or
    last_owner.
    """
    require_user(caller)
    async with pool.acquire() as connection, connection.transaction():
        await lock_for_owner(connection, caller)
        member = await user_queries.find_member(connection, caller.account_id, user_id)
        if member is None:
            raise Problem("not_found")
        if await change_role(connection, caller.account_id, user_id, member.role, body.role, now=now):
            await record(
                connection, caller, "user.role_changed", user_id, request_id, before=member.role, after=body.role
            )
    return msgspec.structs.replace(_shape(member), role=body.role)


async def change_role(
    connection: Connection, account_id: UUID, user_id: UUID, before: shapes.Role, after: shapes.Role, *, now: datetime
) -> bool:
    """Set a role where the account's row is held; return whether it is another; raises Problem last_owner."""
    if before == after:
        return False
    if before == "owner":
        await _require_other_owner(connection, account_id, user_id)
    sequence = await user_queries.set_role(connection, account_id, user_id, after)
    await outbox.append(connection, "auth", [user_updated(account_id, user_id, after, sequence, now)])
    return True


async def remove_user(pool: Pool, caller: Caller, user_id: UUID, *, now: datetime, request_id: str) -> None:
    """Take a person out of the account: owners anybody, everybody themselves.

    Their refresh tokens are revoked with it, and the gateway refuses their access tokens once it hears of it, within
    about a second. What they made stays, their API keys above all: those are the account's, and programs use them that
    must not stop because a person left. Who knows a key's secret and should not, is a reason to revoke that key.

    Raises Problem user_required, user_not_found, owner_required, not_found for who is not in the account, or
    last_owner.
    """
    require_user(caller)
    async with pool.acquire() as connection, connection.transaction():
        own_role = await lock_for_member(connection, caller)
        if user_id != caller.user_id and own_role != "owner":
            raise Problem("owner_required")
        role = await user_queries.find_role(connection, caller.account_id, user_id)
        if role is None:
            raise Problem("not_found")
        if role == "owner":
            await _require_other_owner(connection, caller.account_id, user_id)
        sequence = await user_queries.remove_user(connection, caller.account_id, user_id, now)
        await outbox.append(connection, "auth", [user_updated(caller.account_id, user_id, None, sequence, now)])
        # after the user's row: a sign-in that was under way has held it until its refresh token was there
        await user_queries.revoke_sessions(connection, caller.account_id, user_id, now)
        await record(connection, caller, "user.removed", user_id, request_id, role=role)


async def _require_other_owner(connection: Connection, account_id: UUID, user_id: UUID) -> None:
    if not await user_queries.has_other_owner(connection, account_id, user_id):
        raise Problem("last_owner", "An account keeps one owner at least: make somebody else an owner first.")


def _shape(member: Member) -> shapes.Member:
    return shapes.Member(
        id=str(member.id),
        email=member.email,
        name=member.name,
        role=member.role,
        created_at=rfc3339(member.created_at),
        signed_in_at=rfc3339(member.signed_in_at),
    )
