"""Several workers share the dispatch: messages find the worker whose carrier they need, and nothing goes twice."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ghasi.carriers.simulated_behaviour import Behaviour
from ghasi.carriers.simulator import Simulator, serve_simulator
from ghasi.carriers.smpp import pdu, statuses
from ghasi.messages import worker
from ghasi.messages.dispatch import bind_queries, binds
from ghasi.settings import Settings
from ghasi.storage.bells import Bells
from ghasi.storage.pool import Pool, open_pool
from ghasi.storage.resources import Resources
from tests.messages.carrying import carriers_toml
from tests.messages.conftest import Customer
from tests.messages.test_dispatch_carriers import all_delivered, send_many
from tests.messages.test_hardening import make_mute, until

REFUSES = Behaviour(receipt_delay_s=0.01, refuse={statuses.ESME_RINVDSTADR: 1.0})
RENEWED_EVERY_S = 0.2
HANDED_OVER_WITHIN_S, TICK_S = 2.0, 10.0
"""However busy the machine; measured alone the 99th percentile is 60 ms. Without the bell it is the tick."""


@dataclass
class Worker:
    """One of several workers, each with connections and bells of its own, as a process has."""

    resources: Resources
    task: asyncio.Task[None]
    listening: asyncio.Task[None]

    async def stop(self) -> None:
        self.resources.stopping.set()
        await asyncio.wait_for(self.task, 10)
        self.listening.cancel()
        await self.resources.pool.close()


@dataclass
class Site:
    """Two SMSCs of one bind each, and workers that come to have one of them each."""

    a: Simulator
    b: Simulator
    file: Path
    resources: Resources
    workers: list[Worker] = field(default_factory=list)
    arrived: dict[str, float] = field(default_factory=dict)

    def write(self, routes: str, *, window: int = 50) -> None:
        self.file.write_text(carriers_toml(routes, a=(self.a.port, window), b=(self.b.port, 50)))

    async def start(self) -> None:
        url = self.resources.database_url
        pool = await open_pool(url)
        bells = Bells(pool)
        own = replace(
            self.resources, pool=pool, bells=bells, settings=Settings(carriers=self.file), stopping=asyncio.Event()
        )
        listening = asyncio.create_task(bells.listen(url))
        self.workers.append(Worker(own, asyncio.create_task(worker.work(own)), listening))

    async def start_two(self) -> None:
        """Start two workers, and wait until each has a carrier up and knows of the other's."""
        await self.start()
        await self.start()
        await until(lambda: self.is_shared(2))
        for _ in range(2):  # the renewal that runs may have begun before the other's carrier was up
            await until(partial(self.renewed_since, await self.renewals()))

    async def renewals(self) -> dict[str, datetime]:
        """When each worker has renewed last, as the end of its leases."""
        found = await self.resources.pool.fetch("SELECT process, valid_until FROM messages.dispatch_workers")
        return dict(map(tuple, found))

    async def renewed_since(self, seen: dict[str, datetime]) -> bool:
        now = await self.renewals()
        return all(now[process] > at for process, at in seen.items())

    async def is_shared(self, among: int) -> bool:
        found = await bind_queries.list_holders(self.resources.pool)
        return len(found) == 2 and len({process for _, process, _, _ in found}) == among and all(up for *_, up in found)


