"""The bounds of a request's head, over raw sockets before a real server."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ghasi.processes import listening
from ghasi.processes.listening import HttpServer
from ghasi.processes.protocol import BoundedHttp

KEEP_ALIVE_S = 4
POST = b"POST /a HTTP/1.1\r\nHost: x\r\n"
BIG_BYTES = 20_000_000


class QuickHttp(BoundedHttp):
    """For whoever never ends a head; others have all the time that a stalled machine may take of them."""

    head_s = 0.4


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the path, the body's length and the headers' names; /early answers before the body is there."""
    if scope["type"] != "http":
        return
    size = 0
    while scope["path"] != "/early":
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    names = b",".join(name for name, _ in scope["headers"])
    answer = b"<%s %d %s>" % (scope["path"].encode(), size, names)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(answer))]})
    await send({"type": "http.response.body", "body": answer})


class Peer:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.began = time.monotonic()

    async def send(self, *segments: bytes) -> None:
        """Send segments that arrive one by one."""
        for segment in segments:
            self.writer.write(segment)
            await self.writer.drain()
            await asyncio.sleep(0.02)  # else the kernel may join them; nothing is awaited by it

    async def ended(self) -> tuple[bytes, float]:
        """All that came until the server closed, and the seconds since the connection was made."""
        came = b""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(30):
                while data := await self.reader.read(65536):
                    came += data
        return came, time.monotonic() - self.began

    async def answers(self, count: int = 1) -> list[bytes]:
        found: list[bytes] = []
        async with asyncio.timeout(30):
            while len(found) < count:
                found.append(await self.reader.readuntil(b">"))
        return [re.sub(rb"(?s).*<", b"", answer).rstrip(b">") for answer in found]


@pytest.fixture
def http() -> type[BoundedHttp]:
    return BoundedHttp


@pytest.fixture
async def port(http: type[BoundedHttp]) -> AsyncIterator[int]:
    listener = await listening.bind("127.0.0.1", 0, "a setting")
    server = HttpServer(app, listener)
    assert server.config.http is BoundedHttp
    server.config.http = http
    server.config.timeout_keep_alive = KEEP_ALIVE_S
    running = asyncio.create_task(server.run_until_stopped())
    while not server.started:
        await asyncio.sleep(0.005)
    yield listening.port_of(listener)
    server.stop()
    await running
    listener.close()


@pytest.fixture
async def peer(port: int) -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    yield Peer(reader, writer)
    writer.close()


hurried = pytest.mark.parametrize("http", [QuickHttp], ids=["quick"])


@hurried
@pytest.mark.parametrize(
    "segments", [(), (b"GET / HTTP/1.1\r\nX: ",), (b"\r\n",), (b"G", b"ET / HT"), (b"GET / HTTP/1.1\r\n\r",)]
)
async def test_an_incomplete_first_head_ends_the_connection(peer: Peer, segments: tuple[bytes, ...]) -> None:
    await peer.send(*segments)
    came, took_s = await peer.ended()
    assert came == b""
    assert 0.3 < took_s < KEEP_ALIVE_S


@hurried
async def test_a_trickling_head_gains_no_time(peer: Peer) -> None:
    async def trickle() -> None:
        await peer.send(b"GET / HTTP/1.1\r\n", *[b"x"] * 300)

    trickling = asyncio.create_task(trickle())
    _, took_s = await peer.ended()
    trickling.cancel()
    await asyncio.gather(trickling, return_exceptions=True)
    assert took_s < KEEP_ALIVE_S


@hurried
@pytest.mark.parametrize("more", [b"GET", b"\r\n", b"GET /b HTTP/1.1\r\nX: "])
async def test_an_incomplete_later_head_ends_the_connection(peer: Peer, more: bytes) -> None:
    await peer.send(POST + b"Content-Length: 2\r\n\r\nhi")
    assert await peer.answers() == [b"/a 2 host,content-length"]
    peer.began = time.monotonic()
    await peer.send(more)
    came, took_s = await peer.ended()
    assert came == b""
    assert 0.3 < took_s < KEEP_ALIVE_S


@hurried
async def test_between_requests_the_keep_alive_time_counts(peer: Peer) -> None:
    await peer.send(POST + b"\r\n")
    await peer.answers()
    peer.began = time.monotonic()
    came, took_s = await peer.ended()
    assert came == b""
    assert KEEP_ALIVE_S - 0.3 < took_s < KEEP_ALIVE_S + 1


@hurried
async def test_a_slow_body_is_not_this_modules_business(peer: Peer) -> None:
    await peer.send(POST + b"Content-Length: 3\r\n\r\na")
    await asyncio.sleep(0.6)  # longer than a head may take
    await peer.send(b"bc")
    assert await peer.answers() == [b"/a 3 host,content-length"]


