"""Closing that breaks off at any statement: afterwards it goes on, and the invoices are those of a closing in peace."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from ghasi.billing.invoices import closing, credit_notes, settling, terms
from ghasi.billing.invoices.credit_notes import Wanted
from ghasi.billing.invoices.model import Tax
from ghasi.billing.ledger import admin as ledger_admin
from ghasi.billing.plans.model import Plan
from ghasi.contract.values import new_id
from ghasi.storage.pool import Pool
from tests.billing.conftest import Messages, Sms
from tests.billing.invoices.months import OCTOBER, WHO, books_balance, close, give_plan

STATEMENTS = ("execute", "executemany", "fetch", "fetchrow", "fetchval", "copy_records_to_table")


class Crash(Exception):  # noqa: N818 - says what happened
    """The process ended here."""


class Breaking:
    """A pool of which the n-th statement, counting commits too, is not carried out.

    How it `ends`: the process raises, or its connection is gone, as when the server or the machine is.
    """

    def __init__(self, pool: Pool, at: int, *, ends: str) -> None:
        self._pool, self.left, self.kills = pool, at, ends == "killed"

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Any]:
        async with self._pool.acquire() as connection:
            yield Broken(self, connection)

    def __getattr__(self, name: str) -> Any:
        if name not in STATEMENTS:
            return getattr(self._pool, name)

        async def run(*arguments: Any, **named: Any) -> Any:
            async with self.acquire() as connection:
                return await getattr(connection, name)(*arguments, **named)

        return run

    def count(self, connection: Any) -> None:
        self.left -= 1
        if self.left == 0:
            if self.kills:
                connection.terminate()
            raise Crash


class Broken:
    """A connection of such a pool."""

    def __init__(self, pool: Breaking, connection: Any) -> None:
        self._of, self._connection = pool, connection

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._connection, name)
        if name not in STATEMENTS:
            return found

        async def run(*arguments: Any, **named: Any) -> Any:
            self._of.count(self._connection)
            return await found(*arguments, **named)

        return run

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        transaction = self._connection.transaction()
        await transaction.start()
        try:
            yield
            self._of.count(self._connection)  # before the commit
        except BaseException:
            if not (self._of.kills and self._of.left <= 0):
                await transaction.rollback()
            raise
        await transaction.commit()


async def everything(pool: Pool, accounts: dict[UUID, str]) -> dict[str, list[Any]]:
    """All that closing leaves behind, but for ids and times; accounts by their names."""
    said = {
        "invoices": "SELECT account_id, status, subtotal_micros, tax_micros, total_micros, paid_micros, plan, payment, "
        "seller::text, customer::text, sequence FROM billing.invoices WHERE number IS NOT NULL",
        "lines": "SELECT account_id, position, description, messages, segments, unit_micros, amount_micros, kind, "
        "rate_id, month FROM billing.invoice_lines JOIN billing.invoices ON invoices.id = invoice_id",
        "taxes": "SELECT account_id, position, name, base_micros, amount_micros FROM billing.invoice_taxes "
        "JOIN billing.invoices ON invoices.id = invoice_id",
        "payments": "SELECT account_id, amount_micros, method FROM billing.payments",
        "tallies": "SELECT account_id, country, unit_micros, segments, line, invoice_id IS NULL FROM billing.tallies",
        "books": "SELECT account_id, book, amount_micros FROM billing.ledger_balances WHERE amount_micros <> 0",
        "events": "SELECT account_id, type, sequence FROM billing.outbox WHERE type LIKE 'invoice.%'",
        "closed": "SELECT month FROM billing.closed_months",
    }
    return {
        what: sorted([str([accounts.get(value, value) for value in row]) for row in await pool.fetch(query)])
        for what, query in said.items()
    }


@pytest.fixture
async def accounts(pool: Pool, messages: Messages, monkeypatch: pytest.MonkeyPatch) -> dict[UUID, str]:
    """Seven accounts of every kind, by name; closed three at a time."""
    monkeypatch.setattr(closing, "ACCOUNTS_AT_A_TIME", 3)
    ids = [new_id() for _ in range(7)]
    ahead, fee, rich, taxed, *plain = ids
    await give_plan(pool, ahead, Plan("ahead", OCTOBER, "USD", base_fee_micros=2_000_000, payment="prepaid"))
    await give_plan(pool, fee, Plan("fee", OCTOBER, "USD", base_fee_micros=2_000_000))
    await ledger_admin.top_up(pool, rich, "1.25", reference="bank 1", note=None, actor=WHO)
    await terms.set_taxes(pool, taxed, [Tax("VAT", 190_000), Tax("Levy", 12_345)], WHO)
    await messages.happen(
        *(Sms(account_id=account, segments=30 + place) for place, account in enumerate(ids) if account != fee),
        Sms(account_id=plain[0], country="DE"),
    )
    return {account: f"account {place}" for place, account in enumerate(ids)}


async def unclosed(pool: Pool) -> None:
    """Make it as it was before the closing, for the next try; what guards documents is off meanwhile."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute("UPDATE billing.tallies SET invoice_id = NULL, line = NULL")
        await connection.execute(
            """
            UPDATE billing.ledger_balances AS balance SET amount_micros = balance.amount_micros - moved.amount
            FROM (SELECT entry.account_id, entry.book, sum(entry.amount_micros)::bigint AS amount
                  FROM billing.ledger_entries AS entry JOIN billing.ledger_transactions AS moved
                  ON moved.id = entry.transaction_id WHERE moved.kind = 'invoice' GROUP BY 1, 2) AS moved
            WHERE balance.account_id = moved.account_id AND balance.book = moved.book
            """
        )
        await connection.execute(
            "DELETE FROM billing.ledger_entries WHERE transaction_id IN "
            "(SELECT id FROM billing.ledger_transactions WHERE kind = 'invoice')"
        )
        await connection.execute("DELETE FROM billing.ledger_transactions WHERE kind = 'invoice'")
        for table in ("payments", "invoice_taxes", "invoice_lines", "invoices", "series", "closed_months"):
            await connection.execute(f"DELETE FROM billing.{table}")
        await connection.execute("DELETE FROM billing.outbox WHERE type LIKE 'invoice.%'")


