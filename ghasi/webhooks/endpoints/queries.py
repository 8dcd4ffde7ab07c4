"""All the SQL of webhook-dispatcher's endpoints; deliveries have theirs in delivery_queries.py.

Ids are UUIDv7, so that the order of ids is the order of creation.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

import msgspec

from ghasi.contract.shapes import EventFilter, Fifo
from ghasi.storage.pool import Connection, Pool, Record
from ghasi.webhooks.model import Endpoint, SealedEndpoint

Kind = TypeVar("Kind")
_SHOWN = (
    "id, account_id, url, events, description, enabled, disabled_reason, created_at, updated_at, header_names, filter, "
    "metadata, rate_per_s, fifo, failing_since"
)
_SEALED = (
    "id, account_id, url, events, enabled AND deleted_at IS NULL, secret, previous_secret, previous_until, headers, "
    "version, dropped_before, filter, rate_per_s, fifo"
)


async def lock_account(connection: Connection, account_id: UUID) -> None:
    """Hold back other creations of the account's endpoints until the transaction ends, so that they can be counted."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('webhooks:' || $1, 0))", str(account_id))


async def count_endpoints(connection: Connection, account_id: UUID) -> int:
    """Count the account's endpoints."""
    return int(
        await connection.fetchval(
            "SELECT count(*) FROM webhooks.endpoints WHERE account_id = $1 AND deleted_at IS NULL", account_id
        )
    )


async def take_idempotency_key(
    connection: Connection, account_id: UUID, key: str, body_hash: bytes, endpoint_id: UUID, *, window: timedelta
) -> tuple[bytes, UUID] | None:
    """Remember what a key creates, or return the body's hash and the endpoint of its first use within the window.

    Waits for a concurrent transaction with the same key.
    """
    taken = await connection.fetchval(
        """
        INSERT INTO webhooks.idempotency_keys AS known (account_id, key, body_hash, endpoint_id)
        VALUES ($1, $2, $3, $4)
        ON CONFLICT (account_id, key) DO UPDATE
            SET body_hash = excluded.body_hash, endpoint_id = excluded.endpoint_id, created_at = now()
            WHERE known.created_at < now() - $5::interval
        RETURNING true
        """,
        account_id,
        key,
        body_hash,
        endpoint_id,
        window,
    )
    if taken:
        return None
    rows = await connection.fetch(
        "SELECT body_hash, endpoint_id FROM webhooks.idempotency_keys WHERE account_id = $1 AND key = $2",
        account_id,
        key,
    )
    return rows[0]["body_hash"], rows[0]["endpoint_id"]


def _endpoint(row: Record) -> Endpoint:
    return replace(
        Endpoint(*row),
        filter=_decoded(row["filter"], EventFilter),
        metadata=msgspec.json.decode(row["metadata"]),
        fifo=_decoded(row["fifo"], Fifo),
    )


def _sealed(row: Record) -> SealedEndpoint:
    sealed = SealedEndpoint(*row)
    if sealed.filter is None and sealed.fifo is None:
        return sealed
    return replace(sealed, filter=_decoded(row["filter"], EventFilter), fifo=_decoded(row["fifo"], Fifo))


def _decoded(text: str | None, kind: type[Kind]) -> Kind | None:
    return None if text is None else msgspec.json.decode(text, type=kind)


def _settable(endpoint: Endpoint) -> tuple[object, ...]:
    """Return whose it is and what a customer may set of an endpoint, as the statements number it."""
    return (
        endpoint.id,
        endpoint.account_id,
        endpoint.url,
        endpoint.events,
        endpoint.description,
        endpoint.enabled,
        endpoint.updated_at,
        endpoint.header_names,
        None if endpoint.filter is None else msgspec.json.encode(endpoint.filter).decode(),
        msgspec.json.encode(endpoint.metadata).decode(),
        endpoint.rate_per_s,
        None if endpoint.fifo is None else msgspec.json.encode(endpoint.fifo).decode(),
    )


