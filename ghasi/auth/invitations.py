"""Invitations into an account: made by owners, their token shown once and kept as a SHA-256, taken up once.

Sends no e-mail: whoever invites hands the token on. What taking one up comes to for the person is service's business.
"""

import secrets
from datetime import datetime
from uuid import UUID

import msgspec

from ghasi.auth import invitation_queries, user_queries
from ghasi.auth.accounts import get_role, lock_for_owner, record
from ghasi.auth.model import INVITATION_LIFETIME, MOST_INVITATIONS, Invitation
from ghasi.auth.service import invitation_hash, require_user
from ghasi.contract import shapes
from ghasi.contract.errors import Problem, invalid
from ghasi.contract.serving import Caller
from ghasi.contract.values import decode_id_cursor, new_id, page_of, rfc3339
from ghasi.storage.pool import Pool

_PREFIX = "ghi_"
_TOKEN_BYTES = 32


async def list_invitations(pool: Pool, caller: Caller, query: shapes.PageQuery) -> shapes.Page[shapes.Invitation]:
    """Return a page of invitations that were not taken up, those that ran out too, without their tokens.

    Raises Problem user_required, user_not_found or invalid_cursor.
    """
    require_user(caller)
    before = decode_id_cursor(query.cursor)
    await get_role(pool, caller)
    found = await invitation_queries.list_invitations(pool, caller.account_id, before, query.limit + 1)
    return page_of(found, query.limit, _shape, lambda invitation: (invitation.id,))


async def create_invitation(
    pool: Pool, caller: Caller, body: shapes.NewInvitation, *, now: datetime, request_id: str
) -> shapes.CreatedInvitation:
    """Invite a person by e-mail address; the token is in the answer and nowhere else, and good for 7 days.

    An address has one invitation into an account: another takes its place, with a token and an end of its own. Raises
    Problem user_required, user_not_found, owner_required, invalid_request, already_member or too_many_invitations.
    """
    require_user(caller)
    if not body.email.isprintable():
        raise invalid("email", "must not have control characters")
    address = body.email.lower()
    token = _PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
    invitation = Invitation(
        new_id(), caller.account_id, body.email, body.role, now, now + INVITATION_LIFETIME, taken_at=None
    )
    async with pool.acquire() as connection, connection.transaction():
        await lock_for_owner(connection, caller)
        if await user_queries.has_address(connection, caller.account_id, address):
            raise Problem("already_member")
        await invitation_queries.delete_invitation_to(connection, caller.account_id, address)
        if await invitation_queries.count_open_invitations(connection, caller.account_id, now) >= MOST_INVITATIONS:
            raise Problem("too_many_invitations", f"An account may have {MOST_INVITATIONS} invitations.")
        await invitation_queries.insert_invitation(
            connection, invitation, address=address, token_hash=invitation_hash(token)
        )
        await record(connection, caller, "user.invited", invitation.id, request_id, email=body.email, role=body.role)
    return shapes.CreatedInvitation(**msgspec.structs.asdict(_shape(invitation)), token=token)


async def revoke_invitation(pool: Pool, caller: Caller, invitation_id: UUID, *, request_id: str) -> None:
    """Take an invitation back; its token is worth nothing from then on.

    Raises Problem user_required, user_not_found, owner_required, or not_found for one that is not the account's or was
    taken up.
    """
    require_user(caller)
    async with pool.acquire() as connection, connection.transaction():
        await lock_for_owner(connection, caller)
        email = await invitation_queries.delete_invitation(connection, caller.account_id, invitation_id)
        if email is None:
            raise Problem("not_found")
        await record(connection, caller, "user.invitation_revoked", invitation_id, request_id, email=email)


def _shape(invitation: Invitation) -> shapes.Invitation:
    return shapes.Invitation(
        id=str(invitation.id),
        email=invitation.email,
        role=invitation.role,
        created_at=rfc3339(invitation.created_at),
        expires_at=rfc3339(invitation.expires_at),
    )
