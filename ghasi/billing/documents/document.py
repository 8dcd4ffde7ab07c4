"""What is printed: an invoice or a credit note as plain values, independent of how billing keeps it.

Money is integer micros of the document's currency, rounded already: nothing is added up or rounded when printing.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

DocumentKind = Literal["invoice", "credit_note"]
DocumentStatus = Literal["draft", "open", "paid", "void", "uncollectible"]
LineKind = Literal["usage", "base_fee", "included", "minimum", "discount", "adjustment"]


@dataclass(frozen=True, slots=True)
class Party:
    """Who issues a document, or whom it is for."""

    name: str
    address: tuple[str, ...] = ()
    tax_id: str | None = None
    email: str | None = None


@dataclass(frozen=True, slots=True)
class DocumentLine:
    """A line: its words are made of its kind in the document's language.

    `country` is ISO 3166 (None: numbers of no country, for usage; otherwise no country at all), `inbound` messages come
    from there, `detail` is free text such as a plan's name, `month` any day of the month that an adjustment belongs to.
    What has no count or unit price is None and stays blank. Discounts and what is included are negative amounts.
    """

    kind: LineKind
    amount_micros: int
    country: str | None = None
    detail: str | None = None
    month: date | None = None
    inbound: bool = False
    messages: int | None = None
    segments: int | None = None
    unit_micros: int | None = None


@dataclass(frozen=True, slots=True)
class TaxLine:
    """A tax: `percent` is a decimal string such as 19 or 9.975."""

    name: str
    percent: str
    base_micros: int
    amount_micros: int


@dataclass(frozen=True, slots=True)
class PaymentLine:
    """A payment of an invoice; `method` is free text."""

    at: datetime
    amount_micros: int
    method: str | None = None


@dataclass(frozen=True, slots=True)
class CreditLine:
    """A credit note that an invoice has got."""

    number: str
    at: datetime
    amount_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """An invoice or a credit note; the period's end is exclusive.

    `locale` is a language tag (BCP 47). `paid_micros` and `credited_micros` are the sums of all payments and credits,
    shown where the single ones are not given. A credit note is open once it is issued; its `invoice_number` says of
    which invoice, `reason` why.
    """

    kind: DocumentKind
    number: str | None
    status: DocumentStatus
    currency: str
    locale: str
    seller: Party
    customer: Party
    period_start: datetime
    period_end: datetime
    lines: tuple[DocumentLine, ...]
    subtotal_micros: int
    total_micros: int
    amount_due_micros: int = 0
    overdue: bool = False
    issued_at: datetime | None = None
    due_at: datetime | None = None
    paid_at: datetime | None = None
    taxes: tuple[TaxLine, ...] = ()
    paid_micros: int = 0
    credited_micros: int = 0
    payments: tuple[PaymentLine, ...] = ()
    credits: tuple[CreditLine, ...] = ()
    invoice_number: str | None = None
    reason: str | None = None

    @property
    def file_name(self) -> str:
        """What the file is called: by its number, a draft by its month; plain ASCII."""
        return f"{self.number or f'draft-{self.period_start:%Y-%m}'}.pdf"
