"""Who is sent to next: one lane an endpoint, taken in turn, so that a slow endpoint delays nobody but itself.

Owns how much waits in memory and how much runs at once. A lane's window is how many of its attempts may run together:
it widens with answers while more waits and halves with each time-out or lost connection, so that an endpoint that hangs
soon holds a single place. An account's endpoints together hold no more than a share of all places. An attempt that
takes long leaves its place to others and runs on beside them, as many as may be open at all. Of what waits in memory,
endpoints that never answered have half at most. Knows no HTTP and no SQL.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple
from uuid import UUID

import structlog

from ghasi.storage.sealing import SealError
from ghasi.webhooks.delivering.lane import Job, Lane, Share
from ghasi.webhooks.delivering.targets import Target, Targets
from ghasi.webhooks.model import Pace, SealedEndpoint

log = structlog.get_logger("ghasi.webhooks")
_IDLE_S = 60.0
_LATE_S = 0.01


class Outcome(NamedTuple):
    """What an attempt says of its endpoint: it answered, however it did; and of its delivery: that is over."""

    answered: bool
    over: bool


Attempt = Callable[[Lane, Job], Awaitable[Outcome]]
_BROKEN = Outcome(answered=False, over=False)


class Lanes:
    """Runs jobs, at most `pace.most_in_flight` at once; each sender task goes from job to job while there are any.

    `wake` is set when a lane has room for more. `wake_ordered` is set when jobs are left that nobody will do, since the
    one before them failed, their leases are too short or their endpoint was changed: `take_left` returns them.
    """

    def __init__(
        self,
        attempt: Attempt,
        pace: Pace,
        wake: asyncio.Event,
        wake_ordered: asyncio.Event,
        count_unwritten: Callable[[], int] = lambda: 0,
    ) -> None:
        """`count_unwritten` says how many jobs were done whose results are not written down yet."""
        self._attempt = attempt
        self._pace = pace
        self._wake = wake
        self._wake_ordered = wake_ordered
        self._count_unwritten = count_unwritten
        self._lanes: dict[UUID, Lane] = {}
        self._shares: dict[UUID, Share] = {}
        self._turn: deque[Lane] = deque()
        self._senders: set[asyncio.Task[None]] = set()
        self._running: dict[Job, Lane] = {}
        self._slow: set[Job] = set()
        self._left: list[tuple[Lane, Job]] = []
        self._asking: list[Lane] = []
        self._queued = 0
        self._unproven = 0
        self._late = False
        self._closed = False

    def __len__(self) -> int:
        """How many jobs are here: waiting, running, or done and not written down, lest those grow without bounds."""
        return self._queued + len(self._running) + self._count_unwritten()

    def lane(self, target: Target) -> Lane:
        """Return an endpoint's lane, with the target brought up to date."""
        lane = self._lanes.get(target.endpoint_id)
        if lane is None:
            share = self._shares.get(target.account_id)
            if share is None:
                share = self._shares[target.account_id] = Share(0, deque(), self._pace.most_in_memory_per_account)
            lane = self._lanes[target.endpoint_id] = Lane(target, share, self._pace.window)
        elif target.version >= lane.target.version:
            lane.target = target
        lane.used_at = time.monotonic()
        return lane

    def room(self, lane: Lane) -> int:
        """Return how many jobs a lane takes."""
        return lane.room if lane.proven else min(lane.room, self.unproven_room)

    @property
    def unproven_room(self) -> int:
        """How many jobs of endpoints that are not proven there is room for, all together."""
        return max(0, self._pace.most_in_memory // 2 - self._unproven)

    def rooms(self) -> dict[UUID, int]:
        """Return how many jobs a lane takes, of each where that is not what an unknown endpoint is given.

        Lanes for which there is more share a claim, so that few take many at a time, and many keep none waiting long.
        """
        usual = self._pace.claim_per_endpoint
        sharing = sum(lane.more for lane in self._lanes.values())
        most = max(usual, self._pace.claim // max(sharing, 1))
        return {
            endpoint_id: min(room, most)
            for endpoint_id, lane in self._lanes.items()
            if (room := self.room(lane)) < usual or (lane.more and usual < most)
        }

    def look(self) -> dict[UUID, int]:
        """Return the rooms, for a look at what there is more of; whoever asked for that asks no more."""
        rooms = self.rooms()
        for lane in self._asking:
            lane.more = lane.asked = False
        self._asking.clear()
        return rooms

    def add(self, lane: Lane, job: Job) -> None:
        """Queue a job; it starts when it is the lane's turn."""
        lane.push(job)
        lane.share.room -= 1
        self._queued += 1
        if not lane.proven:
            self._unproven += 1
        self._list(lane)

    def start(self) -> None:
        """Let a sender take what has been added; whoever finds more than it takes itself starts the next."""
        if self._turn and self._in_place() < self._pace.most_in_flight:
            task = asyncio.get_running_loop().create_task(self._send())
            self._senders.add(task)
            task.add_done_callback(self._senders.discard)

    def _in_place(self) -> int:
        return len(self._senders) - len(self._slow)

    def take_left(self) -> list[tuple[Lane, Job]]:
        """Return the jobs that are left, whose leases are to be given back."""
        left, self._left = self._left, []
        return left

    def waiting(self) -> list[tuple[UUID, int]]:
        """Return the endpoints that something waits for, each with the version that it would be sent to."""
        return [(endpoint_id, lane.target.version) for endpoint_id, lane in self._lanes.items() if lane.waiting]

    def leave(self, endpoint_id: UUID) -> None:
        """Leave what waits for an endpoint."""
        lane = self._lanes.get(endpoint_id)
        if lane is not None:
            self._leave(lane, lane.clear())

    def set_slow_apart(self, late_s: float) -> None:
        """Let others have the places of attempts that take long; to be called many times a second.

        `late_s` is how much later than it should have been this process came to call it.
        """
        self._late = late_s > _LATE_S
        before = time.monotonic() - self._pace.slow_after_s
        for job in self._running:  # in the order in which they began
            if job.began > before or len(self._slow) >= self._pace.most_slow:
                break
            self._slow.add(job)
        self.start()

    def _list(self, lane: Lane) -> None:
        """Give the lane a turn if it can use one, or else when its next job's time has come."""
        if lane.listed or not lane.queue or lane.in_flight >= lane.window or self._closed:
            return
        wait_s = lane.due_at - time.monotonic()
        if wait_s <= 0:
            lane.listed = True
            self._turn.append(lane)
        elif not lane.timed:
            lane.timed = True
            asyncio.get_running_loop().call_later(wait_s, self._be_in_time, lane)

    def _be_in_time(self, lane: Lane) -> None:
        lane.timed = False
        self._list(lane)
        self.start()

    async def _send(self) -> None:
        while self._turn and self._in_place() <= self._pace.most_in_flight:
            lane = self._turn.popleft()
            lane.listed = False
            job = self._take(lane)
            if job is None:
                continue
            self.start()
            outcome = _BROKEN
            try:
                outcome = await self._attempt(lane, job)
            except Exception:  # an attempt reports its own failures; this is a fault of ours
                log.exception("attempt_broke", endpoint_id=str(lane.target.endpoint_id), event_id=job.webhook_id)
            finally:
                self._give_back(lane, job, outcome)

    def _take(self, lane: Lane) -> Job | None:
        """Return the lane's next job, with a place for it, or None."""
        share = lane.share
        if lane.queue and lane.in_flight < lane.window:
            if share.in_flight >= self._pace.most_in_flight_per_account:
                lane.listed = True  # until a place of its account is given back
                share.stalled.append(lane)
                return None
            now = time.monotonic()
            job = lane.pop(now)
            if now <= job.start_by:
                self._queued -= 1
                job.began = now
                self._running[job] = lane
                lane.in_flight += 1
                share.in_flight += 1
                self._list(lane)
                return job
            # else the lease would be another's before this attempt ended
            self._leave(lane, (job, *lane.give_up(job)))
            self._list(lane)
            self._ask_for_more(lane)
        self._go_on(share)
        return None

    def _give_back(self, lane: Lane, job: Job, outcome: Outcome) -> None:
        """Note that an attempt has ended."""
        del self._running[job]
        self._slow.discard(job)
        lane.in_flight -= 1
        lane.share.in_flight -= 1
        self._let_go(lane)
        if outcome.answered:
            self._widen(lane)
        else:
            lane.window = max(lane.window // 2, 1)
        if outcome.over:
            lane.go_on(job)
        else:
            self._leave(lane, lane.give_up(job))
        self._prove(lane, proven=outcome.answered)
        self._go_on(lane.share)
        self._list(lane)
        self._ask_for_more(lane)

    def _widen(self, lane: Lane) -> None:
        """Let a lane have one attempt more under way, by an answer: with much to do, only by a windowful of them.

        More at once is then not sooner, and each takes a connection.
        """
        lane.answers += 1
        if (lane.waiting or lane.more) and (not self._late or lane.answers >= lane.window):
            lane.window = min(lane.window + 1, self._pace.most_window)
            lane.answers = 0

    def _let_go(self, lane: Lane) -> None:
        """Count a job no more."""
        lane.share.room += 1
        if not lane.proven:
            self._unproven -= 1

    def _leave(self, lane: Lane, jobs: Iterable[Job]) -> None:
        for job in jobs:
            self._queued -= 1
            self._let_go(lane)
            self._left.append((lane, job))
        if self._left:
            self._wake_ordered.set()

    def _prove(self, lane: Lane, *, proven: bool) -> None:
        if bool(lane.proven) != proven:
            self._unproven += (lane.waiting + lane.in_flight) * (-1 if proven else 1)
        lane.proven = proven

    def _go_on(self, share: Share) -> None:
        """Give a turn to a lane that waits for a place of its account, and can still use one."""
        while share.stalled and share.in_flight < self._pace.most_in_flight_per_account:
            lane = share.stalled.popleft()
            lane.listed = False
            self._list(lane)
            if lane.listed:
                return

    def _ask_for_more(self, lane: Lane) -> None:
        if lane.more and not lane.asked and lane.waiting <= lane.capacity // 2:
            lane.asked = True
            self._asking.append(lane)
            self._wake.set()

    def forget_idle(self) -> None:
        """Let go of lanes that have had nothing to do for a minute."""
        before = time.monotonic() - _IDLE_S
        idle = [
            endpoint_id
            for endpoint_id, lane in self._lanes.items()
            if lane.used_at < before and not lane.waiting and not lane.in_flight and not lane.listed
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
        left = [(lane, job) for lane in self._lanes.values() for job in lane.clear()]
        self._queued = 0
        if self._senders:
            await asyncio.wait(set(self._senders), timeout=drain_s)
        left += [(lane, job) for job, lane in self._running.items()]
        await self.kill()
        return left + self.take_left()

    async def kill(self) -> None:
        """Cancel what runs."""
        self._closed = True
        senders = set(self._senders)
        for task in senders:
            task.cancel()
        await asyncio.gather(*senders, return_exceptions=True)


def find_lane(lanes: Lanes, targets: Targets, endpoint: SealedEndpoint) -> Lane | None:
    """Return an endpoint's lane; None where its secrets do not open: its deliveries wait for the right key."""
    try:
        return lanes.lane(targets.of(endpoint))
    except SealError:
        log.exception("endpoint_does_not_open", endpoint_id=str(endpoint.id))
        return None
