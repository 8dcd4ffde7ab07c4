"""Whatever happens to accounts' money, in any order and more than once, the books balance and say what is due."""

import asyncio
import random
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ghasi.billing.ledger import admin, posting
from ghasi.billing.ledger.model import CreditNote, Ending, Opening, OverpaidError, Payment, TopUp, Usage
from ghasi.contract.values import new_id
from ghasi.storage.pool import Connection, Pool
from tests.billing.ledger.test_posting import books_of

USD = "USD"
MOST = 1_000


@dataclass
class Invoice:
    """An invoice as those who make it know it."""

    opening: Opening
    due: int = 0
    lost: int = 0
    left: int = 0
    """Of its total, what was not taken back."""


@dataclass
class Model:
    """What the books are to say, kept in the plainest way."""

    account_id: UUID
    cash: int = 0
    usage: int = 0
    balance: int = 0
    invoices: list[Invoice] = field(default_factory=list)
    done: list[tuple[str, object]] = field(default_factory=list)

    async def step(self, connection: Connection, what: str, amount: int, choice: int) -> None:
        """Let something happen, if it can."""
        if what in ("payment", "void", "uncollectible", "credit_note"):
            if self.invoices:
                await getattr(self, what)(connection, self.invoices[choice % len(self.invoices)], amount)
        else:
            await getattr(self, what)(connection, amount, choice)

    async def top_up(self, connection: Connection, amount: int, choice: int) -> None:
        amount = (amount or 1) * (-1 if choice % 4 == 0 else 1)
        one = TopUp(self.account_id, USD, str(new_id()), amount, "", "operator:test")
        assert await posting.post_top_up(connection, one)
        assert not await posting.post_top_up(connection, one)
        self.cash += amount
        self.balance += amount

    async def charge(self, connection: Connection, amount: int, choice: int) -> None:
        amount *= -1 if choice % 4 == 0 else 1
        await posting.post_usage(connection, [Usage(self.account_id, USD, amount)])
        self.balance -= amount
        self.usage += amount

    async def open(self, connection: Connection, amount: int, choice: int) -> None:
        """One after another of prepaid, postpaid, below zero and nothing; usage that was charged is on the next one."""
        net = (amount, amount, -amount, 0)[choice % 4]
        prepaid = choice % 3 == 0
        one = Opening(self.account_id, USD, new_id(), net, net // 5, self.usage, prepaid)
        settled = (await posting.post_openings(connection, [one, one]))[one.invoice_id]
        total = net + net // 5
        rest = total - self.usage
        paid = rest if prepaid or rest < 0 else min(rest, max(0, self.balance))
        assert settled == total - (rest - paid)
        self.usage = 0
        self.balance -= paid
        self.invoices.append(Invoice(one, due=rest - paid, left=total))
        self.done.append(("open", one))

    async def payment(self, connection: Connection, invoice: Invoice, amount: int) -> None:
        one = Payment(self.account_id, USD, invoice.opening.invoice_id, new_id(), amount or 1)
        if one.amount_micros > invoice.due + invoice.lost:
            with pytest.raises(OverpaidError):
                await posting.post_payments(connection, [one])
            return
        await posting.post_payments(connection, [one, one])
        self.cash += one.amount_micros
        of_due = min(invoice.due, one.amount_micros)
        invoice.due -= of_due
        invoice.lost -= one.amount_micros - of_due
        self.done.append(("payment", one))

    async def void(self, connection: Connection, invoice: Invoice, _amount: int) -> None:
        one = Ending(self.account_id, USD, invoice.opening.invoice_id)
        if ("void", one) not in self.done:
            self._credit(invoice, invoice.left)
            self.done.append(("void", one))
        await posting.post_voids(connection, [one])

    async def uncollectible(self, connection: Connection, invoice: Invoice, _amount: int) -> None:
        one = Ending(self.account_id, USD, invoice.opening.invoice_id)
        if ("uncollectible", one) not in self.done:
            invoice.lost += invoice.due
            invoice.due = 0
            self.done.append(("uncollectible", one))
        await posting.post_uncollectible(connection, [one])

    async def credit_note(self, connection: Connection, invoice: Invoice, amount: int) -> None:
        amount = min(amount, max(0, invoice.left))
        tax = amount // 6
        one = CreditNote(self.account_id, USD, invoice.opening.invoice_id, new_id(), amount - tax, tax)
        before = (invoice.due + invoice.lost, self.balance)
        self._credit(invoice, amount)
        where = (await posting.post_credit_notes(connection, [one, one]))[one.credit_note_id]
        assert where == (before[0] - invoice.due - invoice.lost, self.balance - before[1])
        self.done.append(("credit_note", one))

    async def again(self, connection: Connection, _amount: int, choice: int) -> None:
        """What happened before is told once more."""
        if self.done:
            what, one = self.done[choice % len(self.done)]
            tell = {
                "open": posting.post_openings, "payment": posting.post_payments, "void": posting.post_voids,
                "uncollectible": posting.post_uncollectible, "credit_note": posting.post_credit_notes,
            }[what]  # fmt: skip
            await tell(connection, [one])  # type: ignore[operator]

    def _credit(self, invoice: Invoice, amount: int) -> None:
        of_due = min(invoice.due, max(0, amount))
        of_lost = min(invoice.lost, max(0, amount - of_due))
        invoice.due -= of_due
        invoice.lost -= of_lost
        invoice.left -= amount
        self.balance += amount - of_due - of_lost

    async def check(self, connection: Connection | Pool) -> None:
        """The books stand as here, and are the sums of their entries."""
        found = await books_of(connection, self.account_id)
        expected = {
            "cash": self.cash, "balance": -self.balance, "usage": -self.usage,
            "receivable": sum(one.due for one in self.invoices),
            "uncollectible": sum(one.lost for one in self.invoices),
        }  # fmt: skip
        assert {book: found.get(book, 0) for book in expected} == expected
        assert found.get("revenue", 0) + found.get("tax", 0) == -sum(one.left for one in self.invoices)


STEPS = st.tuples(
    st.sampled_from(["top_up", "charge", "open", "payment", "void", "uncollectible", "credit_note", "again"]),
    st.integers(0, MOST),
    st.integers(0, 100),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=5, max_size=25))
