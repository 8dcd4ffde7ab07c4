"""What a request costs the event loop between its bytes and its answer's, in counts that no machine's mood changes."""

import asyncio
import socket
from collections import Counter
from typing import Any

import pytest

from ghasi.gateway.app import Gateway
from ghasi.processes.listening import HttpServer
from ghasi.processes.protocol import BoundedHttp
from tests.gateway.services import Recorder, bearer
from tests.processes.test_answering import Transport

REQUESTS = 50


@pytest.fixture
async def made(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the loop was asked for a task or a timer."""
    loop = asyncio.get_running_loop()
    counted: Counter[str] = Counter()

    def counting(name: str) -> None:
        original = getattr(loop, name)

        def counts(*arguments: Any, **more: Any) -> Any:
            counted[name] += 1
            return original(*arguments, **more)

        monkeypatch.setattr(loop, name, counts)

    for name in ("create_task", "call_at"):
        counting(name)
    return counted


async def test_a_request_is_one_task_one_timer_and_one_piece(
    gateway: Gateway, upstream: Recorder, made: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghasi.gateway.deadlines.TICK_S", 3600.0)  # else a slow machine would count more of them
    with socket.socket() as listener:
        server = HttpServer(gateway, listener)
    server.config.load()
    state, transport = server.server_state, Transport()
    protocol = BoundedHttp(server.config, state, {}, asyncio.get_running_loop())
    protocol.connection_made(transport)
    body = b'{"to":"+46700000010","body":"Hello"}'
    head = f"POST /v1/messages HTTP/1.1\r\nAuthorization: {bearer()['authorization']}\r\nContent-Length: {len(body)}"
    before = made.copy()
    for _ in range(REQUESTS):
        protocol.data_received(head.encode() + b"\r\n\r\n" + body)
        await asyncio.wait(state.tasks)
    after = made - before
    protocol.connection_lost(None)
    assert len(upstream.received) == REQUESTS
    assert len(transport.written) == REQUESTS
    assert all(written.startswith(b"HTTP/1.1 200 OK\r\n") for written in transport.written)
    assert after["create_task"] == REQUESTS
    # how long an idle connection is kept; the timer of all deadlines, and the gateway's own work meanwhile, are few
    assert after["call_at"] <= REQUESTS + 5
