"""What parts know of events between services: the interface, which PostgreSQL and NATS JetStream have in common.

Owns the promises, the loop that every reader runs, and the metrics. What both promise: each event that was committed is
applied by every consumer, in the order of the outbox; a consumer writes its rows and its position in one transaction; a
batch that cannot be applied stays where it is and is seen; of several processes one at a time reads for a consumer, and
another goes on when it dies. An event may come again: handlers are idempotent by its id.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

import structlog
from prometheus_client import Counter, Gauge

from ghasi.storage.events.outbox import Handler
from ghasi.storage.pool import Connection

POLL_S = 0.25
LONGEST_BACKOFF_S = 10.0
MOST = 500
PRUNED_AT_ONCE = 10_000
RELAY = "relay"
"""What the relay of a source is called where consumers are named."""

log = structlog.get_logger("ghasi.storage")
lag = Gauge(
    "ghasi_outbox_lag_seconds", "Age of the oldest event not read yet", ["source", "consumer"],
    multiprocess_mode="livemax",
)  # fmt: skip
read = Counter("ghasi_outbox_events_total", "Events read", ["source", "consumer"])
_failures = Counter(
    "ghasi_outbox_failures_total", "Batches of events that could not be applied", ["source", "consumer"]
)


class CarrierAwayError(Exception):
    """What carries the events is not to be reached: they wait, and it is tried again within a second."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a consumer, or the relay, has read a source.

    `place` is where it stands, in the terms of who carries; `behind` counts the events before it (None: not known);
    `read_until`: all that happened before has been read.
    """

    source: str
    consumer: str
    carried_by: str
    place: str
    behind: int | None
    read_until: datetime | None

    @property
    def lag_s(self) -> float | None:
        """How old what it has not read may be; None: not known."""
        if self.behind == 0:
            return 0.0
        return None if self.read_until is None else (datetime.now(UTC) - self.read_until).total_seconds()


class Events(Protocol):
    """Events between services, as one service sees them: it reads others' as a consumer, and its own are a source.

    It knows its own database alone. Consumers and sources are named by their schemas.
    """

    async def follow(
        self,
        source: str,
        consumer: str,
        handle: Handler,
        *,
        most: int = MOST,
        gather_s: float = 0.0,
        applied: Callable[[], None] = lambda: None,
    ) -> None:
        """Apply a source's events until cancelled, up to `most` in one transaction.

        The first after a lull are applied at once; while they keep coming they gather, for `gather_s` at a time.
        `handle` runs in the transaction that moves the position: it writes to the consumer's schema and does no other
        I/O. `applied` is called after the commit of each batch that held events, to ring for what it gave others to do.
        """

    async def relay(self, source: str) -> None:
        """Hand a source's events on to its consumers, until cancelled; returns at once where they read its outbox."""

    async def has_read_until(self, source: str, consumer: str, until: datetime) -> bool:
        """Whether the consumer has read every event that happened before `until`.

        A transaction that still runs may not be seen: write transactions stay under 2 s, so ask some seconds later.
        """

    async def prune(self, source: str, keep: timedelta, most: int = PRUNED_AT_ONCE) -> int:
        """Delete up to `most` events of an outbox that were handed on and are older than `keep`; return how many."""

    async def replay(self, connection: Connection, source: str, consumer: str, since: datetime) -> None:
        """Let a consumer read again what happened since then, as far as it is kept; harmless: it is idempotent.

        Within the caller's transaction, on the consumer's database.
        """

    async def rewrite(self, source: str, subjects: Mapping[UUID, UUID], change: Callable[[str], str | None]) -> None:
        """Change the data of subjects' events, given with their accounts, in all that keeps them but the outbox.

        `change` returns what the data shall be instead, or None where it may stay. The outbox has been changed before,
        and is its service's. Raises CarrierAwayError; safe to repeat.
        """

    async def standing(self, source: str, consumer: str) -> Standing:
        """Return how far a consumer has read; the relay's is a source's own, by the name of RELAY."""


async def prune_old(events: Events, source: str, keep: timedelta) -> None:
    """Delete all events of an outbox that were handed on and are older than `keep`, some thousands at a time.

    Some at a time may be too young: as long as most are not, there are more.
    """
    while await events.prune(source, keep, PRUNED_AT_ONCE) > PRUNED_AT_ONCE // 2:
        pass


async def repeat(
    turn: Callable[[], Awaitable[bool]],
    source: str,
    consumer: str,
    wake: asyncio.Event | None = None,
    gather_s: float = 0.0,
) -> None:
    """Take turns until cancelled: the next at once after a True, else when `wake` is set, after 250 ms anyway.

    Save after a True, `gather_s` lies between the beginnings of two: a turn costs its statements however few events it
    has. A turn that fails is logged and tried again, at growing distances.
    """
    wake = wake or asyncio.Event()
    backoff_s = POLL_S
    while True:
        began = time.monotonic()
        wake.clear()
        try:
            more = await turn()
            backoff_s = POLL_S
        except CarrierAwayError:
            await asyncio.sleep(POLL_S)  # who connects has a back-off of its own, and says so
            continue
        except Exception as error:  # a bad batch must not end the consumer; it stays where it is and is seen
            _failures.labels(source, consumer).inc()
            log.exception("outbox_consumer_failed", source=source, consumer=consumer, error=type(error).__name__)
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, LONGEST_BACKOFF_S)
            continue
        if not more:
            # not asyncio.wait_for: before Python 3.12 it swallows a cancellation that comes just as the event is set
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await wake.wait()
            if (early_s := began + gather_s - time.monotonic()) > 0:
                await asyncio.sleep(early_s)
