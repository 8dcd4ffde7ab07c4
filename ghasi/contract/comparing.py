"""Compares two versions of the contract, as OpenAPI documents, and says what a client of the old one would notice.

Owns what counts as breaking: a client that kept to the old document, and ignores what it does not know in answers, is
served by the new one as before. Reads documents, and no code: either may be of any version, or of another maker's.
docs/decisions/0030-contract-diff-and-mock.md says why no library does this.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Json = dict[str, Any]
_METHODS = ("get", "put", "post", "delete", "patch", "head", "options", "trace")
_LOWER, _UPPER = ("minimum", "exclusiveMinimum", "minLength", "minItems"), (
    "maximum", "exclusiveMaximum", "maxLength", "maxItems",
)  # fmt: skip
_TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")


class Weight(StrEnum):
    """What a change does to a client of the old version; `risky` breaks one that was written too narrowly."""

    BREAKING = "breaking"
    RISKY = "risky"
    HARMLESS = "harmless"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference: `where` is a route or an event, `what` a sentence that names the part."""

    weight: Weight
    where: str
    what: str


class NotAContractError(ValueError):
    """The document is no OpenAPI document; the text says what it lacks."""


def compare(old: Json, new: Json) -> list[Change]:
    """Return all changes, breaking ones first, then as the documents order them; raises NotAContractError."""
    for document in (old, new):
        if not isinstance(document, dict) or not isinstance(document.get("paths"), dict):
            raise NotAContractError("it has no `paths`")
    changes = list(dict.fromkeys(_Comparison(old, new).run()))
    return sorted(changes, key=lambda change: list(Weight).index(change.weight))


@dataclass(frozen=True, slots=True)
class _Side:
    """How a schema is used: what a client sends, or what it is answered."""

    asked: bool

    def narrower(self) -> Weight:
        """Less is allowed than before."""
        return Weight.BREAKING if self.asked else Weight.HARMLESS

    def wider(self) -> Weight:
        """More is allowed than before."""
        return Weight.HARMLESS if self.asked else Weight.RISKY


_ASKED, _ANSWERED = _Side(asked=True), _Side(asked=False)


