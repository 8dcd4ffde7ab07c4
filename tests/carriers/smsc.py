"""A simulated SMSC, carriers that lead to it, and a bare peer that says exactly what a test tells it to."""

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest_asyncio

from ghasi.carriers.carrier import InboundPart, Receipt, Segment
from ghasi.carriers.simulator import Behaviour, Simulator, serve_simulator
from ghasi.carriers.smpp.client import SmppCarrier
from ghasi.carriers.smpp.configuration import SmppConfiguration, Timing

QUICK = Timing(least_backoff_s=0.02, most_backoff_s=0.1, stop_timeout_s=0.2, unbind_timeout_s=0.05)


async def eventually(is_true: Callable[[], object], within_s: float = 30.0) -> None:
    """Poll until something is true; fail when it is not in time."""
    deadline = time.monotonic() + within_s
    while not is_true():
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.005)


def text_to(to: str, body: str = "Hello", **more: object) -> Segment:
    return Segment(to=to, sender="Ghasi", encoding="gsm7", payload=body.encode(), **more)  # type: ignore[arg-type]


class Client:
    """A started carrier and what it brought, which is acknowledged unless `keep` is set."""

    def __init__(self, carrier: SmppCarrier) -> None:
        self.carrier = carrier
        self.receipts: list[Receipt] = []
        self.parts: list[InboundPart] = []
        self.batches: list[int] = []
        self.keep = False

    def on_receipts(self, receipts: Sequence[Receipt]) -> None:
        self.receipts.extend(receipts)
        self.batches.append(len(receipts))
        if not self.keep:
            self.carrier.acknowledge(receipts, accepted=True)

    def on_inbound(self, parts: Sequence[InboundPart]) -> None:
        self.parts.extend(parts)
        if not self.keep:
            self.carrier.acknowledge(parts, accepted=True)

    async def bound(self) -> "Client":
        await eventually(lambda: self.carrier.state().bound)
        return self


StartClient = Callable[..., Awaitable[Client]]
StartSimulator = Callable[..., Awaitable[Simulator]]


@pytest_asyncio.fixture
async def start_simulator() -> AsyncIterator[StartSimulator]:
    started: list[Simulator] = []

    async def start(behaviour: Behaviour | None = None, **more: object) -> Simulator:
        started.append(await serve_simulator(behaviour=behaviour or Behaviour(receipt_delay_s=0.02), **more))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for simulator in started:
        await simulator.close()


@pytest_asyncio.fixture
async def start_client() -> AsyncIterator[StartClient]:
    started: list[SmppCarrier] = []

    async def start(port: int, *, timing: Timing | None = QUICK, **more: object) -> Client:
        told = {"name": "test", "kind": "smpp", "host": "127.0.0.1", "system_id": "ghasi", "password": "hunter2"} | more
        carrier = SmppCarrier(SmppConfiguration(port=port, **told), timing)  # type: ignore[arg-type]
        client = Client(carrier)
        await carrier.start(client.on_receipts, client.on_inbound)
        started.append(carrier)
        return client

    yield start
    await asyncio.gather(*(carrier.stop() for carrier in started))


class Peer:
    """An SMSC of nothing but a socket; each connection is bound by the test itself."""

    def __init__(self) -> None:
        self.connections: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        self.writers: list[asyncio.StreamWriter] = []
        self.port = 0

    async def on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        self.connections.put_nowait((reader, writer))

    async def accept(self, expected: int = 9, *, answer: bytes = b"peer\0", status: int = 0) -> "PeerLink":
        """Take the next connection and answer its bind, which is to be of a command, or any for 0."""
        async with asyncio.timeout(30):
            link = PeerLink(*await self.connections.get())
            link.bind, _, sequence, link.bind_body = await link.read()
            assert expected in (0, link.bind)
            assert link.bind_body.startswith(b"ghasi\0hunter2\0")
            link.write(link.bind | 0x80000000, sequence, answer, status)
            return link


class PeerLink:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.bind, self.bind_body = 0, b""

    async def read(self) -> tuple[int, int, int, bytes]:
        """Return command, status, sequence and body of the next PDU."""
        async with asyncio.timeout(30):
            length, command, status, sequence = struct.unpack(">IIII", await self.reader.readexactly(16))
            return command, status, sequence, await self.reader.readexactly(length - 16)

    def write(self, command: int, sequence: int, body: bytes = b"", status: int = 0) -> None:
        self.writer.write(packed(command, sequence, body, status))


def packed(command: int, sequence: int, body: bytes = b"", status: int = 0) -> bytes:
    return struct.pack(">IIII", 16 + len(body), command, status, sequence) + body


@pytest_asyncio.fixture
async def peer() -> AsyncIterator[Peer]:
    made = Peer()
    server = await asyncio.start_server(made.on_connection, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()
    for writer in made.writers:
        writer.transport.abort()
