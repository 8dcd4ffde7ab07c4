"""Deliveries that go in order: one after the other, held up by one that fails, and no longer than was asked for."""

import asyncio
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import msgspec
import pytest
from aiohttp import web

from ghasi.contract.values import new_id, rfc3339
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from ghasi.webhooks.delivering import order_queries
from ghasi.webhooks.worker import work
from tests.webhooks.conftest import QUICK, Customer, Received, Receiver, publish, until, working


def number_of(received: Received) -> int:
    return int(msgspec.json.decode(received.body)["data"]["reference"])


async def publish_numbers(pool: Pool, customer: Customer, numbers: range, **more: Any) -> list[str]:
    """Publish events one after the other, and return their ids."""
    ids = []
    for number in numbers:
        (event,) = await publish(pool, customer.account_id, reference=str(number), **more)
        ids.append(str(event.id))
    return ids


async def all_over(pool: Pool, count: int) -> None:
    await until(lambda: pool.fetchval("SELECT count(*) = $1 FROM webhooks.deliveries", count), 30)


async def test_two_workers_deliver_in_order_one_at_a_time(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    open_now = most = 0

    async def answer(_: web.Request) -> web.Response:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(random.uniform(0, 0.01))
        open_now -= 1
        return web.Response()

    receiver.answer = answer
    await customer.create(receiver.url, fifo={})
    async with working(resources), working(resources):
        for begin in range(0, 120, 20):
            await publish_numbers(pool, customer, range(begin, begin + 20))
            await asyncio.sleep(0.05)
        await all_over(pool, 120)
    assert [number_of(one) for one in receiver.got] == list(range(120))
    assert most == 1


async def test_each_recipient_has_an_order_of_its_own(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    stuck, others = "+93700000001", [f"+9370000000{n}" for n in range(2, 6)]
    down = True

    async def answer(request: web.Request) -> web.Response:
        data = msgspec.json.decode(await request.read())["data"]
        return web.Response(status=500 if down and data["to"] == stuck else 200)

    receiver.answer = answer
    await customer.create(receiver.url, fifo={"by": "to"})
    async with working(resources, replace(QUICK, schedule_s=(0.2,) * 50)):
        for number in range(10):
            for to in (stuck, *others):
                await publish_numbers(pool, customer, range(number, number + 1), to=to)
        await all_over(pool, 40)
        arrived = [one for one in receiver.got if msgspec.json.decode(one.body)["data"]["to"] == stuck]
        assert {number_of(one) for one in arrived} == {0}  # the first holds up the nine behind it
        down = False
        await all_over(pool, 50)
    for to in (stuck, *others):
        of_one = [number_of(one) for one in receiver.got if msgspec.json.decode(one.body)["data"]["to"] == to]
        assert of_one == sorted(of_one)
        assert set(of_one) == set(range(10))


async def test_many_keys_that_are_held_up_take_no_other_keys_turn(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    async def answer(request: web.Request) -> web.Response:
        data = msgspec.json.decode(await request.read())["data"]
        return web.Response(status=500 if data["to"] < "+937000001" else 200)

    receiver.answer = answer
    await customer.create(receiver.url, fifo={"by": "to"})
    async with working(resources, replace(QUICK, schedule_s=(60,) * 7)):
        for number in range(40):  # more than a claim takes of one endpoint
            await publish(pool, customer.account_id, to=f"+9370000{number:05}")
        await until(lambda: pool.fetchval("SELECT count(*) = 40 FROM webhooks.attempts"))
        await publish(pool, customer.account_id, 3, to="+93700000999999")
        await publish_numbers(pool, customer, range(3), to="+937999999999")
        await until(lambda: [number_of(one) for one in receiver.got if b"+937999999999" in one.body] == [0, 1, 2])


async def test_an_order_slower_than_its_leases_goes_on_without_a_pause(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    loop = asyncio.get_running_loop()
    times: list[float] = []

    async def answer(_: web.Request) -> web.Response:
        times.append(loop.time())
        await asyncio.sleep(0.1)
        return web.Response()

    receiver.answer = answer
    await customer.create(receiver.url, fifo={})
    async with working(resources, replace(QUICK, lease_s=3.0, timeout_s=1.0, spare_s=1.5)):  # begun within 0.5 s
        await publish_numbers(pool, customer, range(16))
        await all_over(pool, 16)
    assert [number_of(one) for one in receiver.got] == list(range(16))
    assert max(after - before for before, after in pairwise(times)) < 1.0


@pytest.mark.parametrize("after_hold", ["skip", "drop"])
async def test_what_fails_holds_up_the_others_no_longer_than_asked_for(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver, after_hold: str
) -> None:
    loop = asyncio.get_running_loop()
    times: dict[int, list[float]] = {}

    async def answer(request: web.Request) -> web.Response:
        number = int(msgspec.json.decode(await request.read())["data"]["reference"])
        times.setdefault(number, []).append(loop.time())
        return web.Response(status=503 if number == 0 and len(times[0]) < 5 else 200)

    receiver.answer = answer
    made = await customer.create(receiver.url, fifo={"hold_s": 2, "after_hold": after_hold})
    async with working(resources, replace(QUICK, schedule_s=(1.0, 1.5, 1.0, 1.0, 1.0), jitter=0)):
        await publish_numbers(pool, customer, range(4))
        await all_over(pool, 4)
    rows = await pool.fetch("SELECT state, attempts FROM webhooks.deliveries ORDER BY event_id")
    first, *others = ((row["state"], row["attempts"]) for row in rows)
    assert others == [("succeeded", 1)] * 3
    assert [times[number][0] for number in (1, 2, 3)] == sorted(times[number][0] for number in (1, 2, 3))
    held_s = times[1][0] - times[0][0]
    if after_hold == "skip":
        assert 2.0 <= held_s < 3.0
        assert first == ("succeeded", 5)
        assert times[0][-1] > times[3][0]
    else:
        assert 1.9 <= held_s < 3.0
        assert first == ("exhausted", 3)  # at once, after a second, and when the hold was over
    shown = (await customer.call("GET", f"/v1/webhooks/{made['id']}/deliveries?status=failed")).json["data"]
    assert len(shown) == (after_hold == "drop")


async def test_a_killed_worker_changes_no_order(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    async def answer(_: web.Request) -> web.Response:
        await asyncio.sleep(0.005)
        return web.Response()

    receiver.answer = answer
    await customer.create(receiver.url, fifo={})
    await publish_numbers(pool, customer, range(60))
    pace = replace(QUICK, lease_s=1.5, timeout_s=1.0, spare_s=0.1)
    killed = asyncio.create_task(work(resources, pace=pace))
    await until(lambda: len(receiver.got) > 10)
    killed.cancel()
    await asyncio.gather(killed, return_exceptions=True)
    async with working(resources, pace):
        await all_over(pool, 60)
    first_arrivals = list(dict.fromkeys(number_of(one) for one in receiver.got))
    assert first_arrivals == list(range(60))


async def test_events_without_the_key_wait_for_nobody(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    await customer.create(receiver.url, fifo={"by": "reference"})
    async with working(resources):
        await publish(pool, customer.account_id, 5)
        await all_over(pool, 5)
    assert await pool.fetchval("SELECT count(*) FROM webhooks.pending") == 0


async def test_a_failing_head_sent_again_by_hand_goes_at_once_and_lets_the_others_go(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    down = True

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=500 if down else 200)

    receiver.answer = answer
    made = await customer.create(receiver.url, fifo={})
    async with working(resources, replace(QUICK, schedule_s=(60,) * 7)):
        ids = await publish_numbers(pool, customer, range(3))
        await until(lambda: pool.fetchval("SELECT count(*) = 1 FROM webhooks.attempts"))
        down = False
        path = f"/v1/webhooks/{made['id']}/deliveries/{ids[0]}/resend"
        assert (await customer.call("POST", path)).status == 202
        await all_over(pool, 3)
    assert [number_of(one) for one in receiver.got] == [0, 0, 1, 2]


async def test_a_rate_holds_over_two_workers_and_what_waits_is_sent_in_time(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    loop = asyncio.get_running_loop()
    times: list[float] = []

    async def answer(_: web.Request) -> web.Response:
        times.append(loop.time())
        return web.Response()

    receiver.answer = answer
    await customer.create(receiver.url, rate_per_s=20)
    async with working(resources), working(resources):
        await publish(pool, customer.account_id, 50)
        await all_over(pool, 50)
    assert len(receiver.ids) == len(times) == 50
    took_s = times[-1] - times[0]
    assert 49 / 20 - 0.1 <= took_s < 2 * 49 / 20
    for begin in range(len(times) - 25):
        assert times[begin + 25] - times[begin] > 1.0


async def test_order_and_rate_together(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await customer.create(receiver.url, rate_per_s=30, fifo={})
    async with working(resources):
        await publish_numbers(pool, customer, range(30))
        await all_over(pool, 30)
    assert [number_of(one) for one in receiver.got] == list(range(30))
    assert loop.time() - began >= 29 / 30


async def test_a_rate_of_one_endpoint_delays_no_other(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    await customer.create(receiver.url, ["message.sent"], rate_per_s=1)
    await customer.create(receiver.url, ["message.delivered"])
    async with working(resources):
        await publish(pool, customer.account_id, 20, status="sent")
        events = await publish(pool, customer.account_id, 20)
        await until(lambda: {str(event.id) for event in events} <= receiver.ids, 2.0)
    assert len(receiver.got) < 20 + 5


async def test_a_replay_goes_in_order_too(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    await customer.create(f"{receiver.url}?other", ["message.*"])
    async with working(resources):
        await publish_numbers(pool, customer, range(20))
        await all_over(pool, 20)
        receiver.got.clear()
        made = await customer.create(receiver.url, fifo={"by": "endpoint"})
        answer = await customer.call("POST", f"/v1/webhooks/{made['id']}/replay", {"since": rfc3339(before)})
        assert (answer.status, answer.json["deliveries"]) == (202, 20)
        await all_over(pool, 40)
    assert [number_of(one) for one in receiver.got] == list(range(20))


async def test_a_rate_planned_by_a_clock_that_was_put_back_is_planned_anew(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    made = await customer.create(receiver.url, rate_per_s=50)
    await pool.execute("INSERT INTO webhooks.paces VALUES ($1, now() + interval '1 hour')", made["id"])
    async with working(resources):
        await publish(pool, customer.account_id, 5)
        await until(lambda: len(receiver.got) == 5)


async def test_older_events_that_come_while_one_is_under_way_wait_for_it(pool: Pool, customer: Customer) -> None:
    """However many a replay puts before it."""
    made = await customer.create("https://example.com/", fifo={})
    endpoint_id = UUID(made["id"])
    older, leased = [new_id() for _ in range(100)], new_id()
    for event_id in (*older, leased):
        await pool.execute(
            "INSERT INTO webhooks.events (id, account_id, type, at, body) VALUES ($1, $2, 'message.sent', now(), '{}')",
            event_id,
            customer.account_id,
        )
        await pool.execute(
            """
            INSERT INTO webhooks.pending (endpoint_id, event_id, order_key, due_at, leased)
            VALUES ($1, $2, '', now() + CASE WHEN $3 THEN interval '30 seconds' ELSE interval '0' END, $3)
            """,
            endpoint_id,
            event_id,
            event_id == leased,
        )

    async def claim() -> list[UUID]:
        async with pool.acquire() as connection, connection.transaction():
            claimed = await order_queries.claim_runs(connection, [(endpoint_id, "", 8)], timedelta(seconds=30))
        return [one.event_id for one in claimed]

    assert await claim() == []
    await pool.execute("DELETE FROM webhooks.pending WHERE event_id = $1", leased)
    assert await claim() == older[:8]
    assert await claim() == []
