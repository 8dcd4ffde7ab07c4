"""Windows in a process's memory and in Redis count alike: exactly the limit passes in a minute, whoever counts."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from redis.asyncio import Redis

from ghasi.contract.row import READ_LIMIT, SEND_LIMIT
from ghasi.gateway.limits import Allowance, Limits
from ghasi.gateway.redis_client import open_redis
from ghasi.gateway.redis_windows import MAX_BATCH, MAX_BATCHES, RedisWindows
from ghasi.gateway.windows import MemoryWindows, Windows
from ghasi.settings import Settings
from tests.engines import Engine

ACCOUNT = "0190a0a0-0000-7000-8000-000000000001"
MINUTE = 30_000_000


class Clock:
    """A gateway's clock, `into` the minute."""

    def __init__(self, into: float = 0.0, minute: int = MINUTE) -> None:
        self.now = minute * 60 + into

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def windows(redis: Redis) -> AsyncIterator[RedisWindows]:
    windows = RedisWindows(redis)
    yield windows
    await windows.close()


@pytest.fixture(params=["memory", "redis"])
async def gateways(request: pytest.FixtureRequest, engine: Engine, redis: Redis) -> AsyncIterator[Callable[[], Any]]:
    """Make the windows of one more gateway that counts together with the others."""
    shared = MemoryWindows()
    async with AsyncExitStack() as stack:

        async def gateway() -> Windows:
            if request.param == "memory":
                return shared
            client = open_redis(engine.url)
            stack.push_async_callback(client.aclose)
            windows = RedisWindows(client)
            await windows.start()
            stack.push_async_callback(windows.close)
            return windows

        yield gateway


async def count(limits: Limits, times: int, group: Any = SEND_LIMIT, own: Any = None) -> list[Allowance]:
    allowances = await asyncio.gather(*(limits.count(group, ACCOUNT, own or {}) for _ in range(times)))
    assert None not in allowances
    return allowances  # type: ignore[return-value]


def passed(allowances: list[Allowance]) -> int:
    return sum(allowance.passed for allowance in allowances)


async def test_exactly_the_limit_passes_over_all_gateways_and_what_is_refused_is_not_counted(
    gateways: Callable[[], Any],
) -> None:
    clock = Clock()
    limits = [Limits(Settings(limit_sends=60), await gateways(), clock) for _ in range(3)]
    at_once = await asyncio.gather(*(count(one, 40) for one in limits))
    assert sum(map(passed, at_once)) == 60
    stands = sorted(allowance.remaining for part in at_once for allowance in part if allowance.passed)
    assert stands == list(range(60)), "each stands in a place of its own"
    for one in limits:
        (refused,) = await count(one, 1)
        assert (refused.passed, refused.limit, refused.remaining) == (False, 60, 0)
    raised = {ACCOUNT: {"sends": 63}}
    more = await asyncio.gather(*(count(one, 5, own=raised) for one in limits))
    assert sum(map(passed, more)) == 3, "61 refused requests were not counted"
    lowered = {ACCOUNT: {"sends": 2}}
    (refused,) = await count(limits[0], 1, own=lowered)
    assert (refused.passed, refused.limit, refused.remaining) == (False, 2, 0)


async def test_a_window_is_a_minute_of_utc_and_a_gateways_clock_says_which(gateways: Callable[[], Any]) -> None:
    early, late = Clock(59.2), Clock(59.9)
    settings = Settings(limit_sends=2)
    first, second = Limits(settings, await gateways(), early), Limits(settings, await gateways(), late)
    assert [one.reset_s for one in await count(first, 1)] == [1]
    assert passed(await count(second, 2)) == 1
    late.now += 0.1
    allowances = await count(second, 3)
    assert passed(allowances) == 2
    assert [one.reset_s for one in allowances] == [60, 60, 60]
    if not isinstance(first._windows, MemoryWindows):  # in one process there is one clock
        assert passed(await count(first, 1)) == 0, "clocks apart: it is the minute before for this one"
    early.now += 0.8
    assert passed(await count(first, 1)) == 0, "in the new one both count together, too"
    for clock in (early, late):
        clock.now += 60
    assert passed(await count(first, 1)) == 1


async def test_names_are_counted_apart(gateways: Callable[[], Any]) -> None:
    limits = Limits(Settings(limit_sends=1, limit_reads=1), await gateways(), Clock())
    assert passed(await count(limits, 2)) == 1
    assert passed(await count(limits, 2, READ_LIMIT)) == 1
    other = await limits.count(SEND_LIMIT, ACCOUNT[:-1] + "2", {})
    assert other is not None
    assert other.passed


