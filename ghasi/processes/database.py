"""Which databases a process or a command uses: those that the settings name, or the embedded one of the data folder.

Owns that choice, the embedded one while `up` and `database` run it, and what is said when there is none.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from ghasi.processes.hosting import CannotRun
from ghasi.processes.secrets_file import find_secrets, with_secrets
from ghasi.settings import Settings
from ghasi.storage import embedded
from ghasi.storage.databases import SERVICES, Database, are_apart, list_databases, own_variables, url_of
from ghasi.storage.migrate import list_pending, migrate
from ghasi.storage.pool import wait_for_database

STOP_S, START_S = 3.0, 15.0
WATCH_S = 0.25
log = structlog.get_logger("ghasi.database")
Tell = Callable[[str], None]


def check_events(settings: Settings) -> None:
    """Raise CannotRun where services have different databases and nothing carries events from one to another."""
    if are_apart(settings) and settings.nats_url is None:
        raise CannotRun(
            f"GHASI_NATS_URL is not set: with {', '.join(own_variables(settings))} services have different databases, "
            "and NATS has to carry events between them"
        )


def needs_embedded(settings: Settings, services: Iterable[str] = SERVICES) -> bool:
    """Whether the settings name no database for one of these services, so that the embedded one has its data."""
    return any(url_of(settings, service) is None for service in services)


def find_embedded(settings: Settings, services: Iterable[str] = SERVICES) -> Settings | None:
    """Return settings that name the databases of services, the embedded one if it runs; None if it is needed and not.

    An embedded one that no service needs is not looked for.
    """
    if not needs_embedded(settings, services):
        return settings
    connection = embedded.running(settings.data_dir)
    return None if connection is None else settings.model_copy(update={"database_url": connection.url})


async def with_databases(settings: Settings, services: Iterable[str], *, sealing: bool = True) -> Settings:
    """Return settings with the databases of services and the secrets of the data folder.

    Raises CannotRun when there is no database, no secret key (unless `sealing` is False), or a migration that is not
    applied; SecretsError; one of UNAVAILABLE, with a note of its name, when a database does not answer.
    """
    wanted = list(dict.fromkeys(services))
    found = find_embedded(settings, wanted)
    if found is None:
        own = [f"GHASI_{service.upper()}_DATABASE_URL" for service in wanted if url_of(settings, service) is None]
        raise CannotRun(
            f"no database: run `ghasi database` (data folder {settings.data_dir}) or set GHASI_DATABASE_URL, "
            f"or {', '.join(own)}"
        )
    settings = with_secrets(found, find_secrets(found.data_dir))
    if sealing and settings.secret_key is None:
        raise CannotRun(f"GHASI_SECRET_KEY is not set and {settings.data_dir} has no secrets.json")
    for database in list_databases(settings, wanted):
        with noted(str(database)):
            pending = await list_pending(database.url, database.schemas)
        if pending:
            raise CannotRun(f"run `ghasi migrate` first: {database} lacks {', '.join(pending)}")
    return settings


@asynccontextmanager
async def borrow_databases(
    settings: Settings, services: Iterable[str], *, make: bool = False
) -> AsyncIterator[Settings]:
    """Give settings with the databases of services for the time of a command: the embedded one is started if need be.

    Raises EmbeddedError; CannotRun when the data folder holds none and `make` is not given.
    """
    found = find_embedded(settings, services)
    if found is not None:
        yield found
        return
    data_dir = settings.data_dir
    if not make and not embedded.exists(data_dir):
        raise CannotRun(f"there is no database in {data_dir}: give --data-dir or GHASI_DATABASE_URL")
    with embedded.locked(data_dir):
        try:
            connection = await asyncio.to_thread(embedded.start, data_dir)
            yield settings.model_copy(update={"database_url": connection.url})
        finally:
            await asyncio.to_thread(embedded.stop, data_dir)


@asynccontextmanager
async def open_databases(settings: Settings, tell: Tell) -> AsyncIterator[Settings]:
    """Give settings with every service's database: those that are set, and the embedded one, kept until the end.

    The caller holds the data folder's lock. Raises EmbeddedError; one of UNAVAILABLE, with a note of its name, when a
    database that is set is away for 30 s.
    """
    for database in list_databases(settings):
        tell(f"database: {', '.join(database.variables)}")
        with noted(str(database)):
            await wait_for_database(database.url)
    if not needs_embedded(settings):
        yield settings
        return
    async with keep_embedded(settings.data_dir, tell) as url:
        yield settings.model_copy(update={"database_url": url})


@asynccontextmanager
async def keep_embedded(data_dir: Path, tell: Tell) -> AsyncIterator[str]:
    """Run the embedded database until the end, and give its URL; the caller holds the data folder's lock."""
    began = time.monotonic()
    tell(f"database: starting the embedded PostgreSQL of {data_dir}")
    starting = asyncio.create_task(asyncio.to_thread(embedded.start, data_dir))
    watching: asyncio.Task[None] | None = None
    try:
        connection = await asyncio.shield(starting)
        tell(f"database: accepts connections after {time.monotonic() - began:.1f} s")
        watching = asyncio.create_task(_start_again(data_dir))
        yield connection.url
    finally:
        if watching is not None:
            watching.cancel()
            await asyncio.wait([watching])
        # a start that was broken off must end before it can be undone
        await asyncio.wait([starting], timeout=START_S)
        await asyncio.to_thread(embedded.stop, data_dir, STOP_S)


async def _start_again(data_dir: Path) -> None:
    """Start the embedded database again when it dies: at the same place, so that its clients find it."""
    while True:
        await asyncio.sleep(WATCH_S)
        if await asyncio.to_thread(embedded.alive, data_dir):
            continue
        log.error("database_died")
        with contextlib.suppress(embedded.EmbeddedError):  # backends of the dead one may hold its memory yet: again
            starting = asyncio.create_task(asyncio.to_thread(embedded.start, data_dir))
            try:
                await asyncio.shield(starting)
            finally:
                await asyncio.wait([starting], timeout=START_S)
            log.info("database_restarted")


@contextlib.contextmanager
def noted(name: str) -> Iterator[None]:
    """Note on an error of a database, for who reads it, which of them it was."""
    try:
        yield
    except Exception as error:
        error.add_note(name)
        raise


async def migrate_all(settings: Settings, services: Iterable[str] = SERVICES) -> dict[Database, list[str]]:
    """Bring each database of services up to date, with what belongs there; return the migrations that each lacked.

    Raises MigrationError, or one of UNAVAILABLE, with a note of the database's name.
    """
    done = {}
    for database in list_databases(settings, services):
        with noted(str(database)):
            done[database] = await migrate(database.url, database.schemas)
    return done
