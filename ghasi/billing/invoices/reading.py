"""What a customer may read of billing: invoices of their own account, and those as PDF. Changes nothing."""

from uuid import UUID

import msgspec

from ghasi.billing.accounts import queries as account_queries
from ghasi.billing.documents.document import Document, Party
from ghasi.billing.documents.from_invoice import document_of
from ghasi.billing.invoices import queries
from ghasi.billing.model import Invoice, Line
from ghasi.billing.money import invoice_amount
from ghasi.contract import shapes
from ghasi.contract.errors import Problem
from ghasi.contract.serving import Caller
from ghasi.contract.values import decimal_string, decode_id_cursor, optional_rfc3339, page_of, rfc3339
from ghasi.storage.pool import Pool


async def list_invoices(pool: Pool, caller: Caller, query: shapes.InvoiceQuery) -> shapes.Page[shapes.Invoice]:
    """Return a page of invoices, newest first; raises Problem invalid_cursor."""
    before = decode_id_cursor(query.cursor)
    found = await queries.list_invoices(pool, caller.account_id, query.status, before, query.limit + 1)
    return page_of(found, query.limit, _invoice, lambda invoice: (invoice.id,))


async def get_invoice(pool: Pool, caller: Caller, invoice_id: UUID) -> shapes.InvoiceDetail:
    """Return an invoice with its lines; raises Problem not_found, for another account's too."""
    invoice, lines = await _get_invoice(pool, caller, invoice_id)
    return shapes.InvoiceDetail(
        **msgspec.structs.asdict(_invoice(invoice)), line_items=[_line(line, invoice.currency) for line in lines]
    )


async def get_document(pool: Pool, caller: Caller, invoice_id: UUID, seller: Party) -> Document:
    """Return what an invoice's PDF shows of it; raises Problem not_found, for another account's too.

    The customer's name is that of the invoice's opening; a draft, or one opened before the name was known, has the
    name of now, and without any the account's id.
    """
    invoice, lines = await _get_invoice(pool, caller, invoice_id)
    name = invoice.customer_name or await account_queries.find_customer_name(pool, invoice.account_id)
    return document_of(invoice, lines, seller=seller, customer=Party(name or str(invoice.account_id)))


async def _get_invoice(pool: Pool, caller: Caller, invoice_id: UUID) -> tuple[Invoice, list[Line]]:
    invoice = await queries.find_invoice(pool, caller.account_id, invoice_id)
    if invoice is None:
        raise Problem("not_found")
    return invoice, await queries.list_lines(pool, invoice.id)


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
