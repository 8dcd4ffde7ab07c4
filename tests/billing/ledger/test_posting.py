"""What happens to money on accounts' books, one case at a time."""

from uuid import UUID

import asyncpg
import pytest

from ghasi.billing.ledger import posting
from ghasi.billing.ledger.model import (
    BOOKS,
    Credited,
    CreditNote,
    Ending,
    LedgerError,
    Opening,
    OverpaidError,
    Payment,
    TopUp,
)
from ghasi.contract.values import new_id
from ghasi.storage.pool import Connection, Pool

USD = "USD"


async def books_of(connection: Connection | Pool, account_id: UUID) -> dict[str, int]:
    """The books of an account that do not stand at zero, after it was checked that they are the sums of the entries."""
    rows = await connection.fetch(
        """
        SELECT book, amount_micros, coalesce((
            SELECT sum(amount_micros) FROM billing.ledger_entries AS entry
            WHERE entry.account_id = balance.account_id AND entry.book = balance.book), 0) AS entries
        FROM billing.ledger_balances AS balance WHERE account_id = $1
        """,
        account_id,
    )
    assert len(rows) == len(BOOKS)
    assert all(amount == entries for _, amount, entries in rows)
    assert sum(amount for _, amount, _ in rows) == 0
    return {book: amount for book, amount, _ in rows if amount}


async def top_up(pool: Pool, account_id: UUID, amount_micros: int, reference: str | None = None) -> bool:
    one = TopUp(account_id, USD, reference or str(new_id()), amount_micros, None, "operator:test")
    async with pool.acquire() as connection, connection.transaction():
        return await posting.post_top_up(connection, one)


async def open_invoice(pool: Pool, invoice: Opening) -> int:
    async with pool.acquire() as connection, connection.transaction():
        return (await posting.post_openings(connection, [invoice]))[invoice.invoice_id]


async def test_a_top_up_is_done_once_by_its_reference(pool: Pool) -> None:
    account_id = new_id()
    assert await top_up(pool, account_id, 50_000_000, "bank 1")
    assert not await top_up(pool, account_id, 50_000_000, "bank 1")
    with pytest.raises(LedgerError, match="another amount"):
        await top_up(pool, account_id, 60_000_000, "bank 1")
    with pytest.raises(LedgerError, match="another amount"):
        await top_up(pool, account_id, -50_000_000, "bank 1")
    assert await top_up(pool, account_id, -20_000_000, "bank 1, corrected")
    assert await books_of(pool, account_id) == {"cash": 30_000_000, "balance": -30_000_000}


async def test_a_postpaid_invoice_is_owed_but_for_what_stands_in_the_customers_favour(pool: Pool) -> None:
    account_id = new_id()
    await top_up(pool, account_id, 30)
    first = Opening(account_id, USD, new_id(), 100, 20)
    assert await open_invoice(pool, first) == 30
    assert await open_invoice(pool, first) == 30
    assert await open_invoice(pool, Opening(account_id, USD, new_id(), 10, 0)) == 0
    assert await books_of(pool, account_id) == {"cash": 30, "receivable": 100, "revenue": -110, "tax": -20}


async def test_a_prepaid_invoice_is_paid_by_usage_and_balance_though_that_is_overdrawn(pool: Pool) -> None:
    account_id = new_id()
    await top_up(pool, account_id, 30)
    invoice = Opening(account_id, USD, new_id(), 100, 20, usage_micros=85, prepaid=True)
    assert await open_invoice(pool, invoice) == 120
    assert await books_of(pool, account_id) == {"cash": 30, "balance": 5, "usage": 85, "revenue": -100, "tax": -20}


@pytest.mark.parametrize(
    ("balance", "usage", "owed"),
    [
        (0, 0, 10_000_000), (966_667, 0, 9_040_000), (12_000_000, 0, 0), (-5, 0, 10_000_000),
        (966_667, 33_333, 9_000_000), (0, 9_996_000, 0), (0, 9_984_000, 10_000), (4_000, 9_996_000, 0),
    ],
)  # fmt: skip
async def test_what_is_owed_is_whole_units(pool: Pool, balance: int, usage: int, owed: int) -> None:
    account_id = new_id()
    if balance:
        await top_up(pool, account_id, balance)
    invoice = Opening(account_id, USD, new_id(), 10_000_000, 0, usage, unit_micros=10_000)
    assert await open_invoice(pool, invoice) == 10_000_000 - owed
    books = await books_of(pool, account_id)
    assert books.get("receivable", 0) == owed
    assert books.get("balance", 0) == 10_000_000 - usage - owed - balance


async def test_an_invoice_below_zero_goes_to_the_balance(pool: Pool) -> None:
    account_id = new_id()
    assert await open_invoice(pool, Opening(account_id, USD, new_id(), -100, -20)) == -120
    assert await books_of(pool, account_id) == {"balance": -120, "revenue": 100, "tax": 20}


