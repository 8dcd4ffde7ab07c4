"""The rules of deliveries: what is shown of one, and when it is sent again, or a test is. Lists of them are lists'.

A delivery's id on the wire is its event's, which webhook-id carries in every attempt, resends too. Sent again, whatever
became of it, it is due at once: one attempt and, should that fail, the schedule from its beginning; attempts go on
being counted. One that is pending is hastened alike, and an attempt already under way is the one asked for: asking
twice sends once. A success of an attempt that began before its delivery was reopened is no answer to a resend. An
endpoint that is disabled gets nothing, and disabling it cancels what was sent again before. Every change is audited in
its transaction, and the worker is woken after it. Bodies are returned to their account and reach no log.
"""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec

from ghasi.contract.errors import Problem, invalid
from ghasi.contract.serving import Caller
from ghasi.contract.shapes import (
    EVENT_TYPES,
    Delivery,
    DeliveryAttempt,
    DeliveryDetail,
    DeliveryStatus,
    Page,
    PageQuery,
    Recovered,
)
from ghasi.contract.values import (
    decode_ids_cursor,
    first_id,
    id_time,
    new_id,
    optional_rfc3339,
    page_of,
    parse_id,
    rfc3339,
)
from ghasi.storage.bells import Bells
from ghasi.storage.pool import Connection, Pool
from ghasi.webhooks.delivering.feed import encode_body
from ghasi.webhooks.endpoints import queries
from ghasi.webhooks.endpoints.service import record_change
from ghasi.webhooks.examples import example_data
from ghasi.webhooks.history import log_queries
from ghasi.webhooks.model import MOST_RECOVERED, RETENTION, Attempted, Endpoint, Logged, LoggedDetail

_SHOWN: dict[str, DeliveryStatus] = {
    "pending": "pending",
    "succeeded": "succeeded",
    "exhausted": "failed",
    "canceled": "canceled",
}
STORED: dict[DeliveryStatus, str] = {shown: state for state, shown in _SHOWN.items()}
_MILLISECOND = timedelta(milliseconds=1)


async def list_message_deliveries(pool: Pool, caller: Caller, message_id: UUID, query: PageQuery) -> Page[Delivery]:
    """Return a page of the deliveries that a message caused, to endpoints deleted since too, newest first.

    A message that is unknown here, or another account's, caused none. Raises Problem invalid_cursor.
    """
    before = None
    if query.cursor is not None:
        ids = decode_ids_cursor(query.cursor, 2)
        before = (ids[0], ids[1] if len(ids) > 1 else UUID(int=0))
    rows = await log_queries.list_message_deliveries(
        pool, caller.account_id, message_id, query.limit + 1, oldest=oldest_kept(), before=before
    )
    return page_of(rows, query.limit, delivery_shown, lambda row: (row.event_id, row.endpoint_id))


