"""A load of HTTP/1.1 requests over keep-alive connections, from a process of its own.

python -m benchmarks.instruments.load takes an Order as JSON on stdin and prints one line of JSON: requests, non-2xx
answers, requests a second, percentiles in milliseconds, CPU seconds used. Without a rate it is a closed loop: each
connection sends its next request when the last one is answered. With one it is an open loop: requests are due at even
moments, wait for a free connection where there is none, and latencies count from when they were due.
Hand-written on asyncio.Protocol, so that the load costs little beside what it measures.
"""

import asyncio
import itertools
import sys
import time
from collections import deque
from typing import Literal
from urllib.parse import urlsplit

import msgspec
import uvloop

from benchmarks.instruments.stamps import ANSWERED, DUE, Stamps
from benchmarks.latency import Pacer, percentiles

PATIENCE_S = 60.0
TICK_S = 0.001
"""The loop's timers have whole milliseconds: a shorter wait would keep a core busy that is being measured."""


class Order(msgspec.Struct, frozen=True):
    """What to send: new messages to `url`, Kannel's sendsms with `url` as its beginning, or GETs of `paths` in turn."""

    url: str
    seconds: float
    connections: int
    kind: Literal["message", "kannel", "get"] = "message"
    headers: dict[str, str] = {}
    paths: list[str] = []
    rate: float | None = None
    first: int = 0
    """The number of the first message."""
    stamps: str | None = None
    """A folder to write to when each message was due and answered."""


def recipient(number: int) -> bytes:
    """Return a number without `+`, never ending in 0000 to 0999: some of those simulated carriers treat specially."""
    return b"46700%06d" % (100_000 + number % 80 * 10_000 + 1000 + number // 80 % 9000)


class Requests:
    """Makes what is sent, one request after the other."""

    def __init__(self, order: Order) -> None:
        parts = urlsplit(order.url)
        self.order, self.numbers = order, itertools.count(order.first)
        common = f"Host: {parts.netloc}\r\n" + "".join(f"{name}: {text}\r\n" for name, text in order.headers.items())
        self.post = f"POST {parts.path} HTTP/1.1\r\n{common}Content-Type: application/json\r\nContent-Length: ".encode()
        self.get = itertools.cycle(f"GET {path} HTTP/1.1\r\n{common}\r\n".encode() for path in order.paths)
        self.kannel = f"GET {parts.path}?{parts.query}".encode(), f" HTTP/1.1\r\n{common}\r\n".encode()

    def next(self) -> tuple[int, bytes]:
        """Return the next request and its number."""
        number = next(self.numbers)
        if self.order.kind == "get":
            return number, next(self.get)
        if self.order.kind == "kannel":
            begin, end = self.kannel
            text = b"Hello+n%%3D%07d+this+is+a+test+message+of+sixty+characters" % number
            return number, b"%b&from=12345&to=%b&text=%b%b" % (begin, recipient(number), text, end)
        body = b'{"to":"+%b","from":"12345","body":"Hello n=%07d this is a test message of sixty characters"}' % (
            recipient(number), number,
        )  # fmt: skip
        return number, b"%b%d\r\n\r\n%b" % (self.post, len(body), body)


class Connection(asyncio.Protocol):
    """One connection, with one request under way at most."""

    def __init__(self, load: "Load") -> None:
        self.load = load
        self.buffer = bytearray()
        self.wanted = 0
        self.number, self.due, self.is_busy = 0, 0.0, False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def send(self, due: float) -> None:
        """Send the next request."""
        self.due, self.is_busy = due, True
        self.number, request = self.load.requests.next()
        if self.load.due is not None:
            self.load.due.put(self.number, due)
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.wanted:
            head = self.buffer.find(b"\r\n\r\n")
            if head < 0:
                return
            self.wanted = head + 4 + length_in(bytes(self.buffer[:head]).lower())
        if len(self.buffer) < self.wanted:
            return
        is_good = self.buffer[9:10] == b"2"
        self.buffer.clear()
        self.wanted, self.is_busy = 0, False
        self.load.answered(self, is_good)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.load.lost(self)


def length_in(head: bytes) -> int:
    """Return what an answer's head, in lower case, says of its body's length."""
    at = head.find(b"content-length:")
    return int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


class Load:
    """What all connections share, and the loop that they are driven by."""

    def __init__(self, order: Order) -> None:
        self.order, self.requests = order, Requests(order)
        self.latencies: list[float] = []
        self.bad = self.open = 0
        self.waiting: deque[float] = deque()
        self.free: list[Connection] = []
        self.pacer: Pacer | None = None
        self.done = asyncio.Event()
        self.due = Stamps(order.stamps, DUE) if order.stamps else None
        self.answers = Stamps(order.stamps, ANSWERED) if order.stamps else None

    def answered(self, connection: Connection, is_good: bool) -> None:
        now = time.monotonic()
        self.latencies.append(now - connection.due)
        self.bad += not is_good
        if self.answers is not None:
            self.answers.put(connection.number, now)
        if self.pacer is None:
            if now < self.ends:
                connection.send(now)
                return
        elif self.waiting:
            connection.send(self.waiting.popleft())
            return
        self.free.append(connection)
        self.end_when_idle()

    def lost(self, connection: Connection) -> None:
        self.open -= 1
        self.bad += connection.is_busy
        if connection in self.free:
            self.free.remove(connection)
        self.end_when_idle()

    def end_when_idle(self) -> None:
        """Be done when nothing is under way and nothing more is due."""
        if len(self.free) == self.open and not self.waiting and (self.pacer is None or self.pacer.next_due is None):
            self.done.set()

    def pace(self) -> None:
        """Send what is due by now, and come again when the next request is."""
        assert self.pacer is not None
        self.waiting.extend(self.pacer.due(time.monotonic()))
        while self.waiting and self.free:
            self.free.pop().send(self.waiting.popleft())
        if (due := self.pacer.next_due) is not None:
            asyncio.get_running_loop().call_later(max(TICK_S, due - time.monotonic()), self.pace)

    async def run(self) -> dict[str, float]:
        loop, parts = asyncio.get_running_loop(), urlsplit(self.order.url)
        connections = [
            (await loop.create_connection(lambda: Connection(self), parts.hostname, parts.port))[1]
            for _ in range(self.order.connections)
        ]
        self.open = len(connections)
        began, cpu = time.monotonic(), time.process_time()
        self.ends = began + self.order.seconds
        if self.order.rate is None:
            for connection in connections:
                connection.send(time.monotonic())
        else:
            self.free.extend(connections)
            self.pacer = Pacer(self.order.rate, began, self.order.seconds)
            self.pace()
        async with asyncio.timeout(self.order.seconds + PATIENCE_S):
            await self.done.wait()
        took, cpu_s = time.monotonic() - began, time.process_time() - cpu
        for connection in connections:
            connection.transport.close()
        while self.open:
            await asyncio.sleep(0.01)
        return {
            "requests": len(self.latencies), "bad": self.bad, "per_s": len(self.latencies) / took,
            **percentiles(self.latencies), "cpu_s": cpu_s,
        }  # fmt: skip


async def main() -> None:
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    print(msgspec.json.encode(await Load(order).run()).decode())


if __name__ == "__main__":
    uvloop.run(main())
