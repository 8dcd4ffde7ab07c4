"""Serves an ASGI app on a real loopback socket, in the test's own loop."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import uvicorn


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def live(app: Any, *, server_header: bool = True, date_header: bool = True) -> AsyncIterator[str]:
    """The URL of the app, whose lifespan is run; a failing start raises."""
    listener = socket.create_server(("127.0.0.1", 0))
    # asyncio sets it where it makes the socket; without it an answer in two pieces takes 40 ms
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = uvicorn.Config(
        app,
        log_config=None,
        ws="none",
        proxy_headers=False,
        server_header=server_header,
        date_header=date_header,
        timeout_graceful_shutdown=2,
        timeout_keep_alive=75,  # as in production: with 5 s a slow machine's client asks as the connection is closed
    )
    server = _Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:
            if running.done():
                await running
                raise RuntimeError("the app did not start")
            await asyncio.sleep(0.005)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await running
        listener.close()
