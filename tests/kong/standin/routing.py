"""The router of the flavour `traditional_compatible`: every route is an expression and a priority."""

import re
from functools import cache
from typing import Any
from urllib.parse import unquote

import re2

Entity = dict[str, Any]
Headers = list[tuple[str, str]]
FIRST_HEADERS = 100
_UNRESERVED = re.compile(r"%([0-9A-Fa-f]{2})")


class Router:
    """Finds a request's route; two of one priority that both match would be Kong's to choose, and are a fault here."""

    def __init__(self, routes: list[Entity]) -> None:
        self._routes = sorted(routes, key=_priority, reverse=True)

    def find(self, method: str, path: str, headers: Headers) -> Entity | None:
        matching = [route for route in self._routes if _matches(route, method, path, headers)]
        if len(matching) > 1:
            assert _priority(matching[0]) > _priority(matching[1]), [route["name"] for route in matching[:2]]
        return matching[0] if matching else None


def _priority(route: Entity) -> tuple[int, int, bool, int, int]:
    """How many kinds of criteria, how many headers, a regex before a prefix, its own priority, the longest prefix."""
    kinds = sum(bool(route[name]) for name in ("methods", "hosts", "headers", "paths"))
    paths = route["paths"] or [""]
    regex = paths[0].startswith("~")
    return (
        kinds,
        len(route["headers"] or {}),
        regex,
        route["regex_priority"] if regex else 0,
        0 if regex else len(paths[0]),
    )


def _matches(route: Entity, method: str, path: str, headers: Headers) -> bool:
    if route["methods"] and method not in route["methods"]:
        return False
    if route["paths"] and not any(_path_matches(pattern, path) for pattern in route["paths"]):
        return False
    return all(_header_matches(name, values, headers) for name, values in (route["headers"] or {}).items())


def _path_matches(pattern: str, path: str) -> bool:
    if pattern.startswith("~"):
        return _regex("^" + pattern[1:]).search(path) is not None
    return path.startswith(pattern)


def _header_matches(name: str, wanted: list[str], headers: Headers) -> bool:
    """Any value of the header, in lower case, against the wanted ones, in lower case too, even where one is a regex."""
    spelled = name.lower().replace("-", "_")
    values = [value.lower() for key, value in headers[:FIRST_HEADERS] if key.lower().replace("-", "_") == spelled]
    for want in wanted:
        if want.startswith("~*"):
            if any(_regex(want[2:].lower()).search(value) for value in values):
                return True
        elif want.lower() in values:
            return True
    return False


_regex = cache(re2.compile)


def normalized(path: str) -> str:
    """The path as the router sees it: what needs no escape is unescaped, dots are resolved, slashes merged."""

    def plain(found: re.Match[str]) -> str:
        character = unquote(found[0], "latin-1")
        return character if character.isascii() and (character.isalnum() or character in "-._~") else found[0].upper()

    parts: list[str] = []
    text = _UNRESERVED.sub(plain, path)
    for part in text.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in {"", "."}:
            parts.append(part)
    ends = "/" if text.endswith(("/", "/.", "/..")) and parts else ""
    return "/" + "/".join(parts) + ends
