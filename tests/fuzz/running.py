"""Runs targets for a time, or for a number of examples; a failure names the seed that repeats it."""

import asyncio
import faulthandler
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import structlog

from tests.fuzz.targets import Fuzz

HUNG_AFTER_S = 20
BATCH = 500
MOST_GROWTH_BYTES = 32 * 1024 * 1024


class Finding(Exception):  # noqa: N818 - it is what was looked for
    """A target failed; its text says how to repeat that."""


async def run_examples(seeds: Iterator[int], *, until: float | None, note: bool = False) -> Counter[str]:
    """Run each target once a seed until the seeds or the time are over; raises Finding."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    fuzz, counts = Fuzz(), Counter[str]()
    loop, heard = asyncio.get_running_loop(), list[str]()
    loop.set_exception_handler(lambda _, context: heard.append(repr(context)))
    grown_from: int | None = None
    noted = time.monotonic()
    for number, seed in enumerate(seeds):
        if number % BATCH == 0:
            faulthandler.dump_traceback_later(HUNG_AFTER_S, exit=True)
            if until is not None and time.monotonic() > until:
                break
            await asyncio.sleep(0)
        for name, target in fuzz.targets.items():
            try:
                await target(random.Random(f"{name} {seed}"))
            except Exception as error:
                raise Finding(f"{name} fails: python -m tests.fuzz --only {name} --seed {seed} --count 1") from error
            counts[name] += 1
        if heard:
            raise Finding(f"an exception reached the event loop at seed {seed}: {heard[0]}")
        if until is not None and time.monotonic() - noted > 10:
            noted = time.monotonic()
            grown_from = grown_from or resident_bytes()  # after ten seconds all that is cached is there
            grown = resident_bytes() - grown_from
            if note:
                sys.stdout.write(
                    f"{counts.total():,} examples, {fuzz.brought:,} deliveries read, {resident_bytes() >> 20} MiB\n"
                )
                sys.stdout.flush()
            if grown > MOST_GROWTH_BYTES:
                raise Finding(f"memory has grown by {grown >> 20} MiB")
    faulthandler.cancel_dump_traceback_later()
    return counts


def resident_bytes() -> int:
    """Return what this process holds of the machine's memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
