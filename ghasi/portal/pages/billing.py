"""Billing's first page: the balance, what was used in a month, and the invoices.

Owns the page and the list of invoices. Counts and charges nothing: every sum is the API's.
"""

from datetime import UTC, timedelta
from typing import Any, get_args

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ghasi.client.errors import ApiError
from ghasi.contract.shapes import Invoice, InvoiceStatus
from ghasi.portal.access import signed_in
from ghasi.portal.formats import Reader, read_time, write_day, write_month
from ghasi.portal.pages import usage
from ghasi.portal.pages.opening import reader_for
from ghasi.portal.pages.paging import Place, place_of, refuse_place
from ghasi.portal.pages.ranges import months_until, next_month
from ghasi.portal.rendering import page, part
from ghasi.portal.sessions import Visit

STATUSES: tuple[str, ...] = (*get_args(InvoiceStatus), "overdue")
"""What invoices are filtered by: their statuses, and whether they are overdue."""
PAGE_ROWS = 12


async def show_billing(request: Request, visit: Visit) -> Response:
    """Show the choices and the places of the parts; it needs no call of the API."""
    reader = reader_for(visit)
    month, today = usage.month_of(request, reader)
    status = _status(request)
    return page(
        "billing/billing.html",
        visit=visit,
        month=f"{month:%Y-%m}",
        months=[(f"{one:%Y-%m}", write_month(one, reader)) for one in months_until(today, month)],
        chosen_status=status or "",
        statuses=[("", "All"), *((one, one.capitalize()) for one in STATUSES)],
        usage_path=f"{usage.PATH}?month={month:%Y-%m}",
        groups=[(group, words, f"{usage.path_of(group)}?month={month:%Y-%m}") for group, words in usage.GROUPS.items()],
        list_path=_place(request, f"{month:%Y-%m}", status).path("/billing/list"),
        has_running=not status and not request.query_params.get("cursor"),
    )


def _status(request: Request) -> str | None:
    asked = request.query_params.get("status")
    return next((one for one in STATUSES if one == asked), None)


def _place(request: Request, month: str | None, status: str | None) -> Place:
    values = {"month": month, "status": status}
    return place_of(request, {name: value for name, value in values.items() if value})


async def show_list(request: Request, visit: Visit) -> Response:
    """Show one page of the invoices."""
    reader = reader_for(visit)
    status = _status(request)
    place = _place(request, request.query_params.get("month"), status)
    how: dict[str, Any] = {"overdue": True} if status == "overdue" else {"status": status}
    try:
        found = await visit.ask(lambda api: api.list_invoices(limit=PAGE_ROWS, cursor=place.cursor, **how))
    except ApiError as error:
        return refuse_place(error, visit, "/billing")
    return part(
        "billing/list.html",
        visit=visit,
        invoices=[(invoice, period_of(invoice, reader)) for invoice in found.data],
        chosen_status=status,
        newer=place.newer("/billing"),
        older=place.older("/billing", found.next_cursor),
    )


def period_of(invoice: Invoice, reader: Reader) -> str:
    """Write what an invoice is for: its month, which is UTC's, or else its first and its last day."""
    start, end = read_time(invoice.period_start), read_time(invoice.period_end)
    if start is None or end is None:
        return f"{invoice.period_start} to {invoice.period_end}"
    first, last = start.astimezone(UTC).date(), (end.astimezone(UTC) - timedelta(microseconds=1)).date()
    if first.day == 1 and last == next_month(first) - timedelta(days=1):
        return write_month(first, reader)
    return f"{write_day(first, reader)} to {write_day(last, reader)}"


ROUTES = [
    Route("/billing", signed_in(show_billing)),
    Route("/billing/list", signed_in(show_list)),
]
