"""The commands that run parts: up, serve, work, database, migrate, psql."""

import os
import shutil
import sys
from typing import Annotated
from urllib.parse import unquote, urlsplit, urlunsplit

from cyclopts import App, Parameter, validators

from ghasi.processes import split
from ghasi.processes.database import borrow_database
from ghasi.processes.lifetime import run
from ghasi.processes.logs import configure_logs
from ghasi.processes.supervisor import supervise
from ghasi.settings import Settings
from ghasi.storage import embedded
from ghasi.storage import migrate as storage_migrate

SettingFlags = Annotated[Settings, Parameter(name="*")]
PortFlag = Annotated[
    int | None,
    Parameter(help="Port of what listens, if it is one thing", validator=validators.Number(gte=0, lte=65535)),
]
PsqlArgument = Annotated[str, Parameter(allow_leading_hyphen=True)]


def register(app: App) -> None:
    """Add the commands."""
    for command in (up, serve, work, database, migrate, psql):
        app.command(command)


def tell(text: str) -> None:
    """Print for a person, at once."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except (OSError, ValueError):
        pass  # nobody reads: no reason to stop


def up(*, settings: SettingFlags | None = None) -> int:
    """Run all of Ghasi on this machine; --dev adds a simulated carrier and a local identity server."""
    settings = settings or Settings()
    configure_logs("supervisor", settings.log_level)
    if not settings.dev and settings.firebase_project_id is not None and settings.firebase_api_key is None:
        sys.stderr.write("ghasi: warning: GHASI_FIREBASE_API_KEY is not set: the portal's own sign-in needs it\n")
    return run(lambda: supervise(settings, tell))


def serve(*names: str, port: PortFlag = None, settings: SettingFlags | None = None) -> int:
    """Serve parts in a process of their own.

    The parts are gateway, portal, auth-service, sms-orchestrator, message-store, webhook-dispatcher, billing-service,
    and for trials identity and simulator. Upstreams without the gateway share one port, by default any free one; with
    it those run in its process that no URL is set for.
    """
    settings = settings or Settings()
    configure_logs(" ".join(names), settings.log_level)
    return run(lambda: split.serve(names, port, settings, tell))


def work(*names: str, settings: SettingFlags | None = None) -> int:
    """Run background work in a process of its own: dispatch, webhooks, billing, auth; all of it when none is named."""
    settings = settings or Settings()
    configure_logs("worker", settings.log_level)
    return run(lambda: split.work(names, settings, tell))


def database(*, settings: SettingFlags | None = None) -> int:
    """Run the embedded PostgreSQL until SIGTERM, for `serve` and `work` on this machine."""
    settings = settings or Settings()
    configure_logs("database", settings.log_level)
    return run(lambda: split.keep_database(settings, tell))


def migrate(*, settings: SettingFlags | None = None) -> int:
    """Bring the database's schemas up to date."""
    settings = settings or Settings()
    configure_logs("migrate", "warning")

    async def apply() -> int:
        async with borrow_database(settings, make=True) as url:
            done = await storage_migrate.migrate(url)
        tell("\n".join(done) if done else "up to date")
        return 0

    return run(apply)


def psql(*arguments: PsqlArgument, settings: SettingFlags | None = None) -> None:
    """Open psql on the database. What psql shall take as its own flags comes after `--`: `ghasi psql -- -c "..."`."""
    settings = settings or Settings()
    environment = dict(os.environ)
    if settings.database_url is not None:
        url, password = _without_password(settings.database_url)
        command = [shutil.which("psql") or embedded.installed("psql"), "-d", url]
    else:
        connection = embedded.running(settings.data_dir)
        if connection is None:
            raise embedded.EmbeddedError(f"no embedded database runs in {settings.data_dir}")
        command, password = embedded.psql(connection), connection.password
    if password is not None:
        environment["PGPASSWORD"] = password  # not on the command line, which others can read
    os.execve(command[0], [*command, *arguments], environment)  # noqa: S606 - psql itself


def _without_password(url: str) -> tuple[str, str | None]:
    parts = urlsplit(url)
    user, at, address = parts.netloc.rpartition("@")
    netloc = f"{user.partition(':')[0]}{at}{address}"
    return urlunsplit(parts._replace(netloc=netloc)), None if parts.password is None else unquote(parts.password)
