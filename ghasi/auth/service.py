"""Signing in, staying signed in and signing out: the rules of accounts, users and refresh tokens.

A refresh token is opaque, kept as a hash and good for one use; its successor is HMAC(server key, token), so that two
tabs that refresh at once get the same one, also while a new key takes an old one's place. Knows nothing of HTTP;
verifies no ID token itself.
"""

import base64
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum, auto
from hashlib import sha256
from uuid import UUID

import structlog

from ghasi.auth import invitation_queries, queries
from ghasi.auth.events import account_updated, user_updated
from ghasi.auth.model import (
    ACCESS_LIFETIME,
    CUSTOMER_ROLE,
    REFRESH_ABSOLUTE,
    REFRESH_IDLE,
    REMOVAL_MARGIN,
    REPLAY_WINDOW,
    Identity,
    Invitation,
    RefreshFamily,
    RefreshToken,
    User,
)
from ghasi.auth.signing_keys import KeyRing
from ghasi.contract import shapes
from ghasi.contract.errors import CODES, Problem, invalid
from ghasi.contract.serving import Caller
from ghasi.contract.values import new_id
from ghasi.storage import audit
from ghasi.storage.events import outbox
from ghasi.storage.pool import Connection, Pool

log = structlog.get_logger("ghasi.auth")


@dataclass(frozen=True, slots=True)
class Authority:
    """What a session is made with: the database, the keys, those of refresh tokens' successors, the JWT's iss."""

    pool: Pool
    keys: KeyRing
    successor_keys: tuple[bytes, ...]
    issuer: str
    account_changed: Callable[[], None]


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session, its refresh token and until when that can be used."""

    session: shapes.Session
    refresh_token: str
    refresh_until: datetime


async def sign_in(
    authority: Authority, identity: Identity, *, now: datetime, request_id: str, invitation: str | None = None
) -> SignedIn:
    """Begin a session of a person whose ID token was verified.

    The first sign-in makes account and user, once, however many come at the same time; later ones write what the
    identity provider says of e-mail and name now. With an invitation's token, the first sign-in joins the account that
    invites instead, if the e-mail is the invited one but for case. It need not be verified at the identity provider:
    that the token came to its hands is the proof. Who was removed from an account signs in as for the first time.

    Raises Problem invalid_invitation for a token that is unknown, was replaced, taken back or used, has expired or
    invites another address, and already_in_account for a person who is in another account; then nothing was done.
    Who is in that very account simply signs in, whatever became of the invitation.
    """
    token, family_id = secrets.token_urlsafe(32), new_id()
    async with authority.pool.acquire() as connection, connection.transaction():
        user_id, created = await _enter(connection, identity, invitation, now, request_id)
        until = now + REFRESH_IDLE
        await queries.insert_refresh_family(connection, family_id, user_id, now, now + REFRESH_ABSOLUTE)
        await queries.insert_refresh_token(connection, _hash(token), family_id, now, until)
        user = await queries.find_user(connection, user_id)
    if created:
        authority.account_changed()
    return SignedIn(await _session(authority, user, now), token, until)


async def _enter(
    connection: Connection, identity: Identity, token: str | None, now: datetime, request_id: str
) -> tuple[UUID, bool]:
    """Return the person's user, and whether an account was made."""
    local_part = identity.email.partition("@")[0]
    name = identity.name or local_part or "Customer"  # people who signed in by phone have neither
    known = await queries.update_signed_in_user(connection, identity, name, now)
    if known is None:
        await queries.lock_sign_up(connection, identity.issuer, identity.subject)
        known = await queries.update_signed_in_user(connection, identity, name, now)
    invitation = None
    if token is not None:
        invitation = await invitation_queries.lock_invitation(connection, invitation_hash(token))
        if known is None or invitation is None or known[1] != invitation.account_id:
            invitation = _require_open(invitation, identity, now)
            if known is not None:
                raise Problem("already_in_account")
    if known is not None:
        return known[0], False
    if invitation is not None:
        return await _join(connection, identity, invitation, name=name, now=now, request_id=request_id), False
    return await _sign_up(connection, identity, name=name, now=now, request_id=request_id), True


def _require_open(invitation: Invitation | None, identity: Identity, now: datetime) -> Invitation:
    # a stranger learns no more than that it is of no use
    if (
        invitation is None
        or invitation.taken_at is not None
        or invitation.expires_at <= now
        or invitation.email.lower() != identity.email.lower()
    ):
        raise invalid("invitation", CODES["invalid_invitation"].remedy, "invalid_invitation")
    return invitation


async def _sign_up(connection: Connection, identity: Identity, *, name: str, now: datetime, request_id: str) -> UUID:
    account_id, user_id = new_id(), new_id()
    account = await queries.insert_account(connection, account_id, name, now)
    await queries.insert_user(
        connection, user_id, account_id, identity, name=name, roles=[CUSTOMER_ROLE], role="owner", now=now
    )
    events = [account_updated(account, now), user_updated(account_id, user_id, "owner", 1, now)]
    await outbox.append(connection, "auth", events)
    await audit.record(
        connection,
        actor=f"user:{user_id}",
        action="account.created",
        subject=str(account_id),
        account_id=account_id,
        request_id=request_id,
    )
    return user_id


async def _join(
    connection: Connection, identity: Identity, invitation: Invitation, *, name: str, now: datetime, request_id: str
) -> UUID:
    user_id, account_id = new_id(), invitation.account_id
    await queries.insert_user(
        connection, user_id, account_id, identity, name=name, roles=[CUSTOMER_ROLE], role=invitation.role, now=now
    )
    await outbox.append(connection, "auth", [user_updated(account_id, user_id, invitation.role, 1, now)])
    await invitation_queries.mark_invitation_taken(connection, account_id, invitation.id, now)
    await audit.record(
        connection,
        actor=f"user:{user_id}",
        action="user.joined",
        subject=str(user_id),
        account_id=account_id,
        request_id=request_id,
        invitation=str(invitation.id),
        role=invitation.role,
    )
    return user_id


