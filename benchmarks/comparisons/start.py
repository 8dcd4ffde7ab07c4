"""start: from `ghasi up` to an answer of 200 from the API's health route, on a data folder that is there."""

import argparse
import asyncio
import http.client
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.comparing import Comparison, Contenders, Figures
from tests.end_to_end.deployment import START_S, Deployment, together

POLL_S = 0.01


def health(port: int) -> int:
    """Return the status of the health route; 0 where nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


async def until_healthy(port: int) -> float:
    """Wait until the health route says 200; return the moment."""
    while await asyncio.to_thread(health, port) != 200:
        await asyncio.sleep(POLL_S)
    return time.monotonic()


async def started(ghasi: Deployment) -> Figures:
    """Stop and start `ghasi up`."""
    ghasi.stop("up")
    began = time.monotonic()
    healthy = asyncio.create_task(until_healthy(ghasi.ports["api"]))
    async with asyncio.timeout(START_S):
        await asyncio.to_thread(ghasi.restart, "up")
        ready_s = await healthy - began
    return {"ready_s": ready_s}


@asynccontextmanager
async def opened(_: argparse.Namespace) -> AsyncIterator[Contenders]:
    """Make the data folder by a first start."""
    with together() as ghasi:
        yield {"ghasi up": lambda: started(ghasi)}


START = Comparison("start", "from `ghasi up` to a healthy API, on a data folder that is there", "", opened)
