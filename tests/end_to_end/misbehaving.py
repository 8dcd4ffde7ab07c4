"""Servers that misbehave, each on a port of its own: run as a module it prints the ports, as JSON.

A process of their own, lest what they write for nobody takes the time of who is measured.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import Awaitable, Callable


async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def answer_a_byte_a_second(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 100:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(1)


async def answer_100_mib(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n")
    for _ in range(1600):
        writer.write(b"x" * 65536)
        await writer.drain()


async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def never_end_the_head(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-More: 1\r\n")
        await writer.drain()
        await asyncio.sleep(0.1)


async def speak_no_http(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example.com ESMTP\r\n")
    await writer.drain()
    writer.close()


WAYS = (hang, answer_a_byte_a_second, answer_100_mib, reset, never_end_the_head, speak_no_http)
Way = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def start(way: Way) -> asyncio.Server:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            await way(reader, writer)
        writer.transport.abort()

    return await asyncio.start_server(accept, "127.0.0.1", 0, backlog=1024)


async def main() -> None:
    servers = [await start(way) for way in WAYS]
    sys.stdout.write(json.dumps([server.sockets[0].getsockname()[1] for server in servers]) + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
