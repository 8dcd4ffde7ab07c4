"""What every operator command shares: its flags, the databases it works on, and who the audit log names."""

import getpass
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from cyclopts import Parameter

from ghasi.processes.database import borrow_databases, noted, with_databases
from ghasi.processes.lifetime import run
from ghasi.processes.logs import configure_logs
from ghasi.settings import Settings
from ghasi.storage.bells import Bells
from ghasi.storage.databases import list_databases
from ghasi.storage.events.opening import open_events, open_link
from ghasi.storage.pool import open_pool
from ghasi.storage.resources import Resources
from ghasi.storage.sealing import Sealer, SealError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Operator:
    """Flags of operator commands."""

    json: Annotated[bool, Parameter(help="Print JSON", negative="")] = False
    operator: Annotated[str | None, Parameter(help="Who the audit log names; by default the system's user")] = None
    data_dir: Annotated[Path | None, Parameter(help="Data folder of the embedded database")] = None
    database_url: Annotated[str | None, Parameter(help="Any PostgreSQL instead of the embedded one")] = None

    @property
    def name(self) -> str:
        """Who the audit log names."""
        return self.operator or getpass.getuser()

    @property
    def actor(self) -> str:
        """The audit log's actor."""
        return f"operator:{self.name}"

    def settings(self) -> Settings:
        """Read the settings, with these flags over them."""
        given = {"data_dir": self.data_dir, "database_url": self.database_url}
        return Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]


OperatorFlags = Annotated[Operator, Parameter(name="*")]


class _Keyless(Sealer):
    """In place of the sealer where there is no key: most operator commands seal nothing, the others say what lacks."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    @property
    def key_names(self) -> tuple[str, ...]:
        raise self._missing()

    def seal(self, value: bytes) -> bytes:
        del value
        raise self._missing()

    def open(self, sealed: bytes) -> bytes:
        del sealed
        raise self._missing()

    def reseal(self, sealed: bytes) -> bytes | None:
        del sealed
        raise self._missing()

    def derive(self, purpose: str) -> tuple[bytes, ...]:
        del purpose
        raise self._missing()

    def _missing(self) -> SealError:
        return SealError(f"GHASI_SECRET_KEY is not set and {self._data_dir} has no secrets.json")


def do(operator: Operator, service: str, action: Callable[[Resources], Awaitable[T]]) -> T:
    """Run an action on a service's database: the one that is set or runs, else the embedded one, started for it."""
    return do_with(operator, (service,), lambda its: action(its[service]))


def do_with(
    operator: Operator, services: Iterable[str], action: Callable[[Mapping[str, Resources]], Awaitable[T]]
) -> T:
    """Run an action on the databases of several services, likewise; those that share one get the same resources."""
    configure_logs("admin", "warning")
    wanted = tuple(services)
    result: list[T] = []

    async def main() -> int:
        async with borrow_databases(operator.settings(), wanted) as found, AsyncExitStack() as stack:
            settings = await with_databases(found, wanted, sealing=False)
            result.append(await action(await _open(settings, wanted, stack)))
        return 0

    run(main)
    return result[0]


async def _open(settings: Settings, services: Iterable[str], stack: AsyncExitStack) -> dict[str, Resources]:
    sealer = _Keyless(settings.data_dir) if settings.secret_key is None else Sealer(settings.secret_key)
    link = open_link(settings, "ghasi admin")
    if link is not None:
        stack.push_async_callback(link.close)
    opened: dict[str, Resources] = {}
    for database in list_databases(settings, services):
        with noted(str(database)):
            pool = await open_pool(database.url, size=2, name="ghasi admin")
        stack.push_async_callback(pool.close)
        bells = Bells(pool)
        events = open_events(settings, pool, bells, link)
        resources = Resources(settings, database.url, pool, sealer, bells, events)
        opened |= dict.fromkeys(database.services, resources)
    return opened


def fields(thing: Any, *names: str) -> dict[str, Any]:
    """Return some attributes of a thing as a row."""
    return {name: getattr(thing, name) for name in names}
