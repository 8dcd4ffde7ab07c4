"""Counts webhooks: python -m benchmarks.instruments.receiver PORT [--hosts N] [--stamps FOLDER].

POST anything; GET /stats tells how many came and when, GET /reset the same, and begins to count anew. It listens on
127.0.0.1, and on N other loopback addresses; with --stamps it writes down when the webhook of each message came.

Hand-written on asyncio.Protocol with httptools, so that receiving costs little beside sending.
"""

import argparse
import asyncio
import json
import time

import httptools
import uvloop

from benchmarks.instruments.stamps import TOLD, Stamps, number_in
from ghasi.processes.lifetime import allow_many_files

COUNT = {"delivered": 0, "all": 0, "connections": 0, "first": 0.0, "last": 0.0}
OK = b"HTTP/1.1 204 No Content\r\n\r\n"


def address_of(number: int) -> str:
    """Return one of the loopback addresses besides 127.0.0.1."""
    return f"127.1.{number // 250}.{number % 250 + 1}"


class Receiver(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self, stamps: Stamps | None) -> None:
        self.stamps = stamps

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        COUNT["connections"] += 1
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""
        self.url = b""

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        if self.url in (b"/stats", b"/reset"):
            answer = json.dumps(COUNT).encode()
            if self.url == b"/reset":
                COUNT.update(delivered=0, all=0, connections=0, first=0.0, last=0.0)
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))
            return
        now = time.time()
        COUNT["first"] = COUNT["first"] or now
        COUNT["last"] = now
        COUNT["all"] += 1
        COUNT["delivered"] += b'"message.delivered"' in self.body[:200]
        if self.stamps is not None and (number := number_in(self.body)) is not None:
            self.stamps.put(number, time.monotonic())
        self.body = b""
        self.transport.write(OK)


async def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(prog="benchmarks.instruments.receiver")
    parser.add_argument("port", type=int)
    parser.add_argument("--hosts", type=int, default=0)
    parser.add_argument("--stamps")
    given = parser.parse_args()
    allow_many_files()
    stamps = Stamps(given.stamps, TOLD) if given.stamps else None
    hosts = ["127.0.0.1", *map(address_of, range(given.hosts))]
    server = await asyncio.get_running_loop().create_server(lambda: Receiver(stamps), hosts, given.port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
