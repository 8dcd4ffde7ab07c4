"""Deadlines end what takes too long, and nothing else."""

import asyncio
import time

import pytest

from ghasi.gateway.deadlines import Deadlines


@pytest.fixture
def deadlines() -> Deadlines:
    return Deadlines()


async def test_what_takes_too_long_is_cancelled_in_time(deadlines: Deadlines) -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError), deadlines.within(0.05):
        await asyncio.sleep(30)
    assert 0.05 <= time.monotonic() - began < 5
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]
    await asyncio.sleep(0)


async def test_what_is_in_time_is_left_alone(deadlines: Deadlines) -> None:
    with deadlines.within(0.05):
        await asyncio.sleep(0)
    await asyncio.sleep(0.15)


async def test_each_has_its_own_time(deadlines: Deadlines) -> None:
    async def take(seconds: float, within_s: float) -> str:
        try:
            with deadlines.within(within_s):
                await asyncio.sleep(seconds)
        except TimeoutError:
            return "late"
        return "done"

    assert await asyncio.gather(take(30, 0.1), take(0.3, 30), take(30, 0.05), take(0, 0.05)) == [
        "late", "done", "late", "done",
    ]  # fmt: skip
    assert await take(30, 0.05) == "late", "after a pause it watches on"


async def test_the_inner_of_two_ends_alone(deadlines: Deadlines) -> None:
    with deadlines.within(30):
        with pytest.raises(TimeoutError), deadlines.within(0.05):
            await asyncio.sleep(30)
        await asyncio.sleep(0)


async def test_the_outer_of_two_ends_both(deadlines: Deadlines) -> None:
    with pytest.raises(TimeoutError), deadlines.within(0.05), deadlines.within(30):
        await asyncio.sleep(30)


async def test_who_is_cancelled_by_others_stays_cancelled(deadlines: Deadlines) -> None:
    async def wait() -> None:
        with deadlines.within(30):
            await asyncio.sleep(30)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_is_cancelled_by_others_as_its_time_ends_stays_cancelled(deadlines: Deadlines) -> None:
    async def wait() -> None:
        with deadlines.within(0) as deadline:
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().call_soon(lambda: (task.cancel(), deadline.pass_by()))
            await asyncio.sleep(30)

    task = asyncio.create_task(wait())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_its_own_is_what_is_raised(deadlines: Deadlines) -> None:
    with pytest.raises(KeyError), deadlines.within(30):
        raise KeyError
