"""An invoice's life without anybody's hand: a draft when the month has ended, opened after the grace period."""

import asyncio
import itertools
from datetime import UTC, date, datetime, timedelta, tzinfo

import asyncpg
import pytest

from ghasi.billing import worker
from ghasi.billing.invoices import admin as invoice_admin
from ghasi.billing.invoices import automatic, closing, settling, terms
from ghasi.billing.invoices.automatic import Calendar
from ghasi.billing.invoices.contents import Month
from ghasi.billing.invoices.model import Tax
from ghasi.billing.model import Invoice
from ghasi.billing.plans.model import Plan
from ghasi.contract.values import new_id
from ghasi.storage import audit
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from tests.billing.conftest import ACCOUNT, LAST_MONTH, Messages, Sms
from tests.billing.invoices.months import (
    END,
    NOVEMBER,
    OCTOBER,
    SELLER,
    WHO,
    advance,
    books_balance,
    close,
    give_plan,
    told,
)
from tests.carrying import events_of

HOUR = timedelta(hours=1)


async def stored(pool: Pool) -> list[Invoice]:
    return (await invoice_admin.list_invoices(pool))[::-1]


async def lines(pool: Pool, invoice: Invoice) -> list[tuple[str, str, int]]:
    rows = await pool.fetch(
        "SELECT kind, description, amount_micros FROM billing.invoice_lines WHERE invoice_id = $1 ORDER BY position",
        invoice.id,
    )
    return [tuple(row) for row in rows]


async def test_a_month_that_ended_has_drafts_and_then_invoices(pool: Pool, messages: Messages) -> None:
    await messages.happen(Sms(segments=2))
    assert await advance(pool, END - HOUR) is False
    assert await stored(pool) == []
    assert await advance(pool, END + HOUR) is False  # nothing that others were told
    (draft,) = await stored(pool)
    assert (draft.status, draft.number, draft.total_micros, draft.issued_at) == ("draft", None, 90_000, None)
    assert (draft.seller, draft.customer, await told(pool)) == (None, None, [])
    # a receipt that came late is in the draft a quarter of an hour later, and on the invoice in any case
    await messages.happen(Sms(), Sms(country="DE"))
    await advance(pool, END + HOUR + timedelta(minutes=14))
    assert await stored(pool) == [draft]
    await advance(pool, END + HOUR + timedelta(minutes=16))
    (refreshed,) = await stored(pool)
    assert (refreshed.id, refreshed.status, refreshed.total_micros) == (draft.id, "draft", 180_000)
    await messages.happen(Sms(country="PK"))
    await advance(pool, END + timedelta(hours=71))
    assert await advance(pool, END + timedelta(hours=72)) is True
    (opened,) = await stored(pool)
    assert (opened.id, opened.status, opened.total_micros) == (draft.id, "open", 220_000)
    assert opened.number == f"GH-{datetime.now(UTC).year}-000001"
    assert [line[1] for line in await lines(pool, opened)] == ["SMS to AF", "SMS to DE", "SMS to PK"]
    entry, *_ = await audit.list_entries(pool)
    assert (entry.actor, entry.action, entry.subject) == ("worker:billing", "period.closed", "2026-10")
    # and that was it
    assert await advance(pool, END + timedelta(hours=73)) is False
    assert await stored(pool) == [opened]
    ((event, sequence, data),) = await told(pool)
    assert (event, sequence, data["number"], data["total"]) == ("invoice.opened", 1, opened.number, "0.22")
    await books_balance(pool)


async def test_what_comes_after_the_grace_is_an_adjustment_of_the_next_month(pool: Pool, messages: Messages) -> None:
    await messages.happen(Sms())
    await advance(pool, END + timedelta(hours=72))
    late, other = Sms(segments=3), Sms(account_id=new_id())  # who had nothing in October, and has no invoice of it
    await messages.happen(late, other)
    await advance(pool, END + timedelta(hours=80))
    assert len(await stored(pool)) == 1
    await messages.happen(Sms(at=datetime(2026, 11, 20, tzinfo=UTC)))
    await close(pool, "2026-11", early=True)
    november = {invoice.account_id: invoice for invoice in await stored(pool) if invoice.period_start.month == 11}
    assert await lines(pool, november[ACCOUNT]) == [
        ("usage", "SMS to AF", 40_000), ("adjustment", "SMS to AF, adjustment for October 2026", 140_000),
    ]  # fmt: skip
    assert await lines(pool, november[other.account_id]) == [
        ("adjustment", "SMS to AF, adjustment for October 2026", 40_000)
    ]
    await books_balance(pool)


