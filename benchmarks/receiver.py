"""Counts webhooks: python -m benchmarks.receiver PORT [HOST]. POST anything; GET /stats tells how many and when.

GET /reset tells the same, and begins to count anew. HOST 0.0.0.0 takes what comes to any of 127.0.0.0/8.

Hand-written on asyncio.Protocol with httptools, so that receiving costs little beside sending.
"""

import asyncio
import json
import sys
import time

import httptools
import uvloop

COUNT = {"delivered": 0, "all": 0, "connections": 0, "first": 0.0, "last": 0.0}
OK = b"HTTP/1.1 204 No Content\r\n\r\n"


class Receiver(asyncio.Protocol):
    """One keep-alive connection."""

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
        self.body = b""
        self.transport.write(OK)


async def main() -> None:
    loop = asyncio.get_running_loop()
    host = sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1"
    server = await loop.create_server(Receiver, host, int(sys.argv[1]), backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