async def test_payments_never_exceed_what_is_due_and_count_once(pool: Pool) -> None:
    account_id = new_id()
    invoice = Opening(account_id, USD, new_id(), 100, 20)
    await open_invoice(pool, invoice)
    part = Payment(account_id, USD, invoice.invoice_id, new_id(), 70)
    rest = Payment(account_id, USD, invoice.invoice_id, new_id(), 50)
    async with pool.acquire() as connection, connection.transaction():
        await posting.post_payments(connection, [part])
    for more in (
        [Payment(account_id, USD, invoice.invoice_id, new_id(), 51)],
        [rest, Payment(account_id, USD, invoice.invoice_id, new_id(), 1)],
    ):
        async with pool.acquire() as connection:
            with pytest.raises(OverpaidError):
                async with connection.transaction():
                    await posting.post_payments(connection, more)
    async with pool.acquire() as connection, connection.transaction():
        await posting.post_payments(connection, [part, rest, rest])
    assert await books_of(pool, account_id) == {"cash": 120, "revenue": -100, "tax": -20}


async def test_what_was_given_up_may_still_be_paid(pool: Pool) -> None:
    account_id = new_id()
    invoice = Opening(account_id, USD, new_id(), 100, 20)
    await open_invoice(pool, invoice)
    ending = Ending(account_id, USD, invoice.invoice_id)
    for _ in range(2):
        async with pool.acquire() as connection, connection.transaction():
            await posting.post_uncollectible(connection, [ending])
    assert await books_of(pool, account_id) == {"uncollectible": 120, "revenue": -100, "tax": -20}
    async with pool.acquire() as connection, connection.transaction():
        await posting.post_payments(connection, [Payment(account_id, USD, invoice.invoice_id, new_id(), 20)])
    assert await books_of(pool, account_id) == {"cash": 20, "uncollectible": 100, "revenue": -100, "tax": -20}


async def test_a_void_leaves_what_was_paid_on_the_balance(pool: Pool) -> None:
    account_id = new_id()
    await top_up(pool, account_id, 30)
    invoice = Opening(account_id, USD, new_id(), 100, 20)
    await open_invoice(pool, invoice)
    async with pool.acquire() as connection, connection.transaction():
        await posting.post_payments(connection, [Payment(account_id, USD, invoice.invoice_id, new_id(), 10)])
    for _ in range(2):
        async with pool.acquire() as connection, connection.transaction():
            where = await posting.post_voids(connection, [Ending(account_id, USD, invoice.invoice_id)])
        assert where == {invoice.invoice_id: Credited(80, 40)}
    assert await books_of(pool, account_id) == {"cash": 40, "balance": -40}


async def test_a_credit_note_takes_off_what_is_due_and_the_rest_goes_to_the_balance(pool: Pool) -> None:
    account_id = new_id()
    invoice = Opening(account_id, USD, new_id(), 100, 20)
    await open_invoice(pool, invoice)
    notes = [CreditNote(account_id, USD, invoice.invoice_id, new_id(), 50, 10) for _ in range(2)]
    async with pool.acquire() as connection, connection.transaction():
        await posting.post_payments(connection, [Payment(account_id, USD, invoice.invoice_id, new_id(), 40)])
    for _ in range(2):
        async with pool.acquire() as connection, connection.transaction():
            where = await posting.post_credit_notes(connection, notes)
        assert where == {notes[0].credit_note_id: Credited(60, 0), notes[1].credit_note_id: Credited(20, 40)}
    assert await books_of(pool, account_id) == {"cash": 40, "balance": -40}
    async with pool.acquire() as connection, connection.transaction():  # nothing is left to be taken back
        where = await posting.post_voids(connection, [Ending(account_id, USD, invoice.invoice_id)])
    assert where == {invoice.invoice_id: Credited(0, 0)}


async def test_an_invoice_of_nothing_moves_nothing(pool: Pool) -> None:
    account_id = new_id()
    invoice = Opening(account_id, USD, new_id(), 0, 0)
    assert [await open_invoice(pool, invoice) for _ in range(2)] == [0, 0]
    async with pool.acquire() as connection, connection.transaction():
        await posting.post_voids(connection, [Ending(account_id, USD, invoice.invoice_id)])
    assert await books_of(pool, account_id) == {}


async def test_books_are_of_one_currency_and_of_invoices_that_were_opened(pool: Pool) -> None:
    account_id = new_id()
    await top_up(pool, account_id, 30)
    async with pool.acquire() as connection, connection.transaction():
        with pytest.raises(LedgerError, match="in USD, not EUR"):
            await posting.post_openings(connection, [Opening(account_id, "EUR", new_id(), 1, 0)])
        with pytest.raises(LedgerError, match="not in the books"):
            await posting.post_voids(connection, [Ending(account_id, USD, new_id())])


@pytest.mark.parametrize("table", ["ledger_transactions", "ledger_entries"])
@pytest.mark.parametrize("change", ["UPDATE billing.{} SET account_id = account_id", "DELETE FROM billing.{}"])
async def test_what_is_written_is_never_changed(pool: Pool, table: str, change: str) -> None:
    await top_up(pool, new_id(), 30)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="never changed"):
        await pool.execute(change.format(table))
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="never changed"):
        await pool.execute("TRUNCATE billing.ledger_transactions, billing.ledger_entries")


async def test_the_database_itself_refuses_a_transaction_that_does_not_balance(pool: Pool) -> None:
    account_id = new_id()
    await top_up(pool, account_id, 30)
    entry = """
        INSERT INTO billing.ledger_entries (transaction_id, account_id, book, amount_micros, after_micros)
        SELECT id, account_id, 'revenue', -1, -1 FROM billing.ledger_transactions
    """
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="does not balance"):
        await pool.execute(entry)
