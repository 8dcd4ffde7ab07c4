"""The start page as a browser gets it, before an API that answers as a test says."""

import asyncio
import json
import re
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ghasi.client.api import Ghasi
from ghasi.contract import shapes
from ghasi.contract.values import rfc3339
from ghasi.portal.failures import RATE_LIMITED
from ghasi.portal.formats import ENGLISH, Reader
from ghasi.portal.pages.dashboard import figures, greeting, relative
from ghasi.portal.pages.first_steps import snippets
from ghasi.portal.pages.ranges import MOST_DAYS, months_until, read_month, read_range
from tests.asgi import request
from tests.client.fake_api import FakeApi, Given, Seen, message
from tests.portal.conftest import Browser, Place, Shown, token
from tests.portal.test_sessions import LIMITED

KABUL = ZoneInfo("Asia/Kabul")
READER = Reader(ENGLISH, KABUL)
NOW = datetime(2026, 11, 22, 18, tzinfo=UTC).astimezone(KABUL)
HOSTILE = "<script>alert(1)</script>\"'&{{7*7}}"
NOBODY: shapes.Page[Any] = shapes.Page([], None)
NONE = shapes.Outcome(0, 0, 0, 0, "0.0000")


def summary(
    current: shapes.Outcome = NONE, previous: shapes.Outcome = NONE, rows: list[shapes.SummaryRow] | None = None
) -> shapes.Summary:
    since = NOW - timedelta(days=30)
    return shapes.Summary(rfc3339(since), rfc3339(NOW), current, previous, rows or [], "USD")


def answer(seen: Seen) -> Given:
    """A summary of a realistic size: every period of the range that is asked for."""
    since, until = seen.query.since, seen.query.until
    step = timedelta(hours=1) if seen.query.granularity == "hour" else timedelta(days=1)
    rows = []
    while since < until:
        count = 1000 + len(rows) * 37
        rows.append(
            shapes.SummaryRow(
                count, count - 30, 20, count + 9, "26.5000", period_start=rfc3339(since),
                period_end=rfc3339(since + step),
            )
        )  # fmt: skip
        since += step
    total = sum(row.messages for row in rows)
    current = shapes.Outcome(total, total - 30 * len(rows), 20 * len(rows), total, "1284.6000")
    return Given(200, summary(current, shapes.Outcome(1000, 900, 100, 1000, "26.5000"), rows))


@pytest.fixture
async def visitor(browser: Browser, api: FakeApi) -> Browser:
    browser.set(ghasi_access=token(name="Ann Rahimi"), ghasi_zone="Asia/Kabul")
    return browser


def parts(shown: Shown) -> dict[str, dict[str, str | None]]:
    return {str(found["hx-get"]): found for _, found in shown.tags if found.get("hx-trigger") == "load"}


def chart(shown: Shown) -> Any:
    return json.loads(next(str(found["data-chart"]) for _, found in shown.tags if "data-chart" in found))


# ---- the page


async def test_the_page_asks_nothing_and_its_parts_load_apart(visitor: Browser, api: FakeApi) -> None:
    shown = await visitor.get("/")
    assert (shown.status, api.seen) == (200, [])
    calls_a_minute = {
        "/dashboard/steps": 3, "/dashboard/figures": 1, "/dashboard/latest": 1, "/billing/balance/refusal": 1,
    }  # fmt: skip
    assert parts(shown).keys() == calls_a_minute.keys()
    assert ", Ann" in shown.text
    assert ("a", {"href": "/messages", "class": "btn btn-sm"}) in shown.tags
    often = [60 / int(str(found["data-live"])) * calls_a_minute[path] for path, found in parts(shown).items()]
    assert 0 < sum(often) <= 12


@pytest.mark.parametrize(("hour", "words"), [(4, "evening"), (5, "morning"), (12, "afternoon"), (18, "evening")])
def test_greetings(hour: int, words: str) -> None:
    assert greeting(hour) == f"Good {words}"


@pytest.mark.parametrize("name", ["", "   ", None])
async def test_nobody_is_called_by_no_name(visitor: Browser, name: str | None) -> None:
    visitor.set(ghasi_access=token(name=name) if name is not None else token())
    shown = await visitor.get("/")
    greeting = re.search(r"<h1[^>]*>(.*?)</h1>", shown.raw, re.DOTALL)
    assert greeting is not None
    assert re.fullmatch(r"\s*Good \w+\s*", greeting[1])


