"""carriers.toml: reads it, checks it, and makes the carriers that it names.

Owns the file's form and its errors, which name the file, the carrier and the key, and never a value (one of them is
a password). Starts nothing.
"""

import re
import tomllib
from pathlib import Path

import msgspec

from ghasi.carriers.carrier import Carrier
from ghasi.carriers.smpp.client import SmppCarrier
from ghasi.carriers.smpp.configuration import SmppConfiguration
from ghasi.carriers.smpp.submit import UnusableAddressError, encode_sender

_KEY = re.compile(r" - at `\$\.?(.*)`$")
_UNKNOWN = re.compile(r"unknown field `(.*)`")
_MISSING = re.compile(r"missing required field `(.*)`")


class CarrierConfigurationError(ValueError):
    """carriers.toml can't be used; the message says which file, carrier and key, and what is wrong."""


def read_carriers(path: Path) -> list[SmppConfiguration]:
    """Read carriers.toml, in its order; raises CarrierConfigurationError."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CarrierConfigurationError(f"{path}: can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CarrierConfigurationError(f"{path}: is not UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise CarrierConfigurationError(f"{path}: is not TOML: {error}") from error
    tables = document.pop("carrier", None)
    if document:
        raise CarrierConfigurationError(f"{path}: unknown key `{next(iter(document))}`; only [[carrier]] is known")
    if not isinstance(tables, list) or not tables:
        raise CarrierConfigurationError(f"{path}: names no carrier; write at least one [[carrier]]")
    configurations = [_read_one(path, number, table) for number, table in enumerate(tables, start=1)]
    seen: set[str] = set()
    for configuration in configurations:
        if configuration.name in seen:
            raise CarrierConfigurationError(f"{path}: carrier {configuration.name!r}: `name`: is there twice")
        seen.add(configuration.name)
    return configurations


def open_carriers(path: Path) -> list[Carrier]:
    """Make the carriers of a carriers.toml, in its order, not started; raises CarrierConfigurationError."""
    return [SmppCarrier(configuration) for configuration in read_carriers(path)]


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


def open_simulated_carriers(host: str, port: int) -> list[Carrier]:
    """Make the one carrier that leads to the simulated SMSC, not started."""
    return [SmppCarrier(simulator_configuration(host, port))]


def _read_one(path: Path, number: int, table: object) -> SmppConfiguration:
    name = table.get("name") if isinstance(table, dict) else None
    where = f"carrier {name!r}" if isinstance(name, str) else f"carrier {number}"
    try:
        configuration = msgspec.convert(table, SmppConfiguration)
    except msgspec.ValidationError as error:
        raise CarrierConfigurationError(f"{path}: {where}: {_explain(str(error))}") from error
    try:
        encode_sender(configuration.default_sender)
    except UnusableAddressError as error:
        raise CarrierConfigurationError(f"{path}: {where}: `default_sender`: {error}") from error
    if configuration.tls_ca_file is None:
        return configuration
    if not configuration.tls:
        raise CarrierConfigurationError(f"{path}: {where}: `tls_ca_file`: has no meaning without tls = true")
    authorities = path.parent / configuration.tls_ca_file
    if not authorities.is_file():
        raise CarrierConfigurationError(f"{path}: {where}: `tls_ca_file`: there is no file {authorities}")
    return msgspec.structs.replace(configuration, tls_ca_file=str(authorities))


def _explain(fault: str) -> str:
    """Turn msgspec's words into `key`: what is wrong."""
    if unknown := _UNKNOWN.search(fault):
        known = ", ".join(SmppConfiguration.__struct_fields__)
        return f"`{unknown[1]}`: unknown key; known are {known}"
    if missing := _MISSING.search(fault):
        return f"`{missing[1]}`: is missing"
    key = _KEY.search(fault)
    return f"`{key[1]}`: {fault[: key.start()]}" if key and key[1] else fault
