"""cycle: full cycles as fast as they go, then at a fixed rate of half of that, with the latency of each step.

Memory is watched at that half, where a machine that is sized well spends its day.
"""

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.comparing import Comparison, Contenders, Figures
from benchmarks.whole import Whole, whole

SATURATED, HALF = "closed loop", "open loop, half"


@asynccontextmanager
async def opened(options: argparse.Namespace) -> AsyncIterator[Contenders]:
    """Run all of Ghasi; the half is of the cycles a second that the same round saw."""
    async with whole() as running:
        seen = {}

        async def saturated() -> Figures:
            figures = await running.cycles(running.order(options.seconds, options.connections))
            seen["per_s"] = figures["per_s"]
            return figures | {"billed": await running.billed()}

        async def half() -> Figures:
            return await at_half(running, seen["per_s"], options)

        yield {SATURATED: saturated, HALF: half}


async def at_half(running: Whole, saturated_per_s: float, options: argparse.Namespace) -> Figures:
    """Run an open loop at half of a rate; `rate` is what was asked for."""
    rate = saturated_per_s / 2
    figures = await running.cycles_with_memory(running.order(options.seconds, options.connections, rate))
    return figures | {"rate": rate}


CYCLE = Comparison(
    "cycle",
    "POST -> SMPP -> receipt -> signed webhook -> rated usage, closed loop, and by an open loop at half of that rate",
    "cycles/s",
    opened,
)
