"""Upstreams that refuse, reset, break off, hang or have no name, over real sockets; and who answers in their place."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from ghasi import __version__
from ghasi.contract.row import Upstream
from ghasi.contract.serving import Receive, Scope, Send
from ghasi.contract.table import BY_OPERATION
from ghasi.gateway.app import Gateway
from ghasi.gateway.upstreams import (
    MAX_ANSWER_BYTES,
    HttpUpstream,
    InProcessUpstream,
    NameNotResolved,
    UpstreamError,
    UpstreamRequest,
    connect_upstreams,
)
from ghasi.settings import Settings
from tests.asgi import Answer, request
from tests.gateway.services import AuthService, Recorder, bearer, running
from tests.live import live

BAD_GATEWAY = "An invalid response was received from the upstream server"
TOO_SLOW = "The upstream server is timing out"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
Behave = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def unused_url() -> str:
    """An address where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


class RawServer:
    """Speaks what a test wants on accepted connections, and counts the requests that came in."""

    def __init__(self, behave: Behave) -> None:
        self._behave = behave
        self.requests: list[bytes] = []
        self.connections = 0

    async def read_request(self, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        self.requests.append(head)
        return head

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._behave(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            await server.wait_closed()


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    writer.transport.abort()


def answering(*parts: bytes, by_reset: bool = False) -> RawServer:
    """A server that reads a request, writes the parts and closes or resets."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read_request(reader)
        for part in parts:
            writer.write(part)
            await writer.drain()
        if by_reset:
            reset(writer)

    server = RawServer(behave)
    return server


def hanging(first: bytes = b"") -> RawServer:
    """A server that reads a request, writes `first` and then nothing until the client goes."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read_request(reader)
        writer.write(first)
        await reader.read()

    server = RawServer(behave)
    return server


def holds_kongs_error(answer: Answer, status: int, message: str) -> None:
    assert answer.status == status
    assert answer.json == {"message": message, "request_id": answer.header("x-kong-request-id")}
    assert answer.header("content-type") == "application/json; charset=utf-8"
    assert answer.all("via") == [f"1.1 ghasi/{__version__}"]
    assert answer.all("server") == [f"ghasi/{__version__}"]
    assert int(answer.header("x-kong-upstream-latency") or -1) >= 0
    assert int(answer.header("x-kong-proxy-latency") or -1) >= 0
    assert answer.header("ratelimit-limit"), "it was counted"


BREAKING_OFF = {
    "closed without a word": answering,
    "reset without a word": lambda: answering(by_reset=True),
    "not HTTP": lambda: answering(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "half a head": lambda: answering(b"HTTP/1.1 200 OK\r\nContent-"),
    "half a body": lambda: answering(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}"),
    "half a body and reset": lambda: answering(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}", by_reset=True),
    "half a chunk": lambda: answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"),
    "no last chunk": lambda: answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"),
    "another protocol": lambda: answering(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"),
    "too large by its length": lambda: answering(b"HTTP/1.1 200 OK\r\nContent-Length: 16777217\r\n\r\n{}"),
    "too large by its end": lambda: answering(
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b"x" * (MAX_ANSWER_BYTES + 1)
    ),
}


@pytest.mark.parametrize("case", BREAKING_OFF)
@pytest.mark.parametrize(("method", "target"), [("GET", "/v1/billing/usage"), ("POST", "/v1/messages")])
async def test_an_upstream_that_breaks_off_is_a_502(auth: AuthService, case: str, method: str, target: str) -> None:
    server = BREAKING_OFF[case]()
    async with server.listening() as url:
        split = dict.fromkeys((Upstream.BILLING, Upstream.ORCHESTRATOR), HttpUpstream(url))
        async with running(auth, split) as gateway:
            answer = await request(gateway, method, target, headers=bearer())
    holds_kongs_error(answer, 502, BAD_GATEWAY)
    assert len(server.requests) == 1, "on a fresh connection nothing is sent twice"


async def test_an_upstream_that_refuses_is_a_502(auth: AuthService) -> None:
    async with running(auth, {Upstream.ORCHESTRATOR: HttpUpstream(unused_url())}) as gateway:
        answer = await request(gateway, "POST", "/v1/messages", headers=bearer(), json={})
    holds_kongs_error(answer, 502, BAD_GATEWAY)


async def test_an_upstream_without_an_address_is_a_503(auth: AuthService) -> None:
    async with running(auth, {Upstream.ORCHESTRATOR: HttpUpstream("http://nowhere.invalid:8080")}) as gateway:
        answer = await request(gateway, "POST", "/v1/messages", headers=bearer(), json={})
    holds_kongs_error(answer, 503, "name resolution failed")


async def test_a_service_that_throws_in_process_is_a_502(auth: AuthService) -> None:
    async def throwing(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    async def unfinished(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})

    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        return

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x" * 1024 * 1024, "more_body": True})

    for app in (throwing, unfinished, silent, endless):
        async with running(auth, app) as gateway:
            answer = await request(gateway, "GET", "/v1/messages", headers=bearer())
        holds_kongs_error(answer, 502, BAD_GATEWAY)


@pytest.mark.parametrize("status", [200, 202, 400, 401, 404, 409, 422, 429, 500, 503])
async def test_an_upstreams_own_answer_is_passed_on_unchanged(auth: AuthService, status: int) -> None:
    upstream = Recorder(status=status, body=b'{"its": "own"}', headers=[(b"content-type", b"application/problem+json")])
    async with live(upstream) as url, running(auth, {Upstream.BILLING: HttpUpstream(url)}) as gateway:
        over_http = await request(gateway, "GET", "/v1/billing/usage", headers=bearer())
    async with running(auth, upstream) as gateway:
        in_process = await request(gateway, "GET", "/v1/billing/usage", headers=bearer())
    for answer in (over_http, in_process):
        assert (answer.status, answer.body) == (status, b'{"its": "own"}')
        assert answer.header("content-type") == "application/problem+json"
        assert answer.header("via") == f"1.1 ghasi/{__version__}"


async def test_redirects_cookies_and_compression_are_the_clients_business(auth: AuthService) -> None:
    upstream = Recorder(
        status=307,
        body=b"\x1f\x8bnot really gzip",
        headers=[(b"location", b"/elsewhere"), (b"set-cookie", b"a=1; Path=/"), (b"content-encoding", b"gzip")],
    )
    async with live(upstream) as url:
        named = url.replace("127.0.0.1", "localhost")  # a cookie jar would keep no cookies of bare addresses
        async with running(auth, {Upstream.BILLING: HttpUpstream(named)}) as gateway:
            for _ in range(2):
                answer = await request(
                    gateway, "GET", "/v1/billing/usage", headers=bearer() | {"accept-encoding": "gzip"}
                )
    assert (answer.status, answer.body) == (307, b"\x1f\x8bnot really gzip")
    assert answer.header("location") == "/elsewhere"
    assert answer.header("content-encoding") == "gzip"
    assert upstream.last.all("cookie") == []
    assert upstream.last.all("accept-encoding") == ["gzip"]
    assert not upstream.last.all("user-agent")
    assert len(upstream.received) == 2


FIVE = {
    "get_me": ("/v1/auth/me", 4.75),
    "list_webhooks": ("/v1/webhooks", 4.75),
    "send_message": ("/v1/messages", 9.75),
    "list_messages": ("/v1/messages", 7.75),
    "get_usage": ("/v1/billing/usage", 7.75),
}


async def test_a_hanging_upstream_is_a_504_after_its_rows_time_in_all(auth: AuthService) -> None:
    """Over HTTP and in process, silent from the start or amidst its body; every time-out at once."""
    silent, amidst = hanging(), hanging(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}")
    spare = Recorder()

    async def hang(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.get_running_loop().create_future()

    async def measure(gateway: Gateway, operation: str) -> tuple[str, float, float, Answer]:
        path, expected_s = FIVE[operation]
        started_at = time.perf_counter()
        late_s = asyncio.create_task(lateness(expected_s))
        answer = await request(gateway, BY_OPERATION[operation].method, path, headers=bearer())
        took_s = time.perf_counter() - started_at
        return operation, took_s, await late_s, answer

    async def lateness(*sleeps_s: float) -> float:
        """How late a stalled machine wakes whoever sleeps so long, one sleep after the other."""
        started_at = time.perf_counter()
        for sleep_s in sleeps_s:
            await asyncio.sleep(sleep_s)
        return time.perf_counter() - started_at - sum(sleeps_s)

    async def measure_slow_body(gateway: Gateway) -> tuple[float, float]:
        async def sent_slowly(scope: Scope, receive: Receive, send: Send) -> None:
            async def receive_slowly() -> MutableMapping[str, Any]:
                await asyncio.sleep(1)
                return await receive()

            await gateway(scope, receive_slowly, send)

        started_at = time.perf_counter()
        late_s = asyncio.create_task(lateness(1, 4.75))
        assert (await request(sent_slowly, "POST", "/v1/webhooks", headers=bearer(), body=b"{}")).status == 504
        took_s = time.perf_counter() - started_at
        return took_s, await late_s

    async with silent.listening() as silent_url, amidst.listening() as amidst_url, live(spare) as spare_url:
        rest = {Upstream.WEBHOOKS: HttpUpstream(silent_url), Upstream.BILLING: HttpUpstream(amidst_url)}
        store_hangs = {**rest, Upstream.STORE: HttpUpstream(silent_url), Upstream.ORCHESTRATOR: HttpUpstream(spare_url)}
        orchestrator_hangs = {**rest, Upstream.ORCHESTRATOR: HttpUpstream(amidst_url)}
        async with (
            running(auth, store_hangs) as one,
            running(auth, orchestrator_hangs, instance="instance-1") as two,
            running(auth, hang) as inside,
        ):
            slow_body = asyncio.create_task(measure_slow_body(one))
            measured = await asyncio.gather(
                *(measure(one, operation) for operation in ("list_webhooks", "list_messages", "get_usage")),
                measure(two, "send_message"),
                *(measure(inside, operation) for operation in FIVE),
            )
            took_s, late_s = await slow_body
            assert 5.7 <= took_s < 5.95 + late_s, "what a client takes for its body is not the upstream's time"
    for operation, took_s, late_s, answer in measured:
        holds_kongs_error(answer, 504, TOO_SLOW)
        expected_s = FIVE[operation][1]
        assert BY_OPERATION[operation].upstream_timeout_s == expected_s
        assert expected_s - 0.05 <= took_s < expected_s + 0.2 + late_s, operation
        upstream_s = int(answer.header("x-kong-upstream-latency") or 0) / 1000
        assert expected_s - 0.2 < upstream_s < expected_s + 0.2 + late_s, operation
    assert not spare.received, "a slow upstream is answered for by nobody"


async def test_message_reads_are_answered_by_the_orchestrator_when_the_store_is_gone(auth: AuthService) -> None:
    spare = Recorder()
    closing, resetting = answering(), answering(by_reset=True)
    async with live(spare) as spare_url, closing.listening() as closing_url, resetting.listening() as resetting_url:
        gone = (unused_url(), "http://nowhere.invalid:1", closing_url, resetting_url)
        for url in gone:
            split = {Upstream.STORE: HttpUpstream(url), Upstream.ORCHESTRATOR: HttpUpstream(spare_url)}
            async with running(auth, split) as gateway:
                for target in ("/v1/messages?limit=2", "/v1/messages/0190a0a0-0000-7000-8000-000000000009"):
                    answer = await request(gateway, "GET", target, headers=bearer())
                    assert (answer.status, answer.json) == (200, {"from": "upstream"})
                    assert f"{spare.last.path}?{spare.last.query}".rstrip("?") == target
    assert len(spare.received) == 2 * len(gone)
    assert len(closing.requests) == len(resetting.requests) == 2


async def test_what_the_store_answered_stands(auth: AuthService) -> None:
    spare = Recorder()
    half = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}")
    broken = Recorder(status=500)
    async with live(spare) as spare_url, half.listening() as half_url, live(broken) as broken_url:
        for url, status in ((half_url, 502), (broken_url, 500)):
            split = {Upstream.STORE: HttpUpstream(url), Upstream.ORCHESTRATOR: HttpUpstream(spare_url)}
            async with running(auth, split) as gateway:
                assert (await request(gateway, "GET", "/v1/messages", headers=bearer())).status == status
    assert not spare.received


async def test_sending_is_never_passed_to_another_upstream(auth: AuthService) -> None:
    spare = Recorder()
    async with live(spare) as spare_url:
        split = {Upstream.ORCHESTRATOR: HttpUpstream(unused_url()), Upstream.STORE: HttpUpstream(spare_url)}
        async with running(auth, split) as gateway:
            assert (await request(gateway, "POST", "/v1/messages", headers=bearer(), json={})).status == 502
    assert not spare.received


async def test_when_both_are_gone_the_last_ones_fault_is_answered(auth: AuthService) -> None:
    split = {
        Upstream.STORE: HttpUpstream("http://nowhere.invalid:1"),
        Upstream.ORCHESTRATOR: HttpUpstream(unused_url()),
    }
    async with running(auth, split) as gateway:
        holds_kongs_error(await request(gateway, "GET", "/v1/messages", headers=bearer()), 502, BAD_GATEWAY)


@pytest.mark.parametrize(("method", "sent_again"), [("GET", True), ("POST", False), ("PUT", False), ("DELETE", False)])
async def test_only_a_get_is_sent_again_when_a_kept_connection_proves_stale(method: str, sent_again: bool) -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read_request(reader)
        writer.write(OK)
        await server.read_request(reader)
        if server.connections == 1:
            reset(writer)
            return
        writer.write(OK)

    server = RawServer(behave)
    async with server.listening() as url:
        client = HttpUpstream(url)
        try:
            assert (await client.send(UpstreamRequest("GET", "/first", b"", []))).status == 200
            if sent_again:
                assert (await client.send(UpstreamRequest(method, "/second", b"", []))).status == 200
            else:
                with pytest.raises(UpstreamError) as raised:
                    await client.send(UpstreamRequest(method, "/second", b"", [], b"{}"))
                assert not raised.value.answered
        finally:
            await client.close()
    assert [head.split(b" ")[1] for head in server.requests].count(b"/second") == (2 if sent_again else 1)


async def test_connections_are_kept_and_bounded(auth: AuthService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ghasi.gateway.upstreams.MAX_CONNECTIONS", 4)

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await server.read_request(reader)
            await asyncio.sleep(0)
            writer.write(OK)

    server = RawServer(behave)
    async with server.listening() as url, running(auth, {Upstream.BILLING: HttpUpstream(url)}) as gateway:
        answers = await asyncio.gather(
            *(request(gateway, "GET", "/v1/billing/usage", headers=bearer()) for _ in range(100))
        )
    assert {answer.status for answer in answers} == {200}
    assert server.connections <= 4


async def test_header_values_reach_the_upstream_byte_for_byte(auth: AuthService) -> None:
    upstream = Recorder()
    async with live(upstream) as url:
        client = HttpUpstream(url)
        await client.send(UpstreamRequest("GET", "/", b"", [(b"x-utf-8", "é✓".encode()), (b"x-plain", b"a, b")]))
        await client.close()
    assert upstream.last.all("x-utf-8") == ["é✓".encode().decode("latin-1")]
    assert upstream.last.all("x-plain") == ["a, b"]


async def test_a_name_without_address_is_told_apart() -> None:
    client = HttpUpstream("http://nowhere.invalid")
    with pytest.raises(NameNotResolved):
        await client.send(UpstreamRequest("GET", "/", b"", []))
    await client.close()


def test_upstreams_are_in_process_unless_they_have_a_url() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise NotImplementedError

    clients = connect_upstreams(Settings(message_store_url="http://127.0.0.1:9"), app)
    assert set(clients) == set(Upstream)
    assert isinstance(clients[Upstream.STORE], HttpUpstream)
    assert isinstance(clients[Upstream.AUTH], InProcessUpstream)
    with pytest.raises(ValueError, match="GHASI_AUTH_SERVICE_URL must be set"):
        connect_upstreams(Settings(message_store_url="http://127.0.0.1:9"), None)


async def test_an_http_upstream_behind_the_gateway_serves_real_clients(auth: AuthService) -> None:
    upstream = Recorder()
    async with (
        live(upstream) as upstream_url,
        running(auth, {Upstream.ORCHESTRATOR: HttpUpstream(upstream_url)}) as gateway,
        live(gateway, server_header=False) as url,
        aiohttp.ClientSession() as client,
    ):
        for _ in range(5):
            async with client.post(f"{url}/v1/messages", headers=bearer(), json={"to": "+1"}) as answer:
                assert answer.status == 200
    assert [received.body for received in upstream.received] == [b'{"to": "+1"}'] * 5
