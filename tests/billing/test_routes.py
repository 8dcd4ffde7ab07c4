"""Invoices as customers read them."""

from datetime import datetime, timedelta

from ghasi.billing.accounts import admin as account_admin
from ghasi.billing.invoices import admin as invoice_admin
from ghasi.billing.invoices import settling
from ghasi.billing.rates import admin as rate_admin
from ghasi.contract.serving import ServiceApp
from ghasi.contract.values import encode_cursor, new_id, rfc3339
from ghasi.storage.resources import Resources
from tests.billing.conftest import ACCOUNT, OCTOBER, Messages, Sms, ask, get
from tests.carrying import events_of

WHO = "operator:ann"
DEFAULT_RATE = "00000000-0000-7000-8000-000000000001"


async def test_an_invoice_as_the_customer_sees_it(app: ServiceApp, resources: Resources, messages: Messages) -> None:
    await messages.happen(*(Sms() for _ in range(3)), Sms(country=None, segments=10))
    (made,) = (await invoice_admin.close_period(resources.pool, events_of(resources.pool), "2026-10", actor=WHO)).made
    assert made.issued_at is not None
    summary = {
        "id": str(made.id), "number": made.number, "status": "open", "currency": "USD",
        "period_start": "2026-10-01T00:00:00.000Z", "period_end": "2026-11-01T00:00:00.000Z",
        "subtotal": "0.59", "tax": "0.00", "total": "0.59", "paid": "0.00", "credited": "0.00",
        "amount_due": "0.59", "overdue": False, "plan": None,
        "issued_at": rfc3339(made.issued_at), "due_at": rfc3339(made.issued_at + timedelta(days=14)), "paid_at": None,
    }  # fmt: skip
    assert (await get(app, "invoices")).json == {"data": [summary], "next_cursor": None}
    usage = {"kind": "usage", "rate_id": DEFAULT_RATE, "direction": "outbound", "month": None}
    lines = [
        {"description": "SMS to AF", "country": "AF", "messages": 3, "segments": 3, "unit_price": "0.0450",
         "amount": "0.14"} | usage,
        {"description": "SMS to numbers of no country", "country": None, "messages": 1, "segments": 10,
         "unit_price": "0.0450", "amount": "0.45"} | usage,
    ]  # fmt: skip
    answer = await get(app, f"invoices/{made.id}")
    nobody = {"address": [], "tax_id": None, "email": None}
    assert (answer.status, answer.json) == (200, summary | {
        "line_items": lines, "taxes": [], "payments": [], "credit_notes": [],
        "seller": {"name": "Ghasi"} | nobody, "customer": {"name": str(ACCOUNT)} | nobody,
    })  # fmt: skip
    paid = await settling.pay_invoice(resources.pool, str(made.number), WHO)
    assert paid.paid_at is not None
    assert (await get(app, "invoices")).json["data"] == [
        summary | {"status": "paid", "paid": "0.59", "amount_due": "0.00", "paid_at": rfc3339(paid.paid_at)}
    ]


async def test_amounts_of_a_currency_without_decimals(
    app: ServiceApp, resources: Resources, messages: Messages
) -> None:
    await rate_admin.import_rates(resources.pool, "country,amount,currency,valid_from\n*,6.5,JPY,2026-01-01\n", WHO)
    await account_admin.set_currency(resources.pool, ACCOUNT, "JPY", WHO)
    await messages.happen(Sms(segments=3))
    assert (await ask(app, "usage", **OCTOBER))["currency"] == "JPY"
    (made,) = (await invoice_admin.close_period(resources.pool, events_of(resources.pool), "2026-10", actor=WHO)).made
    invoice = (await get(app, f"invoices/{made.id}")).json
    assert (invoice["currency"], invoice["total"], invoice["tax"]) == ("JPY", "20", "0")
    assert [(line["unit_price"], line["amount"]) for line in invoice["line_items"]] == [("6.5000", "20")]


async def test_another_accounts_invoice_is_not_found(app: ServiceApp, resources: Resources, messages: Messages) -> None:
    await messages.happen(Sms())
    (made,) = (await invoice_admin.close_period(resources.pool, events_of(resources.pool), "2026-10", actor=WHO)).made
    other = new_id()
    for answer in (
        await get(app, f"invoices/{made.id}", other),
        await get(app, f"invoices/{new_id()}"),
        await get(app, "invoices/GH-2026-000001"),
    ):
        assert (answer.status, answer.json["code"]) == (404, "not_found")
    assert (await get(app, "invoices", other)).json == {"data": [], "next_cursor": None}
    for what in ("usage", "summary"):
        totals = await ask(app, what, other, **OCTOBER)
        assert totals["totals" if what == "usage" else "current"]["messages"] == 0


async def test_invoices_are_paged_newest_first_and_filtered(
    app: ServiceApp, resources: Resources, messages: Messages
) -> None:
    months = ["2026-06", "2026-07", "2026-08", "2026-09", "2026-10"]
    await messages.happen(*(Sms(at=datetime.fromisoformat(f"{month}-10T00:00:00+00:00")) for month in months))
    for month in months:
        await invoice_admin.close_period(resources.pool, events_of(resources.pool), month, actor=WHO)
    numbers = [invoice.number for invoice in await invoice_admin.list_invoices(resources.pool)]
    assert len(numbers) == 5
    seen, cursor = [], ""
    while True:
        page = (await get(app, f"invoices?limit=2{cursor}")).json
        seen.append([invoice["number"] for invoice in page["data"]])
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == [numbers[:2], numbers[2:4], numbers[4:]]
    await settling.pay_invoice(resources.pool, str(numbers[1]), WHO)
    assert [one["number"] for one in (await get(app, "invoices?status=paid")).json["data"]] == [numbers[1]]
    assert len((await get(app, "invoices?status=open&limit=100")).json["data"]) == 4


BAD_LISTS = [
    ("cursor=nonsense", "invalid_cursor"),
    (f"cursor={encode_cursor(5)}", "invalid_cursor"),
    ("limit=0", "invalid_request"),
    ("limit=101", "invalid_request"),
    ("status=late", "invalid_request"),
    ("page=2", "invalid_request"),
]


async def test_bad_list_queries_are_refused(app: ServiceApp) -> None:
    for query, code in BAD_LISTS:
        answer = await get(app, f"invoices?{query}")
        assert (answer.status, answer.json["code"]) == (422, code), query
