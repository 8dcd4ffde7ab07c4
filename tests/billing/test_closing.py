"""Closing months: numbers without gaps, no message twice or never, and documents that stay as they are."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from ghasi.billing.invoices import admin as invoice_admin
from ghasi.billing.invoices import closing, settling
from ghasi.billing.model import BillingError, InvoiceNotFoundError, InvoiceNotOpenError, PeriodOpenError
from ghasi.billing.periods import parse_month
from ghasi.billing.rates import admin as rate_admin
from ghasi.contract.values import new_id
from ghasi.storage import audit
from ghasi.storage.pool import Pool
from tests.billing.conftest import ACCOUNT, LAST_MONTH, Messages, Sms
from tests.carrying import events_of

WHO = "operator:ann"
NEXT_MONTH = datetime(2026, 11, 3, tzinfo=UTC)


async def close(pool: Pool, period: str = "2026-10", *, early: bool = False) -> list[str | None]:
    return [
        invoice.number
        for invoice in (await invoice_admin.close_period(pool, events_of(pool), period, early=early, actor=WHO)).made
    ]


async def invoiced(pool: Pool) -> dict[UUID, str | None]:
    """Message id -> number of its invoice."""
    return dict(
        await pool.fetch(
            "SELECT message_id, number FROM billing.charges JOIN billing.tallies ON tallies.id = tally_id "
            "LEFT JOIN billing.invoices ON invoices.id = invoice_id"
        )
    )


async def test_an_invoice_has_a_line_for_each_country_and_price(pool: Pool, messages: Messages) -> None:
    await rate_admin.import_rates(pool, "country,amount,valid_from\nAF,0.055,2026-10-16\n", WHO)
    await messages.happen(
        Sms(country="AF"), Sms(country="AF", segments=2), Sms(country="AF", at=LAST_MONTH + timedelta(days=2)),
        Sms(country="DE"), Sms(country=None), Sms(passes=("failed",)), Sms(at=LAST_MONTH - timedelta(days=40)),
    )  # fmt: skip
    (invoice,) = (await invoice_admin.close_period(pool, events_of(pool), "2026-10", actor=WHO)).made
    assert invoice.number == f"GH-{datetime.now(UTC).year}-000001"
    assert (invoice.account_id, invoice.status, invoice.currency) == (ACCOUNT, "open", "USD")
    assert (invoice.period_start, invoice.period_end) == (
        datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC),
    )  # fmt: skip
    detail = await invoice_admin.get_invoice(pool, str(invoice.number))
    assert detail.invoice == invoice
    assert [
        (line.description, line.country, line.messages, line.segments, line.amount_micros) for line in detail.lines
    ] == [
        ("SMS to AF", "AF", 3, 4, 180_000),
        ("SMS to AF", "AF", 1, 1, 60_000),  # 0.055 rounds half-even to 0.06
        ("SMS to DE", "DE", 1, 1, 40_000),  # 0.045 rounds half-even to 0.04
        ("SMS to numbers of no country", None, 1, 1, 40_000),
    ]
    assert invoice.subtotal_micros == invoice.total_micros == invoice.amount_due_micros == 320_000
    assert invoice.issued_at is not None
    assert invoice.due_at == invoice.issued_at + timedelta(days=14)
    entry = (await audit.list_entries(pool))[0]
    assert (entry.actor, entry.action, entry.subject) == (WHO, "period.closed", "2026-10")


async def test_closing_twice_is_harmless(pool: Pool, messages: Messages) -> None:
    await messages.happen(Sms(), Sms(account_id=new_id()))
    first = await invoice_admin.close_period(pool, events_of(pool), "2026-10", actor=WHO)
    assert len(first.made) == 2
    assert first.skipped == []
    again = await invoice_admin.close_period(pool, events_of(pool), "2026-10", actor=WHO)
    assert again.made == []
    assert again.skipped == sorted(str(invoice.number) for invoice in first.made)
    assert await invoice_admin.list_invoices(pool) == first.made[::-1]


async def test_accounts_without_charges_get_no_invoice(pool: Pool, messages: Messages) -> None:
    await messages.happen(Sms(passes=("failed",)), Sms(at=NEXT_MONTH))
    assert await close(pool) == []
    assert await pool.fetchval("SELECT count(*) FROM billing.invoices") == 0


async def test_what_comes_after_closing_is_on_the_next_invoice(pool: Pool, messages: Messages) -> None:
    """Early closing too: each message is on one invoice exactly."""
    now = datetime.now(UTC)
    period = f"{now:%Y-%m}"
    following = parse_month(period)[1]
    early, late = Sms(at=now), Sms(at=now)
    await messages.happen(early)
    (first,) = await close(pool, period, early=True)
    await messages.happen(late)
    assert await close(pool, period, early=True) == []
    assert await invoiced(pool) == {early.id: first, late.id: None}
    with pytest.raises(PeriodOpenError, match="has not begun"):
        await close(pool, f"{following:%Y-%m}", early=True)
    # last month's, told late, goes the same way
    old_first, old_late = Sms(account_id=new_id()), Sms()
    await messages.happen(old_first, old_late)
    numbers = await close(pool)
    assert await invoiced(pool) == {
        early.id: first, late.id: None, **dict(zip([old_late.id, old_first.id], numbers, strict=True)),
    }  # fmt: skip


async def test_late_messages_of_an_invoiced_month_go_on_the_months_after(pool: Pool, messages: Messages) -> None:
    september, october = LAST_MONTH - timedelta(days=30), LAST_MONTH
    first, late, own = Sms(at=september), Sms(at=september), Sms(at=october)
    await messages.happen(first)
    (one,) = await close(pool, "2026-09")
    await messages.happen(late, own)
    assert await close(pool, "2026-09") == []
    (two,) = await close(pool, "2026-10")
    assert await invoiced(pool) == {first.id: one, late.id: two, own.id: two}
    lines = (await invoice_admin.get_invoice(pool, str(two))).lines
    assert [(line.kind, line.description, line.messages) for line in lines] == [
        ("usage", "SMS to AF", 1), ("adjustment", "SMS to AF, adjustment for September 2026", 1),
    ]  # fmt: skip


async def test_a_status_still_moves_after_closing(pool: Pool, messages: Messages) -> None:
    message = Sms()
    *before, delivered = message.events()
    await messages.write(*before)
    await messages.read()
    await close(pool)
    await messages.write(delivered)
    await messages.read()
    assert await pool.fetchval("SELECT status FROM billing.usage_quarters WHERE messages > 0") == "delivered"
    assert len(await invoiced(pool)) == 1


async def test_a_period_is_a_month(pool: Pool) -> None:
    for period in ("2026-13", "2026-1", "26-01", "october", "", "1999-01", "2026-10-01", "٢٠٢٦-10"):
        with pytest.raises(BillingError, match="not a month"):
            await close(pool, period)


async def test_a_period_that_runs_is_not_closed(pool: Pool, messages: Messages) -> None:
    now = datetime.now(UTC)
    await messages.happen(Sms(at=now))
    with pytest.raises(PeriodOpenError, match="ends on"):
        await close(pool, f"{now:%Y-%m}")
    assert await pool.fetchval("SELECT count(*) FROM billing.invoices") == 0


async def test_a_period_is_not_closed_before_its_messages_are_read(pool: Pool, messages: Messages) -> None:
    message = Sms()
    await messages.write(*message.events())
    with pytest.raises(PeriodOpenError, match="not all been rated"):
        await close(pool)
    await messages.read()
    await messages.write(*Sms(at=NEXT_MONTH).events())  # unread, but of the month after
    assert len(await close(pool)) == 1
    await messages.write(*Sms().events())
    with pytest.raises(PeriodOpenError, match="not all been rated"):
        await close(pool)
    assert await close(pool, early=True) == []  # early asks neither for the end nor for the position


async def test_ten_closers_at_once_leave_no_gap(
    pool: Pool, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closing, "ACCOUNTS_AT_A_TIME", 3)
    accounts = [new_id() for _ in range(40)]
    await messages.happen(*(Sms(account_id=account) for account in accounts))
    done = await asyncio.gather(*(close(pool) for _ in range(10)))
    numbers = sorted(str(number) for made in done for number in made)
    year = datetime.now(UTC).year
    assert numbers == [f"GH-{year}-{count:06d}" for count in range(1, 41)]
    assert len({invoice.account_id for invoice in await invoice_admin.list_invoices(pool)}) == 40
    assert None not in (await invoiced(pool)).values()


async def test_rating_goes_on_while_months_are_closed(pool: Pool, messages: Messages) -> None:
    """Whatever the timing, each message is on one invoice or none, and the money adds up."""
    sent = [
        Sms(account_id=account, country=country) for account in (ACCOUNT, new_id()) for country in ("AF", "DE") * 20
    ]
    await messages.write(*(event for message in sent for event in message.events()))
    reader = asyncio.create_task(messages.read(3))
    while not reader.done():
        await close(pool, "2026-10", early=True)
        await close(pool, "2026-11", early=True)
    await reader
    assert len(await invoiced(pool)) == len(sent)
    sums = await pool.fetch(
        "SELECT tallies.messages AS told, count(*) AS counted FROM billing.tallies "
        "JOIN billing.charges ON tally_id = tallies.id GROUP BY tallies.id"
    )
    assert all(row["told"] == row["counted"] for row in sums)
    assert await pool.fetchval("SELECT sum(messages) FROM billing.invoice_lines") == sum(
        number is not None for number in (await invoiced(pool)).values()
    )
    assert await pool.fetchval("SELECT max(last) FROM billing.series") == await pool.fetchval(
        "SELECT count(*) FROM billing.invoices"
    )


async def test_a_crash_leaves_no_number_behind(pool: Pool, messages: Messages, monkeypatch: pytest.MonkeyPatch) -> None:
    await messages.happen(Sms())

    async def crash(*_: object, **__: object) -> None:
        raise RuntimeError("power")

    with monkeypatch.context() as patch:
        patch.setattr(audit, "record", crash)
        with pytest.raises(RuntimeError, match="power"):
            await close(pool)
    assert await close(pool) == [f"GH-{datetime.now(UTC).year}-000001"]


async def test_paying_and_voiding(pool: Pool, messages: Messages) -> None:
    await messages.happen(Sms(), Sms(account_id=new_id()))
    paid, void = (str(number) for number in await close(pool))
    settled = await settling.pay_invoice(pool, paid, WHO)
    assert (settled.status, settled.amount_due_micros) == ("paid", 0)
    assert settled.paid_at is not None
    settled = await settling.void_invoice(pool, void, WHO)
    assert (settled.status, settled.amount_due_micros, settled.paid_at) == ("void", 0, None)
    for number in (paid, void):
        for settle in (settling.pay_invoice, settling.void_invoice):
            with pytest.raises(InvoiceNotOpenError, match=number):
                await settle(pool, number, WHO)
    with pytest.raises(InvoiceNotFoundError, match="GH-1"):
        await settling.pay_invoice(pool, "GH-1", WHO)
    with pytest.raises(InvoiceNotFoundError, match="GH-1"):
        await invoice_admin.get_invoice(pool, "GH-1")
    assert [entry.action for entry in await audit.list_entries(pool)] == [
        "invoice.voided", "invoice.paid", "period.closed",
    ]  # fmt: skip
    assert [one.number for one in await invoice_admin.list_invoices(pool, status="paid")] == [paid]
    assert [one.number for one in await invoice_admin.list_invoices(pool, account_id=settled.account_id)] == [void]


async def test_an_open_invoice_is_a_document(pool: Pool, messages: Messages) -> None:
    await messages.happen(Sms())
    assert len(await close(pool)) == 1
    for statement in (
        "UPDATE billing.invoices SET subtotal_micros = 1, total_micros = 1",
        "UPDATE billing.invoices SET due_at = due_at + interval '1 day'",
        "UPDATE billing.invoices SET number = 'GH-1'",
        "UPDATE billing.invoices SET status = 'draft'",
        "UPDATE billing.invoices SET status = 'paid', paid_at = now(), total_micros = 0, subtotal_micros = 0",
        "DELETE FROM billing.invoices",
        "UPDATE billing.invoice_lines SET amount_micros = 1",
        "DELETE FROM billing.invoice_lines",
        "INSERT INTO billing.invoice_lines SELECT id, 9, 'x', NULL, 1, 1, 1, 1 FROM billing.invoices",
        "UPDATE billing.tallies SET messages = 9",
        "UPDATE billing.tallies SET invoice_id = NULL",
    ):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await pool.execute(statement)


async def test_what_is_settled_stays_settled(pool: Pool, messages: Messages) -> None:
    await messages.happen(Sms())
    (number,) = await close(pool)
    await settling.pay_invoice(pool, str(number), WHO)
    for statement in (
        "UPDATE billing.invoices SET status = 'open', paid_at = NULL",
        "UPDATE billing.invoices SET status = 'void', paid_at = NULL, voided_at = now()",
    ):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="is paid"):
            await pool.execute(statement)


async def test_a_draft_whose_lines_do_not_add_up_is_not_opened(pool: Pool) -> None:
    await pool.execute(
        "INSERT INTO billing.invoices "
        "(id, account_id, currency, period_start, period_end, subtotal_micros, total_micros) "
        "VALUES ($1, $1, 'USD', '2026-01-01', '2026-02-01', 5, 5)",
        new_id(),
    )
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="do not add up"):
        await pool.execute(
            "UPDATE billing.invoices SET status = 'open', number = 'GH-1', issued_at = now(), due_at = now()"
        )
