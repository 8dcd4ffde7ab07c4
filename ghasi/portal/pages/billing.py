"""What was used and what is owed: a month's usage by day and by country, and the invoices.

Owns how usage and invoices are shown. Counts and charges nothing: every sum is the API's.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, get_args

from babel.dates import format_skeleton
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ghasi.client.api import Ghasi
from ghasi.client.errors import ApiError
from ghasi.contract.shapes import Invoice, InvoiceStatus, Usage, UsageRow
from ghasi.portal.access import signed_in
from ghasi.portal.formats import Reader, read_time, write_country, write_day, write_number
from ghasi.portal.pages.moments import midnight
from ghasi.portal.pages.opening import reader_for
from ghasi.portal.pages.paging import Place, place_of, refuse_place
from ghasi.portal.pages.ranges import months_until, next_month, read_month
from ghasi.portal.rendering import page, part
from ghasi.portal.sessions import Visit

STATUSES: tuple[InvoiceStatus, ...] = get_args(InvoiceStatus)
PAGE_ROWS = 12


@dataclass(frozen=True, slots=True)
class Used:
    """Usage of a day or of a country."""

    name: str
    messages: int
    segments: int
    amount: str


async def show_billing(request: Request, visit: Visit) -> Response:
    """Show the choices and the places of the parts; it needs no call of the API."""
    reader = reader_for(visit)
    today = datetime.now(reader.zone).date()
    month = read_month(request.query_params.get("month"), today)
    status = _status(request)
    return page(
        "billing/billing.html",
        visit=visit,
        month=f"{month:%Y-%m}",
        months=[(f"{one:%Y-%m}", month_name(one, reader)) for one in months_until(today, month)],
        chosen_status=status or "",
        statuses=[("", "All"), *((one, one.capitalize()) for one in STATUSES)],
        usage_path=f"/billing/usage?month={month:%Y-%m}",
        list_path=_place(request, f"{month:%Y-%m}", status).path("/billing/list"),
    )


def month_name(month: date, reader: Reader) -> str:
    """Write a month: November 2026."""
    written: str = format_skeleton("yMMMM", month, locale=reader.locale)
    return written


def _status(request: Request) -> InvoiceStatus | None:
    asked = request.query_params.get("status")
    return next((one for one in STATUSES if one == asked), None)


def _place(request: Request, month: str | None, status: InvoiceStatus | None) -> Place:
    values = {"month": month, "status": status}
    return place_of(request, {name: value for name, value in values.items() if value})


async def show_usage(request: Request, visit: Visit) -> Response:
    """Show a month's usage in the visitor's zone."""
    reader = reader_for(visit)
    today = datetime.now(reader.zone).date()
    month = read_month(request.query_params.get("month"), today)
    bounds: dict[str, Any] = {
        "since": midnight(month, reader.zone), "until": midnight(next_month(month), reader.zone),
        "time_zone": reader.zone.key,
    }  # fmt: skip

    async def by_day(api: Ghasi) -> Usage:
        return await api.get_usage(granularity="day", **bounds)

    async def by_country(api: Ghasi) -> Usage:
        return await api.get_usage(granularity="month", group_by="country", **bounds)

    daily, countries = await asyncio.gather(visit.ask(by_day), visit.ask(by_country))
    last = min(today, next_month(month) - timedelta(days=1))
    return part(
        "billing/usage.html",
        visit=visit,
        month=month_name(month, reader),
        is_running=last == today,
        usage=daily,
        days=of_days(daily.data, reader),
        countries=of_countries(countries.data, reader),
        chart=course(daily.data, month, last, reader),
        chart_text=describe(daily, month, reader),
    )


def of_days(rows: Sequence[UsageRow], reader: Reader) -> list[Used]:
    """Return usage by day, the latest first; the year is the month's."""
    return [Used(_short_day(row.period_start, reader), row.messages, row.segments, row.amount) for row in rows[::-1]]


def _short_day(at: str, reader: Reader) -> str:
    start = read_time(at)
    if start is None:
        return at
    written: str = format_skeleton("MMMd", start.astimezone(reader.zone).date(), locale=reader.locale)
    return written


def of_countries(rows: Sequence[UsageRow], reader: Reader) -> list[Used]:
    """Return usage by country, the dearest first."""
    named = [Used(write_country(row.group, reader), row.messages, row.segments, row.amount) for row in rows]
    return sorted(named, key=lambda used: (-Decimal(used.amount), -used.messages, used.name))


def course(rows: Sequence[UsageRow], month: date, last: date, reader: Reader) -> dict[str, Any]:
    """Return what the chart draws: each day of the month until the last, those without usage too."""
    used = {at.astimezone(reader.zone).date(): row for row in rows if (at := read_time(row.period_start)) is not None}
    days = [month + timedelta(days=count) for count in range((last - month).days + 1)]
    found = [used.get(day) for day in days]
    return {
        "x": [int(midnight(day, reader.zone).timestamp()) for day in days],
        "series": [
            {"label": "Messages", "tone": "primary", "values": [row.messages if row else 0 for row in found]},
            {"label": "Segments", "tone": "active", "values": [row.segments if row else 0 for row in found]},
        ],
        "zone": reader.zone.key,
        "locale": str(reader.locale).replace("_", "-"),
    }


def describe(usage: Usage, month: date, reader: Reader) -> str:
    """Say in words what the chart shows."""
    text = (
        f"Usage by day, {month_name(month, reader)}: {write_number(usage.totals.messages, reader)} messages, "
        f"{write_number(usage.totals.segments, reader)} segments."
    )
    most = max(usage.data, key=lambda row: row.messages, default=None)
    if most is None:
        return text
    return f"{text} Most on {write_day(most.period_start, reader)}: {write_number(most.messages, reader)} messages."


async def show_list(request: Request, visit: Visit) -> Response:
    """Show one page of the invoices."""
    reader = reader_for(visit)
    status = _status(request)
    place = _place(request, request.query_params.get("month"), status)
    try:
        found = await visit.ask(lambda api: api.list_invoices(limit=PAGE_ROWS, cursor=place.cursor, status=status))
    except ApiError as error:
        return refuse_place(error, visit, "/billing")
    return part(
        "billing/list.html",
        visit=visit,
        invoices=[(invoice, period_of(invoice, reader), is_overdue(invoice)) for invoice in found.data],
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
        return month_name(first, reader)
    return f"{write_day(first, reader)} to {write_day(last, reader)}"


def is_overdue(invoice: Invoice) -> bool:
    """Say whether an open invoice should have been paid by now."""
    due = read_time(invoice.due_at)
    return invoice.status == "open" and due is not None and due < datetime.now(UTC)


ROUTES = [
    Route("/billing", signed_in(show_billing)),
    Route("/billing/usage", signed_in(show_usage)),
    Route("/billing/list", signed_in(show_list)),
]
