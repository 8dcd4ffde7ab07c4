"""The way to the Redis (or Valkey) that gateways share; its client takes 15 MB, and is imported where there is one.

Owns the connections. What is kept there, and what it means that Redis is away, is for who asks.
"""

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisError  # noqa: A004 - the builtin one is never raised here

MAX_CONNECTIONS = 4


def open_redis(url: str) -> Redis:
    """Return a client of at most MAX_CONNECTIONS; nothing is opened yet.

    A command that meets a connection which Redis has closed is sent once more. Raises ValueError, naming the setting
    and not its value, where the URL has options that are none.
    """
    options = {
        "max_connections": MAX_CONNECTIONS, "timeout": None, "socket_timeout": None, "socket_connect_timeout": None,
        "retry": Retry(NoBackoff(), 1), "protocol": 2, "driver_info": None,
    }  # fmt: skip
    try:
        redis = Redis.from_pool(BlockingConnectionPool.from_url(url, **options))
        new_connection(redis)  # else it is known at the first request
    except (TypeError, ValueError, RedisError):
        raise ValueError("GHASI_REDIS_URL: its options are not understood") from None
    return redis


def new_connection(redis: Redis) -> AbstractConnection:
    """Make a connection beside the client's own, opened by its first command; whoever makes it closes it."""
    pool = redis.connection_pool
    return pool.connection_class(**pool.connection_kwargs)


async def ask(connection: AbstractConnection, *command: str | int) -> bytes:
    """Send a command on a connection that is free, and once more where Redis had closed that.

    The client does the same at thrice the CPU. A connection whose answer did not come is closed, and opened by the next
    command. Raises RedisError.
    """
    try:
        return await _ask_once(connection, *command)
    except ConnectionError:
        return await _ask_once(connection, *command)


async def _ask_once(connection: AbstractConnection, *command: str | int) -> bytes:
    await connection.send_command(*command, check_health=False)
    reply: bytes = await connection.read_response()
    return reply
