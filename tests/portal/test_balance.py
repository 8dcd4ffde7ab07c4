"""The balance, what moved it and the account's own limit as a browser gets them."""

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from ghasi.contract import shapes
from ghasi.portal.pages.balance import bar_of
from tests.client.fake_api import AT, BALANCE, ID, FakeApi, Given
from tests.portal.conftest import Browser, token
from tests.portal.test_billing import OTHER
from tests.portal.test_dashboard import HOSTILE, parts
from tests.portal.test_sessions import LIMITED

POSTPAID: dict[str, Any] = {"payment": "postpaid", "balance": "0.0000", "held": "0.0000", "available": None}


def balance(**changes: Any) -> shapes.Balance:
    return msgspec.structs.replace(BALANCE, **changes)


def answer(**changes: Any) -> Given:
    return Given(200, balance(**changes))


@pytest.fixture
async def visitor(browser: Browser, api: FakeApi) -> Browser:
    browser.set(ghasi_access=token(), ghasi_zone="Asia/Kabul")
    return browser


# ---- the card


async def test_the_page_asks_nothing_and_its_parts_load_apart(visitor: Browser, api: FakeApi) -> None:
    shown = await visitor.get("/billing/balance?kind=top_up&cursor=abc")
    assert (shown.status, api.seen) == (200, [])
    assert parts(shown).keys() == {
        "/billing/balance/card", "/billing/balance/limit", "/billing/balance/transactions?kind=top_up&cursor=abc",
    }  # fmt: skip
    assert ("option", {"value": "top_up", "selected": None}) in shown.tags


async def test_a_prepaid_balance_has_what_is_held_and_what_is_left(visitor: Browser, api: FakeApi) -> None:
    shown = await visitor.get("/billing/balance/card", HX_Request="true", Accept_Language="en")
    for text in ("Balance$20.00", "Held$0.0450", "Available$19.9550"):
        assert text in shown.text
    assert "refused" not in shown.text
    assert "meter" not in shown.raw


async def test_postpaid_without_a_limit_says_so(visitor: Browser, api: FakeApi) -> None:
    api.answers["get_balance"] = answer(**POSTPAID)
    shown = await visitor.get("/billing/balance/card", HX_Request="true", Accept_Language="en")
    assert "Spent$3.12" in shown.text
    assert "LimitNone" in shown.text
    assert "favour" not in shown.text
    api.answers["get_balance"] = answer(**{**POSTPAID, "balance": "12.5000"})
    shown = await visitor.get("/billing/balance/card", HX_Request="true", Accept_Language="en")
    assert "$12.50 stands in your favour" in shown.text


async def test_a_limit_has_a_bar(visitor: Browser, api: FakeApi) -> None:
    alerts = [shapes.SpendingAlert("spending_limit", percent, "10.0000", AT) for percent in (80, 50)]
    changes = {**POSTPAID, "spent": "8.2500", "held": "0.5", "available": "1.2500", "spending_limit": "10.0000"}
    api.answers["get_balance"] = answer(**changes, alerts=alerts)
    shown = await visitor.get("/billing/balance/card", HX_Request="true", Accept_Language="de")
    (meter,) = (found for _, found in shown.tags if found.get("role") == "meter")
    assert (meter["aria-valuenow"], meter["aria-valuetext"]) == ("82.50", "82,5\xa0%")
    assert [found["width"] for tag, found in shown.tags if tag == "rect"][:2] == ["87.50", "82.50"]
    assert "82,5 % of 10,00 $ spent" in shown.text.replace("\xa0", " ")
    assert shown.text.count("was reached on") == 1
    assert "80 % of the limit, 10,00 $, was reached on 22.11.2026" in shown.text.replace("\xa0", " ")


