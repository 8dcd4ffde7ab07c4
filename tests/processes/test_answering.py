"""How answers are written: whole ones in one piece, the others as uvicorn writes them; nothing is let into a head."""

import asyncio
import socket
from typing import Any

import pytest

from ghasi.processes.listening import HttpServer
from ghasi.processes.protocol import BoundedHttp

BODY = b'{"id":"1"}'
LENGTH = (b"content-length", b"%d" % len(BODY))
TYPE = (b"Content-Type", b"application/json")
HEAD = b"content-type: application/json\r\ncontent-length: 10\r\n"


class Transport(asyncio.Transport):
    """What a connection writes, piece by piece."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 50000), "sockname": ("127.0.0.1", 8000)})
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def resume_reading(self) -> None:
        pass


def start(*headers: tuple[bytes, bytes], status: int = 200) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers}


def piece(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def answered(
    *messages: dict[str, Any], method: str = "GET", version: str = "1.1", fails: bool = False
) -> Transport:
    """What goes out to one request when an app sends these messages, and fails then or not."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)
        if fails:
            raise OSError("on purpose")

    with socket.socket() as listener:
        server = HttpServer(app, listener)
    server.config.load()
    state = server.server_state
    protocol = BoundedHttp(server.config, state, {}, asyncio.get_running_loop())
    transport = Transport()
    protocol.connection_made(transport)
    protocol.data_received(f"{method} / HTTP/{version}\r\nHost: x\r\n\r\n".encode())
    await asyncio.gather(*state.tasks)
    protocol.connection_lost(None)
    return transport


async def test_a_whole_answer_is_one_piece() -> None:
    transport = await answered(start(TYPE, LENGTH, status=202), piece(BODY))
    assert transport.written == [b"HTTP/1.1 202 Accepted\r\n" + HEAD + b"\r\n" + BODY]


async def test_a_whole_answer_of_http_1_0_ends_the_connection() -> None:
    transport = await answered(start(TYPE, LENGTH), piece(BODY), version="1.0")
    assert b"".join(transport.written) == b"HTTP/1.1 200 OK\r\n" + HEAD + b"connection: close\r\n\r\n" + BODY
    assert transport.closed


async def test_an_answer_that_closes_is_uvicorns() -> None:
    transport = await answered(start(TYPE, LENGTH, (b"connection", b"close")), piece(BODY))
    assert b"".join(transport.written) == b"HTTP/1.1 200 OK\r\n" + HEAD + b"connection: close\r\n\r\n" + BODY
    assert transport.closed


async def test_an_answer_without_a_length_is_chunked() -> None:
    transport = await answered(start(TYPE), piece(BODY))
    assert b"".join(transport.written).endswith(b"transfer-encoding: chunked\r\n\r\na\r\n" + BODY + b"\r\n0\r\n\r\n")


async def test_an_answer_in_pieces_goes_out_as_they_come() -> None:
    transport = await answered(start(TYPE, LENGTH), piece(BODY[:4], more=True), piece(BODY[4:]))
    assert transport.written == [b"HTTP/1.1 200 OK\r\n" + HEAD + b"\r\n", BODY[:4], BODY[4:]]


async def test_the_head_of_an_answer_without_a_length_waits_for_nothing(caplog: pytest.LogCaptureFixture) -> None:
    transport = await answered(start(TYPE), fails=True)
    assert b"".join(transport.written).startswith(b"HTTP/1.1 200 OK\r\n")
    assert transport.closed
    assert "on purpose" in caplog.text


async def test_an_answer_to_head_has_no_body() -> None:
    transport = await answered(start(TYPE, LENGTH), piece(BODY), method="HEAD")
    assert b"".join(transport.written) == b"HTTP/1.1 200 OK\r\n" + HEAD + b"\r\n"


async def test_no_content_has_neither_length_nor_body() -> None:
    transport = await answered(start(status=204), piece(b""))
    assert b"".join(transport.written) == b"HTTP/1.1 204 No Content\r\n\r\n"


@pytest.mark.parametrize(
    "header",
    [
        (b"x-note", b"a\r\nset-cookie: b"),
        (b"x-note", b"a\nb"),
        (b"x-note", b"a\x00"),
        (b"x-note", b"\x7f"),
        (b"x note", b"a"),
        (b"x-note:", b"a"),
        (b"x-note\r\nset-cookie", b"a"),
        (b"content-length", b"\x0b10"),
    ],
)
async def test_nothing_is_let_into_a_head(header: tuple[bytes, bytes], caplog: pytest.LogCaptureFixture) -> None:
    lengths = () if header[0] == b"content-length" else (LENGTH,)
    transport = await answered(start(*lengths, header), piece(BODY))
    came = b"".join(transport.written)
    assert came.startswith(b"HTTP/1.1 500 ") or (came == b"" and transport.closed)
    assert b"set-cookie" not in came
    assert "Invalid HTTP header" in caplog.text


async def test_a_tab_within_a_value_passes() -> None:
    transport = await answered(start(LENGTH, (b"x-note", b"a\tb")), piece(BODY))
    assert b"x-note: a\tb\r\n" in transport.written[0]


@pytest.mark.parametrize("body", [BODY[:-1], BODY + b"x"])
async def test_a_length_that_is_wrong_is_never_a_whole_answer(body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    transport = await answered(start(TYPE, LENGTH), piece(body))
    assert transport.closed
    assert "than Content-Length" in caplog.text


async def test_an_app_that_fails_before_its_body_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    transport = await answered(start(TYPE, LENGTH), fails=True)
    assert b"".join(transport.written).startswith(b"HTTP/1.1 500 ")
    assert "on purpose" in caplog.text
