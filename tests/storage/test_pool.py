import asyncio

import asyncpg
import pytest

from ghasi.storage.pool import ALONG_INDEXES, UNAVAILABLE, Pool, close_pool, open_pool


async def until_free(pool: Pool) -> None:
    """All of the pool's connections can be had at once."""
    async with asyncio.timeout(5):
        connections = [await pool.acquire() for _ in range(pool.get_max_size())]
        for connection in connections:
            await pool.release(connection)


async def test_who_has_waited_longest_gets_the_next_connection(database_url: str) -> None:
    pool = await open_pool(database_url, size=2)
    served: list[int] = []

    async def ask(number: int) -> None:
        for _ in range(10):
            await pool.fetchval("SELECT 1")
            served.append(number)

    try:
        await asyncio.gather(*map(ask, range(20)))
    finally:
        await close_pool(pool)
    # each asks again as soon as it has its answer, and comes to the end of the queue
    for place in range(0, 200, 20):
        assert len(set(served[place : place + 20])) >= 17, served


async def test_a_connection_that_was_cut_or_not_had_costs_no_turn(database_url: str) -> None:
    pool = await open_pool(database_url, size=2)
    try:
        for _ in range(3):
            with pytest.raises(UNAVAILABLE):
                await pool.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            async with pool.acquire() as connection:
                connection.terminate()
            with pytest.raises(asyncpg.PostgresError):
                await pool.execute("SELECT 1/0")
        async with pool.acquire(), pool.acquire():
            waiting = [asyncio.create_task(pool.fetchval("SELECT 1")) for _ in range(3)]
            await asyncio.sleep(0)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        connection = await pool.acquire()
        await pool.release(connection)
        await pool.release(connection)
        await until_free(pool)
        assert await asyncio.gather(*(pool.fetchval("SELECT 1") for _ in range(5))) == [1] * 5
    finally:
        await close_pool(pool)


async def test_planning_is_kept_even_by_a_connection_that_is_reset(database_url: str) -> None:
    pool = await open_pool(database_url, size=1, planning=ALONG_INDEXES)
    try:
        for _ in range(2):
            for name, value in ALONG_INDEXES.items():
                assert await pool.fetchval("SELECT current_setting($1)", name) == value
            connection = await pool.acquire()
            await connection.execute("BEGIN; SET enable_sort = on; SET LOCAL jit = on")
            await pool.release(connection)  # within a transaction
    finally:
        await close_pool(pool)
