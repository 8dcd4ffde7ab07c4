"""Compares two OpenAPI documents operation by operation: routes, auth, limits, time-outs, parameters, bodies, answers.

Owns which parts of a document are the contract. A change of a shape that many operations use is one change.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ghasi.contract.comparing.documents import Document, DocumentUnreadable, Json, Operation
from ghasi.contract.comparing.kinds import LEVELS, MIRRORS, Direction, Level
from ghasi.contract.comparing.parts import LIMIT, NUMBERS, compare_auth, compare_limits, compare_numbers
from ghasi.contract.comparing.schemas import Finding, Schemas

_IDEMPOTENCY = ("header", "idempotency-key")
_PROBLEM = "application/problem+json"
_ERROR_CODES = {_PROBLEM: ("code", "error code")}
_EVENT_TYPES = {"application/json": ("type", "event")}
"""Fields whose values are not just a field's values, by media type, and what each value is."""
_ORDER = list(Level)


@dataclass(frozen=True, slots=True)
class Change:
    """One change: what kind it is of, at which place, from what to what, and the routes that it concerns."""

    kind: str
    place: str
    old: str | None
    new: str | None
    routes: tuple[str, ...]

    @property
    def level(self) -> Level:
        """What it does to clients of the older version."""
        return LEVELS[self.kind]

    def mirrored(self) -> "Change":
        """Return what it is from the newer version to the older one."""
        return Change(MIRRORS[self.kind], self.place, self.new, self.old, self.routes)


def compare(old: Document, new: Document) -> list[Change]:
    """Return what changed, what breaks first; nothing for documents that allow and promise the same.

    Raises DocumentUnreadable where a document turns out to be none.
    """
    routes: dict[Finding, dict[str, None]] = {}
    try:
        for route, finding in _compare(old, new):
            routes.setdefault(finding, {}).setdefault(route)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        # JSON of the right outline can be wrong in a thousand places: a list for an object, a text for a limit
        raise DocumentUnreadable(f"{old.source} or {new.source} is no valid OpenAPI document: {error}") from error
    changes = [
        Change(finding.kind, finding.place, finding.old, finding.new, tuple(sorted(found)))
        for finding, found in routes.items()
    ]
    return sorted(changes, key=lambda it: (_ORDER.index(it.level), it.kind, it.place, it.routes, str(it.old)))


def _compare(old: Document, new: Document) -> Iterator[tuple[str, Finding]]:
    schemas = Schemas(old, new)
    for finding in _gone("server", _servers(old), _servers(new)):
        yield "", finding
    before, after = old.operations(), new.operations()
    for key in _ordered(before, after):
        one, other = before.get(key), after.get(key)
        if one is not None and other is not None:
            for finding in _Operations(old, new, schemas, one, other).compare():
                yield one.route if one.route == other.route else f"{one.route} -> {other.route}", finding
        else:
            known = one or other
            paths = {path for _, path in (after if other is None else before)}
            kind = "method" if key[1] in paths else "route"
            if known is not None:
                yield known.route, Finding(f"{kind} {'removed' if other is None else 'added'}", known.route)
    yield from _compare_events(old, new, schemas)


def _servers(document: Document) -> set[str]:
    return {str(server.get("url")).rstrip("/") for server in document.content.get("servers", [])}


def _compare_events(old: Document, new: Document, schemas: Schemas) -> Iterator[tuple[str, Finding]]:
    before, after = old.events(), new.events()
    for name in _ordered(before, after):
        one, other = before.get(name), after.get(name)
        if one is not None and other is not None:
            for finding in _Operations(old, new, schemas, one, other).compare_event():
                yield one.route, finding
        elif (known := one or other) is not None:
            yield known.route, Finding(f"event {'removed' if other is None else 'added'}", known.path)


