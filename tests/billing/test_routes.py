"""Usage and invoices as customers read them."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest

from ghasi.billing import admin
from ghasi.billing.periods import month_start, period_end
from ghasi.billing.routes import serve
from ghasi.billing.service import usage_range
from ghasi.contract.errors import Problem
from ghasi.contract.serving import ServiceApp
from ghasi.contract.shapes import UsageQuery
from ghasi.contract.values import encode_cursor, new_id, rfc3339
from ghasi.storage.resources import Resources
from tests.asgi import Answer, request
from tests.billing.conftest import ACCOUNT, LAST_MONTH, Messages, Sms

WHO = "operator:ann"


@pytest.fixture
async def app(resources: Resources) -> AsyncIterator[ServiceApp]:
    async with serve(resources) as handlers:
        yield ServiceApp(handlers)


async def get(app: ServiceApp, target: str, account_id: UUID = ACCOUNT) -> Answer:
    headers = {"X-Account-Id": str(account_id), "X-User-Id": str(new_id()), "X-Consumer-Username": "ghasi-user"}
    return await request(app, "GET", f"/v1/billing/{target}", headers=headers)


def at(moment: datetime) -> str:
    return quote(rfc3339(moment))


async def usage(app: ServiceApp, **query: str) -> Any:
    answer = await get(app, "usage?" + "&".join(f"{name}={value}" for name, value in query.items()))
    assert answer.status == 200, answer.json
    return answer.json


OCTOBER = {"from": "2026-10-01T00:00:00Z", "to": "2026-11-01T00:00:00Z"}


async def test_no_usage_is_an_empty_list(app: ServiceApp) -> None:
    assert await usage(app) == {
        "data": [], "totals": {"messages": 0, "segments": 0, "amount": "0.0000"}, "currency": "USD",
    }  # fmt: skip


async def test_usage_of_the_running_month_by_day(app: ServiceApp, messages: Messages) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    midnight = now.replace(hour=0, minute=0, second=0)
    await messages.happen(Sms(at=midnight), Sms(at=midnight, segments=3), Sms(at=midnight - timedelta(days=31)))
    row = {"messages": 2, "segments": 4, "amount": "0.1800"}
    assert await usage(app) == {
        "data": [
            {"period_start": rfc3339(midnight), "period_end": rfc3339(midnight + timedelta(days=1)), "group": None}
            | row
        ],
        "totals": row,
        "currency": "USD",
    }


async def test_granularities_and_clipping(app: ServiceApp, messages: Messages) -> None:
    await messages.happen(*(Sms(at=LAST_MONTH + timedelta(hours=hours)) for hours in (0, 0, 1, 24, 24 * 14)))

    async def periods(**query: str) -> list[tuple[str, str, int]]:
        return [
            (row["period_start"][:13], row["period_end"][:13], row["messages"])
            for row in (await usage(app, **OCTOBER | query))["data"]
        ]

    assert await periods(granularity="hour") == [
        ("2026-10-15T12", "2026-10-15T13", 2), ("2026-10-15T13", "2026-10-15T14", 1),
        ("2026-10-16T12", "2026-10-16T13", 1), ("2026-10-29T12", "2026-10-29T13", 1),
    ]  # fmt: skip
    assert await periods() == [
        ("2026-10-15T00", "2026-10-16T00", 3), ("2026-10-16T00", "2026-10-17T00", 1),
        ("2026-10-29T00", "2026-10-30T00", 1),
    ]  # fmt: skip
    assert await periods(granularity="month") == [("2026-10-01T00", "2026-11-01T00", 5)]
    clipped = {"from": "2026-10-15T17:30:00%2B04:30", "to": "2026-10-16T13:00:00Z"}
    assert await periods(**clipped) == [("2026-10-15T13", "2026-10-16T00", 1), ("2026-10-16T00", "2026-10-16T13", 1)]
    assert await periods(granularity="month", **clipped) == [("2026-10-15T13", "2026-10-16T13", 2)]


async def test_groups(app: ServiceApp, messages: Messages) -> None:
    changing = Sms(country="DE", segments=2)
    *before, delivered = changing.events()
    await messages.happen(Sms(), Sms(country=None), Sms(account_id=new_id()), Sms(passes=("failed",)))
    await messages.write(*before)
    await messages.read()

    async def groups(group_by: str) -> dict[str, tuple[int, int, str]]:
        answer = await usage(app, group_by=group_by, **OCTOBER)
        assert answer["totals"] == {"messages": 3, "segments": 4, "amount": "0.1800"}
        return {row["group"]: (row["messages"], row["segments"], row["amount"]) for row in answer["data"]}

    assert await groups("country") == {"AF": (1, 1, "0.0450"), "DE": (1, 2, "0.0900"), "ZZ": (1, 1, "0.0450")}
    assert await groups("status") == {"delivered": (2, 2, "0.0900"), "sent": (1, 2, "0.0900")}
    await messages.write(delivered)
    await messages.read()
    assert await groups("status") == {"delivered": (3, 4, "0.1800")}


BAD_RANGES = [
    ("from=2026-10-02T00:00:00Z&to=2026-10-01T00:00:00Z", "from"),
    ("from=2026-10-01T00:00:00Z&to=2026-10-01T00:00:00Z", "from"),
    ("from=2099-10-01T00:00:00Z", "from"),
    ("from=2026-10-01T00:00:01Z", "from"),
    ("to=2026-10-01T00:30:00Z", "to"),
    ("to=2026-10-01T00:00:00%2B04:30", "to"),
    ("from=2026-10-01T00:00:00", "from"),
    ("from=2025-01-01T00:00:00Z&to=2026-02-01T00:00:00Z", "from"),
    ("from=2026-01-01T00:00:00Z&to=2026-02-02T00:00:00Z&granularity=hour", "from"),
    ("from=2010-01-01T00:00:00Z&to=2026-02-02T00:00:00Z&granularity=month", "from"),
    ("from=0001-01-01T00:00:00%2B14:00", "from"),
    ("to=9999-12-31T23:00:00-12:00", "to"),
    ("from=yesterday", "from"),
    ("granularity=minute", "granularity"),
    ("group_by=sender", "group_by"),
    ("since=2026-10-01T00:00:00Z", "since"),
]


async def test_bad_ranges_are_refused_by_field(app: ServiceApp) -> None:
    for query, field in BAD_RANGES:
        answer = await get(app, f"usage?{query}")
        assert (answer.status, answer.json["code"]) == (422, "invalid_request"), query
        assert [error["field"] for error in answer.json["errors"]] == [field], query


def test_the_range_by_default() -> None:
    now = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)
    first, last = datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    assert usage_range(UsageQuery(), now) == (first, last)
    assert usage_range(UsageQuery(since=first - timedelta(days=9)), now) == (first - timedelta(days=9), last)
    assert usage_range(UsageQuery(until=first), now) == (datetime(2026, 11, 1, tzinfo=UTC), first)
    with pytest.raises(Problem, match="366 days"):
        usage_range(UsageQuery(since=last - timedelta(days=367)), now)
    assert usage_range(UsageQuery(since=last - timedelta(days=366)), now)[0] == last - timedelta(days=366)


async def test_an_invoice_as_the_customer_sees_it(app: ServiceApp, resources: Resources, messages: Messages) -> None:
    await messages.happen(*(Sms() for _ in range(3)), Sms(country=None, segments=10))
    (made,) = (await admin.close_period(resources.pool, "2026-10", actor=WHO)).made
    assert made.issued_at is not None
    summary = {
        "id": str(made.id), "number": made.number, "status": "open", "currency": "USD",
        "period_start": "2026-10-01T00:00:00.000Z", "period_end": "2026-11-01T00:00:00.000Z",
        "subtotal": "0.59", "tax": "0.00", "total": "0.59", "amount_due": "0.59",
        "issued_at": rfc3339(made.issued_at), "due_at": rfc3339(made.issued_at + timedelta(days=14)), "paid_at": None,
    }  # fmt: skip
    assert (await get(app, "invoices")).json == {"data": [summary], "next_cursor": None}
    lines = [
        {"description": "SMS to AF", "country": "AF", "messages": 3, "segments": 3, "unit_price": "0.0450",
         "amount": "0.14"},
        {"description": "SMS to numbers of no country", "country": None, "messages": 1, "segments": 10,
         "unit_price": "0.0450", "amount": "0.45"},
    ]  # fmt: skip
    answer = await get(app, f"invoices/{made.id}")
    assert (answer.status, answer.json) == (200, summary | {"line_items": lines})
    paid = await admin.pay_invoice(resources.pool, str(made.number), WHO)
    assert paid.paid_at is not None
    assert (await get(app, "invoices")).json["data"] == [
        summary | {"status": "paid", "amount_due": "0.00", "paid_at": rfc3339(paid.paid_at)}
    ]


async def test_amounts_of_a_currency_without_decimals(
    app: ServiceApp, resources: Resources, messages: Messages
) -> None:
    await admin.import_rates(resources.pool, "country,amount,currency,valid_from\n*,6.5,JPY,2026-01-01\n", WHO)
    await admin.set_currency(resources.pool, ACCOUNT, "JPY", WHO)
    await messages.happen(Sms(segments=3))
    assert (await usage(app, **OCTOBER))["currency"] == "JPY"
    (made,) = (await admin.close_period(resources.pool, "2026-10", actor=WHO)).made
    invoice = (await get(app, f"invoices/{made.id}")).json
    assert (invoice["currency"], invoice["total"], invoice["tax"]) == ("JPY", "20", "0")
    assert [(line["unit_price"], line["amount"]) for line in invoice["line_items"]] == [("6.5000", "20")]


async def test_another_accounts_invoice_is_not_found(app: ServiceApp, resources: Resources, messages: Messages) -> None:
    await messages.happen(Sms())
    (made,) = (await admin.close_period(resources.pool, "2026-10", actor=WHO)).made
    other = new_id()
    for answer in (
        await get(app, f"invoices/{made.id}", other),
        await get(app, f"invoices/{new_id()}"),
        await get(app, "invoices/GH-2026-000001"),
    ):
        assert (answer.status, answer.json["code"]) == (404, "not_found")
    assert (await get(app, "invoices", other)).json == {"data": [], "next_cursor": None}
    assert (await usage_of(app, other))["data"] == []


async def usage_of(app: ServiceApp, account_id: UUID) -> Any:
    query = f"from={OCTOBER['from']}&to={OCTOBER['to']}"
    return (await get(app, f"usage?{query}", account_id)).json


async def test_invoices_are_paged_newest_first_and_filtered(
    app: ServiceApp, resources: Resources, messages: Messages
) -> None:
    months = ["2026-06", "2026-07", "2026-08", "2026-09", "2026-10"]
    await messages.happen(*(Sms(at=datetime.fromisoformat(f"{month}-10T00:00:00+00:00")) for month in months))
    for month in months:
        await admin.close_period(resources.pool, month, actor=WHO)
    numbers = [invoice.number for invoice in await admin.list_invoices(resources.pool)]
    assert len(numbers) == 5
    seen, cursor = [], ""
    while True:
        page = (await get(app, f"invoices?limit=2{cursor}")).json
        seen.append([invoice["number"] for invoice in page["data"]])
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == [numbers[:2], numbers[2:4], numbers[4:]]
    await admin.pay_invoice(resources.pool, str(numbers[1]), WHO)
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


def test_months_end_where_the_next_begins() -> None:
    for month in range(1, 13):
        start = datetime(2028, month, 1, tzinfo=UTC)
        assert period_end(start, "month") == month_start(start + timedelta(days=31)) > start
        assert month_start(period_end(start, "month") - timedelta(hours=1)) == start
    assert period_end(month_start(LAST_MONTH), "month") > LAST_MONTH
