"""Compares what two schemas allow, down to every field; what a reference leads to is compared once, however often used.

Owns the walk. Whether a finding breaks anyone depends on whether it is a request's or an answer's, and is the table's
business.
"""

import json
from dataclasses import dataclass, field, replace
from typing import Any

from ghasi.contract.comparing.documents import Document, Json
from ghasi.contract.comparing.kinds import Direction
from ghasi.contract.comparing.shapes import Shape, bounds, is_tighter, read_shape

Pair = tuple[str, str]
RULES = (
    "pattern", "format", "multipleOf", "uniqueItems", "not", "if", "then", "else", "contains", "minContains",
    "maxContains", "propertyNames", "patternProperties", "dependentRequired", "dependentSchemas", "prefixItems",
    "unevaluatedItems", "unevaluatedProperties", "contentEncoding", "contentMediaType",
)  # fmt: skip
"""Keywords that are compared as they stand: another one may allow more or less."""
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Finding:
    """A change at a place; `old` and `new` say from what to what, where that is more than its coming or going."""

    kind: str
    place: str
    old: str | None = None
    new: str | None = None


@dataclass(slots=True)
class _Compared:
    """What two schemas were found to differ in, and the pairs of components that they lead to."""

    findings: list[Finding] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)


class Schemas:
    """Compares the schemas of two documents."""

    def __init__(self, old: Document, new: Document) -> None:
        self._old, self._new = old, new
        self._components: dict[tuple[Direction, Pair], _Compared] = {}
        # by identity, and with what is identified, so that it stays what it is
        self._known: dict[tuple[int, int, Direction, str], tuple[Any, Any, list[Finding]]] = {}

    def compare(self, old: Any, new: Any, direction: Direction, place: str) -> list[Finding]:
        """Return what is found in two schemas and all that they lead to; a component's places begin with its name."""
        key = (id(old), id(new), direction, place)
        if key not in self._known:  # a header's schema comes with every answer
            self._known[key] = old, new, self._compare(old, new, direction, place)
        return self._known[key][2]

    def _compare(self, old: Any, new: Any, direction: Direction, place: str) -> list[Finding]:
        compared = _Walk(self._old, self._new, direction).run(old, new, place)
        findings, waiting, seen = [*compared.findings], [*compared.pairs], set(compared.pairs)
        while waiting:
            pair = waiting.pop()
            component = self._component(direction, pair)
            findings += component.findings
            waiting += [further for further in component.pairs if further not in seen]
            seen.update(component.pairs)
        return findings

    def _component(self, direction: Direction, pair: Pair) -> _Compared:
        known = self._components.get((direction, pair))
        if known is None:
            walk = _Walk(self._old, self._new, direction)
            old, new = self._old.find(pair[0]), self._new.find(pair[1])
            known = self._components[direction, pair] = walk.run(old, new, _component_name(pair))
        return known


def _component_name(pair: Pair) -> str:
    names = sorted({reference.rpartition("/")[2] for reference in pair})
    return "/".join(names)


