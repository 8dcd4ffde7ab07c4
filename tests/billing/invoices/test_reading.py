"""Invoices, credit notes and where they come from, as customers read them."""

import csv
import io
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from ghasi.billing.accounts import customers
from ghasi.billing.invoices import credit_notes, settling, source_queries, terms
from ghasi.billing.invoices.credit_notes import LineCredit, Wanted
from ghasi.billing.invoices.model import Tax
from ghasi.billing.model import Invoice
from ghasi.billing.plans.model import Plan
from ghasi.billing.rates import admin as rate_admin
from ghasi.contract.serving import ServiceApp
from ghasi.contract.values import new_id, rfc3339
from ghasi.storage import audit
from ghasi.storage.events import outbox
from ghasi.storage.events.outbox import Event
from ghasi.storage.pool import Pool
from tests.asgi import Answer, request
from tests.billing.conftest import ACCOUNT, LAST_MONTH, Messages, Sms, get
from tests.billing.invoices.months import END, OCTOBER, WHO, advance, close, give_plan

OWNER, MEMBER = new_id(), new_id()
NOBODY = "00000000-0000-0000-0000-000000000000"


async def read(app: ServiceApp, target: str) -> Any:
    answer = await get(app, target)
    assert answer.status == 200, answer.json
    return answer.json


async def put_profile(app: ServiceApp, body: Any, user: UUID = OWNER, consumer: str = "ghasi-user") -> Answer:
    headers = {"X-Account-Id": str(ACCOUNT), "X-User-Id": str(user), "X-Consumer-Username": consumer}
    return await request(app, "PUT", "/v1/billing/profile", headers=headers, json=body)


async def people(pool: Pool, *said: tuple[UUID, str | None, int]) -> None:
    """auth-service says who is what, by sequence; billing listens."""
    events = [
        Event(new_id(), "user.updated", ACCOUNT, user, sequence, END, outbox.to_json({"id": user, "role": role}))
        for user, role, sequence in said
    ]
    async with pool.acquire() as connection, connection.transaction():
        await customers.apply(connection, events)


@pytest.fixture
async def invoice(pool: Pool, messages: Messages) -> Invoice:
    await terms.set_taxes(pool, ACCOUNT, [Tax("VAT", 190_000)], WHO)
    await messages.happen(Sms(segments=100), Sms(country="DE", segments=20))
    (made,) = await close(pool)
    return made


async def test_an_invoice_has_all_that_belongs_to_it(app: ServiceApp, pool: Pool, invoice: Invoice) -> None:
    number = str(invoice.number)
    at = datetime(2026, 11, 5, tzinfo=UTC)
    await settling.pay_invoice(pool, number, WHO, settling.Paid(2_000_000, reference="TX-1", at=at))
    note = await credit_notes.credit_invoice(pool, number, Wanted("late", None, [LineCredit(1)]), WHO)
    shown = await read(app, f"invoices/{invoice.id}")
    sums = ("subtotal", "tax", "total", "paid", "credited", "amount_due", "overdue")
    assert {name: shown[name] for name in sums} == {
        "subtotal": "5.40", "tax": "1.03", "total": "6.43", "paid": "2.00", "credited": "1.07", "amount_due": "3.36",
        "overdue": False,
    }  # fmt: skip
    assert shown["taxes"] == [{"name": "VAT", "percent": "19", "base": "5.40", "amount": "1.03"}]
    (payment,) = shown["payments"]
    assert payment | {"id": ""} == {
        "id": "", "amount": "2.00", "method": "bank_transfer", "reference": "TX-1", "paid_at": rfc3339(at),
    }  # fmt: skip
    assert shown["seller"] == {
        "name": "Ghasi Telecom", "address": ["Street 12", "10115 Berlin"], "tax_id": "DE123456789",
        "email": "billing@example.net",
    }  # fmt: skip
    (credited,) = shown["credit_notes"]
    assert (credited["number"], credited["total"], credited["to_balance"]) == (note.number, "1.07", "0.00")
    assert (await read(app, "credit-notes"))["data"] == [credited]
    assert (await read(app, f"credit-notes?invoice_id={invoice.id}"))["data"] == [credited]
    assert (await read(app, f"credit-notes?invoice_id={new_id()}"))["data"] == []
    detail = await read(app, f"credit-notes/{note.id}")
    assert detail == credited | {
        "line_items": [{"description": "SMS to DE", "line": 1, "amount": "0.90"}],
        "taxes": [{"name": "VAT", "percent": "19", "base": "0.90", "amount": "0.17"}],
        "seller": shown["seller"], "customer": shown["customer"],
    }  # fmt: skip
    pdf = await get(app, f"credit-notes/{note.id}/pdf")
    assert (pdf.status, pdf.header("content-disposition")) == (200, f'inline; filename="{note.number}.pdf"')
    assert pdf.body.startswith(b"%PDF-")
    stranger = new_id()
    for target in (f"credit-notes/{note.id}", f"credit-notes/{note.id}/pdf", f"invoices/{invoice.id}/csv",
                   f"invoices/{invoice.id}/sources"):  # fmt: skip
        assert (await get(app, target, stranger)).status == 404
    assert (await get(app, "credit-notes", stranger)).json["data"] == []


