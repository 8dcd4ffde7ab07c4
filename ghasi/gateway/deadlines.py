"""Ends what takes too long, by one timer for all: what is in time, as nearly all is, sets none and stops none.

Owns nothing but the time. It is asyncio.timeout for many at a time, up to TICK_S late.
"""

import asyncio
from types import TracebackType
from typing import Self

TICK_S = 0.02


class Deadlines:
    """All that runs against time in one event loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: set[Deadline] = set()
        self._ticking = False

    def within(self, seconds: float) -> "Deadline":
        """Return a context that is cancelled after so many seconds, and raises TimeoutError then."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return Deadline(self, self._loop, seconds)

    def begin(self, deadline: "Deadline") -> None:
        """Watch over a deadline from now on."""
        self._running.add(deadline)
        if not self._ticking and self._loop is not None:
            self._ticking = True
            self._loop.call_later(TICK_S, self._tick)

    def end(self, deadline: "Deadline") -> None:
        """Watch over a deadline no longer."""
        self._running.discard(deadline)

    def _tick(self) -> None:
        if self._loop is None or not self._running:
            self._ticking = False
            return
        now = self._loop.time()
        for deadline in [deadline for deadline in self._running if deadline.at <= now]:
            self._running.discard(deadline)
            deadline.pass_by()
        self._loop.call_later(TICK_S, self._tick)


class Deadline:
    """One of them, for one task: entered once."""

    __slots__ = ("_cancelling", "_deadlines", "_passed", "_task", "at")

    def __init__(self, deadlines: Deadlines, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._deadlines = deadlines
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("only a task runs against time")
        self._task = task
        self._cancelling = task.cancelling()
        self._passed = False
        self.at = loop.time() + seconds

    def __enter__(self) -> Self:
        self._deadlines.begin(self)
        return self

    def pass_by(self) -> None:
        """Cancel what did not end in time."""
        self._passed = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._deadlines.end(self)
        # cancelled by others as well, it stays cancelled
        if self._passed and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