class _Walk:
    """One walk through two schemas, up to the references in them."""

    def __init__(self, old: Document, new: Document, direction: Direction) -> None:
        self._old, self._new, self._direction = old, new, direction
        self._compared = _Compared()
        self._within: list[tuple[Any, Any]] = []

    def run(self, old: Any, new: Any, place: str) -> _Compared:
        self._compare(old, new, place)
        return self._compared

    def _find(self, kind: str, place: str, old: Any = _MISSING, new: Any = _MISSING) -> None:
        self._compared.findings.append(Finding(f"{self._direction} {kind}", place, _text(old), _text(new)))

    def _compare(self, old: Any, new: Any, place: str) -> None:
        if (old, new) in self._within:
            return  # it is being compared already, by a reference with something beside it
        self._within.append((old, new))
        self._compare_once(old, new, place)
        self._within.pop()

    def _compare_once(self, old: Any, new: Any, place: str) -> None:
        one, other = read_shape(self._old, old), read_shape(self._new, new)
        if one.reference is not None and other.reference is not None:
            if (pair := (one.reference, other.reference)) not in self._compared.pairs:
                self._compared.pairs.append(pair)
            self._compare_null(one, other, place)
            return
        self._compare_shapes(_followed(self._old, one), _followed(self._new, other), place)

    def _compare_null(self, old: Shape, new: Shape, place: str) -> None:
        if old.nullable != new.nullable:
            self._find("null added" if new.nullable else "null taken away", place)

    def _compare_shapes(self, old: Shape, new: Shape, place: str) -> None:
        self._compare_null(old, new, place)
        if old.choices or new.choices:
            self._compare_choices(old, new, place)
            return
        if not self._compare_types(old, new, place):
            return
        self._compare_values(old, new, place)
        self._compare_bounds(old.schema, new.schema, place)
        self._compare_rules(old.schema, new.schema, place)
        if "array" in old.types & new.types:
            self._compare(old.schema.get("items", {}), new.schema.get("items", {}), f"{place}[]")
        if "object" in old.types & new.types:
            self._compare_fields(old.schema, new.schema, place)
            self._compare_other_fields(old.schema, new.schema, place)

    def _compare_types(self, old: Shape, new: Shape, place: str) -> bool:
        """Say whether the rest is comparable."""
        if old.types == new.types:
            return True
        comparable = old.types <= new.types or new.types <= old.types
        kind = "changed" if not comparable else "narrowed" if new.types < old.types else "widened"
        self._find(f"type {kind}", place, _types_text(old), _types_text(new))
        return comparable and bool(old.types and new.types)

    def _compare_values(self, old: Shape, new: Shape, place: str) -> None:
        if old.values is None and new.values is None:
            return
        if old.values is None or new.values is None:
            self._find("values listed" if old.values is None else "values left open", place)
            return
        for value in sorted(old.values - new.values):
            self._find("value removed", f"{place} {value}")
        for value in sorted(new.values - old.values):
            self._find("value added", f"{place} {value}")

    def _compare_bounds(self, old: Json, new: Json, place: str) -> None:
        before, after = bounds(old), bounds(new)
        for name in sorted(before.keys() | after.keys()):
            one, other = before.get(name), after.get(name)
            if one != other:
                kind = "bound tightened" if is_tighter(name, one, other) else "bound loosened"
                self._find(kind, f"{place} {name}", before.get(name, _MISSING), after.get(name, _MISSING))

    def _compare_rules(self, old: Json, new: Json, place: str) -> None:
        for name in RULES:
            one, other = old.get(name, _MISSING), new.get(name, _MISSING)
            if one != other:
                kind = "rule added" if one is _MISSING else "rule dropped" if other is _MISSING else "rule changed"
                self._find(kind, f"{place} {name}", one, other)
        if old.get("default", _MISSING) != new.get("default", _MISSING):
            self._find("default changed", place, old.get("default", _MISSING), new.get("default", _MISSING))

    def _compare_fields(self, old: Json, new: Json, place: str) -> None:
        before, after = old.get("properties", {}), new.get("properties", {})
        was_required, is_required = set(old.get("required", ())), set(new.get("required", ()))
        for name in before.keys() - after.keys():
            self._find(f"{'required ' if name in was_required else ''}field removed", f"{place}.{name}")
        for name in after.keys() - before.keys():
            self._find(f"{'required ' if name in is_required else ''}field added", f"{place}.{name}")
        came_or_went = before.keys() ^ after.keys()
        for name in (was_required ^ is_required) - came_or_went:
            self._find("field required" if name in is_required else "field optional", f"{place}.{name}")
        for name in before.keys() & after.keys():
            self._compare(before[name], after[name], f"{place}.{name}")

    def _compare_other_fields(self, old: Json, new: Json, place: str) -> None:
        before, after = old.get("additionalProperties", True), new.get("additionalProperties", True)
        if (before is False) != (after is False):
            self._find("other fields allowed" if before is False else "other fields refused", place)
        elif before is not False:
            self._compare(before, after, f"{place}.*")

    def _compare_choices(self, old: Shape, new: Shape, place: str) -> None:
        """Compare choices that correspond: first those that are the same, then those of one name, then of one type."""
        before, after = [*(old.choices or [old.schema])], [*(new.choices or [new.schema])]
        for key in (_as_json, _name, _type):
            for one in [*before]:
                other = next((it for it in after if key(it) is not None and key(it) == key(one)), None)
                if other is not None:
                    before.remove(one)
                    after.remove(other)
                    self._compare(one, other, place)
        for choice in before:
            self._find("alternative removed", f"{place} {_name(choice) or _type(choice) or _as_json(choice)}")
        for choice in after:
            self._find("alternative added", f"{place} {_name(choice) or _type(choice) or _as_json(choice)}")


def _followed(document: Document, shape: Shape) -> Shape:
    if shape.reference is None:
        return shape
    found = read_shape(document, {"$ref": shape.reference}, follow=True)
    return replace(found, nullable=found.nullable or shape.nullable)


def _as_json(choice: Any) -> str | None:
    return json.dumps(choice, sort_keys=True)


def _name(choice: Any) -> str | None:
    if not isinstance(choice, dict):
        return None
    if "allOf" in choice:
        return _name(choice["allOf"][-1])
    named = choice.get("$ref", choice.get("title"))
    return named.rpartition("/")[2] if isinstance(named, str) else None


def _type(choice: Any) -> str | None:
    return json.dumps(choice["type"]) if isinstance(choice, dict) and "type" in choice else None


def _types_text(shape: Shape) -> Any:
    # every number is an integer's type too: it needs no word of its own
    names = sorted(shape.types - {"integer"} if "number" in shape.types else shape.types)
    return names[0] if len(names) == 1 else names


def _text(value: Any) -> str | None:
    if value is _MISSING:
        return None
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
