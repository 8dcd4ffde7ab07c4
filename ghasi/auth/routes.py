"""auth-service on the wire: the shapes, headers and cookie of each operation; the rules are elsewhere."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from uuid import UUID

import aiohttp

from ghasi.auth import accounts, api_keys, invitations, service, users
from ghasi.auth.api_keys import LastUses
from ghasi.auth.cookies import RefreshCookie
from ghasi.auth.firebase import Certificates, verify_id_token
from ghasi.auth.service import Authority, SignedIn
from ghasi.auth.signing_keys import KeyRing
from ghasi.contract.errors import Problem
from ghasi.contract.serving import Call, Handler, Reply
from ghasi.contract.values import parse_id
from ghasi.settings import Settings
from ghasi.storage.resources import Resources

_NO_STORE = (b"cache-control", b"no-store")
_KEY_SET_CACHING = (b"cache-control", b"public, max-age=5")
"""Well below the time for which a key is published before it signs."""


@dataclass(frozen=True, slots=True)
class _Context:
    settings: Settings
    authority: Authority
    certificates: Certificates
    cookie: RefreshCookie
    last_uses: LastUses


@asynccontextmanager
async def serve(resources: Resources) -> AsyncIterator[dict[str, Handler]]:
    """Give the handlers of auth-service's operations; API keys' last uses are written while this is open."""
    authority = Authority(
        pool=resources.pool,
        keys=KeyRing(resources.pool, resources.sealer),
        successor_keys=resources.sealer.derive("refresh-token"),
        issuer=resources.settings.issuer,
        account_changed=partial(resources.bells.ring, "auth"),
    )
    last_uses = LastUses(resources.pool)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        certificates = Certificates(session, resources.settings.firebase_certs_url)
        context = _Context(resources.settings, authority, certificates, RefreshCookie.of(resources.settings), last_uses)
        writing = asyncio.create_task(last_uses.run())
        try:
            yield {operation: partial(handler, context) for operation, handler in _HANDLERS.items()}
        finally:
            writing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writing
            await certificates.close()


async def _sign_in_with_firebase(context: _Context, call: Call) -> Reply:
    # a foreign page could sign its visitor in to an account of its own and read what is sent there
    context.cookie.require_own_origin(call.header(b"origin"))
    settings, now = context.settings, _now()
    if settings.firebase_project_id is None:
        raise Problem("identity_unavailable", "No Firebase project is configured.")
    identity = await verify_id_token(
        call.body.id_token,
        project_id=settings.firebase_project_id,
        certificates=context.certificates,
        now=now,
        allow_unsigned=bool(settings.dev and settings.allow_unsigned_emulator and settings.firebase_auth_emulator_host),
    )
    signed_in = await service.sign_in(
        context.authority, identity, now=now, request_id=call.request_id, invitation=call.body.invitation
    )
    return _session_reply(context, signed_in, now)


async def _refresh_session(context: _Context, call: Call) -> Reply:
    context.cookie.require_own_origin(call.header(b"origin"))
    token, now = context.cookie.find(call.headers), _now()
    if token is None:
        raise Problem("refresh_token_missing")
    return _session_reply(context, await service.refresh(context.authority, token, now=now), now)


async def _sign_out(context: _Context, call: Call) -> Reply:
    context.cookie.require_own_origin(call.header(b"origin"))
    await service.sign_out(context.authority, context.cookie.find(call.headers), now=_now())
    return Reply(headers=[context.cookie.clear(), _NO_STORE])


async def _get_me(context: _Context, call: Call) -> Reply:
    return Reply(await service.get_me(context.authority.pool, call.caller), headers=[_NO_STORE])


async def _get_json_web_keys(context: _Context, call: Call) -> Reply:
    del call
    return Reply(await context.authority.keys.get_key_set(_now()), headers=[_KEY_SET_CACHING])


async def _get_account(context: _Context, call: Call) -> Reply:
    return Reply(await accounts.get_account(context.authority.pool, call.caller))


async def _update_account(context: _Context, call: Call) -> Reply:
    renamed = await accounts.update_account(
        context.authority.pool,
        call.caller,
        call.body,
        changed=context.authority.account_changed,
        now=_now(),
        request_id=call.request_id,
    )
    return Reply(renamed)


async def _get_preferences(context: _Context, call: Call) -> Reply:
    return Reply(await accounts.get_preferences(context.authority.pool, call.caller))


async def _update_preferences(context: _Context, call: Call) -> Reply:
    return Reply(await accounts.update_preferences(context.authority.pool, call.caller, call.body))


async def _list_users(context: _Context, call: Call) -> Reply:
    return Reply(await users.list_users(context.authority.pool, call.caller, call.query))


async def _update_user(context: _Context, call: Call) -> Reply:
    user_id = parse_id(call.path["userId"])
    return Reply(
        await users.update_user(
            context.authority.pool, call.caller, user_id, call.body, now=_now(), request_id=call.request_id
        )
    )


async def _remove_user(context: _Context, call: Call) -> Reply:
    user_id = parse_id(call.path["userId"])
    await users.remove_user(context.authority.pool, call.caller, user_id, now=_now(), request_id=call.request_id)
    return Reply()


async def _list_invitations(context: _Context, call: Call) -> Reply:
    return Reply(await invitations.list_invitations(context.authority.pool, call.caller, call.query))


async def _create_invitation(context: _Context, call: Call) -> Reply:
    created = await invitations.create_invitation(
        context.authority.pool, call.caller, call.body, now=_now(), request_id=call.request_id
    )
    return Reply(created, headers=[_NO_STORE])


async def _revoke_invitation(context: _Context, call: Call) -> Reply:
    invitation_id = parse_id(call.path["invitationId"])
    await invitations.revoke_invitation(context.authority.pool, call.caller, invitation_id, request_id=call.request_id)
    return Reply()


async def _list_api_keys(context: _Context, call: Call) -> Reply:
    return Reply(await api_keys.list_api_keys(context.authority.pool, call.caller, call.query))


async def _create_api_key(context: _Context, call: Call) -> Reply:
    created = await api_keys.create_api_key(
        context.authority.pool,
        call.caller,
        call.body,
        idempotency_key=call.idempotency_key,
        now=_now(),
        request_id=call.request_id,
    )
    return Reply(created, headers=[_NO_STORE])


async def _revoke_api_key(context: _Context, call: Call) -> Reply:
    await api_keys.revoke_api_key(
        context.authority.pool, call.caller, parse_id(call.path["keyId"]), now=_now(), request_id=call.request_id
    )
    return Reply()


async def _find_api_key(context: _Context, call: Call) -> Reply:
    now = _now()
    grant = await api_keys.get_grant(context.authority.pool, call.body.hash, now=now)
    context.last_uses.note(UUID(grant.id), now)
    return Reply(grant, headers=[_NO_STORE])


async def _authorize_api_key(context: _Context, call: Call) -> Reply:
    now = _now()
    grant = await api_keys.authorize(context.authority.pool, call.header(b"authorization"), call.query.scope, now=now)
    context.last_uses.note(UUID(grant.id), now)
    headers = [
        (b"x-account-id", grant.account_id.encode()),
        (b"x-user-id", grant.user_id.encode()),
        (b"x-credential-identifier", grant.id.encode()),
    ]
    return Reply(headers=[*headers, _NO_STORE])


async def _hold_gateway_lease(context: _Context, call: Call) -> Reply:
    pool, body = context.authority.pool, call.body
    return Reply(await service.hold_gateway_lease(pool, body.instance, shares_limits=body.shares_limits, now=_now()))


def _session_reply(context: _Context, signed_in: SignedIn, now: datetime) -> Reply:
    cookie = context.cookie.set(signed_in.refresh_token, signed_in.refresh_until, now)
    return Reply(signed_in.session, headers=[cookie, _NO_STORE])


def _now() -> datetime:
    return datetime.now(UTC)


_HANDLERS: dict[str, Callable[[_Context, Call], Awaitable[Reply]]] = {
    "sign_in_with_firebase": _sign_in_with_firebase,
    "refresh_session": _refresh_session,
    "sign_out": _sign_out,
    "get_me": _get_me,
    "get_json_web_keys": _get_json_web_keys,
    "get_account": _get_account,
    "update_account": _update_account,
    "get_preferences": _get_preferences,
    "update_preferences": _update_preferences,
    "list_users": _list_users,
    "update_user": _update_user,
    "remove_user": _remove_user,
    "list_invitations": _list_invitations,
    "create_invitation": _create_invitation,
    "revoke_invitation": _revoke_invitation,
    "list_api_keys": _list_api_keys,
    "create_api_key": _create_api_key,
    "revoke_api_key": _revoke_api_key,
    "find_api_key": _find_api_key,
    "authorize_api_key": _authorize_api_key,
    "hold_gateway_lease": _hold_gateway_lease,
}
