"""What both carriers promise, asked of both."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from ghasi.contract.values import new_id
from ghasi.storage.events import outbox, positions
from ghasi.storage.events.outbox import Event
from ghasi.storage.pool import Connection, Pool
from tests.engines import Engine
from tests.storage.events.conftest import (
    CONSUMER,
    OTHER,
    SOURCE,
    Collector,
    Start,
    append,
    applied_in,
    event,
    starting,
    until,
)


@pytest.fixture(params=["postgres", "jetstream"])
async def start(request: pytest.FixtureRequest, pool: Pool, nats: Engine) -> AsyncIterator[Start]:
    async with starting(pool, request.param, nats.url) as start:
        yield start


async def test_an_event_arrives_as_it_was_written_and_soon(pool: Pool, start: Start) -> None:
    process, seen = start(), Collector()
    process.relay()
    process.follow(seen)
    written = [event(), event(version=2, private='{"carrier":  "north"}')]
    await append(pool, written[0])
    await until(lambda: seen.applied)
    await append(pool, written[1])
    process.bells.ring(SOURCE)
    began = asyncio.get_running_loop().time()
    await until(lambda: len(seen.applied) == 2)
    assert asyncio.get_running_loop().time() - began < 0.25
    assert seen.applied == written


async def test_events_gather_while_they_keep_coming(pool: Pool, start: Start) -> None:
    process, seen = start(), Collector()
    process.relay()
    process.follow(seen, gather_s=1.0)
    written = [event() for _ in range(7)]
    for one in written:
        await append(pool, one)
        process.bells.ring(SOURCE)
        await asyncio.sleep(0.1)
    await until(lambda: len(seen.applied) == 7)
    assert seen.applied == written
    assert len(seen.batches) <= 3, seen.batches


async def test_the_order_is_that_of_commits_and_nothing_is_skipped(pool: Pool, start: Start) -> None:
    process, seen = start(), Collector()
    process.relay()
    process.follow(seen, most=7)
    subject, early, late = new_id(), event(), event()
    async with pool.acquire() as slow:
        transaction = slow.transaction()
        await transaction.start()
        await outbox.append(slow, SOURCE, [early])
        await append(pool, late)  # its id is later, and it is committed before
        await asyncio.sleep(0.4)
        assert not seen.applied
        await transaction.commit()
    many = [event(subject, number) for number in range(60)]
    for one in many:
        await append(pool, one)
    process.bells.ring(SOURCE)
    await until(lambda: len(seen.applied) == 62)
    assert seen.ids == [early.id, late.id, *(one.id for one in many)]
    assert max(seen.batches) <= 7


async def test_writers_and_several_processes_lose_and_repeat_nothing(pool: Pool, start: Start) -> None:
    seen = Collector()
    processes = [start() for _ in range(3)]
    for process in processes:
        process.relay()
        process.follow(seen, most=20)
    written: list[UUID] = []

    async def write() -> None:
        for number in range(50):
            one = event(sequence=number)
            async with pool.acquire() as connection, connection.transaction():
                await outbox.append(connection, SOURCE, [one])
                await asyncio.sleep(0.001 * (number % 3))
            written.append(one.id)
            processes[0].bells.ring(SOURCE)

    writing = [asyncio.create_task(write()) for _ in range(3)]
    await until(lambda: len(seen.applied) > 30)
    await processes[0].kill()  # whoever holds the position: another goes on
    await asyncio.gather(*writing)

    async def all_applied() -> bool:
        return len(await applied_in(pool)) >= 150

    await until(all_applied)
    assert sorted(await applied_in(pool)) == sorted(written)


async def test_a_consumer_that_hangs_with_the_position_keeps_others_out_for_a_while_only(
    pool: Pool, start: Start, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does whose machine lost its power: its session says nothing, and nobody closes it."""
    monkeypatch.setattr(positions, "SESSION_ENDS_MS", 500)
    process, seen = start(), Collector()
    process.relay()
    process.follow(seen)
    await append(pool, event())
    await until(lambda: seen.applied)
    hanging = await asyncpg.connect(database_url)
    await hanging.execute("BEGIN")
    while await positions.lock(hanging, CONSUMER, SOURCE) is None:
        await asyncio.sleep(0.01)
    await append(pool, event())
    await asyncio.sleep(0.3)
    assert len(seen.applied) == 1
    await until(lambda: len(seen.applied) == 2, within_s=5)
    hanging.terminate()


async def test_rows_and_position_stand_or_fall_together(pool: Pool, start: Start) -> None:
    process, seen = start(), Collector(fail=RuntimeError("the batch is bad"))
    process.relay()
    process.follow(seen)
    written = [event() for _ in range(5)]
    await append(pool, *written)
    await asyncio.sleep(0.7)  # it is tried more than once
    assert await applied_in(pool) == []
    await append(pool, event())
    seen.fail = None

    async def all_applied() -> bool:
        return len(await applied_in(pool)) == 6

    await until(all_applied)
    assert await applied_in(pool) == seen.ids
    assert seen.ids[:5] == [one.id for one in written]


async def test_a_killed_consumer_goes_on_where_it_was(pool: Pool, start: Start) -> None:
    seen, written = Collector(), [event(sequence=number) for number in range(200)]
    await append(pool, *written)
    first = start()
    first.relay()

    async def slowly(connection: Connection, events: Sequence[Event]) -> None:
        await seen(connection, events)
        await asyncio.sleep(0.02)

    first.follow(slowly, most=10)
    await until(lambda: len(seen.applied) >= 30)
    await first.kill()
    kept = await applied_in(pool)
    second = start()
    second.relay()
    again = Collector()
    second.follow(again, most=50)
    await until(lambda: len(again.applied) == 200 - len(kept))
    assert await applied_in(pool) == sorted(one.id for one in written)


