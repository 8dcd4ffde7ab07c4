"""What a customer may read of billing: their own account's invoices and credit notes. Changes nothing."""

from datetime import UTC, datetime
from uuid import UUID

import msgspec

from ghasi.billing.documents.document import Document
from ghasi.billing.invoices import queries
from ghasi.billing.invoices.contents import Month, make_bills
from ghasi.billing.invoices.model import CreditNote, InvoiceDetail
from ghasi.billing.invoices.presenting import (
    credit_line_shape,
    credit_note_shape,
    detail_shape,
    invoice_shape,
    party_shape,
    tax_shapes,
)
from ghasi.billing.invoices.printing import credit_note_document, invoice_document
from ghasi.billing.model import Invoice, Party, PeriodError
from ghasi.billing.periods import FIRST_YEAR, LAST_YEAR, month_bounds, parse_month
from ghasi.contract import shapes
from ghasi.contract.errors import Problem, invalid
from ghasi.contract.serving import Caller
from ghasi.contract.values import decode_id_cursor, page_of
from ghasi.storage.pool import Connection, Pool

NO_INVOICE = UUID(int=0)
"""The id that a preview has: it is no invoice yet."""
MOST_CREDIT_NOTES = 1000
"""Of one invoice, in its detail; each is of one unit of the currency at least, by an operator's command."""


async def list_invoices(pool: Pool, caller: Caller, query: shapes.InvoiceQuery) -> shapes.Page[shapes.Invoice]:
    """Return a page of invoices, newest first; raises Problem invalid_cursor, invalid_request."""
    before = decode_id_cursor(query.cursor)
    found = await queries.list_invoices(
        pool, account_id=caller.account_id, status=query.status, overdue=query.overdue,
        period_start=_period_start(query.period), before=before, most=query.limit + 1,
    )  # fmt: skip
    now = datetime.now(UTC)
    return page_of(found, query.limit, lambda invoice: invoice_shape(invoice, now), lambda invoice: (invoice.id,))


def _period_start(period: str | None) -> datetime | None:
    if period is None:
        return None
    try:
        return parse_month(period)[0]
    except PeriodError:
        raise invalid("period", f"must be a month from {FIRST_YEAR} to {LAST_YEAR}") from None


async def get_invoice(pool: Pool, caller: Caller, invoice_id: UUID, seller: Party) -> shapes.InvoiceDetail:
    """Return an invoice with all that belongs to it; raises Problem not_found, for another account's too."""
    detail = await find_detail(pool, caller, invoice_id)
    seller, customer = await parties_of(pool, detail.invoice, seller)
    return detail_shape(detail, seller, customer, datetime.now(UTC))


async def find_detail(pool: Pool, caller: Caller, invoice_id: UUID) -> InvoiceDetail:
    """Return an account's invoice with all that belongs to it; raises Problem not_found."""
    return await read_detail(pool, await _find_invoice(pool, caller, invoice_id))


async def _find_invoice(pool: Pool, caller: Caller, invoice_id: UUID) -> Invoice:
    invoice = await queries.find_invoice(pool, caller.account_id, invoice_id)
    if invoice is None:
        raise Problem("not_found")
    return invoice


async def read_detail(connection: Connection | Pool, invoice: Invoice) -> InvoiceDetail:
    """Return an invoice with all that belongs to it."""
    notes = await queries.list_credit_notes(
        connection, invoice.account_id, invoice_id=invoice.id, most=MOST_CREDIT_NOTES
    )
    return InvoiceDetail(
        invoice,
        await queries.list_lines(connection, invoice.id),
        await queries.list_taxes(connection, invoice.id),
        await queries.list_payments(connection, invoice.id),
        notes[::-1],
    )


async def parties_of(connection: Connection | Pool, invoice: Invoice, seller: Party) -> tuple[Party, Party]:
    """Return who issues an invoice and whom it is for: as they were when it was opened, a draft's as they are now.

    A customer whose name was not known then is called by that of now.
    """
    now = (await queries.list_parties(connection, [invoice.account_id]))[invoice.account_id]
    customer = invoice.customer or now
    return invoice.seller or seller, msgspec.structs.replace(customer, name=customer.name or now.name)


async def preview_invoice(pool: Pool, caller: Caller, seller: Party) -> shapes.InvoiceDetail:
    """Return what the invoice of the running month would say now; it is computed and not kept."""
    now = datetime.now(UTC)
    month = Month(*month_bounds(now))
    (bill,) = await make_bills(pool, [caller.account_id], month, lock=False, provisional=True)
    invoice = bill.on(NO_INVOICE, month)
    seller, customer = await parties_of(pool, invoice, seller)
    return detail_shape(InvoiceDetail(invoice, bill.content.lines, bill.content.taxes, [], []), seller, customer, now)


async def list_credit_notes(
    pool: Pool, caller: Caller, query: shapes.CreditNoteQuery
) -> shapes.Page[shapes.CreditNote]:
    """Return a page of credit notes, newest first; raises Problem invalid_cursor, invalid_request."""
    before = decode_id_cursor(query.cursor)
    try:
        invoice_id = UUID(query.invoice_id) if query.invoice_id else None
    except ValueError:
        raise invalid("invoice_id", "must be the id of an invoice") from None
    found = await queries.list_credit_notes(
        pool, caller.account_id, invoice_id=invoice_id, before=before, most=query.limit + 1
    )
    return page_of(found, query.limit, credit_note_shape, lambda note: (note.id,))


async def get_credit_note(pool: Pool, caller: Caller, note_id: UUID, seller: Party) -> shapes.CreditNoteDetail:
    """Return a credit note with its lines; raises Problem not_found, for another account's too."""
    note = await _find_credit_note(pool, caller, note_id)
    invoice = await _find_invoice(pool, caller, note.invoice_id)
    seller, customer = await parties_of(pool, invoice, seller)
    return shapes.CreditNoteDetail(
        **msgspec.structs.asdict(credit_note_shape(note)),
        line_items=[
            credit_line_shape(line, note.currency) for line in await queries.list_credit_note_lines(pool, note.id)
        ],
        taxes=tax_shapes(await queries.list_credit_note_taxes(pool, note.id), note.currency),
        seller=party_shape(seller, invoice),
        customer=party_shape(customer, invoice),
    )


async def _find_credit_note(pool: Pool, caller: Caller, note_id: UUID) -> CreditNote:
    note = await queries.find_credit_note(pool, caller.account_id, note_id)
    if note is None:
        raise Problem("not_found")
    return note


async def get_document(pool: Pool, caller: Caller, invoice_id: UUID, seller: Party) -> Document:
    """Return what an invoice's PDF shows of it; raises Problem not_found, for another account's too."""
    detail = await find_detail(pool, caller, invoice_id)
    return invoice_document(detail, *await parties_of(pool, detail.invoice, seller), datetime.now(UTC))


async def get_credit_note_document(pool: Pool, caller: Caller, note_id: UUID, seller: Party) -> Document:
    """Return what a credit note's PDF shows of it; raises Problem not_found, for another account's too."""
    note = await _find_credit_note(pool, caller, note_id)
    detail = await find_detail(pool, caller, note.invoice_id)
    lines = await queries.list_credit_note_lines(pool, note.id)
    taxes = await queries.list_credit_note_taxes(pool, note.id)
    return credit_note_document(note, lines, taxes, detail, await parties_of(pool, detail.invoice, seller))
