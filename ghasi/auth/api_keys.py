"""API keys: made by a signed-in user, shown once, kept as a SHA-256, found by the gateway, revoked for good."""

import asyncio
import contextlib
from datetime import datetime
from hashlib import sha256
from uuid import UUID

import msgspec
import structlog

from ghasi.auth import api_key_queries, queries, user_queries
from ghasi.auth.accounts import record
from ghasi.auth.model import IDEMPOTENCY_WINDOW, MOST_API_KEYS, ApiKey, Creation
from ghasi.auth.service import require_user
from ghasi.contract import keys, shapes
from ghasi.contract.errors import Problem, invalid
from ghasi.contract.serving import Caller
from ghasi.contract.values import decode_id_cursor, new_id, optional_rfc3339, page_of, rfc3339
from ghasi.storage.pool import Connection, Pool

USE_WRITE_INTERVAL_S = 2.0
_OPERATION = "create_api_key"
log = structlog.get_logger("ghasi.auth")


async def list_api_keys(pool: Pool, caller: Caller, query: shapes.PageQuery) -> shapes.Page[shapes.ApiKey]:
    """Return a page of the account's keys, expired ones too, revoked ones not; raises Problem invalid_cursor."""
    require_user(caller)
    found = await api_key_queries.list_api_keys(
        pool, caller.account_id, decode_id_cursor(query.cursor), query.limit + 1
    )
    return page_of(found, query.limit, _shape, lambda key: (key.id,))


async def create_api_key(
    pool: Pool,
    caller: Caller,
    body: shapes.NewApiKey,
    *,
    idempotency_key: str | None,
    now: datetime,
    request_id: str,
) -> shapes.CreatedApiKey:
    """Make a key with the scopes asked for, or all; its secret is in the answer and nowhere else.

    Raises Problem user_required, already_created or idempotency_key_reused (the Idempotency-Key was used within 24 h,
    for the same body or another), invalid_request, user_not_found, account_suspended or too_many_api_keys.
    """
    require_user(caller)
    body_hash = sha256(msgspec.json.encode(body)).digest()
    async with pool.acquire() as connection, connection.transaction():
        status = await queries.lock_account(connection, caller.account_id)
        if idempotency_key is not None:
            await _refuse_repetition(connection, caller.account_id, idempotency_key, body_hash, now)
        await _require_allowed(connection, caller, status, body, now)
        secret = keys.new_key()
        key = ApiKey(
            id=new_id(),
            account_id=caller.account_id,
            user_id=caller.user_id,
            name=body.name,
            prefix=keys.key_prefix(secret),
            scopes=[scope for scope in shapes.SCOPES if body.scopes is None or scope in body.scopes],
            created_at=now,
            expires_at=body.expires_at,
            last_used_at=None,
        )
        await api_key_queries.insert_api_key(connection, key, bytes.fromhex(keys.key_hash(secret)))
        if idempotency_key is not None:
            creation = Creation(body_hash, key.id)
            await api_key_queries.write_creation(
                connection, caller.account_id, _OPERATION, idempotency_key, creation=creation, now=now
            )
        await record(
            connection, caller, "api_key.created", key.id, request_id,
            name=key.name, scopes=key.scopes, expires_at=optional_rfc3339(key.expires_at),
        )  # fmt: skip
    return shapes.CreatedApiKey(**msgspec.structs.asdict(_shape(key)), key=secret)


async def _refuse_repetition(
    connection: Connection, account_id: UUID, idempotency_key: str, body_hash: bytes, now: datetime
) -> None:
    made = await api_key_queries.find_creation(
        connection, account_id, _OPERATION, idempotency_key, now - IDEMPOTENCY_WINDOW
    )
    if made is not None and made.body_hash == body_hash:
        raise Problem("already_created", f"This Idempotency-Key already created the API key {made.resource_id}.")
    if made is not None:
        raise Problem("idempotency_key_reused")


