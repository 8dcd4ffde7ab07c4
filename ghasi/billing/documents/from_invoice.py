"""An invoice as billing keeps it, made a document."""

from collections.abc import Sequence

from ghasi.billing.documents.document import Document, DocumentLine, Party
from ghasi.billing.model import Invoice, Line


def document_of(
    invoice: Invoice, lines: Sequence[Line], *, seller: Party, customer: Party, locale: str = "en"
) -> Document:
    """Return what is printed of an invoice."""
    paid = invoice.total_micros if invoice.status == "paid" else 0
    return Document(
        kind="invoice",
        number=invoice.number,
        status=invoice.status,
        currency=invoice.currency,
        locale=locale,
        seller=seller,
        customer=customer,
        period_start=invoice.period_start,
        period_end=invoice.period_end,
        issued_at=invoice.issued_at,
        due_at=invoice.due_at,
        paid_at=invoice.paid_at,
        lines=tuple(
            DocumentLine(
                kind="usage",
                country=line.country,
                messages=line.messages,
                segments=line.segments,
                unit_micros=line.unit_micros,
                amount_micros=line.amount_micros,
            )
            for line in lines
        ),
        subtotal_micros=invoice.subtotal_micros,
        total_micros=invoice.total_micros,
        paid_micros=paid,
        amount_due_micros=invoice.amount_due_micros,
    )