class _Operations:
    """Compares one operation of two documents."""

    def __init__(self, old: Document, new: Document, schemas: Schemas, one: Operation, other: Operation) -> None:
        self._old, self._new, self._schemas = old, new, schemas
        self._one, self._other = one, other

    def compare(self) -> Iterator[Finding]:
        one, other = self._one.content, self._other.content
        if (before := one.get("operationId")) != (after := other.get("operationId")):
            yield Finding("operation renamed", "operationId", before, after)
        if (deprecated := other.get("deprecated", False)) != one.get("deprecated", False):
            yield Finding(f"operation {'' if deprecated else 'no longer '}deprecated", "operation")
        yield from compare_auth(self._old, self._new, one, other)
        if self._both_say(LIMIT):
            yield from compare_limits(one, other)
        for name in filter(self._both_say, NUMBERS):
            yield from compare_numbers(name, one, other)
        if (before := one.get("x-ghasi-upstream")) != (after := other.get("x-ghasi-upstream")):
            yield Finding("upstream changed", "upstream", _listed(before), _listed(after))
        yield from self._compare_parameters("request")
        yield from self._compare_request()
        yield from self._compare_responses()

    def _both_say(self, extension: str) -> bool:
        """Say whether both documents say such a thing at all: what one leaves open is no limit that came or went."""
        return extension in self._old.extensions and extension in self._new.extensions

    def compare_event(self) -> Iterator[Finding]:
        """Compare what an endpoint is sent: to its receiver it is an answer."""
        yield from self._compare_parameters("response")
        old, new = self._body(self._old, self._one), self._body(self._new, self._other)
        if old is not None and new is not None:
            yield from self._compare_content(old, new, "response", "event", apart=_EVENT_TYPES)

    # parameters

    def _compare_parameters(self, direction: Direction) -> Iterator[Finding]:
        before, after = _parameters(self._old, self._one), _parameters(self._new, self._other)
        for key in _ordered(before, after):
            one, other = before.get(key), after.get(key)
            place = f"{key[0]} parameter {key[1]}"
            if one is not None and other is not None:
                if (required := other.get("required", False)) != one.get("required", False):
                    yield Finding(f"parameter {'required' if required else 'optional'}", place)
                yield from self._schemas.compare(one.get("schema", {}), other.get("schema", {}), direction, place)
                continue
            known, verb = (one or {}, "removed") if other is None else (other, "added")
            if key == _IDEMPOTENCY:
                yield Finding(f"idempotency {'taken away' if other is None else 'added'}", "Idempotency-Key")
            elif direction == "response":
                yield Finding(f"response header {verb}", str(known.get("name")))
            else:
                yield Finding(f"{'required ' if known.get('required') else ''}parameter {verb}", place)

    # bodies

    def _compare_request(self) -> Iterator[Finding]:
        old, new = self._body(self._old, self._one), self._body(self._new, self._other)
        if old is None and new is None:
            return
        if old is None or new is None:
            known, verb = (old or {}, "removed") if new is None else (new, "added")
            yield Finding(f"{'required ' if known.get('required') else ''}request body {verb}", "request")
            return
        if (required := new.get("required", False)) != old.get("required", False):
            yield Finding(f"request body {'required' if required else 'optional'}", "request")
        yield from self._compare_content(old, new, "request", "request")

    @staticmethod
    def _body(document: Document, operation: Operation) -> Json | None:
        body = operation.content.get("requestBody")
        return None if body is None else document.resolve(body)

    def _compare_content(
        self,
        old: Json,
        new: Json,
        direction: Direction,
        place: str,
        apart: Mapping[str, tuple[str, str]] = _ERROR_CODES,
    ) -> Iterator[Finding]:
        before, after = old.get("content", {}), new.get("content", {})
        yield from _gone(f"{direction} media type", set(before), set(after), place)
        for media in _ordered(before, after):
            if media in before and media in after:
                one, other = before[media].get("schema", {}), after[media].get("schema", {})
                if media in apart:
                    field, kind = apart[media]
                    (one, values), (other, new_values) = _take_apart(one, field), _take_apart(other, field)
                    yield from _gone(kind, values, new_values, place)
                yield from self._schemas.compare(one, other, direction, place)

    # answers

    def _compare_responses(self) -> Iterator[Finding]:
        before, after = self._one.content.get("responses", {}), self._other.content.get("responses", {})
        for status in _ordered(before, after):
            place = f"answer {status}"
            if status not in before or status not in after:
                kind = "success status" if status.startswith("2") else "status"
                yield Finding(f"{kind} {'removed' if status in before else 'added'}", place)
                yield from self._codes_alone(status)
                continue
            old, new = self._old.resolve(before[status]), self._new.resolve(after[status])
            yield from self._compare_headers(old, new, place)
            yield from self._compare_content(old, new, "response", place)

    def _codes_alone(self, status: str) -> Iterator[Finding]:
        """Name the error codes that came or went with their status."""
        for document, operation, verb in ((self._old, self._one, "removed"), (self._new, self._other, "added")):
            answer = operation.content.get("responses", {}).get(status)
            if answer is not None:
                problem = document.resolve(answer).get("content", {}).get(_PROBLEM, {})
                for code in sorted(_take_apart(problem.get("schema", {}), "code")[1]):
                    yield Finding(f"error code {verb}", f"answer {status} {code}")

    def _compare_headers(self, old: Json, new: Json, place: str) -> Iterator[Finding]:
        before = {name.lower(): (name, value) for name, value in old.get("headers", {}).items()}
        after = {name.lower(): (name, value) for name, value in new.get("headers", {}).items()}
        for key in _ordered(before, after):
            if key in before and key in after:
                one, other = self._old.resolve(before[key][1]), self._new.resolve(after[key][1])
                header = f"header {before[key][0]}"
                yield from self._schemas.compare(one.get("schema", {}), other.get("schema", {}), "response", header)
            else:
                verb = "removed" if key in before else "added"
                yield Finding(f"response header {verb}", f"{place} {(before.get(key) or after[key])[0]}")


