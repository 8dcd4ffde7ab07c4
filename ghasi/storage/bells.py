"""Wakes workers in this process and in others, so that they need not wait for their next poll.

NOTIFY takes a cluster-wide lock at commit: it is never part of a hot transaction, follows it, and goes out at most 20
times a second a channel. A lost ring costs one poll.
"""

import asyncio
import contextlib
import time

import asyncpg
import structlog

from ghasi.storage.pool import Pool

SHORTEST_S = 0.05
CHANNELS = ("auth", "messages", "webhooks", "billing", "dispatch", "aside", "binds")
"""A service's name rings when its outbox has more; `dispatch` when messages were accepted, `aside` when some lie aside
for another worker, `binds` when a worker has given back binds of carriers."""
log = structlog.get_logger("ghasi.storage")


class Bells:
    """Named events: `ring` sets one here and in every process that listens."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._here: dict[str, list[asyncio.Event]] = {channel: [] for channel in CHANNELS}
        self._last: dict[str, float] = {}
        self._ringing: dict[str, asyncio.Task[None]] = {}

    def event(self, channel: str) -> asyncio.Event:
        """Make an event that is set when the channel rings. It is one waiter's own, who clears it."""
        event = asyncio.Event()
        self._here[channel].append(event)
        return event

    def ring(self, channel: str) -> None:
        """Wake whoever waits for the channel, after the commit that gives them something to do; returns at once."""
        self._wake(channel)
        if channel not in self._ringing:
            self._ringing[channel] = asyncio.get_running_loop().create_task(self._notify(channel))

    def _wake(self, channel: str) -> None:
        for event in self._here[channel]:
            event.set()

    async def _notify(self, channel: str) -> None:
        try:
            await asyncio.sleep(max(0.0, self._last.get(channel, 0.0) + SHORTEST_S - time.monotonic()))
            self._last[channel] = time.monotonic()
            await self._pool.execute("SELECT pg_notify($1, '')", f"ghasi_{channel}", timeout=2)
        except Exception as error:  # noqa: BLE001 - a poll follows anyway
            log.debug("ring_failed", channel=channel, error=type(error).__name__)
        finally:
            del self._ringing[channel]

    async def listen(self, url: str, name: str = "ghasi") -> None:
        """Set this process's events as others ring, until cancelled; reconnects when the connection is lost.

        `name` is the connection's application_name, and there as long as this process is.
        """
        while True:
            with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                connection = await asyncpg.connect(url, timeout=5, server_settings={"application_name": name})
                try:
                    lost = asyncio.Event()
                    connection.add_termination_listener(lambda _, lost=lost: lost.set())
                    for channel in CHANNELS:
                        await connection.add_listener(
                            f"ghasi_{channel}", lambda *_, channel=channel: self._wake(channel)
                        )
                        self._wake(channel)  # what rang while nobody listened
                    await lost.wait()
                finally:
                    connection.terminate()
            await asyncio.sleep(0.5)
