"""The two carriers over a real database and a real NATS server, as processes have them: one suite asks both."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from ghasi.contract.values import new_id
from ghasi.storage.bells import Bells
from ghasi.storage.events import outbox
from ghasi.storage.events.carrier import Events
from ghasi.storage.events.jetstream import JetStreamEvents
from ghasi.storage.events.link import Link
from ghasi.storage.events.outbox import Event, Handler
from ghasi.storage.events.postgres import PostgresEvents
from ghasi.storage.events.stream import Streams
from ghasi.storage.pool import Connection, Pool
from tests.engines import Engine, nats_server

SOURCE, CONSUMER, OTHER = "messages", "billing", "webhooks"
QUICK = {"settled": timedelta(milliseconds=200), "watermark_s": 0.1}


def event(
    subject: UUID | None = None,
    sequence: int = 1,
    at: datetime | None = None,
    data: str = '{"to": "+93", "b":"سلام"}',
    **more: Any,
) -> Event:
    happened = at or datetime.now(UTC)
    return Event(new_id(), "message.accepted", new_id(), subject or new_id(), sequence, happened, data, **more)


async def append(pool: Pool, *events: Event, source: str = SOURCE) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await outbox.append(connection, source, events)


async def applied_in(pool: Pool) -> list[UUID]:
    """What collectors have committed; what one has `applied` may yet be rolled back."""
    return [row["id"] for row in await pool.fetch("SELECT id FROM public.applied ORDER BY place")]


@dataclass
class Collector:
    """A consumer that writes down what it applied, in the transaction that it is given."""

    applied: list[Event] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    fail: Exception | None = None

    async def __call__(self, connection: Connection, events: Sequence[Event]) -> None:
        await connection.executemany(
            "INSERT INTO public.applied (id, sequence) VALUES ($1, $2)", [(one.id, one.sequence) for one in events]
        )
        if self.fail is not None:
            raise self.fail
        self.applied.extend(events)
        self.batches.append(len(events))

    @property
    def ids(self) -> list[UUID]:
        return [one.id for one in self.applied]


@dataclass
class Process:
    """What one process has of a carrier; `tasks` are its loops, `kill` ends them as kill -9 would."""

    events: Events
    bells: Bells
    link: Link | None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def relay(self, source: str = SOURCE) -> None:
        self.tasks.append(asyncio.create_task(self.events.relay(source)))

    def follow(self, handle: Handler, consumer: str = CONSUMER, **more: Any) -> None:
        self.tasks.append(asyncio.create_task(self.events.follow(SOURCE, consumer, handle, **more)))

    async def kill(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks.clear()
        if self.link is not None:
            await self.link.close()


Start = Callable[[], Process]


@pytest.fixture(scope="session")
def nats() -> Iterator[Engine]:
    with nats_server() as engine:
        yield engine


def starter(pool: Pool, carrier: str, url: str, prefix: str, started: list[Process]) -> Start:
    def start() -> Process:
        bells = Bells(pool)
        if carrier == "postgres":
            process = Process(PostgresEvents(pool, bells), bells, None)
        else:
            link = Link(url)
            streams = Streams(prefix=prefix)
            process = Process(JetStreamEvents(pool, bells, link, streams, **QUICK), bells, link)
        started.append(process)
        return process

    return start


@asynccontextmanager
async def starting(pool: Pool, carrier: str, url: str, prefix: str | None = None) -> AsyncIterator[Start]:
    """Give processes of a carrier, which have ended afterwards."""
    await pool.execute("CREATE TABLE IF NOT EXISTS public.applied (place bigserial, id uuid, sequence int)")
    started: list[Process] = []
    try:
        yield starter(pool, carrier, url, prefix or f"test-{uuid4().hex[:8]}", started)
    finally:
        for process in started:
            await process.kill()


async def until(condition: Callable[[], Any], within_s: float = 15.0) -> None:
    clock = asyncio.get_running_loop().time
    deadline = clock() + within_s
    while True:
        looked_at = clock()
        value = condition()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return
        assert looked_at < deadline, "it did not come to pass in time"
        await asyncio.sleep(0.005)
