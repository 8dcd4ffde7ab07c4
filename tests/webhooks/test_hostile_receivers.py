"""Receivers that mean harm: none is followed, believed, read on for ever, or costs the others their turn."""

import asyncio
import gzip
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from ghasi.contract.serving import ServiceApp
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from tests.webhooks.conftest import (
    QUICK,
    Customer,
    Receiver,
    attempts_of,
    log_of,
    publish,
    raw_server,
    until,
    working,
)
from tests.webhooks.test_addresses import answering

ONCE = replace(QUICK, schedule_s=(1000.0,))
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
METADATA = "http://169.254.169.254/latest/meta-data/"

ENDLESS = {
    # what comes once, what comes for ever, and the error, None where the answer is good as it is
    "headers": (OK, b"a: b\r\n", "answer: not valid HTTP"),
    "one header": (OK + b"a: ", b"x", "answer: not valid HTTP"),
    "a reason": (b"HTTP/1.1 200 ", b"x", "answer: not valid HTTP"),
    "early hints": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", "answer: without an end"),
    "fat early hints": (b"", b"HTTP/1.1 103 E\r\n" + b"a: b\r\n" * 100 + b"\r\n", "answer: without an end"),
    "continues": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", "answer: without an end"),
    "empty lines": (b"", b"\r\n", "answer: without an end"),
    "chunks": (CHUNKED, b"4000\r\n" + b"x" * 0x4000 + b"\r\n", None),
    "a chunk's size": (CHUNKED, b"0", "answer: without an end"),
    "a chunk's extension": (CHUNKED + b"5;", b"x", "answer: without an end"),
    "trailers": (CHUNKED + b"1\r\nx\r\n0\r\n", b"a: b\r\n", "answer: not valid HTTP"),
    "one trailer": (CHUNKED + b"1\r\nx\r\n0\r\na: ", b"x", "answer: not valid HTTP"),
    "answers nobody asked for": (OK + b"content-length: 0\r\n\r\n", OK + b"content-length: 0\r\n\r\n", None),
    "a body without a length": (OK + b"\r\n", b"x", None),
}  # fmt: skip


