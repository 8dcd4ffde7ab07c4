"""Invoices and credit notes as documents to be printed, in the customer's language."""

from collections.abc import Sequence
from datetime import datetime

from ghasi.billing.documents import document as printed
from ghasi.billing.documents.document import Document, DocumentLine
from ghasi.billing.invoices.model import CreditLine, CreditNote, InvoiceDetail, TaxLine
from ghasi.billing.invoices.presenting import percent_of
from ghasi.billing.model import Invoice, Line, Party

LANGUAGE = "en"
"""Of customers who chose none."""


def invoice_document(detail: InvoiceDetail, seller: Party, customer: Party, now: datetime) -> Document:
    """Return what is printed of an invoice."""
    invoice = detail.invoice
    return Document(
        kind="invoice",
        number=invoice.number,
        status=invoice.status,
        currency=invoice.currency,
        locale=customer.locale or LANGUAGE,
        seller=_party(seller, invoice),
        customer=_party(customer, invoice),
        period_start=invoice.period_start,
        period_end=invoice.period_end,
        issued_at=invoice.issued_at,
        due_at=invoice.due_at,
        paid_at=invoice.paid_at,
        overdue=invoice.is_overdue(now),
        lines=tuple(map(_line, detail.lines)),
        taxes=_taxes(detail.taxes),
        subtotal_micros=invoice.subtotal_micros,
        total_micros=invoice.total_micros,
        paid_micros=invoice.paid_micros,
        credited_micros=invoice.credited_micros,
        amount_due_micros=invoice.amount_due_micros,
        payments=tuple(
            printed.PaymentLine(one.paid_at, one.amount_micros, one.method.replace("_", " ")) for one in detail.payments
        ),
        credits=tuple(
            printed.CreditLine(note.number, note.issued_at, note.total_micros) for note in detail.credit_notes
        ),
    )


def credit_note_document(
    note: CreditNote,
    lines: Sequence[CreditLine],
    taxes: Sequence[TaxLine],
    detail: InvoiceDetail,
    parties: tuple[Party, Party],
) -> Document:
    """Return what is printed of a credit note of an invoice, from the seller to the customer."""
    seller, customer = parties
    invoice = detail.invoice
    return Document(
        kind="credit_note",
        number=note.number,
        status="open",
        currency=note.currency,
        locale=customer.locale or LANGUAGE,
        seller=_party(seller, invoice),
        customer=_party(customer, invoice),
        period_start=invoice.period_start,
        period_end=invoice.period_end,
        issued_at=note.issued_at,
        lines=tuple(_credit_line(line, detail.lines) for line in lines),
        taxes=_taxes(taxes),
        subtotal_micros=note.subtotal_micros,
        total_micros=note.total_micros,
        invoice_number=note.invoice_number,
        reason=note.reason,
    )


def _party(party: Party, invoice: Invoice) -> printed.Party:
    """Return who is named; a customer whose name nobody has told is called by the account's id."""
    return printed.Party(party.name or str(invoice.account_id), party.address, party.tax_id, party.email)


def _line(line: Line) -> DocumentLine:
    of_messages = line.direction is not None
    return DocumentLine(
        kind=line.kind,
        amount_micros=line.amount_micros,
        country=line.country,
        detail=line.detail,
        month=line.month,
        inbound=line.direction == "inbound",
        messages=line.messages if of_messages else None,
        segments=line.segments if of_messages else None,
        unit_micros=line.unit_micros if of_messages else None,
    )


def _credit_line(line: CreditLine, invoiced: Sequence[Line]) -> DocumentLine:
    if line.invoice_line is None:
        return DocumentLine(kind="adjustment", amount_micros=line.amount_micros, detail=line.description)
    of = invoiced[line.invoice_line]
    return DocumentLine(
        kind=of.kind,
        amount_micros=line.amount_micros,
        country=of.country,
        detail=of.detail,
        month=of.month,
        inbound=of.direction == "inbound",
    )


def _taxes(taxes: Sequence[TaxLine]) -> tuple[printed.TaxLine, ...]:
    return tuple(
        printed.TaxLine(tax.name, percent_of(tax.rate_ppm), tax.base_micros, tax.amount_micros) for tax in taxes
    )
