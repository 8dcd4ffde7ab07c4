"""An installation may go from PostgreSQL to NATS and back: nothing is lost, whatever the two have left behind."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from ghasi.storage.events import postgres
from ghasi.storage.events.postgres import EventsMissingError
from ghasi.storage.pool import Pool
from tests.engines import Engine
from tests.storage.events.conftest import CONSUMER, OTHER, SOURCE, Collector, append, applied_in, event, starting, until


async def test_carriers_take_over_from_each_other(pool: Pool, nats: Engine) -> None:
    written: set[UUID] = set()
    seen, other = Collector(), Collector()

    async def write(count: int = 10) -> None:
        events = [event() for _ in range(count)]
        await append(pool, *events)
        written.update(one.id for one in events)

    async def read_by_both() -> bool:
        counted = Counter(await applied_in(pool))
        return set(counted) == written and min(counted.values()) > 1

    prefix = f"test-{uuid4().hex[:8]}"
    for carrier in ("postgres", "jetstream", "postgres", "jetstream", "postgres"):
        async with starting(pool, carrier, nats.url, prefix) as start:
            process = start()
            await write()  # while nobody reads
            process.relay()
            process.follow(seen)
            process.follow(other, consumer=OTHER)
            await write()
            await until(read_by_both)
            now = datetime.now(UTC)
            await until(lambda process=process, now=now: process.events.has_read_until(SOURCE, CONSUMER, now))
            await write(1)
            await process.kill()  # the last one is for whoever takes over
    # PostgreSQL goes on exactly where JetStream was; JetStream, at the most, with what it had been given before
    assert len(seen.ids) < 2.5 * len(written)


async def test_both_at_once_as_while_processes_are_restarted_lose_nothing(pool: Pool, nats: Engine) -> None:
    written: list[UUID] = []
    seen = Collector()
    prefix = f"test-{uuid4().hex[:8]}"
    async with starting(pool, "postgres", nats.url) as old, starting(pool, "jetstream", nats.url, prefix) as new:
        first, second = old(), new()
        first.follow(seen, most=5)
        second.relay()
        for number in range(120):
            one = event()
            await append(pool, one)
            written.append(one.id)
            if number == 40:
                second.follow(seen, most=5)
            if number == 80:
                await first.kill()

        async def all_applied() -> bool:
            return set(written) == set(await applied_in(pool))

        await until(all_applied)


async def _applied(pool: Pool, count: int) -> bool:
    return len(await applied_in(pool)) == count


async def test_postgresql_refuses_what_its_outbox_no_longer_has(pool: Pool, nats: Engine) -> None:
    seen = Collector()
    prefix = f"test-{uuid4().hex[:8]}"
    async with starting(pool, "jetstream", nats.url, prefix) as start:
        process = start()
        process.relay()
        process.follow(seen)
        for _ in range(3):
            await append(pool, event())
        await until(lambda: _applied(pool, 3))
        await process.kill()
        relaying = start()
        relaying.relay()
        for _ in range(3):
            await append(pool, event())

        async def pruned() -> bool:
            await relaying.events.prune(SOURCE, timedelta(0))
            return bool(await pool.fetchval(f"SELECT count(*) = 1 FROM {SOURCE}.outbox"))

        await until(pruned)
    with pytest.raises(EventsMissingError, match="events list"):
        await postgres.consume(pool, SOURCE, CONSUMER, seen)
    async with starting(pool, "jetstream", nats.url, prefix) as start:
        process = start()
        process.relay()
        process.follow(seen)
        await until(lambda: _applied(pool, 6))
        await append(pool, event())
        await until(lambda: _applied(pool, 7))
        now = datetime.now(UTC)
        await until(lambda: process.events.has_read_until(SOURCE, CONSUMER, now))
    await append(pool, event())
    while not await postgres.consume(pool, SOURCE, CONSUMER, seen):
        pass
    assert len(seen.applied) == 8