@asynccontextmanager
async def endless(first: bytes, on_and_on: bytes) -> AsyncIterator[tuple[str, list[int]]]:
    """A server that sends as fast as it can; yields its URL and how many bytes it sent to each connection."""
    unit, sent = on_and_on * max(1, 65536 // len(on_and_on)), []

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(sent)
        sent.append(0)
        writer.write(first)
        while sent[number] < 200_000_000:
            writer.write(unit)
            await writer.drain()
            sent[number] += len(unit)
            await asyncio.sleep(0)

    async with raw_server(flood) as url:
        yield url, sent


@pytest.mark.parametrize("kind", ENDLESS)
async def test_what_has_no_end_is_cut_off(resources: Resources, pool: Pool, customer: Customer, kind: str) -> None:
    first, on_and_on, said = ENDLESS[kind]
    async with endless(first, on_and_on) as (url, sent):
        endpoint = await customer.create(url)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        async with working(resources, ONCE):
            await publish(pool, customer.account_id)
            if said is None:
                (row,) = await until(lambda: log_of(pool, endpoint["id"]))
                assert row["state"] == "succeeded"
                assert len(row["response"] or "") <= 4096
            else:
                (row,) = await until(lambda: attempts_of(pool, endpoint["id"]))
                assert row["error"].startswith(said)
        assert row["duration_ms"] < 5000  # no time-out was needed
        assert len(sent) == 1
        assert sent[0] < 20_000_000  # what was taken, and what sockets buffer
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KB


async def test_floods_do_not_hold_up_other_endpoints(
    *, resources: Resources, pool: Pool, customer: Customer, receiver: Receiver, app: ServiceApp
) -> None:
    good = Customer(app)
    await good.create(receiver.url)
    async with endless(*ENDLESS["early hints"][:2]) as (hints, sent), endless(*ENDLESS["chunks"][:2]) as (chunks, _):
        for url in (hints, chunks):
            await customer.create(url)
        async with working(resources, ONCE):
            await publish(pool, customer.account_id, 30)
            began = asyncio.get_running_loop().time()
            events = await publish(pool, good.account_id, 30)
            await until(lambda: len(receiver.ids) == len(events))
            assert asyncio.get_running_loop().time() - began < 5
            await until(lambda: len(sent) >= 30)


async def test_early_hints_before_an_answer_are_read_over(resources: Resources, pool: Pool, customer: Customer) -> None:
    async def hint(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" + b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" * 3)
        await writer.drain()
        writer.write(OK + b"content-length: 6\r\n\r\nthanks")
        await writer.drain()

    async with raw_server(hint) as url:
        endpoint = await customer.create(url)
        async with working(resources):
            await publish(pool, customer.account_id)
            (row,) = await until(lambda: log_of(pool, endpoint["id"]))
    assert (row["state"], row["status_code"], row["response"]) == ("succeeded", 200, "thanks")


async def test_nobody_is_switched_to_another_protocol(resources: Resources, pool: Pool, customer: Customer) -> None:
    async def switch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async with raw_server(switch) as url:
        endpoint = await customer.create(url)
        async with working(resources, replace(ONCE, timeout_s=1.0)):
            await publish(pool, customer.account_id)
            (attempt,) = await until(lambda: attempts_of(pool, endpoint["id"]))
    assert attempt["status_code"] in (101, None)
    assert attempt["error"]
    assert not attempt["response"]


async def test_no_redirect_is_followed(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    locations = (METADATA, "//169.254.169.254/", "file:///etc/passwd", "/elsewhere", "")
    ways = [(status, METADATA) for status in (300, 301, 302, 303, 304, 307)] + [(308, place) for place in locations]

    async def redirect(request: web.Request) -> web.Response:
        status, location = ways[int(request.query["way"])]
        return web.Response(status=status, headers={"Location": location, "Refresh": f"0; url={location}"})

    receiver.answer = redirect
    endpoints = [await customer.create(f"{receiver.url}?way={number}") for number in range(len(ways))]
    async with working(resources, ONCE):
        await publish(pool, customer.account_id)
        for endpoint, (status, _) in zip(endpoints, ways, strict=True):
            (attempt,) = await until(lambda endpoint=endpoint: attempts_of(pool, endpoint["id"]))
            assert attempt["status_code"] == status
            assert attempt["error"] == f"redirect: the endpoint answered {status}, and redirects are not followed"
    assert len(receiver.got) == len(ways)


async def test_a_bomb_stays_as_small_as_it_was_sent(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    bomb = gzip.compress(b"\0" * 50_000_000, 9)

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=bomb, headers={"Content-Encoding": request.query["as"]})

    receiver.answer = answer
    encodings = ("gzip", "deflate", "br", "zstd", "gzip,gzip")
    endpoints = [await customer.create(f"{receiver.url}?as={encoding}") for encoding in encodings]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with working(resources):
        await publish(pool, customer.account_id)
        for endpoint in endpoints:
            (row,) = await until(lambda endpoint=endpoint: log_of(pool, endpoint["id"]))
            assert row["state"] == "succeeded"
            assert len(row["response"]) <= 4096
            assert row["response"].startswith("\x1f\ufffd\x08")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000


async def test_cookies_are_not_kept(resources: Resources, pool: Pool, customer: Customer, receiver: Receiver) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(headers={"Set-Cookie": "a=b; Path=/"})

    receiver.answer = answer
    await customer.create(receiver.url)
    async with working(resources):
        for number in (1, 2):
            await publish(pool, customer.account_id)
            await until(lambda number=number: len(receiver.got) == number)
    assert not [got for got in receiver.got if "cookie" in got.headers]


async def test_an_answer_is_stored_as_text_whatever_it_is(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=b"\0\xff\r\n" + "سلام".encode() * 2000, content_type="image/png")

    receiver.answer = answer
    endpoint = await customer.create(receiver.url)
    async with working(resources):
        await publish(pool, customer.account_id)
        (row,) = await until(lambda: log_of(pool, endpoint["id"]))
    assert row["response"].startswith("\ufffd\ufffd\r\n\u0633\u0644")
    assert len(row["response"].encode()) <= 4096 + 3 * 2  # both first bytes as three


# ---- what customers set themselves


HEADERS: list[dict[str, str]] = [
    {"X-A": "b\r\nX-Admin: 1"}, {"X-A": "b\nX-Admin: 1"}, {"X-A": "b\0"}, {"X-A": "é"}, {"X-A\r\nX-B": "c"},
    {"X-A: b\r\nX-C": "d"}, {"X A": "b"}, {"": "b"}, {"Host": "internal"}, {"content-length": "0"},
    {"Transfer-Encoding": "chunked"}, {"Proxy-Authorization": "Basic eDp5"}, {"Webhook-Signature": "v1,x"},
    {"USER-AGENT": "curl"}, {"Connection": "close"}, {"Upgrade": "h2c"}, {"Expect": "100-continue"},
]  # fmt: skip


async def test_headers_that_would_change_the_request_are_refused(customer: Customer) -> None:
    for headers in HEADERS:
        body = {"url": "http://127.0.0.1:9/", "events": ["*"], "headers": headers}
        answer = await customer.call("POST", "/v1/webhooks", body)
        assert (answer.status, answer.json["code"]) == (422, "invalid_request"), headers


async def test_a_urls_odd_bytes_stay_in_the_request_line(resources: Resources, pool: Pool, customer: Customer) -> None:
    heads: list[bytes] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK + b"content-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        for path in ("/a%0d%0aX-Admin:%201", "/?q=%0AX-Admin:1", "/é ü".replace(" ", "%20"), "/a;b='c'\"d\""):
            await customer.create(f"http://127.0.0.1:{port}{path}")
        async with working(resources):
            await publish(pool, customer.account_id)
            await until(lambda: len(heads) == 4)
    for head in heads:
        line, *lines = head.split(b"\r\n")
        assert line.startswith(b"POST /")
        assert line.endswith(b" HTTP/1.1")
        assert line.count(b" ") == 2
        assert not any(one.lower().startswith(b"x-admin") for one in lines)


# ---- names that change their mind


@pytest.mark.parametrize("address", ["169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fe80::1"])
async def test_the_address_that_was_judged_is_the_one_connected_to(
    *, resources: Resources, pool: Pool, customer: Customer, receiver: Receiver, address: str
) -> None:
    lookups = 0

    def rebinding(host: str, port: int) -> list[tuple[Any, ...]]:
        nonlocal lookups
        lookups += 1
        return answering("127.0.0.1" if lookups == 1 else address)(host, port)

    async def close(_: web.Request) -> web.Response:
        return web.Response(headers={"Connection": "close"})

    receiver.answer = close  # so that each delivery needs a connection of its own
    port = receiver.url.split(":")[2].partition("/")[0]
    await customer.create(f"http://turncoat.example:{port}/hook")
    async with working(resources, ONCE, rebinding):
        await publish(pool, customer.account_id, 5)
        await until(lambda: len(receiver.ids) == 5)
        assert lookups == 1
    # a worker that asks again is told the other address, and refuses it
    async with working(resources, ONCE, rebinding):
        await publish(pool, customer.account_id)
        row = await until(lambda: pool.fetchrow("SELECT error FROM webhooks.attempts"))
    assert row["error"].startswith("address_refused: ")
    assert lookups == 2
    assert len(receiver.ids) == 5
