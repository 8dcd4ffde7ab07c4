"""The list of messages: filters in the URL, pages by cursor, and the download of all that they let pass as CSV.

Owns what a row shows. Keeps no message: a download is handed on as it comes.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ghasi.client.api import Ghasi
from ghasi.client.errors import ApiError, GhasiError
from ghasi.portal.access import signed_in
from ghasi.portal.pages.message_filters import DIRECTIONS, FIELDS, STATUSES, read_filters
from ghasi.portal.pages.opening import reader_for
from ghasi.portal.pages.paging import place_of, refuse_place
from ghasi.portal.rendering import page, part
from ghasi.portal.sessions import Visit

PAGE_ROWS = 50
CSV = "text/csv; charset=utf-8"
log = structlog.get_logger("ghasi.portal")


async def show_messages(request: Request, visit: Visit) -> Response:
    """Show the filters and the place of the list, which loads by itself."""
    filters = read_filters(request.query_params, reader_for(visit).zone)
    if any(not request.query_params.get(name, "-").strip() for name in FIELDS):
        # what a form leaves empty does not belong in an address
        return RedirectResponse(filters.path("/messages"), 303)
    place = place_of(request, filters.typed)
    return page(
        "messages/messages.html",
        visit=visit,
        filters=filters,
        status_options=[("", "Any"), *((status, status.capitalize()) for status in STATUSES)],
        direction_options=[("", "Any"), *((direction, direction.capitalize()) for direction in DIRECTIONS)],
        values=filters.values,
        errors={name: filters.errors.get(name) for name in FIELDS},
        place=place,
        list_path=place.path("/messages/list"),
        export_path=filters.path("/messages/export.csv"),
    )


async def show_list(request: Request, visit: Visit) -> Response:
    """Show one page of the list."""
    filters = read_filters(request.query_params, reader_for(visit).zone)
    if filters.errors:
        return part("list_refused.html", 422, visit=visit, text="Correct the filters above.", first="/messages")
    place = place_of(request, filters.typed)
    try:
        found = await visit.ask(
            lambda api: api.list_messages(limit=PAGE_ROWS, cursor=place.cursor, **filters.arguments)
        )
    except ApiError as error:
        return refuse_place(error, visit, "/messages")
    return part(
        "messages/list.html", visit=visit, messages=found.data, filters=filters, place=place,
        newer=place.newer("/messages"), older=place.older("/messages", found.next_cursor),
    )  # fmt: skip


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
