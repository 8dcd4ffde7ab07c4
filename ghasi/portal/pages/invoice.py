"""One invoice, also that of the running month: its lines and sums, what was paid and credited, PDF and CSV.

Owns how one is shown. Changes nothing.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ghasi.client.api import Ghasi
from ghasi.contract.shapes import InvoiceDetail, InvoiceLine, InvoicePayment, LineKind, TaxLine
from ghasi.portal.access import signed_in
from ghasi.portal.formats import Reader, write_country, write_month, write_percent
from ghasi.portal.pages.billing import period_of
from ghasi.portal.pages.moments import read_day
from ghasi.portal.pages.opening import find_at_once, id_of, reader_for
from ghasi.portal.rendering import page, part
from ghasi.portal.sessions import Visit

PATH = "/billing/invoices"
RUNNING = f"{PATH}/running"
KINDS: dict[LineKind, str] = {
    "included": "Included in the plan", "discount": "Discount", "adjustment": "Adjustment",
}  # fmt: skip
"""What a line is, where its description does not begin with that."""
METHODS = {"balance": "From the balance", "bank_transfer": "Bank transfer"}
_OF_MESSAGES = frozenset({"usage", "included", "adjustment"})
_TAX_DIGITS = 4
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Row:
    """A line as it is shown; `note` says where its messages went and what it is."""

    line: InvoiceLine
    note: str

    @property
    def is_of_messages(self) -> bool:
        """Whether it counts messages and has a price."""
        return self.line.kind in _OF_MESSAGES


async def show_invoice(request: Request, visit: Visit) -> Response:
    """Show an invoice; when the API is slow or away it loads into the page. One that does not exist is a 404 page."""
    invoice_id = id_of(request, "invoice_id")
    invoice = await find_at_once(visit, lambda api: api.get_invoice(invoice_id))
    return page(
        "billing/invoice.html", visit=visit, detail_path=f"{PATH}/{invoice_id}/detail", **_shown(visit, invoice)
    )


async def show_detail(request: Request, visit: Visit) -> Response:
    """Show the invoice as a part."""
    invoice_id = id_of(request, "invoice_id")
    invoice = await visit.ask(lambda api: api.get_invoice(invoice_id))
    return part("billing/detail.html", visit=visit, **_shown(visit, invoice))


async def show_running(_: Request, visit: Visit) -> Response:
    """Show what the running month's invoice would say now."""
    invoice = await find_at_once(visit, lambda api: api.preview_invoice())
    return page(
        "billing/invoice.html", visit=visit, detail_path=f"{RUNNING}/detail", **_shown(visit, invoice, is_running=True)
    )


async def show_running_detail(_: Request, visit: Visit) -> Response:
    """Show the running month's invoice as a part."""
    invoice = await visit.ask(lambda api: api.preview_invoice())
    return part("billing/detail.html", visit=visit, **_shown(visit, invoice, is_running=True))


async def show_running_row(_: Request, visit: Visit) -> Response:
    """Show what the running month comes to, with the way to it."""
    invoice = await visit.ask(lambda api: api.preview_invoice())
    return part(
        "billing/running.html", visit=visit, invoice=invoice, period=period_of(invoice, reader_for(visit)), path=RUNNING
    )


def _shown(visit: Visit, invoice: InvoiceDetail | None, *, is_running: bool = False) -> dict[str, Any]:
    if invoice is None:
        return {"invoice": None}
    reader = reader_for(visit)
    return {
        "invoice": invoice,
        "is_running": is_running,
        "period": period_of(invoice, reader),
        "rows": [Row(line, _note(line, reader)) for line in invoice.line_items],
        "taxes": [(tax_name(tax, reader), tax.amount) for tax in invoice.taxes],
        "payments": [(payment, _method(payment)) for payment in invoice.payments],
        "is_nonzero": is_nonzero,
    }


def _note(line: InvoiceLine, reader: Reader) -> str:
    month = read_day(f"{line.month}-01") if line.month else None
    words = [
        write_country(line.country, reader) if line.country else "",
        KINDS.get(line.kind, ""),
        _month(month, line, reader),
    ]
    return " · ".join(filter(None, words))


def _month(month: date | None, line: InvoiceLine, reader: Reader) -> str:
    return line.month or "" if month is None else write_month(month, reader)


def tax_name(tax: TaxLine, reader: Reader) -> str:
    """Write a tax with its rate: VAT 19%."""
    try:
        rate = write_percent(Decimal(tax.percent) / 100, reader, _TAX_DIGITS)
    except ArithmeticError:
        rate = tax.percent
    return f"{tax.name} {rate}"


def is_nonzero(amount: str) -> bool:
    """Say whether an amount is another than nothing."""
    return bool(amount.strip("-0."))


def _method(payment: InvoicePayment) -> str:
    return METHODS.get(payment.method, payment.method.replace("_", " ").capitalize())


def file_name(number: str | None, suffix: str) -> str:
    """Return what a document is called where it is saved."""
    return f"{_NOT_IN_NAMES.sub('-', number or 'draft').strip('-.') or 'invoice'}.{suffix}"


async def _download(
    request: Request, visit: Visit, get: Callable[[Ghasi, str], Awaitable[bytes]], media_type: str, how: str
) -> Response:
    """Pass a document of the API's on, under the invoice's number."""
    invoice_id = id_of(request, "invoice_id")
    invoice, content = await visit.ask(lambda api: asyncio.gather(api.get_invoice(invoice_id), get(api, invoice_id)))
    name = file_name(invoice.number, media_type.rpartition("/")[2])
    headers = {"Content-Disposition": f'{how}; filename="{name}"', "Cache-Control": "no-store"}
    return Response(content, media_type=media_type, headers=headers)


async def show_pdf(request: Request, visit: Visit) -> Response:
    """Show the invoice as PDF."""
    return await _download(request, visit, Ghasi.get_invoice_pdf, "application/pdf", "inline")


async def save_csv(request: Request, visit: Visit) -> Response:
    """Give the invoice's lines and taxes as CSV."""
    return await _download(request, visit, Ghasi.get_invoice_csv, "text/csv", "attachment")


ROUTES = [
    Route(RUNNING, signed_in(show_running)),  # first: the others take any name for an id
    Route(f"{RUNNING}/detail", signed_in(show_running_detail)),
    Route(f"{RUNNING}/row", signed_in(show_running_row)),
    Route(f"{PATH}/{{invoice_id}}.pdf", signed_in(show_pdf)),
    Route(f"{PATH}/{{invoice_id}}.csv", signed_in(save_csv)),
    Route(f"{PATH}/{{invoice_id}}", signed_in(show_invoice)),
    Route(f"{PATH}/{{invoice_id}}/detail", signed_in(show_detail)),
]
