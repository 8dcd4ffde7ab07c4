"""Where requests are counted: windows of one minute, in this process's memory or, behind the same Protocol, in Redis.

Owns the count and nothing else: whose requests they are, and how many may pass, is said with each.
"""

from typing import Protocol

WINDOW_S = 60


class Windows(Protocol):
    """Counts requests by minute (since 1970, UTC) and name; what is counted of a minute goes by itself after it."""

    failing: bool
    """Whether nothing can be counted now."""

    async def start(self) -> None:
        """Begin; never fails."""

    async def take(self, minute: int, name: str, limit: int) -> int | None:
        """Count a request unless `limit` were counted before it, and return how many were; None where it can't be."""

    async def close(self) -> None:
        """Give back what is held."""


class MemoryWindows:
    """Windows of this process alone: at a new minute all counts are dropped."""

    failing = False

    def __init__(self) -> None:
        self._minute = 0
        self._counts: dict[str, int] = {}

    async def start(self) -> None:
        """Nothing is to be had."""

    async def take(self, minute: int, name: str, limit: int) -> int | None:
        """Count it in this process; always can."""
        if minute != self._minute:
            self._minute, self._counts = minute, {}
        counted = self._counts.get(name, 0)
        if counted < limit:
            self._counts[name] = counted + 1
        return counted

    async def close(self) -> None:
        """Nothing is held."""
