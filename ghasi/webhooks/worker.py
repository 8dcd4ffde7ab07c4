"""Delivers: follows messages' and billing's outboxes, claims what is due, sends it, and writes what came of it.

A delivery is made at least once: whatever this process had leased when it was killed is due again when the lease ends,
under the same webhook-id. A success is one row (the delivery's own, moved from webhooks.pending to webhooks.deliveries
with the attempt in it); a failed attempt is a row of webhooks.attempts. Nothing is written for an account without
endpoints. What is sent again or as a test is claimed as a retry is; the bell `webhooks` rings for it.
"""

import asyncio
import contextlib
import resource
import time
from collections.abc import Sequence
from dataclasses import replace

import structlog
from prometheus_client import Gauge

from ghasi.storage.pool import UNAVAILABLE, Pool
from ghasi.storage.resources import Resources
from ghasi.webhooks import redaction
from ghasi.webhooks.delivering import billing_feed, delivery_queries
from ghasi.webhooks.delivering.addresses import Lookup, look_up
from ghasi.webhooks.delivering.claiming import BEGINNING, Claims
from ghasi.webhooks.delivering.egress import Egress, open_egress
from ghasi.webhooks.delivering.feed import Feed
from ghasi.webhooks.delivering.lane import Job, Lane
from ghasi.webhooks.delivering.lanes import Lanes, Outcome
from ghasi.webhooks.delivering.recording import Recorder
from ghasi.webhooks.delivering.sending import post
from ghasi.webhooks.delivering.targets import Targets
from ghasi.webhooks.endpoints import failing_queries
from ghasi.webhooks.model import IDEMPOTENCY_WINDOW, PRUNED_AFTER, Pace

log = structlog.get_logger("ghasi.webhooks")
_due = Gauge(
    "ghasi_webhook_due",
    "Deliveries that are due and wait for a worker, or for their endpoint's rate or order",
    multiprocess_mode="livemax",
)
_failing = Gauge(
    "ghasi_webhook_endpoints_failing", "Enabled endpoints whose last attempts failed", multiprocess_mode="livemax"
)
_in_memory = Gauge(
    "ghasi_webhook_in_memory", "Deliveries leased by a worker, waiting or under way", multiprocess_mode="livesum"
)
_GATHER_S = 0.005
_BILLING_AT_ONCE, _BILLING_GATHER_S = 2000, 0.2
"""Most are passed over."""
_FLUSH_S = 2.0
_CLAIM_S = 0.5
_PRUNED_AT_ONCE = 5000
_MOST_COUNTED = 1_000_000
_COUNT_EVERY_S = 15.0
_LOOK_FOR_SLOW_EVERY_S = 0.1
_LOOK_FOR_CHANGED_EVERY_S = 1.0
_OTHER_FILES = 200
"""Open files of everything else in the process: the database's connections, name lookups, idle connections."""
_DEFAULT_PACE = Pace()


