"""What is shown of webhooks in lists: deliveries to one endpoint or to all of an account, and attempts.

Owns filters and paging. A page may hold fewer than `limit`, or none, and still have a next one: see list_queries.
Changes nothing. Bodies of answers are returned to their account and reach no log.
"""

from collections.abc import Callable
from typing import Annotated, NamedTuple, TypeVar
from uuid import UUID

import msgspec

from ghasi.contract.errors import Problem
from ghasi.contract.serving import Caller
from ghasi.contract.shapes import (
    AccountDeliveryQuery,
    AttemptQuery,
    Delivery,
    DeliveryQuery,
    LoggedAttempt,
    LogQuery,
    Page,
)
from ghasi.contract.values import (
    decode_cursor,
    decode_ids_cursor,
    encode_cursor,
    first_id,
    first_id_after,
    page_of,
)
from ghasi.storage.pool import Pool
from ghasi.webhooks import model
from ghasi.webhooks.endpoints import queries
from ghasi.webhooks.history import list_queries
from ghasi.webhooks.history.deliveries import STORED, attempt_shown, check_type, delivery_shown, oldest_kept, read_id
from ghasi.webhooks.history.list_queries import LAST_NUMBER, Asked, Found

Row = TypeVar("Row")
Shown = TypeVar("Shown")


class _AttemptPosition(NamedTuple):
    """Where to go on: behind an attempt, or behind all of an event."""

    event_id: UUID
    number: Annotated[int, msgspec.Meta(ge=0, le=LAST_NUMBER)] = 0


async def list_deliveries(pool: Pool, caller: Caller, endpoint_id: UUID, query: DeliveryQuery) -> Page[Delivery]:
    """Return a page of the deliveries to an endpoint, newest first.

    Raises Problem not_found, invalid_cursor, and invalid_request for an event type or a message id that is none.
    """
    page = await _list_deliveries(pool, caller, endpoint_id, query)
    if not page.data:
        await _require_endpoint(pool, caller, endpoint_id)
    return page


async def list_account_deliveries(pool: Pool, caller: Caller, query: AccountDeliveryQuery) -> Page[Delivery]:
    """Return a page of the deliveries to all endpoints of an account that are not deleted, newest first.

    Raises Problem invalid_cursor, and invalid_request for an event type, a message or an endpoint that is none.
    """
    endpoint_id = None if query.webhook_id is None else read_id("webhook_id", query.webhook_id)
    return await _list_deliveries(pool, caller, endpoint_id, query)


async def list_attempts(pool: Pool, caller: Caller, endpoint_id: UUID, query: AttemptQuery) -> Page[LoggedAttempt]:
    """Return a page of the attempts to deliver to an endpoint, of the newest event first, its last attempt first.

    Raises Problem not_found, invalid_cursor, and invalid_request for an event type or a message id that is none.
    """
    found = await list_queries.list_attempts(
        pool,
        caller.account_id,
        endpoint_id,
        _asked(query),
        before=None if query.cursor is None else decode_cursor(query.cursor, _AttemptPosition),
        succeeded=None if query.outcome is None else query.outcome == "succeeded",
    )
    if not found.rows:
        await _require_endpoint(pool, caller, endpoint_id)
    return _page(found, query.limit, _logged_attempt, lambda row: (row.event_id, row.number))


async def _list_deliveries(
    pool: Pool, caller: Caller, endpoint_id: UUID | None, query: DeliveryQuery
) -> Page[Delivery]:
    found = await list_queries.list_deliveries(
        pool,
        caller.account_id,
        endpoint_id,
        _asked(query),
        before=_delivery_position(query.cursor),
        state=None if query.status is None else STORED[query.status],
    )
    return _page(found, query.limit, delivery_shown, lambda row: (row.event_id, row.endpoint_id))


async def _require_endpoint(pool: Pool, caller: Caller, endpoint_id: UUID) -> None:
    if await queries.find_endpoint(pool, caller.account_id, endpoint_id) is None:
        raise Problem("not_found")


def _page(
    found: Found[Row], limit: int, shape: Callable[[Row], Shown], position: Callable[[Row], tuple[UUID, UUID | int]]
) -> Page[Shown]:
    page = page_of(found.rows, limit, shape, position)
    if page.next_cursor is None and found.after is not None:
        return msgspec.structs.replace(page, next_cursor=encode_cursor(*found.after))
    return page


def _delivery_position(cursor: str | None) -> tuple[UUID, UUID] | None:
    """Read where to go on: behind a delivery, or behind all of an event."""
    if cursor is None:
        return None
    event_id, *endpoint_id = decode_ids_cursor(cursor, 2)
    return event_id, endpoint_id[0] if endpoint_id else UUID(int=0)


def _asked(query: LogQuery) -> Asked:
    """Read the filters that all logs have; of a page one row more is asked for than it may have."""
    check_type(query.event_type)
    oldest = oldest_kept()
    if query.created_after is not None:
        oldest = max(oldest, first_id_after(query.created_after))
    answered = query.response_status
    statuses = None
    if answered is not None and answered != "none":
        statuses = int(answered.replace("x", "0")), int(answered.replace("x", "9"))
    return Asked(
        most=query.limit + 1,
        oldest=oldest,
        until=None if query.created_before is None else first_id(query.created_before),
        event_type=query.event_type,
        message_id=None if query.message_id is None else read_id("message_id", query.message_id),
        statuses=statuses,
        unanswered=answered == "none",
    )


def _logged_attempt(row: model.LoggedAttempt) -> LoggedAttempt:
    return LoggedAttempt(
        **msgspec.structs.asdict(attempt_shown(row)),
        delivery_id=str(row.event_id),
        event_type=row.event_type,
        message_id=None if row.message_id is None else str(row.message_id),
    )
