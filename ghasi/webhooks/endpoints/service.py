"""The rules of endpoints: what may be stored, who sees it, and what a change brings with it.

Secrets and header values are sealed before they reach a query, and no resource has them; a secret is returned once, by
the call that made it. Every change is audited in its transaction. Sends nothing.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from ghasi.contract.errors import Problem
from ghasi.contract.serving import Caller
from ghasi.contract.shapes import CreatedWebhook, EventFilter, Page, PageQuery, Webhook, WebhookInput
from ghasi.contract.values import decode_id_cursor, new_id, optional_rfc3339, page_of, rfc3339
from ghasi.storage import audit
from ghasi.storage.pool import Connection, Pool
from ghasi.storage.sealing import Sealer
from ghasi.webhooks.delivering.addresses import parse_url
from ghasi.webhooks.delivering.signing import new_secret
from ghasi.webhooks.endpoints import queries
from ghasi.webhooks.endpoints.inputs import check_events, check_headers
from ghasi.webhooks.model import CANCELED_AT_ONCE, IDEMPOTENCY_WINDOW, MAX_ENDPOINTS, SECRET_OVERLAP, Endpoint


async def list_webhooks(pool: Pool, caller: Caller, query: PageQuery) -> Page[Webhook]:
    """Return a page of the account's endpoints, newest first; raises Problem invalid_cursor."""
    rows = await queries.list_endpoints(pool, caller.account_id, decode_id_cursor(query.cursor), query.limit + 1)
    return page_of(rows, query.limit, _shown, lambda endpoint: (endpoint.id,))


async def get_webhook(pool: Pool, caller: Caller, endpoint_id: UUID) -> Webhook:
    """Return an endpoint; raises Problem not_found, also for another account's."""
    endpoint = await queries.find_endpoint(pool, caller.account_id, endpoint_id)
    if endpoint is None:
        raise Problem("not_found")
    return _shown(endpoint)


async def create_webhook(
    pool: Pool, sealer: Sealer, caller: Caller, body: WebhookInput, *, key: str | None, request_id: str, dev: bool
) -> CreatedWebhook:
    """Create an endpoint and return it with its secret.

    A repeated `key` creates nothing: Problem already_created with the id, or idempotency_key_reused when the body
    differs. Raises Problem invalid_url, invalid_request, too_many_webhooks.
    """
    events, headers = _check(body, dev=dev)
    secret, now = new_secret(), datetime.now(UTC)
    endpoint = Endpoint(
        id=new_id(),
        account_id=caller.account_id,
        url=body.url,
        events=events,
        description=None,
        enabled=body.enabled is not False,
        disabled_reason=None,
        created_at=now,
        updated_at=now,
    )
    endpoint = _changed_by(body, endpoint)
    async with pool.acquire() as connection, connection.transaction():
        if key is not None:
            known = await queries.take_idempotency_key(
                connection, caller.account_id, key, _hash(body), endpoint.id, window=IDEMPOTENCY_WINDOW
            )
            if known is not None:
                raise _repeated(known, _hash(body))
        await queries.lock_account(connection, caller.account_id)
        if await queries.count_endpoints(connection, caller.account_id) >= MAX_ENDPOINTS:
            raise Problem("too_many_webhooks", f"an account has at most {MAX_ENDPOINTS} endpoints")
        await queries.insert_endpoint(connection, endpoint, sealer.seal(secret.encode()), _seal(sealer, headers))
        await record_change(connection, caller, "webhook.created", endpoint.id, request_id, events=events)
    return _with_secret(endpoint, secret)


async def update_webhook(
    pool: Pool, sealer: Sealer, caller: Caller, endpoint_id: UUID, body: WebhookInput, *, request_id: str, dev: bool
) -> Webhook:
    """Change an endpoint, keeping what the body omits save its URL and events.

    Enabling one that was disabled clears `disabled_reason` and `failing_since`; disabling drops what is pending. Raises
    Problem not_found, invalid_url, invalid_request.
    """
    events, headers = _check(body, dev=dev)
    async with pool.acquire() as connection, connection.transaction():
        before = await queries.lock_endpoint(connection, caller.account_id, endpoint_id)
        if before is None:
            raise Problem("not_found")
        enabled = before.enabled if body.enabled is UNSET else body.enabled
        after = replace(
            _changed_by(body, before),
            url=body.url,
            events=events,
            enabled=enabled,
            disabled_reason=None if enabled else before.disabled_reason,
            failing_since=None if enabled and not before.enabled else before.failing_since,
            updated_at=datetime.now(UTC),
        )
        dropped = before.enabled and not enabled
        await queries.update_endpoint(
            connection, after, _seal(sealer, headers), headers_kept=headers is UNSET, pending_dropped=dropped
        )
        if dropped:
            await queries.cancel_pending(connection, [(caller.account_id, endpoint_id)], CANCELED_AT_ONCE)
        await record_change(
            connection, caller, "webhook.updated", endpoint_id, request_id, changed=_changed(before, after, headers)
        )
    return _shown(after)


