"""Holds a configuration against what Kong itself would take without a word, and against the contract's table.

Kong loads a path that is no regex, an old format, or a route that hides another, and then does something else.
"""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from typing import Any

from ghasi.contract.kong.entities import FORMAT_VERSION, Entity, path_of
from ghasi.contract.row import Auth
from ghasi.contract.table import ROWS

_SECRET_NAME = re.compile(r"(secret|password|token)$")
_PRIVATE = re.compile(r"PRIVATE KEY|://[^/\s]*:[^/\s]*@")


def faults_of(document: Entity) -> list[str]:
    """Return what is wrong with a configuration, a sentence each; none when all is well."""
    return [*_form(document), *_names(document), *_paths(document), *_rows(document), *_secrets(document, "")]


def routes_of(document: Entity) -> list[Entity]:
    """Return all routes, those of services first, each with its service's name as `service` where it has one."""
    nested = [
        route | {"service": service["name"]}
        for service in document.get("services", [])
        for route in service.get("routes", [])
    ]
    return [*nested, *document.get("routes", [])]


def _form(document: Entity) -> Iterator[str]:
    if document.get("_format_version") != FORMAT_VERSION:
        yield f"_format_version is not {FORMAT_VERSION!r}"
    for service in document.get("services", []):
        times = [service.get(f"{kind}_timeout") for kind in ("connect", "write", "read")]
        if not all(isinstance(time, int) and time > 0 for time in times):
            yield f"service {service['name']}: a time-out is missing"
        if "retries" not in service:
            yield f"service {service['name']}: retries default to 5"


def _names(document: Entity) -> Iterator[str]:
    for kind, entities in (
        ("service", document.get("services", [])),
        ("route", routes_of(document)),
        ("upstream", document.get("upstreams", [])),
    ):
        for name, count in Counter(entity.get("name") for entity in entities).items():
            if name is None or not re.fullmatch(r"[\w.~-]+", name):
                yield f"a {kind} is called {name!r}"
            if count > 1:
                yield f"{count} {kind}s are called {name}"


def _paths(document: Entity) -> Iterator[str]:
    routes = routes_of(document)
    for route in routes:
        if route.get("strip_path") is not False:
            yield f"route {route['name']}: strip_path defaults to true"
        if "HEAD" in route.get("methods", ["HEAD"]):
            yield f"route {route['name']}: it takes methods that the contract has not"
        for path in route.get("paths", [""]):
            if not (path.startswith("~/") and path.endswith("$")):
                yield f"route {route['name']}: {path} is no anchored regex"
    for one, other in combinations(routes, 2):
        if _compete(one, other) and _overlap(one["paths"][0], other["paths"][0]):
            yield f"routes {one['name']} and {other['name']} match the same requests"


def _compete(one: Entity, other: Entity) -> bool:
    alike = ("methods", "headers", "regex_priority")
    return all(one.get(name) == other.get(name) for name in alike)


def _overlap(one: str, other: str) -> bool:
    """Say whether two of our paths can match the same request: a pattern stands for one whole part, any one."""
    pattern = "*"
    ours, theirs = (path.replace("[^/]+", pattern).split("/") for path in (one[1:-1], other[1:-1]))
    return len(ours) == len(theirs) and all(a == b or pattern in {a, b} for a, b in zip(ours, theirs, strict=True))


def _rows(document: Entity) -> Iterator[str]:
    served: Counter[tuple[str, str, bool]] = Counter()
    for route in routes_of(document):
        if "service" not in route:
            continue
        by_key = "headers" in route
        guarded = any(plugin["name"] == "jwt" for plugin in route.get("plugins", []))
        served.update((method, path, by_key) for method in route.get("methods", []) for path in route["paths"])
        tags = set(route.get("tags", []))
        if by_key is not ("ghasi:api-key" in tags) or guarded is not ("ghasi:user-token" in tags):
            yield f"route {route['name']}: its tags say something else than its plugins"
    wanted = Counter(
        (row.method, path_of(row), by_key)
        for row in ROWS
        for by_key in ((False, True) if row.auth is Auth.BEARER else (False,))
    )
    for method, path, by_key in sorted((wanted - served) + (served - wanted)):
        yield f"{method} {path}{' for API keys' if by_key else ''} is not in the table, or not once in the routes"


def _secrets(value: Any, name: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _secrets(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from _secrets(item, name)
    elif isinstance(value, str):
        if _SECRET_NAME.search(name) and not value.startswith("{vault://"):
            yield f"{name} has a secret in it"
        if _PRIVATE.search(value):
            yield f"{name or 'a value'} has a secret in it"
