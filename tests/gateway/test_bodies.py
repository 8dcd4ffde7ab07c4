"""Bodies up to 256 KiB pass, over real sockets, with a length or in chunks; a larger one is never read to its end."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from ghasi.contract.row import MAX_BODY_BYTES
from ghasi.gateway.app import Gateway
from tests.asgi import request
from tests.gateway.services import Recorder, bearer
from tests.live import live


async def in_chunks(size: int) -> AsyncIterator[bytes]:
    for start in range(0, size, 16384):
        yield b"x" * min(16384, size - start)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("size", "status"), [(MAX_BODY_BYTES, 200), (MAX_BODY_BYTES + 1, 413), (1024 * 1024, 413), (1, 200), (0, 200)]
)
async def test_the_limit_is_exact(gateway: Gateway, upstream: Recorder, chunked: bool, size: int, status: int) -> None:
    async with live(gateway, server_header=False) as url, aiohttp.ClientSession() as client:
        data = in_chunks(size) if chunked else b"x" * size
        async with client.post(f"{url}/v1/messages", headers=bearer(), data=data) as answer:
            assert answer.status == status
            if status == 413:
                assert await answer.json() == {
                    "message": "Request size limit exceeded",
                    "request_id": answer.headers["x-kong-request-id"],
                }
                # only what had to be read to be found too large was counted
                assert answer.headers.get("ratelimit-remaining") == ("59" if chunked else None)
        async with client.get(f"{url}/v1/messages", headers=bearer()) as after:
            assert after.status == 200, "the connection, or a new one, serves on"
    assert [len(received.body) for received in upstream.received] == ([size, 0] if status == 200 else [0])


async def test_a_length_that_is_too_large_is_refused_before_any_of_it_is_sent(gateway: Gateway) -> None:
    async with live(gateway, server_header=False) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        authorization = bearer()["authorization"]
        writer.write(
            f"POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n"
            f"Content-Length: {MAX_BODY_BYTES + 1}\r\n\r\n".encode()
        )
        assert await asyncio.wait_for(reader.readline(), 5) == b"HTTP/1.1 413 Request Entity Too Large\r\n"
        writer.close()
        await writer.wait_closed()


async def test_a_body_that_does_not_come_is_a_408(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ghasi.gateway.exchange.BODY_TIMEOUT_S", 0.1)
    async with live(gateway, server_header=False) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        authorization = bearer()["authorization"]
        writer.write(
            f"POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n"
            "Content-Length: 10\r\n\r\n{}".encode()
        )
        assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 408 ")
        writer.close()
        await writer.wait_closed()


async def test_a_client_that_goes_amidst_its_body_reaches_no_upstream(gateway: Gateway, upstream: Recorder) -> None:
    messages = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])
    sent: list[object] = []

    async def receive() -> dict[str, object]:
        return next(messages)

    async def send(message: object) -> None:
        sent.append(message)

    headers = [(b"content-length", b"10"), *((k.encode(), v.encode()) for k, v in bearer().items())]
    scope = {
        "type": "http", "method": "POST", "path": "/v1/messages", "raw_path": b"/v1/messages", "query_string": b"",
        "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000), "scheme": "http",
    }  # fmt: skip
    await gateway(scope, receive, send)
    assert not sent
    assert not upstream.received


async def test_the_bad_token_of_a_large_body_is_named_first(gateway: Gateway) -> None:
    answer = await request(gateway, "POST", "/v1/messages", headers=bearer("garbage"), body=b"x" * 1024 * 1024)
    assert answer.status == 401
