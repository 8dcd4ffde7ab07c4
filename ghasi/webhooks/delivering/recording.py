"""What follows from an attempt (the end, another try, or the endpoint's) and how it is written: many at once.

An answer of 2xx ends a delivery; anything else is tried again after the schedule's next delay, give or take a fifth,
and after the last of them no more; a resend begins the schedule anew. What goes in order holds up those behind it for
as long as its endpoint says, from its first attempt on. What
an attempt means for the endpoint is failing's, and who is told of it notices'. Sends nothing itself.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import structlog
from prometheus_client import Counter, Histogram

from ghasi.storage.batch import Batcher, QueueFullError
from ghasi.storage.bells import Bells
from ghasi.storage.pool import Pool
from ghasi.webhooks.delivering import delivery_queries
from ghasi.webhooks.delivering.lane import Job
from ghasi.webhooks.delivering.sending import Answer
from ghasi.webhooks.delivering.targets import Target
from ghasi.webhooks.endpoints import failing, failing_queries, notices
from ghasi.webhooks.model import EXHAUSTED, RETRY, SUCCEEDED, Pace, Result

log = structlog.get_logger("ghasi.webhooks")
_attempts = Counter("ghasi_webhook_attempts_total", "Attempts to deliver an event, by what became of them", ["outcome"])
_latency_s = Histogram(
    "ghasi_webhook_delivery_seconds",
    "From an event to its successful delivery",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600, 36000),
)
_MOST_AT_ONCE = 2000
"""Results written together: as many as come while a busy worker writes those before them."""
_GATHER_S = 0.1
_BY_OUTCOME = {
    outcome: _attempts.labels("retried" if outcome == RETRY else outcome) for outcome in (SUCCEEDED, RETRY, EXHAUSTED)
}


def judge(target: Target, job: Job, answer: Answer, pace: Pace) -> Result:
    """Decide what an attempt means for its delivery."""
    number = job.attempts + 1
    step = number - job.attempts_before
    due_in_s = anew_in_s = hold_until = None
    if answer.error is None:
        outcome = SUCCEEDED
    else:
        outcome = EXHAUSTED if step > len(pace.schedule_s) else RETRY
        anew_in_s = delay_s(1, answer.retry_after_s, pace)
        due_in_s = anew_in_s if outcome == EXHAUSTED else delay_s(step, answer.retry_after_s, pace)
        if job.order_key is not None:
            hold_until, left_s = _hold(target, job, answer)
            if left_s is not None and outcome == RETRY:
                outcome = RETRY if left_s > 0 else EXHAUSTED
                due_in_s = min(due_in_s, max(left_s, 0.0))
    return Result(
        target.endpoint_id,
        job.event_id,
        job.claims,
        job.attempts_before,
        number,
        outcome,
        answer.at,
        answer.duration_ms,
        answer.status_code,
        answer.error,
        answer.response,
        due_in_s,
        anew_in_s,
        target.version,
        hold_until,
    )


def _hold(target: Target, job: Job, answer: Answer) -> tuple[datetime, float | None]:
    """Return until when a failed job holds up those behind it, and in how many seconds it is given up if it is then."""
    hold_s = 0 if target.fifo is None else target.fifo.hold_s
    hold_until = job.hold_until or answer.at + timedelta(seconds=hold_s)
    if target.fifo is None or target.fifo.after_hold != "drop":
        return hold_until, None
    return hold_until, (hold_until - datetime.now(UTC)).total_seconds()


def delay_s(step: int, retry_after_s: float | None, pace: Pace) -> float:
    """Return the seconds to wait after the schedule's failed attempt `step`, counted from 1.

    Retry-After makes it longer, at most twice as long.
    """
    delay = pace.schedule_s[step - 1] * random.uniform(1 - pace.jitter, 1 + pace.jitter)  # noqa: S311 - no secret
    return delay if retry_after_s is None else min(max(delay, retry_after_s), 2 * delay)


class Recorder:
    """Writes results in the order they come, as many at a time as have gathered."""

    def __init__(self, pool: Pool, bells: Bells, pace: Pace, written: Callable[[], None]) -> None:
        """`written` is called once the result of a job that goes in order is committed."""
        self._pool = pool
        self._bells = bells
        self._pace = pace
        self._written = written
        self._batcher: Batcher[Result, None] = Batcher(
            self._write, name="webhook attempts", most=_MOST_AT_ONCE, attempts=None, gather_s=_GATHER_S
        )

    def __len__(self) -> int:
        """How many results wait to be written."""
        return len(self._batcher)

    def record(self, target: Target, job: Job, answer: Answer) -> bool:
        """Queue what became of an attempt, and tell whether its delivery is over; what is lost is attempted again."""
        result = judge(target, job, answer, self._pace)
        _BY_OUTCOME[result.outcome].inc()
        if result.outcome == SUCCEEDED and not job.attempts_before:
            _latency_s.observe((datetime.now(UTC) - job.at).total_seconds())
        try:
            # others of its order wait for it
            written = self._batcher.put(result, urgent=job.order_key is not None or result.outcome != SUCCEEDED)
        except QueueFullError:
            log.warning("result_dropped", endpoint_id=str(result.endpoint_id), event_id=str(result.event_id))
        else:
            if job.order_key is not None:
                written.add_done_callback(lambda _: self._written())
        return result.outcome != RETRY

    async def drain(self) -> None:
        """Wait until all is written."""
        await self._batcher.drain()

    async def _write(self, results: Sequence[Result], again: bool) -> Sequence[None]:
        del again  # every statement is safe to repeat
        over = [result for result in results if result.outcome != RETRY]
        failed = [result for result in results if result.error is not None]
        tried = failing.sum_up(results)
        # endpoints before their deliveries, as whoever changes an endpoint or sends again locks them: no deadlock
        if not failed:
            # each by itself, and at once: a busy loop makes every wait long
            await asyncio.gather(failing_queries.clear(self._pool, tried), delivery_queries.finish(self._pool, over))
            return [None] * len(results)
        async with self._pool.acquire() as connection, connection.transaction():
            verdicts = await failing.judge(connection, tried, self._pace)
            await delivery_queries.insert_attempts(connection, failed)
            exhausted = await delivery_queries.finish(connection, over) if over else set()
            await delivery_queries.postpone(connection, failed)
            await failing.close(connection, verdicts)
            told = notices.of_verdicts(verdicts, self._pace)
            told += await notices.of_exhausted(connection, exhausted, failed)
            is_written = await notices.write(connection, told)
        failing.report(verdicts)
        if is_written:
            self._bells.ring("webhooks")
        return [None] * len(results)
