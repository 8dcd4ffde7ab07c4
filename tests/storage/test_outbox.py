"""The outbox: nothing is skipped, whatever the order of commits, and positions survive a move to another cluster."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from ghasi.contract.values import new_id
from ghasi.storage import outbox
from ghasi.storage.bells import Bells
from ghasi.storage.migrate import migrate
from ghasi.storage.outbox import Event
from ghasi.storage.pool import Connection, Pool


def event(sequence: int = 1, at: datetime | None = None) -> Event:
    return Event(new_id(), "message.accepted", new_id(), new_id(), sequence, at or datetime.now(UTC), '{"a":1}')


class Collector:
    def __init__(self) -> None:
        self.events: list[Event] = []

    async def __call__(self, connection: Connection, events: Sequence[Event]) -> None:
        self.events.extend(events)


@pytest.fixture
async def tables(pool: Pool) -> None:
    await pool.execute(
        "CREATE SCHEMA shop; SELECT storage.create_outbox('shop');"
        "CREATE SCHEMA mail; SELECT storage.create_outbox('mail')"
    )
    # the first look at an outbox only makes the position
    assert await outbox.consume(pool, "shop", "mail", Collector()) == 0


async def test_an_event_is_read_as_it_was_written(pool: Pool, tables: None) -> None:
    written, seen = event(), Collector()
    async with pool.acquire() as connection, connection.transaction():
        await outbox.append(connection, "shop", [written])
    assert await outbox.consume(pool, "shop", "mail", seen) == 1
    assert seen.events == [written]
    assert await outbox.consume(pool, "shop", "mail", seen) == 0


async def test_a_transaction_that_commits_late_is_not_skipped(pool: Pool, tables: None) -> None:
    early, late, seen = event(), event(), Collector()
    async with pool.acquire() as slow:
        transaction = slow.transaction()
        await transaction.start()
        await outbox.append(slow, "shop", [early])
        async with pool.acquire() as quick, quick.transaction():
            await outbox.append(quick, "shop", [late])
        # the later transaction has committed, but the earlier one still runs: nothing may be read past it
        assert await outbox.consume(pool, "shop", "mail", seen) == 0
        await transaction.commit()
    assert await outbox.consume(pool, "shop", "mail", seen) == 2
    assert [one.id for one in seen.events] == [early.id, late.id]


async def test_a_failing_consumer_stays_where_it_is(pool: Pool, tables: None) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await outbox.append(connection, "shop", [event()])

    async def fail(connection: Connection, events: Sequence[Event]) -> None:
        await connection.execute("CREATE TABLE mail.half_done ()")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        await outbox.consume(pool, "shop", "mail", fail)
    assert await pool.fetchval("SELECT to_regclass('mail.half_done')") is None
    assert await outbox.consume(pool, "shop", "mail", Collector()) == 1


async def test_concurrent_writers_and_readers_lose_and_repeat_nothing(pool: Pool, tables: None) -> None:
    written: set[UUID] = set()
    seen = Collector()
    done = asyncio.Event()

    async def write() -> None:
        for number in range(40):
            one = event()
            async with pool.acquire() as connection, connection.transaction():
                await outbox.append(connection, "shop", [one])
                await asyncio.sleep(0.001 * (number % 3))
            written.add(one.id)

    async def read() -> None:
        while not done.is_set() or len(seen.events) < len(written):
            await outbox.consume(pool, "shop", "mail", seen, most=7)
            await asyncio.sleep(0)

    readers = [asyncio.create_task(read()) for _ in range(2)]
    await asyncio.gather(*(write() for _ in range(4)))
    done.set()
    await asyncio.wait_for(asyncio.gather(*readers), 30)
    assert len(seen.events) == len(written) == 160
    assert {one.id for one in seen.events} == written


async def test_follow_is_woken(pool: Pool, tables: None, database_url: str) -> None:
    here, elsewhere, seen = Bells(pool), Bells(pool), Collector()
    tasks = [
        asyncio.create_task(outbox.follow(pool, "shop", "mail", seen, wake=here.event("messages"))),
        asyncio.create_task(here.listen(database_url)),
    ]
    async with pool.acquire() as connection, connection.transaction():
        await outbox.append(connection, "shop", [event()])
    elsewhere.ring("messages")
    async with asyncio.timeout(5):
        while not seen.events:
            await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_pruning_waits_for_every_consumer(pool: Pool, monkeypatch: pytest.MonkeyPatch, tables: None) -> None:
    monkeypatch.setitem(outbox.CONSUMERS, "shop", ("mail",))
    old = datetime.now(UTC) - timedelta(days=2)
    for _ in range(3):
        async with pool.acquire() as connection, connection.transaction():
            await outbox.append(connection, "shop", [event(at=old)])
    assert await outbox.prune(pool, "shop", timedelta(days=1)) == 0
    await outbox.consume(pool, "shop", "mail", Collector())
    # the event at the position itself stays; it is the next one's business
    assert await outbox.prune(pool, "shop", timedelta(days=1)) == 2


async def test_a_restored_database_is_rebased(
    pool: Pool, tables: None, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "CONSUMERS", {"shop": ("mail",)})
    read, unread, seen = event(), event(), Collector()
    async with pool.acquire() as connection, connection.transaction():
        await outbox.append(connection, "shop", [read])
    assert await outbox.consume(pool, "shop", "mail", seen) == 1
    async with pool.acquire() as connection, connection.transaction():
        await outbox.append(connection, "shop", [unread])
    # as after a restore: another cluster's identifier, and xids from that cluster's future
    await pool.execute("UPDATE storage.cluster SET system_identifier = 1")
    await pool.execute("UPDATE shop.outbox SET xid = (xid::text::bigint + 1000000)::text::xid8")
    await pool.execute("UPDATE mail.positions SET xid = (xid::text::bigint + 1000000)::text::xid8")
    assert await outbox.consume(pool, "shop", "mail", seen) == 0
    await migrate(database_url)
    assert await outbox.consume(pool, "shop", "mail", seen) == 1
    assert [one.id for one in seen.events] == [read.id, unread.id]


async def test_the_audit_log_is_append_only(pool: Pool) -> None:
    from ghasi.storage import audit

    await audit.record(pool, actor="operator:ann", action="account.suspended", subject="x", reason="fraud")
    (entry,) = await audit.list_entries(pool)
    assert (entry.actor, entry.action, entry.detail) == ("operator:ann", "account.suspended", '{"reason":"fraud"}')
    for statement in (
        "UPDATE storage.audit_log SET actor = ''",
        "DELETE FROM storage.audit_log",
        "TRUNCATE storage.audit_log",
    ):
        with pytest.raises(asyncpg.RaiseError, match="append-only"):
            await pool.execute(statement)
