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

AGENT = f"User-Agent: Ghasi-Webhooks/{ghasi.__version__}\r\n".encode()
_OTHER_FAMILY_AFTER_S = 0.25  # RFC 8305, section 5


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

    async def open(self, to: Destination, addresses: Sequence[str], deadline: float) -> Connection:
        """Open a connection to one of the judged addresses, by the loop's time `deadline`.

        Raises OSError, TimeoutError among them.
        """

    def judge(self, to: Destination, reply: Reply) -> None:
        """Raise ProxyError for an answer that is not the endpoint's."""


class Straight:
    """To the endpoint itself."""

    def __init__(self, tls: ssl.SSLContext, make_socket: Callable[[AddressInfo], socket.socket]) -> None:
        self._tls = tls
        self._make_socket = make_socket

    async def open(self, to: Destination, addresses: Sequence[str], deadline: float) -> Connection:
        """Open a connection; raises ConnectError, ssl.SSLError, TimeoutError."""
        infos = [_info(address, to.port) for address in addresses]
        connection = Connection()
        async with asyncio.timeout_at(deadline):
            try:
                await connect(
                    connection,
                    infos,
                    make_socket=self._make_socket,
                    tls=(self._tls, to.certified) if to.is_tls else None,
                )
            except ssl.SSLError:
                raise
            except OSError as error:
                raise ConnectError(reason(error)) from error
        return connection

    def judge(self, to: Destination, reply: Reply) -> None:
        """Take every answer for the endpoint's."""


async def connect(
    protocol: asyncio.Protocol,
    infos: Sequence[AddressInfo],
    *,
    make_socket: Callable[[AddressInfo], socket.socket] | None = None,
    tls: tuple[ssl.SSLContext, str] | None = None,
) -> asyncio.Transport:
    """Connect a protocol to the first address that answers, with `tls` to whose certificate is for that name.

    Raises OSError, ssl.SSLError among them.
    """
    connected = await aiohappyeyeballs.start_connection(
        infos, happy_eyeballs_delay=_OTHER_FAMILY_AFTER_S, socket_factory=make_socket
    )
    context, name = tls or (None, None)
    transport, _ = await asyncio.get_running_loop().create_connection(
        lambda: protocol, sock=connected, ssl=context, server_hostname=name
    )
    return transport


def _info(address: str, port: int) -> AddressInfo:
    if ":" in address:
        return (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))


def reason(error: OSError) -> str:
    """Say why there is no connection, without the addresses that were tried."""
    return os.strerror(error.errno) if error.errno else "no connection"
