"""The list of messages: filters in the URL, pages by cursor, and the download of all that they let pass as CSV."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime
from http import HTTPStatus
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ghasi.client.api import Ghasi
from ghasi.client.errors import ApiError, GhasiError
from ghasi.portal.access import signed_in
from ghasi.portal.pages.message_filters import FIELDS, STATUSES, Filters, read_filters
from ghasi.portal.pages.opening import reader_for
from ghasi.portal.rendering import page, part
from ghasi.portal.sessions import Visit

PAGE_ROWS = 50
MOST_TRAIL = 20
"""How many pages "Newer" leads back one by one; farther down it leads to the newest."""
SHOWN_CHARACTERS = 160
CSV = "text/csv; charset=utf-8"
log = structlog.get_logger("ghasi.portal")


async def show_messages(request: Request, visit: Visit) -> Response:
    """Show the filters and the place of the list, which loads by itself."""
    filters = read_filters(request.query_params, reader_for(visit).zone)
    if any(not request.query_params.get(name, "-").strip() for name in FIELDS):
        # what a form leaves empty does not belong in an address
        return RedirectResponse(filters.path("/messages"), 303)
    cursor, trail = request.query_params.get("cursor"), request.query_params.get("trail")
    return page(
        "messages/messages.html",
        visit=visit,
        filters=filters,
        status_options=[("", "Any"), *((status, status.capitalize()) for status in STATUSES)],
        values=filters.values,
        errors={name: filters.errors.get(name) for name in FIELDS},
        is_first=not cursor,
        list_path=filters.path("/messages/list", cursor=cursor, trail=trail),
        export_path=filters.path("/messages/export.csv"),
    )


async def show_list(request: Request, visit: Visit) -> Response:
    """Show one page of the list."""
    filters = read_filters(request.query_params, reader_for(visit).zone)
    if filters.errors:
        return part("messages/list_refused.html", 422, visit=visit, text="Correct the filters above.")
    cursor = request.query_params.get("cursor") or None

    async def ask(api: Ghasi) -> Any:
        return await api.list_messages(limit=PAGE_ROWS, cursor=cursor, **filters.arguments)

    try:
        found = await visit.ask(ask)
    except ApiError as error:
        if error.status != HTTPStatus.UNPROCESSABLE_ENTITY:
            raise
        text = "This page of the list does not exist." if error.code == "invalid_cursor" else error.message
        return part("messages/list_refused.html", 422, visit=visit, text=text)
    newer, older = _neighbours(filters, cursor, request.query_params.get("trail", ""), found.next_cursor)
    return part(
        "messages/list.html", visit=visit, messages=found.data, filters=filters, is_first=cursor is None,
        newer=newer, older=older, cut=_cut,
    )  # fmt: skip


def _neighbours(
    filters: Filters, cursor: str | None, trail: str, next_cursor: str | None
) -> tuple[str | None, str | None]:
    """Return the paths of the newer and the older page; `trail` holds the cursors of the pages on the way here."""
    passed = [one for one in trail.split(".") if one]
    newer = None
    if cursor is not None:
        newer = filters.path("/messages", cursor=passed[-1] if passed else None, trail=".".join(passed[:-1]))
    older = None
    if next_cursor is not None:
        on_the_way = [*passed, cursor][-MOST_TRAIL:] if cursor is not None else []
        older = filters.path("/messages", cursor=next_cursor, trail=".".join(on_the_way))
    return newer, older


def _cut(text: str | None) -> str:
    """Return as much of a text as a row can show."""
    words = " ".join((text or "")[: 2 * SHOWN_CHARACTERS].split())
    return words if len(words) <= SHOWN_CHARACTERS else f"{words[:SHOWN_CHARACTERS]}…"


class _Download(StreamingResponse):
    """Hands on what the API sends, as fast as the browser takes it, and lets go of the API however that ends."""

    def __init__(self, pieces: AsyncIterator[bytes], opened: AsyncExitStack, headers: dict[str, str]) -> None:
        super().__init__(pieces, headers=headers, media_type=CSV)
        self._opened = opened

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._opened:
            await super().__call__(scope, receive, send)


async def export(request: Request, visit: Visit) -> Response:
    """Download the messages that the filters let pass.

    What goes wrong before the first byte is a page of its own; later the download breaks off, so that nobody takes
    half of it for the whole.
    """
    reader = reader_for(visit)
    filters = read_filters(request.query_params, reader.zone)
    if filters.errors:
        return RedirectResponse(filters.path("/messages"), 303)
    async with AsyncExitStack() as stack:

        async def begin(api: Ghasi) -> tuple[bytes, AsyncIterator[bytes]]:
            pieces = await stack.enter_async_context(api.export_messages(**filters.arguments))
            return await anext(pieces, b""), pieces

        first, rest = await visit.ask(begin)
        name = f"messages-{datetime.now(reader.zone):%Y-%m-%d}.csv"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return _Download(_all_of(first, rest), stack.pop_all(), headers)
    raise AssertionError("unreachable")


async def _all_of(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    try:
        async for piece in rest:
            yield piece
    except GhasiError as error:
        log.warning("export_broke_off", error=str(error))
        raise


ROUTES = [
    Route("/messages", signed_in(show_messages)),
    Route("/messages/list", signed_in(show_list)),
    Route("/messages/export.csv", signed_in(export)),
]
