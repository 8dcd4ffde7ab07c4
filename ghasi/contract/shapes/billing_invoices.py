"""What goes over the wire of invoices, credit notes and what they are addressed to.

Owns no rule beyond a field's own shape: sums, prices and periods are the service's. Amounts are decimal strings in the
invoice's currency, with as many decimals as it has.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from ghasi.contract.shapes.common import Input, PageQuery

InvoiceStatus = Literal["draft", "open", "paid", "void", "uncollectible"]
LineKind = Literal["usage", "included", "base_fee", "minimum", "discount", "adjustment"]
Month = Annotated[str, Meta(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$", description="A UTC month: YYYY-MM")]


class Invoice(Struct, frozen=True):
    """An invoice over one period; amounts are decimal strings in `currency`.

    `amount_due` is `total` without what was paid and credited, and nothing once it is paid or void; `overdue` when it
    is open and `due_at` is past. `plan` is the account's plan of the period.
    """

    id: str
    number: str | None
    status: InvoiceStatus
    currency: str
    period_start: str
    period_end: str
    subtotal: str
    tax: str
    total: str
    paid: str
    credited: str
    amount_due: str
    overdue: bool
    plan: str | None
    issued_at: str | None
    due_at: str | None
    paid_at: str | None


class InvoiceLine(Struct, frozen=True):
    """One line. Of usage: messages to or from one country at one price, that of the rate `rate_id`.

    `month` is of adjustments alone: in which month the messages were charged. Discounts are negative.
    """

    description: str
    country: str | None
    messages: int
    segments: int
    unit_price: str
    amount: str
    kind: LineKind
    rate_id: str | None
    direction: Literal["outbound", "inbound"] | None
    month: str | None


class TaxLine(Struct, frozen=True):
    """A tax on the subtotal; `percent` is a decimal string such as 19 or 9.975."""

    name: str
    percent: str
    base: str
    amount: str


class InvoicePayment(Struct, frozen=True):
    """A payment; `method` is `balance` for what was there when the invoice was opened."""

    id: str
    amount: str
    method: str
    reference: str | None
    paid_at: str


class Party(Struct, frozen=True):
    """Who issues an invoice, or whom it is for, as they were when it was opened."""

    name: str
    address: list[str]
    tax_id: str | None
    email: str | None


class CreditNote(Struct, frozen=True):
    """What was taken back of an invoice: `to_balance` of it was paid before and stands in the account's favour."""

    id: str
    number: str
    invoice_id: str
    invoice_number: str
    currency: str
    reason: str
    subtotal: str
    tax: str
    total: str
    to_balance: str
    issued_at: str


class CreditNoteLine(Struct, frozen=True):
    """What one line takes back, before taxes; `line` is the place of the invoice's line, the first being 0."""

    description: str
    line: int | None
    amount: str


class CreditNoteDetail(CreditNote, frozen=True):
    """A credit note with its lines, whose sum is the subtotal."""

    line_items: list[CreditNoteLine]
    taxes: list[TaxLine]
    seller: Party
    customer: Party


class InvoiceDetail(Invoice, frozen=True):
    """An invoice with its lines; the sum of the lines is the subtotal, that of the taxes the tax."""

    line_items: list[InvoiceLine]
    taxes: list[TaxLine]
    payments: list[InvoicePayment]
    credit_notes: list[CreditNote]
    seller: Party
    customer: Party


class InvoiceQuery(PageQuery, frozen=True, kw_only=True):
    """Filters of the invoice list."""

    status: InvoiceStatus | None = None
    overdue: bool | None = None
    period: Month | None = None


class CreditNoteQuery(PageQuery, frozen=True, kw_only=True):
    """Filters of the list of credit notes."""

    invoice_id: Annotated[str, Meta(min_length=36, max_length=36)] | None = None


class SourceQuery(PageQuery, frozen=True, kw_only=True):
    """Which charges are listed: those of one line (the first is 0), or of all of them."""

    line: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None


class SourceTier(Struct, frozen=True):
    """The price of a segment once so many of the month have been charged at the rate."""

    from_segments: int
    price: str


class SourceRate(Struct, frozen=True):
    """The rate of a line and the conditions under which it holds; null is any."""

    id: str
    country: str | None
    prefix: str | None
    direction: Literal["outbound", "inbound"]
    sender_kind: str | None
    carrier_class: str | None
    plan: str | None
    own: Annotated[bool, Meta(description="whether it is this account's alone")]
    price: str
    tiers: list[SourceTier]
    valid_from: str


class SourceTally(Struct, frozen=True):
    """What was added up for a line; its amount is exact, and rounded once with the others of the line."""

    id: str
    month: str
    messages: int
    segments: int
    unit_price: str
    amount: str


class SourceLine(Struct, frozen=True):
    """Where a line comes from: the sums of charges that it rounds, and the rate they were charged at."""

    line: int
    kind: LineKind
    description: str
    amount: str
    rate: SourceRate | None
    tallies: list[SourceTally]


class SourceCharge(Struct, frozen=True):
    """What one message was charged, and on which line it is; negative where that was given back.

    `at` is when it is counted: when it was sent, or accepted where the plan bills that, or arrived. `list_price` is the
    rate's, `unit_price` what the plan leaves of it.
    """

    message_id: str
    line: int
    at: str
    country: str | None
    segments: int
    list_price: str
    unit_price: str
    amount: str
    rate_id: str | None


class InvoiceSources(Struct, frozen=True):
    """Every line's source, and a page of the charges, those of the first line first."""

    line_items: list[SourceLine]
    data: list[SourceCharge]
    next_cursor: str | None


_Line = Annotated[str, Meta(min_length=1, max_length=100)]


class BillingProfileInput(Input, frozen=True, kw_only=True):
    """What a customer is called on invoices from now on; what is left out is taken away."""

    legal_name: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    address: Annotated[list[_Line], Meta(max_length=6)] = field(default_factory=list)
    tax_id: Annotated[str, Meta(min_length=1, max_length=50)] | None = None
    email: Annotated[str, Meta(min_length=3, max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")] | None = None
    locale: Annotated[str, Meta(min_length=2, max_length=35, description="BCP 47, such as en-GB")] | None = None


class BillingProfile(Struct, frozen=True):
    """What a customer is called on invoices; without a `legal_name` it is `account_name`."""

    account_name: str | None
    legal_name: str | None
    address: list[str]
    tax_id: str | None
    email: str | None
    locale: str | None
    updated_at: str | None
