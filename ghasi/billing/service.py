"""What a customer may read of billing: usage and invoices of their own account. Changes nothing."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec

from ghasi.billing import queries
from ghasi.billing.model import DEFAULT_CURRENCY, Invoice, Line, Sums
from ghasi.billing.money import invoice_amount
from ghasi.billing.periods import FIRST_YEAR, LAST_YEAR, Granularity, hour_start, month_start, period_end
from ghasi.contract import shapes
from ghasi.contract.errors import Problem, invalid
from ghasi.contract.serving import Caller
from ghasi.contract.values import decimal_string, decode_id_cursor, encode_cursor, optional_rfc3339, rfc3339
from ghasi.storage.pool import Pool

LONGEST: dict[Granularity, int] = {"hour": 31, "day": 366, "month": 3660}
"""The longest range of each granularity, in days."""


async def get_usage(pool: Pool, caller: Caller, query: shapes.UsageQuery) -> shapes.Usage:
    """Return usage by UTC period, oldest first, of periods that have any; see usage_range for the bounds."""
    since, until = usage_range(query, datetime.now(UTC))
    rows = await queries.list_usage(
        pool, caller.account_id, since=since, until=until, granularity=query.granularity, group_by=query.group_by
    )
    total = Sums()
    for _, _, sums in rows:
        total.add(sums.messages, sums.segments, sums.amount_micros)
    currency = await queries.find_currency(pool, caller.account_id)
    return shapes.Usage(
        data=[
            shapes.UsageRow(
                period_start=rfc3339(max(start, since)),
                period_end=rfc3339(min(period_end(start, query.granularity), until)),
                group=group,
                messages=sums.messages,
                segments=sums.segments,
                amount=decimal_string(sums.amount_micros),
            )
            for start, group, sums in rows
        ],
        totals=shapes.UsageTotals(total.messages, total.segments, decimal_string(total.amount_micros)),
        currency=currency or DEFAULT_CURRENCY,
    )


def usage_range(query: shapes.UsageQuery, now: datetime) -> tuple[datetime, datetime]:
    """Return the range asked for: [from, to), both on a full UTC hour, and not longer than LONGEST.

    `to` is by default the end of the current month, `from` the beginning of the month in which the range ends.
    Raises Problem invalid_request: nothing is moved to where it would be valid.
    """
    since = _full_hour("from", query.since) if query.since else None
    until = _full_hour("to", query.until) if query.until else period_end(month_start(now), "month")
    since = since or month_start(until - timedelta(hours=1))
    if since >= until:
        raise invalid("from", f"must be before `to`, which is {rfc3339(until)}")
    longest = LONGEST[query.granularity]
    if until - since > timedelta(days=longest):
        raise invalid("from", f"at most {longest} days before `to` when granularity is {query.granularity}")
    return since, until


def _full_hour(name: str, at: datetime) -> datetime:
    if not FIRST_YEAR <= at.year <= LAST_YEAR:
        raise invalid(name, f"must lie between the years {FIRST_YEAR} and {LAST_YEAR}")
    hour = hour_start(at)
    if hour != at:
        raise invalid(name, "must be a full hour in UTC")
    return hour


async def list_invoices(pool: Pool, caller: Caller, query: shapes.InvoiceQuery) -> shapes.Page[shapes.Invoice]:
    """Return a page of invoices, newest first; raises Problem invalid_cursor."""
    before = decode_id_cursor(query.cursor)
    found = await queries.list_invoices(pool, caller.account_id, query.status, before, query.limit + 1)
    page = found[: query.limit]
    return shapes.Page(
        data=[_invoice(invoice) for invoice in page],
        next_cursor=encode_cursor(str(page[-1].id)) if len(found) > len(page) else None,
    )


async def get_invoice(pool: Pool, caller: Caller, invoice_id: UUID) -> shapes.InvoiceDetail:
    """Return an invoice with its lines; raises Problem not_found, for another account's too."""
    invoice = await queries.find_invoice(pool, caller.account_id, invoice_id)
    if invoice is None:
        raise Problem("not_found")
    lines = await queries.list_lines(pool, invoice.id)
    return shapes.InvoiceDetail(
        **msgspec.structs.asdict(_invoice(invoice)), line_items=[_line(line, invoice.currency) for line in lines]
    )


def _invoice(invoice: Invoice) -> shapes.Invoice:
    currency = invoice.currency
    return shapes.Invoice(
        id=str(invoice.id),
        number=invoice.number,
        status=invoice.status,
        currency=currency,
        period_start=rfc3339(invoice.period_start),
        period_end=rfc3339(invoice.period_end),
        subtotal=invoice_amount(invoice.subtotal_micros, currency),
        tax=invoice_amount(invoice.tax_micros, currency),
        total=invoice_amount(invoice.total_micros, currency),
        amount_due=invoice_amount(invoice.amount_due_micros, currency),
        issued_at=optional_rfc3339(invoice.issued_at),
        due_at=optional_rfc3339(invoice.due_at),
        paid_at=optional_rfc3339(invoice.paid_at),
    )


def _line(line: Line, currency: str) -> shapes.InvoiceLine:
    return shapes.InvoiceLine(
        description=line.description,
        country=line.country,
        messages=line.messages,
        segments=line.segments,
        unit_price=decimal_string(line.unit_micros),
        amount=invoice_amount(line.amount_micros, currency),
    )
