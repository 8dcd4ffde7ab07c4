"""Times of the clock that a test must not see pass."""

import asyncio
import time

_DAY_S = 86_400
_KABUL_AHEAD_S = 4.5 * 3600


async def room_in_the_minute(seconds: float) -> None:
    """Return where the minute has so many seconds left: a window that ends amidst a test begins its count anew."""
    while time.time() % 60 > 60 - seconds:
        await asyncio.sleep(0.1)


def room_in_the_day(seconds: float) -> None:
    """Return where the day has so many seconds left, in UTC and in Kabul: days, months and years end with one."""
    while max((time.time() + ahead_s) % _DAY_S for ahead_s in (0, _KABUL_AHEAD_S)) > _DAY_S - seconds:
        time.sleep(0.1)