async def test_a_consumer_that_comes_late_reads_from_the_beginning(pool: Pool, start: Start) -> None:
    process, seen, late = start(), Collector(), Collector()
    process.relay()
    process.follow(seen)
    written = [event() for _ in range(10)]
    await append(pool, *written)
    await until(lambda: len(seen.applied) == 10)
    process.follow(late, consumer=OTHER)
    await until(lambda: len(late.applied) == 10)
    assert late.ids == seen.ids


async def test_it_is_known_up_to_when_all_has_been_read(pool: Pool, start: Start) -> None:
    process, seen = start(), Collector()
    asked = datetime.now(UTC)
    happened = event(at=asked - timedelta(seconds=1))
    await append(pool, happened)
    assert not await process.events.has_read_until(SOURCE, CONSUMER, asked)
    process.relay()
    seen.fail = RuntimeError("not yet")
    process.follow(seen)
    await asyncio.sleep(0.6)
    assert not await process.events.has_read_until(SOURCE, CONSUMER, asked)
    seen.fail = None
    await until(lambda: process.events.has_read_until(SOURCE, CONSUMER, asked))
    assert seen.ids == [happened.id]
    # also while nothing happens, and of a time that lies ahead only when nothing can come from before it
    later = datetime.now(UTC)
    await until(lambda: process.events.has_read_until(SOURCE, CONSUMER, later))
    async with pool.acquire() as slow, slow.transaction():
        await outbox.append(slow, SOURCE, [event(at=datetime.now(UTC))])
        await asyncio.sleep(0.1)
    await until(lambda: len(seen.applied) == 2)


async def test_a_consumer_reads_again_since_a_time(pool: Pool, start: Start) -> None:
    process, seen = start(), Collector()
    process.relay()
    process.follow(seen)
    now = datetime.now(UTC)
    old, recent = [event(at=now - timedelta(hours=2))], [event(at=now - timedelta(minutes=1)) for _ in range(3)]
    await append(pool, *old)
    await append(pool, *recent)
    await until(lambda: len(seen.applied) == 4)
    async with pool.acquire() as connection, connection.transaction():
        await process.events.replay(connection, SOURCE, CONSUMER, now - timedelta(minutes=2))
    await until(lambda: len(seen.applied) >= 7)
    assert seen.ids[-3:] == [one.id for one in recent]
    await append(pool, event())
    await until(lambda: seen.ids[-1] not in seen.ids[:-1])


async def test_a_consumer_is_sent_back_while_it_applies(pool: Pool, start: Start) -> None:
    process, seen = start(), Collector()
    under_way, go_on = asyncio.Event(), asyncio.Event()

    async def wait(connection: Connection, events: Sequence[Event]) -> None:
        await seen(connection, events)
        under_way.set()
        await go_on.wait()

    process.relay()
    process.follow(wait)
    await append(pool, event())
    await under_way.wait()

    async def send_back() -> None:
        async with pool.acquire() as connection, connection.transaction():
            await process.events.replay(connection, SOURCE, CONSUMER, datetime.now(UTC) - timedelta(minutes=1))

    sending = asyncio.create_task(send_back())
    await asyncio.sleep(0.2)
    go_on.set()
    await sending
    await until(lambda: len(seen.applied) == 2)


async def test_what_was_handed_on_is_pruned_when_it_is_old(pool: Pool, start: Start) -> None:
    process, seen, other = start(), Collector(), Collector()
    old = datetime.now(UTC) - timedelta(days=2)
    for _ in range(3):
        await append(pool, event(at=old))
    assert await process.events.prune(SOURCE, timedelta(days=1)) == 0
    process.relay()
    process.follow(seen)
    process.follow(other, consumer=OTHER)
    await until(lambda: len(seen.applied) == len(other.applied) == 3)

    async def pruned() -> bool:
        await process.events.prune(SOURCE, timedelta(days=1))
        # the event at the position itself stays; it is the next one's business
        return bool(await pool.fetchval(f"SELECT count(*) = 1 FROM {SOURCE}.outbox"))

    await until(pruned)
    await append(pool, event())
    await until(lambda: len(seen.applied) == len(other.applied) == 4)
    assert await process.events.prune(SOURCE, timedelta(days=1)) <= 1
    assert await pool.fetchval(f"SELECT count(*) FROM {SOURCE}.outbox") >= 1


async def test_pruning_looks_at_no_more_than_it_may_delete(pool: Pool, start: Start) -> None:
    process, seen, other = start(), Collector(), Collector()
    process.relay()
    process.follow(seen)
    process.follow(other, consumer=OTHER)
    for _ in range(3):
        await append(pool, event())
    for _ in range(2):
        await append(pool, event(at=datetime.now(UTC) - timedelta(days=2)))
    process.bells.ring(SOURCE)
    await until(lambda: len(seen.applied) == len(other.applied) == 5)
    await asyncio.sleep(0.5)  # the relay has noted where it is
    assert await process.events.prune(SOURCE, timedelta(days=1), 3) == 0
    assert await process.events.prune(SOURCE, timedelta(days=1), 5) >= 1


async def test_where_a_consumer_stands_is_said(pool: Pool, start: Start) -> None:
    process, seen = start(), Collector()
    process.relay()
    process.follow(seen)
    await append(pool, event(), event())

    async def stands() -> bool:
        standing = await process.events.standing(SOURCE, CONSUMER)
        assert (standing.source, standing.consumer) == (SOURCE, CONSUMER)
        return standing.behind == 0 and standing.read_until is not None and standing.place != "0"

    await until(lambda: len(seen.applied) == 2)
    await until(stands)