@pytest.mark.parametrize("limit", [1, 7])
async def test_the_headers_say_where_a_request_stands(gateways: Callable[[], Any], limit: int) -> None:
    limits = Limits(Settings(limit_sends=limit), await gateways(), Clock(17.5))
    for number in range(limit + 2):
        (allowance,) = await count(limits, 1)
        remaining, refused = str(max(0, limit - number - 1)).encode(), number >= limit
        assert allowance.headers() == [
            (b"ratelimit-limit", b"%d" % limit), (b"ratelimit-remaining", remaining), (b"ratelimit-reset", b"43"),
            (b"x-ratelimit-limit-minute", b"%d" % limit), (b"x-ratelimit-remaining-minute", remaining),
            *([(b"retry-after", b"43")] if refused else []),
        ]  # fmt: skip


async def test_memory_keeps_the_running_minute_alone() -> None:
    windows, clock = MemoryWindows(), Clock()
    limits = Limits(Settings(), windows, clock)
    await count(limits, 1)
    clock.now += 60
    await count(limits, 1, READ_LIMIT)
    assert list(windows._counts) == [f"reads:{ACCOUNT}"]


async def test_keys_in_redis_are_short_and_end_by_themselves(redis: Redis, windows: RedisWindows) -> None:
    for key in (ACCOUNT, "2001:0db8:85a3:0000:0000:8a2e:0370:7334"):
        limits = Limits(Settings(), windows, Clock())
        for group in (SEND_LIMIT, READ_LIMIT):
            assert await limits.count(group, key, {}) is not None
    await windows._probe()
    keys = [key.decode() for key in await redis.keys("*")]
    assert len(keys) == 5
    for key in keys:
        assert key.startswith("ghasi:limit:")
        assert len(key) <= 70
        assert 60 < await redis.ttl(key) <= 120, "longer than any gateway counts in it, and not for ever"


async def test_what_comes_together_goes_in_one_command(redis: Redis, windows: RedisWindows) -> None:
    limits = Limits(Settings(limit_sends=1000), windows, Clock())
    await count(limits, 1)
    await redis.config_resetstat()
    assert passed(await count(limits, 300)) == 300
    for _ in range(20):
        await count(limits, 1)
    stats = await redis.info("commandstats")
    assert stats["cmdstat_evalsha"]["calls"] == 21
    assert not stats.keys() & {"cmdstat_eval", "cmdstat_script|load"}
    assert (await redis.info("clients"))["connected_clients"] <= 8


async def test_a_redis_that_forgot_the_script_is_told_it_again(redis: Redis, windows: RedisWindows) -> None:
    limits = Limits(Settings(limit_sends=3), windows, Clock())
    assert passed(await count(limits, 2)) == 2
    await redis.script_flush()
    assert passed(await count(limits, 2)) == 1
    assert not windows.failing


async def test_who_left_while_it_was_counted_harms_nobody(windows: RedisWindows) -> None:
    limits = Limits(Settings(limit_sends=5), windows, Clock())
    leaving = [asyncio.create_task(limits.count(SEND_LIMIT, ACCOUNT, {})) for _ in range(2)]
    await asyncio.sleep(0)
    for task in leaving:
        task.cancel()
    assert passed(await count(limits, 5)) >= 3


async def test_nothing_is_asked_after_the_end(redis: Redis) -> None:
    """However many still waited: what they opened, nobody would close."""
    windows = RedisWindows(redis)
    many = 5 * MAX_BATCHES * MAX_BATCH
    counting = [asyncio.create_task(windows.take(MINUTE, "name", many)) for _ in range(many)]
    while not windows._batches:
        await asyncio.sleep(0)
    await windows.close()
    async with asyncio.timeout(5):
        assert await asyncio.gather(*counting) == [None] * many
    assert await windows.take(MINUTE, "name", many) is None
    assert not any(connection.is_connected for connection in windows._free)


async def test_a_loop_that_was_held_up_does_not_blame_redis(windows: RedisWindows) -> None:
    limits = Limits(Settings(limit_sends=5), windows, Clock())
    await count(limits, 1)
    for _ in range(2):
        counting = asyncio.create_task(count(limits, 1))
        while len(windows._free) > MAX_BATCHES:
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # it is asked, and has not answered
        time.sleep(0.3)  # noqa: ASYNC251 - that is the matter
        assert passed(await counting) == 1
    assert not windows.failing
