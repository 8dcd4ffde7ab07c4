"""webhooks: deliveries of one worker to few and to many endpoints, beside a bare aiohttp loop.

For each delivery an event is written to messages' outbox, all at once; they are followed, fed, claimed, sent and
written down. The loop sends as many of the same bodies to the same hosts, as many at once as the worker has places.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.comparing import Comparison, Contenders
from benchmarks.webhook_worker import webhook_worker

ENDPOINTS = (1, 100, 5000)
DELIVERIES_A_SECOND = 2000
"""How many are given for each second that a measurement should take."""


def words(endpoints: int) -> str:
    """Say to how many endpoints."""
    return f"{endpoints:,} endpoint{'' if endpoints == 1 else 's'}"


@asynccontextmanager
async def opened(options: argparse.Namespace) -> AsyncIterator[Contenders]:
    """Run a worker over a database with all the endpoints."""
    deliveries = int(options.seconds * DELIVERIES_A_SECOND)
    async with webhook_worker(max(ENDPOINTS)) as bench:
        for count in ENDPOINTS:
            await bench.add_endpoints(count)
        with bench.working() as worker:
            contenders: Contenders = {}
            for count in ENDPOINTS:
                contenders[f"bare loop, {words(count)}"] = lambda count=count: asyncio.to_thread(
                    bench.loop, count, deliveries
                )
                contenders[f"worker, {words(count)}"] = lambda count=count: bench.rate(worker, count, deliveries)
            yield contenders


WEBHOOKS = Comparison(
    "webhooks",
    "deliveries of one worker, beside a bare aiohttp loop that sends the same bodies, signed alike",
    "deliveries/s",
    opened,
    {f"worker, {words(count)}": (f"bare loop, {words(count)}",) for count in ENDPOINTS},
)