@pytest.mark.parametrize(
    ("changes", "spent", "taken", "tone"),
    [
        ({"spent": "0", "held": "0", "available": "10"}, 0, 0, "primary"),
        ({"spent": "5", "held": "9", "available": "4"}, 50, 60, "primary"),
        ({"spent": "8", "held": "0", "available": "2"}, 80, 80, "warn"),
        ({"spent": "9", "held": "1", "available": "0"}, 90, 100, "bad"),
        ({"spent": "12", "held": "1", "available": "-3"}, 100, 100, "bad"),
        ({"spent": "2", "held": "1", "available": "3", "payment": "prepaid"}, 20, 30, "primary"),
        ({"spent": "0", "held": "0", "available": "0", "spending_limit": "0"}, 100, 100, "bad"),
    ],
)
def test_the_bar_ends_where_the_limit_does(changes: dict[str, Any], spent: int, taken: int, tone: str) -> None:
    bar = bar_of(balance(**{**POSTPAID, "spending_limit": "10", **changes}))
    assert bar is not None
    assert (bar.spent, bar.taken, bar.tone) == (Decimal(spent), Decimal(taken), tone)


# ---- refused


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"status": "insufficient_balance"}, "The balance is used up: messages are refused."),
        ({"status": "spending_limit_reached", "spending_limit": "1"}, "when the operator raises the limit"),
        (
            {"status": "spending_limit_reached", "spending_limit": "1", "own_spending_limit": "1"},
            "when you raise your limit",
        ),
    ],
)
async def test_it_is_said_that_messages_are_refused(
    visitor: Browser, api: FakeApi, changes: dict[str, Any], text: str
) -> None:
    api.answers["get_balance"] = answer(**changes)
    for path in ("/billing/balance/card", "/billing/balance/refusal"):
        shown = await visitor.get(path, HX_Request="true")
        assert text in shown.text, path
        assert [found["data-tone"] for _, found in shown.tags if found.get("role") == "status"] == ["bad"]
        links = [found["href"] for tag, found in shown.tags if tag == "a"]
        assert links == ([] if path.endswith("card") else ["/billing/balance"])


@pytest.mark.parametrize("path", ["/", "/messages/new"])
async def test_other_pages_ask_whether_messages_are_refused(visitor: Browser, api: FakeApi, path: str) -> None:
    assert "/billing/balance/refusal" in parts(await visitor.get(path))


@pytest.mark.parametrize("given", [answer(), LIMITED, Given(502, b""), Given(403, {"detail": "no"})], ids=str)
async def test_nothing_is_said_where_all_is_well_or_nobody_knows(visitor: Browser, api: FakeApi, given: Given) -> None:
    api.answers["get_balance"] = given
    shown = await visitor.get("/billing/balance/refusal", HX_Request="true")
    assert (shown.status, shown.raw, shown.headers.get("hx-trigger")) == (200, "", None)


# ---- what moved it


def moved(kind: shapes.TransactionKind, amount: str, **changes: Any) -> shapes.BalanceTransaction:
    plain = shapes.BalanceTransaction(ID, kind, amount, "20.0000", "USD", AT, None, None, None)
    return msgspec.structs.replace(plain, **changes)


async def test_transactions_are_listed(visitor: Browser, api: FakeApi) -> None:
    rows = [
        moved("top_up", "20.0000", reference="bank 1041", note=HOSTILE),
        moved("usage", "-0.0450"),
        moved("credit_note", "1.5000", invoice_id=ID, reference=OTHER),
    ]
    api.answers["list_balance_transactions"] = Given(200, shapes.Page(rows, "next"))
    shown = await visitor.get("/billing/balance/transactions?kind=usage", HX_Request="true", Accept_Language="en")
    (call,) = api.calls("list_balance_transactions")
    assert call.query == shapes.BalanceTransactionQuery(limit=25, cursor=None, kind="usage")
    for text in ("Top-up", "+$20.00", "bank 1041", "Messages", "-$0.0450", "Credit note", "+$1.50"):
        assert text in shown.text
    assert (HOSTILE in shown.text, "<script>" in shown.raw, OTHER in shown.raw) == (True, False, False)
    links = [found["href"] for tag, found in shown.tags if tag == "a"]
    assert links == [f"/billing/invoices/{ID}", "/billing/balance?kind=usage&cursor=next#transactions"]


