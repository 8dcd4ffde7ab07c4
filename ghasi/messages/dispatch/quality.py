"""How well carriers deliver: messages that ended after a carrier took them, counted by carrier, country and hour.

Owns the counts of this process until they are written and what routing reads of everybody's. A count that a crash takes
along is lost: quality steers, and bills nobody.
"""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from ghasi.carriers.routing_question import Quality
from ghasi.messages.dispatch import carrier_queries as queries
from ghasi.storage.pool import UNAVAILABLE, Pool

WINDOW_HOURS = 6
"""How far back routing looks, the running hour included."""
KEPT_DAYS = 30
FLUSHED_EVERY_S = 1.0

log = structlog.get_logger("ghasi.dispatch")


@dataclass(slots=True)
class _Count:
    messages: int = 0
    delivered: int = 0
    latency_s: float = 0.0


@dataclass(slots=True)
class QualityCounts:
    """Counts since they were last written, by carrier and country ('' where the number tells none)."""

    counts: dict[tuple[str, str], _Count] = field(default_factory=dict)
    flushed_at: float = field(default_factory=time.monotonic)
    flushing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def ended(self, carrier: str, country: str | None, *, again: bool, sent_to_delivered_s: float | None) -> None:
        """Count a message's end; `again`: it was unknown, and counts as ended already. None: it was not delivered."""
        count = self.counts.get((carrier, country or ""))
        if count is None:
            count = self.counts[carrier, country or ""] = _Count()
        if not again:
            count.messages += 1
        if sent_to_delivered_s is not None:
            count.delivered += 1
            count.latency_s += sent_to_delivered_s

    async def flush_due(self, pool: Pool) -> None:
        """Write the counts if the last time is a second ago; a database that is away gets them another time."""
        if self.counts and time.monotonic() - self.flushed_at >= FLUSHED_EVERY_S:
            await self.flush(pool)

    async def flush(self, pool: Pool) -> None:
        """Write the counts now."""
        async with self.flushing:
            counts, self.counts = self.counts, {}
            self.flushed_at = time.monotonic()
            rows = [
                (carrier, country, count.messages, count.delivered, count.latency_s)
                for (carrier, country), count in sorted(counts.items())
            ]
            if not rows:
                return
            try:
                await queries.add_quality(pool, rows)
            except UNAVAILABLE as error:
                log.warning("quality_not_written", error=type(error).__name__)
                for key, lost in counts.items():
                    count = self.counts.setdefault(key, _Count())
                    count.messages += lost.messages
                    count.delivered += lost.delivered
                    count.latency_s += lost.latency_s


async def read_quality(pool: Pool, *, now: datetime | None = None) -> dict[tuple[str, str | None], Quality]:
    """Return the last hours' quality by carrier and country, None for numbers that tell no country."""
    return {
        (carrier, country or None): Quality(
            messages=messages,
            # a message that was counted as ended in an hour before may be delivered in this one
            delivery_rate=min(1.0, delivered / messages),
            latency_s=latency_s / delivered if delivered else None,
        )
        for carrier, country, messages, delivered, latency_s in await queries.sum_quality(pool, WINDOW_HOURS, now)
        if messages
    }
