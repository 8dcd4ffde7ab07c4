"""How a process of Ghasi begins and ends: uvloop, SIGTERM and SIGINT that drain, and a limit to draining.

A second signal changes nothing. Knows no part.
"""

import asyncio
import contextlib
import gc
import os
import resource
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

DRAIN_LIMIT_S = 12
_FILES = 65_536


class Lifetime:
    """`stopping` is set by SIGTERM, by SIGINT, or when the supervisor's end of `lifeline` closes."""

    def __init__(self, lifeline: int | None = None, *, limit_s: int | None = DRAIN_LIMIT_S) -> None:
        self.stopping = asyncio.Event()
        self._limit_s = limit_s
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # it is under nohup
            loop.add_signal_handler(signal.SIGHUP, self.stop)
        if lifeline is not None:
            os.set_blocking(lifeline, False)
            loop.add_reader(lifeline, self._lifeline_moved, lifeline)

    def stop(self) -> None:
        """Begin to drain."""
        if self.stopping.is_set():
            return
        self.stopping.set()
        if self._limit_s is not None:
            # the kernel ends this process then, even one whose loop hangs: SIGALRM has its default action
            signal.alarm(self._limit_s)

    def _lifeline_moved(self, lifeline: int) -> None:
        """Nothing is ever written to it: it moves when the other end closes."""
        asyncio.get_running_loop().remove_reader(lifeline)
        self.stop()


def run(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run a program's coroutine on uvloop; returns its exit code."""
    # a request makes hundreds of objects that live until its batch is committed: at the default of 700 the collector
    # runs through all of them several times a request batch, and finds nothing
    gc.set_threshold(50_000, 20, 50)
    allow_many_files()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def allow_many_files() -> None:
    """Let this process open as many connections as it is allowed at all: a thousand, as is usual, are soon needed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # macOS has a bound of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
