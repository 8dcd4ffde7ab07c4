"""Leases what is due and gives it to the lanes.

That is retries, overflow of the feed, what a killed worker left, what goes in order and what goes at a rate. Owns which
deliveries this worker has leased beyond what its feed leased. What an endpoint no longer wants is canceled,
what there is no room for is given back. Attempts of an endpoint with a rate are planned in the database, behind all
that any worker has planned: together they never exceed it. Sends nothing.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from ghasi.storage.pool import Pool
from ghasi.webhooks.delivering import delivery_queries, order_queries
from ghasi.webhooks.delivering.lane import Job, Lane
from ghasi.webhooks.delivering.lanes import Lanes, find_lane
from ghasi.webhooks.delivering.order_queries import Front
from ghasi.webhooks.delivering.targets import Targets
from ghasi.webhooks.endpoints import queries
from ghasi.webhooks.model import Claimed, Pace, SealedEndpoint

BEGINNING = (delivery_queries.NIL, "")


class Claims:
    """Claims for one worker's lanes."""

    def __init__(self, pool: Pool, pace: Pace, lanes: Lanes, targets: Targets) -> None:
        self._pool = pool
        self._pace = pace
        self._lanes = lanes
        self._targets = targets
        self._one_at_a_time = asyncio.Lock()
        self._closed = False

    async def close(self) -> None:
        """Claim nothing more, and end what is being claimed: cut off in the middle it would be nobody's for a lease."""
        self._closed = True
        async with self._one_at_a_time:
            pass

    async def take_due(self, after: UUID) -> tuple[int, UUID]:
        """Claim once what goes in no order, from an endpoint on; return how many there were and the last endpoint."""
        async with self._one_at_a_time:
            return (0, delivery_queries.NIL) if self._closed else await self._take_due(after)

    async def take_ordered(self, after: tuple[UUID, str]) -> tuple[UUID, str]:
        """Claim once what goes in order, from a key on; return the last key, or BEGINNING when that was the last.

        Gives back first what is left of runs whose first failed.
        """
        async with self._one_at_a_time:
            if self._closed:
                return BEGINNING
            await self.release(self._lanes.take_left())
        fronts = await order_queries.list_fronts(self._pool, after, self._pace.claim_keys)
        if not fronts:  # as most of the time: what goes in no order has not waited for that
            return BEGINNING
        async with self._one_at_a_time:
            return BEGINNING if self._closed else await self._take_ordered(fronts)

    async def _take_due(self, after: UUID) -> tuple[int, UUID]:
        if len(self._lanes) >= self._pace.most_in_memory:
            return 0, after
        rooms = self._lanes.look()
        start_by = time.monotonic() + self._pace.begin_within_s
        claimed = await delivery_queries.claim(
            self._pool,
            after=after,
            most=self._pace.claim,
            most_per_endpoint=self._pace.claim_per_endpoint,
            rooms=rooms,
            lease=timedelta(seconds=self._pace.lease_s),
        )
        if not claimed:
            return 0, delivery_queries.NIL
        endpoints = await self._take_in(claimed, start_by)
        counts = Counter(delivery.endpoint_id for delivery in claimed)
        for endpoint_id, count in counts.items():
            endpoint = endpoints.get(endpoint_id)
            if endpoint is not None and endpoint.live and count >= self._wanted_of(endpoint_id, rooms):
                lane = find_lane(self._lanes, self._targets, endpoint)
                if lane is not None:
                    lane.more = True
        return len(claimed), max(counts)

    async def _take_ordered(self, fronts: Sequence[Front]) -> tuple[UUID, str]:
        await order_queries.pass_by(self._pool)
        # what is under way or held up takes no room from the others, and what waits longest is first
        due = sorted((front for front in fronts if front.due), key=lambda front: front.event_id)
        wanted = self._plan([(front.endpoint_id, front.order_key) for front in due])
        if wanted:
            start_by = time.monotonic() + self._pace.begin_within_s
            async with self._pool.acquire() as connection, connection.transaction():
                claimed = []
                if await order_queries.try_lock_claims(connection):
                    claimed = await order_queries.claim_runs(connection, wanted, timedelta(seconds=self._pace.lease_s))
            if claimed:
                await self._take_in(claimed, start_by)
        last = fronts[-1]
        return (last.endpoint_id, last.order_key) if len(fronts) == self._pace.claim_keys else BEGINNING

    async def leave_changed(self) -> None:
        """Leave what waits for endpoints that were changed, disabled or deleted: it is claimed anew, if it is to go."""
        for endpoint_id in await queries.list_changed(self._pool, self._lanes.waiting()):
            self._lanes.leave(endpoint_id)

    async def release(self, jobs: Sequence[tuple[Lane, Job]]) -> None:
        """Give leases back: the deliveries are due at once."""
        if jobs:
            leases = [(lane.target.endpoint_id, job.event_id, job.claims) for lane, job in jobs]
            await delivery_queries.release(self._pool, leases)

    def _wanted_of(self, endpoint_id: UUID, rooms: dict[UUID, int]) -> int:
        return rooms.get(endpoint_id, self._pace.claim_per_endpoint)

    def _plan(self, keys: Sequence[tuple[UUID, str]]) -> list[tuple[UUID, str, int]]:
        """Share each endpoint's room among its keys."""
        room = self._pace.most_in_memory - len(self._lanes)
        rooms = self._lanes.rooms()
        counts = Counter(endpoint_id for endpoint_id, _ in keys)
        left = {endpoint_id: self._wanted_of(endpoint_id, rooms) for endpoint_id in counts}
        wanted = []
        for endpoint_id, key in keys:
            most = min(self._pace.run, max(1, left[endpoint_id] // counts[endpoint_id]), left[endpoint_id], room)
            if most > 0:
                wanted.append((endpoint_id, key, most))
                left[endpoint_id] -= most
                room -= most
            counts[endpoint_id] -= 1
        return wanted

    async def _take_in(self, claimed: Sequence[Claimed], start_by: float) -> dict[UUID, SealedEndpoint]:
        """Give the lanes what was claimed; return the endpoints."""
        ids = list({delivery.endpoint_id for delivery in claimed})
        endpoints = {endpoint.id: endpoint for endpoint in await queries.list_sealed(self._pool, ids)}
        paced: list[tuple[Lane, Claimed]] = []
        unwanted, beyond = [], []
        planned: Counter[UUID] = Counter()
        for delivery in claimed:
            endpoint = endpoints.get(delivery.endpoint_id)
            lease = (delivery.endpoint_id, delivery.event_id, delivery.claims)
            if endpoint is None or not _wanted(endpoint, delivery):
                unwanted.append(lease)
                continue
            lane = find_lane(self._lanes, self._targets, endpoint)
            if lane is None:  # its deliveries come back when the lease ends, and wait for the right key
                continue
            if self._lanes.room(lane) <= planned[endpoint.id]:
                lane.more = True
                beyond.append(lease)
            elif endpoint.rate_per_s is None:
                self._lanes.add(lane, _job(delivery, start_by))
            else:
                planned[endpoint.id] += 1
                paced.append((lane, delivery))
        self._lanes.start()
        if paced:
            await self._add_paced(paced, start_by)
        if unwanted:
            await delivery_queries.cancel(self._pool, unwanted)
        if beyond:
            await delivery_queries.release(self._pool, beyond)
        return endpoints

    async def _add_paced(self, paced: Sequence[tuple[Lane, Claimed]], start_by: float) -> None:
        """Give the lanes of endpoints with a rate what was claimed, each attempt behind the one planned before it."""
        rates = {lane.target.endpoint_id: lane.target.rate_per_s or 1 for lane, _ in paced}
        counts = Counter(lane.target.endpoint_id for lane, _ in paced)
        waits_s = await order_queries.reserve(self._pool, [(one, counts[one], rate) for one, rate in rates.items()])
        now = time.monotonic()
        begins = {endpoint_id: now + wait_s for endpoint_id, wait_s in waits_s.items()}
        for lane, delivery in paced:
            endpoint_id = lane.target.endpoint_id
            self._lanes.add(lane, _job(delivery, start_by, begins[endpoint_id]))
            begins[endpoint_id] += 1 / rates[endpoint_id]
        self._lanes.start()


def _wanted(endpoint: SealedEndpoint, delivery: Claimed) -> bool:
    """Say whether an endpoint still wants a delivery: neither deleted nor disabled since it became pending."""
    return endpoint.live and (endpoint.dropped_before is None or delivery.queued_at > endpoint.dropped_before)


def _job(delivery: Claimed, start_by: float, not_before: float = 0.0) -> Job:
    return Job(
        delivery.event_id,
        str(delivery.event_id),
        delivery.body.encode(),
        delivery.attempts,
        delivery.claims,
        delivery.at,
        start_by,
        delivery.attempts_before,
        delivery.order_key,
        delivery.hold_until,
        not_before,
    )
