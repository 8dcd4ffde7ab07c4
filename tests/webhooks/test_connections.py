"""One request after the other on real sockets: whose answer is whose, and which connection is used again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from yarl import URL

from ghasi.webhooks.delivering import egress as egress_module
from ghasi.webhooks.delivering.addresses import look_up
from ghasi.webhooks.delivering.connections import BrokenAnswerError, ClosedError, Reply
from ghasi.webhooks.delivering.egress import Egress, open_egress
from ghasi.webhooks.delivering.opening import Destination
from tests.webhooks.conftest import until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Pieces = tuple[bytes | None, ...]
"""What is written in answer to a request, piece by piece; None ends the connection."""


@dataclass
class Scripted:
    """A server that answers each request with the next of its answers, and its last ones again and again."""

    answers: list[Pieces]
    port: int = 0
    asked: list[bytes] = field(default_factory=list)
    connections: int = 0
    open: int = 0

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                self.asked.append(await reader.readexactly(length))
                for piece in self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]:
                    if piece is None:
                        return
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.001)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def scripted(*answers: Pieces) -> AsyncIterator[Scripted]:
    server = Scripted(list(answers))
    listening = await asyncio.start_server(server.accept, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield server


@pytest.fixture
async def egress() -> AsyncIterator[Egress]:
    async with open_egress(private_allowed=True, timeout_s=5.0, lookup=look_up, proxy=None) as opened:
        yield opened


async def ask(egress: Egress, server: Scripted, body: bytes = b"{}") -> Reply:
    to = Destination.of(URL(f"http://127.0.0.1:{server.port}/hook"), ())
    return await egress.post(to, b"Content-Length: %d\r\n\r\n" % len(body), body)


ANSWERS: dict[str, tuple[bytes, int, bytes, bool]] = {
    # what comes, its status, its body, and whether another request may follow on the connection
    "a length": (OK, 200, b"ok", True),
    "nothing": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", 304, b"", True),
    "chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n1\r\n!\r\n0\r\nX-Sum: 1\r\n\r\n",
        200, b"ok!", True,
    ),
    "interim answers": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n" + OK, 200, b"ok", True,
    ),
    "bare line feeds": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 200, b"ok", True),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", True),
    "the old protocol": (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", False),
    "a wish to close": (b"HTTP/1.1 410 Gone\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 410, b"ok", False),
    "two answers": (OK + b"HTTP/1.1 500 Other\r\nContent-Length: 3\r\n\r\nbad", 200, b"ok", False),
}  # fmt: skip


@pytest.mark.parametrize("kind", ANSWERS)
async def test_an_answer_is_read_whole_wherever_it_is_divided(egress: Egress, kind: str) -> None:
    answer, status, body, is_reused = ANSWERS[kind]
    ends = range(1, len(answer)) if kind != "two answers" else range(len(OK) + 1, len(answer))
    divided = [(answer,), *((answer[:end], answer[end:]) for end in ends)]
    async with scripted(*divided, (OK,)) as server:
        for _ in divided:
            reply = await ask(egress, server)
            assert (reply.status, reply.body) == (status, body)
            if kind == "two answers":  # the rest of it may come later than the first
                await until(lambda: not server.open)
        assert server.connections == (1 if is_reused else len(divided))


async def test_without_a_length_a_body_ends_with_its_connection(egress: Egress) -> None:
    async with scripted((b"HTTP/1.1 200 OK\r\nRetry-After: 7\r\n\r\no", b"k", None)) as server:
        for _ in range(2):
            assert await ask(egress, server) == Reply(200, b"ok", "7")
        assert server.connections == 2


@pytest.mark.parametrize(
    "pieces",
    [
        (None,),
        (b"HTTP/1.1 200 OK\r\n", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", None),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", None),
    ],
)
async def test_what_breaks_off_is_no_answer(egress: Egress, pieces: Pieces) -> None:
    async with scripted(pieces, (OK,)) as server:
        with pytest.raises(ClosedError):
            await ask(egress, server)
        assert (await ask(egress, server)).body == b"ok"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2x\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_no_answer(egress: Egress, answer: bytes) -> None:
    async with scripted((answer,), (OK,)) as server:
        with pytest.raises(BrokenAnswerError):
            await ask(egress, server)
        assert (await ask(egress, server)).body == b"ok"
        assert server.connections == 2


async def test_an_idle_connection_that_the_other_side_ended_or_spoke_on_is_not_used(egress: Egress) -> None:
    late = b"HTTP/1.1 500 Late\r\nContent-Length: 3\r\n\r\nbad"
    async with scripted((OK, None), (OK, b"", b"", late), (OK,)) as server:
        for count in (1, 2):
            assert (await ask(egress, server)).status == 200
            await until(lambda: not server.open)
            assert server.connections == count
        assert (await ask(egress, server)).status == 200
        assert server.connections == 3


async def test_an_idle_connection_is_dropped_in_time(egress: Egress, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress_module, "KEEP_ALIVE_S", 0.2)
    async with scripted((OK,)) as server:
        await ask(egress, server)
        assert server.open == 1
        await until(lambda: server.open == 0, 2.0)


async def test_each_of_many_at_once_has_its_own_answer(egress: Egress) -> None:
    echo = [(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n%03d" % number,) for number in range(100)]
    async with scripted(*echo, (OK,)) as server:
        await asyncio.gather(*(ask(egress, server) for _ in range(50)))
        before = server.connections
        replies = await asyncio.gather(*(ask(egress, server, b"%03d" % number) for number in range(50)))
        assert server.connections == before <= 50
        given = dict(zip(server.asked[50:], range(50, 100), strict=True))
        assert [int(reply.body) for reply in replies] == [given[b"%03d" % number] for number in range(50)]


async def test_who_is_cancelled_leaves_no_connection_behind(egress: Egress) -> None:
    async with scripted((b"HTTP/1.1 200 OK\r\n",), (OK,)) as server:
        asking = asyncio.create_task(ask(egress, server))
        await until(lambda: server.asked)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(lambda: server.open == 0)
        assert (await ask(egress, server)).body == b"ok"
        assert server.connections == 2


async def test_closing_the_way_out_closes_what_is_idle() -> None:
    async with scripted((OK,)) as server:
        async with open_egress(private_allowed=True, timeout_s=5.0, lookup=look_up, proxy=None) as egress:
            await asyncio.gather(*(ask(egress, server) for _ in range(5)))
            assert server.open >= 1
        await until(lambda: server.open == 0)
