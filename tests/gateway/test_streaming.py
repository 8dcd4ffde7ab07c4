"""Answers of any size pass through the gateway piece by piece, over real sockets, from this process and over HTTP."""

import asyncio
import contextlib
import hashlib
import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from prometheus_client import REGISTRY

from ghasi.contract.errors import Problem
from ghasi.contract.row import CSV, PDF, Upstream
from ghasi.contract.serving import Call, Reply, ServiceApp
from ghasi.contract.table import BY_OPERATION
from ghasi.gateway.upstreams import HttpUpstream, UpstreamClient
from ghasi.storage.pool import UNAVAILABLE, Pool
from tests.asgi import request
from tests.gateway.services import ACCOUNT_ID, USER_ID, AuthService, bearer, running
from tests.gateway.test_upstreams import (
    BAD_GATEWAY,
    BREAKING_OFF,
    TOO_SLOW,
    RawServer,
    answering,
    hanging,
    holds_kongs_error,
    unused_url,
)
from tests.live import live

PATH = "/v1/messages/export"
MEGABYTE = 1024 * 1024
Pieces = Callable[[], AsyncGenerator[bytes, None]]
both_ways = pytest.mark.parametrize("split", [False, True], ids=["in process", "over HTTP"])


@asynccontextmanager
async def exporting(auth: AuthService, pieces: Pieces, *, split: bool) -> AsyncIterator[str]:
    """The URL of a gateway before a message-store whose export is `pieces`."""

    async def export_messages(call: Call) -> Reply:
        return Reply(pieces(), headers=[(b"content-disposition", b'attachment; filename="messages.csv"')])

    service = ServiceApp({"export_messages": export_messages}, unavailable=UNAVAILABLE)
    async with contextlib.AsyncExitStack() as stack:
        others: ServiceApp | dict[Upstream, UpstreamClient] = service
        if split:
            others = {Upstream.STORE: HttpUpstream(await stack.enter_async_context(live(service, server_header=False)))}
        gateway = await stack.enter_async_context(running(auth, others))
        yield await stack.enter_async_context(live(gateway, server_header=False))


@asynccontextmanager
async def behind(auth: AuthService, server: RawServer) -> AsyncIterator[str]:
    """The URL of a gateway before a message-store that speaks as a test wants."""
    async with (
        server.listening() as url,
        running(auth, {Upstream.STORE: HttpUpstream(url)}) as gateway,
        live(gateway, server_header=False) as gateway_url,
    ):
        yield gateway_url


@asynccontextmanager
async def asking(url: str) -> AsyncIterator[aiohttp.ClientResponse]:
    async with aiohttp.ClientSession() as client, client.get(url + PATH, headers=bearer()) as answer:
        yield answer


