"""Rates as a browser gets them."""

from typing import Any

import msgspec
import pytest

from ghasi.contract import shapes
from tests.client.fake_api import AT, ID, FakeApi, Given
from tests.portal.conftest import Browser, token
from tests.portal.test_dashboard import HOSTILE, parts

RATE = shapes.Rate(ID, "outbound", "everybody", "AF", None, None, None, "USD", "0.0310", [], AT)


@pytest.fixture
async def visitor(browser: Browser, api: FakeApi) -> Browser:
    browser.set(ghasi_access=token(), ghasi_zone="Asia/Kabul")
    return browser


def rate(**changes: Any) -> shapes.Rate:
    return msgspec.structs.replace(RATE, **changes)


async def test_the_page_asks_nothing(visitor: Browser, api: FakeApi) -> None:
    shown = await visitor.get("/billing/rates?country=DE&cursor=abc", Accept_Language="de")
    assert (shown.status, api.seen) == (200, [])
    assert list(parts(shown)) == ["/billing/rates/list?country=DE&cursor=abc"]
    assert ("option", {"value": "DE", "selected": None}) in shown.tags
    assert "Afghanistan Ägypten Ålandinseln Albanien" in shown.text
    options = [found["value"] for tag, found in shown.tags if tag == "option"]
    assert ("*" in options, "XK" in options, "EU" in options, "001" in options) == (True, True, False, False)


@pytest.mark.parametrize(
    ("typed", "number"),
    [
        ("%2B93701234567", "+93701234567"), ("+93701234567", "+93701234567"), ("0093 70 123", "+9370123"),
        ("93701", None), ("+0123456", None), ("ten", None), ("%00", None), ("1" * 50, None),
    ],
)  # fmt: skip
async def test_a_number_is_searched_as_people_write_it(
    visitor: Browser, api: FakeApi, typed: str, number: str | None
) -> None:
    page = await visitor.get(f"/billing/rates?number={typed}")
    shown = await visitor.get(f"/billing/rates/list?number={typed}", HX_Request="true")
    asked = [call.query.number for call in api.calls("list_rates")]
    assert (asked, shown.status) == (([number], 200) if number else ([], 422))
    assert ("aria-invalid" in page.input("filter-number")) is (number is None)
    assert len(parts(page)) == (1 if number else 0)


async def test_what_is_left_empty_or_is_no_country_does_not_count(visitor: Browser, api: FakeApi) -> None:
    left = await visitor.get("/billing/rates?number=&country=DE")
    assert (left.status, left.headers["location"]) == (303, "/billing/rates?country=DE")
    for country in ("de", "XX", "%00", "EU"):
        await visitor.get(f"/billing/rates/list?country={country}", HX_Request="true")
    await visitor.get("/billing/rates/list?country=*", HX_Request="true")
    assert [call.query.country for call in api.calls("list_rates")] == [None] * 4 + ["*"]


async def test_rates_are_listed_with_their_conditions(visitor: Browser, api: FakeApi) -> None:
    tiers = [shapes.RateTier(10_000, "0.0300"), shapes.RateTier(100_000, "0.0285")]
    rows = [
        rate(prefix="9370", sender_kind="name", scope="account", tiers=tiers),
        rate(country=None, scope="plan", carrier_class=HOSTILE, valid_from="1970-01-01T00:00:00.000Z"),
        rate(country="DE", direction="inbound", sender_kind="short_code", amount="0.0050", currency="EUR"),
    ]
    api.answers["list_rates"] = Given(200, shapes.Page(rows, "next"))
    shown = await visitor.get("/billing/rates/list?country=DE", HX_Request="true", Accept_Language="en")
    (call,) = api.calls("list_rates")
    assert call.query == shapes.RateQuery(limit=50, country="DE")
    for text in (
        "Afghanistan", "+9370", "Sent from names", "yours", "$0.0310", "$0.0300 after 10,000", "$0.0285 after 100,000",
        "Everywhere else", "your plan's", "Received to short codes", "€0.0050", "Nov 22, 2026",
        "Always",
    ):  # fmt: skip
        assert text in shown.text
    assert (HOSTILE in shown.text, "<script>" in shown.raw) == (True, False)
    links = [found["href"] for tag, found in shown.tags if tag == "a"]
    assert links == ["/billing/rates?country=DE&cursor=next#rates"]


@pytest.mark.parametrize(
    ("query", "text"), [("", "No rates yet"), ("?country=DE", "No rate fits this filter."), ("?cursor=a", "No older")]
)
async def test_empty_lists_say_why(visitor: Browser, api: FakeApi, query: str, text: str) -> None:
    api.answers["list_rates"] = Given(200, shapes.Page([], None))
    assert text in (await visitor.get(f"/billing/rates/list{query}", HX_Request="true")).text


async def test_rates_that_are_away_or_no_page_are_said_so(visitor: Browser, api: FakeApi) -> None:
    api.answers["list_rates"] = Given(422, {"code": "invalid_cursor", "title": "x", "detail": "x"})
    shown = await visitor.get("/billing/rates/list?cursor=x", HX_Request="true")
    assert (shown.status, "This page of the list does not exist" in shown.text) == (422, True)
    api.answers["list_rates"] = Given(502, b"")
    failed = await visitor.get("/billing/rates/list", HX_Request="true")
    assert (failed.status, "Try again" in failed.text) == (503, True)