async def test_one_part_that_fails_leaves_the_others(visitor: Browser, api: FakeApi) -> None:
    api.answers["get_summary"] = Given(504, b"The upstream server is timing out")
    failed = await visitor.get("/dashboard/figures", HX_Request="true")
    assert (failed.status, "Try again" in failed.text) == (503, True)
    latest = await visitor.get("/dashboard/latest", HX_Request="true")
    assert (latest.status, "+93701234567" in latest.text) == (200, True)
    api.answers["list_webhooks"] = LIMITED
    limited = await visitor.get("/dashboard/steps", HX_Request="true")
    assert (limited.status, json.loads(limited.headers["hx-trigger"])["toast"]["text"]) == (429, RATE_LIMITED)


# ---- the range


@pytest.mark.parametrize(
    ("query", "first", "last", "granularity"),
    [
        ("", "2026-10-24", "2026-11-22", "day"),
        ("range=today", "2026-11-22", "2026-11-22", "hour"),
        ("range=7d", "2026-11-16", "2026-11-22", "day"),
        ("range=90d", "2026-08-25", "2026-11-22", "day"),
        ("range=month", "2026-11-01", "2026-11-22", "day"),
        ("range=custom", "2026-10-24", "2026-11-22", "day"),
        ("range=custom&from=2026-02-01&to=2026-02-28", "2026-02-01", "2026-02-28", "day"),
        ("range=custom&from=2024-01-01&to=2024-12-31", "2024-01-01", "2024-12-31", "day"),
        ("range=<script>", "2026-10-24", "2026-11-22", "day"),
    ],
)
def test_ranges(query: str, first: str, last: str, granularity: str) -> None:
    chosen = read_range(dict(one.split("=") for one in query.split("&") if one), NOW, KABUL)
    assert (chosen.first, chosen.last) == (date.fromisoformat(first), date.fromisoformat(last))
    assert (chosen.granularity, chosen.errors) == (granularity, {})
    assert chosen.since == datetime.fromisoformat(f"{first}T00:00:00+04:30")
    assert chosen.until == datetime.fromisoformat(f"{last}T00:00:00+04:30") + timedelta(days=1)


@pytest.mark.parametrize(
    ("first", "last", "wrong"),
    [
        ("2026-02-30", "2026-03-01", {"from"}),
        ("", "2026-03-01", {"from"}),
        ("2026-03-01", "tomorrow", {"to"}),
        ("2026-03-02", "2026-03-01", {"to"}),
        ("2024-01-01", "2025-01-01", {"to"}),
        ("0001-01-01", "9999-12-31", {"from", "to"}),
        ("\u0662026-01-01", "\0", {"from", "to"}),
    ],
)
async def test_wrong_ranges_are_told_beside_their_fields(
    visitor: Browser, api: FakeApi, *, first: str, last: str, wrong: set[str]
) -> None:
    path = f"range=custom&from={first}&to={last.replace(chr(0), '%00')}"
    shown = await visitor.get(f"/?{path}")
    assert {name for name in ("from", "to") if shown.input(name).get("aria-invalid") == "true"} == wrong
    assert shown.input("from").get("value", "") == first
    assert "/dashboard/latest" in parts(shown)
    assert not [one for one in parts(shown) if one.startswith("/dashboard/figures")]
    refused = await visitor.get(f"/dashboard/figures?{path}", HX_Request="true")
    assert (refused.status, api.seen) == (422, [])


async def test_the_range_is_in_the_url_and_in_the_question(visitor: Browser, api: FakeApi) -> None:
    shown = await visitor.get("/?range=custom&from=2026-02-01&to=2026-02-28")
    chosen = [found for _, found in shown.tags if found.get("aria-current") == "true"]
    assert [found["href"] for found in chosen] == ["/?range=custom&from=2026-02-01&to=2026-02-28"]
    (path,) = (one for one in parts(shown) if one.startswith("/dashboard/figures"))
    api.answers["get_summary"] = answer
    figures_part = await visitor.get(path, HX_Request="true")
    (call,) = api.calls("get_summary")
    assert (call.query.granularity, call.query.time_zone) == ("day", "Asia/Kabul")
    assert (rfc3339(call.query.since), rfc3339(call.query.until)) == (
        "2026-01-31T19:30:00.000Z", "2026-02-28T19:30:00.000Z",
    )  # fmt: skip
    assert "vs the 28 days before" in figures_part.text


def test_days_of_23_hours_and_years_have_their_length() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    chosen = read_range({"range": "custom", "from": "2026-03-29", "to": "2026-03-29"}, NOW, berlin)
    assert chosen.until - chosen.since == timedelta(hours=23)
    havana = read_range({"range": "custom", "from": "2026-03-08", "to": "2026-03-08"}, NOW, ZoneInfo("America/Havana"))
    assert havana.since == datetime(2026, 3, 8, 5, tzinfo=UTC)  # there is no midnight: 0:00 is 1:00
    assert read_range({"range": "custom", "from": "2024-01-01", "to": "2024-12-31"}, NOW, KABUL).days == MOST_DAYS


