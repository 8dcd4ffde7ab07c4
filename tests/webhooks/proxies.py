"""An HTTP proxy on a real socket: tunnels by CONNECT, forwards by absolute URI, and remembers what it was asked for."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

Refuse = Callable[["Asked", asyncio.StreamWriter], Awaitable[bool]]
"""Does something else with a request, such as to answer 403; False leaves it to the proxy."""


@dataclass
class Asked:
    method: str
    target: str
    headers: dict[str, str]


@dataclass
class Proxy:
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    refuse: Refuse | None = None
    connections: int = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        method, target, _ = line.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)}
        asked = Asked(method, target, headers)
        self.asked.append(asked)
        if self.refuse is not None and await self.refuse(asked, writer):
            return
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        assert parts.hostname
        there = await asyncio.open_connection(parts.hostname, parts.port or 80)
        try:
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                kept = [one for one in lines if not one.lower().startswith("proxy-")]
                path = parts.path + (f"?{parts.query}" if parts.query else "")
                there[1].write("\r\n".join([f"{method} {path} HTTP/1.1", *kept, "Connection: close", "", ""]).encode())
            await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))
        finally:
            there[1].transport.abort()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
    else:
        writer.close()


def answering(status: str) -> Refuse:
    async def answer(_: Asked, writer: asyncio.StreamWriter) -> bool:
        writer.write(f"HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nno".encode())
        await writer.drain()
        return True

    return answer


async def hang(_: Asked, writer: asyncio.StreamWriter) -> bool:
    await asyncio.sleep(30)
    return True


async def reset(_: Asked, writer: asyncio.StreamWriter) -> bool:
    writer.transport.abort()
    return True


async def babble(_: Asked, writer: asyncio.StreamWriter) -> bool:
    writer.write(b"220 mail.example.com ESMTP\r\n\r\n")
    await writer.drain()
    return True


@asynccontextmanager
async def proxying() -> AsyncIterator[Proxy]:
    proxy = Proxy()
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await proxy.accept(reader, writer)
        finally:
            writer.transport.abort()
            tasks.discard(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
