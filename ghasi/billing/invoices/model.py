"""What invoices are made of and settled by. Owns the shapes in memory; speaks no SQL and no HTTP."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

from ghasi.billing.model import Invoice, Line

PPM = 1_000_000
ON_BALANCE = "balance"
"""Method of the payment that an invoice begins with: what stood in the customer's favour, or was prepaid."""


class Tax(NamedTuple):
    """A tax of an account, in millionths of the subtotal."""

    name: str
    rate_ppm: int


class Discount(NamedTuple):
    """What an account pays less: millionths of the sum before discounts, or an amount; until a month inclusive."""

    id: UUID
    name: str
    rate_ppm: int | None
    amount_micros: int | None
    from_month: date
    until_month: date | None

    def holds_in(self, month: date) -> bool:
        """Whether it counts in a month."""
        return self.from_month <= month and (self.until_month is None or month <= self.until_month)


class TaxLine(NamedTuple):
    """A tax on an invoice or a credit note: of which amount, and how much."""

    name: str
    rate_ppm: int
    base_micros: int
    amount_micros: int


class Content(NamedTuple):
    """What an invoice says: its lines and taxes, and on which line each tally is."""

    lines: list[Line]
    taxes: list[TaxLine]
    line_of: dict[UUID, int]

    @property
    def subtotal_micros(self) -> int:
        """The sum of the lines."""
        return sum(line.amount_micros for line in self.lines)

    @property
    def tax_micros(self) -> int:
        """The sum of the taxes."""
        return sum(tax.amount_micros for tax in self.taxes)

    @property
    def total_micros(self) -> int:
        """What the invoice is for."""
        return self.subtotal_micros + self.tax_micros


@dataclass(frozen=True, slots=True)
class Payment:
    """What was paid of an invoice at once."""

    id: UUID
    invoice_id: UUID
    account_id: UUID
    amount_micros: int
    method: str
    reference: str | None
    paid_at: datetime


class CreditLine(NamedTuple):
    """One line of a credit note; `invoice_line` is the place of the line that it credits."""

    description: str
    invoice_line: int | None
    amount_micros: int


@dataclass(frozen=True, slots=True)
class CreditNote:
    """What was taken back of an invoice; `to_balance_micros` of it is more than was due."""

    id: UUID
    account_id: UUID
    invoice_id: UUID
    invoice_number: str
    number: str
    currency: str
    reason: str
    subtotal_micros: int
    tax_micros: int
    total_micros: int
    to_balance_micros: int
    issued_at: datetime


@dataclass(frozen=True, slots=True)
class InvoiceDetail:
    """An invoice with all that belongs to it."""

    invoice: Invoice
    lines: list[Line]
    taxes: list[TaxLine]
    payments: list[Payment]
    credit_notes: list[CreditNote]