class _Comparison:
    def __init__(self, old: Json, new: Json) -> None:
        self._old, self._new = old, new
        self._seen: set[tuple[str, str, bool, str]] = set()

    def run(self) -> Iterator[Change]:
        for kind, name_of in (("paths", _route), ("webhooks", _event)):
            old, new = (_operations(document.get(kind) or {}, name_of) for document in (self._old, self._new))
            for where, operation in old.items():
                if where not in new:
                    yield Change(Weight.BREAKING, where, "is gone")
                elif kind == "paths":
                    yield from self._operation(where, operation, new[where])
                else:
                    yield from self._body(where, operation, new[where], _ANSWERED)
            for where in new:
                if where not in old:
                    yield Change(Weight.HARMLESS, where, "is new")

    # routes

    def _operation(self, where: str, old: Json, new: Json) -> Iterator[Change]:
        yield from self._callers(where, old, new)
        yield from self._limit(where, old.get("x-ghasi-limit"), new.get("x-ghasi-limit"))
        for name, noun, unit in (
            ("x-ghasi-timeout-s", "time-out", " s"), ("x-ghasi-max-body-bytes", "largest body", " bytes"),
        ):  # fmt: skip
            before, after = old.get(name), new.get(name)
            if before != after and before is not None and after is not None:
                weight = Weight.BREAKING if after < before else Weight.HARMLESS
                yield Change(weight, where, f"{noun}: {before}{unit} -> {after}{unit}")
        yield from self._parameters(where, old, new)
        yield from self._body(where, old, new, _ASKED)
        yield from self._answers(where, old.get("responses") or {}, new.get("responses") or {})

    def _callers(self, where: str, old: Json, new: Json) -> Iterator[Change]:
        before = old.get("security", self._old.get("security")) or [{}]
        after = new.get("security", self._new.get("security")) or [{}]
        for alternative in before:
            if not any(_admits(other, alternative) for other in after):
                yield Change(Weight.BREAKING, where, f"does not take {_caller(alternative)} alone any more")
        for alternative in after:
            if not any(_admits(alternative, other) and _admits(other, alternative) for other in before):
                yield Change(Weight.HARMLESS, where, f"takes {_caller(alternative)}")

    @staticmethod
    def _limit(where: str, old: Json | None, new: Json | None) -> Iterator[Change]:
        if old == new:
            return
        if new is None:
            yield Change(Weight.HARMLESS, where, "has no limit any more")
        elif old is None:
            yield Change(Weight.BREAKING, where, f"is limited: {_pace(new)}")
        else:
            slower = new["requests"] / new["window_s"] < old["requests"] / old["window_s"]
            if _pace(old) != _pace(new):
                weight = Weight.BREAKING if slower or new["per"] != old["per"] else Weight.HARMLESS
                yield Change(weight, where, f"limit: {_pace(old)} -> {_pace(new)}")
            if old["group"] != new["group"]:
                yield Change(Weight.RISKY, where, f"counts as {new['group']}, no longer as {old['group']}")

    def _parameters(self, where: str, old: Json, new: Json) -> Iterator[Change]:
        before, after = self._named(self._old, old), self._named(self._new, new)
        for key, parameter in before.items():
            name = f"{key[0]} parameter {key[1]}"
            other = after.get(key)
            if other is None:
                if key[0] != "path":  # another name in the path is the same path
                    yield Change(Weight.BREAKING, where, f"{name}: is gone")
                continue
            if other.get("required") and not parameter.get("required"):
                yield Change(Weight.BREAKING, where, f"{name}: is required")
            elif parameter.get("required") and not other.get("required"):
                yield Change(Weight.HARMLESS, where, f"{name}: is optional")
            yield from self._schema(where, name, parameter.get("schema") or {}, other.get("schema") or {}, _ASKED)
        for key, parameter in after.items():
            if key not in before and key[0] != "path":
                required = bool(parameter.get("required"))
                weight = Weight.BREAKING if required else Weight.HARMLESS
                yield Change(weight, where, f"{key[0]} parameter {key[1]}: is new{' and required' * required}")

    @staticmethod
    def _named(document: Json, operation: Json) -> dict[tuple[str, str], Json]:
        found = (_resolved(document, one) for one in operation.get("parameters", ()))
        return {(one["in"], one["name"].lower() if one["in"] == "header" else one["name"]): one for one in found}

    def _body(self, where: str, old: Json, new: Json, side: _Side) -> Iterator[Change]:
        before = _resolved(self._old, old.get("requestBody") or {})
        after = _resolved(self._new, new.get("requestBody") or {})
        if side.asked and after.get("required") and not before.get("required"):
            yield Change(Weight.BREAKING, where, "body: is required")
        if side.asked and before.get("required") and not after.get("required"):
            yield Change(Weight.HARMLESS, where, "body: is optional")
        yield from self._content(where, "body", before, after, side)

    def _content(self, where: str, name: str, old: Json, new: Json, side: _Side) -> Iterator[Change]:
        before, after = old.get("content") or {}, new.get("content") or {}
        for media, content in before.items():
            if media not in after:
                yield Change(Weight.BREAKING, where, f"{name}: is no {media} any more")
            else:
                yield from self._schema(
                    where, name, content.get("schema") or {}, after[media].get("schema") or {}, side
                )
        for media in sorted(after.keys() - before.keys()):
            yield Change(Weight.HARMLESS, where, f"{name}: may be {media}")

    def _answers(self, where: str, old: Json, new: Json) -> Iterator[Change]:
        for status, answer in old.items():
            if status not in new:
                yield Change(Weight.BREAKING, where, f"does not answer {status} any more")
                continue
            before, after = _resolved(self._old, answer), _resolved(self._new, new[status])
            headers_before, headers_after = _lowered(before.get("headers")), _lowered(after.get("headers"))
            for header in sorted(headers_before.keys() - headers_after.keys()):
                yield Change(Weight.BREAKING, where, f"{status}: header {headers_before[header]} is gone")
            for header in sorted(headers_after.keys() - headers_before.keys()):
                yield Change(Weight.HARMLESS, where, f"{status}: header {headers_after[header]} is new")
            yield from self._content(where, status, before, after, _ANSWERED)
        for status in sorted(new.keys() - old.keys()):
            weight = Weight.BREAKING if status.startswith("2") and _succeeds(old) else Weight.RISKY
            yield Change(weight, where, f"may answer {status}")

    # schemas

    def _schema(self, where: str, name: str, old: Any, new: Any, side: _Side) -> Iterator[Change]:
        if old == new and not _references(old):
            return
        key = (repr(old), repr(new), side.asked, f"{where} {name}" if not _references(old) else where)
        if key in self._seen:  # it refers to itself, or was named already
            return
        self._seen.add(key)
        before, after = _by_type(self._old, old), _by_type(self._new, new)
        if not before or not after:
            if before and not after:
                yield Change(side.wider(), where, f"{name}: may be anything")
            elif after:
                yield Change(side.narrower(), where, f"{name}: is {_listed(after)}")
            return
        yield from _types(where, name, before.keys(), after.keys(), side)
        for kind in sorted(before.keys() & after.keys()):
            ones, others = before[kind], after[kind]
            if len(ones) == len(others) == 1:
                yield from self._one(where, name, kind, (ones[0], others[0]), side)
            else:
                yield from self._variants(where, name, kind, (ones, others), side)

    def _variants(
        self, where: str, name: str, kind: str, variants: tuple[list[Json], list[Json]], side: _Side
    ) -> Iterator[Change]:
        """Compare several shapes of one type by their order; one more or one less is a change of its own."""
        ones, others = variants
        for number, (one, other) in enumerate(zip(ones, others, strict=False), 1):
            yield from self._one(where, f"{name} (form {number})", kind, (one, other), side)
        if len(others) < len(ones):
            yield Change(side.narrower(), where, f"{name}: has fewer forms of {kind}")
        elif len(others) > len(ones):
            yield Change(side.wider(), where, f"{name}: has more forms of {kind}")

    def _one(self, where: str, name: str, kind: str, pair: tuple[Json, Json], side: _Side) -> Iterator[Change]:
        old, new = pair
        yield from _values(where, name, old, new, side)
        yield from _bounds(where, name, old, new, side)
        for key in ("format", "pattern"):
            if old.get(key) != new.get(key):
                weight = Weight.HARMLESS if side.asked and key not in new else Weight.BREAKING
                if not side.asked and key not in old:
                    weight = Weight.HARMLESS
                yield Change(weight, where, f"{name}: {key} {old.get(key, 'none')} -> {new.get(key, 'none')}")
        if side.asked and old.get("default") != new.get("default"):
            yield Change(Weight.RISKY, where, f"{name}: default {old.get('default')} -> {new.get('default')}")
        if kind == "array":
            yield from self._schema(where, f"{name}[]", old.get("items") or {}, new.get("items") or {}, side)
        if kind == "object":
            yield from self._object(where, name, old, new, side)

    def _object(self, where: str, name: str, old: Json, new: Json, side: _Side) -> Iterator[Change]:
        before, after = old.get("properties") or {}, new.get("properties") or {}
        needed_before, needed_after = set(old.get("required", ())), set(new.get("required", ()))
        for key, schema in before.items():
            field = f"{name}.{key}"
            if key not in after:
                yield Change(Weight.BREAKING, where, f"{field}: is gone")
                continue
            if key in needed_after - needed_before:
                yield Change(side.narrower(), where, f"{field}: is {'required' if side.asked else 'always there'}")
            elif key in needed_before - needed_after:
                weight = Weight.HARMLESS if side.asked else Weight.BREAKING
                yield Change(weight, where, f"{field}: {'is optional' if side.asked else 'may be left out'}")
            yield from self._schema(where, field, schema, after[key], side)
        for key in [key for key in after if key not in before]:
            required = side.asked and key in needed_after
            weight = Weight.BREAKING if required else Weight.HARMLESS
            yield Change(weight, where, f"{name}.{key}: is new{' and required' * required}")
        rest_before, rest_after = old.get("additionalProperties", True), new.get("additionalProperties", True)
        if isinstance(rest_before, dict) and isinstance(rest_after, dict):
            yield from self._schema(where, f"{name}.*", rest_before, rest_after, side)
        elif rest_before != rest_after:
            weight = side.narrower() if rest_after is False else side.wider() if rest_before is False else Weight.RISKY
            yield Change(weight, where, f"{name}.*: other fields are {'not ' * (rest_after is False)}allowed")


