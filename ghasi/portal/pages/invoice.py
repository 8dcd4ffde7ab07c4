"""One invoice: its lines and sums, and the same as PDF.

Owns how one is shown. Changes nothing.
"""

import asyncio
import re
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ghasi.contract.shapes import InvoiceDetail
from ghasi.portal.access import signed_in
from ghasi.portal.formats import write_country
from ghasi.portal.pages.billing import is_overdue, period_of
from ghasi.portal.pages.opening import find_at_once, id_of, reader_for
from ghasi.portal.rendering import page, part
from ghasi.portal.sessions import Visit

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+", re.ASCII)


async def show_invoice(request: Request, visit: Visit) -> Response:
    """Show an invoice; when the API is slow or away it loads into the page. One that does not exist is a 404 page."""
    invoice_id = id_of(request, "invoice_id")
    invoice = await find_at_once(visit, lambda api: api.get_invoice(invoice_id))
    return page("billing/invoice.html", visit=visit, invoice_id=invoice_id, **_shown(visit, invoice))


async def show_detail(request: Request, visit: Visit) -> Response:
    """Show the invoice as a part."""
    invoice_id = id_of(request, "invoice_id")
    invoice = await visit.ask(lambda api: api.get_invoice(invoice_id))
    return part("billing/detail.html", visit=visit, **_shown(visit, invoice))


def _shown(visit: Visit, invoice: InvoiceDetail | None) -> dict[str, Any]:
    reader = reader_for(visit)
    if invoice is None:
        return {"invoice": None}
    return {
        "invoice": invoice,
        "period": period_of(invoice, reader),
        "is_overdue": is_overdue(invoice),
        "lines": [(line, write_country(line.country, reader) if line.country else None) for line in invoice.line_items],
    }


async def show_pdf(request: Request, visit: Visit) -> Response:
    """Pass the API's PDF on, under the invoice's number."""
    invoice_id = id_of(request, "invoice_id")
    invoice, content = await visit.ask(
        lambda api: asyncio.gather(api.get_invoice(invoice_id), api.get_invoice_pdf(invoice_id))
    )
    name = _NOT_IN_NAMES.sub("-", invoice.number or "draft").strip("-.") or "invoice"
    headers = {"Content-Disposition": f'inline; filename="{name}.pdf"', "Cache-Control": "no-store"}
    return Response(content, media_type="application/pdf", headers=headers)


ROUTES = [
    Route("/billing/invoices/{invoice_id}.pdf", signed_in(show_pdf)),
    Route("/billing/invoices/{invoice_id}", signed_in(show_invoice)),
    Route("/billing/invoices/{invoice_id}/detail", signed_in(show_detail)),
]
