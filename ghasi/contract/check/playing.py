"""Plays an upstream: listens where the gateway looks for it, notes what it forwards, and answers well, late or not.

Owns the sockets. Each request that is meant for it carries a mark in its query. All others, such as a gateway's look at
its upstreams' health, are passed on to the real upstream where there is one behind, or else answered with 200.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Literal
from uuid import uuid4

import aiohttp
from yarl import URL

from ghasi.contract.check.options import Clock, Played
from ghasi.contract.check.promises import CannotCheck
from ghasi.contract.row import Upstream

How = Literal["answer", "late", "hang", "break"]
MARK = "ghasi_check"
BODY = b'{"played":"by ghasi contract check"}'
_MARKED = re.compile(rf"[?&]{MARK}=([0-9a-f]+)")
_MOST_HEAD_BYTES = 64 * 1024
_HEAD_S = 75.0
_NO_CONTENT = 204
_OF_CONNECTION = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "te", "upgrade"})


@dataclass(frozen=True, slots=True)
class Received:
    """A request as an upstream got it: header names as they were written, in their order."""

    upstream: Upstream
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def all(self, name: str) -> list[str]:
        """Return the values of a header in any spelling: servers take underscores and hyphens for the same."""
        return [value for key, value in self.headers if spelled(key) == name.lower()]


def spelled(name: str) -> str:
    """Return a header's name as every server reads it."""
    return name.lower().replace("_", "-")


@dataclass(slots=True)
class Part:
    """What a marked request is met with, and what came of it. `late_s` is by the run's clock."""

    how: How = "answer"
    late_s: float = 0.0
    mark: str = field(default_factory=lambda: uuid4().hex)
    received: list[Received] = field(default_factory=list)

    @property
    def query(self) -> str:
        """What marks a request, to be the last of its query."""
        return f"{MARK}={self.mark}"


class Stage:
    """All upstreams that are played in a run."""

    def __init__(self, upstreams: Mapping[Upstream, Played], clock: Clock) -> None:
        self._upstreams = dict(upstreams)
        self._clock = clock
        self._servers: dict[Upstream, asyncio.Server] = {}
        self._serving: dict[Upstream, set[asyncio.Task[None]]] = {upstream: set() for upstream in upstreams}
        self._parts: dict[str, Part] = {}
        self._session: aiohttp.ClientSession | None = None

    def play(self, how: How = "answer", late_s: float = 0.0) -> Part:
        """Return a part for one request, which is known by its mark."""
        part = Part(how, late_s)
        self._parts[part.mark] = part
        return part

    async def open(self) -> None:
        """Listen at every address; raises CannotCheck where that is not possible."""
        if self._upstreams:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False)
        for upstream in self._upstreams:
            await self._listen(upstream)

    async def close(self) -> None:
        """Listen no more and close all connections."""
        for upstream in list(self._servers):
            await self._leave(upstream)
        if self._session is not None:
            await self._session.close()

    @contextlib.asynccontextmanager
    async def away(self, *upstreams: Upstream) -> AsyncIterator[None]:
        """Refuse connections in the name of upstreams for a while."""
        for upstream in upstreams:
            await self._leave(upstream)
        try:
            yield
        finally:
            for upstream in upstreams:
                await self._listen(upstream)

    async def _listen(self, upstream: Upstream) -> None:
        host, port = self._upstreams[upstream].host, self._upstreams[upstream].port

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            serving = asyncio.create_task(self._serve(upstream, reader, writer))
            self._serving[upstream].add(serving)
            serving.add_done_callback(self._serving[upstream].discard)

        try:
            self._servers[upstream] = await asyncio.start_server(accept, host, port, limit=_MOST_HEAD_BYTES)
        except OSError as error:
            raise CannotCheck(f"--upstream: {upstream} cannot be played at {host}:{port}: {error.strerror}") from error

    async def _leave(self, upstream: Upstream) -> None:
        server = self._servers.pop(upstream)
        server.close()
        serving = list(self._serving[upstream])
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await server.wait_closed()

    async def _serve(self, upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_HEAD_S):
                while await self._serve_one(upstream, reader, writer):
                    pass
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError, TimeoutError, ValueError):
            pass  # the gateway has gone, or speaks no HTTP
        finally:
            writer.transport.abort()

    async def _serve_one(self, upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request of a connection; say whether there may be another."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
        received = Received(upstream, method, target, headers, await _read_body(reader, headers))
        found = _MARKED.search(target)
        part = self._parts.get(found[1]) if found else None
        behind = self._upstreams[upstream].behind
        if part is None and behind is not None:
            writer.write(await self._pass_on(received, behind))
            await writer.drain()
            return True
        part = part or Part()
        part.received.append(received)
        if part.how == "break":
            return False
        if part.how == "hang":
            await reader.read()  # until the gateway leaves
            return False
        if part.how == "late":
            await self._clock.pause(part.late_s)
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nserver: played\r\ncontent-length: %d\r\n\r\n"
            % len(BODY) + BODY
        )  # fmt: skip
        await writer.drain()
        return True

    async def _pass_on(self, received: Received, behind: str) -> bytes:
        """Return the real upstream's answer; raises ConnectionError where it gives none."""
        if self._session is None:
            raise RuntimeError("not open")
        headers = [(name, value) for name, value in received.headers if name.lower() not in _OF_CONNECTION]
        try:
            async with self._session.request(
                received.method, URL(behind.rstrip("/") + received.target, encoded=True), headers=headers,
                data=received.body or None, allow_redirects=False,
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            ) as response:  # fmt: skip
                body = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ConnectionError from error
        lines = [b"HTTP/1.1 %d Passed On" % response.status]
        lines += [
            name + b": " + value
            for name, value in response.raw_headers
            if name.decode("latin-1").lower() not in _OF_CONNECTION
        ]
        if response.status != _NO_CONTENT:
            lines.append(b"content-length: %d" % len(body))
        return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def _read_body(reader: asyncio.StreamReader, headers: tuple[tuple[str, str], ...]) -> bytes:
    given = {name.lower(): value for name, value in headers}
    if "chunked" not in given.get("transfer-encoding", "").lower():
        return await reader.readexactly(int(given.get("content-length", "0")))
    body = b""
    while size := int((await reader.readline()).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readline()
    while (await reader.readline()).strip():
        pass  # trailers
    return body