async def test_lists_are_filtered(app: ServiceApp, pool: Pool, messages: Messages, invoice: Invoice) -> None:
    await messages.happen(Sms(at=LAST_MONTH - timedelta(days=30)))
    (september,) = await close(pool, "2026-09")
    await settling.give_up_invoice(pool, str(september.number), WHO)

    async def found(query: str) -> list[str]:
        return [one["number"] for one in (await read(app, f"invoices?{query}"))["data"]]

    assert await found("status=uncollectible") == [september.number]
    assert await found("period=2026-10") == [invoice.number]
    assert await found("period=2026-08") == []
    for period in ("0000-13", "9999-12", "2026-10%0A", "%D9%A2%D9%A0%D9%A2%D9%A6-10"):
        assert (await get(app, f"invoices?period={period}")).status == 422, period
    assert await found("overdue=true") == []
    assert await found("overdue=false&status=open") == [invoice.number]
    await pool.execute("ALTER TABLE billing.invoices DISABLE TRIGGER invoices_guarded")
    await pool.execute("UPDATE billing.invoices SET due_at = now() - interval '1 second'")
    assert await found("overdue=true") == [invoice.number]
    assert await found("overdue=false") == [september.number]
    assert (await read(app, f"invoices/{invoice.id}"))["overdue"] is True


async def test_the_running_month_is_previewed_and_kept_nowhere(app: ServiceApp, pool: Pool, messages: Messages) -> None:
    now = datetime.now(UTC)
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    await terms.set_taxes(pool, ACCOUNT, [Tax("VAT", 190_000)], WHO)
    await give_plan(pool, ACCOUNT, Plan("gold", month.date(), "USD", base_fee_micros=5_000_000))
    # last month's are on last month's invoice, which is not opened yet
    await messages.happen(Sms(at=now, segments=10), Sms(at=month - timedelta(days=2), segments=100))
    shown = await read(app, "invoices/preview")
    assert (shown["id"], shown["number"], shown["status"], shown["plan"]) == (NOBODY, None, "draft", "gold")
    assert (shown["period_start"], shown["issued_at"], shown["due_at"]) == (rfc3339(month), None, None)
    assert [(line["kind"], line["amount"]) for line in shown["line_items"]] == [("usage", "0.45"), ("base_fee", "5.00")]
    assert (shown["subtotal"], shown["tax"], shown["total"], shown["amount_due"]) == ("5.45", "1.04", "6.49", "6.49")
    assert await pool.fetchval("SELECT count(*) FROM billing.invoices") == 0
    await close(pool, f"{month - timedelta(days=1):%Y-%m}")
    await messages.happen(Sms(at=month - timedelta(days=2), segments=2))
    shown = await read(app, "invoices/preview")
    assert [(line["kind"], line["amount"]) for line in shown["line_items"]] == [
        ("usage", "0.45"), ("adjustment", "0.09"), ("base_fee", "5.00"),
    ]  # fmt: skip
    await close(pool, f"{month:%Y-%m}", early=True)
    await messages.happen(Sms(at=now, segments=4))
    shown = await read(app, "invoices/preview")
    assert [(line["kind"], line["month"], line["amount"]) for line in shown["line_items"]] == [
        ("adjustment", f"{month:%Y-%m}", "0.18"),
    ], "the fee is on the invoice that was opened early"  # fmt: skip
    nothing = await get(app, "invoices/preview", new_id())
    assert (nothing.status, nothing.json["line_items"], nothing.json["total"]) == (200, [], "0.00")