@hurried
async def test_a_body_that_nobody_reads_does_not_keep_the_connection(peer: Peer) -> None:
    await peer.send(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\na")
    await peer.answers()
    peer.began = time.monotonic()
    await peer.send(b"b")
    _, took_s = await peer.ended()
    assert took_s < KEEP_ALIVE_S


@pytest.mark.parametrize(
    "beginning",
    [
        POST,
        POST + b"X: ",
        b"GET /",
        POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: ",
        POST + b"Transfer-Encoding: chunked\r\n\r\n1;a=",
    ],
    ids=["lines", "a line", "a target", "trailers", "a trailer", "a chunk's extension"],
)
async def test_what_surrounds_a_body_is_bounded(peer: Peer, beginning: bytes) -> None:
    await peer.send(beginning)
    filler = b"a: %s\r\n" % (b"x" * 993) if beginning.endswith(b"\r\n") else b"x" * 1000
    sent = 0
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(30):
            while sent < BIG_BYTES:
                peer.writer.write(filler * 64)
                await peer.writer.drain()
                sent += 64_000
    assert sent < BIG_BYTES  # what the kernel's buffers hold is lost, more is not taken
    _, took_s = await peer.ended()
    assert took_s < BoundedHttp.head_s / 2  # it was too large, not too late


async def test_a_head_too_large_is_answered_431(peer: Peer) -> None:
    await peer.send(POST + b"X: %s\r\n\r\n" % (b"x" * BoundedHttp.head_bytes))
    came, _ = await peer.ended()
    assert came.startswith(b"HTTP/1.1 431 ")
    assert came.count(b"HTTP/1.1") == 1


async def test_a_large_body_beside_a_large_head_passes(peer: Peer) -> None:
    body = b"\r\nUpgrade: h2c\r\n\r\n" * 20_000
    filler = b"X: %s\r\n" % (b"x" * 60_000)
    await peer.send(POST + filler + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert await peer.answers() == [b"/a %d host,x,content-length" % len(body)]


UPGRADE = (
    POST
    + b"Connection: Upgrade, HTTP2-Settings\r\nUPGRADE: h2c\r\nHTTP2-Settings: AAMAAABk\r\nContent-Length: %d\r\n\r\n"
)
INNER = b"GET /inner HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\n\r\n"
NAMES = b"host,connection,http2-settings,content-length"


async def test_an_upgrade_is_ignored_and_the_body_kept(peer: Peer) -> None:
    await peer.send(UPGRADE % 2 + b"hi", POST + b"\r\n")
    assert await peer.answers(2) == [b"/a 2 " + NAMES, b"/a 0 host"]


@pytest.mark.parametrize("at", range(UPGRADE.index(b"UPGRADE") + 8, len(UPGRADE) + 2))
async def test_a_body_is_never_read_as_a_request(peer: Peer, at: int) -> None:
    """Wherever the segments part: through what is around the head's end, and the body has an Upgrade of its own."""
    whole = UPGRADE % len(INNER) + INNER
    await peer.send(whole[:at], whole[at:])
    assert await peer.answers() == [b"/a %d %s" % (len(INNER), NAMES)]
    peer.writer.write_eof()
    came, _ = await peer.ended()
    assert came == b""


@pytest.mark.parametrize("cut", range(UPGRADE.index(b"UPGRADE") - 3, UPGRADE.index(b"UPGRADE") + 9))
async def test_an_upgrade_in_two_pieces_is_ignored_or_refused(peer: Peer, cut: int) -> None:
    whole = UPGRADE % len(INNER) + INNER
    await peer.send(whole[:cut], whole[cut:])
    peer.writer.write_eof()
    came, _ = await peer.ended()
    assert came.count(b"HTTP/1.1") == 1
    assert b"/inner" not in came
    assert came.startswith((b"HTTP/1.1 400", b"HTTP/1.1 200"))


@pytest.mark.parametrize("head", [b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\n\r\n" + UPGRADE % len(INNER)])
async def test_what_would_leave_http_is_refused(peer: Peer, head: bytes) -> None:
    await peer.send(head + INNER)
    came, _ = await peer.ended()
    assert came.startswith(b"HTTP/1.1 400 ")
    assert came.count(b"HTTP/1.1") == 1


async def test_pipelined_requests_are_answered_in_their_order(peer: Peer) -> None:
    one, other = POST + b"Content-Length: 2\r\n\r\nhi", b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n"
    both = one + other
    await peer.send(both * 3, both[:50], both[50:])
    expected = [b"/a 2 host,content-length", b"/b 0 host"]
    assert await peer.answers(8) == expected * 4


async def test_trailers_are_no_headers(peer: Peer) -> None:
    chunks = b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Account-Id: a\r\n\r\n"
    await peer.send(POST + chunks, POST + b"\r\n")
    assert await peer.answers(2) == [b"/a 2 host,transfer-encoding", b"/a 0 host"]
