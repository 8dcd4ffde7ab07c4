"""One endpoint's queue in a worker: what waits for a place, for its time, or for the one before it.

Owns the order of an endpoint's jobs. Which endpoint is next is lanes' to say; knows no HTTP and no SQL.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from uuid import UUID

from ghasi.webhooks.delivering.targets import Target

_QUEUE_PER_PLACE = 16
_QUEUE_OF_UNKNOWN = 16


@dataclass(slots=True, eq=False)
class Job:
    """One attempt to be made; `start_by` is the monotonic time after which its lease is too short for it.

    With an `order_key` it waits for the job of that key before it. `hold_until` is how long, having failed before, it
    holds up those behind it. Nothing begins before `not_before`, a monotonic time too.
    """

    event_id: UUID
    webhook_id: str
    body: bytes
    attempts: int
    claims: int
    at: datetime
    start_by: float
    attempts_before: int = 0
    order_key: str | None = None
    hold_until: datetime | None = None
    not_before: float = 0.0
    began: float = 0.0


@dataclass(slots=True, eq=False)
class Share:
    """What an account has in flight, and its lanes that wait for that to fall."""

    in_flight: int
    stalled: "deque[Lane]"
    room: int


@dataclass(slots=True, eq=False)
class Lane:
    """One endpoint's jobs; `more` when the database had more for it than there was room for.

    `asked` while there is room for some of that, and nobody has looked for it yet.

    `window` is how many of its attempts may run together, `answers` how many came since it widened. It is `proven` once
    an attempt was answered, until one is not, and neither before the first: an endpoint that does not answer gets no
    more than it has places for.
    """

    target: Target
    share: Share
    window: int
    queue: deque[Job] = field(default_factory=deque)
    behind: dict[str, deque[Job]] = field(default_factory=dict)
    waiting: int = 0
    in_flight: int = 0
    answers: int = 0
    proven: bool | None = None
    listed: bool = False
    timed: bool = False
    more: bool = False
    asked: bool = False
    used_at: float = 0.0
    paced_at: float = 0.0
    """Of an endpoint with a rate: not before then, however late those before it were."""

    @property
    def capacity(self) -> int:
        """How many jobs may wait here: of an endpoint with a rate, a second's."""
        if self.proven is None:
            places = max(self.window, _QUEUE_OF_UNKNOWN)
        else:
            places = self.window * (_QUEUE_PER_PLACE if self.proven else 1)
        rate = self.target.rate_per_s
        return places if rate is None else min(places, rate)

    @property
    def room(self) -> int:
        """How many more jobs it takes."""
        return max(0, min(self.capacity - self.waiting, self.share.room))

    def push(self, job: Job) -> None:
        """Queue a job: behind those of its key, if there are any."""
        self.waiting += 1
        if job.order_key is not None:
            if job.order_key in self.behind:
                self.behind[job.order_key].append(job)
                return
            self.behind[job.order_key] = deque()
        self.queue.append(job)

    @property
    def due_at(self) -> float:
        """When the job that is next may begin."""
        return max(self.queue[0].not_before, self.paced_at)

    def pop(self, now: float) -> Job:
        """Take the job that is next, to begin now; its key is taken until it has gone on or been given up."""
        self.waiting -= 1
        if self.target.rate_per_s is not None:
            self.paced_at = now + 1 / self.target.rate_per_s
        return self.queue.popleft()

    def go_on(self, job: Job) -> None:
        """Let the job behind one that is over be next of its key."""
        if job.order_key is None:
            return
        behind = self.behind[job.order_key]
        if behind:
            self.queue.append(behind.popleft())
        else:
            del self.behind[job.order_key]

    def give_up(self, job: Job) -> Iterable[Job]:
        """Take out and return what waits behind a job that is not over."""
        if job.order_key is None:
            return ()
        behind = self.behind.pop(job.order_key)
        self.waiting -= len(behind)
        return behind

    def clear(self) -> list[Job]:
        """Take out and return all that waits; the keys of what is under way stay taken."""
        jobs = [*self.queue, *chain(*self.behind.values())]
        for job in self.queue:
            if job.order_key is not None:
                del self.behind[job.order_key]
        self.queue.clear()
        for behind in self.behind.values():
            behind.clear()
        self.waiting = 0
        return jobs