async def test_an_operator_may_close_within_the_grace(pool: Pool, messages: Messages) -> None:
    await messages.happen(Sms())
    await advance(pool, END + HOUR)
    (draft,) = await stored(pool)
    (opened,) = await close(pool)
    assert (opened.id, opened.status) == (draft.id, "open")
    await messages.happen(Sms(account_id=new_id()))  # too late for October
    await advance(pool, END + timedelta(hours=100))
    assert [invoice.id for invoice in await stored(pool)] == [opened.id]


async def test_where_operators_alone_close_there_are_drafts_for_ever(pool: Pool, messages: Messages) -> None:
    await messages.happen(Sms())
    for later in (timedelta(hours=72), timedelta(days=400)):
        await automatic.advance(pool, events_of(pool), Calendar(None, SELLER), END + later)
        assert [invoice.status for invoice in await stored(pool)] == ["draft"]
    assert [invoice.status for invoice in await close(pool)] == ["open"]


async def test_months_are_closed_in_their_order_and_none_is_left_out(pool: Pool, messages: Messages) -> None:
    """A worker that was away for two months."""
    await messages.happen(Sms(at=datetime(2026, 8, 5, tzinfo=UTC)), Sms())
    await give_plan(pool, ACCOUNT, Plan("gold", date(2026, 8, 1), "USD", base_fee_micros=5_000_000))
    await advance(pool, END + timedelta(hours=100))
    assert [(f"{one.period_start:%Y-%m}", one.total_micros) for one in await stored(pool)] == [
        ("2026-08", 5_040_000), ("2026-09", 5_000_000), ("2026-10", 5_040_000),
    ]  # fmt: skip


async def test_a_month_is_not_closed_before_its_messages_are_read(pool: Pool, messages: Messages) -> None:
    first, unread = Sms(), Sms()
    await messages.happen(first)
    await messages.write(*unread.events())
    await advance(pool, END + timedelta(hours=100))
    assert [one.status for one in await stored(pool)] == ["draft"]
    await messages.read()
    await advance(pool, END + timedelta(hours=100))
    assert [(one.status, one.total_micros) for one in await stored(pool)] == [("open", 90_000)]


async def test_a_plan_has_its_fee_without_messages(pool: Pool, messages: Messages) -> None:
    fee, minimum, neither, none = (new_id() for _ in range(4))
    await give_plan(pool, fee, Plan("fee", OCTOBER, "USD", base_fee_micros=9_990_000))
    await give_plan(pool, minimum, Plan("minimum", OCTOBER, "USD", minimum_micros=20_000_000))
    await give_plan(pool, neither, Plan("neither", OCTOBER, "USD"))
    await give_plan(pool, none, Plan("later", NOVEMBER, "USD", base_fee_micros=1_000_000))
    await messages.happen(Sms(account_id=minimum, segments=100))
    made = {invoice.account_id: invoice for invoice in await close(pool)}
    assert set(made) == {fee, minimum}
    assert await lines(pool, made[fee]) == [("base_fee", "Base fee of the plan fee", 9_990_000)]
    assert await lines(pool, made[minimum]) == [
        ("usage", "SMS to AF", 4_500_000), ("minimum", "Up to the minimum of the plan minimum", 15_500_000),
    ]  # fmt: skip
    assert [(made[one].plan, made[one].payment) for one in (fee, minimum)] == [
        ("fee", "postpaid"), ("minimum", "postpaid"),
    ]  # fmt: skip
    assert await close(pool) == []
    await books_balance(pool)


async def test_a_minimum_counts_its_own_month_though_a_later_one_was_closed_before(
    pool: Pool, messages: Messages
) -> None:
    """An operator tries out the running month while the last one is in its grace period."""
    await give_plan(pool, ACCOUNT, Plan("gold", OCTOBER, "USD", minimum_micros=5_000_000))
    await messages.happen(Sms(segments=100), Sms(at=END + HOUR, segments=2))
    (november,) = await close(pool, "2026-11", early=True)
    (october,) = await close(pool)
    assert await lines(pool, november) == [
        ("usage", "SMS to AF", 90_000), ("minimum", "Up to the minimum of the plan gold", 4_910_000),
    ]  # fmt: skip
    assert await lines(pool, october) == [
        ("usage", "SMS to AF", 4_500_000), ("minimum", "Up to the minimum of the plan gold", 500_000),
    ]  # fmt: skip
    await books_balance(pool)


