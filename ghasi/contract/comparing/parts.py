"""Compares what an operation asks of its callers and allows them: auth, scopes, limits, time-outs, sizes."""

import json
from collections.abc import Iterator

from ghasi.contract.comparing.documents import Document, Json
from ghasi.contract.comparing.schemas import Finding

LIMIT = "x-ghasi-limit"
NUMBERS = {"x-ghasi-timeout-s": ("time-out", " s"), "x-ghasi-max-body-bytes": ("body size", " bytes")}
"""Extensions of which more is never worse, their names and units."""
_NONE: frozenset[str] = frozenset()
Ways = dict[frozenset[str], frozenset[str]]
"""The ways to call an operation: sets of security schemes, and the scopes that each needs."""


def compare_auth(old: Document, new: Document, one: Json, other: Json) -> Iterator[Finding]:
    """Find what callers must present that they had not to, and the reverse."""
    before, after = _ways(old, one), _ways(new, other)
    lost = [schemes for schemes in before if schemes not in after and _NONE not in after]
    gained = [schemes for schemes in after if schemes not in before and _NONE not in before]
    if lost or (_NONE in before and _NONE not in after):
        yield Finding("auth stricter", "auth", _ways_text(before), _ways_text(after))
    if gained or (_NONE in after and _NONE not in before):
        yield Finding("auth looser", "auth", _ways_text(before), _ways_text(after))
    for schemes in before.keys() & after.keys():
        was, now = before[schemes], after[schemes]
        if now - was:
            yield Finding("scope stricter", "scope", _list(was), _list(now))
        if was - now:
            yield Finding("scope looser", "scope", _list(was), _list(now))
    for name in sorted({name for schemes in before.keys() & after.keys() for name in schemes}):
        old_scheme, new_scheme = _scheme(old, name), _scheme(new, name)
        if old_scheme != new_scheme:
            yield Finding("security scheme changed", f"auth {name}", old_scheme, new_scheme)


def _ways(document: Document, operation: Json) -> Ways:
    listed: list[Json] = operation["security"] if "security" in operation else document.content.get("security", [])
    return {
        frozenset(way): frozenset(scope for scopes in way.values() for scope in scopes) for way in listed
    } or {_NONE: _NONE}  # fmt: skip


def _ways_text(ways: Ways) -> str:
    return " or ".join(sorted(" and ".join(sorted(schemes)) or "none" for schemes in ways))


def _list(scopes: frozenset[str]) -> str:
    return ", ".join(sorted(scopes)) or "none"


def _scheme(document: Document, name: str) -> str:
    known = document.content.get("components", {}).get("securitySchemes", {})
    scheme = document.resolve(known.get(name, {}))
    return json.dumps({key: scheme[key] for key in ("type", "scheme", "in", "name") if key in scheme}, sort_keys=True)


def compare_limits(one: Json, other: Json) -> Iterator[Finding]:
    """Find a limit that lets less or more pass, or counts otherwise."""
    old, new = one.get(LIMIT), other.get(LIMIT)
    if old is None or new is None:
        if old is not None:
            yield Finding("limit dropped", "limit", _limit_text(old), None)
        if new is not None:
            yield Finding("limit introduced", "limit", None, _limit_text(new))
        return
    was, now = old.get("requests", 0) * new.get("window_s", 60), new.get("requests", 0) * old.get("window_s", 60)
    if was != now:
        yield Finding("limit lowered" if now < was else "limit raised", "limit", _limit_text(old), _limit_text(new))
    if (old.get("per"), old.get("window_s")) != (new.get("per"), new.get("window_s")):
        yield Finding("limit counted otherwise", "limit", _limit_text(old), _limit_text(new))
    if old.get("group") != new.get("group"):
        yield Finding("limit shared otherwise", "limit", f"group {old.get('group')}", f"group {new.get('group')}")


def _limit_text(limit: Json) -> str:
    return f"{limit.get('requests')} per {limit.get('per')} in {limit.get('window_s')} s"


def compare_numbers(name: str, one: Json, other: Json) -> Iterator[Finding]:
    """Find what an extension of NUMBERS allows less of, or more."""
    (word, unit), old, new = NUMBERS[name], one.get(name), other.get(name)
    if old == new:
        return
    if old is None or new is None:
        verb = "introduced" if old is None else "dropped"
    else:
        verb = "lowered" if new < old else "raised"
    yield Finding(f"{word} {verb}", word, *(None if value is None else f"{value:.15g}{unit}" for value in (old, new)))
