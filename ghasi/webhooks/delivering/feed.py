"""Turns events of the messages outbox into deliveries, a batch at a time, in the transaction that moves the position.

A delivery that there is room for is written as leased already and goes straight to its lane once the transaction has
committed: no claim, and the body is encoded once for all endpoints and attempts. The others are due at once and are
claimed, as is all that goes in order or at a rate, which several workers share. An event that is in webhooks.events has
been fed before and is passed over.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from ghasi.contract.values import rfc3339
from ghasi.storage.events.outbox import Event
from ghasi.storage.pool import Connection
from ghasi.webhooks import redaction
from ghasi.webhooks.delivering import delivery_queries
from ghasi.webhooks.delivering.lane import Job, Lane
from ghasi.webhooks.delivering.lanes import Lanes, find_lane
from ghasi.webhooks.delivering.matching import fields_of, order_key, there_at, wanting
from ghasi.webhooks.delivering.targets import Targets, by_account
from ghasi.webhooks.endpoints import queries
from ghasi.webhooks.model import Fed, Pace, SealedEndpoint
from ghasi.webhooks.redaction import REDACTED_EVENT


def encode_body(event_type: str, at: datetime, data: str) -> str:
    """Encode what is sent: type, timestamp and data; `data` is JSON already."""
    return f'{{"type":"{event_type}","timestamp":"{rfc3339(at)}","data":{data}}}'


class Feed:
    """Handles batches of events; `hand_over` follows each commit."""

    def __init__(self, lanes: Lanes, targets: Targets, pace: Pace, claim: Callable[[], None]) -> None:
        """`claim` is called when there is something to be claimed that no lane asks for."""
        self._lanes = lanes
        self._targets = targets
        self._pace = pace
        self._claim = claim
        self._to_be_claimed = False
        self._uncommitted: list[tuple[Lane, Job]] = []
        self._overflowed: list[Lane] = []
        self._promised: Counter[UUID] = Counter()
        self._promised_unproven = 0

    async def handle(self, connection: Connection, events: Sequence[Event]) -> None:
        """Write the deliveries of a batch of events, and delete the texts that are to go; safe to repeat."""
        await self._feed(connection, [event for event in events if event.type != REDACTED_EVENT])
        redacted = [event.subject_id for event in events if event.type == REDACTED_EVENT]
        if redacted:
            await redaction.delete_texts(connection, redacted)

    async def _feed(self, connection: Connection, events: Sequence[Event]) -> None:
        self._uncommitted, self._overflowed, self._to_be_claimed = [], [], False
        self._promised.clear()
        self._promised_unproven = 0
        start_by = time.monotonic() + self._pace.begin_within_s
        endpoints = by_account(await queries.list_enabled(connection, list({event.account_id for event in events})))
        if not endpoints:
            return
        wanted: list[tuple[Event, list[SealedEndpoint]]] = []
        for event in events:
            reached = wanting(there_at(endpoints.get(event.account_id, ()), event.at), event.type, event.data)
            if reached:
                wanted.append((event, reached))
        if not wanted:
            return
        bodies = [encode_body(event.type, event.at, event.data) for event, _ in wanted]
        fresh = await delivery_queries.insert_events(connection, [event for event, _ in wanted], bodies)
        deliveries: list[Fed] = []
        for (event, reached), body in zip(wanted, bodies, strict=True):
            if event.id in fresh:
                deliveries += self._plan(event, body.encode(), reached, start_by)
        if deliveries:
            await delivery_queries.insert_pending(connection, deliveries, timedelta(seconds=self._pace.lease_s))

    def _plan(self, event: Event, body: bytes, endpoints: Sequence[SealedEndpoint], start_by: float) -> list[Fed]:
        deliveries = []
        for endpoint in endpoints:
            key = None if endpoint.fifo is None else order_key(endpoint.fifo, fields_of(event.data))
            if key is not None or endpoint.rate_per_s is not None:
                self._to_be_claimed = True
                deliveries.append(Fed(endpoint.id, event.id, leased=False, order_key=key))
                continue
            lane = find_lane(self._lanes, self._targets, endpoint)
            leased = lane is not None and self._has_room(lane)
            if lane is not None and leased:
                self._promised[endpoint.id] += 1
                self._promised[endpoint.account_id] += 1
                self._promised_unproven += not lane.proven
                self._uncommitted.append((lane, Job(event.id, str(event.id), body, 0, 1, event.at, start_by)))
            elif lane is not None:
                self._overflowed.append(lane)
            deliveries.append(Fed(endpoint.id, event.id, leased))
        return deliveries

    def _has_room(self, lane: Lane) -> bool:
        return (
            lane.room > self._promised[lane.target.endpoint_id]
            and lane.share.room > self._promised[lane.target.account_id]
            and (lane.proven or self._lanes.unproven_room > self._promised_unproven)
            and len(self._lanes) + len(self._uncommitted) < self._pace.most_in_memory
        )

    def hand_over(self) -> None:
        """Queue what the last batch leased; to be called once it is committed."""
        for lane, job in self._uncommitted:
            self._lanes.add(lane, job)
        for lane in self._overflowed:
            lane.more = True
        self._lanes.start()
        if self._to_be_claimed:
            self._claim()
        self._uncommitted, self._overflowed, self._to_be_claimed = [], [], False

    def take_back(self) -> list[tuple[Lane, Job]]:
        """Return what was leased and not handed over, when the feed has ended in between."""
        left, self._uncommitted = self._uncommitted, []
        return left
