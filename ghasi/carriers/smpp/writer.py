"""What is to be written to one socket, and when.

Owns the batching of PDUs into one write, the spacing of submits, and which submits never reached the socket. Knows no
PDU from another.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from ghasi.carriers.binds import Lease

PACE_S = 0.01
"""Submits that fall due within this time are written together."""
MOST_HELD_BACK = 50_000
"""PDUs that wait for a socket that takes nothing; a peer that floods us with requests and never reads is dropped."""


class Writer:
    """Writes in turns of the event loop, and nothing once the lease has run out.

    `abort` is called with the cause when the socket is of no use any more.
    """

    __slots__ = (
        "_abort",
        "_flush_scheduled",
        "_lease",
        "_loop",
        "_paced",
        "_pacer",
        "_queue",
        "_unwritten",
        "paused_since",
        "transport",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, lease: Lease, abort: Callable[[str], None]) -> None:
        self._loop = loop
        self._lease = lease
        self._abort = abort
        self._queue: list[bytes] = []
        self._unwritten: list[int] = []
        self._paced: deque[tuple[float, int, bytes]] = deque()
        self._pacer: asyncio.TimerHandle | None = None
        self._flush_scheduled = False
        self.transport: asyncio.Transport | None = None
        self.paused_since: float | None = None
        """Since when the socket takes nothing more."""

    def send(self, data: bytes) -> None:
        """Write a PDU at the end of this turn of the loop."""
        self._queue.append(data)
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self.flush)

    def submit(self, sequence: int, data: bytes, due: float | None = None) -> None:
        """Write a submit like `send`, or once it is due (the loop's time); never before those submitted earlier."""
        if due is None:
            self._unwritten.append(sequence)
            self.send(data)
            return
        self._paced.append((due, sequence, data))
        if self._pacer is None:
            self._pacer = self._loop.call_at(due, self._send_due)

    def flush(self) -> None:
        """Write all PDUs of this turn of the loop at once."""
        self._flush_scheduled = False
        if time.monotonic() >= self._lease.until:  # a stopped process wakes here, and another may have the bind by now
            self._abort("its lease has run out")
            return
        if self.paused_since is not None:
            if len(self._queue) > MOST_HELD_BACK:
                self._abort("the socket took nothing while requests came in")
            return
        if self._queue and self.transport is not None and not self.transport.is_closing():
            data = b"".join(self._queue)
            self._queue.clear()
            self._unwritten.clear()
            self.transport.write(data)

    def pause(self) -> None:
        """Keep PDUs back until the socket has taken what it was given."""
        self.paused_since = self._loop.time()

    def resume(self) -> None:
        """Write what was kept back."""
        self.paused_since = None
        if self._queue:
            self.flush()

    def take_back(self) -> list[int]:
        """Return the submits that are not due yet, and forget them."""
        waiting = [sequence for _, sequence, _ in self._paced]
        self._paced.clear()
        return waiting

    def close(self) -> set[int]:
        """Forget everything; return the submits that were never written."""
        if self._pacer is not None:
            self._pacer.cancel()
        unwritten = {*self._unwritten, *self.take_back()}
        self._unwritten.clear()
        self._queue.clear()
        return unwritten

    def _send_due(self) -> None:
        """Write the submits that are due, and come again for the rest."""
        self._pacer = None
        now, paced = self._loop.time(), self._paced
        while paced and paced[0][0] <= now:
            _, sequence, data = paced.popleft()
            self._unwritten.append(sequence)
            self.send(data)
        if paced:
            self._pacer = self._loop.call_at(max(paced[0][0], now + PACE_S), self._send_due)
