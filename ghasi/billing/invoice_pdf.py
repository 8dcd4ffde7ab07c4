"""An invoice as PDF: what it says, in words and figures, and the printing.

Owns how money, dates and counts are written on paper; the looks are invoice.typ's. What customers are called is hostile
text: it goes to the template as JSON, never as markup. The same invoice is the same bytes.
"""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import typst

from ghasi.billing.model import Invoice, Line
from ghasi.billing.money import invoice_amount
from ghasi.contract.values import decimal_string

TEMPLATE = Path(__file__).with_name("invoice.typ")
_MARKS = {"draft": "DRAFT", "paid": "PAID", "void": "VOID"}
_CONTROLS = dict.fromkeys([*range(32), *range(127, 160), 0x2028, 0x2029], " ")
_MOMENT = timedelta(microseconds=1)


class Seller(NamedTuple):
    """Who issues the invoices; the address may have several lines, or none."""

    name: str
    address: str | None


class Document(NamedTuple):
    """What is printed."""

    invoice: Invoice
    lines: list[Line]
    customer_name: str

    @property
    def file_name(self) -> str:
        """What the file is called: by its number, a draft by its month; plain ASCII."""
        return f"{self.invoice.number or f'draft-{self.invoice.period_start:%Y-%m}'}.pdf"


class Printer:
    """Prints invoices in a thread of its own, one at a time: it takes 10 ms a page, and none from the event loop."""

    def __init__(self, seller: Seller, thread: ThreadPoolExecutor) -> None:
        """Take who issues the invoices, and the one thread: a compiler is no two threads' at once."""
        self._seller = seller
        self._thread = thread
        self._template = TEMPLATE.read_bytes()
        self._compiler = typst.Compiler(ignore_system_fonts=True)

    async def print(self, document: Document) -> bytes:
        """Return the PDF; whoever stops waiting before it is begun leaves nothing behind."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._print, document)

    def _print(self, document: Document) -> bytes:
        content = msgspec.json.encode(describe(document, self._seller)).decode()
        # what the file says of its own making, so that the clock has no part in it
        issued_at = document.invoice.issued_at or document.invoice.period_end
        pdf = self._compiler.compile(
            self._template, format="pdf", sys_inputs={"invoice": content}, timestamp=int(issued_at.timestamp())
        )
        if not isinstance(pdf, bytes):
            raise TypeError("an invoice is one file")
        return pdf


@asynccontextmanager
async def open_printer(seller: Seller) -> AsyncIterator[Printer]:
    """Give a printer, and end its thread afterwards."""
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="invoices")
    try:
        yield Printer(seller, thread)
    finally:
        thread.shutdown(wait=False, cancel_futures=True)


def describe(document: Document, seller: Seller) -> dict[str, Any]:
    """Return what the template shows, every value as it is to be read."""
    invoice = document.invoice
    currency = invoice.currency
    mark = _MARKS.get(invoice.status)
    name = invoice.number or "Draft"
    due = f"{currency} {_amount(invoice.amount_due_micros, currency)}"
    decimals = max((_decimals(line.unit_micros) for line in document.lines), default=0)
    total = f"{currency} {_amount(invoice.total_micros, currency)}"
    return {
        "title": f"Invoice {name}" if invoice.number else "Draft of an invoice",
        "heading": "Invoice",
        "mark": mark,
        "seller": {
            "name": _text(seller.name),
            "address": [_text(part) for part in (seller.address or "").splitlines()],
        },
        "customer": _text(document.customer_name),
        "facts": _facts(invoice),
        "headline": _headline(invoice, due, total),
        "footer": " · ".join([name, *([mark] if mark and invoice.number else []), f"{due} {_due(invoice)}"]),
        "lines": [_line(line, currency, decimals) for line in document.lines],
        "sums": [
            ("Subtotal", _amount(invoice.subtotal_micros, currency)),
            ("Tax", _amount(invoice.tax_micros, currency)),
            ("Total", _amount(invoice.total_micros, currency)),
            ("Amount due", due),
        ],
    }


def _facts(invoice: Invoice) -> list[tuple[str, str]]:
    facts = [
        ("Invoice number", invoice.number),
        ("Date of issue", _date(invoice.issued_at)),
        ("Date due", _date(invoice.due_at)),
        ("Date paid", _date(invoice.paid_at)),
        ("Period (UTC)", _period(invoice.period_start, invoice.period_end)),
    ]
    return [(name, value) for name, value in facts if value is not None]


def _headline(invoice: Invoice, due: str, total: str) -> str:
    if invoice.status == "paid":
        return f"{total} paid on {_date(invoice.paid_at)}"
    if invoice.status == "void":
        return f"{total} written off: nothing is to be paid"
    if invoice.status == "draft":
        return f"{due} {_due(invoice)}"
    return f"{due} due {_date(invoice.due_at)}"


def _due(invoice: Invoice) -> str:
    return "so far" if invoice.status == "draft" else "due"


def _line(line: Line, currency: str, decimals: int) -> dict[str, str]:
    return {
        "description": _text(line.description),
        "country": line.country or "",
        "messages": f"{line.messages:,}",
        "segments": f"{line.segments:,}",
        "unit_price": _grouped(decimal_string(line.unit_micros, decimals)),
        "amount": _amount(line.amount_micros, currency),
    }


def _amount(amount_micros: int, currency: str) -> str:
    return _grouped(invoice_amount(amount_micros, currency))


def _decimals(amount_micros: int) -> int:
    return len(decimal_string(amount_micros).partition(".")[2])


def _grouped(amount: str) -> str:
    """Put commas between the thousands of a decimal string."""
    whole, point, decimals = amount.partition(".")
    return f"{int(whole):,}{point}{decimals}"


def _text(text: str) -> str:
    """Return text on one line, without control characters."""
    return " ".join(text.translate(_CONTROLS).split())


def _date(at: datetime | None) -> str | None:
    return None if at is None else f"{at.astimezone(UTC).day} {at.astimezone(UTC):%B %Y}"


def _period(start: datetime, end: datetime) -> str:
    """Write a period by its first and last day."""
    first, last = start.astimezone(UTC), (end - _MOMENT).astimezone(UTC)
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day} to {_date(last)}"
    return f"{_date(first)} to {_date(last)}"
