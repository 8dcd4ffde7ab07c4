"""Payments in part, voiding and giving up: what an invoice allows; books, events and audit log say the same."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from ghasi.billing.invoices import admin as invoice_admin
from ghasi.billing.invoices import settling
from ghasi.billing.invoices.settling import Paid
from ghasi.billing.ledger import admin as ledger_admin
from ghasi.billing.ledger import queries as ledger_queries
from ghasi.billing.model import Invoice, InvoiceNotOpenError, SettlementError
from ghasi.billing.plans.model import Plan
from ghasi.billing.rates import admin as rate_admin
from ghasi.contract.values import new_id
from ghasi.storage import audit
from ghasi.storage.pool import Pool
from tests.billing.conftest import ACCOUNT, Messages, Sms
from tests.billing.invoices.months import END, NOVEMBER, OCTOBER, WHO, books_balance, close, give_plan, told

ONE = 1_000_000


@pytest.fixture
async def invoice(pool: Pool, messages: Messages) -> Invoice:
    """Of 4.50 USD."""
    await messages.happen(Sms(segments=100))
    (made,) = await close(pool)
    assert made.total_micros == 4_500_000
    return made


async def pay(pool: Pool, invoice: Invoice, micros: int | None = None, **paid: object) -> Invoice:
    return await settling.pay_invoice(pool, str(invoice.number), WHO, Paid(micros, **paid))  # type: ignore[arg-type]


async def test_an_invoice_is_paid_in_parts(pool: Pool, invoice: Invoice) -> None:
    at = datetime(2026, 11, 5, 12, tzinfo=UTC)
    part = await pay(pool, invoice, ONE, reference="TX-1", at=at)
    assert (part.status, part.paid_micros, part.amount_due_micros, part.paid_at) == ("open", ONE, 3_500_000, None)
    await books_balance(pool)
    later = at + timedelta(days=2)
    whole = await pay(pool, invoice, method="card", at=later)
    assert (whole.status, whole.paid_micros, whole.amount_due_micros, whole.paid_at) == ("paid", 4_500_000, 0, later)
    detail = await invoice_admin.get_invoice(pool, str(invoice.number))
    assert detail.invoice == whole
    assert [(one.amount_micros, one.method, one.reference, one.paid_at) for one in detail.payments] == [
        (ONE, "bank_transfer", "TX-1", at), (3_500_000, "card", None, later),
    ]  # fmt: skip
    assert [(event, data["amount_due"], data["paid"]) for event, _, data in await told(pool)] == [
        ("invoice.opened", "4.50", "0.00"), ("invoice.paid", "0.00", "4.50"),
    ]  # fmt: skip
    entries = await audit.list_entries(pool, account_id=ACCOUNT)
    assert [entry.action for entry in entries[:2]] == ["invoice.paid"] * 2
    with pytest.raises(InvoiceNotOpenError, match="is paid"):
        await pay(pool, invoice)
    await books_balance(pool)


async def test_the_same_reference_is_recorded_once(pool: Pool, invoice: Invoice) -> None:
    done = await asyncio.gather(*(pay(pool, invoice, ONE, reference="TX-1") for _ in range(8)))
    assert {one.paid_micros for one in done} == {ONE}
    assert (await pay(pool, invoice, reference="TX-1")).paid_micros == ONE  # whatever the amount was
    with pytest.raises(SettlementError, match=r"TX-1 was recorded before, with 1\.00 USD"):
        await pay(pool, invoice, 2 * ONE, reference="TX-1")
    await pay(pool, invoice, reference="TX-2")
    assert (await pay(pool, invoice, ONE, reference="TX-1")).status == "paid"
    await books_balance(pool)


async def test_no_more_is_paid_than_is_due(pool: Pool, invoice: Invoice) -> None:
    for micros, text in (
        (4_500_001, "no more decimals"), (5 * ONE, "no more than 4.50 USD"), (0, "above 0"), (-ONE, "above 0"),
        (4_510_000, "no more than"),
    ):  # fmt: skip
        with pytest.raises(SettlementError, match=text):
            await pay(pool, invoice, micros)
    with pytest.raises(SettlementError, match="another method"):
        await pay(pool, invoice, ONE, method="balance")
    with pytest.raises(SettlementError, match="future"):
        await pay(pool, invoice, ONE, at=datetime.now(UTC) + timedelta(days=1))
    # at once, too: each takes what the others left
    done = await asyncio.gather(*(pay(pool, invoice, ONE) for _ in range(6)), return_exceptions=True)
    assert [isinstance(one, SettlementError) for one in done].count(True) == 2
    assert (await invoice_admin.get_invoice(pool, str(invoice.number))).invoice.paid_micros == 4 * ONE
    await books_balance(pool)


async def test_only_what_nothing_was_paid_of_is_voided(pool: Pool, messages: Messages, invoice: Invoice) -> None:
    await pay(pool, invoice, ONE)
    with pytest.raises(SettlementError, match="credit note of the rest"):
        await settling.void_invoice(pool, str(invoice.number), WHO)
    await messages.happen(Sms(account_id=new_id()))
    (other,) = await close(pool)
    void = await settling.void_invoice(pool, str(other.number), WHO)
    assert (void.status, void.amount_due_micros) == ("void", 0)
    for settle in (settling.void_invoice, settling.give_up_invoice, settling.pay_invoice):
        with pytest.raises(InvoiceNotOpenError, match="is void"):
            await settle(pool, str(other.number), WHO)
    assert await close(pool) == []  # its messages are not billed again
    await books_balance(pool)


async def test_what_was_given_up_may_be_paid_after_all(pool: Pool, invoice: Invoice) -> None:
    await pay(pool, invoice, ONE)
    given_up = await settling.give_up_invoice(pool, str(invoice.number), WHO)
    assert (given_up.status, given_up.amount_due_micros) == ("uncollectible", 3_500_000)
    await books_balance(pool)
    with pytest.raises(InvoiceNotOpenError, match="is uncollectible"):
        await settling.void_invoice(pool, str(invoice.number), WHO)
    assert (await pay(pool, invoice, ONE)).status == "uncollectible"
    assert (await pay(pool, invoice)).status == "paid"
    assert (await told(pool))[-1][0] == "invoice.paid"
    await books_balance(pool)


async def test_a_balance_pays_what_it_can(pool: Pool, messages: Messages) -> None:
    rich = new_id()
    for account, amount in ((ACCOUNT, "1.25"), (rich, "100")):
        await ledger_admin.top_up(pool, account, amount, reference="bank 1", note=None, actor=WHO)
    await messages.happen(Sms(segments=100), Sms(account_id=rich, segments=100))
    made = {invoice.account_id: invoice for invoice in await close(pool)}
    assert (made[ACCOUNT].status, made[ACCOUNT].paid_micros, made[ACCOUNT].amount_due_micros) == (
        "open", 1_250_000, 3_250_000,
    )  # fmt: skip
    assert (made[rich].status, made[rich].paid_at) == ("paid", made[rich].issued_at)
    detail = await invoice_admin.get_invoice(pool, str(made[ACCOUNT].number))
    assert [(one.method, one.amount_micros) for one in detail.payments] == [("balance", 1_250_000)]
    await books_balance(pool)
    await pay(pool, made[ACCOUNT])
    await books_balance(pool)


async def test_what_is_owed_can_be_paid_though_messages_took_fractions_of_a_cent(
    pool: Pool, messages: Messages
) -> None:
    """Postpaid in October, prepaid from November on, with messages of both when October is invoiced."""
    await rate_admin.import_rates(pool, "country,amount,valid_from\nAF,0.033333,2026-11-01\n", WHO)
    await give_plan(pool, ACCOUNT, Plan("ahead", NOVEMBER, "USD", payment="prepaid"))
    await ledger_admin.top_up(pool, ACCOUNT, "1", reference="bank 1", note=None, actor=WHO)
    await messages.happen(Sms(segments=100), Sms(at=END + timedelta(days=1)))
    assert await ledger_queries.find_balance(pool, ACCOUNT) == 966_667
    (made,) = await close(pool)
    assert (made.total_micros, made.paid_micros, made.amount_due_micros) == (4_500_000, 960_000, 3_540_000)
    assert await ledger_queries.find_balance(pool, ACCOUNT) == 6_667
    assert (await pay(pool, made, 3_540_000)).status == "paid"
    await books_balance(pool)


async def test_a_prepaid_invoice_is_paid_when_it_is_opened(pool: Pool, messages: Messages) -> None:
    await give_plan(
        pool, ACCOUNT, Plan("ahead", OCTOBER, "USD", base_fee_micros=2_000_000, payment="prepaid")
    )  # fmt: skip
    await ledger_admin.top_up(pool, ACCOUNT, "5", reference="bank 1", note=None, actor=WHO)
    await messages.happen(Sms(segments=11))
    assert await ledger_queries.find_balance(pool, ACCOUNT) == 5_000_000 - 11 * 45_000
    (made,) = await close(pool)
    # 0.495 half-even is 0.50; what rounding and the fee come to is the balance's, too
    assert (made.status, made.total_micros, made.paid_micros, made.payment) == ("paid", 2_500_000, 2_500_000, "prepaid")
    assert await ledger_queries.find_balance(pool, ACCOUNT) == 2_500_000
    await books_balance(pool)
