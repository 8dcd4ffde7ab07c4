"""Real receivers on loopback, real workers, and events written to the messages outbox as messages does."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from aiohttp import web

from ghasi.contract.serving import ServiceApp
from ghasi.contract.values import new_id, rfc3339
from ghasi.storage.events import outbox
from ghasi.storage.events.outbox import Event
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from ghasi.webhooks.delivering.addresses import Lookup, look_up
from ghasi.webhooks.model import Pace
from ghasi.webhooks.routes import serve
from ghasi.webhooks.worker import work
from tests import asgi

QUICK = Pace(schedule_s=(0.05,) * 7, poll_s=0.05)


@dataclass
class Received:
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Receiver:
    """An endpoint that remembers what it got and answers as it is told."""

    url: str = ""
    got: list[Received] = field(default_factory=list)
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.got.append(Received({key.lower(): value for key, value in request.headers.items()}, await request.read()))
        return web.Response(text="thanks") if self.answer is None else await self.answer(request)

    @property
    def ids(self) -> set[str]:
        return {one.id for one in self.got}


@asynccontextmanager
async def receiving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    receiver.url = f"http{'s' if tls else ''}://127.0.0.1:{port}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one


@asynccontextmanager
async def raw_server(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """A server that does with a connection what it likes; yields its URL."""
    writers: list[asyncio.StreamWriter] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            await reader.readuntil(b"\r\n\r\n")
            await handle(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()


@dataclass
class Customer:
    """An account that calls the API."""

    app: ServiceApp
    account_id: UUID = field(default_factory=new_id)
    user_id: UUID = field(default_factory=new_id)

    async def call(self, method: str, path: str, json: Any = None, **headers: str) -> asgi.Answer:
        sent = {
            "x-account-id": str(self.account_id),
            "x-user-id": str(self.user_id),
            "x-consumer-username": "ghasi-user",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        return await asgi.request(self.app, method, path, headers=sent, json=json)

    async def create(self, url: str, events: Iterable[str] = ("*",), **more: Any) -> dict[str, Any]:
        answer = await self.call("POST", "/v1/webhooks", {"url": url, "events": list(events), **more})
        assert answer.status == 201, answer.json
        created: dict[str, Any] = answer.json
        return created


@pytest.fixture
async def app(resources: Resources) -> AsyncIterator[ServiceApp]:
    async with serve(resources) as handlers:
        yield ServiceApp(handlers)


@pytest.fixture
def customer(app: ServiceApp) -> Customer:
    return Customer(app)


def event_of(account_id: UUID, status: str = "delivered", sequence: int = 1, **more: Any) -> Event:
    message_id, at = new_id(), datetime.now(UTC)
    data = {"id": str(message_id), "to": "+93701234567", "status": status, "body": "سلام", "created_at": rfc3339(at)}
    data |= more
    return Event(
        new_id(), f"message.{status}", account_id, message_id, sequence, at, msgspec.json.encode(data).decode()
    )


async def publish(pool: Pool, account_id: UUID, count: int = 1, status: str = "delivered", **more: Any) -> list[Event]:
    """Write events as messages does, and return them; `more` goes into their data."""
    events = [event_of(account_id, status, **more) for _ in range(count)]
    async with pool.acquire() as connection, connection.transaction():
        await outbox.append(connection, "messages", events)
    return events


async def until(condition: Callable[[], Any], timeout_s: float = 30.0) -> Any:
    """Wait until the condition holds, and return its value; the last time that it is looked at is after `timeout_s`."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + timeout_s
    while True:
        looked_at = clock()
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        assert looked_at < deadline, "it did not come to pass in time"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def working(resources: Resources, pace: Pace = QUICK, lookup: Lookup = look_up) -> AsyncIterator[Resources]:
    """Run a worker; leaving asks it to stop, as a process does."""
    own = replace(resources, stopping=asyncio.Event())
    task = asyncio.create_task(work(own, pace=pace, lookup=lookup))
    try:
        yield own
        own.stopping.set()
        async with asyncio.timeout(8):
            await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def log_of(pool: Pool, endpoint_id: str) -> list[Any]:
    return await pool.fetch("SELECT * FROM webhooks.deliveries WHERE endpoint_id = $1", endpoint_id)


async def attempts_of(pool: Pool, endpoint_id: str) -> list[Any]:
    return await pool.fetch("SELECT * FROM webhooks.attempts WHERE endpoint_id = $1 ORDER BY number", endpoint_id)
