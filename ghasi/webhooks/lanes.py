"""Who is sent to next: one lane an endpoint, taken in turn, so that a slow endpoint delays nobody but itself.

Owns what waits in memory and how much runs at once. A lane's window is how many of its attempts may run together: it
widens with each answer and halves with each time-out or lost connection, so that an endpoint that hangs soon holds a
single place. An account's endpoints together hold no more than a share of all places. Knows no HTTP and no SQL.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog

from ghasi.webhooks.model import Pace
from ghasi.webhooks.targets import Target

log = structlog.get_logger("ghasi.webhooks")
_QUEUE_PER_PLACE = 16
_IDLE_S = 60.0


@dataclass(slots=True, eq=False)
class Job:
    """One attempt to be made; `start_by` is the monotonic time after which its lease is too short for it."""

    event_id: UUID
    webhook_id: str
    body: bytes
    attempts: int
    claims: int
    at: datetime
    start_by: float
    attempts_before: int = 0


@dataclass(slots=True, eq=False)
class Share:
    """What an account has in flight, and its lanes that wait for that to fall."""

    in_flight: int
    stalled: "deque[Lane]"
    room: int


@dataclass(slots=True, eq=False)
class Lane:
    """One endpoint's jobs; `more` when the database had more for it than there was room for."""

    target: Target
    share: Share
    queue: deque[Job]
    window: int
    in_flight: int = 0
    listed: bool = False
    more: bool = False
    used_at: float = 0.0

    @property
    def room(self) -> int:
        """How many jobs it takes."""
        return max(0, min(self.window * _QUEUE_PER_PLACE - len(self.queue), self.share.room))


Attempt = Callable[[Lane, Job], Awaitable[bool]]
"""Makes an attempt, and says whether the endpoint answered, however it did."""


class Lanes:
    """Runs jobs, at most `pace.most_in_flight` at once; each sender task goes from job to job while there are any."""

    def __init__(self, attempt: Attempt, pace: Pace, wake: asyncio.Event) -> None:
        self._attempt = attempt
        self._pace = pace
        self._wake = wake
        self._lanes: dict[UUID, Lane] = {}
        self._shares: dict[UUID, Share] = {}
        self._turn: deque[Lane] = deque()
        self._senders: set[asyncio.Task[None]] = set()
        self._running: dict[Job, Lane] = {}
        self._queued = 0
        self._closed = False

    def __len__(self) -> int:
        """How many jobs are here, waiting or running."""
        return self._queued + len(self._running)

    def lane(self, target: Target) -> Lane:
        """Return an endpoint's lane, with the target brought up to date."""
        lane = self._lanes.get(target.endpoint_id)
        if lane is None:
            share = self._shares.get(target.account_id)
            if share is None:
                share = self._shares[target.account_id] = Share(0, deque(), self._pace.most_in_memory_per_account)
            lane = self._lanes[target.endpoint_id] = Lane(target, share, deque(), self._pace.window)
        elif target.version >= lane.target.version:
            lane.target = target
        lane.used_at = time.monotonic()
        return lane

    def rooms(self) -> dict[UUID, int]:
        """Return how many jobs a lane takes, of each where that is not what an unknown endpoint is given."""
        usual = self._pace.claim_per_endpoint
        return {
            endpoint_id: lane.room
            for endpoint_id, lane in self._lanes.items()
            if lane.room < usual or (lane.more and lane.room > usual)
        }

    def add(self, lane: Lane, job: Job) -> None:
        """Queue a job; it starts when it is the lane's turn."""
        lane.queue.append(job)
        lane.share.room -= 1
        self._queued += 1
        self._list(lane)

    def start(self) -> None:
        """Let a sender take what has been added; whoever finds more than it takes itself starts the next."""
        if self._turn and len(self._senders) < self._pace.most_in_flight:
            task = asyncio.get_running_loop().create_task(self._send())
            self._senders.add(task)
            task.add_done_callback(self._senders.discard)

    def _list(self, lane: Lane) -> None:
        """Give the lane a turn if it can use one."""
        if not lane.listed and lane.queue and lane.in_flight < lane.window and not self._closed:
            lane.listed = True
            self._turn.append(lane)

    async def _send(self) -> None:
        while self._turn:
            lane = self._turn.popleft()
            lane.listed = False
            job = self._take(lane)
            if job is None:
                continue
            self.start()
            answered = False
            try:
                answered = await self._attempt(lane, job)
            except Exception:  # an attempt reports its own failures; this is a fault of ours
                log.exception("attempt_broke", endpoint_id=str(lane.target.endpoint_id), event_id=job.webhook_id)
            finally:
                self._give_back(lane, job, answered=answered)

    def _take(self, lane: Lane) -> Job | None:
        """Return the lane's next job, with a place for it, or None."""
        share = lane.share
        if lane.queue and lane.in_flight < lane.window:
            if share.in_flight >= self._pace.most_in_flight_per_account:
                lane.listed = True  # until a place of its account is given back
                share.stalled.append(lane)
                return None
            job = lane.queue.popleft()
            self._queued -= 1
            if time.monotonic() <= job.start_by:
                self._running[job] = lane
                lane.in_flight += 1
                share.in_flight += 1
                self._list(lane)
                return job
            share.room += 1
            # else the lease would be another's before this attempt ended
            self._list(lane)
            self._ask_for_more(lane)
        self._go_on(share)
        return None

    def _give_back(self, lane: Lane, job: Job, *, answered: bool) -> None:
        """Note that an attempt has ended."""
        del self._running[job]
        lane.in_flight -= 1
        lane.share.in_flight -= 1
        lane.share.room += 1
        lane.window = min(lane.window + 1, self._pace.most_window) if answered else max(lane.window // 2, 1)
        self._go_on(lane.share)
        self._list(lane)
        self._ask_for_more(lane)

    def _go_on(self, share: Share) -> None:
        """Give a turn to a lane that waits for a place of its account."""
        if share.stalled and share.in_flight < self._pace.most_in_flight_per_account:
            lane = share.stalled.popleft()
            lane.listed = False
            self._list(lane)

    def _ask_for_more(self, lane: Lane) -> None:
        if lane.more and len(lane.queue) <= lane.window:
            lane.more = False
            self._wake.set()

    def forget_idle(self) -> None:
        """Let go of lanes that have had nothing to do for a minute."""
        before = time.monotonic() - _IDLE_S
        idle = [
            endpoint_id
            for endpoint_id, lane in self._lanes.items()
            if lane.used_at < before and not lane.queue and not lane.in_flight and not lane.listed
        ]
        for endpoint_id in idle:
            del self._lanes[endpoint_id]
        accounts = {lane.target.account_id for lane in self._lanes.values()}
        for account_id in self._shares.keys() - accounts:
            del self._shares[account_id]

    async def close(self, drain_s: float) -> list[tuple[Lane, Job]]:
        """Begin nothing more, give what runs `drain_s` to end, and return the jobs that were not done."""
        self._closed = True
        self._turn.clear()
        left = [(lane, job) for lane in self._lanes.values() for job in lane.queue]
        for lane in self._lanes.values():
            lane.queue.clear()
        self._queued = 0
        if self._senders:
            await asyncio.wait(set(self._senders), timeout=drain_s)
        left += [(lane, job) for job, lane in self._running.items()]
        await self.kill()
        return left

    async def kill(self) -> None:
        """Cancel what runs."""
        self._closed = True
        senders = set(self._senders)
        for task in senders:
            task.cancel()
        await asyncio.gather(*senders, return_exceptions=True)