@pytest.mark.parametrize("ends", ["raises", "killed"])
async def test_closing_goes_on_where_it_broke_off(pool: Pool, accounts: dict[UUID, str], ends: str) -> None:
    assert len(await close(pool)) == 7
    await books_balance(pool)
    expected = await everything(pool, accounts)
    broken, statement = 0, 1
    while True:
        await unclosed(pool)
        breaking = Breaking(pool, statement, ends=ends)
        try:
            made = await close(breaking)  # type: ignore[arg-type]
        except Crash:
            broken += 1
            before = await pool.fetchval("SELECT count(*) FROM billing.invoices")
            assert before == await pool.fetchval("SELECT coalesce(sum(last), 0) FROM billing.series"), statement
            assert before % 3 == 0 or before == 7, "batches stand or fall as a whole"
            await close(pool)
            assert await close(pool) == []
        else:
            assert len(made) == 7
            assert breaking.left > 0
            break
        assert await everything(pool, accounts) == expected, statement
        numbers = await pool.fetch("SELECT number FROM billing.invoices ORDER BY number")
        assert [int(row[0][-6:]) for row in numbers] == list(range(1, 8)), statement
        await books_balance(pool)
        statement += 1
    assert broken > 50, "each statement of three batches and the last look"


@pytest.mark.parametrize("what", ["pay", "credit", "void", "uncollectible"])
async def test_settling_is_whole_or_not_at_all(pool: Pool, messages: Messages, what: str) -> None:
    await messages.happen(*(Sms(account_id=new_id(), segments=100) for _ in range(40)))
    for statement, invoice in enumerate(await close(pool), start=1):
        number = str(invoice.number)
        broken: Any = Breaking(pool, statement, ends="raises")
        settle = {
            "pay": lambda on, of: settling.pay_invoice(on, of, WHO, settling.Paid(1_000_000, reference="TX-1")),
            "credit": lambda on, of: credit_notes.credit_invoice(on, of, Wanted("late", 1_000_000), WHO),
            "void": lambda on, of: settling.void_invoice(on, of, WHO),
            "uncollectible": lambda on, of: settling.give_up_invoice(on, of, WHO),
        }[what]
        try:
            await settle(broken, number)
        except Crash:
            row = await pool.fetchrow(
                "SELECT status, paid_micros, credited_micros FROM billing.invoices WHERE number = $1", number
            )
            assert tuple(row) == ("open", 0, 0)
            await books_balance(pool)
            await settle(pool, number)
        else:
            break
    assert statement > 5
    await books_balance(pool)
    assert await pool.fetchval("SELECT coalesce(max(last), 0) FROM billing.series WHERE name LIKE 'CN-%'") == (
        statement if what == "credit" else 0
    )


async def test_ten_closers_of_which_some_crash(pool: Pool, accounts: dict[UUID, str]) -> None:
    pools: list[Any] = [Breaking(pool, 4 + 9 * place, ends="killed") if place % 2 else pool for place in range(10)]
    done = await asyncio.gather(*(close(one) for one in pools), return_exceptions=True)
    assert {type(one) for one in done} <= {list, Crash, asyncpg.InterfaceError}
    await close(pool)
    numbers = [row[0] for row in await pool.fetch("SELECT number FROM billing.invoices ORDER BY number")]
    assert [int(number[-6:]) for number in numbers] == list(range(1, 8))
    await books_balance(pool)
