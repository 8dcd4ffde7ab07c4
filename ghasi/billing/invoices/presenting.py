"""Invoices and credit notes as the API shows them: the shapes of the contract, made of what billing keeps. Pure."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

import msgspec

from ghasi.billing.invoices.model import CreditLine, CreditNote, InvoiceDetail, Payment, TaxLine
from ghasi.billing.model import Invoice, Line, Party
from ghasi.billing.money import invoice_amount
from ghasi.contract import shapes
from ghasi.contract.values import decimal_string, optional_rfc3339, rfc3339
from ghasi.settings import Settings


def seller_of(settings: Settings) -> Party:
    """Return who issues invoices now."""
    return Party(
        name=settings.seller_name,
        address=tuple((settings.seller_address or "").splitlines()),
        tax_id=settings.seller_tax_id,
        email=settings.seller_email,
    )


def percent_of(rate_ppm: int) -> str:
    """Write millionths as a percentage: 190000 is 19."""
    return f"{Decimal(rate_ppm).scaleb(-4).normalize():f}"


def invoice_shape(invoice: Invoice, now: datetime) -> shapes.Invoice:
    """Return an invoice as lists show it."""
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
        paid=invoice_amount(invoice.paid_micros, currency),
        credited=invoice_amount(invoice.credited_micros, currency),
        amount_due=invoice_amount(invoice.amount_due_micros, currency),
        overdue=invoice.is_overdue(now),
        plan=invoice.plan,
        issued_at=optional_rfc3339(invoice.issued_at),
        due_at=optional_rfc3339(invoice.due_at),
        paid_at=optional_rfc3339(invoice.paid_at),
    )


def detail_shape(detail: InvoiceDetail, seller: Party, customer: Party, now: datetime) -> shapes.InvoiceDetail:
    """Return an invoice with all that belongs to it."""
    invoice = detail.invoice
    return shapes.InvoiceDetail(
        **msgspec.structs.asdict(invoice_shape(invoice, now)),
        line_items=[line_shape(line, invoice.currency) for line in detail.lines],
        taxes=tax_shapes(detail.taxes, invoice.currency),
        payments=[_payment_shape(payment, invoice.currency) for payment in detail.payments],
        credit_notes=[credit_note_shape(note) for note in detail.credit_notes],
        seller=party_shape(seller, invoice),
        customer=party_shape(customer, invoice),
    )


def line_shape(line: Line, currency: str) -> shapes.InvoiceLine:
    """Return one line."""
    return shapes.InvoiceLine(
        description=line.description,
        country=line.country,
        messages=line.messages,
        segments=line.segments,
        unit_price=decimal_string(line.unit_micros),
        amount=invoice_amount(line.amount_micros, currency),
        kind=line.kind,
        rate_id=None if line.rate_id is None else str(line.rate_id),
        direction=line.direction,
        month=None if line.month is None else f"{line.month:%Y-%m}",
    )


def tax_shapes(taxes: Iterable[TaxLine], currency: str) -> list[shapes.TaxLine]:
    """Return taxes of an invoice or a credit note."""
    return [
        shapes.TaxLine(
            name=tax.name,
            percent=percent_of(tax.rate_ppm),
            base=invoice_amount(tax.base_micros, currency),
            amount=invoice_amount(tax.amount_micros, currency),
        )
        for tax in taxes
    ]


def _payment_shape(payment: Payment, currency: str) -> shapes.InvoicePayment:
    return shapes.InvoicePayment(
        id=str(payment.id),
        amount=invoice_amount(payment.amount_micros, currency),
        method=payment.method,
        reference=payment.reference,
        paid_at=rfc3339(payment.paid_at),
    )


def party_shape(party: Party, invoice: Invoice) -> shapes.Party:
    """Return who is named on an invoice; a customer whose name nobody has told is called by the account's id."""
    return shapes.Party(
        name=party.name or str(invoice.account_id),
        address=list(party.address),
        tax_id=party.tax_id,
        email=party.email,
    )


def credit_note_shape(note: CreditNote) -> shapes.CreditNote:
    """Return a credit note as lists show it."""
    currency = note.currency
    return shapes.CreditNote(
        id=str(note.id),
        number=note.number,
        invoice_id=str(note.invoice_id),
        invoice_number=note.invoice_number,
        currency=currency,
        reason=note.reason,
        subtotal=invoice_amount(note.subtotal_micros, currency),
        tax=invoice_amount(note.tax_micros, currency),
        total=invoice_amount(note.total_micros, currency),
        to_balance=invoice_amount(note.to_balance_micros, currency),
        issued_at=rfc3339(note.issued_at),
    )


def credit_line_shape(line: CreditLine, currency: str) -> shapes.CreditNoteLine:
    """Return one line of a credit note."""
    return shapes.CreditNoteLine(line.description, line.invoice_line, invoice_amount(line.amount_micros, currency))
