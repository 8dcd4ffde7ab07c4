"""One customer's endpoints, whatever they do, are no other customer's delay; and a repaired endpoint stays repaired."""

import asyncio
import time
from dataclasses import replace

from aiohttp import web

from ghasi.contract.serving import ServiceApp
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from ghasi.webhooks.model import Pace
from tests.webhooks.conftest import QUICK, Customer, Receiver, publish, raw_server, receiving, until, working


async def test_thirty_hanging_endpoints_with_a_backlog_delay_nobody_else(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver, app: ServiceApp
) -> None:
    other = Customer(app)

    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with raw_server(hang) as url:
        for _ in range(30):
            await customer.create(url)
        await other.create(receiver.url)
        await publish(pool, customer.account_id, 300)
        async with working(resources, Pace(drain_s=0.1)):
            await until(lambda: pool.fetchval("SELECT count(*) = 9000 FROM webhooks.pending"), 30)
            for _ in range(2):
                began = time.perf_counter()
                (event,) = await publish(pool, other.account_id)
                await until(lambda event=event: str(event.id) in receiver.ids, 10)
                assert time.perf_counter() - began < 3.0


async def test_an_endpoint_that_answers_its_head_and_then_hangs_gets_no_wider_window(
    resources: Resources, pool: Pool, customer: Customer
) -> None:
    now = most = served = 0

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal now, most, served
        now, served = now + 1, served + 1
        most = max(most, now)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx")
        try:
            await writer.drain()
            while await reader.read(65536):
                pass
        finally:
            now -= 1

    async with raw_server(drip) as url:
        await customer.create(url)
        pace = replace(QUICK, timeout_s=0.5, schedule_s=(60,) * 7, drain_s=0.1, window=16)
        async with working(resources, pace):
            await publish(pool, customer.account_id, 40)
            await until(lambda: served >= 24, 20)
    assert most <= 16  # the window an endpoint begins with


async def test_a_late_410_of_the_old_address_leaves_a_repaired_endpoint_alone(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    go = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        await go.wait()
        return web.Response(status=410)

    async with receiving() as old:
        old.answer = answer
        made = await customer.create(old.url)
        async with working(resources, QUICK):
            await publish(pool, customer.account_id, 1)
            await until(lambda: old.got)
            body = {"url": receiver.url, "events": ["*"]}
            assert (await customer.call("PUT", f"/v1/webhooks/{made['id']}", body)).status == 200
            go.set()
            await until(lambda: pool.fetchval("SELECT count(*) = 1 FROM webhooks.attempts"))
            shown = (await customer.call("GET", f"/v1/webhooks/{made['id']}")).json
    assert (shown["enabled"], shown["disabled_reason"], shown["url"]) == (True, None, receiver.url)