async def insert_endpoint(connection: Connection, endpoint: Endpoint, secret: bytes, headers: bytes | None) -> None:
    """Insert an endpoint; `secret` and `headers` are sealed."""
    await connection.execute(
        """
        INSERT INTO webhooks.endpoints
            (id, account_id, url, events, description, enabled, updated_at, header_names, filter, metadata, rate_per_s,
                fifo, created_at, secret, headers)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
        """,
        *_settable(endpoint),
        endpoint.created_at,
        secret,
        headers,
    )


async def find_endpoint(pool: Pool, account_id: UUID, endpoint_id: UUID) -> Endpoint | None:
    """Return the account's endpoint."""
    row = await pool.fetchrow(
        f"SELECT {_SHOWN} FROM webhooks.endpoints WHERE account_id = $1 AND id = $2 AND deleted_at IS NULL",
        account_id,
        endpoint_id,
    )
    return None if row is None else _endpoint(row)


async def lock_endpoint(connection: Connection, account_id: UUID, endpoint_id: UUID) -> Endpoint | None:
    """Return the account's endpoint, its row locked until the transaction ends."""
    row = await connection.fetchrow(
        f"SELECT {_SHOWN} FROM webhooks.endpoints WHERE account_id = $1 AND id = $2 AND deleted_at IS NULL FOR UPDATE",
        account_id,
        endpoint_id,
    )
    return None if row is None else _endpoint(row)


async def list_endpoints(pool: Pool, account_id: UUID, before: UUID | None, limit: int) -> list[Endpoint]:
    """Return the account's endpoints, newest first, older than `before`."""
    rows = await pool.fetch(
        f"""
        SELECT {_SHOWN} FROM webhooks.endpoints
        WHERE account_id = $1 AND deleted_at IS NULL AND ($2::uuid IS NULL OR id < $2)
        ORDER BY id DESC LIMIT $3
        """,
        account_id,
        before,
        limit,
    )
    return [_endpoint(row) for row in rows]


async def list_everybodys(pool: Pool, account_id: UUID | None, *, failing: bool, most: int) -> list[Endpoint]:
    """Return the endpoints of an account or, for operators, of all, newest first; `failing`: of those that fail."""
    rows = await pool.fetch(
        f"""
        SELECT {_SHOWN} FROM webhooks.endpoints
        WHERE deleted_at IS NULL AND ($1::uuid IS NULL OR account_id = $1) {"AND failing_since IS NOT NULL" * failing}
        ORDER BY id DESC LIMIT $2
        """,
        account_id,
        most,
    )
    return [_endpoint(row) for row in rows]


async def find_account(connection: Connection, endpoint_id: UUID) -> UUID | None:
    """Return whose an endpoint is, for operators."""
    account_id: UUID | None = await connection.fetchval(
        "SELECT account_id FROM webhooks.endpoints WHERE id = $1 AND deleted_at IS NULL", endpoint_id
    )
    return account_id


async def update_endpoint(
    connection: Connection, endpoint: Endpoint, headers: bytes | None, *, headers_kept: bool, pending_dropped: bool
) -> None:
    """Write an endpoint's fields; `headers` is sealed; with `pending_dropped` what is pending now is not sent."""
    await connection.execute(
        """
        UPDATE webhooks.endpoints
        SET url = $3, events = $4, description = $5, enabled = $6, updated_at = $7, header_names = $8, filter = $9,
            metadata = $10, rate_per_s = $11, fifo = $12, disabled_reason = $13, failing_since = $14,
            headers = CASE WHEN $16 THEN headers ELSE $15 END,
            dropped_before = CASE WHEN $17 THEN clock_timestamp() ELSE dropped_before END,
            version = version + 1
        WHERE id = $1 AND account_id = $2
        """,
        *_settable(endpoint),
        endpoint.disabled_reason,
        endpoint.failing_since,
        headers,
        headers_kept,
        pending_dropped,
    )