async def test_a_draft_that_has_come_to_nothing_goes(pool: Pool, messages: Messages) -> None:
    """September's charges went on October's invoice, which was closed first."""
    await messages.happen(Sms(at=LAST_MONTH - timedelta(days=30)), Sms())
    await advance(pool, datetime(2026, 10, 2, tzinfo=UTC))
    assert [one.status for one in await stored(pool)] == ["draft"]
    (october,) = await close(pool)
    assert october.total_micros == 90_000
    assert await close(pool, "2026-09") == []
    assert await stored(pool) == [october]


async def test_taxes_are_those_of_the_opening(pool: Pool, messages: Messages) -> None:
    await messages.happen(Sms(segments=100))
    await terms.set_taxes(pool, ACCOUNT, [Tax("VAT", 190_000)], WHO)
    await advance(pool, END + HOUR)
    assert [(one.tax_micros, one.total_micros) for one in await stored(pool)] == [(860_000, 5_360_000)]  # 0.855
    await terms.set_taxes(pool, ACCOUNT, [Tax("VAT", 190_000), Tax("Levy", 12_345)], WHO)
    await close(pool)
    await terms.set_taxes(pool, ACCOUNT, [], WHO)
    (opened,) = await stored(pool)
    detail = await invoice_admin.get_invoice(pool, str(opened.number))
    assert [(tax.name, tax.amount_micros) for tax in detail.taxes] == [("Levy", 60_000), ("VAT", 860_000)]
    assert opened.total_micros == 4_500_000 + 920_000
    assert (await audit.list_entries(pool, account_id=ACCOUNT))[0].action == "account.taxes_set"
    await books_balance(pool)


async def test_an_invoice_of_nothing_is_paid_at_once(pool: Pool, messages: Messages) -> None:
    await give_plan(pool, ACCOUNT, Plan("free", OCTOBER, "USD"))
    await messages.happen(Sms())
    await terms.add_discount(
        pool, ACCOUNT, "All of it", WHO, rate_ppm=1_000_000, amount_micros=None, from_month="2026-10", until_month=None
    )
    (made,) = await close(pool)
    assert (made.status, made.total_micros, made.paid_micros, made.paid_at) == ("paid", 0, 0, made.issued_at)
    events = [(event, sequence) for event, sequence, _ in await told(pool)]
    assert events == [("invoice.opened", 1), ("invoice.paid", 2)]


async def test_what_is_overdue_is_told_once(pool: Pool, messages: Messages) -> None:
    others = [new_id() for _ in range(2)]
    await messages.happen(Sms(), *(Sms(account_id=other) for other in others))
    made = {invoice.account_id: invoice for invoice in await close(pool)}
    await settling.pay_invoice(pool, str(made[others[0]].number), WHO)
    await settling.void_invoice(pool, str(made[others[1]].number), WHO)
    due_at = made[ACCOUNT].due_at
    assert due_at is not None
    for now, expected in ((due_at, 0), (due_at + HOUR, 1), (due_at + HOUR, 1), (due_at + 9 * HOUR, 1)):
        await advance(pool, now)
        found = [event for event in await told(pool) if event[0] == "invoice.overdue"]
        assert len(found) == expected
    ((_, sequence, data),) = found
    assert (sequence, data["id"], data["overdue"], data["status"]) == (2, str(made[ACCOUNT].id), True, "open")
    await settling.pay_invoice(pool, str(made[ACCOUNT].number), WHO)
    assert (await told(pool))[-1][:2] == ("invoice.paid", 3)