def _types(where: str, name: str, before: AbstractSet[str], after: AbstractSet[str], side: _Side) -> Iterator[Change]:
    # every integer is a number
    lost = before - after - ({"integer"} if "number" in after else set())
    gained = after - before - ({"integer"} if "number" in before else set())
    for kind in sorted(lost):
        yield Change(side.narrower(), where, f"{name}: is no {kind} any more")
    for kind in sorted(gained):
        yield Change(Weight.HARMLESS if side.asked else Weight.BREAKING, where, f"{name}: may be {kind}")


def _values(where: str, name: str, old: Json, new: Json, side: _Side) -> Iterator[Change]:
    before, after = _enumerated(old), _enumerated(new)
    if before == after:
        return
    if after is None:
        yield Change(side.wider(), where, f"{name}: may be any value")
    elif before is None:
        yield Change(side.narrower(), where, f"{name}: is one of {', '.join(map(str, after))}")
    else:
        # an error's code that is gone leaves its handling unused; a client that waits for it waits in vain
        for value in [value for value in before if value not in after]:
            weight = Weight.BREAKING if side.asked or name.endswith(".code") else Weight.HARMLESS
            yield Change(weight, where, f"{name}: is never {value} any more")
        for value in [value for value in after if value not in before]:
            yield Change(side.wider(), where, f"{name}: may be {value}")


