"""Times of the clock that a test must not see pass."""

import asyncio
import time


async def room_in_the_minute(seconds: float) -> None:
    """Return where the minute has so many seconds left: a window that ends amidst a test begins its count anew."""
    while time.time() % 60 > 60 - seconds:
        await asyncio.sleep(0.1)
