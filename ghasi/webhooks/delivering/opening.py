"""How a connection to an endpoint is opened: straight, to an address that was judged. Through a proxy: proxying.py."""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import aiohappyeyeballs
from yarl import URL

import ghasi
from ghasi.webhooks.delivering.addresses import AddressInfo
from ghasi.webhooks.delivering.connections import Connection, Reply
from ghasi.webhooks.delivering.names import Names

AGENT = f"User-Agent: Ghasi-Webhooks/{ghasi.__version__}\r\n".encode()
OTHER_FAMILY_AFTER_S = 0.25  # RFC 8305, section 5


class ConnectError(OSError):
    """No connection to an endpoint."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where requests of an endpoint go, and the header lines that all of them have."""

    is_tls: bool
    host: str
    port: int
    target: bytes
    fields: bytes

    @classmethod
    def of(cls, url: URL, headers: Sequence[tuple[str, str]]) -> "Destination":
        """Make one of a judged URL; `headers` are without line ends, as they were stored."""
        lines = [("Host", url.host_port_subcomponent or ""), *headers]
        if "accept" not in {name.lower() for name, _ in headers}:
            lines.append(("Accept", "*/*"))
        return cls(
            url.scheme == "https",
            url.raw_host or "",
            url.port or 0,
            url.raw_path_qs.encode(),
            "".join(f"{name}: {value}\r\n" for name, value in lines).encode() + AGENT,
        )

    @property
    def origin(self) -> tuple[bool, str, int]:
        """Whose connections its requests may take: those of one name, whatever address it has."""
        return self.is_tls, self.host, self.port

    @property
    def certified(self) -> str:
        """The name that its certificate must be for."""
        return self.host.rstrip(".")


class Way(Protocol):
    """A way to endpoints."""

    async def open(self, to: Destination, deadline: float) -> Connection:
        """Open a connection by the loop's time `deadline`; raises OSError, TimeoutError among them."""

    def judge(self, to: Destination, reply: Reply) -> None:
        """Raise ProxyError for an answer that is not the endpoint's."""

    async def close(self) -> None:
        """Let go of what it holds."""


class Straight:
    """To the endpoint itself."""

    def __init__(self, names: Names, tls: ssl.SSLContext, make_socket: Callable[[AddressInfo], socket.socket]) -> None:
        self._names = names
        self._tls = tls
        self._make_socket = make_socket

    async def open(self, to: Destination, deadline: float) -> Connection:
        """Open a connection; raises ConnectError, ssl.SSLError, TimeoutError, and what Names does."""
        async with asyncio.timeout_at(deadline):
            infos = [_info(address, to.port) for address in await self._names.addresses(to.host)]
            try:
                connected = await aiohappyeyeballs.start_connection(
                    infos, happy_eyeballs_delay=OTHER_FAMILY_AFTER_S, socket_factory=self._make_socket
                )
                connection = Connection()
                await asyncio.get_running_loop().create_connection(
                    lambda: connection,
                    sock=connected,
                    ssl=self._tls if to.is_tls else None,
                    server_hostname=to.certified if to.is_tls else None,
                )
            except ssl.SSLError:
                raise
            except OSError as error:
                raise ConnectError(reason(error)) from error
        return connection

    def judge(self, to: Destination, reply: Reply) -> None:
        """Take every answer for the endpoint's."""

    async def close(self) -> None:
        """Let lookups go."""
        await self._names.close()


def _info(address: str, port: int) -> AddressInfo:
    if ":" in address:
        return (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))


def reason(error: OSError) -> str:
    """Say why there is no connection, without the addresses that were tried."""
    return os.strerror(error.errno) if error.errno else "no connection"
