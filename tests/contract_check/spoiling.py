"""Stands before a gateway and behind it, and changes one thing of what passes."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from ghasi.contract.check.options import Clock
from ghasi.contract.row import Row, Upstream
from ghasi.contract.serving import Asgi, RawHeaders, Receive, Scope, Send
from ghasi.contract.table import Matcher
from ghasi.gateway.upstreams import UpstreamAnswer, UpstreamClient, UpstreamRequest, UpstreamStream

_matcher = Matcher()
_asked: ContextVar["Asked"] = ContextVar("asked")


@dataclass
class Asked:
    """A request, which may be changed; `row` is the contract's."""

    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    body: bytes
    row: Row | None = None

    @property
    def operation(self) -> str:
        return "" if self.row is None else self.row.operation

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def token(self) -> str:
        """The bearer token; empty where there is none."""
        value = (self.all("authorization") or [""])[0]
        return value.removeprefix("Bearer ") if value.startswith("Bearer ") else ""

    def call_as(self, token: str) -> None:
        """Let the gateway believe somebody else."""
        self.headers = [header for header in self.headers if header[0].lower() != "authorization"]
        self.headers.append(("authorization", f"Bearer {token}"))

    @property
    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass
class Answered:
    """An answer, which may be changed."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def set(self, name: str, value: str | None) -> None:
        """Set a header, or take it away."""
        self.headers = [header for header in self.headers if header[0].lower() != name.lower()]
        if value is not None:
            self.headers.append((name, value))

    def get(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None

    def say(self, value: Any, status: int | None = None, media: str | None = None) -> None:
        """Answer other JSON."""
        self.body = json.dumps(value).encode()
        self.status = status or self.status
        self.set("content-type", media or self.get("content-type") or "application/json")


Before = Callable[[Asked], None]
After = Callable[[Asked, Answered], Any]
Forward = Callable[[UpstreamRequest, Asked], UpstreamRequest]


@dataclass
class Changes:
    """What is changed now; nothing by default. `after` may be asynchronous, to be late."""

    before: Before | None = None
    after: After | None = None
    forward: Forward | None = None


@dataclass
class Spoiler:
    """The ASGI app before the gateway, `app`; by its clock answers are dated."""

    app: Asgi
    clock: Clock = field(default_factory=Clock)
    changes: Changes = field(default_factory=Changes)

    def now(self) -> float:
        """The time by the clock of the run."""
        return self.clock.time()

    @contextmanager
    def changing(self, changes: Changes) -> Iterator[None]:
        self.changes = changes
        try:
            yield
        finally:
            self.changes = Changes()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        asked = Asked(
            scope["method"], scope["path"], scope["query_string"].decode(),
            [(name.decode(), value.decode("latin-1")) for name, value in scope["headers"]], await _read(receive),
        )  # fmt: skip
        found = _matcher.find(asked.method, asked.path)
        asked.row = found[0] if found else None
        _asked.set(Asked(asked.method, asked.path, asked.query, list(asked.headers), asked.body, asked.row))
        if self.changes.before is not None:
            self.changes.before(asked)
        answered = await self._answer(scope, asked)
        answered.set("date", formatdate(self.now(), usegmt=True))
        if self.changes.after is not None and (waiting := self.changes.after(asked, answered)) is not None:
            await waiting
        if answered.status != 204:
            answered.set("content-length", str(len(answered.body)))
        headers = [(name.encode(), value.encode("latin-1")) for name, value in answered.headers]
        await send({"type": "http.response.start", "status": answered.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if asked.method == "HEAD" else answered.body})

    async def _answer(self, scope: Scope, asked: Asked) -> Answered:
        inner = {
            **scope, "method": asked.method, "path": asked.path, "raw_path": asked.path.encode(),
            "query_string": asked.query.encode(),
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in asked.headers],
        }  # fmt: skip
        answered = Answered(0, [], b"")

        unread = iter([{"type": "http.request", "body": asked.body, "more_body": False}])

        async def receive() -> dict[str, Any]:
            for message in unread:
                return message
            return await asyncio.get_running_loop().create_future()  # the client stays

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answered.status = message["status"]
                answered.headers = [(name.decode(), value.decode("latin-1")) for name, value in message["headers"]]
            else:
                answered.body += message.get("body", b"")

        await self.app(inner, receive, send)
        return answered


async def _read(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


class Way:
    """A gateway's way to one upstream, over which it may be led elsewhere; what it forwards may be changed."""

    def __init__(self, home: UpstreamClient, spoiler: Spoiler) -> None:
        self.home = self.client = home
        self._spoiler = spoiler

    def _changed(self, request: UpstreamRequest) -> UpstreamRequest:
        forward = self._spoiler.changes.forward
        asked = _asked.get(None)
        return request if forward is None or asked is None else forward(request, asked)

    async def send(self, request: UpstreamRequest) -> UpstreamAnswer:
        return await self.client.send(self._changed(request))

    def stream(self, request: UpstreamRequest) -> AbstractAsyncContextManager[UpstreamStream]:
        return self.client.stream(self._changed(request))

    async def close(self) -> None:
        await self.client.close()


def with_header(headers: RawHeaders, name: str, value: str | None) -> RawHeaders:
    """Headers in which one has another value, or is missing."""
    others = [header for header in headers if header[0] != name.lower().encode()]
    return others if value is None else [*others, (name.lower().encode(), value.encode())]


@asynccontextmanager
async def led(ways: dict[Upstream, Way], clients: dict[Upstream, UpstreamClient]) -> AsyncIterator[None]:
    """Lead the gateway elsewhere for a while."""
    for upstream, client in clients.items():
        ways[upstream].client = client
    try:
        yield
    finally:
        for upstream, client in clients.items():
            ways[upstream].client = ways[upstream].home
            await client.close()
