"""Fixtures over a real PostgreSQL: GHASI_TEST_DATABASE_URL, or an embedded one of this test session's own."""

import asyncio
import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import hypothesis
import pytest
import structlog

from ghasi.settings import Settings
from ghasi.storage import embedded
from ghasi.storage.bells import Bells
from ghasi.storage.events.postgres import PostgresEvents
from ghasi.storage.migrate import migrate
from ghasi.storage.pool import Pool, open_pool
from ghasi.storage.resources import Resources
from ghasi.storage.sealing import Sealer, new_secret_key
from tests.clock import room_in_the_day

# a busy machine is no finding: how long one example takes says nothing about it being right
# in CI the same examples each time: what is new is found where somebody can look at it
hypothesis.settings.register_profile("ghasi", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("ghasi")


ROOM = 6 << 30
"""Bytes of memory that the databases of several processes of pytest may take: mostly their WAL, 1 GB at most each."""


@pytest.fixture(autouse=True)
def a_day_that_lasts() -> None:
    """No test sees midnight pass: what it sent today would be yesterday's, and last month's invoice."""
    room_in_the_day(90)


@pytest.fixture(scope="session", autouse=True)
def plain_tracebacks() -> Iterator[None]:
    """Faults are provoked by the hundred: to print each with its colours and variables takes a second."""
    before = structlog.get_config()
    renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[structlog.processors.add_log_level, renderer])
    yield
    structlog.configure(**before)


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """URL of a PostgreSQL server's own database, in which test databases are made."""
    if url := os.environ.get("GHASI_TEST_DATABASE_URL"):
        yield url
        return
    data_dir = Path(tempfile.mkdtemp(prefix="ghasi-test-", dir=memory()))
    data_dir.chmod(0o711)
    try:
        url = embedded.start(data_dir).url
        asyncio.run(spare_the_disk(url))
        yield url
    finally:
        embedded.stop(data_dir)
        shutil.rmtree(data_dir)


def memory() -> Path | None:
    """Where files are in memory, if there is room: a database is made and dropped there in a fourth of the time."""
    folder = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
    with contextlib.suppress(OSError):
        if os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > ROOM:
            return folder
    return None


def named(url: str, database: str) -> str:
    """The same server, another database."""
    return re.sub(r"(postgresql://[^/]*/)[^?]*", rf"\g<1>{database}", url)


async def spare_the_disk(url: str) -> None:
    """Let a server that is thrown away not wait for the disk: what a killed process has written outlives it anyway."""
    for setting in ("fsync", "full_page_writes", "autovacuum"):
        await run(url, f"ALTER SYSTEM SET {setting} = off")
    await run(url, "SELECT pg_reload_conf()")


async def run(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
async def template(server_url: str) -> AsyncIterator[str]:
    """Name of a migrated database that tests clone."""
    name = f"template_{uuid4().hex}"
    await run(server_url, f"CREATE DATABASE {name}")
    await migrate(named(server_url, name))
    yield name
    await run(server_url, f"DROP DATABASE {name}")


@pytest.fixture
async def database_url(server_url: str, template: str) -> AsyncIterator[str]:
    """URL of a migrated database of this test's own: commits, locks and several connections are real."""
    name = f"test_{uuid4().hex}"
    await run(server_url, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY wal_log")
    yield named(server_url, name)
    await run(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """A pool on this test's own database."""
    pool = await open_pool(database_url, size=10)
    yield pool
    await pool.close()


@pytest.fixture(scope="session")
def secret_key() -> str:
    return new_secret_key()


@pytest.fixture(scope="session")
def sealer(secret_key: str) -> Sealer:
    return Sealer(secret_key)


@pytest.fixture
def resources(database_url: str, pool: Pool, sealer: Sealer) -> Resources:
    """What a process gives to the parts it hosts, with default settings in --dev."""
    bells = Bells(pool)
    return Resources(Settings(dev=True), database_url, pool, sealer, bells, PostgresEvents(pool, bells))
