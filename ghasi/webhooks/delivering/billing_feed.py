"""Turns billing's events for customers into deliveries, in the transaction that moves the position.

Of billing's outbox only the types of BILLING_EVENT_DATA go out: the rest is between services. They are few, so that
each is claimed as what goes in order is, and none is handed to a lane straight away.
"""

from collections.abc import Sequence
from datetime import timedelta

from ghasi.contract.shapes import BILLING_EVENT_DATA
from ghasi.storage.events.outbox import Event
from ghasi.storage.pool import Connection
from ghasi.webhooks.delivering import delivery_queries
from ghasi.webhooks.delivering.feed import encode_body
from ghasi.webhooks.delivering.matching import fields_of, order_key, there_at, wants_type
from ghasi.webhooks.delivering.targets import by_account
from ghasi.webhooks.endpoints import queries
from ghasi.webhooks.model import Fed


async def feed(connection: Connection, events: Sequence[Event]) -> None:
    """Write the deliveries of a batch of events, due at once; safe to repeat. Filters, of messages, are not asked."""
    events = [event for event in events if event.type in BILLING_EVENT_DATA]
    if not events:
        return
    endpoints = by_account(await queries.list_enabled(connection, list({event.account_id for event in events})))
    deliveries: dict[Event, list[Fed]] = {}
    for event in events:
        there = there_at(endpoints.get(event.account_id, ()), event.at)
        reached = [one for one in there if wants_type(one.events, event.type)]
        if reached:
            fields = fields_of(event.data)
            deliveries[event] = [
                Fed(one.id, event.id, leased=False, order_key=None if one.fifo is None else order_key(one.fifo, fields))
                for one in reached
            ]
    if not deliveries:
        return
    bodies = [encode_body(event.type, event.at, event.data) for event in deliveries]
    fresh = await delivery_queries.insert_events(connection, list(deliveries), bodies, about_messages=False)
    fed = [one for event, of_event in deliveries.items() if event.id in fresh for one in of_event]
    if fed:
        await delivery_queries.insert_pending(connection, fed, timedelta(0))