def test_months_of_a_url() -> None:
    today = date(2026, 11, 22)
    for text in (None, "", "2026-13", "2026-12", "x", "2026-1", "20261-01", "0000-01", "\u0662026-01"):
        assert read_month(text, today) == date(2026, 11, 1)
    assert read_month("2026-02", today) == date(2026, 2, 1)
    assert months_until(today, date(2020, 1, 1))[::24] == [date(2026, 11, 1), date(2020, 1, 1)]
    assert months_until(date(2026, 1, 31), date(2026, 1, 1))[1] == date(2025, 12, 1)


# ---- the figures


def outcome(messages: int, delivered: int, failed: int, amount: str) -> shapes.Outcome:
    return shapes.Outcome(messages, delivered, failed, messages, amount)


@pytest.mark.parametrize(
    ("now", "then", "changes"),
    [
        (
            outcome(1124, 1104, 12, "109.7000"), outcome(1000, 960, 40, "100.0000"),
            [("+12.4%", "good"), ("+2.2 points", "good"), ("-70%", "good"), ("+9.7%", "warn")],
        ),
        (
            outcome(500, 400, 80, "50.0000"), outcome(1000, 960, 40, "100.0000"),
            [("-50%", ""), ("-16 points", "bad"), ("+100%", "bad"), ("-50%", "")],
        ),
        (outcome(5, 5, 0, "0.1325"), NONE, [("New", ""), ("New", ""), (None, ""), ("New", "")]),
        (NONE, NONE, [(None, ""), (None, ""), (None, ""), (None, "")]),
        (NONE, outcome(5, 5, 0, "0.1325"), [("-100%", ""), (None, ""), (None, ""), ("-100%", "")]),
        (
            outcome(5, 5, 0, "0.1325"), outcome(5, 5, 0, "0.1325"),
            [("No change", ""), ("No change", ""), (None, ""), ("No change", "")],
        ),
    ],
)  # fmt: skip
def test_changes_have_the_right_sign_and_tone(
    now: shapes.Outcome, then: shapes.Outcome, changes: list[tuple[str | None, str]]
) -> None:
    found = figures(summary(now, then), "the 30 days before", READER)
    assert [(one.change, one.tone) for one in found] == changes
    assert [one.label for one in found] == ["Messages sent", "Delivered", "Failed", "Spend"]


def test_nothing_is_divided_by_nothing() -> None:
    assert relative(Decimal(0), Decimal(0), READER) is None
    assert relative(Decimal(10) ** 12, Decimal("0.000001"), READER) is not None


async def test_figures_course_and_its_words(visitor: Browser, api: FakeApi) -> None:
    api.answers["get_summary"] = answer
    shown = await visitor.get("/dashboard/figures?range=7d", HX_Request="true", Accept_Language="en-GB")
    drawn = chart(shown)
    assert [one["label"] for one in drawn["series"]] == ["Delivered", "Failed", "Under way"]
    assert drawn["series"][0]["values"] == [970 + at * 37 for at in range(7)]
    assert drawn["series"][2]["values"] == [10] * 7
    assert (drawn["zone"], drawn["locale"]) == ("Asia/Kabul", "en-GB")
    assert all(datetime.fromtimestamp(at, KABUL).hour == 0 for at in drawn["x"])
    (text,) = (str(found["aria-label"]) for _, found in shown.tags if found.get("role") == "img")
    assert "7,567 delivered, 140 failed, 70 under way. Most were sent on" in text
    assert shown.raw.count("<tr>") == 1 + 7
    assert "US$1,284.60" in shown.text


async def test_hours_that_are_still_to_come_are_not_zero(visitor: Browser, api: FakeApi) -> None:
    api.answers["get_summary"] = answer
    shown = await visitor.get("/dashboard/figures?range=today", HX_Request="true")
    values = chart(shown)["series"][0]["values"]
    begun = datetime.now(KABUL).hour + 1
    assert [value is None for value in values] == [False] * begun + [True] * (len(values) - begun)
    assert shown.raw.count("<tr>") == 1 + begun
    assert api.calls("get_summary")[0].query.granularity == "hour"


async def test_nothing_sent_is_said_so(visitor: Browser, api: FakeApi) -> None:
    api.answers["get_summary"] = Given(200, summary())
    api.answers["list_messages"] = Given(200, NOBODY)
    shown = await visitor.get("/dashboard/figures", HX_Request="true")
    assert "No messages in this range" in shown.text
    assert "data-chart" not in shown.raw
    assert "No messages yet" in (await visitor.get("/dashboard/latest", HX_Request="true")).text


