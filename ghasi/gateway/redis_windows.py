"""Windows in Redis, shared by all gateways. Whether Redis answers is known here: while it does not, nothing is asked.

Owns the keys `ghasi:limit:*` and the script that counts. A key names its minute, so that all gateways count a minute's
requests in one place whatever their clocks say of the moment, and expires a minute after its own.
"""

import asyncio
from functools import partial
from hashlib import sha1

import structlog
from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from ghasi.gateway import metrics
from ghasi.gateway.patience import patience
from ghasi.gateway.redis_client import ask, new_connection

PREFIX = "ghasi:limit:"
MAX_BATCHES = 4
"""On their way at a time; what comes meanwhile goes together in the next."""
MAX_BATCH = 500
RETRY_S = 0.8
"""With the time a try may take, within a second."""
SCRIPT = """\
local before = {}
for i, key in ipairs(KEYS) do
  before[i] = tonumber(redis.call('GET', key) or 0)
  if before[i] < tonumber(ARGV[i]) and redis.call('INCR', key) == 1 then
    redis.call('EXPIRE', key, 120)
  end
end
return table.concat(before, ' ')
"""
"""Atomic for all its keys: a request that is refused leaves no mark, and no key is ever without its end.

One string comes back, since the client reads a list number by number.
"""
_SHA = sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
_PROBE_LIMIT = 2**53
log = structlog.get_logger("ghasi.gateway")
_Request = tuple[str, int, asyncio.Future[int | None]]


class RedisWindows:
    """Windows that all gateways of one Redis share; requests of one turn of the loop go in one command.

    While Redis is away, hangs or refuses to write, `failing`, requests are not counted and wait for nothing; whether
    it is back is tried about once a second.
    """

    def __init__(self, redis: Redis) -> None:
        self.failing = False
        # one more, for finding out whether it is back
        self._free = [new_connection(redis) for _ in range(MAX_BATCHES + 1)]
        self._waiting: list[_Request] = []
        self._batches: set[asyncio.Task[None]] = set()
        self._flush_due = False
        self._probing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Find out whether Redis answers, and go on doing so."""
        await self._probe()
        self._probing = asyncio.create_task(self._keep_probing())

    async def take(self, minute: int, name: str, limit: int) -> int | None:
        """Count it with what else this turn of the loop brings; None where Redis fails, at once if that is known."""
        if self.failing:
            return None
        loop = asyncio.get_running_loop()
        before: asyncio.Future[int | None] = loop.create_future()
        self._waiting.append((f"{PREFIX}{minute}:{name}", limit, before))
        if not self._flush_due:
            self._flush_due = True
            loop.call_soon(self._flush)
        return await before

    async def close(self) -> None:
        """End what is on its way; who waits for it is not counted, and who comes later neither."""
        self.failing = True
        self._let_waiting_pass()
        tasks = [*self._batches, *([self._probing] if self._probing else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in self._free:
            await connection.disconnect(nowait=True)

    def _flush(self) -> None:
        self._flush_due = False
        while self._waiting and len(self._batches) < MAX_BATCHES:
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            task = asyncio.create_task(self._count(batch))
            self._batches.add(task)
            task.add_done_callback(partial(self._batch_done, batch))

    def _batch_done(self, batch: list[_Request], task: asyncio.Task[None]) -> None:
        self._batches.discard(task)
        _let_pass(batch)  # here and not by the task: one that is cancelled at once has never run
        self._flush()

    async def _count(self, batch: list[_Request]) -> None:
        try:
            counts = await self._ask([key for key, _, _ in batch], [limit for _, limit, _ in batch])
        except Exception as error:  # noqa: BLE001 - whatever ails it, limits fail open
            self._fail(error)
            return
        for (_, _, before), counted in zip(batch, counts, strict=True):
            if not before.done():
                before.set_result(counted)

    async def _ask(self, keys: list[str], limits: list[int]) -> list[int]:
        connection = self._free.pop()
        try:
            async with patience():
                try:
                    reply = await ask(connection, "EVALSHA", _SHA, len(keys), *keys, *limits)
                except NoScriptError:  # Redis was started anew
                    reply = await ask(connection, "EVAL", SCRIPT, len(keys), *keys, *limits)
        finally:
            self._free.append(connection)
        counts = [int(text) for text in reply.split()]
        if len(counts) != len(keys):
            raise ValueError("not as many counts as keys")
        return counts

    async def _keep_probing(self) -> None:
        while True:
            await asyncio.sleep(RETRY_S)
            await self._probe()

    async def _probe(self) -> None:
        """Count something, for a Redis that only answers may be full, or a replica."""
        try:
            await self._ask([f"{PREFIX}probe"], [_PROBE_LIMIT])
        except Exception as error:  # noqa: BLE001 - as in _count
            self._fail(error)
        else:
            if self.failing:
                self.failing = False
                log.info("limits_counted_again")
            metrics.limits_failing(failing=False)

    def _fail(self, error: Exception) -> None:
        if not self.failing:
            self.failing = True
            log.error("limits_failing", error=type(error).__name__)  # an error's text may hold the URL
        metrics.limits_failing(failing=True)
        self._let_waiting_pass()

    def _let_waiting_pass(self) -> None:
        waiting, self._waiting = self._waiting, []
        _let_pass(waiting)


def _let_pass(requests: list[_Request]) -> None:
    for _, _, before in requests:
        if not before.done():
            before.set_result(None)
