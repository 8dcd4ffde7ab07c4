"""Replays: an endpoint gets the events of a time once more, or for the first time.

Sent is what the endpoint asks for now, by its patterns and its filter, whatever became of it before. Events are there
for 30 days, and only those that some endpoint of the account wanted when they came: what nobody asked for was not kept.
The webhook-id is the event's, as in every delivery of it. What is pending is left as it is; what is over is reopened as
a resend does it; what was never sent is made. An endpoint that wants an order gets them in it. Test events are their
endpoint's alone, and what is told of an endpoint is for the others. Every replay is audited in its transaction, and the
worker is woken after it.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from ghasi.contract.errors import Problem, invalid
from ghasi.contract.serving import Caller
from ghasi.contract.shapes import Replay, Replayed
from ghasi.contract.values import decode_ids_cursor, encode_cursor, first_id, optional_rfc3339, rfc3339
from ghasi.storage.bells import Bells
from ghasi.storage.pool import Pool
from ghasi.webhooks.delivering import order_queries
from ghasi.webhooks.delivering.matching import EventFields, fields_of_body, order_key, refusal
from ghasi.webhooks.endpoints.service import record_change
from ghasi.webhooks.history import event_queries, log_queries
from ghasi.webhooks.history.deliveries import check_type, lock_enabled, oldest_kept
from ghasi.webhooks.model import MOST_REPLAYED, Endpoint, StoredEvent


async def replay_events(
    pool: Pool, bells: Bells, caller: Caller, endpoint_id: UUID, body: Replay, *, request_id: str
) -> Replayed:
    """Send an endpoint the events of a time that it asks for now, and return how many deliveries that makes.

    At most MOST_REPLAYED events are looked at, the oldest first: the cursor takes the next, up to the same end. Takes
    the endpoint's lock, as a resend does. Raises Problem not_found, webhook_disabled, invalid_cursor, invalid_request.
    """
    since, until = _range(body)
    async with pool.acquire() as connection, connection.transaction():
        endpoint = await lock_enabled(connection, caller, endpoint_id)
        with_bodies = endpoint.filter is not None or endpoint.fifo is not None
        events = await event_queries.lock_events(
            connection, caller.account_id, since, until, MOST_REPLAYED, with_bodies=with_bodies
        )
        keys = _choose(endpoint, events, body.event_types)
        chosen = list(keys)
        # in this order: what is reopened is pending then, and is not made again
        count = await log_queries.reopen_all(connection, caller.account_id, endpoint_id, chosen)
        count += await event_queries.insert_unsent(connection, caller.account_id, endpoint_id, chosen)
        if endpoint.fifo is not None:
            await order_queries.put_in_order(connection, endpoint_id, keys)
        await record_change(
            connection,
            caller,
            "webhook.events_replayed",
            endpoint_id,
            request_id,
            since=rfc3339(body.since),
            until=optional_rfc3339(body.until),
            event_types=body.event_types,
            deliveries=count,
        )
    bells.ring("webhooks")
    if len(events) < MOST_REPLAYED:
        return Replayed(count, None)
    return Replayed(count, encode_cursor(UUID(int=events[-1].id.int + 1), until))


def _range(body: Replay) -> tuple[UUID, UUID]:
    """Return the least id asked for and the least beyond; without an end it is now, which the cursor remembers."""
    for index, event_type in enumerate(body.event_types or ()):
        check_type(event_type, f"event_types[{index}]")
    if body.until is not None and body.until <= body.since:
        raise invalid("until", "must be later than since")
    since = max(first_id(body.since), oldest_kept())
    until = first_id(datetime.now(UTC) if body.until is None else body.until)
    if body.cursor is None:
        return since, until
    ids = decode_ids_cursor(body.cursor, 2)
    if len(ids) < 2:  # noqa: PLR2004 - where to go on, and the end
        raise Problem("invalid_cursor")
    return max(since, ids[0]), min(until, ids[1])


def _choose(endpoint: Endpoint, events: Sequence[StoredEvent], types: Sequence[str] | None) -> dict[UUID, str | None]:
    """Return which events an endpoint gets, with the keys of their order."""
    chosen = {}
    for event in events:
        if types is None or event.type in types:
            fields = EventFields() if event.body is None else fields_of_body(event.body)
            about_itself = fields.webhook_id == str(endpoint.id)
            if not about_itself and refusal(endpoint, event.type, fields) is None:
                chosen[event.id] = None if endpoint.fifo is None else order_key(endpoint.fifo, fields)
    return chosen
