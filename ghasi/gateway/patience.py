"""How long a gateway waits for the Redis that it shares with others, whatever it asks there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

TICKS, TICK_S = 4, 0.025


@asynccontextmanager
async def patience() -> AsyncIterator[None]:
    """Raise TimeoutError after 100 ms, connecting included.

    They are counted in ticks of the loop's: a loop that was itself held up for a second has used up one tick, and does
    not take Redis's answer, which lies there already, for late.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as limit:
        timer: asyncio.TimerHandle

        def tick(left: int) -> None:
            nonlocal timer
            if left:
                timer = loop.call_later(TICK_S, tick, left - 1)
            else:
                limit.reschedule(loop.time())

        tick(TICKS)
        try:
            yield
        finally:
            timer.cancel()
