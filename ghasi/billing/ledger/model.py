"""What the ledger works with: books, what moves between them, and what its callers hand it.

Money is integer micros of the account's currency. An entry is positive for a debit and negative for a credit:
`balance`, what a customer has with us, is negative while it is in their favour.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, NamedTuple, Protocol
from uuid import UUID

from ghasi.billing.model import BillingError
from ghasi.contract.shapes import TransactionKind

Book = Literal["cash", "balance", "receivable", "usage", "revenue", "tax", "uncollectible"]
"""`usage` is what a prepaid balance has paid for and no invoice has taken yet."""
BOOKS: tuple[Book, ...] = ("balance", "cash", "receivable", "revenue", "tax", "uncollectible", "usage")
Kind = TransactionKind
Entries = Mapping[Book, int]


class LedgerError(BillingError):
    """What was asked for would put the books wrong."""


class OverpaidError(LedgerError):
    """More was paid for an invoice than is due."""


class OfAccount(Protocol):
    """What is posted to one account's books."""

    @property
    def account_id(self) -> UUID:
        """Whose books."""

    @property
    def currency(self) -> str:
        """The account's currency."""


class Opening(NamedTuple):
    """An invoice that is opened: its subtotal and tax, and the part of it that a prepaid balance has paid for already.

    `usage_micros` are the amounts of its tallies of prepaid months, as they were charged, not rounded; `unit_micros` is
    the smallest amount that can be paid.
    """

    account_id: UUID
    currency: str
    invoice_id: UUID
    net_micros: int
    tax_micros: int
    usage_micros: int = 0
    prepaid: bool = False
    unit_micros: int = 1


class Payment(NamedTuple):
    """Money that came in for an invoice."""

    account_id: UUID
    currency: str
    invoice_id: UUID
    payment_id: UUID
    amount_micros: int
    actor: str | None = None


class Ending(NamedTuple):
    """An invoice that is voided or given up as uncollectible."""

    account_id: UUID
    currency: str
    invoice_id: UUID
    actor: str | None = None


class CreditNote(NamedTuple):
    """What is taken back of an invoice: net and tax."""

    account_id: UUID
    currency: str
    invoice_id: UUID
    credit_note_id: UUID
    net_micros: int
    tax_micros: int
    actor: str | None = None


class Credited(NamedTuple):
    """Where a credit went: off what is due of the invoice, and to the customer's balance."""

    due_micros: int
    balance_micros: int


class TopUp(NamedTuple):
    """Money a customer has paid ahead; negative: a correction of that."""

    account_id: UUID
    currency: str
    reference: str
    amount_micros: int
    note: str | None
    actor: str


class Usage(NamedTuple):
    """What messages of a prepaid account cost."""

    account_id: UUID
    currency: str
    amount_micros: int


class Standing(NamedTuple):
    """What the books have of one invoice."""

    receivable_micros: int = 0
    uncollectible_micros: int = 0
    revenue_micros: int = 0
    tax_micros: int = 0


class Posting(NamedTuple):
    """One transaction as it is written; `at` and the order of entries come with the writing."""

    id: UUID
    account_id: UUID
    currency: str
    kind: Kind
    reference: str | None
    invoice_id: UUID | None
    note: str | None
    actor: str | None
    entries: Entries


class Written(NamedTuple):
    """One transaction as operators see it."""

    id: UUID
    at: datetime
    account_id: UUID
    currency: str
    kind: Kind
    reference: str | None
    invoice_id: UUID | None
    note: str | None
    actor: str | None
    entries: Entries


class Transaction(NamedTuple):
    """One transaction as it was written, with what it did to the balance, signed as the customer sees it."""

    id: UUID
    account_id: UUID
    currency: str
    kind: Kind
    reference: str | None
    invoice_id: UUID | None
    note: str | None
    actor: str | None
    at: datetime
    amount_micros: int
    after_micros: int
