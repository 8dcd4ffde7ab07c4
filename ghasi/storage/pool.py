"""Opens connection pools to PostgreSQL and says which of its errors mean "try again".

Owns how a connection is set up, and who gets one first. Runs no statement of any service.
"""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

import asyncpg

Pool = asyncpg.Pool
Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
Record = asyncpg.Record

UNAVAILABLE: tuple[type[BaseException], ...] = (
    asyncpg.PostgresConnectionError,
    asyncpg.TooManyConnectionsError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InterfaceError,  # the connection or the pool is closed
    asyncpg.QueryCanceledError,
    asyncpg.DeadlockDetectedError,
    asyncpg.InsufficientResourcesError,  # the disk is full, memory is short
    asyncpg.ReadOnlySQLTransactionError,  # a standby, just before or after a failover
    ConnectionError,
    TimeoutError,
    OSError,
)
"""The database is away or overloaded; the statement may or may not have been carried out."""

ALONG_INDEXES: Mapping[str, str] = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_sort": "off",
    "jit": "off",
}
"""For statements that follow an index in its order, whatever their values are: each is planned once a connection.

Planning for the values takes longer than reading a page. A plan for any values guesses from the average account, and
would sort all that a large one has to find fifty: with these it cannot. By such a guess a list may look dear enough to
be compiled, which takes longer still.
"""


class _FairPool(asyncpg.Pool):
    """Gives a connection to whoever has waited longest for one.

    asyncpg's own pool gives one that comes back to whoever asks next, and who was woken for it goes to the end of the
    queue: where more are waiting than there are connections, some wait twenty times as long as others.
    """

    def __init__(self, url: str, *, max_size: int, **options: Any) -> None:
        super().__init__(
            url, max_size=max_size, max_queries=50_000, setup=None, loop=None,
            connection_class=asyncpg.Connection, record_class=asyncpg.Record, **options,
        )  # fmt: skip
        self._turns = asyncio.Semaphore(max_size)
        self._given: set[asyncpg.pool.PoolConnectionProxy] = set()

    async def _acquire(self, timeout: float | None) -> asyncpg.pool.PoolConnectionProxy:  # noqa: ASYNC109 - asyncpg's
        async with asyncio.timeout(timeout):
            await self._turns.acquire()
            try:
                connection: asyncpg.pool.PoolConnectionProxy = await super()._acquire(None)  # type: ignore[misc]
            except BaseException:
                self._turns.release()
                raise
        self._given.add(connection)
        return connection

    async def release(
        self,
        connection: asyncpg.pool.PoolConnectionProxy,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - asyncpg's
    ) -> None:
        """Take a connection back."""
        try:
            await super().release(connection, timeout=timeout)
        finally:
            if connection in self._given:  # not one that was given back before
                self._given.remove(connection)
                self._turns.release()


async def _plan(planning: Mapping[str, str], connection: Connection) -> None:
    """Say how statements are planned: not as a connection is opened, for PgBouncer refuses what it can't keep."""
    if planning:
        await connection.execute(
            "SELECT set_config(name, value, false) FROM unnest($1::text[], $2::text[]) AS said (name, value)",
            list(planning),
            list(planning.values()),
        )


async def _reset(planning: Mapping[str, str], connection: Connection) -> None:
    """Leave a connection as it was found; nobody here sets anything outside a transaction, so most need nothing.

    asyncpg's own reset is a statement, and a round trip, after each use.
    """
    if connection.is_in_transaction():
        await connection.reset()
        await _plan(planning, connection)


async def open_pool(
    url: str, *, size: int = 10, name: str = "ghasi", planning: Mapping[str, str] | None = None
) -> Pool:
    """Open a pool of at most `size` connections; raises one of UNAVAILABLE when the server cannot be reached.

    `planning` is how its statements are planned where that is not left to the server: ALONG_INDEXES.
    """
    return await _FairPool(
        url,
        min_size=1,
        max_size=size,
        max_inactive_connection_lifetime=300,
        command_timeout=30,
        init=partial(_plan, planning or {}),
        reset=partial(_reset, planning or {}),
        server_settings={"application_name": name, "timezone": "UTC"},
    )


async def close_pool(pool: Pool) -> None:
    """Close a pool; what its connections have not ended after a second is broken off."""
    try:
        async with asyncio.timeout(1.0):
            await pool.close()
    except UNAVAILABLE:
        pool.terminate()


async def wait_for_database(url: str, timeout_s: float = 30.0) -> None:
    """Wait until the server accepts a connection; raises the last error at the time-out."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        try:
            connection = await asyncpg.connect(url, timeout=5)
        except UNAVAILABLE:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.2)
        else:
            await connection.close()
            return


async def check(pool: Pool) -> None:
    """Raise one of UNAVAILABLE when the database does not answer within 2 s."""
    await pool.fetchval("SELECT 1", timeout=2)