@pytest.mark.parametrize(
    ("query", "text"),
    [("", "No transactions yet"), ("?kind=void", "None is of this kind."), ("?cursor=abc", "There are no older ones.")],
)
async def test_empty_lists_say_why(visitor: Browser, api: FakeApi, query: str, text: str) -> None:
    api.answers["list_balance_transactions"] = Given(200, shapes.Page([], None))
    assert text in (await visitor.get(f"/billing/balance/transactions{query}", HX_Request="true")).text


async def test_a_cursor_that_is_none_is_no_fault(visitor: Browser, api: FakeApi) -> None:
    api.answers["list_balance_transactions"] = Given(422, {"code": "invalid_cursor", "title": "x", "detail": "x"})
    shown = await visitor.get("/billing/balance/transactions?cursor=x&kind=%00", HX_Request="true")
    assert (shown.status, "This page of the list does not exist" in shown.text) == (422, True)


async def test_one_part_that_fails_leaves_the_others(visitor: Browser, api: FakeApi) -> None:
    api.answers["get_balance"] = Given(504, b"The upstream server is timing out")
    failed = await visitor.get("/billing/balance/card", HX_Request="true")
    assert (failed.status, "Try again" in failed.text) == (503, True)
    assert "Top-up" in (await visitor.get("/billing/balance/transactions", HX_Request="true")).text


# ---- the own limit


async def test_owners_set_their_own_limit(visitor: Browser, api: FakeApi) -> None:
    api.answers["get_balance"] = answer(own_spending_limit="250.0000", spending_limit="100.0000")
    shown = await visitor.get("/billing/balance/limit", HX_Request="true", Accept_Language="en")
    assert shown.input("own-limit")["value"] == "250.00"
    assert "The operator's limit of $100.00 holds." in shown.text
    api.answers["set_spending_limit"] = answer(own_spending_limit="99.5000", spending_limit="99.5000")
    saved = await visitor.post("/billing/balance/limit", {"limit": " 99.50 "}, HX_Request="true")
    (call,) = api.calls("set_spending_limit")
    assert call.body == shapes.SpendingLimitInput(spending_limit="99.50")
    assert saved.input("own-limit")["value"] == "99.50"
    assert "operator" not in saved.text
    events = json.loads(saved.headers["hx-trigger"])
    assert (events["toast"]["text"], events["refresh"]) == ("Your limit is saved", "#balance")


async def test_nothing_typed_takes_the_limit_away(visitor: Browser, api: FakeApi) -> None:
    saved = await visitor.post("/billing/balance/limit", {"limit": ""}, HX_Request="true")
    assert [call.body.spending_limit for call in api.calls("set_spending_limit")] == [None]
    assert json.loads(saved.headers["hx-trigger"])["toast"]["text"] == "Your limit is taken away"


@pytest.mark.parametrize("typed", ["ten", "-1", "1,50", "1e3", "1.1234567", "1" * 13, "\u0661\u0660", "<b>"])
async def test_what_is_no_amount_is_told_beside_the_field(visitor: Browser, api: FakeApi, typed: str) -> None:
    refused = await visitor.post("/billing/balance/limit", {"limit": typed}, HX_Request="true")
    assert (refused.status, api.calls("set_spending_limit")) == (422, [])
    assert refused.input("own-limit")["value"] == typed
    assert refused.input("own-limit")["aria-invalid"] == "true"
    assert "Enter an amount such as 250.00, or nothing." in refused.text


async def test_members_see_the_limit_and_no_form(visitor: Browser, api: FakeApi) -> None:
    api.answers["get_account"] = Given(200, shapes.AccountDetail(ID, "Acme Ltd", "active", "member", AT))
    api.answers["get_balance"] = answer(own_spending_limit="250.0000", spending_limit="250.0000")
    shown = await visitor.get("/billing/balance/limit", HX_Request="true", Accept_Language="en")
    assert "$250.00 for a month. Only owners can change it." in shown.text
    assert not [tag for tag, _ in shown.tags if tag == "form"]
