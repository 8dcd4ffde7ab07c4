"""carriers.toml: reads it, checks it, and makes the carriers that it names.

Owns the file's form and its errors, which name the file, the carrier or route and the key, and never a carrier's value
(one of them is a password). Starts nothing.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import msgspec

from ghasi.carriers.carrier import Carrier
from ghasi.carriers.http.client import HttpCarrier
from ghasi.carriers.http.configuration import HttpConfiguration
from ghasi.carriers.routing import Routes
from ghasi.carriers.routing_conditions import RouteError
from ghasi.carriers.routing_costs import CostError, CostTable
from ghasi.carriers.routing_rules import FORMS, Costs, RouteConfiguration
from ghasi.carriers.smpp.client import SmppCarrier
from ghasi.carriers.smpp.configuration import SmppConfiguration, resolve_files

CarrierConfiguration = SmppConfiguration | HttpConfiguration
KINDS: Mapping[str, type[CarrierConfiguration]] = {"smpp": SmppConfiguration, "http": HttpConfiguration}
_KEY = re.compile(r" - at (?:`key` in )?`\$\.?(.*)`$")
_FORM = re.compile(r"matching regex|Invalid UUID")
_NAMED = re.compile(r"^`(.*?)`: ")
_UNKNOWN = re.compile(r"unknown field `(.*?)`")
_MISSING = re.compile(r"missing required field `(.*?)`")


class CarrierConfigurationError(ValueError):
    """carriers.toml can't be used; the message says which file, carrier or route and key, and what is wrong."""


@dataclass(frozen=True, slots=True)
class CarriersFile:
    """All that carriers.toml says: carriers and routes in its order, prices by carrier, and the routes compiled."""

    carriers: list[CarrierConfiguration]
    routes: list[RouteConfiguration] = field(default_factory=list)
    costs: dict[str, CostTable] = field(default_factory=dict)
    routing: Routes = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Compile the routes; raises RouteError."""
        routing = Routes(self.routes, [one.name for one in self.carriers], self.costs)
        object.__setattr__(self, "routing", routing)

    def notes(self) -> list[str]:
        """Return what may be written so but is likely a mistake, one line each."""
        notes = [
            f"route {later!r} is never reached: {earlier!r} before it takes every message"
            for earlier, later in self.routing.unreachable()
        ]
        if self.routes:
            named = {name for rule in self.routing.rules for name in rule.carriers}
            notes += [f"carrier {one.name!r} is in no route" for one in self.carriers if one.name not in named]
            if not self.routing.has_last():
                notes.append("no last route without conditions: a message that no route matches fails with no_route")
        return notes


def read_carriers_file(path: Path) -> CarriersFile:
    """Read carriers.toml; raises CarrierConfigurationError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CarrierConfigurationError(f"{path}: can't be read: {error.strerror}") from error
    return parse_carriers_file(path, content)