def _ordered(*mappings: Mapping[Any, Any]) -> list[Any]:
    """Return the keys of all, each once, in their order."""
    return list(dict.fromkeys(key for mapping in mappings for key in mapping))


def _gone(kind: str, old: Iterable[str], new: Iterable[str], place: str = "") -> Iterator[Finding]:
    before, after = set(old), set(new)
    for name in sorted(before - after):
        yield Finding(f"{kind} removed", f"{place} {name}".strip())
    for name in sorted(after - before):
        yield Finding(f"{kind} added", f"{place} {name}".strip())


def _listed(value: Any) -> str | None:
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _parameters(document: Document, operation: Operation) -> dict[tuple[str, str], Json]:
    """Return the parameters by where they are and their name; one of the path by its position, for it has no other."""
    parts = [part for part in operation.path.split("/") if "{" in part]
    found = {}
    for value in [*operation.item.get("parameters", []), *operation.content.get("parameters", [])]:
        parameter = document.resolve(value)
        name, where = str(parameter.get("name")), str(parameter.get("in"))
        if where == "path":
            name = str(next((number for number, part in enumerate(parts, 1) if f"{{{name}}}" in part), name))
        found[where, name.lower() if where == "header" else name] = parameter
    return found


def _take_apart(schema: Any, field: str) -> tuple[Any, set[str]]:
    """Return a schema without the field whose values stand for something themselves, and those values."""
    fields = schema.get("properties", {}) if isinstance(schema, dict) else {}
    listed = fields.get(field, {}).get("enum")
    if not isinstance(listed, list):
        return schema, set()
    rest = {name: value for name, value in fields.items() if name != field}
    shape = {name: value for name, value in schema.items() if name != "properties"}
    return (shape | {"properties": rest} if rest else shape), set(map(str, listed))
