"""Holds JSON against a shape of the contract, strictly: no member is missing, none is unknown, each is written right.

Owns how ids, times and money are told apart by their names. What it says of a fault holds no value, only its kind.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect

_ID = (
    "a UUIDv7",
    re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}|0{8}-0{4}-0{4}-0{4}-0{12}"),
)
"""Or the nil UUID, which a preview has: there is nothing yet that could have an id."""
_TIME = (
    "an RFC 3339 time in UTC with milliseconds and Z",
    re.compile(r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{3}Z", re.ASCII),
)
_AMOUNT = ("a decimal string", re.compile(r"-?\d{1,13}(?:\.\d{1,6})?", re.ASCII))
_CURRENCY = ("an ISO 4217 code", re.compile(r"[A-Z]{3}"))
_AMOUNTS = frozenset(
    {
        "amount", "subtotal", "tax", "total", "paid", "credited", "amount_due", "unit_price", "list_price", "price",
        "base", "to_balance", "balance", "held", "available", "spent", "spending_limit", "own_spending_limit",
        "percent",
    }
)  # fmt: skip
_TIMES = frozenset({"at", "since", "until", "period_start", "period_end", "valid_from", "failing_since"})
_NO_ID = frozenset({"tax_id"})
_KINDS: tuple[tuple[type[inspect.Type], type | tuple[type, ...], str], ...] = (
    (inspect.StrType, str, "a string"),
    (inspect.IntType, int, "a whole number"),
    (inspect.FloatType, (int, float), "a number"),
    (inspect.BoolType, bool, "true or false"),
    (inspect.NoneType, type(None), "null"),
    (inspect.StructType, dict, "an object"),
    (inspect.DictType, dict, "an object"),
    (inspect.ListType, list, "a list"),
)


def find_fault(value: Any, shape: Any) -> tuple[str, str] | None:
    """Return what was expected where, and what is there instead, of the first fault; None where there is none."""
    fault = next(_walk(value, inspect.type_info(shape), "$", ""), None)
    if fault is not None:
        return fault
    try:
        msgspec.convert(value, shape)  # what bounds a field besides: patterns and lengths
    except msgspec.ValidationError as error:
        return "the contract's shape", re.sub(r"'[^']*'", "another value", str(error))
    return None


def _walk(value: Any, declared: inspect.Type, path: str, name: str) -> Iterator[tuple[str, str]]:
    fitting = next((choice for choice in _choices(declared) if _fits(value, choice)), None)
    if fitting is None:
        yield f"{path}: {' or '.join(map(_name, _choices(declared)))}", _kind(value)
    elif isinstance(fitting, inspect.StructType):
        yield from _walk_members(value, fitting, path)
    elif isinstance(fitting, inspect.ListType):
        for index, item in enumerate(value):
            yield from _walk(item, fitting.item_type, f"{path}[{index}]", name)
    elif isinstance(fitting, inspect.DictType):
        for item in value.values():
            yield from _walk(item, fitting.value_type, f"{path}.*", "")
    elif isinstance(fitting, inspect.StrType) and (form := _form(name)) is not None and not form[1].fullmatch(value):
        yield f"{path}: {form[0]}", "a string of another form"


def _walk_members(value: dict[str, Any], declared: inspect.StructType, path: str) -> Iterator[tuple[str, str]]:
    names = {field.encode_name for field in declared.fields}
    for field in declared.fields:
        if field.encode_name in value:
            yield from _walk(value[field.encode_name], field.type, f"{path}.{field.encode_name}", field.name)
        elif field.required:
            yield f"{path}.{field.encode_name}", "no such member"
    for unknown in value.keys() - names:
        yield f"no {path}.{unknown}", "such a member"


def _fits(value: Any, declared: inspect.Type) -> bool:
    if isinstance(declared, inspect.LiteralType):
        return value in declared.values and not isinstance(value, bool)
    for kind, types, _ in _KINDS:
        if isinstance(declared, kind):
            return isinstance(value, types) and (isinstance(value, bool) == (kind is inspect.BoolType))
    return False


def _choices(declared: inspect.Type) -> list[inspect.Type]:
    """Return what a value may be, without what is only said about it."""
    if isinstance(declared, inspect.Metadata):
        return _choices(declared.type)
    if isinstance(declared, inspect.UnionType):
        return [plain for choice in declared.types for plain in _choices(choice)]
    return [declared]


def _name(declared: inspect.Type) -> str:
    if isinstance(declared, inspect.LiteralType):
        return "one of " + ", ".join(map(str, declared.values))
    return next((name for kind, _, name in _KINDS if isinstance(declared, kind)), "a value")


def _kind(value: Any) -> str:
    if isinstance(value, float):
        return "a number with a point"
    named = {bool: "true or false", int: "a number", str: "a string", dict: "an object", list: "a list"}
    return "null" if value is None else named.get(type(value), "another value")


def _form(name: str) -> tuple[str, re.Pattern[str]] | None:
    if name == "id" or (name.endswith("_id") and name not in _NO_ID):
        return _ID
    if name in _TIMES or name.endswith("_at"):
        return _TIME
    if name in _AMOUNTS:
        return _AMOUNT
    return _CURRENCY if name == "currency" else None
