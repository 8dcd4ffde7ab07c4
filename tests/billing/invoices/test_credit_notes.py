"""Credit notes: shared out over net and taxes to the last unit, numbered without gaps, never more than was billed."""

import asyncio
from datetime import UTC, datetime

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghasi.billing.invoices import admin as invoice_admin
from ghasi.billing.invoices import credit_notes, settling, terms
from ghasi.billing.invoices.credit_notes import LineCredit, Wanted
from ghasi.billing.invoices.crediting import Creditable, share_gross, share_net
from ghasi.billing.invoices.model import CreditNote, Tax, TaxLine
from ghasi.billing.ledger import queries as ledger_queries
from ghasi.billing.model import Invoice, InvoiceNotOpenError, SettlementError
from ghasi.billing.money import minor_digits
from ghasi.storage import audit
from ghasi.storage.pool import Pool
from tests.billing.conftest import ACCOUNT, Messages, Sms
from tests.billing.invoices.months import WHO, books_balance, close, told

ONE = 1_000_000


@pytest.fixture
async def invoice(pool: Pool, messages: Messages) -> Invoice:
    """Of 4.50 to AF, 0.90 to DE and 10 % off, with 19 % of tax: 4.86 + 0.92 = 5.78 USD."""
    await terms.set_taxes(pool, ACCOUNT, [Tax("VAT", 190_000)], WHO)
    await terms.add_discount(
        pool, ACCOUNT, "Partner", WHO, rate_ppm=100_000, amount_micros=None, from_month="2026-10", until_month=None
    )
    await messages.happen(Sms(segments=100), Sms(country="DE", segments=20))
    (made,) = await close(pool)
    assert (made.subtotal_micros, made.total_micros) == (4_860_000, 5_780_000)
    return made


async def credit(pool: Pool, invoice: Invoice, amount: int | None = None, *lines: LineCredit) -> CreditNote:
    return await credit_notes.credit_invoice(pool, str(invoice.number), Wanted("came late", amount, lines), WHO)


async def now(pool: Pool, invoice: Invoice) -> Invoice:
    return (await invoice_admin.get_invoice(pool, str(invoice.number))).invoice


async def test_a_whole_invoice_is_credited_line_by_line(pool: Pool, invoice: Invoice) -> None:
    note = await credit(pool, invoice)
    assert note.number == f"CN-{datetime.now(UTC).year}-000001"
    assert (note.subtotal_micros, note.tax_micros, note.total_micros, note.to_balance_micros) == (
        4_860_000, 920_000, 5_780_000, 0,
    )  # fmt: skip
    credited = await now(pool, invoice)
    assert (credited.status, credited.credited_micros, credited.amount_due_micros) == ("paid", 5_780_000, 0)
    rows = await pool.fetch("SELECT description, invoice_line, amount_micros FROM billing.credit_note_lines")
    assert [tuple(row) for row in rows] == [
        ("SMS to AF", 0, 4_500_000), ("SMS to DE", 1, 900_000), ("Partner", 2, -540_000),
    ]  # fmt: skip
    assert [event for event, _, _ in await told(pool)] == ["invoice.opened", "invoice.paid"]
    with pytest.raises(SettlementError, match="nothing left"):
        await credit(pool, invoice)
    entry, *_ = await audit.list_entries(pool, account_id=ACCOUNT)
    assert (entry.action, entry.subject) == ("invoice.credited", invoice.number)
    await books_balance(pool)


async def test_parts_come_off_what_is_due_and_then_to_the_balance(pool: Pool, invoice: Invoice) -> None:
    await settling.pay_invoice(pool, str(invoice.number), WHO, settling.Paid(5 * ONE))
    first = await credit(pool, invoice, 500_000)
    assert (first.subtotal_micros, first.tax_micros, first.to_balance_micros) == (420_000, 80_000, 0)
    assert (await now(pool, invoice)).amount_due_micros == 280_000
    second = await credit(pool, invoice, ONE)
    assert (second.total_micros, second.to_balance_micros) == (ONE, 720_000)
    done = await now(pool, invoice)
    assert (done.status, done.amount_due_micros, done.credited_micros) == ("paid", 0, 1_500_000)
    assert await ledger_queries.find_balance(pool, ACCOUNT) == 720_000
    await books_balance(pool)
    rest = await credit(pool, invoice)  # of one that is paid: all of it to the balance
    assert (rest.total_micros, rest.to_balance_micros) == (4_280_000, 4_280_000)
    assert await pool.fetchval("SELECT sum(tax_micros) FROM billing.credit_notes") == 920_000
    assert [event for event, _, _ in await told(pool)] == ["invoice.opened", "invoice.paid"]
    await books_balance(pool)


