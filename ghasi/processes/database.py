"""Which database a command uses when it is not `up`: GHASI_DATABASE_URL's, or the embedded one of the data folder.

Owns that choice and what is said when there is none. Applies no migration.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ghasi.processes.hosting import CannotRun
from ghasi.processes.secrets_file import find_secrets, with_secrets
from ghasi.settings import Settings
from ghasi.storage import embedded
from ghasi.storage.migrate import list_pending


def find_database(settings: Settings) -> str | None:
    """Return the URL that is set, or that of the embedded database if it runs; else None."""
    if settings.database_url is not None:
        return settings.database_url
    connection = embedded.running(settings.data_dir)
    return None if connection is None else connection.url


async def with_database(settings: Settings, *, sealing: bool = True) -> Settings:
    """Return settings with the database and the secrets of the data folder.

    Raises CannotRun when there is no database, no secret key (unless `sealing` is False), or a migration that is not
    applied; SecretsError; one of UNAVAILABLE when the database does not answer.
    """
    url = find_database(settings)
    if url is None:
        raise CannotRun(
            f"no database: run `ghasi database` (data folder {settings.data_dir}) or set GHASI_DATABASE_URL"
        )
    settings = with_secrets(settings, find_secrets(settings.data_dir))
    if sealing and settings.secret_key is None:
        raise CannotRun(f"GHASI_SECRET_KEY is not set and {settings.data_dir} has no secrets.json")
    if pending := await list_pending(url):
        raise CannotRun(f"run `ghasi migrate` first: {', '.join(pending)} not applied")
    return settings.model_copy(update={"database_url": url})


@asynccontextmanager
async def borrow_database(settings: Settings, *, make: bool = False) -> AsyncIterator[str]:
    """Give a database for the time of a command: one that runs, else the embedded one, started and stopped again.

    Raises EmbeddedError; CannotRun when the data folder holds none and `make` is not given.
    """
    url = find_database(settings)
    if url is not None:
        yield url
        return
    data_dir = settings.data_dir
    if not make and not embedded.exists(data_dir):
        raise CannotRun(f"there is no database in {data_dir}: give --data-dir or GHASI_DATABASE_URL")
    with embedded.locked(data_dir):
        try:
            yield (await asyncio.to_thread(embedded.start, data_dir)).url
        finally:
            await asyncio.to_thread(embedded.stop, data_dir)