async def test_the_csv_adds_up_to_the_total(app: ServiceApp, pool: Pool, messages: Messages) -> None:
    await terms.set_taxes(pool, ACCOUNT, [Tax("VAT", 190_000), Tax("=levy", 12_345)], WHO)
    await terms.add_discount(
        pool, ACCOUNT, "@Partner", WHO, rate_ppm=100_000, amount_micros=None, from_month="2026-10", until_month=None
    )
    await messages.happen(Sms(segments=100), Sms(country=None, segments=20))
    (made,) = await close(pool)
    answer = await get(app, f"invoices/{made.id}/csv")
    assert (answer.status, answer.header("content-type")) == (200, "text/csv; charset=utf-8")
    assert answer.header("content-disposition") == f'attachment; filename="{made.number}.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.body.decode(), newline="")))
    assert [(row["kind"], row["description"], row["amount"]) for row in rows] == [
        ("usage", "SMS to AF", "4.50"), ("usage", "SMS to numbers of no country", "0.90"),
        ("discount", "'@Partner", "-0.54"), ("tax", "'=levy", "0.06"), ("tax", "VAT", "0.92"),
    ]  # fmt: skip
    assert sum(round(float(row["amount"]) * 100) for row in rows) == made.total_micros // 10_000
    assert {(row["number"], row["period"], row["currency"]) for row in rows} == {(made.number, "2026-10", "USD")}
    assert (rows[0]["segments"], rows[0]["unit_price"], rows[3]["percent"]) == ("100", "0.0450", "1.2345")


