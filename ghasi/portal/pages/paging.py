"""Going through a list page by page: the API's cursors lead on, the address remembers the way back.

Owns the parameters `cursor` and `trail`. What a cursor means is the API's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from ghasi.client.errors import ApiError
from ghasi.portal.rendering import part
from ghasi.portal.sessions import Visit

MOST_TRAIL = 20
"""How many pages "Newer" leads back one by one; farther down it leads to the newest."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a list an address stands; `trail` are the cursors of the pages between the first and this one."""

    cursor: str | None
    trail: tuple[str, ...]
    filters: Mapping[str, str]

    def path(self, base: str) -> str:
        """Return an address of this very place."""
        return _path(base, self.filters, self.cursor, self.trail)

    def newer(self, base: str) -> str | None:
        """Return the address of the page before; None on the first."""
        if self.cursor is None:
            return None
        return _path(base, self.filters, self.trail[-1] if self.trail else None, self.trail[:-1])

    def older(self, base: str, next_cursor: str | None) -> str | None:
        """Return the address of the page after; None on the last."""
        if next_cursor is None:
            return None
        passed = () if self.cursor is None else (*self.trail, self.cursor)[-MOST_TRAIL:]
        return _path(base, self.filters, next_cursor, passed)


def place_of(request: Request, filters: Mapping[str, str] | None = None) -> Place:
    """Read the place from an address; `filters` are those of its parameters that belong to the list."""
    cursor = request.query_params.get("cursor") or None
    trail = tuple(one for one in request.query_params.get("trail", "").split(".") if one) if cursor else ()
    return Place(cursor, trail[-MOST_TRAIL:], filters or {})


def _path(base: str, filters: Mapping[str, str], cursor: str | None, trail: tuple[str, ...]) -> str:
    place = {"cursor": cursor, "trail": ".".join(trail)}
    query = urlencode({**filters, **{name: value for name, value in place.items() if value}})
    return f"{base}?{query}" if query else base


def refuse_place(error: ApiError, visit: Visit, first: str) -> Response:
    """Say that an address names no page of its list, and lead to the first; raises the error if it is another."""
    if error.status != HTTPStatus.UNPROCESSABLE_ENTITY:
        raise error
    text = "This page of the list does not exist." if error.code == "invalid_cursor" else error.message
    return part("list_refused.html", 422, visit=visit, text=text, first=first)
