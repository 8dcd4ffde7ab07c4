"""Invoices downloaded as PDF: whose name is on them, and who may have them."""

from datetime import UTC, datetime
from uuid import UUID

from ghasi.billing.accounts import customers
from ghasi.billing.invoices import admin as invoice_admin
from ghasi.billing.invoices import settling
from ghasi.contract.serving import ServiceApp
from ghasi.contract.values import new_id
from ghasi.storage.events import outbox, postgres
from ghasi.storage.events.outbox import Event
from ghasi.storage.pool import Pool
from tests.billing.conftest import ACCOUNT, Messages, Sms, get
from tests.billing.documents.pdf import lines_of
from tests.carrying import events_of

WHO = "operator:ann"


async def named(pool: Pool, account_id: UUID, *names: tuple[int, str]) -> None:
    """What auth-service says of an account, by sequence; and billing listening."""
    events = [
        Event(
            new_id(), "account.updated", account_id, account_id, sequence, datetime.now(UTC),
            outbox.to_json({"id": str(account_id), "name": name, "status": "active", "countries": None,
                            "daily_cap": None}),
        )
        for sequence, name in names
    ]  # fmt: skip
    async with pool.acquire() as connection, connection.transaction():
        await outbox.append(connection, "auth", events)
    idle = 0
    while idle < 2:  # the first look at an outbox only makes the position
        idle = idle + 1 if await postgres.consume(pool, "auth", "billing", customers.apply) == 0 else 0


async def test_the_newest_name_is_kept(pool: Pool) -> None:
    await named(pool, ACCOUNT, (2, "Second"), (1, "First"))
    await named(pool, ACCOUNT, (1, "First"))
    other = new_id()
    await named(pool, other, (1, "Other"), (3, "Another"), (2, "Else"))
    rows = await pool.fetch("SELECT account_id, name, sequence FROM billing.customers ORDER BY name")
    assert [tuple(row) for row in rows] == [(other, "Another", 3), (ACCOUNT, "Second", 2)]


async def test_an_invoice_keeps_the_name_it_was_opened_with(pool: Pool, messages: Messages, app: ServiceApp) -> None:
    await messages.happen(Sms())
    await named(pool, ACCOUNT, (1, "Kabul Pharmacy"))
    (made,) = (await invoice_admin.close_period(pool, events_of(pool), "2026-10", actor=WHO)).made
    first = await get(app, f"invoices/{made.id}/pdf")
    assert (first.status, first.header("content-type")) == (200, "application/pdf")
    assert first.header("content-disposition") == f'inline; filename="{made.number}.pdf"'
    said = [line.text for line in lines_of(first.body)]
    assert "FromBillto" in said
    assert "GhasiKabulPharmacy" in said
    assert f"{made.number}".join(("Invoicenumber", "")) in "".join(said)
    await named(pool, ACCOUNT, (2, "Herat Pharmacy"))
    assert (await get(app, f"invoices/{made.id}/pdf")).body == first.body
    await settling.pay_invoice(pool, str(made.number), WHO)
    assert (await get(app, f"invoices/{made.id}/pdf")).body != first.body


async def test_a_draft_has_the_name_of_now(pool: Pool, app: ServiceApp) -> None:
    draft = new_id()
    await pool.execute(
        "INSERT INTO billing.invoices (id, account_id, currency, period_start, period_end, subtotal_micros, "
        "total_micros) VALUES ($1, $2, 'USD', '2026-10-01Z', '2026-11-01Z', 0, 0)", draft, ACCOUNT,
    )  # fmt: skip
    nameless = await get(app, f"invoices/{draft}/pdf")
    assert nameless.header("content-disposition") == 'inline; filename="draft-2026-10.pdf"'
    await named(pool, ACCOUNT, (1, "Kabul Pharmacy"))
    with_name = await get(app, f"invoices/{draft}/pdf")
    assert (with_name.status, with_name.body != nameless.body) == (200, True)


async def test_another_accounts_pdf_is_not_found(pool: Pool, messages: Messages, app: ServiceApp) -> None:
    await messages.happen(Sms())
    (made,) = (await invoice_admin.close_period(pool, events_of(pool), "2026-10", actor=WHO)).made
    for target, who in ((f"invoices/{made.id}/pdf", new_id()), (f"invoices/{new_id()}/pdf", ACCOUNT),
                        (f"invoices/{made.number}/pdf", ACCOUNT)):  # fmt: skip
        answer = await get(app, target, who)
        assert (answer.status, answer.json["code"]) == (404, "not_found")