async def test_lines_are_credited_before_taxes(pool: Pool, invoice: Invoice) -> None:
    note = await credit(pool, invoice, None, LineCredit(1, 250_000), LineCredit(0, ONE))
    assert (note.subtotal_micros, note.tax_micros) == (1_250_000, 240_000)  # 0.92 of 4.86, for 1.25
    with pytest.raises(SettlementError, match=r"no more than 0\.65 USD"):
        await credit(pool, invoice, None, LineCredit(1, ONE))
    for wrong, text in (
        ((LineCredit(0), LineCredit(0)), "twice"), ((LineCredit(3),), "no line 3"), ((LineCredit(2),), "no more than"),
        ((LineCredit(0, 5),), "no more decimals"), ((LineCredit(0), LineCredit(1)), r"no more than 3\.61"),
    ):  # fmt: skip
        with pytest.raises(SettlementError, match=text):
            await credit(pool, invoice, None, *wrong)
    await books_balance(pool)


async def test_what_cannot_be_credited(pool: Pool, invoice: Invoice) -> None:
    for amount, text in ((5_790_000, "no more than 5.78"), (0, "above 0"), (-ONE, "above 0"), (5, "no more decimals")):
        with pytest.raises(SettlementError, match=text):
            await credit(pool, invoice, amount)
    with pytest.raises(SettlementError, match="reason"):
        await credit_notes.credit_invoice(pool, str(invoice.number), Wanted(" "), WHO)
    await settling.void_invoice(pool, str(invoice.number), WHO)
    with pytest.raises(InvoiceNotOpenError, match="is void"):
        await credit(pool, invoice)
    assert await pool.fetchval("SELECT count(*) FROM billing.credit_notes") == 0


async def test_numbers_have_no_gaps_with_many_at_once(pool: Pool, invoice: Invoice) -> None:
    done = await asyncio.gather(*(credit(pool, invoice, ONE) for _ in range(10)), return_exceptions=True)
    notes = [one for one in done if isinstance(one, CreditNote)]
    assert [type(one) for one in done if not isinstance(one, CreditNote)] == [SettlementError] * 5
    year = datetime.now(UTC).year
    assert sorted(note.number for note in notes) == [f"CN-{year}-{count:06d}" for count in range(1, 6)]
    assert (await credit(pool, invoice)).total_micros == 780_000
    await books_balance(pool)


async def test_a_credit_note_is_held_by_the_database(pool: Pool, invoice: Invoice) -> None:
    await credit(pool, invoice, ONE)
    for statement in (
        "UPDATE billing.credit_notes SET reason = 'other'",
        "DELETE FROM billing.credit_notes",
        "UPDATE billing.credit_note_lines SET amount_micros = 1",
        "DELETE FROM billing.credit_note_taxes",
        "INSERT INTO billing.credit_note_lines SELECT id, 9, 'x', NULL, 1 FROM billing.credit_notes",
        "INSERT INTO billing.credit_note_taxes SELECT id, 9, 'x', 1, 1, 1 FROM billing.credit_notes",
    ):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await pool.execute(statement)


@given(
    currency=st.sampled_from(["JPY", "USD", "KWD", "CLF"]),
    net=st.integers(1, 10**6),
    rates=st.lists(st.integers(0, 1_000_000), max_size=4),
    parts=st.lists(st.tuples(st.booleans(), st.integers(1, 10**6)), max_size=12),
)
def test_all_credit_notes_together_are_the_invoice(
    currency: str, net: int, rates: list[int], parts: list[tuple[bool, int]]
) -> None:
    """By amounts and by lines in any order: no part is ever more than is left of it, and the last takes the rest."""
    unit = 10 ** (6 - minor_digits(currency))
    subtotal = net * unit
    taxes = [
        TaxLine(f"{place}", ppm, subtotal, net * ppm // 1_000_000 * unit) for place, ppm in enumerate(rates)
    ]  # fmt: skip
    left, left_taxes = subtotal, [tax.amount_micros for tax in taxes]
    for by_line, part in [*parts, (False, 10**9)]:
        credited = [tax.amount_micros - rest for tax, rest in zip(taxes, left_taxes, strict=True)]
        of = Creditable(currency, subtotal, taxes, subtotal - left, credited)
        assert of.left_micros == left + sum(left_taxes)
        most = of.left_net_micros if by_line else of.left_micros
        wanted = min(part * unit, most)
        if wanted == 0:
            continue
        net_part, shared = (wanted, share_net(of, wanted)) if by_line else share_gross(of, wanted)
        if not by_line:
            assert net_part + sum(tax.amount_micros for tax in shared) == wanted
        assert 0 <= net_part <= left
        left -= net_part
        for place, tax in enumerate(shared):
            assert tax.amount_micros % unit == 0
            assert 0 <= tax.amount_micros <= left_taxes[place]
            left_taxes[place] -= tax.amount_micros
    assert (left, sum(left_taxes)) == (0, 0)
