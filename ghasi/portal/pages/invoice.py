"""One invoice: its lines and sums, and the same as PDF."""

import asyncio
import re
from http import HTTPStatus
from typing import Any
from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ghasi.client.errors import ApiError, ApiUnreachableError
from ghasi.contract.shapes import InvoiceDetail
from ghasi.portal.access import signed_in
from ghasi.portal.pages.billing import country_name, is_overdue, period_of
from ghasi.portal.pages.messages import reader_for
from ghasi.portal.rendering import page, part
from ghasi.portal.sessions import Visit

AT_ONCE_S = 0.8
"""A page waits so long for its invoice; a slower one loads into the page."""
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+", re.ASCII)


def invoice_id_of(request: Request) -> str:
    """Return the path's invoice id; raises HTTPException 404 for what cannot be one."""
    text: str = request.path_params["invoice_id"]
    try:
        known = str(UUID(text)) == text
    except ValueError:
        known = False
    if not known:
        raise HTTPException(404)
    return text


async def _get(visit: Visit, invoice_id: str) -> InvoiceDetail:
    """Return the invoice; raises HTTPException 404 when there is none in this account."""
    try:
        return await visit.ask(lambda api: api.get_invoice(invoice_id))
    except ApiError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            raise HTTPException(404) from None
        raise


async def show_invoice(request: Request, visit: Visit) -> Response:
    """Show an invoice; when the API is slow or away it loads into the page, or says there why not."""
    invoice_id = invoice_id_of(request)
    invoice: InvoiceDetail | None = None
    try:
        async with asyncio.timeout(AT_ONCE_S):
            invoice = await _get(visit, invoice_id)
    except (ApiError, ApiUnreachableError, TimeoutError):
        pass  # the part tries again, and says what is wrong if it stays so
    return page("billing/invoice.html", visit=visit, invoice_id=invoice_id, **_shown(visit, invoice))


async def show_detail(request: Request, visit: Visit) -> Response:
    """Show the invoice as a part."""
    invoice = await _get(visit, invoice_id_of(request))
    return part("billing/detail.html", visit=visit, **_shown(visit, invoice))


def _shown(visit: Visit, invoice: InvoiceDetail | None) -> dict[str, Any]:
    reader = reader_for(visit)
    if invoice is None:
        return {"invoice": None}
    return {
        "invoice": invoice,
        "period": period_of(invoice, reader),
        "is_overdue": is_overdue(invoice),
        "lines": [(line, country_name(line.country, reader) if line.country else None) for line in invoice.line_items],
    }


async def show_pdf(request: Request, visit: Visit) -> Response:
    """Pass the API's PDF on, under the invoice's number."""
    invoice_id = invoice_id_of(request)
    invoice, content = await asyncio.gather(
        _get(visit, invoice_id), visit.ask(lambda api: api.get_invoice_pdf(invoice_id))
    )
    name = _NOT_IN_NAMES.sub("-", invoice.number or "draft").strip("-.") or "invoice"
    headers = {"Content-Disposition": f'inline; filename="{name}.pdf"', "Cache-Control": "no-store"}
    return Response(content, media_type="application/pdf", headers=headers)


ROUTES = [
    Route("/billing/invoices/{invoice_id}.pdf", signed_in(show_pdf)),
    Route("/billing/invoices/{invoice_id}", signed_in(show_invoice)),
    Route("/billing/invoices/{invoice_id}/detail", signed_in(show_detail)),
]
