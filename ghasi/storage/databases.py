"""Which databases there are and whose data lies in each: one for all services, or some with one of their own.

Owns what makes up a service's data and what a database is called. Opens none, and knows nothing of the embedded one.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ghasi.settings import Settings, variable_of

SCHEMAS: dict[str, tuple[str, ...]] = {
    "auth": ("auth", "identity"),
    "messages": ("messages",),
    "webhooks": ("webhooks",),
    "billing": ("billing",),
}
"""Each service's schemas; the local sign-in's users lie with auth's. Every database has `storage` besides."""
SERVICES = tuple(SCHEMAS)


@dataclass(frozen=True, slots=True)
class Database:
    """A database and the services whose data lies in it.

    `name` is what people read, as in /healthz; `variables` are the settings that hold `url`, which has a password.
    """

    url: str
    name: str
    variables: tuple[str, ...]
    services: tuple[str, ...]

    @property
    def schemas(self) -> frozenset[str]:
        """What `migrate` keeps up to date there."""
        return frozenset({"storage"}.union(*(SCHEMAS[service] for service in self.services)))

    def __str__(self) -> str:
        """Its name and where it is set."""
        return f"{self.name} ({', '.join(self.variables)})"


def url_of(settings: Settings, service: str) -> str | None:
    """Return the URL of a service's database: its own, or GHASI_DATABASE_URL."""
    own: str | None = getattr(settings, _setting(service))
    return own or settings.database_url


def own_variables(settings: Settings) -> list[str]:
    """Return the settings by which services have another database than GHASI_DATABASE_URL, or the embedded one."""
    return [
        variable_of(_setting(service))
        for service in SERVICES
        if url_of(settings, service) != settings.database_url
    ]  # fmt: skip


def are_apart(settings: Settings) -> bool:
    """Whether services have different databases, so that none can read another's events in its own."""
    return len({url_of(settings, service) for service in SERVICES}) > 1


def list_databases(settings: Settings, services: Iterable[str] = SERVICES) -> list[Database]:
    """Return the databases that hold some of these services' data, each once and with all that it holds."""
    wanted = frozenset(services)
    homes: dict[str, list[str]] = {}
    for service in SERVICES:
        if (url := url_of(settings, service)) is not None:
            homes.setdefault(url, []).append(service)
    return [_database(settings, url, tuple(held)) for url, held in homes.items() if wanted.intersection(held)]


def _database(settings: Settings, url: str, services: tuple[str, ...]) -> Database:
    if url == settings.database_url:
        return Database(url, "database", (variable_of("database_url"),), services)
    name = "database" if services == SERVICES else f"{'_'.join(services)}_database"
    return Database(url, name, tuple(variable_of(_setting(service)) for service in services), services)


def _setting(service: str) -> str:
    return f"{service}_database_url"
