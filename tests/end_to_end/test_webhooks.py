"""webhook-dispatcher's worker as the process that it is: killed at any moment, and beside endpoints that misbehave."""

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID

import pytest
from aiohttp import web

from ghasi.contract.serving import ServiceApp
from ghasi.contract.values import id_time
from ghasi.storage.pool import Pool
from tests.webhooks.conftest import Customer, Receiver, app, customer, publish, receiver, until

__all__ = ["app", "customer", "receiver"]  # fixtures
ACCOUNTS, ENDPOINTS, ROUNDS, BACKLOG, ALONE = 20, 10, 60, 100, 4
KILLS, EVENTS = 10, 60


@asynccontextmanager
async def running(*arguments: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run Python in a process of its own, until it is killed here."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env=os.environ | environment, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


Dispatching = Callable[[], AbstractAsyncContextManager[asyncio.subprocess.Process]]


@pytest.fixture
def dispatching(database_url: str, secret_key: str) -> Dispatching:
    """Runs `ghasi work webhooks` on the test's database; it is ready."""
    environment = {
        "GHASI_DATABASE_URL": database_url, "GHASI_SECRET_KEY": secret_key, "GHASI_DEV": "true",
        "GHASI_LOG_LEVEL": "error",
    }  # fmt: skip

    @asynccontextmanager
    async def run() -> AsyncIterator[asyncio.subprocess.Process]:
        async with running("-m", "ghasi", "work", "webhooks", **environment) as process:
            assert process.stdout is not None
            async with asyncio.timeout(30):
                while not (await process.stdout.readline()).startswith(b"ready"):
                    assert process.returncode is None
            yield process

    return run


@pytest.fixture
async def misbehaving() -> AsyncIterator[list[str]]:
    async with running("-m", "tests.end_to_end.misbehaving") as process:
        assert process.stdout is not None
        yield [f"http://127.0.0.1:{port}/hook" for port in json.loads(await process.stdout.readline())]


async def test_killed_at_ten_moments_it_loses_nothing_and_repeats_under_the_same_id(
    dispatching: Dispatching, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    chances = random.Random(20261127)

    refused: set[str] = set()

    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(chances.uniform(0, 0.02))
        identifier = request.headers["webhook-id"]
        if "ordered" in request.query or identifier in refused or chances.random() < 0.8:
            return web.Response()
        refused.add(identifier)
        return web.Response(status=500)

    receiver.answer = answer
    await customer.create(receiver.url, ["message.*"])
    await customer.create(f"{receiver.url}?ordered=yes", ["message.delivered"], fifo={"by": "to"})
    expected: set[str] = set()
    for _ in range(KILLS):
        async with dispatching() as worker:
            for _ in range(3):
                expected |= {str(event.id) for event in await publish(pool, customer.account_id, EVENTS // 3)}
                await asyncio.sleep(chances.uniform(0, 0.1))
            worker.send_signal(signal.SIGKILL)
            await worker.wait()
    # what it had leased is due again when the lease ends, 30 s later at most
    await pool.execute("UPDATE webhooks.pending SET due_at = least(due_at, now() + interval '1 second')")
    async with dispatching():
        over = "SELECT count(*) = $1 FROM webhooks.deliveries WHERE state = 'succeeded'"
        await until(lambda: pool.fetchval(over, 2 * KILLS * EVENTS), 60)
    assert receiver.ids == expected
    bodies = {(one.id, one.body) for one in receiver.got}
    assert len(bodies) == len(expected)  # a repetition is the same, to the byte
    assert len(receiver.got) > 2 * len(expected)


async def test_none_of_those_that_misbehave_slows_the_200_that_do_not(
    dispatching: Dispatching, pool: Pool, receiver: Receiver, app: ServiceApp, misbehaving: list[str]
) -> None:
    late: list[float] = []

    async def arrive(request: web.Request) -> web.Response:
        # webhook-id is the event's and carries its time
        late.append((datetime.now(UTC) - id_time(UUID(request.headers["webhook-id"]))).total_seconds())
        return web.Response()

    receiver.answer = arrive
    customers = [Customer(app) for _ in range(ACCOUNTS)]
    for one in customers:
        for _ in range(ENDPOINTS):
            await one.create(receiver.url, ["message.delivered"])
    for one, url in zip(customers, misbehaving, strict=False):
        await one.create(url, ["message.*"])  # beside healthy ones, and with a backlog
        await publish(pool, one.account_id, BACKLOG, status="sent")
        alone = Customer(app)
        for _ in range(ALONE):
            await alone.create(url)
        await publish(pool, alone.account_id, BACKLOG)
    async with dispatching():
        fed = 2 * BACKLOG * len(misbehaving)
        await until(lambda: pool.fetchval("SELECT count(*) = $1 FROM webhooks.events", fed), 30)
        began = time.perf_counter()
        for number in range(ROUNDS):
            for one in customers[number % ACCOUNTS], customers[(number + ACCOUNTS // 2) % ACCOUNTS]:
                await publish(pool, one.account_id)
            await asyncio.sleep(max(0.0, began + (number + 1) * 0.1 - time.perf_counter()))
        await until(lambda: len(late) >= ROUNDS * 2 * ENDPOINTS, 20)
    assert len(late) == ROUNDS * 2 * ENDPOINTS
    late.sort()
    p50, p99 = late[len(late) // 2], late[int(len(late) * 0.99)]
    assert p99 < 1.0, f"p50 {p50:.3f} s, p99 {p99:.3f} s"
