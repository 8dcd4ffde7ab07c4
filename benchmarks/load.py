"""A load of HTTP/1.1 requests over keep-alive connections, closed loop, from a process of its own.

python -m benchmarks.load URL CONNECTIONS SECONDS TOKEN: POSTs messages (each to another number) and prints one
line of JSON: requests, non-2xx answers, requests per second, p50 and p99 in milliseconds, CPU seconds used.
With an empty token they are GETs of Kannel's sendsms interface, URL with its query so far.
Hand-written on asyncio.Protocol, so that the load costs little beside what it measures.
"""

import asyncio
import json
import sys
import time
from urllib.parse import urlsplit

import uvloop


class Connection(asyncio.Protocol):
    """One connection: sends the next request when the last one is answered."""

    def __init__(self, load: "Load") -> None:
        self.load = load
        self.buffer = b""
        self.sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.next()

    def next(self) -> None:
        request = self.load.request()
        if request is None:
            self.transport.close()
            return
        self.sent_at = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        lower = self.buffer[:head].lower()
        at = lower.find(b"content-length:")
        length = int(lower[at + 15 : lower.find(b"\r\n", at) if lower.find(b"\r\n", at) > 0 else head]) if at > 0 else 0
        if len(self.buffer) < head + 4 + length:
            return
        self.load.answered(time.perf_counter() - self.sent_at, self.buffer[9:12])
        self.buffer = b""
        self.next()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.load.open -= 1
        if self.load.open == 0:
            self.load.done.set()


class Load:
    """What all connections share."""

    def __init__(self, url: str, connections: int, seconds: float, token: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname, parts.port
        self.path, self.netloc, self.token = f"{parts.path}?{parts.query}".encode(), parts.netloc.encode(), token
        self.head = (
            f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()
        self.connections, self.seconds = connections, seconds
        self.open = connections
        self.number = 0
        self.latencies: list[float] = []
        self.bad = 0
        self.done = asyncio.Event()

    def request(self) -> bytes | None:
        """Make the next request, or None when the time is over."""
        if time.perf_counter() > self.ends:
            return None
        self.number += 1
        # never ending in 0000 to 0999: some of those the simulated carrier treats specially
        number = 100_000 + self.number % 80 * 10_000 + 1000 + self.number // 80 % 9000
        if not self.token:
            return b"GET %b&from=12345&to=46700%06d&text=Hello+t%%3D%d+this+is+a+sixty+character+test+message " % (
                self.path, number, time.time() * 1000,
            ) + b"HTTP/1.1\r\nHost: %b\r\n\r\n" % self.netloc  # fmt: skip
        body = b'{"to":"+46700%06d","from":"12345","body":"Hello t=%d this is a sixty character test message"}' % (
            number,
            time.time() * 1000,
        )
        return b"%b%d\r\n\r\n%b" % (self.head, len(body), body)

    def answered(self, latency_s: float, status: bytes) -> None:
        self.latencies.append(latency_s)
        self.bad += not status.startswith(b"2")

    async def run(self) -> dict[str, float]:
        began = time.perf_counter()
        self.ends = began + self.seconds
        loop = asyncio.get_running_loop()
        for _ in range(self.connections):
            await loop.create_connection(lambda: Connection(self), self.host, self.port)
        await self.done.wait()
        took = time.perf_counter() - began
        ordered = sorted(self.latencies)
        return {
            "requests": len(ordered), "bad": self.bad, "rps": round(len(ordered) / took, 1),
            "p50_ms": round(ordered[len(ordered) // 2] * 1000, 2),
            "p99_ms": round(ordered[int(len(ordered) * 0.99)] * 1000, 2),
            "cpu_s": round(time.process_time(), 2),
        }  # fmt: skip


async def main() -> None:
    url, connections, seconds, token = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
    print(json.dumps(await Load(url, connections, seconds, token).run()))


if __name__ == "__main__":
    uvloop.run(main())
