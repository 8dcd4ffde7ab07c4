"""Fairness, crashes and stopping: real workers, several at once, killed and asked to end."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from ghasi.contract.values import new_id
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from ghasi.webhooks.delivering.lane import Job, Lane
from ghasi.webhooks.delivering.lanes import Lanes, Outcome
from ghasi.webhooks.delivering.targets import Target
from ghasi.webhooks.model import Pace
from ghasi.webhooks.worker import within_open_files, work
from tests.webhooks.conftest import (
    QUICK,
    Customer,
    Receiver,
    publish,
    raw_server,
    receiving,
    until,
    working,
)


async def test_a_hanging_endpoint_with_1000_deliveries_delays_no_other(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver, app: Any
) -> None:
    other = Customer(app)

    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with raw_server(hang) as url:
        await customer.create(url)
        await customer.create(receiver.url, ["message.failed"])
        await other.create(receiver.url)
        await publish(pool, customer.account_id, 1000)
        async with working(resources, replace(QUICK, drain_s=0.1)):
            await until(lambda: pool.fetchval("SELECT count(*) = 1000 FROM webhooks.pending"))
            for account_id, status in ((other.account_id, "delivered"), (customer.account_id, "failed")) * 3:
                began = time.perf_counter()
                (event,) = await publish(pool, account_id, status=status)
                await until(lambda event=event: str(event.id) in receiver.ids)
                assert time.perf_counter() - began < 1.0
        # and what had been leased for the hanging one was given back
        assert await pool.fetchval("SELECT count(*) = 1003 FROM webhooks.pending WHERE due_at <= now()")


async def test_the_endpoints_of_one_account_cannot_take_all_places(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver, app: Any
) -> None:
    other = Customer(app)
    held = 0

    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        nonlocal held
        held += 1
        await reader.read()

    async with raw_server(hang) as url:
        for _ in range(10):
            await customer.create(url)
        await other.create(receiver.url)
        await publish(pool, customer.account_id, 20)
        pace = replace(QUICK, most_in_flight=10, most_in_flight_per_account=8, drain_s=0.1)
        async with working(resources, pace):
            await until(lambda: held == 8)
            await publish(pool, other.account_id)
            await until(lambda: receiver.got, 1.0)
        assert held == 8


async def test_more_than_there_is_room_for_is_claimed_and_all_arrives_once(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    await customer.create(receiver.url)
    pace = replace(QUICK, window=1, most_window=4, claim=50, claim_per_endpoint=20)
    async with working(resources, pace):
        events = await publish(pool, customer.account_id, 500)
        await until(lambda: pool.fetchval("SELECT count(*) = 500 FROM webhooks.deliveries"), 20)
    assert receiver.ids == {str(event.id) for event in events}
    assert len(receiver.got) == 500


async def test_a_killed_worker_loses_nothing_and_keeps_ids(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    slow = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        await slow.wait()
        return web.Response()

    receiver.answer = answer
    await customer.create(receiver.url)
    events = await publish(pool, customer.account_id, 300)
    pace = replace(QUICK, lease_s=1.5, timeout_s=1.0, spare_s=0.1)
    killed = asyncio.create_task(work(resources, pace=pace))
    await until(lambda: receiver.got)
    killed.cancel()
    await asyncio.gather(killed, return_exceptions=True)
    before = receiver.ids
    slow.set()
    async with working(resources, pace):
        await until(lambda: pool.fetchval("SELECT count(*) = 300 FROM webhooks.deliveries WHERE state = 'succeeded'"))
    assert receiver.ids == {str(event.id) for event in events}
    assert before <= receiver.ids
    assert len(receiver.got) > 300  # what was under way was sent again, under its own id


async def test_two_workers_share_the_work_and_send_nothing_twice(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    await customer.create(receiver.url)
    pace = replace(QUICK, window=2, most_window=4, claim=30)
    async with working(resources, pace), working(resources, pace):
        for _ in range(5):
            await publish(pool, customer.account_id, 100)
        await until(lambda: pool.fetchval("SELECT count(*) = 500 FROM webhooks.deliveries"), 20)
    assert len(receiver.got) == len(receiver.ids) == 500


async def test_stopping_ends_what_is_under_way_and_gives_back_the_rest(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    begun = asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        begun.set()
        await asyncio.sleep(0.3)
        return web.Response()

    receiver.answer = slow
    await customer.create(receiver.url)
    async with working(resources, replace(QUICK, window=4, most_window=4)):
        await publish(pool, customer.account_id, 50)
        await begun.wait()
    done = await pool.fetchval("SELECT count(*) FROM webhooks.deliveries WHERE state = 'succeeded'")
    assert 4 <= done == len(receiver.got)
    assert await pool.fetchval("SELECT count(*) FROM webhooks.pending WHERE due_at <= now()") == 50 - done


async def test_stopping_does_not_wait_for_an_endpoint_that_hangs(
    resources: Resources, pool: Pool, customer: Customer
) -> None:
    reached = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        reached.set()
        await reader.read()

    async with raw_server(hang) as url:
        await customer.create(url)
        async with working(resources, replace(QUICK, drain_s=0.3)):
            await publish(pool, customer.account_id)
            await reached.wait()
            began = time.perf_counter()
        assert 0.3 <= time.perf_counter() - began < 2.0
    row = await pool.fetchrow("SELECT attempts, due_at <= now() AS due FROM webhooks.pending")
    assert (row["attempts"], row["due"]) == (0, True)
    assert Pace().drain_s + 2.5 < 8.0  # by default too it is over in time


async def test_an_endpoint_that_does_not_open_waits_for_its_key_and_holds_up_no_other(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    async with receiving() as locked:
        endpoint = await customer.create(locked.url)
        await customer.create(receiver.url)
        sealed = await pool.fetchval("SELECT secret FROM webhooks.endpoints WHERE id = $1", endpoint["id"])
        await pool.execute("UPDATE webhooks.endpoints SET secret = $2 WHERE id = $1", endpoint["id"], b"of another key")
        pace = replace(QUICK, lease_s=1.5, timeout_s=1.0, spare_s=0.1)
        async with working(resources, pace):
            (event,) = await publish(pool, customer.account_id)
            await until(lambda: receiver.got)
            await until(lambda: pool.fetchval("SELECT claims > 0 FROM webhooks.pending"))
            assert not locked.got
            await pool.execute("UPDATE webhooks.endpoints SET secret = $2 WHERE id = $1", endpoint["id"], sealed)
            await until(lambda: locked.ids == {str(event.id)})


@pytest.mark.parametrize("fifo", [None, {"by": "to"}])
async def test_what_waits_in_memory_for_an_endpoint_that_was_changed_is_not_sent_to_what_it_was(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver, fifo: dict[str, str] | None
) -> None:
    async def answer(_: web.Request) -> web.Response:
        await asyncio.sleep(0.5)
        return web.Response()

    receiver.answer = answer
    made = await customer.create(receiver.url, fifo=fifo)
    async with receiving() as other, working(resources):
        await publish(pool, customer.account_id, 60)
        await until(lambda: receiver.got)
        changed = {"url": other.url, "events": ["*"]}
        assert (await customer.call("PUT", f"/v1/webhooks/{made['id']}", changed)).status == 200
        await until(lambda: pool.fetchval("SELECT count(*) = 60 FROM webhooks.deliveries"))
        sent = len(receiver.got)
        assert sent <= 25
        assert sent + len(other.got) == 60
        other.answer = answer
        await publish(pool, customer.account_id, 60)
        await until(lambda: len(other.got) > 60 - sent)
        assert (await customer.call("DELETE", f"/v1/webhooks/{made['id']}")).status == 204
        assert await pool.fetchval("SELECT count(*) FROM webhooks.pending") == 0
        await asyncio.sleep(2.0)  # a look at what was changed, and what was under way then
        before = len(other.got)
        await asyncio.sleep(1.0)
        assert len(other.got) == before


async def test_a_job_whose_lease_is_too_short_is_left_to_the_next_claim() -> None:
    tried: list[str] = []

    async def attempt(_: Lane, job: Job) -> Outcome:
        tried.append(job.webhook_id)
        return Outcome(answered=True, over=True)

    lanes = Lanes(attempt, Pace(), asyncio.Event(), asyncio.Event())
    target = Target(new_id(), new_id(), 1, URL("https://example.com"), b"", None, None, ())
    now = time.monotonic()
    for name, start_by in (("late", now - 1), ("in time", now + 60), ("late too", now - 1)):
        lanes.add(lanes.lane(target), Job(new_id(), name, b"", 0, 1, datetime.now(UTC), start_by))
    lanes.start()
    await until(lambda: len(lanes) == 0)
    assert tried == ["in time"]


@pytest.mark.parametrize(("files", "in_flight", "slow"), [(1_000_000, 500, 1500), (1024, 500, 324), (256, 128, 0)])
def test_attempts_do_not_run_out_of_open_files(
    monkeypatch: pytest.MonkeyPatch, files: int, in_flight: int, slow: int
) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (files, files))
    pace = within_open_files(Pace())
    assert (pace.most_in_flight, pace.most_slow) == (in_flight, slow)


async def test_attempts_that_take_long_leave_their_places_to_others(
    resources: Resources, pool: Pool, receiver: Receiver, app: Any
) -> None:
    """Ten accounts hang in more attempts than may run at once: one that does not waits for none of them."""
    held = 0

    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        nonlocal held
        held += 1
        await reader.read()

    other = Customer(app)
    await other.create(receiver.url)
    async with raw_server(hang) as url:
        for _ in range(10):
            customer = Customer(app)
            await customer.create(url)
            await publish(pool, customer.account_id, 10)
        pace = replace(QUICK, window=16, most_in_flight=20, most_in_flight_per_account=8, slow_after_s=0.2, drain_s=0.1)
        async with working(resources, pace):
            await until(lambda: held >= 20)
            (event,) = await publish(pool, other.account_id)
            await until(lambda: str(event.id) in receiver.ids, 5.0)
            await until(lambda: held == 80)  # of each account what it may have


async def test_endpoints_that_never_answered_fill_no_more_than_half_of_the_memory(
    resources: Resources, pool: Pool, receiver: Receiver, app: Any
) -> None:
    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    other = Customer(app)
    await other.create(receiver.url)
    pace = replace(QUICK, window=16, most_in_memory=100, slow_after_s=0.1, drain_s=0.1)
    async with raw_server(hang) as url, working(resources, pace):
        await publish(pool, other.account_id)
        await until(lambda: len(receiver.got) == 1)  # it has answered
        for _ in range(20):
            customer = Customer(app)
            await customer.create(url)
            await publish(pool, customer.account_id, 20)
        await until(lambda: pool.fetchval("SELECT count(*) = 400 FROM webhooks.pending"))
        few = "SELECT count(*) <= 50 FROM webhooks.pending WHERE leased"
        await until(lambda: pool.fetchval(few))  # a claim gives back at once what there is no room for
        for _ in range(10):
            await asyncio.sleep(0.05)
            assert await pool.fetchval(few)
        await publish(pool, other.account_id, 200)
        await until(lambda: len(receiver.ids) == 201, 10)
