"""The rate-limiting plugin: what its counters are called, and that it reads before and adds after."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import redis.asyncio

from tests.kong.standin.loading import EMPTY_ID

Entity = dict[str, Any]
MINUTE_S = 60


class Limiter:
    """One Kong node's counters; with the policy redis they are Redis'."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._local: dict[str, int] = {}
        self._redis: dict[str, redis.asyncio.Redis] = {}

    async def count(self, plugin: Entity, identifier: str) -> tuple[bool, dict[str, str]]:
        """Count a request: whether it passes, and the headers of its answer."""
        config = plugin["config"]
        now, limit = int(self._clock()), config["minute"]
        begins = now - now % MINUTE_S
        # neither the plugin's own id nor the consumer is in the key: instances of one scope share it
        scope = f"{plugin.get('route') or EMPTY_ID}:{plugin.get('service') or EMPTY_ID}"
        key = f"ratelimit:{scope}:{identifier}:{begins * 1000}:minute"
        try:
            used = await self._used(config, key)
        except (redis.exceptions.RedisError, OSError):
            assert config["fault_tolerant"]
            return True, {}
        passed = used < limit
        remaining = max(0, limit - used - 1)
        reset = max(1, MINUTE_S - (now - begins))
        headers = {} if config["hide_client_headers"] else {
            "RateLimit-Limit": str(limit), "RateLimit-Remaining": str(remaining), "RateLimit-Reset": str(reset),
            "X-RateLimit-Limit-Minute": str(limit), "X-RateLimit-Remaining-Minute": str(remaining),
        }  # fmt: skip
        if not passed:
            return False, headers | {"Retry-After": str(reset)}
        if config["policy"] == "local":
            # by a timer: what comes at the same moment is not seen yet
            asyncio.get_running_loop().call_soon(self._add, key)
        return True, headers

    async def _used(self, config: Entity, key: str) -> int:
        if config["policy"] == "local":
            return self._local.get(key, 0)
        told = config["redis"]
        name = f"redis://{told['host']}:{told['port']}/{told['database']}"
        client = self._redis.setdefault(name, redis.asyncio.from_url(name, socket_timeout=told["timeout"] / 1000))
        used = await client.incr(key)
        if used == 1:
            await client.expire(key, MINUTE_S)
        return int(used) - 1

    def _add(self, key: str) -> None:
        self._local[key] = self._local.get(key, 0) + 1

    async def close(self) -> None:
        for client in self._redis.values():
            await client.aclose()