async def test_the_books_balance_whatever_happens(pool: Pool, steps: list[tuple[str, int, int]]) -> None:
    model = Model(new_id())
    async with pool.acquire() as connection:
        for what, amount, choice in steps:
            async with connection.transaction():
                await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
                await model.step(connection, what, amount, choice)
            if model.cash or model.usage or model.done:
                await model.check(connection)
    assert await admin.verify(pool) == []


async def test_many_at_once_neither_deadlock_nor_lose_anything(pool: Pool) -> None:
    """Ten connections post to the same accounts, in orders of their own."""
    accounts = [new_id() for _ in range(8)]
    invoices = {account_id: Opening(account_id, USD, new_id(), 1_000_000, 0) for account_id in accounts}
    chance = random.Random(7)

    async def work(number: int) -> None:
        for turn in range(12):
            some = chance.sample(accounts, 5)
            async with pool.acquire() as connection, connection.transaction():
                if turn == 0:
                    await posting.post_openings(connection, [invoices[one] for one in chance.sample(accounts, 8)])
                elif number % 3 == 0:
                    await posting.post_usage(connection, [Usage(one, USD, 3) for one in some])
                elif number % 3 == 1:
                    await posting.post_payments(
                        connection, [Payment(one, USD, invoices[one].invoice_id, new_id(), 2) for one in some]
                    )
                else:
                    one = TopUp(some[0], USD, f"{number} {turn}", 10, None, "operator:test")
                    await posting.post_top_up(connection, one)

    await asyncio.gather(*(work(number) for number in range(10)))
    assert await admin.verify(pool) == []
    sums = dict(await pool.fetch("SELECT book, sum(amount_micros)::bigint FROM billing.ledger_balances GROUP BY book"))
    assert sums == {
        "cash": 3 * 11 * 5 * 2 + 3 * 11 * 10, "balance": 4 * 11 * 5 * 3 - 3 * 11 * 10, "usage": -4 * 11 * 5 * 3,
        "receivable": 8_000_000 - 3 * 11 * 5 * 2, "revenue": -8_000_000, "tax": 0, "uncollectible": 0,
    }  # fmt: skip


async def test_verifying_names_what_differs(pool: Pool) -> None:
    account_id = new_id()
    async with pool.acquire() as connection, connection.transaction():
        await posting.post_usage(connection, [Usage(account_id, USD, 30)])
    assert await admin.verify(pool) == []
    await pool.execute("UPDATE billing.ledger_balances SET amount_micros = 31 WHERE book = 'balance'")
    await pool.execute("INSERT INTO billing.spending_months VALUES ($1, '2026-11-01', 5, 7)", account_id)
    assert [(one.what, one.account_id, one.subject, one.kept_micros, one.counted_micros) for one in
            await admin.verify(pool)] == [
        ("book", account_id, "balance", 31, 30), ("spent", account_id, "2026-11", 5, 0),
        ("held", account_id, "2026-11", 7, 0),
    ]  # fmt: skip
