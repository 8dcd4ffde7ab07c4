"""What billing works with: rates, tallies, invoices, and what an operator can do wrong.

Owns the shapes of rows in memory. Speaks no SQL and no HTTP. Money is integer micros of its currency throughout.
What is made for every message is a NamedTuple: it costs half of a frozen dataclass to make and to look up.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal, NamedTuple
from uuid import UUID

import msgspec

from ghasi.contract.pricing import Direction
from ghasi.contract.shapes import InvoiceStatus, LineKind, PaymentTerms

DEFAULT_CURRENCY = "USD"
BilledOn = Literal["accepted", "sent", "delivered"]
TallyKind = Literal["usage", "included"]
"""`included`: segments that a plan's base fee pays for, at 0."""


class BillingError(Exception):
    """An operator asked for what cannot be done; the text says why and what helps."""


class RatesError(BillingError):
    """A rates file has faults: one line each, with its number; nothing was imported."""


class PeriodError(BillingError):
    """The period is no month."""


class PeriodOpenError(BillingError):
    """The period has not ended, or not all of its messages have been rated yet."""


class InvoiceNotFoundError(BillingError):
    """There is no invoice of that number."""


class InvoiceNotOpenError(BillingError):
    """The invoice is not in a status that lets this be done to it, and it cannot be brought back into one."""


class SettlementError(BillingError):
    """A payment or a credit note is not of an amount that the invoice allows, or says other than one of its name."""


class AmountError(BillingError):
    """What was written is no amount of money."""


class CurrencyFixedError(BillingError):
    """The account has been charged in another currency."""


class TallyKey(NamedTuple):
    """What a tally adds up. Its order is that in which tallies are locked, by the consumer and by closing alike."""

    account_id: UUID
    month: date
    direction: Direction
    country: str
    currency: str
    kind: TallyKind
    rate_id: UUID
    unit_micros: int


@dataclass(frozen=True, slots=True)
class Tally:
    """Charges of one kind that no invoice has taken yet."""

    id: UUID
    key: TallyKey
    messages: int
    segments: int
    amount_micros: int


class Charge(NamedTuple):
    """What one message costs, why, and the status it was last seen in.

    `at` is when it is counted, and so its month. `list_micros` is the price of a segment before what the plan takes
    off (None: not kept), `sender` the account's own end. Without `tally_id` nothing is billed yet; with
    `reversal_tally_id` the amount was given back.
    """

    message_id: UUID
    account_id: UUID
    at: datetime
    direction: Direction
    country: str
    sender: str | None
    segments: int
    kind: TallyKind
    list_micros: int | None
    unit_micros: int
    amount_micros: int
    currency: str
    rate_id: UUID
    tally_id: UUID | None
    reversal_tally_id: UUID | None
    billed_on: BilledOn
    status: str
    sequence: int
    api_key_id: UUID | None
    reference: str | None
    carrier_class: str | None


@dataclass(slots=True)
class Sums:
    """Messages, segments and money, added up."""

    messages: int = 0
    segments: int = 0
    amount_micros: int = 0

    def __sub__(self, other: "Sums") -> "Sums":
        """Return what is left without another's."""
        return Sums(
            self.messages - other.messages, self.segments - other.segments, self.amount_micros - other.amount_micros
        )

    def add(self, messages: int, segments: int, amount_micros: int) -> None:
        """Add to each; any of them may be negative."""
        self.messages += messages
        self.segments += segments
        self.amount_micros += amount_micros


class UsageQuarter(NamedTuple):
    """Where usage is added up: the quarter of an hour it is counted in, country and status now."""

    account_id: UUID
    at: datetime
    country: str
    status: str


class UsageGroup(NamedTuple):
    """Where usage is added up by one thing: a sender, an API key or a reference."""

    account_id: UUID
    dimension: str
    at: datetime
    value: str


@dataclass(slots=True)
class OutcomeSums:
    """What became of outbound messages, added up: those carriers took or refused, and what they cost.

    `refused` are those no carrier took, which are no usage; usage has what was received beside.
    """

    messages: int = 0
    delivered: int = 0
    failed: int = 0
    segments: int = 0
    amount_micros: int = 0
    refused: int = 0
    received: int = 0
    received_segments: int = 0
    received_micros: int = 0

    @property
    def outbound(self) -> Sums:
        """What was used of outbound messages: those that no carrier took are no usage."""
        return Sums(self.messages - self.refused, self.segments, self.amount_micros)

    @property
    def used(self) -> Sums:
        """All that was used."""
        sums = self.outbound
        sums.add(self.received, self.received_segments, self.received_micros)
        return sums

    @property
    def inbound(self) -> Sums:
        """What was used of received messages."""
        return Sums(self.received, self.received_segments, self.received_micros)

    def add(self, other: "OutcomeSums") -> None:
        """Add another's sums to each."""
        for name in OutcomeSums.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Refusal(NamedTuple):
    """A message that no carrier took, when that was certain, and how it ended."""

    message_id: UUID
    account_id: UUID
    at: datetime
    country: str
    status: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an invoice, rounded once; of usage: all messages to or from a country (None: none) at one price.

    `month` is that of an adjustment's charges, `detail` the name of the plan or discount of those lines.
    """

    description: str
    country: str | None
    messages: int
    segments: int
    unit_micros: int
    amount_micros: int
    kind: LineKind = "usage"
    direction: Direction | None = "outbound"
    rate_id: UUID | None = None
    month: date | None = None
    detail: str | None = None


class Party(msgspec.Struct, frozen=True):
    """Who issues an invoice, or whom it is for. A customer's `name` is None where nobody has told it yet."""

    name: str | None = None
    address: tuple[str, ...] = ()
    tax_id: str | None = None
    email: str | None = None
    locale: str | None = None


@dataclass(frozen=True, slots=True)
class Invoice:
    """An invoice without its lines; the period's end is exclusive.

    `seller` and `customer` are those of its opening; a draft has none. `sequence` counts its events.
    """

    id: UUID
    account_id: UUID
    number: str | None
    status: InvoiceStatus
    currency: str
    period_start: datetime
    period_end: datetime
    subtotal_micros: int
    tax_micros: int
    total_micros: int
    issued_at: datetime | None
    due_at: datetime | None
    paid_at: datetime | None
    paid_micros: int = 0
    credited_micros: int = 0
    plan: str | None = None
    payment: PaymentTerms = "postpaid"
    seller: Party | None = None
    customer: Party | None = None
    sequence: int = 0

    @property
    def amount_due_micros(self) -> int:
        """What is still to be paid; of a void invoice that is nothing."""
        if self.status in ("paid", "void"):
            return 0
        return max(0, self.total_micros - self.paid_micros - self.credited_micros)

    def is_overdue(self, now: datetime) -> bool:
        """Whether it should have been paid by now."""
        return self.status == "open" and self.due_at is not None and self.due_at < now


@dataclass(frozen=True, slots=True)
class Closing:
    """What closing a period did: invoices made now, and numbers of those the period had before."""

    made: list[Invoice]
    skipped: list[str]
