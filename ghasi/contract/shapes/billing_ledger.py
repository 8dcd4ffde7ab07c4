"""What goes over the wire to and from billing-service about balances and limits.

Owns no rule beyond a field's own shape.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from ghasi.contract.shapes.common import Input, PageQuery

PaymentTerms = Literal["prepaid", "postpaid"]
SpendingStatus = Literal["ok", "insufficient_balance", "spending_limit_reached"]
AlertKind = Literal["spending_limit", "balance"]
TransactionKind = Literal[
    "top_up", "correction", "usage", "invoice", "payment", "void", "uncollectible", "credit_note"
]  # fmt: skip
_Amount = Annotated[str, Meta(max_length=20, pattern=r"^[0-9]{1,12}(\.[0-9]{1,6})?$", description="a decimal number")]


class SpendingAlert(Struct, frozen=True):
    """A threshold that was reached; `limit` is what 100 % is: the limit, or the balance after the last top-up."""

    kind: AlertKind
    threshold_percent: int
    limit: str
    at: str


class Balance(Struct, frozen=True):
    """What the account has with us and what it may still spend.

    `held` is what messages on their way will probably cost. `available` is what may still be spent: of the balance
    where the account is prepaid, and of the limit where it has one; null where nothing bounds it. `spent` is what
    messages have cost in the current UTC month. `spending_limit` is the lower of the operator's and your own.
    """

    currency: str
    payment: PaymentTerms
    balance: str
    held: str
    available: str | None
    spent: str
    spending_limit: str | None
    own_spending_limit: str | None
    status: SpendingStatus
    alerts: list[SpendingAlert]


class BalanceTransaction(Struct, frozen=True):
    """What moved the balance: `amount` is positive in your favour, `balance` is what it came to."""

    id: str
    kind: TransactionKind
    amount: str
    balance: str
    currency: str
    at: str
    reference: str | None
    invoice_id: str | None
    note: str | None


class BalanceTransactionQuery(PageQuery, frozen=True, kw_only=True):
    """Which transactions."""

    kind: TransactionKind | None = None


class SpendingLimitInput(Input, frozen=True, kw_only=True):
    """The account's own limit for a UTC month, in its currency; null takes it away. An operator's lower one counts."""

    spending_limit: _Amount | None


class BillingAlert(Struct, frozen=True):
    """The data of `billing.alert`: 50, 80 or 100 % of a month's spending limit, or of a prepaid balance, is used up.

    `limit` is what 100 % is: the limit, or the balance after the last top-up. `spent` is what messages have cost in the
    month, or what the balance has gone down by since. `period` is the month of a limit, `balance` what is left of one.
    """

    id: str
    kind: AlertKind
    threshold_percent: int
    at: str
    currency: str
    period: str | None
    spent: str
    limit: str
    balance: str | None
