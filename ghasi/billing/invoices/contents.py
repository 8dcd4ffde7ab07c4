"""Gathers what the invoices of a month are made of, for many accounts at once, and makes them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple, TypeVar
from uuid import UUID

from ghasi.billing.accounts import queries as account_queries
from ghasi.billing.invoices import closing_queries
from ghasi.billing.invoices.making import make_invoice
from ghasi.billing.invoices.model import Content
from ghasi.billing.model import DEFAULT_CURRENCY, Invoice, Tally
from ghasi.billing.plans.model import Plan
from ghasi.billing.plans.queries import plans_of, plans_of_months
from ghasi.storage.pool import Connection, Pool

Thing = TypeVar("Thing")


class Month(NamedTuple):
    """A UTC month; the end is exclusive."""

    start: datetime
    end: datetime

    @property
    def first_day(self) -> date:
        """Its name in tallies, plans and discounts."""
        return self.start.date()


@dataclass(frozen=True, slots=True)
class Bill:
    """What an account is to be billed for a month: the tallies that go on the invoice, and what it says."""

    account_id: UUID
    currency: str
    plan: Plan | None
    tallies: list[Tally]
    content: Content
    prepaid_usage_micros: int

    def on(self, invoice_id: UUID, month: Month) -> Invoice:
        """Return a draft that says this."""
        return Invoice(
            id=invoice_id, account_id=self.account_id, number=None, status="draft", currency=self.currency,
            period_start=month.start, period_end=month.end, subtotal_micros=self.content.subtotal_micros,
            tax_micros=self.content.tax_micros, total_micros=self.content.total_micros, issued_at=None, due_at=None,
            paid_at=None, plan=self.plan.name if self.plan else None,
            payment=self.plan.payment if self.plan else "postpaid",
        )  # fmt: skip


async def make_bills(
    connection: Connection | Pool, accounts: Sequence[UUID], month: Month, *, lock: bool, provisional: bool = False
) -> list[Bill]:
    """Make what accounts are to be billed for a month, in their order; those with nothing are among them, empty.

    With `lock` their tallies are held until the end of the transaction. Tallies of a month before that was not closed,
    but in which the account had a plan, are that month's own invoice's: its minimum counts them. What is
    `provisional`, a preview or a draft, has none of any month that was not closed: that one has a draft of its own.
    Where its month was closed early, what came since is an adjustment of the next invoice, and the plan's fee and the
    discounts have been on the one there is.
    """
    tallies = _by_account(
        (tally.key.account_id, tally)
        for tally in await closing_queries.list_tallies(connection, accounts, month.first_day, lock=lock)
    )
    closed_for_all = await closing_queries.list_closed_months(connection)
    closed_for = _by_account(await closing_queries.list_invoiced_months(connection, accounts))
    plans = await plans_of(connection, accounts, month.first_day)
    discounts = _by_account(await closing_queries.list_discounts(connection, accounts))
    taxes = _by_account(await closing_queries.list_taxes(connection, accounts))
    currencies = await account_queries.list_currencies(connection, accounts)
    plans_then = await plans_of_months(
        connection, {(account_id, one.key.month) for account_id, own in tallies.items() for one in own}
    )
    bills = []
    for account_id in accounts:
        opened = provisional and month.first_day in closed_for[account_id]
        closed = closed_for_all.union(closed_for[account_id]) - (set() if opened else {month.first_day})
        own = [
            one for one in tallies[account_id]
            if one.key.month in closed | {month.first_day}
            or not (provisional or (account_id, one.key.month) in plans_then)
        ]  # fmt: skip
        plan = plans.get(account_id)
        currency = currencies.get(account_id) or (plan.currency if plan else DEFAULT_CURRENCY)
        content = make_invoice(
            own, month=month.first_day, currency=currency, closed=closed, plan=None if opened else plan,
            discounts=[] if opened else discounts[account_id], taxes=taxes[account_id],
        )  # fmt: skip
        prepaid_usage = sum(
            one.amount_micros for one in own
            if (of := plans_then.get((account_id, one.key.month))) is not None and of.is_prepaid
        )  # fmt: skip
        bills.append(Bill(account_id, currency, plan, own, content, prepaid_usage))
    return bills


def _by_account(things: Iterable[tuple[UUID, Thing]]) -> dict[UUID, list[Thing]]:
    found: dict[UUID, list[Thing]] = defaultdict(list)
    for account_id, thing in things:
        found[account_id].append(thing)
    return found
