import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import pytest

from ghasi.carriers.simulator import Behaviour, Simulator, serve_simulator
from ghasi.contract.serving import ServiceApp
from ghasi.contract.values import new_id
from ghasi.messages import routes, worker
from ghasi.settings import Settings
from ghasi.storage.pool import ALONG_INDEXES, UNAVAILABLE, close_pool, open_pool
from ghasi.storage.resources import Resources
from tests.asgi import Answer, request
from tests.messages.watching import Watched


@dataclass
class Customer:
    """An account that calls the service as the gateway would call it for it."""

    app: ServiceApp
    account_id: UUID
    user_id: UUID

    async def call(self, method: str, target: str, json: Any = None, **headers: str) -> Answer:
        injected = {
            "x-account-id": str(self.account_id),
            "x-user-id": str(self.user_id),
            "x-consumer-username": "ghasi-user",
            "x-kong-request-id": "r1",
        }
        extra = {name.replace("_", "-"): value for name, value in headers.items()}
        return await request(self.app, method, target, headers=injected | extra, json=json)

    async def send(self, to: str = "+46700000010", body: str = "Hello", **rest: Any) -> dict[str, Any]:
        answer = await self.call("POST", "/v1/messages", {"to": to, "body": body, **rest})
        assert answer.status == 202, answer.body
        return answer.json

    async def get(self, message_id: str) -> dict[str, Any]:
        answer = await self.call("GET", f"/v1/messages/{message_id}")
        assert answer.status == 200, answer.body
        return answer.json

    async def until(self, message_id: str, *statuses: str, within_s: float = 30.0) -> dict[str, Any]:
        """Wait until a message has one of the statuses."""
        async with asyncio.timeout(within_s):
            while True:
                message = await self.get(message_id)
                if message["status"] in statuses:
                    return message
                await asyncio.sleep(0.02)


@pytest.fixture
async def app(resources: Resources) -> AsyncIterator[ServiceApp]:
    async with routes.serve(resources) as handlers:
        yield ServiceApp(handlers, unavailable=UNAVAILABLE)


@pytest.fixture
def customer(app: ServiceApp) -> Customer:
    return Customer(app, new_id(), new_id())


@pytest.fixture
def other(app: ServiceApp) -> Customer:
    return Customer(app, new_id(), new_id())


@pytest.fixture
async def watched(database_url: str) -> AsyncIterator[Watched]:
    pool = await open_pool(database_url, size=4, planning=ALONG_INDEXES)
    yield Watched(pool)
    await close_pool(pool)


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    simulator = await serve_simulator(behaviour=Behaviour(receipt_delay_s=0.01))
    yield simulator
    await simulator.close()


@dataclass
class Running:
    """A worker in this process."""

    stopping: asyncio.Event
    task: asyncio.Task[None]

    async def kill(self) -> None:
        """End it at once: it claims nothing more and gives nothing back."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


Worker = Callable[[], Awaitable[Running]]


@pytest.fixture
async def start_worker(resources: Resources, simulator: Simulator) -> AsyncIterator[Worker]:
    """Starts dispatch workers; each drains at the end of the test."""
    started: list[Running] = []

    async def start() -> Running:
        settings = Settings(dev=True, smsc_port=simulator.port)
        own = replace(resources, settings=settings, stopping=asyncio.Event())
        started.append(Running(own.stopping, asyncio.create_task(worker.work(own))))
        return started[-1]

    yield start
    for running in started:
        running.stopping.set()
    ended = await asyncio.wait_for(asyncio.gather(*(one.task for one in started), return_exceptions=True), 10)
    assert all(error is None or isinstance(error, asyncio.CancelledError) for error in ended), ended
