"""An aggregator that takes messages over HTTP: a real server on loopback, which answers as a test says."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from ghasi.carriers.carrier import Segment
from ghasi.carriers.http.client import HttpCarrier, Timing
from ghasi.carriers.http.configuration import HttpConfiguration


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


Answerer = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def accept(request: web.Request) -> web.StreamResponse:
    del request
    return web.json_response({"id": "abc-1", "status": "queued"})


def answers(status: int, document: Any = None, **headers: str) -> Answerer:
    async def answer(request: web.Request) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.json_response(document, status=status, headers=named)

    return answer


@dataclass
class Aggregator:
    """What it was asked, and how it answers."""

    url: str = ""
    answer: Answerer = accept
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0

    async def take(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.asked.append(Asked(request.method, request.path_qs, dict(request.headers), body))
        return await self.answer(request)


@asynccontextmanager
async def serve_aggregator(port: int = 0, context: ssl.SSLContext | None = None) -> AsyncIterator[Aggregator]:
    aggregator = Aggregator()
    application = web.Application()
    application.router.add_route("*", "/{rest:.*}", aggregator.take)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=context)
    await site.start()
    scheme = "http" if context is None else "https"
    aggregator.url = f"{scheme}://127.0.0.1:{runner.addresses[0][1]}/sms"
    try:
        yield aggregator
    finally:
        await runner.cleanup()


BODY = {"to": "{to}", "from": "{from}", "text": "{text}", "ref": "{id}"}
ANSWER = {"id": "/id", "status": "/status", "values": {"queued": "accepted"}}


def configured(url: str, **fields: Any) -> HttpConfiguration:
    """A carrier as carriers.toml would have it."""
    table = {"name": "aggregator", "kind": "http", "url": url, "body": BODY, "answer": ANSWER} | fields
    return msgspec.convert(table, HttpConfiguration)


QUICK = Timing(stop_timeout_s=0.2, least_backoff_s=0.02, most_backoff_s=0.05)


async def until(condition: Callable[[], bool], within_s: float = 30.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def started(url: str, *, reachable: bool = True, **fields: Any) -> AsyncIterator[HttpCarrier]:
    """A carrier that is reachable, unless that is not waited for."""
    carrier = HttpCarrier(configured(url, **fields), QUICK)
    await carrier.start(lambda _: None, lambda _: None)
    try:
        if reachable:
            await until(lambda: carrier.capacity() > 0)
        yield carrier
    finally:
        await carrier.stop()


def a_segment(text: str = "Hello", **fields: Any) -> Segment:
    given = {"to": "+46700000010", "sender": "Ghasi", "message_id": "019-a"} | fields
    return Segment(encoding="text", payload=text.encode(), **given)
