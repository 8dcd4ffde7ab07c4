"""`ghasi admin invoices`: what customers owe, and closing months."""

from typing import Annotated, Any
from uuid import UUID

from cyclopts import App, Parameter

from ghasi.billing.invoices import admin as invoice_admin
from ghasi.billing.model import Invoice
from ghasi.commands.operator import Operator, OperatorFlags, do, fields
from ghasi.commands.output import RowLimit, count, print_line, print_row, print_rows
from ghasi.contract.shapes import InvoiceStatus
from ghasi.contract.values import decimal_string

invoices = App(name="invoices", help="Invoices, by number; closing months.")

HERE = Operator()


def _invoice(invoice: Invoice) -> dict[str, Any]:
    known = fields(invoice, "number", "status", "account_id", "period_start", "period_end", "currency")
    amounts = {
        "subtotal": decimal_string(invoice.subtotal_micros, 2),
        "tax": decimal_string(invoice.tax_micros, 2),
        "total": decimal_string(invoice.total_micros, 2),
        "amount_due": decimal_string(invoice.amount_due_micros, 2),
    }
    return known | amounts | fields(invoice, "issued_at", "due_at", "paid_at", "id")


INVOICE_COLUMNS = ("number", "status", "account_id", "period_start", "total", "amount_due", "currency", "due_at")


@invoices.command(name="list")
def list_invoices(
    *,
    account: UUID | None = None,
    status: InvoiceStatus | None = None,
    limit: RowLimit = 50,
    operator: OperatorFlags = HERE,
) -> None:
    """List the newest invoices, of one account or of all."""
    found = do(
        operator, lambda it: invoice_admin.list_invoices(it.pool, account_id=account, status=status, limit=limit)
    )
    print_rows([_invoice(invoice) for invoice in found], as_json=operator.json, columns=INVOICE_COLUMNS)


@invoices.command(name="show")
def show_invoice(number: str, *, operator: OperatorFlags = HERE) -> None:
    """Show an invoice with its lines."""
    invoice, lines = do(operator, lambda it: invoice_admin.get_invoice(it.pool, number))
    rows = [
        fields(line, "description", "country", "messages", "segments")
        | {"unit_price": decimal_string(line.unit_micros), "amount": decimal_string(line.amount_micros, 2)}
        for line in lines
    ]
    if operator.json:
        print_row(_invoice(invoice) | {"line_items": rows}, as_json=True)
        return
    print_row(_invoice(invoice), as_json=False)
    columns = ("description", "country", "messages", "segments", "unit_price", "amount")
    print_rows(rows, as_json=False, columns=columns)


@invoices.command(name="close")
def close_period(
    *,
    period: Annotated[str, Parameter(help="A month: YYYY-MM")],
    early: Annotated[bool, Parameter(help="The running month too, for trials", negative="")] = False,
    operator: OperatorFlags = HERE,
) -> None:
    """Make the invoices of a month; to do it twice is harmless."""
    done = do(operator, lambda it: invoice_admin.close_period(it.pool, period, early=early, actor=operator.actor))
    if operator.json:
        print_row({"made": [_invoice(invoice) for invoice in done.made], "skipped": done.skipped}, as_json=True)
        return
    there = "was there" if len(done.skipped) == 1 else "were there"
    print_line(f"{count(len(done.made), 'invoice')} made, {len(done.skipped)} {there}", {}, as_json=False)
    if done.made:
        print_rows([_invoice(invoice) for invoice in done.made], as_json=False, columns=INVOICE_COLUMNS)


@invoices.command(name="pay")
def pay_invoice(number: str, *, operator: OperatorFlags = HERE) -> None:
    """Mark an open invoice as paid."""
    paid = do(operator, lambda it: invoice_admin.pay_invoice(it.pool, number, operator.actor))
    print_line(f"{paid.number} is {paid.status}", _invoice(paid), as_json=operator.json)


@invoices.command(name="void")
def void_invoice(number: str, *, operator: OperatorFlags = HERE) -> None:
    """Write an open invoice off; its number stays."""
    voided = do(operator, lambda it: invoice_admin.void_invoice(it.pool, number, operator.actor))
    print_line(f"{voided.number} is {voided.status}", _invoice(voided), as_json=operator.json)