async def rotate_secret(
    connection: Connection, account_id: UUID, endpoint_id: UUID, secret: bytes, *, overlap: timedelta, at: datetime
) -> Endpoint:
    """Give an endpoint a new sealed secret; the one before signs along for `overlap`, the one before that no more."""
    rows = await connection.fetch(
        f"""
        UPDATE webhooks.endpoints
        SET previous_secret = secret, previous_until = now() + $4::interval, secret = $3, updated_at = $5,
            version = version + 1
        WHERE account_id = $1 AND id = $2
        RETURNING {_SHOWN}
        """,
        account_id,
        endpoint_id,
        secret,
        overlap,
        at,
    )
    return _endpoint(rows[0])


async def delete_endpoint(connection: Connection, account_id: UUID, endpoint_id: UUID) -> bool:
    """Delete the account's endpoint and its secrets, and return whether there was one; the row goes with its log."""
    deleted = await connection.execute(
        """
        UPDATE webhooks.endpoints
        SET deleted_at = clock_timestamp(), enabled = false, secret = '', previous_secret = NULL, headers = NULL,
            version = version + 1
        WHERE account_id = $1 AND id = $2 AND deleted_at IS NULL
        """,
        account_id,
        endpoint_id,
    )
    return str(deleted) == "UPDATE 1"


async def cancel_pending(connection: Connection, endpoints: Sequence[tuple[UUID, UUID]], most: int) -> None:
    """Cancel up to `most` pending deliveries of endpoints, given as (account, endpoint).

    Workers cancel the others as they come to them.
    """
    await connection.execute(
        """
        WITH removed AS (
            DELETE FROM webhooks.pending WHERE (endpoint_id, event_id) IN (
                SELECT pending.endpoint_id, pending.event_id FROM webhooks.pending
                JOIN webhooks.endpoints ON endpoints.id = pending.endpoint_id
                JOIN unnest($1::uuid[], $2::uuid[]) AS ended (account_id, endpoint_id)
                    ON endpoints.account_id = ended.account_id AND endpoints.id = ended.endpoint_id
                LIMIT $3 FOR UPDATE OF pending SKIP LOCKED
            )
            RETURNING endpoint_id, event_id, attempts, claims
        )
        INSERT INTO webhooks.deliveries (endpoint_id, event_id, completed_at, attempts, claims, state)
        SELECT endpoint_id, event_id, now(), attempts, claims, 'canceled' FROM removed
        ON CONFLICT DO NOTHING
        """,
        [account_id for account_id, _ in endpoints],
        [endpoint_id for _, endpoint_id in endpoints],
        most,
    )


async def list_enabled(connection: Connection, account_ids: Sequence[UUID]) -> list[SealedEndpoint]:
    """Return the enabled endpoints of several accounts."""
    rows = await connection.fetch(
        f"SELECT {_SEALED} FROM webhooks.endpoints WHERE account_id = ANY($1) AND enabled AND deleted_at IS NULL",
        account_ids,
    )
    return [_sealed(row) for row in rows]


async def list_sealed(pool: Pool, endpoint_ids: Sequence[UUID]) -> list[SealedEndpoint]:
    """Return endpoints by id, whosever they are and whatever became of them."""
    rows = await pool.fetch(f"SELECT {_SEALED} FROM webhooks.endpoints WHERE id = ANY($1)", endpoint_ids)
    return [_sealed(row) for row in rows]


async def list_changed(pool: Pool, known: Sequence[tuple[UUID, int]]) -> list[UUID]:
    """Return those endpoints, given with a version, that were changed since."""
    rows = await pool.fetch(
        """
        SELECT id FROM webhooks.endpoints
        JOIN unnest($1::uuid[], $2::int[]) AS known (endpoint_id, version) ON id = endpoint_id
        WHERE endpoints.version > known.version
        """,
        [endpoint_id for endpoint_id, _ in known],
        [version for _, version in known],
    )
    return [row["id"] for row in rows]
