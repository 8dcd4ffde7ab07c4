"""The way out to endpoints, and the connections that are kept: each is of one host and port, for some seconds.

Straight, or through the proxy of GHASI_WEBHOOK_PROXY; a proxy that the environment names (HTTP_PROXY) is never used.
How a connection is opened is opening.py's and proxying.py's, how it is spoken on connections.py's.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from yarl import URL

from ghasi.webhooks.delivering.addresses import Lookup, guarded_sockets, look_up
from ghasi.webhooks.delivering.connections import Connection, Reply
from ghasi.webhooks.delivering.names import Names
from ghasi.webhooks.delivering.opening import Destination, Straight, Way
from ghasi.webhooks.delivering.proxying import Proxied

KEEP_ALIVE_S = 4.0
"""Below Node's default of 5 s: an idle connection is dropped by us, not by surprise."""


class Egress:
    """Makes requests to endpoints, each on a connection that is kept for the next."""

    def __init__(self, names: Names, way: Way, timeout_s: float) -> None:
        self._names = names
        self._way = way
        self._timeout_s = timeout_s
        self._idle: dict[tuple[bool, str, int], list[Connection]] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def post(self, to: Destination, fields: bytes, body: bytes) -> Reply:
        """Make one request, and follow no redirect; `fields` end with Content-Length and an empty line.

        Raises OSError: what names.py, opening.py, proxying.py and connections.py have, ssl.SSLError, TimeoutError.
        """
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        connection = self._take(to) or await self._open(to, deadline)
        try:
            async with asyncio.timeout_at(deadline):
                reply = await connection.ask(to.target, to.fields + fields, body)
            self._way.judge(to, reply)
        except BaseException:
            connection.abort()
            raise
        if connection.keeps and not self._is_closed:
            self._keep(to, connection)
        else:
            connection.abort()
        return reply

    async def _open(self, to: Destination, deadline: float) -> Connection:
        async with asyncio.timeout_at(deadline):
            addresses = await self._names.addresses(to.host)
        return await self._way.open(to, addresses, deadline)

    def _take(self, to: Destination) -> Connection | None:
        """Return the connection that was used last, if it is still there and not too old."""
        idle = self._idle.get(to.origin)
        while idle:
            connection = idle.pop()
            if connection.is_open and connection.idle_since > time.monotonic() - KEEP_ALIVE_S:
                return connection
            connection.abort()
        return None

    def _keep(self, to: Destination, connection: Connection) -> None:
        connection.idle_since = time.monotonic()
        self._idle.setdefault(to.origin, []).append(connection)
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(KEEP_ALIVE_S / 4, self._sweep)

    def _sweep(self) -> None:
        """Drop what has been idle for too long, or was closed by the other side."""
        before = time.monotonic() - KEEP_ALIVE_S
        for origin, idle in list(self._idle.items()):
            kept = [one for one in idle if one.is_open and one.idle_since > before]
            for connection in set(idle).difference(kept):
                connection.abort()
            if kept:
                self._idle[origin] = kept
            else:
                del self._idle[origin]
        self._sweeping = asyncio.get_running_loop().call_later(KEEP_ALIVE_S / 4, self._sweep) if self._idle else None

    async def close(self) -> None:
        """Close all connections; those of requests under way end with these."""
        self._is_closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        for idle in self._idle.values():
            for connection in idle:
                connection.abort()
        self._idle.clear()
        await self._names.close()


@asynccontextmanager
async def open_egress(
    *, private_allowed: bool, timeout_s: float, lookup: Lookup = look_up, proxy: str | None = None
) -> AsyncIterator[Egress]:
    """Open the way out that all endpoints share; a request ends after `timeout_s`, its answer read or not."""
    # of this moment: SSL_CERT_FILE may name an authority of the operator's
    tls = ssl.create_default_context()
    tls.set_alpn_protocols(["http/1.1"])
    make_socket = guarded_sockets(private_allowed=private_allowed)
    way: Way = Straight(tls, make_socket) if proxy is None else Proxied(tls, URL(proxy))
    egress = Egress(Names(private_allowed=private_allowed, lookup=lookup), way, timeout_s)
    try:
        yield egress
    finally:
        await egress.close()
