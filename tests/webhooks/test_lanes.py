"""How many attempts to one endpoint run together, and how many deliveries of each a claim takes."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from yarl import URL

from ghasi.contract.values import new_id
from ghasi.storage.pool import Pool
from ghasi.webhooks.delivering import delivery_queries
from ghasi.webhooks.delivering.lane import Job, Lane
from ghasi.webhooks.delivering.lanes import Lanes, Outcome
from ghasi.webhooks.delivering.targets import Target
from ghasi.webhooks.model import Pace
from tests.webhooks.conftest import until


def target() -> Target:
    return Target(new_id(), new_id(), 1, URL("http://127.0.0.1/"), b"", None, None, ())


def job() -> Job:
    event_id = new_id()
    return Job(event_id, str(event_id), b"", 0, 1, datetime.now(UTC), start_by=float("inf"))


@pytest.mark.parametrize(("late_s", "least", "most"), [(0.0, 7, 16), (0.5, 4, 6)])
async def test_a_window_widens_with_each_answer_and_more_slowly_while_there_is_much_to_do(
    late_s: float, least: int, most: int
) -> None:
    now = highest = answered = 0

    async def attempt(_: Lane, __: Job) -> Outcome:
        nonlocal now, highest, answered
        now += 1
        highest = max(highest, now)
        await asyncio.sleep(0.01)
        now -= 1
        answered += 1
        return Outcome(answered=True, over=True)

    lanes = Lanes(attempt, Pace(), asyncio.Event(), asyncio.Event())
    lane = lanes.lane(target())
    lanes.set_slow_apart(late_s)
    for _ in range(16):
        lanes.add(lane, job())
    lanes.start()
    async with asyncio.timeout(10):
        while answered < 16:
            await asyncio.sleep(0.01)
    assert least <= highest <= most
    await lanes.kill()


async def test_a_window_does_not_widen_while_nothing_waits() -> None:
    async def attempt(_: Lane, __: Job) -> Outcome:
        return Outcome(answered=True, over=True)

    lanes = Lanes(attempt, Pace(), asyncio.Event(), asyncio.Event())
    lane = lanes.lane(target())
    for _ in range(20):
        lanes.add(lane, job())
        lanes.start()
        async with asyncio.timeout(10):
            while len(lanes):
                await asyncio.sleep(0)
    assert lane.window == Pace().window
    await lanes.kill()


@pytest.mark.parametrize(("lanes_with_more", "room"), [(1, 500), (10, 100), (200, 16)])
async def test_lanes_for_which_there_is_more_share_a_claim(lanes_with_more: int, room: int) -> None:
    async def attempt(_: Lane, __: Job) -> Outcome:
        return Outcome(answered=True, over=True)

    pace = Pace(claim=1000, claim_per_endpoint=16, most_in_memory_per_account=500)
    lanes = Lanes(attempt, pace, asyncio.Event(), asyncio.Event())
    for _ in range(lanes_with_more):
        lane = lanes.lane(target())
        lane.proven, lane.window, lane.more = True, 64, True
    given = lanes.look()
    assert [given.get(one.target.endpoint_id, 16) for one in lanes._lanes.values()] == [room] * lanes_with_more


async def test_a_lane_asks_once_for_what_there_is_more_of_and_gets_its_share() -> None:
    go = asyncio.Event()

    async def attempt(_: Lane, __: Job) -> Outcome:
        await go.wait()
        return Outcome(answered=True, over=True)

    wake = asyncio.Event()
    lanes = Lanes(attempt, Pace(), wake, asyncio.Event())
    lane = lanes.lane(target())
    for _ in range(16):
        lanes.add(lane, job())
    lane.more = True
    lanes.start()
    await asyncio.sleep(0)
    assert not wake.is_set()
    go.set()
    async with asyncio.timeout(10):
        await wake.wait()
        while len(lanes):
            await asyncio.sleep(0)
    assert lane.more
    assert lanes.look()[lane.target.endpoint_id] > 16
    assert not lane.more
    assert lanes.look() == {}


async def test_a_claim_takes_of_each_endpoint_what_there_is_room_for(pool: Pool) -> None:
    endpoints = sorted(new_id() for _ in range(7))
    for endpoint_id in endpoints:
        await pool.execute(
            """
            WITH event AS (
                INSERT INTO webhooks.events (id, account_id, type, at, body)
                SELECT uuidv7(), $1, 'message.sent', now(), '{}' FROM generate_series(1, 10) RETURNING id
            )
            INSERT INTO webhooks.pending (endpoint_id, event_id, due_at) SELECT $1, id, now() FROM event
            """,
            endpoint_id,
        )

    async def claim(rooms: dict[int, int]) -> list[int]:
        claimed = await delivery_queries.claim(
            pool,
            after=delivery_queries.NIL,
            most=1000,
            most_per_endpoint=2,
            rooms={endpoints[place]: room for place, room in reversed(rooms.items())},
            lease=timedelta(seconds=30),
        )
        ids = [one.endpoint_id for one in claimed]
        return [ids.count(endpoint_id) for endpoint_id in endpoints]

    assert await claim({}) == [2] * 7
    assert await claim({1: 0, 3: 5, 5: 1}) == [2, 0, 2, 5, 2, 1, 2]
    assert await claim({0: 3, 6: 0}) == [3, 2, 2, 2, 2, 2, 0]


async def test_attempts_that_are_late_are_not_made_up_for_all_at_once() -> None:
    """A stall of the worker leaves planned attempts behind their times: they keep their distance all the same."""
    began: list[float] = []

    async def attempt(_: Lane, __: Job) -> Outcome:
        began.append(time.monotonic())
        return Outcome(answered=True, over=True)

    lanes = Lanes(attempt, Pace(), asyncio.Event(), asyncio.Event())
    lane, now = lanes.lane(replace(target(), rate_per_s=50)), time.monotonic()
    for number in range(6):
        late = job()
        late.not_before = now - 1 + number / 50
        lanes.add(lane, late)
    lanes.start()
    await until(lambda: len(began) == 6)
    assert all(later - sooner >= 0.019 for sooner, later in pairwise(began))


async def test_a_place_that_one_lane_of_an_account_cannot_use_goes_to_the_next() -> None:
    ends = {name: asyncio.Event() for name in ("first", "second", "third")}
    began: list[str] = []

    async def attempt(_: Lane, one: Job) -> Outcome:
        began.append(one.webhook_id)
        await ends[one.webhook_id].wait()
        return Outcome(answered=False, over=True)

    lanes = Lanes(attempt, Pace(most_in_flight_per_account=3), asyncio.Event(), asyncio.Event())
    account_id = new_id()
    narrowing, waiting = (lanes.lane(replace(target(), account_id=account_id)) for _ in range(2))
    ends |= {name: asyncio.Event() for name in ("stalled", "other")}
    narrowing.window = 4
    for name in ("first", "second", "third", "stalled"):
        lanes.add(narrowing, replace(job(), webhook_id=name))
    lanes.start()
    await until(lambda: len(began) == 3)
    lanes.add(waiting, replace(job(), webhook_id="other"))
    lanes.start()
    await asyncio.sleep(0)
    ends["first"].set()  # a failure: the window is two, and two are under way
    await until(lambda: "other" in began, 2)
    assert "stalled" not in began
    await lanes.kill()