def _bounds(where: str, name: str, old: Json, new: Json, side: _Side) -> Iterator[Change]:
    for keys, narrower in ((_LOWER, _is_more), (_UPPER, _is_less)):
        for key in keys:
            before, after = old.get(key), new.get(key)
            if before != after:
                weight = side.narrower() if narrower(after, before) else side.wider()
                said = ("none" if value is None else value for value in (before, after))
                yield Change(weight, where, "{}: {} {} -> {}".format(name, key, *said))
    if old.get("multipleOf") != new.get("multipleOf"):
        yield Change(side.narrower(), where, f"{name}: multipleOf {old.get('multipleOf')} -> {new.get('multipleOf')}")


def _is_more(after: Any, before: Any) -> bool:
    return after is not None and (before is None or after > before)


def _is_less(after: Any, before: Any) -> bool:
    return after is not None and (before is None or after < before)


def _enumerated(schema: Json) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    values: list[Any] | None = schema.get("enum")
    return values


def _by_type(document: Json, schema: Any) -> dict[str, list[Json]]:
    """Return the schema's alternatives by JSON type; none where it says nothing."""
    found: dict[str, list[Json]] = {}
    for one in _alternatives(document, schema):
        kinds = one.get("type")
        if kinds is None:
            kinds = _implied(one)
        for kind in [kinds] if isinstance(kinds, str) else kinds:
            found.setdefault(kind, []).append(one)
    return found


