"""What the mock remembers: of each list of the contract the example and what was created since, in bounds.

Owns lists, pages, filters and which ids there are, as the contract's paths say it; knows no service's rules. Lists
under another resource (an endpoint's deliveries) have the example alone, the same for every resource.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, get_args, get_origin
from uuid import UUID

import msgspec

from ghasi.contract.emit.examples import EXAMPLES
from ghasi.contract.errors import Problem
from ghasi.contract.row import Row
from ghasi.contract.shapes import Input, Page
from ghasi.contract.table import ROWS
from ghasi.contract.values import decode_id_cursor, encode_cursor
from ghasi.gateway.mock.answers import shape_name
from ghasi.messages.numbers import number_filter

Json = dict[str, Any]
MOST = 1000
"""Things of a list, whose oldest is forgotten first."""
_PAGING = frozenset({"limit", "cursor", "created_after", "created_before"})


class Memory:
    """The lists by their paths, and single documents (the account, preferences) by their component's name.

    `refreshers` bring a thing of a list up to date before it is shown.
    """

    def __init__(self) -> None:
        self.lists: dict[str, dict[str, Json]] = {}
        self.documents: dict[str, Json] = {}
        self.refreshers: dict[str, Callable[[Json], None]] = {}
        for row in filter(is_list, ROWS):
            [item] = EXAMPLES[shape_name(row.response)]["data"]
            [detail] = [EXAMPLES[shape_name(one.response)] for one in ROWS if _shows_one_of(one, row)] or [{}]
            self.lists[row.path] = {item.get("id", ""): {**detail, **item}}

    def document(self, row: Row) -> Json:
        """Return the single document that a row shows or changes."""
        name = shape_name(row.response)
        return self.documents.setdefault(name, dict(EXAMPLES[name]))

    def add(self, path: str, item: Json) -> Json:
        """Remember a thing; the oldest of its list is forgotten where there are too many."""
        things = self.lists[path]
        things[item["id"]] = item
        if len(things) > MOST:
            del things[next(iter(things))]
        return item

    def find(self, row: Row, path: Mapping[str, str]) -> Json | None:
        """Return the thing that a path ends in, None where it names none; raises Problem not_found for unknown ids."""
        found = None
        for parameter in row.parameters:
            place = row.path.partition(f"/{{{parameter}}}")[0]
            if place in self.lists:
                found = self.lists[place].get(path[parameter])
                if found is None:
                    raise Problem("not_found")
                self._refresh(place, found)
        return found

    def page(self, row: Row, query: Any) -> Json:
        """Return a page of a row's list, newest first, by the filters that its things have fields for."""
        [shape] = get_args(row.response)
        after = decode_id_cursor(query.cursor)
        found = []
        for key, item in sorted(self.lists[row.path].items(), reverse=True):
            self._refresh(row.path, item)
            if (after is None or key < str(after)) and _passes(item, query):
                found.append(item)
        shown = [project(item, shape) for item in found[: query.limit]]
        more = len(found) > len(shown)
        return {"data": shown, "next_cursor": encode_cursor(UUID(shown[-1]["id"])) if more else None}

    def _refresh(self, place: str, item: Json) -> None:
        if refresher := self.refreshers.get(place):
            refresher(item)


def is_list(row: Row) -> bool:
    """Say whether a row answers with a page."""
    return get_origin(row.response) is Page


def _shows_one_of(row: Row, of: Row) -> bool:
    place, separator, parameter = row.path.rpartition("/")
    return row.method == "GET" and bool(separator) and place == of.path and parameter.startswith("{")


def project(item: Json, shape: Any) -> Json:
    """Return of a thing what a shape shows, by the shape's example where the thing lacks it."""
    example = EXAMPLES.get(shape_name(shape), {})
    names = (field.encode_name for field in msgspec.structs.fields(shape))
    return {name: item.get(name, example.get(name)) for name in names}


def fields_of(body: Input, item: Mapping[str, Any]) -> Json:
    """Return what a request sets of a thing's fields; what it leaves out is not among them."""
    given = msgspec.to_builtins(body)
    return {name: value for name, value in given.items() if name in item}


def _passes(item: Json, query: Any) -> bool:
    made = msgspec.convert(item["created_at"], type=datetime) if "created_at" in item else None
    after, before = getattr(query, "created_after", None), getattr(query, "created_before", None)
    if made is not None and ((after and made <= after) or (before and made >= before)):
        return False
    for field in msgspec.structs.fields(query):
        wanted, name = getattr(query, field.name), field.encode_name
        if wanted is None or name in _PAGING or name not in item:
            continue
        if (number_filter(wanted) if name in {"to", "from"} else wanted) != item[name]:
            return False
    return True
