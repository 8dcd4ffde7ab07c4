"""Opens connection pools to PostgreSQL and says which of its errors mean "try again".

Owns how a connection is set up. Runs no statement of any service.
"""

import asyncio

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


async def _reset(connection: Connection) -> None:
    """Leave a connection as it was found; nobody here sets anything outside a transaction, so most need nothing.

    asyncpg's own reset is a statement, and a round trip, after each use.
    """
    if connection.is_in_transaction():
        await connection.reset()


async def open_pool(url: str, *, size: int = 10, name: str = "ghasi") -> Pool:
    """Open a pool of at most `size` connections; raises one of UNAVAILABLE when the server cannot be reached."""
    return await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=size,
        max_inactive_connection_lifetime=300,
        command_timeout=30,
        reset=_reset,
        server_settings={"application_name": name, "timezone": "UTC"},
    )


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
