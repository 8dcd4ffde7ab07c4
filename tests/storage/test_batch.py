"""Group commit: one bad row fails alone, a lost connection is retried, a cancelled waiter takes nothing back."""

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest

from ghasi.storage.batch import Batcher, QueueFullError
from ghasi.storage.pool import Connection, Pool


@pytest.fixture
async def numbers(pool: Pool) -> None:
    await pool.execute("CREATE TABLE numbers (n int PRIMARY KEY CHECK (n <> 13))")


async def test_many_items_are_few_flushes(pool: Pool, numbers: None) -> None:
    sizes: list[int] = []

    async def flush(items: Sequence[int], again: bool) -> Sequence[int]:
        sizes.append(len(items))
        await pool.execute("INSERT INTO numbers SELECT unnest($1::int[])", items)
        return [item * 2 for item in items]

    batcher: Batcher[int, int] = Batcher(flush, name="test", most=50)
    assert await asyncio.gather(*(batcher.submit(n) for n in range(100, 300))) == [n * 2 for n in range(100, 300)]
    assert len(sizes) == 4
    assert await pool.fetchval("SELECT count(*) FROM numbers") == 200


async def test_a_bad_row_fails_alone(pool: Pool, numbers: None) -> None:
    async def flush(items: Sequence[int], again: bool) -> Sequence[int]:
        await pool.execute("INSERT INTO numbers SELECT unnest($1::int[])", items)
        return list(items)

    batcher: Batcher[int, int] = Batcher(flush, name="test")
    results = await asyncio.gather(*(batcher.submit(n) for n in range(10, 16)), return_exceptions=True)
    assert [result for result in results if isinstance(result, int)] == [10, 11, 12, 14, 15]
    assert isinstance(results[3], asyncpg.CheckViolationError)
    assert await pool.fetchval("SELECT count(*) FROM numbers") == 5


async def test_a_lost_connection_after_the_commit_does_not_write_twice(pool: Pool, numbers: None) -> None:
    calls: list[bool] = []

    async def flush(items: Sequence[int], again: bool) -> Sequence[int]:
        calls.append(again)
        known = {row["n"] for row in await pool.fetch("SELECT n FROM numbers")} if again else set()
        await pool.execute("INSERT INTO numbers SELECT unnest($1::int[])", [n for n in items if n not in known])
        if not again:
            raise ConnectionResetError  # the commit happened, its answer was lost
        return list(items)

    batcher: Batcher[int, int] = Batcher(flush, name="test")
    assert await batcher.submit(1) == 1
    assert calls == [False, True]
    assert await pool.fetchval("SELECT count(*) FROM numbers") == 1


async def test_a_commit_still_under_way_after_a_lost_connection_is_no_error(pool: Pool, numbers: None) -> None:
    calls: list[bool] = []
    commits: list[asyncio.Task[None]] = []

    async def commit(connection: Connection) -> None:
        """Carry out the first try as soon as the second one waits for it."""
        waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        async with asyncio.timeout(10):
            while not await pool.fetchval(f"SELECT EXISTS ({waiting})"):
                await asyncio.sleep(0.01)
        await connection.execute("COMMIT")
        await pool.release(connection)

    async def flush(items: Sequence[int], again: bool) -> Sequence[int]:
        calls.append(again)
        if not again:
            connection = await pool.acquire()
            await connection.execute("BEGIN")
            await connection.execute("INSERT INTO numbers SELECT unnest($1::int[])", items)
            commits.append(asyncio.create_task(commit(connection)))
            raise ConnectionResetError  # the server has not noticed yet
        known = {row["n"] for row in await pool.fetch("SELECT n FROM numbers")}
        await pool.execute("INSERT INTO numbers SELECT unnest($1::int[])", [n for n in items if n not in known])
        return list(items)

    batcher: Batcher[int, int] = Batcher(flush, name="test")
    assert await batcher.submit(1) == 1  # a batch of one
    await asyncio.gather(*commits)
    assert calls == [False, True, True]
    assert await pool.fetchval("SELECT count(*) FROM numbers") == 1


async def test_a_bad_row_that_stands_alone_is_an_error_after_one_more_try(pool: Pool, numbers: None) -> None:
    calls: list[bool] = []

    async def flush(items: Sequence[int], again: bool) -> Sequence[int]:
        calls.append(again)
        await pool.execute("INSERT INTO numbers SELECT unnest($1::int[])", items)
        return list(items)

    batcher: Batcher[int, int] = Batcher(flush, name="test", attempts=None)
    with pytest.raises(asyncpg.CheckViolationError):
        await batcher.submit(13)
    assert calls == [False, True]


async def test_a_cancelled_waiter_does_not_cancel_the_commit(pool: Pool, numbers: None) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def flush(items: Sequence[int], again: bool) -> Sequence[int]:
        begun.set()
        await go.wait()
        await pool.execute("INSERT INTO numbers SELECT unnest($1::int[])", items)
        return list(items)

    batcher: Batcher[int, int] = Batcher(flush, name="test")
    waiter = asyncio.create_task(batcher.submit(1))
    await begun.wait()
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
    go.set()
    await batcher.drain()
    assert await pool.fetchval("SELECT count(*) FROM numbers") == 1


async def test_a_dead_database_is_an_error_and_a_full_queue_another() -> None:
    blocked = asyncio.Event()

    async def flush(items: Sequence[int], again: bool) -> Sequence[int]:
        await blocked.wait()
        raise ConnectionRefusedError

    batcher: Batcher[int, int] = Batcher(flush, name="test", most=1, queue_size=2, attempts=2)
    first = batcher.put(1)
    await asyncio.sleep(0)
    waiting = [batcher.put(2), batcher.put(3)]
    with pytest.raises(QueueFullError):
        batcher.put(4)
    blocked.set()
    for future in (first, *waiting):
        with pytest.raises(ConnectionRefusedError):
            await future


async def test_items_gather_while_more_come_and_nobody_is_in_a_hurry() -> None:
    flushed: list[list[int]] = []

    async def flush(items: Sequence[int], again: bool) -> Sequence[int]:
        flushed.append(list(items))
        return items

    batcher: Batcher[int, int] = Batcher(flush, name="test", most=5, gather_s=3600.0)
    await batcher.submit(0)  # after a lull: at once
    for number in (1, 2):
        batcher.put(number)
    await asyncio.sleep(0.05)
    assert flushed == [[0]]
    await batcher.put(3, urgent=True)
    assert flushed == [[0], [1, 2, 3]]
    await asyncio.gather(*map(batcher.submit, range(4, 9)))  # as many as go together
    batcher.put(9)
    await batcher.drain()
    assert flushed == [[0], [1, 2, 3], [4, 5, 6, 7, 8], [9]]
    assert len(batcher) == 0


async def test_who_brings_one_item_after_the_other_waits_for_nobody() -> None:
    flushed: list[list[int]] = []

    async def flush(items: Sequence[int], again: bool) -> Sequence[int]:
        flushed.append(list(items))
        return items

    batcher: Batcher[int, int] = Batcher(flush, name="test", gather_s=3600.0, alone_at_once=True)
    for number in range(3):
        await batcher.submit(number)
    await asyncio.gather(batcher.submit(3), batcher.submit(4))
    batcher.put(5)
    await asyncio.sleep(0.05)
    assert flushed == [[0], [1], [2], [3, 4]]
    await batcher.drain()
    await batcher.submit(6)
    assert flushed[4:] == [[5], [6]]
