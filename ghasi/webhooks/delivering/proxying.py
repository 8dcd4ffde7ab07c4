"""Connections through the operator's proxy: tunnels for https (RFC 9110, section 9.3.6), and for http its own requests.

It is asked for an address that was resolved and judged here, never for a name, which it might resolve to another; the
Host header, and the name that the certificate must be for, stay the endpoint's. Its own address is judged by nobody.
Owns whose fault it is when there is no connection: the proxy's, or one that the proxy alone knows.
"""

import asyncio
import contextlib
import re
import socket
import ssl
from base64 import b64encode
from collections.abc import Sequence

from yarl import URL

from ghasi.webhooks.delivering.connections import MOST_HEAD_BYTES, Connection, Reply
from ghasi.webhooks.delivering.opening import AGENT, Destination, connect, reason

_MOST_ADDRESSES = 3
_AUTHENTICATION_REQUIRED = 407
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)\b")


class ProxyError(OSError):
    """The operator's proxy, not the endpoint, is why a request was not made; names no address of the proxy's."""


class TunnelError(OSError):
    """The proxy opened no connection to the endpoint: which of the two is at fault it alone knows."""


class Proxied:
    """Through the proxy: a tunnel to each endpoint by CONNECT, or requests by absolute URI."""

    def __init__(self, tls: ssl.SSLContext, proxy: URL) -> None:
        self._tls = tls
        self._proxy = proxy
        self._authorization = _authorization(proxy)

    async def open(self, to: Destination, addresses: Sequence[str], deadline: float) -> Connection:
        """Open a connection; raises ProxyError, TunnelError, ssl.SSLError."""
        # those of IPv4 first: most proxies have no other
        addresses = sorted(addresses, key=lambda address: ":" in address)[:_MOST_ADDRESSES]
        try:
            async with asyncio.timeout_at(deadline):
                if to.is_tls:
                    return await self._tunnel(to, addresses)
                connection = Connection(b"POST http://" + _authority(addresses[0], to.port), self._authorization)
                await self._connect(connection)
                return connection
        except TimeoutError:
            raise TunnelError("opened no connection in time") from None

    async def _tunnel(self, to: Destination, addresses: Sequence[str]) -> Connection:
        """Ask for one address after the other until the proxy connects to one."""
        *others, last = addresses
        for address in others:
            with contextlib.suppress(_RefusedError):
                return await self._tunnel_to(to, address)
        try:
            return await self._tunnel_to(to, last)
        except _RefusedError as refusal:
            kind = ProxyError if refusal.status == _AUTHENTICATION_REQUIRED else TunnelError
            raise kind(f"answered {refusal.status}") from refusal

    async def _tunnel_to(self, to: Destination, address: str) -> Connection:
        asking = _Asking()
        transport = await self._connect(asking)
        authority = _authority(address, to.port)
        transport.write(
            b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n%b%b\r\n" % (authority, authority, AGENT, self._authorization)
        )
        connection, secured = Connection(), None
        try:
            status = await asking.status
            if 200 <= status < 300:  # noqa: PLR2004 - RFC 9110, section 9.3.6
                secured = await asyncio.get_running_loop().start_tls(
                    transport, connection, self._tls, server_hostname=to.certified
                )
        except (ProxyError, ssl.SSLError):
            raise
        except OSError as error:  # within the tunnel
            raise TunnelError("broke the connection off") from error
        finally:
            if secured is None:
                transport.abort()
        if secured is None:
            raise _RefusedError(status)
        connection.connection_made(secured)
        return connection

    async def _connect(self, protocol: asyncio.Protocol) -> asyncio.Transport:
        """Connect to the proxy itself; raises ProxyError."""
        loop = asyncio.get_running_loop()
        try:
            infos = await loop.getaddrinfo(self._proxy.host, self._proxy.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise ProxyError("has a name that does not resolve") from error
        try:
            return await connect(protocol, infos)
        except OSError as error:
            raise ProxyError(f"cannot be reached ({reason(error)})") from error

    def judge(self, to: Destination, reply: Reply) -> None:
        """Raise ProxyError for an answer that is certainly the proxy's."""
        # of a request without a tunnel no other status is certainly the proxy's
        if not to.is_tls and reply.status == _AUTHENTICATION_REQUIRED:
            raise ProxyError(f"answered {reply.status}")


class _RefusedError(Exception):
    """The proxy answered a CONNECT, and opened no tunnel."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Asking(asyncio.Protocol):
    """The proxy's answer to a CONNECT: `status` has its status, or raises ProxyError."""

    def __init__(self) -> None:
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._head = b""

    def data_received(self, data: bytes) -> None:
        self._head += data
        if self.status.done():
            return
        if b"\r\n\r\n" in self._head and (found := _STATUS_LINE.match(self._head)):
            self.status.set_result(int(found[1]))
        elif b"\r\n\r\n" in self._head or len(self._head) > MOST_HEAD_BYTES:
            self.connection_lost(None)

    def connection_lost(self, _: Exception | None) -> None:
        if not self.status.done():
            self.status.set_exception(ProxyError("broke the connection off"))


def _authority(address: str, port: int) -> bytes:
    return (f"[{address}]:{port}" if ":" in address else f"{address}:{port}").encode()


def _authorization(proxy: URL) -> bytes:
    """Return the header line that proves to the proxy who asks (RFC 7617); none without a user name."""
    if not proxy.user:
        return b""
    return b"Proxy-Authorization: Basic %b\r\n" % b64encode(f"{proxy.user}:{proxy.password or ''}".encode())