async def test_workers_and_operators_at_once_make_the_same_invoices(
    pool: Pool, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drafts are made, refreshed and opened while messages are rated; each message is on one invoice or none."""
    monkeypatch.setattr(closing, "ACCOUNTS_AT_A_TIME", 3)
    monkeypatch.setattr(automatic, "ACCOUNTS_AT_A_TIME", 2)
    accounts = [new_id() for _ in range(10)]
    sent = [Sms(account_id=account, country=country) for account in accounts for country in ("AF", "DE")]
    await messages.happen(*sent)
    late = [Sms(account_id=account) for account in accounts]
    await messages.write(*(event for message in late for event in message.events()))
    await asyncio.gather(
        messages.read(7),
        *(advance(pool, END + hours * HOUR) for hours in range(1, 5)),
        *(close(pool, early=True) for _ in range(4)),
    )
    await close(pool, "2026-11", early=True)
    invoices = await stored(pool)
    numbers = [int(str(invoice.number)[-6:]) for invoice in invoices]
    assert sorted(numbers) == list(range(1, len(invoices) + 1))
    assert {invoice.status for invoice in invoices} == {"open"}
    assert await pool.fetchval("SELECT count(*) FROM billing.tallies WHERE invoice_id IS NULL") == 0
    assert await pool.fetchval("SELECT sum(messages) FROM billing.invoice_lines") == len(sent) + len(late)
    await books_balance(pool)


async def test_closers_take_turns_though_the_year_turns_between_them(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    years = itertools.cycle((2026, 2027))

    class NewYear(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime(next(years), 1, 1, tzinfo=tz)

    monkeypatch.setattr(closing, "datetime", NewYear)
    plan = Plan("gold", OCTOBER, "USD", base_fee_micros=5_000_000)
    for account_id in (new_id() for _ in range(5)):
        await give_plan(pool, account_id, plan)
    closer = closing.Closer(Month(datetime(2026, 10, 1, tzinfo=UTC), END), WHO, None)
    await asyncio.gather(
        *(closing.close_month(pool, closer) for _ in range(6)), automatic.refresh_drafts(pool, closer.month, END)
    )
    assert [invoice.status for invoice in await stored(pool)] == ["open"] * 5
    await books_balance(pool)


async def test_a_fault_in_invoices_does_not_end_rating(
    resources: Resources, pool: Pool, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = asyncio.Event()

    async def break_down(*_: object) -> bool:
        tried.set()
        raise RuntimeError("one account's books are wrong")

    monkeypatch.setattr(automatic, "advance", break_down)
    task = asyncio.create_task(worker.work(resources))
    async with asyncio.timeout(10):
        await tried.wait()
        await messages.write(*Sms().events())
        resources.bells.ring("messages")
        while not await pool.fetchval("SELECT count(*) FROM billing.charges"):
            await asyncio.sleep(0.02)
        resources.stopping.set()
        await task


async def test_what_was_opened_is_held_by_the_database(pool: Pool, messages: Messages) -> None:
    await terms.set_taxes(pool, ACCOUNT, [Tax("VAT", 190_000)], WHO)
    await messages.happen(Sms(segments=100))
    (made,) = await close(pool)
    await settling.pay_invoice(pool, str(made.number), WHO, settling.Paid(1_000_000))
    for statement in (
        "UPDATE billing.invoices SET seller = '{}'",
        "UPDATE billing.invoices SET customer = NULL",
        "UPDATE billing.invoices SET plan = 'gold'",
        "UPDATE billing.invoices SET paid_micros = 0",
        "UPDATE billing.invoices SET paid_micros = total_micros",  # no payment says so
        "UPDATE billing.invoices SET credited_micros = 1",
        "UPDATE billing.invoices SET status = 'paid', paid_at = now()",  # it is not
        "UPDATE billing.invoices SET status = 'void', voided_at = now()",  # something was paid
        "UPDATE billing.invoices SET sequence = 0",
        "UPDATE billing.invoice_lines SET kind = 'discount'",
        "UPDATE billing.invoice_taxes SET amount_micros = 1",
        "DELETE FROM billing.invoice_taxes",
        "INSERT INTO billing.invoice_taxes SELECT id, 9, 'x', 1, 1, 1 FROM billing.invoices",
        "UPDATE billing.tallies SET line = 7",
        "UPDATE billing.payments SET amount_micros = 2",
        "DELETE FROM billing.payments",
        """INSERT INTO billing.payments (id, invoice_id, account_id, amount_micros, method, paid_at)
        SELECT gen_random_uuid(), id, account_id, 1, 'x', now() FROM billing.invoices""",
        "INSERT INTO billing.invoices SELECT * FROM billing.invoices",
    ):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await pool.execute(statement)
    await books_balance(pool)