class _Use(StrEnum):
    """What presenting a refresh token comes to."""

    FIRST = auto()
    REPLAYED = auto()
    LATE = auto()
    REUSED = auto()
    OVER = auto()


async def refresh(authority: Authority, token: str, *, now: datetime) -> SignedIn:
    """Exchange a refresh token for its successor and a new access token.

    Raises Problem invalid_refresh_token. A used token gives the same successor again for 30 s, unless the successor
    was used as well: then it is refused and no more. After that it must have been stolen or kept: the whole family is
    revoked.
    """
    token_hash = _hash(token)
    successors = [_successor(key, token) for key in authority.successor_keys]
    user, until = None, now
    async with authority.pool.acquire() as connection, connection.transaction():
        family = await queries.lock_refresh_family(connection, token_hash)
        if family is None:
            raise Problem("invalid_refresh_token")
        tokens = await queries.list_refresh_tokens(connection, family.id, [token_hash, *map(_hash, successors)])
        # that which was given, under whichever key; else the first key makes it
        successor = next((one for one in successors if _hash(one) in tokens), successors[0])
        known = tokens.get(_hash(successor))
        use = _judge(family, tokens.get(token_hash), known, now)
        if use is _Use.FIRST:
            until = min(now + REFRESH_IDLE, family.expires_at)
            await queries.mark_refresh_token_used(connection, token_hash, now)
            await queries.insert_refresh_token(connection, _hash(successor), family.id, now, until)
        elif use is _Use.REPLAYED and known is not None:
            until = known.expires_at
        elif use is _Use.REUSED:
            await queries.revoke_refresh_family(connection, token_hash, now)
            log.warning("refresh_token_reused", family=str(family.id), user=str(family.user_id))
        if use in (_Use.FIRST, _Use.REPLAYED):
            user = await queries.find_user(connection, family.user_id)
    # raised only here, so that a revocation is committed
    if user is None:
        raise Problem("invalid_refresh_token")
    return SignedIn(await _session(authority, user, now), successor, until)


def _successor(key: bytes, token: str) -> str:
    return base64.urlsafe_b64encode(hmac.digest(key, token.encode(), sha256)).rstrip(b"=").decode()


def _judge(family: RefreshFamily, token: RefreshToken | None, successor: RefreshToken | None, now: datetime) -> _Use:
    if token is None or family.revoked_at is not None or family.expires_at <= now:
        return _Use.OVER
    if token.used_at is not None:
        if now - token.used_at > REPLAY_WINDOW:
            return _Use.REUSED
        # without its row the successor was made with another server key: it cannot be given again
        return _Use.REPLAYED if successor is not None and successor.used_at is None else _Use.LATE
    return _Use.OVER if token.expires_at <= now else _Use.FIRST


async def sign_out(authority: Authority, token: str | None, *, now: datetime) -> None:
    """Revoke a refresh token and all that came of the same sign-in; harmless without one, or when it is done."""
    if token is not None:
        await queries.revoke_refresh_family(authority.pool, _hash(token), now)


async def get_me(pool: Pool, caller: Caller) -> shapes.Me:
    """Return the signed-in user as the database knows them now; raises Problem user_required or user_not_found."""
    require_user(caller)
    user = await queries.find_user(pool, caller.user_id)
    if user is None or user.account_id != caller.account_id:
        raise Problem("user_not_found")
    return shapes.Me(user=user.shape, account=user.account_shape)


def require_user(caller: Caller) -> None:
    """Raise Problem user_required where an API key calls: the gateway refuses it before, this holds without one."""
    if caller.is_api_key:
        raise Problem("user_required")


async def hold_gateway_lease(
    pool: Pool, instance: str, *, now: datetime, shares_limits: bool = False, lifetime_s: float = 5.0
) -> shapes.GatewayState:
    """Let a gateway process be one for `lifetime_s`; tell it the accounts' own limits, and who was removed.

    It is the only one, or one of those that share their limits; a process that did and no longer does has to wait until
    the others' lease has run out. The removed are named for as long as an access token of theirs may live. Raises
    Problem gateway_exists while the lease is held by another instance that it does not share its limits with.
    """
    if not await queries.take_gateway_lease(pool, instance, lifetime_s, shares_limits=shares_limits):
        raise Problem("gateway_exists")
    limits: dict[str, dict[str, int]] = {}
    for account_id, group, per_minute in await queries.list_limits(pool):
        limits.setdefault(str(account_id), {})[group] = per_minute
    removed = await queries.list_removed_users(pool, now - ACCESS_LIFETIME - REMOVAL_MARGIN)
    return shapes.GatewayState(limits=limits, removed_users=[str(user_id) for user_id in removed])


def invitation_hash(token: str) -> bytes:
    """Return the SHA-256 under which an invitation's token is kept."""
    return _hash(token)


async def _session(authority: Authority, user: User | None, now: datetime) -> shapes.Session:
    if user is None:  # the transaction before has just seen this one
        raise Problem("user_not_found")
    return shapes.Session(
        access_token=await authority.keys.issue_access_token(user, issuer=authority.issuer, now=now),
        token_type="Bearer",  # noqa: S106 - RFC 6750's word, no secret
        expires_in=int(ACCESS_LIFETIME.total_seconds()),
        user=user.shape,
        account=user.account_shape,
    )


def _hash(token: str) -> bytes:
    return sha256(token.encode()).digest()
