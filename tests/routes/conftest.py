"""Worlds shared by all tests of a process: each is opened when it is first asked for."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from ghasi.contract.table import ROWS
from ghasi.gateway.upstreams import HttpUpstream
from ghasi.storage import embedded
from ghasi.storage.migrate import migrate
from tests.asgi import Answer
from tests.auth.identity_provider import IdentityProvider
from tests.conftest import named, run
from tests.routes.world import CARRIERS_FILE, ROOMY, Customer, World, ask, misbehaving, open_world, unused_url

ONE_EACH = dict.fromkeys(ROOMY, 1)


class Worlds:
    """Opens each world once and closes them all at the end."""

    def __init__(self, server_url: str, template: str, certificates_url: str) -> None:
        self._server_url = server_url
        self._template = template
        self._certificates_url = certificates_url
        self._stack = AsyncExitStack()
        folder = Path(tempfile.mkdtemp(prefix="ghasi-carriers-"))
        self._stack.callback(shutil.rmtree, folder)
        self._carriers = folder / "carriers.toml"
        self._carriers.write_text(CARRIERS_FILE)
        self._open: dict[str, Any] = {}

    async def close(self) -> None:
        await self._stack.aclose()

    async def plain(self) -> World:
        """The limits of the contract, not in --dev."""
        return await self._once("plain", self._new)

    async def roomy(self) -> World:
        """Limits that nobody reaches."""
        return await self._once("roomy", lambda: self._new(**ROOMY))

    async def dev(self) -> World:
        """In --dev."""
        return await self._once("dev", lambda: self._new(dev=True, **ROOMY))

    async def tight(self) -> World:
        """One request a minute in each group."""
        return await self._once("tight", lambda: self._new(**ONE_EACH))

    async def without_identity_provider(self) -> World:
        """Certificates were never to be had."""

        async def make() -> World:
            return await self._new(firebase_certs_url=unused_url())

        return await self._once("without_identity_provider", make)

    async def bent(self) -> Customer:
        """Someone signed in where the way to the services may be bent."""

        async def make() -> Customer:
            return await (await self._new(**ROOMY)).sign_in()

        return await self._once("bent", make)

    async def broken(self) -> Customer:
        """Someone signed in where every table is gone since."""

        async def make() -> Customer:
            world = await self._new(**ROOMY)
            customer = await world.sign_in()
            await world.resources.pool.execute("DROP SCHEMA auth, messages, webhooks, billing CASCADE")
            return customer

        return await self._once("broken", make)

    async def away(self) -> Customer:
        """Someone signed in where the database server was stopped since."""

        async def make() -> Customer:
            data_dir = Path(tempfile.mkdtemp(prefix="ghasi-away-"))
            data_dir.chmod(0o711)
            self._stack.callback(shutil.rmtree, data_dir)
            database = await asyncio.to_thread(embedded.start, data_dir)
            self._stack.callback(embedded.stop, data_dir)
            await migrate(database.url)
            world = await self._stack.enter_async_context(
                open_world(database.url, self._certificates_url, carriers=self._carriers, **ROOMY)
            )
            customer = await world.sign_in()
            await asyncio.to_thread(embedded.stop, data_dir)
            return customer

        return await self._once("away", make)

    async def hanging(self) -> dict[str, asyncio.Task[Answer]]:
        """The answers, under way, to one request for each row whose service is silent."""

        async def make() -> dict[str, asyncio.Task[Answer]]:
            world = await self._new(**ROOMY)
            customer = await world.sign_in()
            world.upstreams.client = HttpUpstream(await self._stack.enter_async_context(misbehaving("hangs")))
            self._stack.push_async_callback(world.upstreams.client.close)
            answers = {row.operation: asyncio.create_task(ask(customer, row)) for row in ROWS}
            self._stack.callback(lambda: [task.cancel() for task in answers.values()])
            return answers

        return await self._once("hanging", make)

    async def _once(self, name: str, make: Callable[[], Awaitable[Any]]) -> Any:
        if name not in self._open:
            self._open[name] = await make()
        return self._open[name]

    async def _new(self, **settings: Any) -> World:
        database = f"routes_{uuid4().hex}"
        await run(self._server_url, f"CREATE DATABASE {database} TEMPLATE {self._template} STRATEGY wal_log")
        self._stack.push_async_callback(run, self._server_url, f"DROP DATABASE {database} WITH (FORCE)")
        given = {"carriers": self._carriers} | settings
        world = open_world(named(self._server_url, database), self._certificates_url, **given)
        return await self._stack.enter_async_context(world)


@pytest.fixture(scope="session")
async def worlds(server_url: str, template: str) -> AsyncIterator[Worlds]:
    provider = IdentityProvider()
    await provider.start()
    worlds = Worlds(server_url, template, provider.url)
    yield worlds
    await worlds.close()
    await provider.stop()


@pytest.fixture
async def plain(worlds: Worlds) -> World:
    return await worlds.plain()


@pytest.fixture
async def roomy(worlds: Worlds) -> World:
    return await worlds.roomy()
