"""Receivers that misbehave: each is one failed attempt with a clear error, and holds up nothing."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web

from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from ghasi.webhooks.model import Pace
from tests.webhooks.certificates import self_signed
from tests.webhooks.conftest import (
    QUICK,
    Customer,
    Receiver,
    attempts_of,
    log_of,
    publish,
    raw_server,
    receiving,
    until,
    working,
)


class TestBadReceivers:
    async def failed(self, resources: Resources, pool: Pool, customer: Customer, url: str, **pace: Any) -> Any:
        endpoint = await customer.create(url)
        async with working(resources, replace(QUICK, schedule_s=(1000.0,), **pace)):
            await publish(pool, customer.account_id)
            (attempt,) = await until(lambda: attempts_of(pool, endpoint["id"]))
        return attempt

    async def test_a_redirect_is_not_followed(
        self, resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
    ) -> None:
        async with receiving() as elsewhere:

            async def redirect(_: web.Request) -> web.Response:
                return web.Response(status=307, headers={"Location": elsewhere.url})

            receiver.answer = redirect
            attempt = await self.failed(resources, pool, customer, receiver.url)
            assert attempt["status_code"] == 307
            assert attempt["error"].startswith("redirect: ")
            assert len(receiver.got) == 1
            assert not elsewhere.got

    async def test_a_hanging_endpoint_times_out(self, resources: Resources, pool: Pool, customer: Customer) -> None:
        async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            await reader.read()

        async with raw_server(hang) as url:
            attempt = await self.failed(resources, pool, customer, url, timeout_s=0.3)
        assert attempt["error"].startswith("timeout: ")
        assert 300 <= attempt["duration_ms"] < 2000
        assert attempt["status_code"] is None

    async def test_a_dripping_endpoint_times_out(self, resources: Resources, pool: Pool, customer: Customer) -> None:
        async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
            for _ in range(1000):
                writer.write(b".")
                await writer.drain()
                await asyncio.sleep(0.02)

        async with raw_server(drip) as url:
            attempt = await self.failed(resources, pool, customer, url, timeout_s=0.3)
        assert attempt["error"].startswith("timeout: ")

    async def test_a_reset_is_a_failure(self, resources: Resources, pool: Pool, customer: Customer) -> None:
        async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.abort()

        async with raw_server(reset) as url:
            attempt = await self.failed(resources, pool, customer, url)
        assert attempt["error"] == "connection: closed before the answer was complete"

    async def test_a_body_that_breaks_off_is_a_failure(
        self, resources: Resources, pool: Pool, customer: Customer
    ) -> None:
        async def break_off(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf")
            await writer.drain()
            writer.close()

        async with raw_server(break_off) as url:
            attempt = await self.failed(resources, pool, customer, url)
        assert attempt["error"] == "connection: closed before the answer was complete"

    async def test_what_is_not_http_is_a_failure(self, resources: Resources, pool: Pool, customer: Customer) -> None:
        async def smtp(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 mail.example.com ESMTP\r\n")
            await writer.drain()

        async with raw_server(smtp) as url:
            attempt = await self.failed(resources, pool, customer, url)
        assert attempt["error"].startswith("answer: not valid HTTP")

    async def test_nobody_listens(self, resources: Resources, pool: Pool, customer: Customer) -> None:
        async with receiving() as gone:
            url = gone.url
        attempt = await self.failed(resources, pool, customer, url)
        assert attempt["error"].startswith("connect: ")

    async def test_a_certificate_of_nobodys_is_refused(
        self, resources: Resources, pool: Pool, customer: Customer, tmp_path: Any
    ) -> None:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=self_signed(tmp_path))
        try:
            port = server.sockets[0].getsockname()[1]
            attempt = await self.failed(resources, pool, customer, f"https://127.0.0.1:{port}/hook")
        finally:
            server.close()
            await server.wait_closed()
        assert attempt["error"].startswith("tls: ")
        assert "verify failed" in attempt["error"]

    async def test_100_mb_of_answer_are_not_read(self, resources: Resources, pool: Pool, customer: Customer) -> None:
        sent = 0

        async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
            while sent < 100_000_000:
                writer.write(b"x" * 50_000)
                await writer.drain()
                sent += 50_000

        async with raw_server(flood) as url:
            endpoint = await customer.create(url)
            async with working(resources):
                await publish(pool, customer.account_id)
                (row,) = await until(lambda: log_of(pool, endpoint["id"]))
        assert row["state"] == "succeeded"
        assert row["response"] == "x" * 4096
        assert sent < 20_000_000  # what sockets buffer

    async def test_a_compressed_answer_is_not_blown_up(
        self, resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
    ) -> None:
        async def bomb(_: web.Request) -> web.Response:
            return web.Response(body=b"not really gzip", headers={"Content-Encoding": "gzip"})

        receiver.answer = bomb
        endpoint = await customer.create(receiver.url)
        async with working(resources):
            await publish(pool, customer.account_id)
            (row,) = await until(lambda: log_of(pool, endpoint["id"]))
        assert (row["state"], row["response"]) == ("succeeded", "not really gzip")
        assert "accept-encoding" not in receiver.got[0].headers

    async def test_retry_after_may_be_a_date(
        self, resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
    ) -> None:
        async def busy(_: web.Request) -> web.Response:
            later = datetime.now(UTC) + timedelta(seconds=100)
            return web.Response(status=429, headers={"Retry-After": format_datetime(later, usegmt=True)})

        receiver.answer = busy
        await customer.create(receiver.url)
        async with working(resources, Pace(jitter=0.0, schedule_s=(60.0,))):
            await publish(pool, customer.account_id)
            wait = await until(lambda: pool.fetchval("SELECT due_at - now() FROM webhooks.pending WHERE attempts = 1"))
        assert timedelta(seconds=95) < wait < timedelta(seconds=101)

    @pytest.mark.parametrize(
        "date", ["Mon, 01 Jan 2026 00:00:00 +99999999999999", f"Mon, {10**20} Jan 2026 00:00:00 GMT"]
    )
    async def test_a_date_that_is_none_is_no_wish(
        self, resources: Resources, pool: Pool, customer: Customer, receiver: Receiver, date: str
    ) -> None:
        async def busy(_: web.Request) -> web.Response:
            return web.Response(status=503, headers={"Retry-After": date})

        receiver.answer = busy
        endpoint = await customer.create(receiver.url)
        async with working(resources, replace(QUICK, schedule_s=(0.05,))):
            await publish(pool, customer.account_id)
            (row,) = await until(lambda: log_of(pool, endpoint["id"]))
        assert (row["state"], row["attempts"]) == ("exhausted", 2)