async def get_delivery(pool: Pool, caller: Caller, endpoint_id: UUID, event_id: UUID) -> DeliveryDetail:
    """Return a delivery with its latest attempts, oldest first; raises Problem not_found."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        found = await log_queries.find_delivery_detail(
            connection, caller.account_id, endpoint_id, event_id, oldest=oldest_kept()
        )
        if found is None:
            raise Problem("not_found")
        attempts = await log_queries.list_attempts(connection, caller.account_id, endpoint_id, event_id)
    return _detail(*found, attempts)


async def resend_delivery(
    pool: Pool, bells: Bells, caller: Caller, endpoint_id: UUID, event_id: UUID, *, request_id: str
) -> Delivery:
    """Send a delivery again at once, whatever became of it; raises Problem not_found, webhook_disabled.

    Takes the endpoint's lock, so that disabling it comes wholly before or wholly after.
    """
    async with pool.acquire() as connection, connection.transaction():
        await lock_enabled(connection, caller, endpoint_id)
        oldest = oldest_kept()
        if event_id < oldest:
            raise Problem("not_found")
        if not await log_queries.hasten(connection, caller.account_id, endpoint_id, event_id):
            await log_queries.reopen(connection, caller.account_id, endpoint_id, event_id)
        delivery = await log_queries.find_delivery(connection, caller.account_id, endpoint_id, event_id, oldest=oldest)
        if delivery is None:
            raise Problem("not_found")
        await record_change(
            connection, caller, "webhook.delivery_resent", endpoint_id, request_id, delivery_id=str(event_id)
        )
    bells.ring("webhooks")
    return delivery_shown(delivery)


async def recover_deliveries(
    pool: Pool, bells: Bells, caller: Caller, endpoint_id: UUID, since: datetime, *, request_id: str
) -> Recovered:
    """Send the deliveries again that failed, of events since a time, and return how many.

    At most MOST_RECOVERED, the oldest first: another call takes the next. Raises Problem not_found, webhook_disabled.
    """
    async with pool.acquire() as connection, connection.transaction():
        await lock_enabled(connection, caller, endpoint_id)
        count = await log_queries.reopen_failed(
            connection, caller.account_id, endpoint_id, max(first_id(since), oldest_kept()), MOST_RECOVERED
        )
        await record_change(
            connection,
            caller,
            "webhook.deliveries_recovered",
            endpoint_id,
            request_id,
            since=rfc3339(since),
            deliveries=count,
        )
    bells.ring("webhooks")
    return Recovered(deliveries=count)


async def send_test_event(
    pool: Pool, bells: Bells, caller: Caller, endpoint_id: UUID, event_type: str, *, request_id: str
) -> Delivery:
    """Send an endpoint alone an event of an example, whatever it asks for; it is a delivery as any other.

    Raises Problem invalid_request where there is no such event, not_found, webhook_disabled.
    """
    check_type(event_type)
    async with pool.acquire() as connection, connection.transaction():
        await lock_enabled(connection, caller, endpoint_id)
        event_id = new_id()
        at = id_time(event_id)
        body = encode_body(event_type, at, example_data(event_type))
        await log_queries.insert_test(connection, caller.account_id, endpoint_id, (event_id, event_type, at, body))
        await record_change(connection, caller, "webhook.tested", endpoint_id, request_id, event_type=event_type)
    bells.ring("webhooks")
    return delivery_shown(Logged(endpoint_id, event_id, event_type, None, "pending", 0, None, None, at))


async def lock_enabled(connection: Connection, caller: Caller, endpoint_id: UUID) -> Endpoint:
    """Return an endpoint, locked until the transaction ends; raises Problem not_found, webhook_disabled."""
    endpoint = await queries.lock_endpoint(connection, caller.account_id, endpoint_id)
    if endpoint is None:
        raise Problem("not_found")
    if not endpoint.enabled:
        raise Problem("webhook_disabled")
    return endpoint


def oldest_kept() -> UUID:
    """Return the least id of what is not too old yet to be shown and sent again."""
    return first_id(datetime.now(UTC) - RETENTION)


def check_type(event_type: str | None, field: str = "event_type") -> None:
    """Raise Problem invalid_request, which names the field, for a type of event that is none."""
    if event_type is not None and event_type not in EVENT_TYPES:
        raise invalid(field, f"must be one of {', '.join(EVENT_TYPES)}")


def read_id(field: str, text: str) -> UUID:
    """Read an id from a body or a query; raises Problem invalid_request that names its field."""
    try:
        return parse_id(text)
    except Problem:
        raise invalid(field, "is not an id") from None


def delivery_shown(row: Logged) -> Delivery:
    """Return a delivery as the API shows it; it was created when its event was."""
    return Delivery(
        id=str(row.event_id),
        webhook_id=str(row.endpoint_id),
        event_type=row.event_type,
        message_id=None if row.message_id is None else str(row.message_id),
        status=_SHOWN[row.state],
        attempt_count=row.attempts,
        response_status=row.status_code,
        created_at=rfc3339(id_time(row.event_id)),
        completed_at=optional_rfc3339(row.completed_at),
        next_attempt_at=optional_rfc3339(row.due_at),
    )


def _detail(row: Logged, more: LoggedDetail, attempts: list[Attempted]) -> DeliveryDetail:
    shown = [attempt_shown(attempt) for attempt in attempts]
    if more.duration_ms is not None and row.completed_at is not None:
        last = attempts[-1].number if attempts else 0
        at = row.completed_at - more.duration_ms * _MILLISECOND
        ended = Attempted(max(row.attempts, last + 1), at, more.duration_ms, row.status_code, more.response, None)
        shown.append(attempt_shown(ended))
    return DeliveryDetail(**msgspec.structs.asdict(delivery_shown(row)), url=more.url, body=more.body, attempts=shown)


def attempt_shown(attempt: Attempted) -> DeliveryAttempt:
    """Return an attempt as the API shows it."""
    return DeliveryAttempt(
        number=attempt.number,
        at=rfc3339(attempt.at),
        duration_ms=attempt.duration_ms,
        response_status=attempt.status_code,
        response_body=attempt.response,
        error=attempt.error,
    )
