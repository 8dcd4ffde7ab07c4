"""What a JSON Schema allows, in one form whichever way it is written: allOf merged, null apart, choices in a list.

Owns the keywords' equivalences. Compares nothing.
"""

import json
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Any

from ghasi.contract.comparing.documents import Document, DocumentUnreadable, Json

ALL_TYPES = frozenset({"array", "boolean", "integer", "number", "object", "string"})
ANNOTATIONS = frozenset(
    {"title", "description", "example", "examples", "deprecated", "readOnly", "writeOnly", "externalDocs", "xml",
     "$comment", "$schema", "$id", "discriminator"}
)  # fmt: skip
"""Keywords that allow and forbid nothing."""
_LOWER = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"})
_UPPER = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"})
_MOST_DEPTH = 100
_OF_TYPE = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
_NOTHING_BOUND = {"minLength", "minItems", "minProperties"}


@dataclass(frozen=True, slots=True)
class Shape:
    """A schema taken apart. With `reference` set the rest is still to be read there; only `nullable` may be true.

    `types` are those it allows save null, `values` the only ones it allows, as JSON, None where there are many. Where
    one of several has to fit, they are `choices`, and there is nothing else.
    """

    nullable: bool
    reference: str | None = None
    types: frozenset[str] = ALL_TYPES
    values: frozenset[str] | None = None
    schema: Json = field(default_factory=dict)
    choices: tuple[Any, ...] = ()


def read_shape(document: Document, schema: Any, *, follow: bool = False) -> Shape:
    """Take a schema apart; with `follow` a reference is read, so that the shape has none."""
    return _read(document, schema, follow=follow, depth=0)


def _read(document: Document, schema: Any, *, follow: bool, depth: int) -> Shape:
    if depth > _MOST_DEPTH:
        raise DocumentUnreadable(f"{document.source} has schemas that go in a circle")
    flat = _flatten(document, schema, follow=follow, depth=depth)
    if "$ref" in flat:
        return Shape(nullable=False, reference=flat["$ref"])
    choices, nullable = _choices(flat)
    rest = {name: value for name, value in flat.items() if name != "anyOf"}
    if nullable and rest:  # null has to pass what stands beside the choice too
        nullable = _read(document, rest, follow=True, depth=depth + 1).nullable
    if len(choices) == 1:
        # not a choice at all: {"anyOf": [{...}, {"type": "null"}]} is how null is most often allowed
        only = choices[0] if not rest else {"allOf": [rest, choices[0]]}
        shape = _read(document, only, follow=follow, depth=depth + 1)
        return replace(shape, nullable=True) if nullable else shape
    if choices and not rest and all(isinstance(choice, dict) and set(choice) == {"type"} for choice in choices):
        listed = [_types(choice) for choice in choices]
        types = frozenset[str]().union(*(types for types, _ in listed))
        return Shape(nullable or any(null for _, null in listed), types=_widened(types))
    if "anyOf" in flat and not choices:
        return Shape(nullable, types=frozenset())
    if choices:
        # what stands beside a choice holds for each of them
        return Shape(nullable, choices=tuple({"allOf": [rest, choice]} if rest else choice for choice in choices))
    types, null_typed = _types(flat)
    values, null_value = _values(flat)
    if values is not None:
        nullable = null_value
        types = frozenset(_OF_TYPE[type(json.loads(value))] for value in values) if "type" not in flat else types
    else:
        nullable = null_typed
    return Shape(nullable, None, _widened(types), values, rest)


def _flatten(document: Document, schema: Any, *, follow: bool, depth: int) -> Json:
    """Merge allOf, and a reference with what stands beside it; a reference that stands alone is kept, or followed."""
    if depth > _MOST_DEPTH:
        raise DocumentUnreadable(f"{document.source} has schemas that go in a circle")
    if schema is True or schema is None:
        return {}
    if schema is False:
        return {"type": []}
    if not isinstance(schema, dict):
        raise DocumentUnreadable(f"{document.source} has {json.dumps(schema)[:60]} where a schema belongs")
    flat = {name: value for name, value in schema.items() if name not in ANNOTATIONS and not name.startswith("x-")}
    parts = flat.pop("allOf", [])
    if "oneOf" in flat:  # of which one fits, as of anyOf one does at least
        parts = [*parts, {"anyOf": flat.pop("oneOf")}]
    reference = flat.pop("$ref", None)
    if reference is not None and not flat and not parts and not follow:
        return {"$ref": reference}
    if reference is not None:
        parts = [document.find(reference), *parts]
    parts = [part for part in parts if not _says_nothing(part)]
    if len(parts) == 1 and not flat and reference is None:
        return _flatten(document, parts[0], follow=follow, depth=depth + 1)
    for part in parts:
        flat = _merge(flat, _flatten(document, part, follow=True, depth=depth + 1))
    return flat


