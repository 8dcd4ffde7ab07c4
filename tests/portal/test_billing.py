"""Usage and invoices as a browser gets them, before an API that answers as a test says."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, get_args

import msgspec
import pytest

from ghasi.contract import shapes
from ghasi.contract.values import rfc3339
from ghasi.portal.failures import RATE_LIMITED
from ghasi.portal.pages.usage import GROUPS, path_of
from tests.client.fake_api import ID, INVOICE, INVOICE_DETAIL, KEY, FakeApi, Given, Seen
from tests.portal.conftest import Browser, Place, Shown, token
from tests.portal.test_dashboard import HOSTILE, KABUL, chart, median_ms, parts
from tests.portal.test_sessions import LIMITED

OTHER = "0199f3a0-0000-7000-8000-000000000002"
COUNTRIES = [("AF", 40), ("DE", 30), ("US", 20), ("ZZ", 10), ("QQ", 5)]


def replaced(invoice: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(invoice, **changes)


def used(seen: Seen) -> Given:
    """Usage of each day of the range that has begun, or of a few countries."""
    since, until = seen.query.since, min(seen.query.until, datetime.now(UTC))
    rows = []
    if seen.query.group_by == "country":
        rows = [
            shapes.UsageRow(rfc3339(since), rfc3339(seen.query.until), code, count, count + 1, f"{count}.0450")
            for code, count in COUNTRIES
        ]
    else:
        while since < until:
            end = since + timedelta(days=1)
            rows.append(shapes.UsageRow(rfc3339(since), rfc3339(end), None, 1000 + len(rows), 1100, "26.5000"))
            since = end
    amount = f"{sum(Decimal(row.amount) for row in rows):.4f}"
    totals = shapes.UsageTotals(sum(row.messages for row in rows), sum(row.segments for row in rows), amount)
    return Given(200, shapes.Usage(rows, totals, "USD"))


@pytest.fixture
async def visitor(browser: Browser, api: FakeApi) -> Browser:
    browser.set(ghasi_access=token(), ghasi_zone="Asia/Kabul")
    return browser


def links(shown: Shown) -> list[str]:
    return [str(found["href"]) for tag, found in shown.tags if tag == "a"]


# ---- usage


async def test_the_page_asks_nothing_and_its_parts_load_apart(visitor: Browser, api: FakeApi) -> None:
    shown = await visitor.get("/billing?month=2026-02&status=paid&cursor=abc")
    assert (shown.status, api.seen) == (200, [])
    assert set(parts(shown)) == {
        "/billing/balance/card", "/billing/usage?month=2026-02", "/billing/usage/by-day?month=2026-02",
        "/billing/list?month=2026-02&status=paid&cursor=abc",
    }  # fmt: skip
    later = [found["hx-get"] for _, found in shown.tags if found.get("hx-trigger") == "intersect once"]
    assert later == [f"{path_of(group)}?month=2026-02" for group in GROUPS if group != "day"]
    assert ("option", {"value": "2026-02", "selected": None}) in shown.tags
    assert ("option", {"value": "paid", "selected": None}) in shown.tags
    assert shown.input("usage")["data-live"] == "30"


@pytest.mark.parametrize("query", ["", "month=2999-01&status=stolen", "month=%00&cursor=%00", "month=&status="])
async def test_whatever_stands_in_the_url_there_is_a_page(visitor: Browser, api: FakeApi, query: str) -> None:
    shown = await visitor.get(f"/billing?{query}")
    assert shown.status == 200
    month = f"{datetime.now(KABUL):%Y-%m}"
    assert f"/billing/usage?month={month}" in parts(shown)
    assert "status=" not in str(parts(shown))


def check_bounds(query: Any) -> None:
    assert (rfc3339(query.since), rfc3339(query.until)) == ("2026-01-31T19:30:00.000Z", "2026-02-28T19:30:00.000Z")
    assert query.time_zone == "Asia/Kabul"


async def test_usage_of_a_month_is_by_day_of_the_visitors_zone(visitor: Browser, api: FakeApi) -> None:
    api.answers["get_usage"] = used
    shown = await visitor.get("/billing/usage?month=2026-02", HX_Request="true", Accept_Language="en-GB")
    assert shown.status == 200
    (query,) = (call.query for call in api.calls("get_usage"))
    assert (query.group_by, query.granularity) == (None, "day")
    check_bounds(query)
    assert len(chart(shown)["x"]) == 28
    assert chart(shown)["series"][0]["values"] == list(range(1000, 1028))
    assert "TotalUS$742.0000" in shown.text
    assert "Month to date" not in shown.text
    table = await visitor.get("/billing/usage/by-day?month=2026-02", HX_Request="true", Accept_Language="en-GB")
    assert (
        table.text.index("28 Feb") < table.text.index("27 Feb") < table.text.index("1 Feb") < table.text.index("Total")
    )
    assert "US$742.0000" in table.text


async def test_usage_by_country_has_the_dearest_first(visitor: Browser, api: FakeApi) -> None:
    api.answers["get_usage"] = used
    shown = await visitor.get("/billing/usage/by-country?month=2026-02", HX_Request="true", Accept_Language="en-GB")
    (query,) = (call.query for call in api.calls("get_usage"))
    assert (query.group_by, query.granularity) == ("country", "month")
    check_bounds(query)
    names = [shown.text.index(name) for name in ("Afghanistan", "Germany", "United States", "No country", "QQ")]
    assert names == sorted(names)
    assert "US$40.0450" in shown.text


async def test_countries_have_the_names_of_the_visitors_language(visitor: Browser, api: FakeApi) -> None:
    api.answers["get_usage"] = used
    shown = await visitor.get("/billing/usage/by-country?month=2026-02", HX_Request="true", Accept_Language="de")
    assert "Deutschland" in shown.text
    assert "30,0450" in shown.text


async def test_the_running_month_ends_today(visitor: Browser, api: FakeApi) -> None:
    api.answers["get_usage"] = used
    shown = await visitor.get("/billing/usage", HX_Request="true")
    assert len(chart(shown)["x"]) == datetime.now(KABUL).day
    assert "Month to date" in shown.text


async def test_days_without_usage_are_drawn_and_not_listed(visitor: Browser, api: FakeApi) -> None:
    row = shapes.UsageRow("2026-02-02T19:30:00.000Z", "2026-02-03T19:30:00.000Z", None, 5, 6, "0.1325")
    api.answers["get_usage"] = Given(200, shapes.Usage([row], shapes.UsageTotals(5, 6, "0.1325"), "USD"))
    shown = await visitor.get("/billing/usage?month=2026-02", HX_Request="true")
    assert chart(shown)["series"][0]["values"] == [0, 0, 5] + [0] * 25


async def test_no_usage_is_said_so(visitor: Browser, api: FakeApi) -> None:
    shown = await visitor.get("/billing/usage?month=2026-02", HX_Request="true", Accept_Language="en")
    assert "Nothing was sent in February 2026" in shown.text
    assert "data-chart" not in shown.raw


def grouped(*rows: tuple[str | None, int, str]) -> Given:
    given = [shapes.UsageRow(ID, ID, group, messages, 2 * messages, amount) for group, messages, amount in rows]
    count = sum(messages for _, messages, _ in rows)
    amount = f"{sum(Decimal(amount) for _, _, amount in rows):.4f}"
    return Given(200, shapes.Usage(given, shapes.UsageTotals(count, 2 * count, amount), "USD"))


def test_usage_is_shown_by_all_that_the_api_offers() -> None:
    assert GROUPS.keys() == {"day", *get_args(shapes.UsageGrouping)}


async def test_beyond_a_hundred_groups_the_others_are_one(visitor: Browser, api: FakeApi) -> None:
    api.answers["get_usage"] = grouped(
        (None, 10, "99999.0001"), *((f"r{number}", 1, f"{number}.0001") for number in range(1, 104))
    )
    shown = await visitor.get("/billing/usage/by-reference?month=2026-02", HX_Request="true", Accept_Language="en")
    assert "r412$4.0001 Others, or none1326$100,005.0004 Total113226$105,355.0104" in shown.text


@pytest.mark.parametrize(
    ("group", "value", "shown_as"),
    [
        ("country", None, "No country"), ("status", "delivered", "Delivered"), ("direction", "inbound", "Received"),
        ("sender", HOSTILE, HOSTILE), ("sender", None, "Others, or none"), ("reference", HOSTILE, HOSTILE),
        ("api_key", None, "Others, or the portal"),
    ],
)  # fmt: skip
async def test_groups_have_names(visitor: Browser, api: FakeApi, group: str, value: str | None, shown_as: str) -> None:
    api.answers["get_usage"] = grouped((value, 3, "0.5000"))
    shown = await visitor.get(f"{path_of(group)}?month=2026-02", HX_Request="true", Accept_Language="en")
    (query,) = (call.query for call in api.calls("get_usage"))
    assert (query.group_by, query.granularity) == (group, "month")
    check_bounds(query)
    assert f"{shown_as}36$0.5000" in shown.text
    assert "<script>" not in shown.raw


async def test_keys_have_the_names_that_they_have_now(visitor: Browser, api: FakeApi) -> None:
    gone = "0199f3a0-0000-7000-8000-000000000009"
    api.answers |= {
        "list_api_keys": Given(200, shapes.Page([KEY, replaced(KEY, id=OTHER, name=HOSTILE)], None)),
        "get_usage": grouped((ID, 3, "3.0000"), (OTHER, 2, "2.0000"), (gone, 1, "1.0000")),
    }
    shown = await visitor.get("/billing/usage/by-api-key", HX_Request="true", Accept_Language="en")
    assert f"ci36$3.0000 {HOSTILE}24$2.0000 {gone}Revoked or unknown12$1.0000" in shown.text
    api.answers["list_api_keys"] = Given(502, b"")
    shown = await visitor.get("/billing/usage/by-api-key", HX_Request="true", Accept_Language="en")
    assert f"{ID}Revoked or unknown36" in shown.text


async def test_usage_that_is_away_leaves_the_invoices(visitor: Browser, api: FakeApi) -> None:
    api.answers["get_usage"] = Given(502, b"An invalid response was received from the upstream server")
    failed = await visitor.get("/billing/usage", HX_Request="true")
    assert (failed.status, "Try again" in failed.text) == (503, True)
    assert "INV-1" in (await visitor.get("/billing/list", HX_Request="true")).text


# ---- the list of invoices


async def test_invoices_are_listed_with_their_exact_money(visitor: Browser, api: FakeApi) -> None:
    month = {"period_start": "2026-10-01T00:00:00.000Z", "period_end": "2026-11-01T00:00:00.000Z"}
    rows = [
        replaced(INVOICE, id=OTHER, number=None, status="draft", issued_at=None, due_at=None, **month),
        replaced(
            INVOICE,
            number="GH-2026-000001",
            total="12345.67",
            amount_due="0.045",
            currency="EUR",
            due_at="2999-01-01T00:00:00Z",
            **month,
        ),
        replaced(INVOICE, number=HOSTILE, status="paid", due_at="2026-01-01T00:00:00Z"),
        replaced(INVOICE, status="open", due_at="2026-01-01T00:00:00Z", overdue=True),
        replaced(INVOICE, status="uncollectible"),
    ]
    api.answers["list_invoices"] = Given(200, shapes.Page(rows, "next"))
    shown = await visitor.get("/billing/list?status=open&month=2026-02", HX_Request="true", Accept_Language="en")
    assert api.calls("list_invoices")[0].query == shapes.InvoiceQuery(limit=12, cursor=None, status="open")
    assert "€12,345.67" in shown.text
    assert "€0.045" in shown.text
    assert shown.text.count("October 2026") == 2
    assert (HOSTILE in shown.text, "<script>" in shown.raw) == (True, False)
    tones = [(found["data-tone"]) for _, found in shown.tags if found.get("class") == "badge"]
    assert tones == ["plain", "active", "good", "active", "bad", "bad"]
    assert shown.text.count("overdue") == 1
    assert f"/billing/invoices/{OTHER}" in links(shown)
    assert "/billing?month=2026-02&status=open&cursor=next#invoices" in links(shown)


async def test_overdue_invoices_are_those_that_the_api_calls_so(visitor: Browser, api: FakeApi) -> None:
    await visitor.get("/billing/list?status=overdue", HX_Request="true")
    assert api.calls("list_invoices")[0].query == shapes.InvoiceQuery(limit=12, overdue=True)


async def test_the_running_month_stands_above_the_first_page_of_all(visitor: Browser, api: FakeApi) -> None:
    row = "/billing/invoices/running/row"
    assert row in parts(await visitor.get("/billing"))
    for query in ("status=open", "cursor=abc"):
        assert row not in parts(await visitor.get(f"/billing?{query}"))
    month = {"period_start": "2026-11-01T00:00:00.000Z", "period_end": "2026-12-01T00:00:00.000Z"}
    api.answers["preview_invoice"] = Given(200, replaced(INVOICE_DETAIL, total="12.50", **month))
    shown = await visitor.get(row, HX_Request="true", Accept_Language="en")
    assert "November 2026 so far$12.50" in shown.text
    assert links(shown) == ["/billing/invoices/running"]
    api.answers["preview_invoice"] = Given(502, b"")
    assert (await visitor.get(row, HX_Request="true")).status == 503


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("", "No invoices yet"),
        ("?status=overdue", "No invoice is overdue."),
        ("?status=void", "No invoice is void."),
        ("?cursor=abc", "There are no older invoices."),
    ],
)
async def test_empty_lists_say_why(visitor: Browser, api: FakeApi, query: str, text: str) -> None:
    api.answers["list_invoices"] = Given(200, shapes.Page([], None))
    assert text in (await visitor.get(f"/billing/list{query}", HX_Request="true")).text


async def test_a_cursor_that_is_none_is_no_fault(visitor: Browser, api: FakeApi) -> None:
    problem = {"code": "invalid_cursor", "title": "x", "detail": "x"}
    api.answers["list_invoices"] = Given(422, problem)
    shown = await visitor.get("/billing/list?cursor=x", HX_Request="true")
    assert (shown.status, "This page of the list does not exist" in shown.text) == (422, True)
    api.answers["list_invoices"] = LIMITED
    limited = await visitor.get("/billing/list", HX_Request="true")
    assert json.loads(limited.headers["hx-trigger"])["toast"]["text"] == RATE_LIMITED


async def test_the_servers_part_takes_under_30_ms(api: FakeApi, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [shapes.UsageRow(ID, ID, code, 10, 11, "0.4500") for code in ("AF", "DE", "US") for _ in range(30)]
    totals = shapes.UsageTotals(900, 990, "40.5000")
    grouped = Given(200, shapes.Usage(many, totals, "USD"))
    api.answers["get_usage"] = lambda seen: grouped if seen.query.group_by else used(seen)
    assert await median_ms(place, "/billing/usage?month=2026-01", monkeypatch, "get_usage") < 30
    api.answers["list_invoices"] = Given(200, shapes.Page([INVOICE] * 90, "next"))
    assert await median_ms(place, "/billing/list", monkeypatch, "list_invoices") < 30