async def open_raw(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that reads the answer's head and from then on only what it is told to."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=64 * 1024)
    writer.write(f"GET {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer()['authorization']}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    return reader, writer


async def until(happened: Callable[[], bool], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not happened():
            await asyncio.sleep(0.01)


def broken_off(by: str) -> float:
    labels = {"operation": "export_messages", "by": by}
    return REGISTRY.get_sample_value("ghasi_gateway_streams_broken_off_total", labels) or 0.0


@pytest.fixture
def short_time(monkeypatch: pytest.MonkeyPatch) -> float:
    """The row's time at the upstream, cut to 0.4 s."""
    return cut_short(monkeypatch, 0.4)


def cut_short(monkeypatch: pytest.MonkeyPatch, timeout_s: float) -> float:
    monkeypatch.setattr("ghasi.contract.row.GATEWAY_MARGIN_S", BY_OPERATION["export_messages"].timeout_s - timeout_s)
    return BY_OPERATION["export_messages"].upstream_timeout_s


@both_ways
async def test_fifty_megabytes_pass_with_little_of_them_held(auth: AuthService, *, split: bool) -> None:
    made = taken = furthest = 0
    sums = hashlib.sha256(), hashlib.sha256()

    async def pieces() -> AsyncGenerator[bytes, None]:
        nonlocal made
        for number in range(800):
            piece = b"%07d\n" % number * (64 * 1024 // 8)
            made += len(piece)
            sums[0].update(piece)
            yield piece

    async with exporting(auth, pieces, split=split) as url, asking(url) as answer:
        assert answer.status == 200
        assert answer.headers["content-type"] == CSV
        assert answer.headers["content-disposition"] == 'attachment; filename="messages.csv"'
        assert answer.headers["transfer-encoding"] == "chunked"
        assert answer.headers.getall("server") == [answer.headers["via"].removeprefix("1.1 ")]
        assert int(answer.headers["ratelimit-limit"]) == 10
        assert len(answer.headers["x-kong-request-id"]) == 32
        tracemalloc.start()
        try:
            stopped_at = -1
            while made != stopped_at:  # nobody reads: what is made goes as far as the sockets' buffers
                stopped_at = made
                await asyncio.sleep(0.2)
            async for chunk in answer.content.iter_any():
                taken += len(chunk)
                furthest = max(furthest, made - taken)
                sums[1].update(chunk)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert made == taken == 50 * MEGABYTE
    assert sums[0].digest() == sums[1].digest()
    assert stopped_at < 30 * MEGABYTE, "no more is made than the sockets take"
    assert furthest < 30 * MEGABYTE
    assert peak < 6 * MEGABYTE


@both_ways
async def test_a_stream_may_take_longer_than_the_rows_time(
    auth: AuthService, monkeypatch: pytest.MonkeyPatch, *, split: bool
) -> None:
    timeout_s = cut_short(monkeypatch, 1.5)  # a machine that stalls may take a second of it from a piece

    async def pieces() -> AsyncGenerator[bytes, None]:
        for _ in range(4):
            await asyncio.sleep(timeout_s / 3)
            yield b"piece"

    async with exporting(auth, pieces, split=split) as url, asking(url) as answer:
        assert await answer.read() == b"piece" * 4


@both_ways
async def test_a_stall_between_pieces_ends_the_connection(auth: AuthService, short_time: float, *, split: bool) -> None:
    closed = asyncio.Event()

    async def pieces() -> AsyncGenerator[bytes, None]:
        try:
            yield b"first"
            await asyncio.sleep(60)
        finally:
            closed.set()

    before = broken_off("upstream")
    async with exporting(auth, pieces, split=split) as url, asking(url) as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
        async with asyncio.timeout(10):
            await closed.wait()
    assert broken_off("upstream") == before + 1


@both_ways
async def test_a_fault_before_the_first_piece_is_a_problem(auth: AuthService, *, split: bool) -> None:
    for fault, status, code in (
        (ZeroDivisionError(), 500, "internal_error"),
        (TimeoutError(), 503, "service_unavailable"),
        (Problem("not_found"), 404, "not_found"),
    ):

        async def pieces(fault: Exception = fault) -> AsyncGenerator[bytes, None]:
            raise fault
            yield b""

        async with exporting(auth, pieces, split=split) as url, asking(url) as answer:
            assert answer.status == status
            assert answer.headers["content-type"] == "application/problem+json"
            assert "content-disposition" not in answer.headers
            assert answer.headers["content-length"] == str(len(await answer.read()))
            assert (await answer.json(content_type=None))["code"] == code
            assert (await answer.json(content_type=None))["request_id"] == answer.headers["x-kong-request-id"]


@both_ways
async def test_a_fault_after_the_first_piece_breaks_the_connection_off(auth: AuthService, *, split: bool) -> None:
    async def pieces() -> AsyncGenerator[bytes, None]:
        yield b"first"
        yield b"second"
        raise ZeroDivisionError

    before = broken_off("upstream")
    async with exporting(auth, pieces, split=split) as url:
        async with asking(url) as answer:
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()
        assert broken_off("upstream") == before + 1
        async with asking(url) as answer:
            assert answer.status == 200, "the gateway goes on"


@both_ways
async def test_an_empty_stream_is_an_empty_success(auth: AuthService, *, split: bool) -> None:
    async def pieces() -> AsyncGenerator[bytes, None]:
        for piece in ():
            yield piece

    async with exporting(auth, pieces, split=split) as url, asking(url) as answer:
        assert (answer.status, await answer.read()) == (200, b"")
        assert answer.headers["content-type"] == CSV


async def sleepers(pool: Pool) -> int:
    count: int = await pool.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' "
        "AND query LIKE '%pg_sleep(600%' AND pid <> pg_backend_pid()"
    )
    return count


@both_ways
@pytest.mark.parametrize("pieces_before", [0, 1])
async def test_the_query_ends_when_the_client_leaves(
    auth: AuthService, pool: Pool, monkeypatch: pytest.MonkeyPatch, pieces_before: int, *, split: bool
) -> None:
    monkeypatch.setattr("ghasi.contract.row.GATEWAY_MARGIN_S", -600.0)  # no time-out ends it

    async def pieces() -> AsyncGenerator[bytes, None]:
        for _ in range(pieces_before):
            yield b"first"
        await pool.fetch("SELECT pg_sleep(600)")

    before = broken_off("client")
    async with exporting(auth, pieces, split=split) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer()['authorization']}\r\n\r\n".encode())
        async with asyncio.timeout(20):
            if pieces_before:
                await reader.readuntil(b"first")
            while await sleepers(pool) != 1:
                await asyncio.sleep(0.01)
            writer.close()
            while await sleepers(pool):
                await asyncio.sleep(0.01)
        await until(lambda: broken_off("client") == before + pieces_before)


@both_ways
async def test_a_client_that_takes_nothing_is_left(
    auth: AuthService, monkeypatch: pytest.MonkeyPatch, *, split: bool
) -> None:
    monkeypatch.setattr("ghasi.gateway.exchange.CLIENT_TIMEOUT_S", 0.3)
    closed = asyncio.Event()

    async def pieces() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"x" * MEGABYTE
        finally:
            closed.set()

    before = broken_off("client")
    async with exporting(auth, pieces, split=split) as url:
        _, writer = await open_raw(url)
        async with asyncio.timeout(10):
            await closed.wait()
        await until(lambda: broken_off("client") == before + 1)
        writer.transport.abort()


@pytest.mark.parametrize("case", [
    "closed without a word", "reset without a word", "not HTTP", "half a head", "another protocol",
])  # fmt: skip
async def test_what_breaks_off_before_its_head_is_a_502(auth: AuthService, case: str) -> None:
    async with BREAKING_OFF[case]().listening() as url:
        split = {Upstream.STORE: HttpUpstream(url)}
        async with running(auth, split) as gateway:
            holds_kongs_error(await request(gateway, "GET", PATH, headers=bearer()), 502, BAD_GATEWAY)


async def test_nobody_there_is_a_502_and_no_name_a_503(auth: AuthService) -> None:
    for url, status, message in (
        (unused_url(), 502, BAD_GATEWAY),
        ("http://nowhere.invalid:8080", 503, "name resolution failed"),
    ):
        async with running(auth, {Upstream.STORE: HttpUpstream(url)}) as gateway:
            holds_kongs_error(await request(gateway, "GET", PATH, headers=bearer()), status, message)


@both_ways
async def test_no_head_in_time_is_a_504(auth: AuthService, short_time: float, *, split: bool) -> None:
    closed = asyncio.Event()

    async def pieces() -> AsyncGenerator[bytes, None]:
        try:
            await asyncio.sleep(60)
            yield b""
        finally:
            closed.set()

    async with exporting(auth, pieces, split=split) as url, asking(url) as answer:
        assert answer.status == 504
        assert (await answer.json())["message"] == TOO_SLOW
        assert 350 <= int(answer.headers["x-kong-upstream-latency"]) < 1500
        async with asyncio.timeout(10):
            await closed.wait()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\n"


@pytest.mark.parametrize("server", [
    lambda: answering(HEAD + b"Content-Length: 10\r\n\r\nhalf"),
    lambda: answering(HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
    lambda: answering(HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", by_reset=True),
], ids=["by its length", "no last chunk", "reset"])  # fmt: skip
async def test_half_an_upstreams_stream_is_half_to_the_client(
    auth: AuthService, server: Callable[[], RawServer]
) -> None:
    async with behind(auth, server()) as url:
        reader, writer = await open_raw(url)
        async with asyncio.timeout(5):
            rest = await reader.read()
        writer.close()
    assert b"half" in rest
    assert not rest.endswith(b"0\r\n\r\n"), "the last chunk, which says that it is whole, never comes"


async def test_half_an_upstreams_problem_is_a_502(auth: AuthService) -> None:
    server = answering(b"HTTP/1.1 422 No\r\nContent-Length: 10\r\n\r\nhalf")
    async with behind(auth, server) as url, asking(url) as answer:
        assert (answer.status, (await answer.json())["message"]) == (502, BAD_GATEWAY)


async def test_a_hanging_upstream_stream_is_cut_and_its_connection_closed(auth: AuthService, short_time: float) -> None:
    server = hanging(HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
    async with behind(auth, server) as url, asking(url) as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_a_stale_connection_is_no_error_of_a_stream(auth: AuthService) -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read_request(reader)
        writer.write(HEAD + b"Content-Length: 5\r\n\r\nwhole")
        if server.connections == 1:
            await server.read_request(reader)

    server = RawServer(behave)
    async with behind(auth, server) as url:
        for _ in range(2):
            async with asking(url) as answer:
                assert (answer.status, await answer.read()) == (200, b"whole")
    assert (len(server.requests), server.connections) == (3, 2)


async def test_bytes_go_as_what_the_row_says(auth: AuthService) -> None:
    async def get_invoice_pdf(call: Call) -> Reply:
        return Reply(b"%PDF-1.7", headers=[(b"content-disposition", b'inline; filename="1.pdf"')])

    app = ServiceApp({"get_invoice_pdf": get_invoice_pdf})
    injected = {"x-account-id": ACCOUNT_ID, "x-user-id": USER_ID}
    answer = await request(app, "GET", f"/v1/billing/invoices/{ACCOUNT_ID}/pdf", headers=injected)
    assert (answer.status, answer.body, answer.header("content-type")) == (200, b"%PDF-1.7", PDF)
    assert answer.header("content-length") == "8"
