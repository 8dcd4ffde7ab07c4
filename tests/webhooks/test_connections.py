"""One request after the other on real sockets: whose answer is whose, and which connection is used again."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from yarl import URL

from ghasi.webhooks.delivering import egress as egress_module
from ghasi.webhooks.delivering.addresses import GuardedResolver
from ghasi.webhooks.delivering.connections import BrokenAnswerError, ClosedError, Reply
from ghasi.webhooks.delivering.egress import Egress, open_egress
from ghasi.webhooks.delivering.opening import Destination
from ghasi.webhooks.delivering.proxying import ProxyError
from tests.webhooks.certificates import Authority
from tests.webhooks.conftest import until
from tests.webhooks.test_addresses import answering as resolving

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Pieces = tuple[bytes | None, ...]
"""What is written in answer to a request, piece by piece; None ends the connection, after STAY nothing does."""
STAY = b"stay"


@dataclass
class Scripted:
    """A server that answers each request with the next of its answers, and its last ones again and again."""

    answers: list[Pieces]
    port: int = 0
    asked: list[bytes] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    is_over: asyncio.Event = field(default_factory=asyncio.Event)

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
                    if piece is STAY:
                        await self.is_over.wait()
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
async def scripted(*answers: Pieces, tls: ssl.SSLContext | None = None) -> AsyncIterator[Scripted]:
    server = Scripted(list(answers))
    listening = await asyncio.start_server(server.accept, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield server
        server.is_over.set()


@pytest.fixture
async def egress() -> AsyncIterator[Egress]:
    async with open_egress(private_allowed=True, timeout_s=5.0) as opened:
        yield opened


async def ask(egress: Egress, server: Scripted, body: bytes = b"{}", scheme: str = "http") -> Reply:
    to = Destination.of(URL(f"{scheme}://127.0.0.1:{server.port}/hook"), ())
    return await egress.post(to, b"Content-Length: %d\r\n\r\n" % len(body), body)


ANSWERS: dict[str, tuple[bytes, int, bytes, bool]] = {
    # what comes, its status, its body, and whether another request may follow on the connection
    "a length": (OK, 200, b"ok", True),
    "nothing": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", 304, b"", False),
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
        b"HTTP/1.1 099 Odd\r\nContent-Length: 5\r\n\r\nhello" + OK,
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
        async with open_egress(private_allowed=True, timeout_s=5.0) as egress:
            await asyncio.gather(*(ask(egress, server) for _ in range(5)))
            assert server.open >= 1
        await until(lambda: server.open == 0)


async def test_what_follows_an_answer_is_seen_wherever_that_ends(egress: Egress) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %04d\r\n\r\n"
    room = 4096 - len(head % 0)  # what is read at once
    async with scripted((head % room + b"x" * room + OK,), (OK,)) as server:
        assert (await ask(egress, server)).body == b"x" * room
        assert (await ask(egress, server)).body == b"ok"
        assert server.connections == 2


@pytest.mark.parametrize("announced", [b"Content-Length: 45", b"Transfer-Encoding: chunked"])
async def test_a_body_where_there_must_be_none_is_not_the_next_answer(egress: Egress, announced: bytes) -> None:
    false = b"HTTP/1.1 200 False\r\nContent-Length: 5\r\n\r\nfalse"
    async with scripted((b"HTTP/1.1 204 No Content\r\n%b\r\n\r\n" % announced, b"", false), (OK,)) as server:
        assert (await ask(egress, server)).status == 204
        assert (await ask(egress, server)).body == b"ok"
        assert server.connections == 2


async def test_a_connection_that_is_too_old_is_not_used_though_nobody_swept_it(
    egress: Egress, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scripted((OK,)) as server:
        await ask(egress, server)
        monkeypatch.setattr(egress_module, "KEEP_ALIVE_S", 0.0)
        await ask(egress, server)
        assert server.connections == 2
        await until(lambda: server.open <= 1, 1.0)


async def test_nothing_waits_for_the_other_side_to_close(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even over TLS, where who closes politely waits for the other to do so."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    goodbye = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    async with (
        open_egress(private_allowed=True, timeout_s=5.0) as egress,
        scripted((goodbye, STAY), tls=authority.server("127.0.0.1")) as server,
    ):
        before = open_sockets()
        for _ in range(5):
            assert (await ask(egress, server, scheme="https")).status == 200
        # the server's ends stay, as it neither reads nor closes
        await until(lambda: open_sockets() <= before + 5, 2.0)


async def test_a_proxys_refusals_leave_no_connections_behind() -> None:
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    async with scripted((refusal,)) as proxy, scripted((OK,)) as server:
        url = f"http://127.0.0.1:{proxy.port}"
        async with open_egress(private_allowed=True, timeout_s=5.0, proxy=url) as egress:
            for _ in range(5):
                with pytest.raises(ProxyError):
                    await ask(egress, server)
            assert proxy.connections == 5
            await until(lambda: proxy.open == 0, 2.0)
        assert not server.connections


async def test_a_request_that_ends_after_the_way_out_was_closed_keeps_nothing() -> None:
    async with scripted((b"HTTP/1.1 200 OK\r\n", b"Content-Length: 0\r\n\r\n")) as server:
        async with open_egress(private_allowed=True, timeout_s=5.0) as egress:
            asking = asyncio.create_task(ask(egress, server))
            await until(lambda: server.asked)
        assert (await asking).status == 200
        await until(lambda: server.open == 0, 2.0)


def test_a_header_of_the_customers_takes_the_place_of_ours() -> None:
    to = Destination.of(URL("https://shop.example/hook?a=b"), (("accept", "text/plain"),))
    assert (to.target, to.host, to.port, to.is_tls) == (b"/hook?a=b", "shop.example", 443, True)
    assert to.fields.lower().count(b"accept:") == 1


async def test_of_a_name_with_thousands_of_addresses_some_are_tried() -> None:
    many = [f"10.0.{number // 250}.{number % 250 + 1}" for number in range(2000)] + ["::1"] * 3
    resolver = GuardedResolver(private_allowed=True, lookup=resolving(*many))
    assert await resolver.resolve("many.example") == [*many[:4], "::1"]
    await resolver.close()


def open_sockets() -> int:
    """Count this process's open sockets."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found += str(entry.readlink()).startswith("socket:")
    return found
