"""The commands that run parts: up, serve, work, database, migrate, psql, dump."""

import os
import shutil
import sys
from collections.abc import Iterable
from typing import Annotated, Literal
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from cyclopts import App, Parameter, validators

from ghasi.processes import split
from ghasi.processes.database import borrow_databases, migrate_all
from ghasi.processes.lifetime import run
from ghasi.processes.logs import configure_logs
from ghasi.processes.supervisor import supervise
from ghasi.settings import Settings
from ghasi.storage import embedded
from ghasi.storage.databases import SCHEMAS, SERVICES, own_variables, url_of

SettingFlags = Annotated[Settings, Parameter(name="*")]
PortFlag = Annotated[
    int | None,
    Parameter(help="Port of what listens, if it is one thing", validator=validators.Number(gte=0, lte=65535)),
]
ProgramArgument = Annotated[str, Parameter(allow_leading_hyphen=True)]

Service = Literal["auth", "messages", "webhooks", "billing"]
ServiceFlag = Annotated[Service | None, Parameter(help="Whose database; by default the one that services share")]


def register(app: App) -> None:
    """Add the commands."""
    for command in (up, serve, work, database, migrate, psql, dump):
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
    """Bring the schemas of every database that is set up to date, and of the embedded one."""
    settings = settings or Settings()
    configure_logs("migrate", "warning")
    # where some are set, the embedded one is made by `up` and `database` alone: it may have no part in this
    wanted = [name for name in SERVICES if url_of(settings, name) is not None or embedded.exists(settings.data_dir)]

    async def apply() -> int:
        async with borrow_databases(settings, wanted or SERVICES, make=True) as found:
            done = await migrate_all(found, wanted or SERVICES)
        for database, applied in done.items():
            name = f"{database.name}: " if len(done) > 1 else ""
            tell("\n".join(f"{name}{migration}" for migration in applied) or f"{name}up to date")
        return 0

    return run(apply)


def psql(*arguments: ProgramArgument, service: ServiceFlag = None, settings: SettingFlags | None = None) -> None:
    """Open psql on a database. What psql shall take as its own flags comes after `--`: `ghasi psql -- -c "..."`."""
    _become("psql", arguments, service, settings or Settings())


def dump(service: Service, *arguments: ProgramArgument, settings: SettingFlags | None = None) -> None:
    """Write a service's data as SQL by pg_dump, for a database of its own; flags for pg_dump come after `--`."""
    schemas = [f"--schema={schema}" for schema in (*SCHEMAS[service], "storage")]
    _become("pg_dump", ["--no-owner", "--no-privileges", *schemas, *arguments], service, settings or Settings())


def _become(program: str, arguments: Iterable[str], service: str | None, settings: Settings) -> None:
    """Run one of PostgreSQL's programs in this one's place, on a service's database or the one that others share."""
    environment = dict(os.environ)
    url = settings.database_url if service is None else url_of(settings, service)
    if url is not None:
        url, password = _without_password(url)
        command = [shutil.which(program) or embedded.installed(program), "-d", url]
    else:
        connection = embedded.running(settings.data_dir)
        if connection is None:
            hint = "; --service names another one" if service is None and own_variables(settings) else ""
            raise embedded.EmbeddedError(f"no embedded database runs in {settings.data_dir}{hint}")
        command, password = embedded.command(program, connection), connection.password
    if password is not None:
        environment["PGPASSWORD"] = password  # not on the command line, which others can read
    os.execve(command[0], [*command, *arguments], environment)  # noqa: S606 - PostgreSQL's own


def _without_password(url: str) -> tuple[str, str | None]:
    parts = urlsplit(url)
    query = parse_qsl(parts.query)
    password = next((value for name, value in query if name == "password"), unquote(parts.password or ""))
    if not password:
        return url, None
    user, at, address = parts.netloc.rpartition("@")
    rest = urlencode([(name, value) for name, value in query if name != "password"], quote_via=quote)
    bare = f"{parts.scheme}://{user.partition(':')[0]}{at}{address}{parts.path}"
    return f"{bare}?{rest}" if rest else bare, password
