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
LOOK_EACH_S = 10
MOST_GROWTH_BYTES = 32 * 1024 * 1024


class Finding(Exception):  # noqa: N818 - it is what was looked for
    """A target failed; its text says how to repeat that."""


async def run_examples(seeds: Iterator[int], *, until: float | None, note: bool = False) -> Counter[str]:
    """Run each target once a seed until the seeds or the time are over; raises Finding.

    With a time, one that hangs ends the process with a traceback, and memory that grows is a finding, too.
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    fuzz, counts = Fuzz(), Counter[str]()
    loop, heard = asyncio.get_running_loop(), list[str]()
    loop.set_exception_handler(lambda _, context: heard.append(repr(context)))
    memory = Memory(note=note)
    try:
        for number, seed in enumerate(seeds):
            if number % BATCH == 0 and until is not None:
                faulthandler.dump_traceback_later(HUNG_AFTER_S, exit=True)
                if time.monotonic() > until:
                    break
                memory.look(f"{counts.total():,} examples, {fuzz.brought:,} deliveries read")
            for name, target in fuzz.targets.items():
                try:
                    await target(random.Random(f"{name} {seed}"))
                except Exception as error:
                    raise Finding(f"{name} fails: python -m tests.fuzz --only {name} --seed {seed}") from error
                counts[name] += 1
            if heard:
                raise Finding(f"an exception reached the event loop at seed {seed}: {heard[0]}")
    finally:
        if until is not None:
            faulthandler.cancel_dump_traceback_later()
    return counts


class Memory:
    """Looks every ten seconds at what this process holds; the first look comes after all that is cached is there."""

    def __init__(self, *, note: bool) -> None:
        self._note = note
        self._looked = time.monotonic()
        self._first: int | None = None

    def look(self, so_far: str) -> None:
        """Print how far it is; raises Finding when memory has grown."""
        if time.monotonic() - self._looked < LOOK_EACH_S:
            return
        self._looked = time.monotonic()
        held = resident_bytes()
        self._first = self._first or held
        if self._note:
            sys.stdout.write(f"{so_far}, {held >> 20} MiB\n")
            sys.stdout.flush()
        if held - self._first > MOST_GROWTH_BYTES:
            raise Finding(f"memory has grown by {(held - self._first) >> 20} MiB")


def resident_bytes() -> int:
    """Return what this process holds of the machine's memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
