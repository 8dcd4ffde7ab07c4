"""Binds the sockets that parts listen on, before the parts exist, and serves ASGI apps on them.

A child gets its sockets from the supervisor, which keeps them open: a killed child loses no port, and whoever connects
meanwhile waits in the backlog until it is back. Owns uvicorn's settings. Knows no part.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import uvicorn

from ghasi.processes.protocol import BoundedHttp

BACKLOG = 2048
PATIENCE_S = 10.0
DRAIN_S = 8


class CannotListen(Exception):  # noqa: N818 - says what is the matter
    """A port stays taken or is not to be had; the text names it and the setting that changes it."""


async def bind(host: str, port: int, setting: str, *, on_wait: Callable[[str], None] = lambda _: None) -> socket.socket:
    """Bind and listen; port 0 is any free one.

    A taken port is tried for up to 10 s, for the process before us may still drain. Raises CannotListen.
    """
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    told = False
    while True:
        try:
            return _bind(host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise CannotListen(f"port {port} on {host}: {error.strerror}; see GHASI_HOST and {setting}") from error
        taken = f"port {port} on {host} is taken by another program"
        if asyncio.get_running_loop().time() > deadline:
            raise CannotListen(f"{taken}; stop that, or choose another port by {setting} (0 is any free one)")
        if not told:
            on_wait(f"{taken}; waiting for it, {PATIENCE_S:.0f} s at most")
            told = True
        await asyncio.sleep(0.1)


def _bind(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def bind_unix(path: Path) -> socket.socket:
    """Listen on a Unix socket in a folder of ours, in place of one that an ended process left."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path.unlink(missing_ok=True)
    listener.bind(str(path))
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def port_of(listener: socket.socket) -> int:
    """Return the port that a socket really has."""
    return int(listener.getsockname()[1])


def address_of(listener: socket.socket) -> str:
    """Return host:port as a URL writes it."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class HttpServer(uvicorn.Server):
    """uvicorn under our own signal handling: `stop()` drains, for at most 8 s."""

    def __init__(self, app: Any, listener: socket.socket) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=BoundedHttp,
                ws="none",
                lifespan="auto",
                loop="none",
                log_config=None,
                access_log=False,
                proxy_headers=False,  # the gateway decides which X-Forwarded-For is believed
                server_header=False,
                backlog=BACKLOG,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=DRAIN_S,
            )
        )
        self._listener = listener

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process that hosts this server."""
        yield

    async def run_until_stopped(self) -> None:
        """Serve until `stop()`, then finish what is in flight."""
        await self.serve(sockets=[self._listener])

    def stop(self) -> None:
        """Begin to drain."""
        self.should_exit = True
