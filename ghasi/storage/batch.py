"""Group commit: many handlers wait, one flusher writes all they brought in one transaction.

Owns the waiting, the batching and what happens to neighbours of a bad row. What a batch does is its caller's function.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import asyncpg
import structlog

from ghasi.storage.pool import UNAVAILABLE

Item = TypeVar("Item")
Result = TypeVar("Result")
Word = TypeVar("Word")

Flush = Callable[[Sequence[Item], bool], Awaitable[Sequence[Result | BaseException]]]
log = structlog.get_logger("ghasi.storage")


class QueueFullError(ConnectionError):
    """More is waiting than the queue holds; nothing was done."""


class Batcher(Generic[Item, Result]):
    """Collects items and flushes up to `most` of them at a time; during one flush the next batch gathers.

    `flush(items, again)` gives one result for each item, or an exception in its place; when it returns the
    transaction is committed. `again` says that these items were tried before and may have been committed: after a
    lost connection nobody knows. When it raises any other database error the items are flushed one by one, so that a
    bad one fails alone. A waiter that is cancelled does not take its item back. With `attempts` None a lost database
    is waited for, for ever. The log calls the batcher by its `name`. The first item after a lull is flushed at once;
    while more come they gather, for `gather_s` at a time. With `alone_at_once` they do so only after a flush of
    several: who brings one item after the other waits for nobody.
    """

    def __init__(
        self,
        flush: Flush[Item, Result],
        *,
        name: str,
        most: int = 500,
        queue_size: int = 20_000,
        attempts: int | None = 3,
        gather_s: float = 0.0,
        alone_at_once: bool = False,
    ) -> None:
        self._flush = flush
        self._name = name
        self._most = most
        self._queue_size = queue_size
        self._attempts = attempts
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._flusher: asyncio.Task[None] | None = None
        self._gather_s = gather_s
        self._alone_at_once = alone_at_once
        self._flushed = 0
        """How many items the newest batch had."""
        self._began = 0.0
        self._hurry = asyncio.Event()

    def put(self, item: Item, *, urgent: bool = False) -> asyncio.Future[Result]:
        """Queue an item; the future has its result once it is committed. Raises QueueFullError.

        An `urgent` one does not wait for others to gather.
        """
        if len(self._waiting) >= self._queue_size:
            raise QueueFullError("too much is waiting to be written")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, future))
        if urgent or len(self._waiting) >= self._most:
            self._hurry.set()
        if self._flusher is None:
            self._flusher = loop.create_task(self._run())
        return future

    def put_told(self, item: Item, tell: Callable[[bool], None]) -> None:
        """Queue an item, and tell whether it was committed once that is known: at once where there is no room."""
        try:
            future = self.put(item)
        except QueueFullError:
            tell(False)
            return
        future.add_done_callback(lambda done: tell(not done.cancelled() and done.exception() is None))

    async def submit(self, item: Item) -> Result:
        """Queue an item and wait until it is committed; raises what the flush gave for it."""
        return await self.put(item)

    def __len__(self) -> int:
        return len(self._waiting)

    async def drain(self) -> None:
        """Wait until all that was queued is written."""
        while self._flusher is not None:
            self._hurry.set()
            await asyncio.shield(self._flusher)

    async def _run(self) -> None:
        try:
            while self._waiting:
                if self._gather_s and (self._flushed > 1 or not self._alone_at_once):
                    await self._gather()
                batch = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
                self._began, self._flushed = time.monotonic(), len(batch)
                items = [item for item, _ in batch]
                for (_, future), result in zip(batch, await self._results(items, again=False), strict=True):
                    if future.done():
                        continue
                    if isinstance(result, BaseException):
                        future.set_exception(result)
                        future.exception()  # its waiter may be gone; that is no error of ours
                    else:
                        future.set_result(result)
        finally:
            self._flusher = None

    async def _gather(self) -> None:
        """Wait until it is time for the next flush, or somebody is in a hurry."""
        early_s = self._began + self._gather_s - time.monotonic()
        if early_s > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(early_s):
                    await self._hurry.wait()
        self._hurry.clear()

    async def _results(
        self, items: Sequence[Item], *, again: bool, alone: bool = False
    ) -> Sequence[Result | BaseException]:
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._flush(items, again)
            except UNAVAILABLE as error:
                log.warning(
                    "flush_retried", of=self._name, error=type(error).__name__, items=len(items), attempt=attempt
                )
                if attempt == self._attempts:
                    return [error] * len(items)
                again = True
                await asyncio.sleep(min(0.2 * attempt, 2.0))
            except asyncpg.PostgresError as error:
                # one that stands alone is tried once more too: after a lost connection the first try may be what it
                # collides with, and then it counts as done
                if alone:
                    return [error]
                log.warning("flush_split", of=self._name, error=type(error).__name__, items=len(items))
                return [(await self._results([item], again=True, alone=True))[0] for item in items]
            except Exception as error:  # a fault in the flush itself must not leave waiters hanging
                log.exception("flush_failed", of=self._name, items=len(items))
                return [error] * len(items)


async def write_whole_or_apart(
    entries: Sequence[Sequence[Word]],
    commit: Callable[[Sequence[Word]], Awaitable[None]],
    refused: Callable[[Word, asyncpg.PostgresError], None],
    *,
    again: bool,
) -> Sequence[None]:
    """Flush entries of several words each: all at once, and an entry that stands alone and fails word by word."""
    try:
        await commit([word for entry in entries for word in entry])
    except UNAVAILABLE:
        raise
    except asyncpg.PostgresError:
        if not again or len(entries) > 1:
            raise  # the batcher tries each entry alone
        await commit_apart(entries[0], commit, refused)
    return [None] * len(entries)


async def commit_apart(
    words: Sequence[Word],
    commit: Callable[[Sequence[Word]], Awaitable[None]],
    refused: Callable[[Word, asyncpg.PostgresError], None],
) -> None:
    """Commit words one by one; what the database refuses is told to `refused`, and stops no other."""
    for word in words:
        try:
            await commit([word])
        except UNAVAILABLE:
            raise
        except asyncpg.PostgresError as error:
            refused(word, error)