def _says_nothing(schema: Any) -> bool:
    return isinstance(schema, dict) and all(name in ANNOTATIONS or name.startswith("x-") for name in schema)


def _merge(one: Json, other: Json) -> Json:
    """Return a schema that allows what both do, as far as keywords can say it."""
    merged = {**other, **one}
    for name in one.keys() & other.keys():
        if one[name] != other[name]:
            merged[name] = _merge_keyword(name, one[name], other[name])
    return merged


def _merge_keyword(name: str, mine: Any, others: Any) -> Any:
    if name == "properties":
        both = [key for key in mine.keys() & others.keys() if mine[key] != others[key]]
        return {**others, **mine} | {key: {"allOf": [mine[key], others[key]]} for key in both}
    if name in {"items", "additionalProperties"} and False in (mine, others):
        return False
    if name in _MERGES:
        return _MERGES[name](mine, others)
    return {"allOf": sorted((mine, others), key=json.dumps)}


def _listed(types: Any) -> set[str]:
    return set(types if isinstance(types, list) else [types])


def _types(schema: Json) -> tuple[frozenset[str], bool]:
    """Return the types that a schema names, and whether null is one of them (or 3.0's `nullable` says so)."""
    if "type" not in schema:
        return ALL_TYPES, "enum" not in schema and "const" not in schema
    listed = _listed(schema["type"])
    return frozenset(listed - {"null"}), "null" in listed or schema.get("nullable") is True


def _widened(types: AbstractSet[str]) -> frozenset[str]:
    return frozenset(types | {"integer"} if "number" in types else types)


def _values(schema: Json) -> tuple[frozenset[str] | None, bool]:
    """Return the values that a schema lists, without null, and whether null is one of them."""
    listed = [schema["const"]] if "const" in schema else schema.get("enum")
    if not isinstance(listed, list):
        return None, False
    allowed = _types(schema)[1] if "type" in schema else True
    return (
        frozenset(json.dumps(value, sort_keys=True) for value in listed if value is not None),
        allowed and None in listed,
    )


def _choices(schema: Json) -> tuple[list[Any], bool]:
    """Return the choices that are not null, and whether null is one."""
    listed: list[Any] = schema.get("anyOf", [])
    choices = [choice for choice in listed if not (isinstance(choice, dict) and _only_null(choice))]
    return choices, len(choices) < len(listed)


def _only_null(schema: Json) -> bool:
    return _listed(schema.get("type", [])) == {"null"} or schema.get("const", 0) is None or schema.get("enum") == [None]


_MERGES: dict[str, Callable[[Any, Any], Any]] = {
    "required": lambda mine, others: sorted({*mine, *others}),
    "enum": lambda mine, others: [value for value in mine if value in others],
    "type": lambda mine, others: sorted(_widened(_listed(mine)) & _widened(_listed(others))),
    "anyOf": lambda mine, others: [{"allOf": [choice, another]} for choice in mine for another in others],
    **dict.fromkeys(_UPPER, min),
    **dict.fromkeys(_LOWER, max),
}
"""How keywords of allOf's parts come together, where they differ."""


def bounds(schema: Json) -> Json:
    """Return a schema's bounds, without those that bound nothing."""
    names = _LOWER | _UPPER
    return {
        name: value
        for name, value in schema.items()
        if name in names and type(value) in (int, float) and not (name in _NOTHING_BOUND and value <= 0)
    }


def is_tighter(name: str, old: float | None, new: float | None) -> bool:
    """Say whether a bound allows less than before; None is no bound, and the two differ."""
    if old is None or new is None:
        return old is None
    return new > old if name in _LOWER else new < old