async def _require_allowed(
    connection: Connection, caller: Caller, status: str | None, body: shapes.NewApiKey, now: datetime
) -> None:
    if body.expires_at is not None and body.expires_at <= now:
        raise invalid("expires_at", "must be in the future")
    # a token outlives a removal by a moment: it must not become a key that stays
    if await user_queries.find_role(connection, caller.account_id, caller.user_id) is None:
        raise Problem("user_not_found")
    if status == "suspended":
        raise Problem("account_suspended")
    if await api_key_queries.count_live_api_keys(connection, caller.account_id, now) >= MOST_API_KEYS:
        raise Problem("too_many_api_keys", f"An account may have {MOST_API_KEYS} API keys.")


async def revoke_api_key(pool: Pool, caller: Caller, key_id: UUID, *, now: datetime, request_id: str) -> None:
    """Revoke a key of the account; raises Problem not_found for any other and for one revoked before."""
    require_user(caller)
    async with pool.acquire() as connection, connection.transaction():
        name = await api_key_queries.revoke_api_key(connection, caller.account_id, key_id, now)
        if name is None:
            raise Problem("not_found")
        await record(connection, caller, "api_key.revoked", key_id, request_id, name=name)


async def get_grant(pool: Pool, key_hash: str, *, now: datetime) -> shapes.ApiKeyGrant:
    """Return what a key stands for, by its SHA-256 in hexadecimal; raises Problem not_found unless it is live."""
    key = await api_key_queries.find_live_api_key(pool, bytes.fromhex(key_hash), now)
    if key is None:
        raise Problem("not_found")
    return shapes.ApiKeyGrant(
        id=str(key.id),
        account_id=str(key.account_id),
        user_id=str(key.user_id),
        scopes=key.scopes,
        expires_at=key.expires_at.timestamp() if key.expires_at else None,
    )


async def authorize(
    pool: Pool, authorization: bytes | None, scope: shapes.Scope | None, *, now: datetime
) -> shapes.ApiKeyGrant:
    """Return what the API key of an Authorization header stands for, if it is live and has the scope.

    Without a scope the operation is for people alone. Raises Problem invalid_api_key, insufficient_scope or
    user_required.
    """
    key = (authorization or b"").decode("latin-1").removeprefix("Bearer ")
    if not keys.checksum_valid(key):
        raise Problem("invalid_api_key")
    try:
        grant = await get_grant(pool, keys.key_hash(key), now=now)
    except Problem as problem:
        raise Problem("invalid_api_key") from problem
    keys.require_scope(scope, grant.scopes)
    return grant


class LastUses:
    """Gathers when keys were used and writes it behind the requests' backs, one statement for all keys."""

    def __init__(self, pool: Pool, *, interval_s: float = USE_WRITE_INTERVAL_S) -> None:
        self._pool = pool
        self._interval_s = interval_s
        self._times: dict[UUID, datetime] = {}

    def note(self, key_id: UUID, at: datetime) -> None:
        """Remember a use; nothing is written yet."""
        self._times[key_id] = at

    async def write(self) -> None:
        """Write what was noted; it is kept for the next time when the database is away."""
        times, self._times = self._times, {}
        if not times:
            return
        try:
            await api_key_queries.write_last_uses(self._pool, list(times), list(times.values()))
        except BaseException:
            self._times = times | self._times
            raise

    async def run(self) -> None:
        """Write every `interval_s` until cancelled, and once more then."""
        try:
            while True:
                await asyncio.sleep(self._interval_s)
                await self._write_or_warn()
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2):
                    await self._write_or_warn()

    async def _write_or_warn(self) -> None:
        try:
            await self.write()
        except Exception as error:  # noqa: BLE001 - only a courtesy: the next round writes it
            log.warning("last_uses_not_written", error=type(error).__name__)


def _shape(key: ApiKey) -> shapes.ApiKey:
    return shapes.ApiKey(
        id=str(key.id),
        name=key.name,
        prefix=key.prefix,
        scopes=key.scopes,
        created_at=rfc3339(key.created_at),
        expires_at=optional_rfc3339(key.expires_at),
        last_used_at=optional_rfc3339(key.last_used_at),
    )