def parse_carriers_file(path: Path, content: bytes) -> CarriersFile:
    """Make of carriers.toml's content what it says; raises CarrierConfigurationError.

    `path` is where it came from: files that it names are beside it, and errors name it.
    """
    try:
        document = tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        raise CarrierConfigurationError(f"{path}: is not UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise CarrierConfigurationError(f"{path}: is not TOML: {error}") from error
    carriers, routes, costs = document.pop("carrier", None), document.pop("route", []), document.pop("costs", {})
    if document:
        raise CarrierConfigurationError(
            f"{path}: unknown key `{next(iter(document))}`; only [[carrier]], [[route]] and [costs.CARRIER] are known"
        )
    if not isinstance(carriers, list) or not carriers:
        raise CarrierConfigurationError(f"{path}: names no carrier; write at least one [[carrier]]")
    if not isinstance(routes, list):
        raise CarrierConfigurationError(f"{path}: `route`: is no list; write [[route]]")
    configurations = [_read_carrier(path, number, table) for number, table in enumerate(carriers, start=1)]
    names = [one.name for one in configurations]
    _refuse_twice(path, "carrier", names)
    prices = _read_costs(path, costs, names)
    rules = [_read_route(path, number, table) for number, table in enumerate(routes, start=1)]
    _refuse_twice(path, "route", [rule.name for rule in rules])
    try:
        return CarriersFile(configurations, rules, prices)
    except RouteError as error:
        raise CarrierConfigurationError(f"{path}: {error}") from error


def check(path: Path) -> list[str]:
    """Read carriers.toml and return what is likely a mistake in it, one line each; raises CarrierConfigurationError."""
    return read_carriers_file(path).notes()


def open_carrier(configuration: CarrierConfiguration) -> Carrier:
    """Make the carrier that a configuration describes, not started."""
    if isinstance(configuration, HttpConfiguration):
        return HttpCarrier(configuration)
    return SmppCarrier(configuration)


def simulator_configuration(host: str, port: int, *, name: str = "simulator", window: int = 200) -> SmppConfiguration:
    """Return how the simulated SMSC at an address is reached."""
    return SmppConfiguration(
        name=name,
        kind="smpp",
        host=host,
        port=port,
        system_id="ghasi",
        password="simulator",  # noqa: S106 - the simulator takes any
        window=window,
        default_sender="Ghasi",
    )


def _refuse_twice(path: Path, what: str, names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise CarrierConfigurationError(f"{path}: {what} {name!r}: `name`: is there twice")
        seen.add(name)


def _read_carrier(path: Path, number: int, table: object) -> CarrierConfiguration:
    where = f"{path}: {_which('carrier', number, table)}"
    if not isinstance(table, dict):
        raise CarrierConfigurationError(f"{where}: is no table; write [[carrier]]")
    kind = table.get("kind")
    if kind is None:
        raise CarrierConfigurationError(f"{where}: `kind`: is missing; it is {' or '.join(KINDS)}")
    form = KINDS.get(kind) if isinstance(kind, str) else None
    if form is None:
        raise CarrierConfigurationError(f"{where}: `kind`: is unknown; it is {' or '.join(KINDS)}")
    try:
        configuration = msgspec.convert(table, form)
    except msgspec.ValidationError as error:
        raise CarrierConfigurationError(f"{where}: {_explain(str(error), form)}") from error
    try:
        return _with_files(configuration, path.parent)
    except ValueError as error:
        raise CarrierConfigurationError(f"{where}: {error}") from error


def _with_files(configuration: CarrierConfiguration, folder: Path) -> CarrierConfiguration:
    """Find the files that a carrier names beside carriers.toml; raises ValueError that names the key."""
    if isinstance(configuration, SmppConfiguration):
        return resolve_files(configuration, folder)
    if configuration.tls_ca_file is None:
        return configuration
    authorities = folder / configuration.tls_ca_file
    if not authorities.is_file():
        raise ValueError(f"`tls_ca_file`: there is no file {authorities}")
    return msgspec.structs.replace(configuration, tls_ca_file=str(authorities))


def _read_route(path: Path, number: int, table: object) -> RouteConfiguration:
    try:
        return msgspec.convert(table, RouteConfiguration)
    except msgspec.ValidationError as error:
        where = f"{path}: {_which('route', number, table)}"
        raise CarrierConfigurationError(f"{where}: {_explain(str(error), RouteConfiguration)}") from error


def _read_costs(path: Path, tables: object, carriers: list[str]) -> dict[str, CostTable]:
    if not isinstance(tables, dict):
        raise CarrierConfigurationError(f"{path}: `costs`: is no table; write [costs.CARRIER]")
    prices = {}
    for name, table in tables.items():
        where = f"{path}: costs of {name!r}"
        if name not in carriers:
            raise CarrierConfigurationError(f"{where}: there is no such carrier; there are {', '.join(carriers)}")
        try:
            prices[name] = CostTable(msgspec.convert(table, Costs))
        except msgspec.ValidationError as error:
            raise CarrierConfigurationError(
                f'{where}: {error}; write "9370" = "0.0200", decimal strings by prefix, country or *'
            ) from error
        except CostError as error:
            raise CarrierConfigurationError(f"{where}: {error}") from error
    return prices


def _which(what: str, number: int, table: object) -> str:
    name = table.get("name") if isinstance(table, dict) else None
    return f"{what} {name!r}" if isinstance(name, str) else f"{what} {number}"


def _explain(fault: str, form: type[Any]) -> str:
    """Turn msgspec's words, and those of a form's own checks, into `key`: what is wrong."""
    found = _KEY.search(fault)
    path, words = (found[1], fault[: found.start()]) if found else ("", fault)
    before = f"{path}." if path else ""
    if unknown := _UNKNOWN.search(words):
        known = f"; known are {', '.join(_fields(form, path))}" if _fields(form, path) else ""
        return f"`{before}{unknown[1]}`: unknown key{known}"
    if missing := _MISSING.search(words):
        return f"`{before}{missing[1]}`: is missing"
    if form is RouteConfiguration and (form_of := FORMS.get(re.split(r"[.\[]", path)[0])) and _FORM.search(words):
        return f"`{path}`: must be {form_of}"
    if named := _NAMED.match(words):
        return f"`{before}{named[1]}`: {words[named.end() :]}"
    return f"`{path}`: {words}" if path else words


def _fields(form: type[Any], path: str) -> tuple[str, ...]:
    """Return the keys, as they are written, of a form or of the table in it that a path leads to."""
    for key in filter(None, path.split(".")):
        found = next((one for one in msgspec.structs.fields(form) if one.encode_name == key), None)
        inner = None if found is None else _struct_in(found.type)
        if inner is None:
            return ()
        form = inner
    return form.__struct_encode_fields__  # type: ignore[no-any-return]  # of a Struct, which type[Any] does not say


def _struct_in(kind: Any) -> type[Any] | None:
    for one in (kind, *get_args(kind)):
        if isinstance(one, type) and issubclass(one, msgspec.Struct):
            return one
    return None
