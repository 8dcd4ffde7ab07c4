"""Credit notes: the list, one with its lines, and the same as PDF.

Owns how they are shown. Changes nothing.
"""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ghasi.client.errors import ApiError
from ghasi.contract.shapes import CreditNoteDetail
from ghasi.portal.access import signed_in
from ghasi.portal.pages.invoice import file_name, is_nonzero, tax_name
from ghasi.portal.pages.opening import find_at_once, id_of, reader_for
from ghasi.portal.pages.paging import place_of, refuse_place
from ghasi.portal.rendering import page, part
from ghasi.portal.sessions import Visit

PATH = "/billing/credit-notes"
PAGE_ROWS = 25


async def show_credit_notes(request: Request, visit: Visit) -> Response:
    """Show the place of the list, which loads by itself."""
    return page("billing/credit_notes.html", visit=visit, list_path=place_of(request).path(f"{PATH}/list"))


async def show_list(request: Request, visit: Visit) -> Response:
    """Show one page of the list."""
    place = place_of(request)
    try:
        found = await visit.ask(lambda api: api.list_credit_notes(limit=PAGE_ROWS, cursor=place.cursor))
    except ApiError as error:
        return refuse_place(error, visit, PATH)
    return part(
        "billing/credit_note_list.html", visit=visit, notes=found.data,
        newer=place.newer(PATH), older=place.older(PATH, found.next_cursor),
    )  # fmt: skip


async def show_credit_note(request: Request, visit: Visit) -> Response:
    """Show a credit note, as invoices are shown."""
    note_id = id_of(request, "note_id")
    note = await find_at_once(visit, lambda api: api.get_credit_note(note_id))
    return page("billing/credit_note.html", visit=visit, note_id=note_id, **_shown(visit, note))


async def show_detail(request: Request, visit: Visit) -> Response:
    """Show the credit note as a part."""
    note_id = id_of(request, "note_id")
    note = await visit.ask(lambda api: api.get_credit_note(note_id))
    return part("billing/credit_note_detail.html", visit=visit, **_shown(visit, note))


def _shown(visit: Visit, note: CreditNoteDetail | None) -> dict[str, Any]:
    if note is None:
        return {"note": None}
    reader = reader_for(visit)
    taxes = [(tax_name(tax, reader), tax.amount) for tax in note.taxes]
    return {"note": note, "taxes": taxes, "is_nonzero": is_nonzero}


async def show_pdf(request: Request, visit: Visit) -> Response:
    """Pass the API's PDF on, under the credit note's number."""
    note_id = id_of(request, "note_id")
    note, content = await visit.ask(
        lambda api: asyncio.gather(api.get_credit_note(note_id), api.get_credit_note_pdf(note_id))
    )
    disposition = f'inline; filename="{file_name(note.number, "pdf")}"'
    headers = {"Content-Disposition": disposition, "Cache-Control": "no-store"}
    return Response(content, media_type="application/pdf", headers=headers)


ROUTES = [
    Route(PATH, signed_in(show_credit_notes)),
    Route(f"{PATH}/list", signed_in(show_list)),  # first: the others take any name for an id
    Route(f"{PATH}/{{note_id}}.pdf", signed_in(show_pdf)),
    Route(f"{PATH}/{{note_id}}", signed_in(show_credit_note)),
    Route(f"{PATH}/{{note_id}}/detail", signed_in(show_detail)),
]