def within_open_files(pace: Pace) -> Pace:
    """Return a pace by which attempts do not run out of open files: that would look like the endpoints' fault."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    in_flight = max(1, min(pace.most_in_flight, files // 2))
    return replace(
        pace, most_in_flight=in_flight, most_slow=max(0, min(pace.most_slow, files - in_flight - _OTHER_FILES))
    )


async def work(resources: Resources, *, pace: Pace = _DEFAULT_PACE, lookup: Lookup = look_up) -> None:
    """Deliver until `stopping` is set; then give attempts under way up to 5 s, give the other leases back, and return.

    Cancelled, it stops at once, as a kill would; `pace` and `lookup` are for tests.
    """
    settings, pace = resources.settings, within_open_files(pace)
    async with open_egress(
        private_allowed=settings.dev, timeout_s=pace.timeout_s, lookup=lookup, proxy=settings.webhook_proxy
    ) as egress:
        await _Worker(resources, pace, egress).run()


class _Worker:
    """What one process has under way."""

    def __init__(self, resources: Resources, pace: Pace, egress: Egress) -> None:
        self._resources = resources
        self._pool: Pool = resources.pool
        self._pace = pace
        self._egress = egress
        self._wake = resources.bells.event("webhooks")
        self._wake_ordered = resources.bells.event("webhooks")
        targets = Targets(resources.sealer)
        self._recorder = Recorder(resources.pool, resources.bells, pace, self._wake_ordered.set)
        self._lanes = Lanes(self._attempt, pace, self._wake, self._wake_ordered, self._recorder.__len__)
        self._feed = Feed(self._lanes, targets, pace, self._claim_fed)
        self._claims = Claims(resources.pool, pace, self._lanes, targets)

    async def run(self) -> None:
        """Run the loops until `stopping` is set; should one of them end in an error, so does this."""
        loops = [
            asyncio.create_task(work, name=name)
            for name, work in (
                ("webhooks-feed", self._follow()),
                ("webhooks-feed-billing", self._follow_billing()),
                ("webhooks-claim", self._claim_due()),
                ("webhooks-claim-ordered", self._claim_ordered()),
                ("webhooks-changed", self._leave_changed()),
                ("webhooks-slow", self._set_slow_apart()),
                ("webhooks-housekeeping", self._keep_house()),
                ("webhooks-count", self._count()),
            )
        ]
        stopping = asyncio.create_task(self._resources.stopping.wait(), name="webhooks-stopping")
        try:
            done, _ = await asyncio.wait((stopping, *loops), return_when=asyncio.FIRST_COMPLETED)
            with contextlib.suppress(TimeoutError):  # the database is away
                async with asyncio.timeout(_CLAIM_S):
                    await self._claims.close()
            await _cancel(loops)
            await self._drain()
            for task in done - {stopping}:
                task.result()
        finally:
            await _cancel([stopping, *loops])
            await self._lanes.kill()

    def _claim_fed(self) -> None:
        self._wake.set()
        self._wake_ordered.set()

    async def _follow(self) -> None:
        await self._resources.events.follow(
            "messages", "webhooks", self._feed.handle, gather_s=_GATHER_S, applied=self._feed.hand_over
        )

    async def _follow_billing(self) -> None:
        await self._resources.events.follow(
            "billing",
            "webhooks",
            billing_feed.feed,
            most=_BILLING_AT_ONCE,
            gather_s=_BILLING_GATHER_S,
            applied=self._claim_fed,
        )

    async def _attempt(self, lane: Lane, job: Job) -> Outcome:
        target = lane.target
        answer = await post(self._egress, target, job.webhook_id, job.body)
        over = self._recorder.record(target, job, answer)
        answered = answer.status_code is not None and (
            answer.error is None or answer.error.startswith(("status", "redirect"))
        )
        return Outcome(answered, over)

    async def _claim_due(self) -> None:
        """Claim what is due, whenever there is room: overflow of the feed, retries, and what a killed worker left."""
        after = delivery_queries.NIL
        while True:
            self._wake.clear()
            try:
                count, last = await self._claims.take_due(after)
            except Exception as error:  # whatever it is, the feed goes on and the next poll tries again
                log.exception("claim_failed", error=type(error).__name__)
                count, last = 0, delivery_queries.NIL
            went_round = after == delivery_queries.NIL
            full = len(self._lanes) >= self._pace.most_in_memory
            after = last if count == self._pace.claim or full else delivery_queries.NIL
            if count < self._pace.claim and (went_round or full):
                self._lanes.forget_idle()
                await self._sleep(self._wake)

    async def _claim_ordered(self) -> None:
        """Claim what goes in order, whenever something of it is fed or over."""
        after = BEGINNING
        while True:
            self._wake_ordered.clear()
            try:
                after = await self._claims.take_ordered(after)
            except Exception as error:  # as above
                log.exception("claim_failed", error=type(error).__name__)
                after = BEGINNING
            if after == BEGINNING:
                await self._sleep(self._wake_ordered)

    async def _sleep(self, wake: asyncio.Event) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._pace.poll_s):
                await wake.wait()

    async def _leave_changed(self) -> None:
        """Send no more than a second's work to what an endpoint was before it was changed."""
        while True:
            await asyncio.sleep(_LOOK_FOR_CHANGED_EVERY_S)
            try:
                await self._claims.leave_changed()
            except Exception as error:  # as above
                log.exception("look_for_changed_failed", error=type(error).__name__)

    async def _set_slow_apart(self) -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(_LOOK_FOR_SLOW_EVERY_S)
            self._lanes.set_slow_apart(time.monotonic() - began - _LOOK_FOR_SLOW_EVERY_S)

    async def _drain(self) -> None:
        """End what is under way, give back what is not, and write what is known."""
        left = self._feed.take_back() + await self._lanes.close(self._pace.drain_s)
        try:
            async with asyncio.timeout(_FLUSH_S):
                await self._claims.release(left)
                await self._recorder.drain()
        except UNAVAILABLE as error:  # the leases run out by themselves
            log.warning("drain_failed", error=type(error).__name__, leases=len(left))
        log.info("webhooks_drained", given_back=len(left))

    async def _keep_house(self) -> None:
        """Delete what is older than it is kept, a bounded batch at a time."""
        while True:
            try:
                while await delivery_queries.prune(self._pool, PRUNED_AFTER, _PRUNED_AT_ONCE) == _PRUNED_AT_ONCE:
                    pass
                while (
                    await delivery_queries.prune_idempotency_keys(self._pool, IDEMPOTENCY_WINDOW, _PRUNED_AT_ONCE)
                    == _PRUNED_AT_ONCE
                ):
                    pass
                await redaction.delete_old_texts(
                    self._pool, self._resources.events, self._resources.settings.body_retention_days
                )
            except Exception as error:  # it is tried again; deliveries go on
                log.exception("housekeeping_failed", error=type(error).__name__)
            await asyncio.sleep(self._pace.housekeeping_s)

    async def _count(self) -> None:
        while True:
            with contextlib.suppress(*UNAVAILABLE):
                _due.set(await delivery_queries.count_due(self._pool, _MOST_COUNTED))
                _failing.set(await failing_queries.count_failing(self._pool))
            _in_memory.set(len(self._lanes))
            await asyncio.sleep(_COUNT_EVERY_S)


async def _cancel(tasks: Sequence[asyncio.Task[None] | asyncio.Task[bool]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