async def rotate_secret(
    pool: Pool, sealer: Sealer, caller: Caller, endpoint_id: UUID, *, request_id: str
) -> CreatedWebhook:
    """Give an endpoint a new secret and return it; the old one signs along for 24 hours. Raises Problem not_found."""
    secret = new_secret()
    async with pool.acquire() as connection, connection.transaction():
        if await queries.lock_endpoint(connection, caller.account_id, endpoint_id) is None:
            raise Problem("not_found")
        endpoint = await queries.rotate_secret(
            connection,
            caller.account_id,
            endpoint_id,
            sealer.seal(secret.encode()),
            overlap=SECRET_OVERLAP,
            at=datetime.now(UTC),
        )
        await record_change(connection, caller, "webhook.secret_rotated", endpoint_id, request_id)
    return _with_secret(endpoint, secret)


async def delete_webhook(pool: Pool, caller: Caller, endpoint_id: UUID, *, request_id: str) -> None:
    """Delete an endpoint, its secrets and what is still to be delivered to it; raises Problem not_found."""
    async with pool.acquire() as connection, connection.transaction():
        if not await queries.delete_endpoint(connection, caller.account_id, endpoint_id):
            raise Problem("not_found")
        await queries.cancel_pending(connection, [(caller.account_id, endpoint_id)], CANCELED_AT_ONCE)
        await record_change(connection, caller, "webhook.deleted", endpoint_id, request_id)


def _changed_by(body: WebhookInput, endpoint: Endpoint) -> Endpoint:
    """Return an endpoint with what the body gives of the fields that it may omit."""
    given: dict[str, Any] = {
        name: value
        for name in ("description", "filter", "metadata", "rate_per_s", "fifo")
        if (value := getattr(body, name)) is not UNSET
    }
    if given.get("filter") == EventFilter():
        given["filter"] = None
    if "metadata" in given:
        given["metadata"] = given["metadata"] or {}
    if body.headers is not UNSET:
        given["header_names"] = list(body.headers or ())
    return replace(endpoint, **given)


Headers = Mapping[str, str] | None | UnsetType


def _check(body: WebhookInput, *, dev: bool) -> tuple[list[str], Headers]:
    parse_url(body.url, dev=dev)
    events = check_events(body.events)
    return events, check_headers(body.headers) if isinstance(body.headers, dict) else body.headers


def _seal(sealer: Sealer, headers: Headers) -> bytes | None:
    return sealer.seal(msgspec.json.encode(headers)) if isinstance(headers, Mapping) and headers else None


def _hash(body: WebhookInput) -> bytes:
    return sha256(msgspec.json.encode(body, order="deterministic")).digest()


def _repeated(known: tuple[bytes, UUID], body_hash: bytes) -> Problem:
    known_hash, endpoint_id = known
    if known_hash != body_hash:
        return Problem("idempotency_key_reused")
    return Problem("already_created", f"this Idempotency-Key created {endpoint_id}; its secret is not shown again")


def _changed(before: Endpoint, after: Endpoint, headers: Headers) -> list[str]:
    names = ("url", "events", "description", "enabled", "filter", "metadata", "rate_per_s", "fifo")
    changed = [name for name in names if getattr(before, name) != getattr(after, name)]
    return changed if headers is UNSET else [*changed, "headers"]


async def record_change(
    connection: Connection, caller: Caller, action: str, endpoint_id: UUID, request_id: str, **detail: object
) -> None:
    """Write to the audit log what a caller did to an endpoint of its account."""
    await audit.record(
        connection,
        actor=f"key:{caller.credential}" if caller.is_api_key else f"user:{caller.user_id}",
        action=action,
        subject=str(endpoint_id),
        account_id=caller.account_id,
        request_id=request_id,
        **detail,
    )


def _shown(endpoint: Endpoint) -> Webhook:
    return Webhook(
        id=str(endpoint.id),
        url=endpoint.url,
        events=endpoint.events,
        description=endpoint.description,
        enabled=endpoint.enabled,
        created_at=rfc3339(endpoint.created_at),
        updated_at=rfc3339(endpoint.updated_at),
        disabled_reason=endpoint.disabled_reason,
        header_names=endpoint.header_names,
        filter=endpoint.filter,
        metadata=endpoint.metadata,
        rate_per_s=endpoint.rate_per_s,
        fifo=endpoint.fifo,
        failing_since=optional_rfc3339(endpoint.failing_since),
    )


def _with_secret(endpoint: Endpoint, secret: str) -> CreatedWebhook:
    return CreatedWebhook(**msgspec.structs.asdict(_shown(endpoint)), secret=secret)
