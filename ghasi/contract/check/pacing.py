"""Keeps within the limits: a request whose window is known to be used up waits for the next one.

Owns what answers said of windows. The checks of the limits themselves go past it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ghasi.contract.check.asking import Answer
from ghasi.contract.check.options import Clock

Window = tuple[str, str]
"""A group's name, and whose window it is."""
INTO_THE_NEXT_S = 0.5
"""How far into the next window it is waited for: clocks tell the second."""


@dataclass(slots=True)
class _Known:
    remaining: int
    ends_at: float


class Pace:
    """What is known of windows. `tell` hears what is waited for."""

    def __init__(self, clock: Clock, tell: Callable[[str], None]) -> None:
        self._clock = clock
        self._tell = tell
        self._windows: dict[Window, _Known] = {}

    async def room(self, window: Window) -> None:
        """Return once a window has room, as far as is known."""
        known = self._windows.get(window)
        if known is not None and known.remaining <= 0 and known.ends_at > self._clock.time():
            await self.wait(known.ends_at - self._clock.time(), f"the limit of {window[0]} to let more through")

    async def wait(self, seconds: float, what: str) -> None:
        """Wait for a window's end and say so."""
        self._tell(f"waiting {seconds:.0f} s for {what}")
        await self._clock.sleep(seconds + INTO_THE_NEXT_S)

    def saw(self, window: Window, answer: Answer) -> None:
        """Learn from an answer's headers."""
        remaining, reset = (answer.headers.get(f"RateLimit-{name}", "") for name in ("Remaining", "Reset"))
        if remaining.isdecimal() and reset.isdecimal():
            self._windows[window] = _Known(int(remaining), self._clock.time() + int(reset))
