"""An invoice as CSV: a row for each line and each tax, so that the amounts add up to the total."""

import csv
import io
from typing import NamedTuple

from ghasi.billing.invoices.model import InvoiceDetail
from ghasi.billing.invoices.presenting import line_shape, percent_of
from ghasi.billing.money import invoice_amount
from ghasi.contract.values import spreadsheet_text

HEADER = (
    "number", "period", "currency", "kind", "description", "country", "direction", "rate_id", "month", "messages",
    "segments", "unit_price", "percent", "amount",
)  # fmt: skip


class File(NamedTuple):
    """A file's name, plain ASCII, and its content."""

    name: str
    content: bytes


def write_csv(detail: InvoiceDetail) -> File:
    """Return the file of an invoice; a tax is a row of the kind `tax`."""
    invoice = detail.invoice
    period = f"{invoice.period_start:%Y-%m}"
    head = (invoice.number, period, invoice.currency)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(HEADER)
    for line in detail.lines:
        shown = line_shape(line, invoice.currency)
        writer.writerow((
            *head, shown.kind, spreadsheet_text(shown.description), shown.country, shown.direction, shown.rate_id,
            shown.month, shown.messages, shown.segments, shown.unit_price, None, shown.amount,
        ))  # fmt: skip
    for tax in detail.taxes:
        writer.writerow((
            *head, "tax", spreadsheet_text(tax.name), *(None,) * 7, percent_of(tax.rate_ppm),
            invoice_amount(tax.amount_micros, invoice.currency),
        ))  # fmt: skip
    return File(f"{invoice.number or f'draft-{period}'}.csv", text.getvalue().encode())
