"""Opens what parts need: for each database that their services use, one pool, its bells, its events and the sealer.

Owns which services share them. Closes them when the stack that it is given closes.
"""

import asyncio
import contextlib
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from ghasi.processes.health import Check
from ghasi.settings import Settings
from ghasi.storage.bells import Bells
from ghasi.storage.databases import Database, list_databases
from ghasi.storage.events.opening import open_events, open_link
from ghasi.storage.pool import check, close_pool, open_pool
from ghasi.storage.resealing import name_of_process
from ghasi.storage.resources import Resources
from ghasi.storage.sealing import Sealer

if TYPE_CHECKING:
    from ghasi.storage.events.link import Link


class ResourcesByService:
    """What each service's parts get; services of one database get the same, opened once."""

    def __init__(
        self, settings: Settings, stopping: asyncio.Event, stack: AsyncExitStack, checks: dict[str, Check]
    ) -> None:
        self._settings = settings
        self._stopping = stopping
        self._stack = stack
        self._checks = checks
        self._opened: dict[str, Resources] = {}
        self._link: Link | None = None

    async def open(self, service: str) -> Resources:
        """Return a service's resources; its database gets a check by its name, and its bells listen from here on."""
        databases = list_databases(self._settings, (service,))
        if not databases or self._settings.secret_key is None:
            raise ValueError(f"{service} needs a database and GHASI_SECRET_KEY")
        (database,) = databases
        if database.url not in self._opened:
            self._opened[database.url] = await self._open(database, Sealer(self._settings.secret_key))
        return self._opened[database.url]

    async def _open(self, database: Database, sealer: Sealer) -> Resources:
        name = name_of_process(sealer)
        pool = await open_pool(database.url, size=self._settings.database_pool_size, name=name)
        self._stack.push_async_callback(close_pool, pool)
        bells = Bells(pool)
        listening = asyncio.create_task(bells.listen(database.url, name))
        self._stack.push_async_callback(_end, listening)
        self._checks[database.name] = partial(check, pool)
        if self._link is None and (link := open_link(self._settings, name)) is not None:
            self._link = link
            self._stack.push_async_callback(link.close)
        events = open_events(self._settings, pool, bells, self._link)
        return Resources(self._settings, database.url, pool, sealer, bells, events, self._stopping)


async def _end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
