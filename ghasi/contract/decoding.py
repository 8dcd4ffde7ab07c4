"""Reads requests into shapes: JSON bodies and query strings, and what no service should ever see in them.

Owns the words in which a field's fault is told. Decides no rule beyond a shape's own: that is the service's.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec

from ghasi.contract.errors import Problem, invalid
from ghasi.contract.shapes import Input

I = TypeVar("I", bound=Input)  # noqa: E741 - I for Input
_AT_FIELD = re.compile(r"^(?P<message>.*?)(?: - at (?:`key` in )?`(?P<path>[^`]*)`)?$", re.DOTALL)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-")
_decoders: dict[type[Input], msgspec.json.Decoder[Any]] = {}


def decode_body(raw: bytes, shape: type[I]) -> I:
    """Decode a JSON body; raises Problem invalid_json (400) or invalid_request (422) with the field named."""
    decoder = _decoders.get(shape)
    if decoder is None:
        decoder = _decoders[shape] = msgspec.json.Decoder(shape)
    try:
        body: I = decoder.decode(raw)
    except msgspec.ValidationError as error:
        # the decoder stops at the first wrong field, and what follows need not even be JSON
        _refuse_what_is_no_json(raw)
        raise _field_problem(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem("invalid_json", str(error)) from None
    # PostgreSQL text cannot hold NUL; it can only come in as an escape, a raw one is no JSON
    if b"\\u0000" in raw:
        _refuse_nul(msgspec.to_builtins(body), "$")
    _refuse_far_times(body)
    return body


def decode_items(raw: bytes, shape: type[I]) -> tuple[I, dict[int, Problem]]:
    """Decode a JSON body with a list whose items stand each by itself (those of its shape's `one_by_one`).

    Items at fault are left out of the list and told by their place in it, their fields named from the item. Raises
    Problem as decode_body for every other fault.
    """
    try:
        return decode_body(raw, shape), {}
    except Problem as problem:
        if problem.code != "invalid_request":
            raise
        whole = problem
    try:
        found = msgspec.json.decode(raw)
    except RecursionError:
        raise whole from None
    lists = [name for name in _find_lists(shape) if isinstance(found, dict) and isinstance(found.get(name), list)]
    if len(lists) != 1:
        raise whole
    [name] = lists
    declared = _find_lists(shape)[name]
    items = found.pop(name)
    if not 0 < len(items) <= declared.most:
        raise whole
    sound: list[Input] = []
    faults: dict[int, Problem] = {}
    for index, item in enumerate(items):
        try:
            sound.append(_convert(item, declared.item))
        except Problem as problem:
            faults[index] = problem
    return msgspec.structs.replace(_convert(found, shape), **{name: sound}), faults


def _convert(value: Any, shape: type[I]) -> I:
    """Read what JSON has become; raises Problem invalid_request."""
    try:
        read: I = msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise _field_problem(error) from None
    _refuse_nul(value, "$")
    _refuse_far_times(read)
    return read


def decode_query(raw: bytes, shape: type[I]) -> I:
    """Decode a query string; an unknown or repeated parameter or a bad value is Problem invalid_request (422)."""
    if not raw:
        return shape()
    values: dict[str, str] = {}
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict")
    except (UnicodeDecodeError, ValueError):
        raise Problem("invalid_request", "the query string is not percent-encoded UTF-8") from None
    for name, value in pairs:
        if name in values:
            raise invalid(name, "given more than once")
        if "\0" in value:
            raise invalid(name, "must not contain NUL")
        values[name] = value
    try:
        query = msgspec.convert(values, shape, strict=False)
    except msgspec.ValidationError as error:
        raise _field_problem(error) from None
    _refuse_loose_values(values, query)
    _refuse_far_times(query)
    return query


def _refuse_loose_values(values: dict[str, str], query: Input) -> None:
    """Refuse what reading text as numbers lets pass besides: `null` as if nothing were given, and a time in seconds."""
    for item in msgspec.structs.fields(type(query)):
        text, read = values.get(item.encode_name), getattr(query, item.name)
        if text is not None and read is None:
            raise invalid(item.encode_name, f"{text!r} is no value: leave the parameter out")
        if text is not None and isinstance(read, datetime) and not _DATE.match(text):
            raise invalid(item.encode_name, "Invalid RFC3339 encoded datetime")


def _refuse_what_is_no_json(raw: bytes) -> None:
    try:
        msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem("invalid_json", str(error)) from None
    except RecursionError:  # nested deeper than anything of ours: its first wrong field says enough
        return


def _field_problem(error: msgspec.ValidationError) -> Problem:
    match = _AT_FIELD.match(str(error))
    message, path = (match["message"], match["path"]) if match else (str(error), None)
    name = (path or "$").removeprefix("$.").replace("[...]", "[]")
    within = re.search(r"(?:unknown|missing required) field `([^`]*)`", message)
    if within:
        name = within[1] if name == "$" else f"{name}.{within[1]}"
    return invalid(name, message)


@dataclass(frozen=True, slots=True)
class _Times:
    """Where a shape may hold a time: its own fields, by their names in Python and JSON, and lists of other shapes."""

    fields: tuple[tuple[str, str], ...]
    lists: tuple[str, ...]


_YEAR_1000, _YEAR_9999 = (datetime(year, 1, 1, tzinfo=UTC).timestamp() for year in (1000, 9999))


def _refuse_far_times(value: Input) -> None:
    """Refuse times that another time zone would carry out of the calendar."""
    times = _find_times(type(value))
    for name, encoded in times.fields:
        at = getattr(value, name)
        if at is not None and not _YEAR_1000 <= at.timestamp() < _YEAR_9999:
            raise invalid(encoded, "must be a time from the year 1000 to 9998")
    for name in times.lists:
        for item in getattr(value, name) or ():
            _refuse_far_times(item)


@dataclass(frozen=True, slots=True)
class _List:
    """Of what shape a list's items are, and how many there may be."""

    item: type[Input]
    most: int


@cache
def _find_lists(shape: type[Input]) -> dict[str, _List]:
    """Return the lists of a shape whose items stand each by itself."""
    lists = {}
    for item in msgspec.structs.fields(shape):
        declared = msgspec.inspect.type_info(item.type)
        for choice in declared.types if isinstance(declared, msgspec.inspect.UnionType) else (declared,):
            if (
                item.name in shape.one_by_one
                and isinstance(choice, msgspec.inspect.ListType)
                and isinstance(choice.item_type, msgspec.inspect.StructType)
                and issubclass(choice.item_type.cls, Input)
                and choice.max_length is not None
            ):
                lists[item.name] = _List(choice.item_type.cls, choice.max_length)
    return lists


@cache
def _find_times(shape: type[Input]) -> _Times:
    times, lists = [], []
    for item in msgspec.structs.fields(shape):
        declared = msgspec.inspect.type_info(item.type)
        choices = declared.types if isinstance(declared, msgspec.inspect.UnionType) else (declared,)
        for choice in choices:
            plain = choice.type if isinstance(choice, msgspec.inspect.Metadata) else choice
            if isinstance(plain, msgspec.inspect.DateTimeType):
                times.append((item.name, item.encode_name))
            elif isinstance(plain, msgspec.inspect.ListType) and isinstance(
                plain.item_type, msgspec.inspect.StructType
            ):
                lists.append(item.name)
    return _Times(tuple(times), tuple(lists))


def _refuse_nul(value: Any, name: str) -> None:
    if isinstance(value, str) and "\0" in value:
        raise invalid(name, "must not contain NUL")
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_nul(key, name)
            _refuse_nul(item, key if name == "$" else f"{name}.{key}")
    elif isinstance(value, list):
        for item in value:
            _refuse_nul(item, name)
