"""`ghasi admin invoices`: what customers owe, and closing months."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from cyclopts import App, Parameter

from ghasi.billing.invoices import admin as invoice_admin
from ghasi.billing.invoices import credit_notes, settling
from ghasi.billing.invoices.credit_notes import LineCredit, Wanted
from ghasi.billing.invoices.model import CreditNote
from ghasi.billing.invoices.presenting import credit_note_shape, line_shape, seller_of, tax_shapes
from ghasi.billing.invoices.settling import Paid
from ghasi.billing.model import Invoice, SettlementError
from ghasi.billing.money import invoice_amount, read_amount
from ghasi.commands.amounts import Amount
from ghasi.commands.operator import Operator, OperatorFlags, do, fields
from ghasi.commands.output import RowLimit, count, print_line, print_row, print_rows
from ghasi.contract.shapes import InvoiceStatus

invoices = App(name="invoices")

HERE = Operator()


def _invoice(invoice: Invoice) -> dict[str, Any]:
    known = fields(invoice, "number", "status", "account_id", "period_start", "period_end", "currency", "plan")
    amounts = {
        name: invoice_amount(getattr(invoice, f"{name}_micros"), invoice.currency)
        for name in ("subtotal", "tax", "total", "paid", "credited", "amount_due")
    }
    overdue = {"overdue": invoice.is_overdue(datetime.now(UTC))}
    return known | amounts | overdue | fields(invoice, "issued_at", "due_at", "paid_at", "id")


INVOICE_COLUMNS = ("number", "status", "account_id", "period_start", "total", "amount_due", "currency", "due_at")


@invoices.command(name="list")
def list_invoices(
    *,
    account: UUID | None = None,
    status: InvoiceStatus | None = None,
    overdue: Annotated[bool | None, Parameter(help="Only those overdue, or only the others")] = None,
    period: Annotated[str | None, Parameter(help="A month: YYYY-MM")] = None,
    limit: RowLimit = 50,
    operator: OperatorFlags = HERE,
) -> None:
    """List the newest invoices, of one account or of all."""
    found = do(
        operator,
        "billing",
        lambda it: invoice_admin.list_invoices(
            it.pool, account_id=account, status=status, overdue=overdue, period=period, limit=limit
        ),
    )
    print_rows([_invoice(invoice) for invoice in found], as_json=operator.json, columns=INVOICE_COLUMNS)


@invoices.command(name="show")
def show_invoice(number: str, *, operator: OperatorFlags = HERE) -> None:
    """Show an invoice with its lines, taxes, payments and credit notes."""
    detail = do(operator, "billing", lambda it: invoice_admin.get_invoice(it.pool, number))
    invoice = detail.invoice
    currency = invoice.currency
    parts = {
        "line_items": [
            {"line": place} | msgspec.to_builtins(line_shape(line, currency)) for place, line in enumerate(detail.lines)
        ],
        "taxes": msgspec.to_builtins(tax_shapes(detail.taxes, currency)),
        "payments": [
            fields(payment, "paid_at", "method", "reference", "id")
            | {"amount": invoice_amount(payment.amount_micros, currency)}
            for payment in detail.payments
        ],
        "credit_notes": [_credit_note(note) for note in detail.credit_notes],
    }
    if operator.json:
        print_row(_invoice(invoice) | parts, as_json=True)
        return
    print_row(_invoice(invoice), as_json=False)
    for name, columns in DETAIL_COLUMNS.items():
        if parts[name]:
            print_line("", {}, as_json=False)
            print_rows(parts[name], as_json=False, columns=columns)


DETAIL_COLUMNS = {
    "line_items": ("line", "kind", "description", "country", "messages", "segments", "unit_price", "amount"),
    "taxes": ("name", "percent", "base", "amount"),
    "payments": ("paid_at", "method", "reference", "amount"),
    "credit_notes": ("number", "issued_at", "reason", "total", "to_balance"),
}


def _credit_note(note: CreditNote) -> dict[str, Any]:
    return dict(msgspec.to_builtins(credit_note_shape(note)))


@invoices.command(name="close")
def close_period(
    *,
    period: Annotated[str, Parameter(help="A month: YYYY-MM")],
    early: Annotated[bool, Parameter(help="The running month too, for trials", negative="")] = False,
    operator: OperatorFlags = HERE,
) -> None:
    """Make the invoices of a month, before the worker does; to do it twice is harmless."""
    done = do(
        operator,
        "billing",
        lambda it: invoice_admin.close_period(
            it.pool, it.events, period, early=early, actor=operator.actor, seller=seller_of(it.settings)
        ),
    )
    if operator.json:
        print_row({"made": [_invoice(invoice) for invoice in done.made], "skipped": done.skipped}, as_json=True)
        return
    there = "was there" if len(done.skipped) == 1 else "were there"
    print_line(f"{count(len(done.made), 'invoice')} made, {len(done.skipped)} {there}", {}, as_json=False)
    if done.made:
        print_rows([_invoice(invoice) for invoice in done.made], as_json=False, columns=INVOICE_COLUMNS)


@invoices.command(name="pay")
def pay_invoice(
    number: str,
    *,
    amount: Annotated[Amount | None, Parameter(help="By default all that is due")] = None,
    method: str = "bank_transfer",
    reference: Annotated[str | None, Parameter(help="The payer's own; the same one is recorded once")] = None,
    at: Annotated[datetime | None, Parameter(help="When it was paid, UTC; by default now")] = None,
    operator: OperatorFlags = HERE,
) -> None:
    """Record a payment of an open invoice, a part or all that is due."""
    paid = Paid(amount, method, reference, at and at.replace(tzinfo=at.tzinfo or UTC))
    invoice = do(operator, "billing", lambda it: settling.pay_invoice(it.pool, number, operator.actor, paid))
    due = invoice_amount(invoice.amount_due_micros, invoice.currency)
    said = f"{number} is {invoice.status}" + (f", {invoice.currency} {due} due" if invoice.amount_due_micros else "")
    print_line(said, _invoice(invoice), as_json=operator.json)


@invoices.command(name="void")
def void_invoice(number: str, *, operator: OperatorFlags = HERE) -> None:
    """Take an open invoice back of which nothing was paid or credited; its number stays."""
    voided = do(operator, "billing", lambda it: settling.void_invoice(it.pool, number, operator.actor))
    print_line(f"{voided.number} is {voided.status}", _invoice(voided), as_json=operator.json)


@invoices.command(name="uncollectible")
def give_up_invoice(number: str, *, operator: OperatorFlags = HERE) -> None:
    """Give up what is due of an open invoice; a payment that comes after all may still be recorded."""
    given_up = do(operator, "billing", lambda it: settling.give_up_invoice(it.pool, number, operator.actor))
    print_line(f"{given_up.number} is {given_up.status}", _invoice(given_up), as_json=operator.json)


@invoices.command(name="credit")
def credit_invoice(
    number: str,
    *,
    reason: Annotated[str, Parameter(help="Why; the customer reads it")],
    amount: Annotated[Amount | None, Parameter(help="With its taxes; by default all that is left")] = None,
    line: Annotated[
        tuple[str, ...],
        Parameter(help="In its place: a line, PLACE or PLACE=AMOUNT before taxes", negative=""),
    ] = (),
    operator: OperatorFlags = HERE,
) -> None:
    """Make a credit note of an invoice, as a whole or in part: off what is due, the rest to the balance."""
    if amount is not None and line:
        raise SettlementError("credit an amount or lines, not both")
    wanted = Wanted(reason, amount, [_line_credit(text) for text in line])
    note = do(operator, "billing", lambda it: credit_notes.credit_invoice(it.pool, number, wanted, operator.actor))
    total = invoice_amount(note.total_micros, note.currency)
    print_line(f"{note.number} credits {note.currency} {total} of {number}", _credit_note(note), as_json=operator.json)


def _line_credit(text: str) -> LineCredit:
    place, equals, amount = text.partition("=")
    if not place.isdecimal():
        raise SettlementError(f"{text!r} is no line: write its place, such as 0, or 0=1.50")
    return LineCredit(int(place), read_amount(amount) if equals else None)