@pytest.fixture
async def site(resources: Resources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr(binds, "SETTLES_S", 0.0)
    monkeypatch.setattr(binds, "RENEWED_EVERY_S", RENEWED_EVERY_S)
    monkeypatch.setattr(worker, "TICK_S", 0.2)
    behaviour = Behaviour(receipt_delay_s=0.01)
    arrived: dict[str, float] = {}

    def note(message: pdu.ShortMessage) -> None:
        arrived.setdefault(message.destination.value, time.monotonic())

    a, b = [await serve_simulator(behaviour=behaviour, on_submit=note) for _ in range(2)]
    site = Site(a, b, tmp_path / "carriers.toml", resources, arrived=arrived)
    hearing = asyncio.create_task(resources.bells.listen(resources.database_url))
    yield site
    for one in site.workers:
        await one.stop()
    hearing.cancel()
    for smsc in (a, b):
        await smsc.close()


async def is_idle(pool: Pool) -> bool:
    return bool(await pool.fetchval("SELECT count(*) = 0 FROM messages.dispatch"))


BY_PREFIX = """
[[route]]
name = "north"
prefixes = ["46700001"]
to = "a"

[[route]]
name = "rest"
to = "b"
"""
FAILOVER = """
[[route]]
name = "all"
to = ["a", "b"]
"""


async def test_messages_reach_the_worker_whose_carrier_they_need_at_once(
    customer: Customer, pool: Pool, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "TICK_S", TICK_S)
    site.write(BY_PREFIX)
    await site.start_two()
    begun: dict[str, float] = {}
    sent = []
    for number in range(200):
        to = f"4670000{1000 + number}" if number % 2 else f"4672000{1000 + number}"
        begun[to] = time.monotonic()
        sent.append(await customer.send(f"+{to}"))
        await asyncio.sleep(0.01)
    await all_delivered(customer, sent)
    assert (site.a.accepted, site.b.accepted) == (100, 100)
    took = sorted(site.arrived[to] - at for to, at in begun.items())
    sys.stdout.write(f"p50 {took[100] * 1000:.0f} ms, p99 {took[198] * 1000:.0f} ms\n")
    assert took[198] < HANDED_OVER_WITHIN_S
    await until(lambda: is_idle(pool))


async def test_what_one_worker_s_carrier_refuses_the_other_s_delivers_once(
    customer: Customer, pool: Pool, site: Site
) -> None:
    site.a.behaviour = REFUSES
    site.write(FAILOVER)
    await site.start_two()
    sent = await send_many(customer, 50)
    await all_delivered(customer, sent)
    assert (site.a.accepted, site.b.accepted, site.b.duplicates) == (0, 50, 0)
    assert sum(site.a.refused.values()) == 50, "who has refused a message is not asked again"
    # and when both refuse, it fails with the last refusal
    site.b.behaviour = REFUSES
    message = await customer.until((await customer.send("+46700002222"))["id"], "failed")
    assert message["error"]["code"] == statuses.failed_submit(statuses.ESME_RINVDSTADR).error_code
    await until(lambda: is_idle(pool))


async def test_a_carrier_that_another_worker_has_comes_before_a_later_one_here(
    customer: Customer, pool: Pool, site: Site
) -> None:
    site.write(FAILOVER)
    await site.start_two()
    await all_delivered(customer, await send_many(customer, 200))
    assert (site.a.accepted, site.b.accepted) == (200, 0)
    # away wherever it is bound: the next one's worker hears of it, and takes what waits
    await site.a.close()
    sent = await send_many(customer, 100, "again")
    await all_delivered(customer, sent)
    assert (site.a.accepted, site.b.accepted) == (200, 100)


async def test_without_rules_the_first_carrier_comes_first_and_the_others_take_what_it_can_not(
    customer: Customer, pool: Pool, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.write("", window=1)
    site.a.behaviour = replace(site.a.behaviour, latency_s=0.05)
    await site.start_two()
    one_by_one = [await customer.send(f"+4670000{number}") for number in range(1000, 1005)]
    await all_delivered(customer, one_by_one)
    assert site.a.accepted == 5
    await all_delivered(customer, await send_many(customer, 300, "again"))
    assert site.a.accepted + site.b.accepted == 305
    assert site.b.accepted > 200
    assert site.a.duplicates + site.b.duplicates == 0


async def test_what_is_in_doubt_stays_with_its_carrier_when_that_moves(
    customer: Customer, pool: Pool, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = make_mute(monkeypatch, site.a, pdu.SUBMIT_SM)
    site.write(FAILOVER)
    await site.start_two()
    sent = await send_many(customer, 20)
    await until(lambda: len(heard) == 20)
    monkeypatch.undo()
    site.a.drop_links()
    await all_delivered(customer, sent)
    assert (site.a.accepted, site.b.accepted) == (20, 0)
    assert await pool.fetchval("SELECT count(*) FROM messages.messages WHERE resubmitted") == 20


async def test_workers_come_and_go_under_traffic_and_nothing_goes_twice(
    customer: Customer, pool: Pool, site: Site
) -> None:
    site.write(FAILOVER)
    site.a.behaviour = site.b.behaviour = replace(site.a.behaviour, latency_s=0.02)
    await site.start()
    sent: list[dict[str, Any]] = []
    done = asyncio.Event()

    async def traffic() -> None:
        while not done.is_set():
            sent.append(await customer.send(f"+4670{1001000 + len(sent)}", "long " * (60 if len(sent) % 5 == 0 else 1)))

    sending = [asyncio.create_task(traffic()) for _ in range(4)]
    try:
        for _ in range(3):
            await site.start()
            await until(lambda: site.is_shared(2))
            await site.workers.pop(0).stop()
            await until(lambda: site.is_shared(1))
    finally:
        done.set()
        await asyncio.gather(*sending)
    await all_delivered(customer, sent)
    await until(lambda: is_idle(pool))
    assert site.a.accepted + site.b.accepted == sum(message["segments"] for message in sent)
    assert site.a.duplicates + site.b.duplicates == 0
    assert not await pool.fetchval("SELECT count(*) FROM messages.messages WHERE resubmitted")
    assert len(sent) > 100