async def test_every_line_names_its_source(app: ServiceApp, pool: Pool, messages: Messages) -> None:
    await rate_admin.import_rates(pool, "country,amount,prefix,valid_from\nAF,0.03,9370,2026-11-15\n", WHO)
    await messages.happen(
        *(Sms(at=datetime(2026, 11, 20, tzinfo=UTC)) for _ in range(5)), *(Sms(country="DE") for _ in range(3))
    )
    await give_plan(pool, ACCOUNT, Plan("gold", OCTOBER, "USD", base_fee_micros=5_000_000))
    (october,) = await close(pool)
    (november,) = await close(pool, "2026-11", early=True)
    shown = await read(app, f"invoices/{november.id}/sources?limit=2")
    usage, fee = shown["line_items"]
    assert (usage["line"], usage["kind"], usage["amount"]) == (0, "usage", "0.15")
    assert usage["rate"] | {"id": "", "valid_from": ""} == {
        "id": "", "country": "AF", "prefix": "9370", "direction": "outbound", "sender_kind": None,
        "carrier_class": None, "plan": None, "own": False, "price": "0.0300", "tiers": [], "valid_from": "",
    }  # fmt: skip
    (tally,) = usage["tallies"]
    assert (tally["messages"], tally["segments"], tally["amount"]) == (5, 5, "0.1500")
    assert (fee["kind"], fee["rate"], fee["tallies"]) == ("base_fee", None, [])
    seen, cursor = [], ""
    while True:
        page = await read(app, f"invoices/{november.id}/sources?limit=2{cursor}")
        seen += page["data"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    kept = {str(row[0]) for row in await pool.fetch("SELECT message_id FROM billing.charges WHERE country = 'AF'")}
    assert (len(seen), {charge["message_id"] for charge in seen}) == (5, kept)
    assert {(one["line"], one["unit_price"], one["amount"], one["rate_id"]) for one in seen} == {
        (0, "0.0300", "0.0300", usage["rate"]["id"])
    }
    # of one line, and what is on another's page is not there
    of_fee = await read(app, f"invoices/{november.id}/sources?line=1")
    assert of_fee["data"] == []
    answer = await get(app, f"invoices/{november.id}/sources?line=2")
    assert (answer.status, answer.json["errors"][0]["field"]) == (422, "line")
    answer = await get(app, f"invoices/{october.id}/sources?cursor={shown['next_cursor']}")
    assert (answer.status, answer.json["code"]) == (422, "invalid_cursor")


async def test_a_page_of_sources_reads_no_more_than_its_charges(pool: Pool, messages: Messages) -> None:
    await messages.happen(Sms())
    (made,) = await close(pool)
    await pool.execute(
        """
        INSERT INTO billing.charges
        SELECT (jsonb_populate_record(charge, jsonb_build_object('message_id', gen_random_uuid()))).*
        FROM billing.charges AS charge CROSS JOIN generate_series(1, 5000)
        """
    )
    await pool.execute("ANALYZE billing.charges")
    plans: list[str] = []

    class Explaining:
        async def fetch(self, query: str, *values: object) -> list[asyncpg.Record]:
            plans.extend(await pool.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", *values))
            return await pool.fetch(query, *values)

    tallies = await source_queries.list_tallies(pool, made.id)
    await source_queries.list_charges(Explaining(), tallies, UUID(int=0), 11)  # type: ignore[arg-type]
    counts = [float(rows) for rows in re.findall(r'"Actual Rows": ([0-9.]+)', "".join(plans))]
    assert counts
    assert max(counts) == 11


async def test_a_drafts_sources_are_those_of_now(app: ServiceApp, pool: Pool, messages: Messages) -> None:
    await messages.happen(Sms(), Sms(country="DE"))
    await advance(pool, END + timedelta(hours=1))
    draft = (await read(app, "invoices"))["data"][0]
    assert (draft["status"], draft["number"]) == ("draft", None)
    shown = await read(app, f"invoices/{draft['id']}/sources?line=1")
    assert [line["description"] for line in shown["line_items"]] == ["SMS to AF", "SMS to DE"]
    assert [(charge["line"], charge["country"]) for charge in shown["data"]] == [(1, "DE")]
    answer = await get(app, f"invoices/{draft['id']}/csv")
    assert answer.header("content-disposition") == 'attachment; filename="draft-2026-10.csv"'


async def test_charges_given_back_are_on_the_adjustment(app: ServiceApp, pool: Pool, messages: Messages) -> None:
    """Billed when accepted, and failed after the month was closed."""
    await give_plan(pool, ACCOUNT, Plan("eager", OCTOBER, "USD", billed_on="accepted"))
    failing, other = Sms(passes=("failed",), segments=2), Sms()
    accepted, failed = failing.events()
    await messages.write(accepted, *other.events())
    await messages.read()
    (october,) = await close(pool)
    assert october.total_micros == 140_000  # 0.135
    await messages.write(failed)
    await messages.happen(Sms(at=datetime(2026, 11, 20, tzinfo=UTC)))
    (november,) = await close(pool, "2026-11", early=True)
    shown = await read(app, f"invoices/{november.id}/sources")
    assert [(line["kind"], line["amount"]) for line in shown["line_items"]] == [
        ("usage", "0.04"), ("adjustment", "-0.09"),
    ]  # fmt: skip
    assert [(one["line"], one["segments"], one["amount"]) for one in shown["data"]] == [
        (0, 1, "0.0450"), (1, -2, "-0.0900"),
    ]  # fmt: skip
    assert shown["data"][1]["message_id"] == str(failing.id)
    assert (november.total_micros, november.status, november.paid_micros) == (-50_000, "paid", -50_000)
    october_sources = await read(app, f"invoices/{october.id}/sources")
    assert len(october_sources["data"]) == 2  # as it was


# billing profiles


async def test_owners_say_what_the_account_is_called(app: ServiceApp, pool: Pool, messages: Messages) -> None:
    await people(pool, (OWNER, "owner", 1), (MEMBER, "owner", 1), (MEMBER, "member", 2))
    empty = {"account_name": None, "legal_name": None, "address": [], "tax_id": None, "email": None, "locale": None,
             "updated_at": None}  # fmt: skip
    assert await read(app, "profile") == empty
    body = {"legal_name": "Kabul Bakery Ltd", "address": ["12 Flower Street", "Kabul"], "tax_id": "AF-1",
            "email": "ann@example.com", "locale": "fa-AF"}  # fmt: skip
    assert (await put_profile(app, body, MEMBER)).json["code"] == "owner_required"
    assert (await put_profile(app, body, new_id())).json["code"] == "owner_required"
    assert (await put_profile(app, body, OWNER, "ghasi-key")).json["code"] == "user_required"
    answer = await put_profile(app, body)
    assert (answer.status, answer.json | {"updated_at": None}) == (200, empty | body)
    assert await read(app, "profile") == answer.json
    entry, *_ = await audit.list_entries(pool, account_id=ACCOUNT)
    assert (entry.action, entry.actor) == ("billing_profile.set", f"user:{OWNER}")
    # what was opened keeps what it said
    await messages.happen(Sms())
    (made,) = await close(pool)
    assert (await put_profile(app, {"legal_name": "Herat Bakery"})).json | {"updated_at": None} == empty | {
        "legal_name": "Herat Bakery"
    }
    customer = (await read(app, f"invoices/{made.id}"))["customer"]
    assert customer == {
        "name": "Kabul Bakery Ltd",
        "address": body["address"],
        "tax_id": "AF-1",
        "email": body["email"],
    }
    await people(pool, (OWNER, None, 2))
    assert (await put_profile(app, body)).json["code"] == "owner_required"


BAD_PROFILES = [
    ({"legal_name": ""}, "legal_name"), ({"legal_name": "a\nb"}, "legal_name"), ({"legal_name": " "}, "legal_name"),
    ({"legal_name": "x" * 201}, "legal_name"), ({"address": ["x"] * 7}, "address"), ({"address": [""]}, "address"),
    ({"address": "Kabul"}, "address"), ({"email": "nobody"}, "email"), ({"locale": "english please"}, "locale"),
    ({"tax_id": "\u2028x"}, "tax_id"), ({"name": "x"}, "name"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "field"), BAD_PROFILES)
async def test_profiles_that_cannot_be_printed(app: ServiceApp, pool: Pool, body: Any, field: str) -> None:
    await people(pool, (OWNER, "owner", 1))
    answer = await put_profile(app, body)
    assert (answer.status, answer.json["code"]) == (422, "invalid_request"), answer.json
    assert answer.json["errors"][0]["field"].startswith(field)