def _implied(schema: Json) -> list[str]:
    """Return the types of a schema that names none, by what it says."""
    values = _enumerated(schema)
    if values is not None:
        return sorted({_type_of(value) for value in values})
    if "properties" in schema or "additionalProperties" in schema:
        return ["object"]
    if "items" in schema:
        return ["array"]
    return list(_TYPES) if schema.keys() & {"format", "pattern", *_LOWER, *_UPPER} else []


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    names = {int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names[type(value)]


def _alternatives(document: Json, schema: Any) -> Iterator[Json]:
    whole = _resolved(document, schema)
    for key in ("anyOf", "oneOf"):
        if key in whole:
            rest = {name: value for name, value in whole.items() if name != key}
            for choice in whole[key]:
                for one in _alternatives(document, choice):
                    yield _merged(rest, one)
            return
    if "allOf" in whole:
        merged: Json = {name: value for name, value in whole.items() if name != "allOf"}
        for part in whole["allOf"]:
            for one in _alternatives(document, part):
                merged = _merged(merged, one)
        yield merged
        return
    yield whole


def _merged(one: Json, other: Json) -> Json:
    merged = one | other
    for key in ("properties",):
        if key in one and key in other:
            merged[key] = one[key] | other[key]
    if "required" in one and "required" in other:
        merged["required"] = [*one["required"], *other["required"]]
    return merged


def _resolved(document: Json, thing: Any) -> Json:
    """Follow a $ref within the document; what stands beside it is laid over what it names."""
    if not isinstance(thing, dict):  # true and false are schemas too
        return {} if thing else {"not": {}}
    seen: set[str] = set()
    over: Json = {}
    while "$ref" in thing:
        reference = thing["$ref"]
        over = _merged({name: value for name, value in thing.items() if name != "$ref"}, over)
        if reference in seen:
            raise NotAContractError(f"{reference} refers to itself")
        seen.add(reference)
        thing = document
        for step in reference.removeprefix("#/").split("/"):
            try:
                thing = thing[step.replace("~1", "/").replace("~0", "~")]
            except (KeyError, TypeError):
                raise NotAContractError(f"{reference} is nowhere") from None
    return _merged(thing, over)


def _references(thing: Any) -> bool:
    if isinstance(thing, dict):
        return "$ref" in thing or any(map(_references, thing.values()))
    return isinstance(thing, list) and any(map(_references, thing))


def _operations(paths: Json, name_of: Callable[[str, str], str]) -> dict[str, Json]:
    return {
        name_of(method, path): item[method] | _shared(item, item[method])
        for path, item in paths.items()
        for method in _METHODS
        if method in item
    }


def _shared(item: Json, operation: Json) -> Json:
    """Return an operation's parameters with those of its path."""
    both = [*item.get("parameters", ()), *operation.get("parameters", ())]
    return {"parameters": both} if both else {}


def _route(method: str, path: str) -> str:
    return f"{method.upper()} {re.sub(r'{[^}]*}', '{}', path)}"


def _event(_method: str, name: str) -> str:
    return f"event {name}"


def _admits(new: Mapping[str, Iterable[str]], old: Mapping[str, Iterable[str]]) -> bool:
    """Whether a caller with what `old` asks for has what `new` asks for."""
    return all(name in old and set(scopes) <= set(old[name]) for name, scopes in new.items())


def _caller(alternative: Mapping[str, Iterable[str]]) -> str:
    if not alternative:
        return "no credentials"
    return " and ".join(
        f"{name} ({', '.join(scopes)})" if list(scopes) else name for name, scopes in alternative.items()
    )


def _pace(limit: Json) -> str:
    return f"{limit['requests']} in {limit['window_s']} s per {limit['per']}"


def _lowered(headers: Json | None) -> dict[str, str]:
    return {name.lower(): name for name in headers or {}}


def _succeeds(answers: Json) -> bool:
    return any(status.startswith("2") for status in answers)


def _listed(kinds: Iterable[str]) -> str:
    return " or ".join(sorted(kinds))