async def test_hostile_messages_are_text(visitor: Browser, api: FakeApi) -> None:
    rows = [message(1, body=HOSTILE, to=HOSTILE), message(2, body=None), message(3, body="x" * 5000)]
    api.answers["list_messages"] = Given(200, shapes.Page(rows, "c"))
    shown = await visitor.get("/dashboard/latest", HX_Request="true")
    assert shown.text.count(HOSTILE) == 2
    assert "<script>" not in shown.raw
    assert "x" * 161 not in shown.raw
    assert api.calls("list_messages")[0].query.limit == 8


# ---- the first steps


@pytest.mark.parametrize("missing", ["list_api_keys", "list_messages", "list_webhooks"])
async def test_steps_are_ticked_by_what_there_is(visitor: Browser, api: FakeApi, missing: str) -> None:
    api.answers[missing] = Given(200, NOBODY)
    shown = await visitor.get("/dashboard/steps", HX_Request="true")
    assert (shown.status, "2 of 3 done" in shown.text, shown.text.count("(to do)")) == (200, True, 1)
    assert {seen.query.limit for seen in api.seen} == {1}
    assert ("GHASI_API_KEY" in shown.text) is (missing == "list_messages")
    assert ("https://api.example.com/v1/messages" in shown.text) is (missing == "list_messages")
    assert "ghasi_steps" not in visitor.cookies


async def test_steps_are_asked_for_at_the_same_time(visitor: Browser, api: FakeApi) -> None:
    together = asyncio.Barrier(3)

    async def wait(_: Seen) -> Given:
        await together.wait()
        return Given(200, NOBODY)

    api.answers |= dict.fromkeys(("list_api_keys", "list_messages", "list_webhooks"), wait)
    async with asyncio.timeout(4):
        assert "0 of 3 done" in (await visitor.get("/dashboard/steps", HX_Request="true")).text


async def test_done_steps_leave_and_are_not_asked_for_again(visitor: Browser, api: FakeApi) -> None:
    done = await visitor.get("/dashboard/steps", HX_Request="true")
    assert (done.status, done.headers["hx-reswap"], done.raw) == (200, "delete", "")
    assert "/dashboard/steps" not in parts(await visitor.get("/"))
    visitor.set(ghasi_access=token(account_id="another"))
    assert "/dashboard/steps" in parts(await visitor.get("/"))


async def test_steps_can_be_put_away(visitor: Browser, api: FakeApi) -> None:
    gone = await visitor.post("/dashboard/steps/dismiss", HX_Request="true", Sec_Fetch_Site="same-origin")
    assert (gone.status, gone.headers["hx-reswap"], api.seen) == (200, "delete", [])
    assert "HttpOnly; SameSite=Lax" in gone.headers["set-cookie"]
    assert "/dashboard/steps" not in parts(await visitor.get("/"))
    foreign = await visitor.post("/dashboard/steps/dismiss", Sec_Fetch_Site="cross-site")
    assert foreign.status == 403


def test_snippets_quote_whatever_the_address_is() -> None:
    for _, code in snippets("https://api.example.com/it's/"):
        assert "/v1/messages" in code
        assert "//v1" not in code
    compile(dict(snippets("https://api.example.com/it's\""))["Python"], "snippet", "exec")


# ---- speed


async def median_ms(
    place: Place,
    path: str,
    monkeypatch: pytest.MonkeyPatch,
    *operations: str,
) -> float:
    """What the server itself does for an answer, in CPU time: what the calls of the API took is taken off."""
    waits: list[tuple[float, float]] = []

    def timed(ask: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(client: Ghasi, **query: Any) -> Any:
            began = time.thread_time()
            try:
                return await ask(client, **query)
            finally:
                waits.append((began, time.thread_time()))

        return call

    for operation in operations:
        monkeypatch.setattr(Ghasi, operation, timed(getattr(Ghasi, operation)))
    headers = {
        "Cookie": f"ghasi_access={token()}; ghasi_zone=Asia%2FKabul", "Accept-Language": "de", "HX-Request": "true",
    }  # fmt: skip
    took = []
    for _ in range(22):
        waits.clear()
        began = time.thread_time()
        answered = await request(place.counted, "GET", path, headers=headers)
        all_of_it = time.thread_time() - began
        assert answered.status == 200
        # those that were asked in parallel count once
        took.append(all_of_it - (max(end for _, end in waits) - min(start for start, _ in waits)))
    return statistics.median(took[2:]) * 1000


async def test_the_servers_part_takes_under_30_ms(api: FakeApi, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    api.answers["get_summary"] = answer
    assert await median_ms(place, "/dashboard/figures?range=90d", monkeypatch, "get_summary") < 30
    rows = [message(at, body="Your verification code is 482913. " * 4) for at in range(8)]
    api.answers["list_messages"] = Given(200, shapes.Page(rows, "c"))
    assert await median_ms(place, "/dashboard/latest", monkeypatch, "list_messages") < 30
