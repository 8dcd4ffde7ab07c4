"""Reads the Prefer header (RFC 7240): which answer a client wishes for, and how late.

Owns the syntax and the names. What cannot be had is left out, as the RFC asks (section 2), so that the request is
answered as if it had not been wished for.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ghasi.contract.errors import CODES
from ghasi.contract.row import Row
from ghasi.contract.serving import RawHeaders
from ghasi.contract.statuses import GATEWAY_MESSAGES, gateway_messages, problem_codes

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PREFERENCE = re.compile(rf'(?P<name>{_WORD})(?:\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<value>[^\s,;"]*)))?')
_SECONDS = re.compile(r"[0-9]{1,5}(?:\.[0-9]{1,3})?")
_NO_ROUTE = 404


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client wishes for and can have: an answer by its status, and which of several by `name`; a delay.

    `name` is a problem's code or a message of the gateway's, None for the first. `applied` is what Preference-Applied
    tells of it.
    """

    status: int | None = None
    name: str | None = None
    wait_s: float = 0.0
    applied: str = ""


NOTHING = Wish()


def read_wish(headers: RawHeaders, row: Row) -> Wish:
    """Return what is wished of a row, without what it cannot answer."""
    found = _preferences(value for name, value in headers if name == b"prefer")
    wanted, wait = found.get("code"), found.get("wait", "")
    key = next((key for key in ("problem", "example") if found.get(key)), None)
    status, name = _choose(row, wanted, None if key is None else found[key])
    applied = [f"code={status}"] if wanted is not None and status is not None else []
    if key is not None and name is not None:
        applied.append(f"{key}={name}" if re.fullmatch(_WORD, name) else f'{key}="{name}"')
    wait_s = float(wait) if _SECONDS.fullmatch(wait) else 0.0
    if wait_s:
        applied.append(f"wait={wait}")
    return Wish(status, name, wait_s, ", ".join(applied))


def _choose(row: Row, wanted: str | None, name: str | None) -> tuple[int | None, str | None]:
    """Return the status and the name of an answer that the row can have."""
    messages = {**gateway_messages(row), _NO_ROUTE: GATEWAY_MESSAGES[_NO_ROUTE]}
    codes = problem_codes(row)
    possible = {row.success, *messages, *codes}
    status = int(wanted) if wanted is not None and wanted.isdecimal() and int(wanted) in possible else None
    if wanted is not None and status is None:
        return None, None
    if name is None:
        return status, None
    named = CODES[name].status if name in CODES and name in codes.get(CODES[name].status, ()) else None
    if named is None:
        named = next((one for one, texts in messages.items() if name in texts), None)
    if named is None or status not in {None, named}:
        return status, None
    return named, name


def _preferences(values: Iterable[bytes]) -> dict[str, str]:
    """Return preferences by name; of several of one name the first counts. A parameter is read as one of its own."""
    found: dict[str, str] = {}
    for value in values:
        for match in _PREFERENCE.finditer(value.decode("latin-1")):
            quoted = match["quoted"]
            text = (match["value"] or "") if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            found.setdefault(match["name"].lower(), text)
    return found
