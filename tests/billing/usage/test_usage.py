"""Usage and the summary as customers read them: whose days they are, and what is counted where."""

import itertools
import time
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ghasi.billing.periods import LAST_YEAR, QUARTER, Granularity, bounds_of, day_start
from ghasi.billing.usage.reading import previous_start, summary_range, usage_range
from ghasi.contract.errors import Problem
from ghasi.contract.serving import ServiceApp
from ghasi.contract.shapes import SummaryQuery, UsageQuery
from ghasi.contract.values import decimal_string, new_id, rfc3339
from ghasi.storage.pool import Pool
from tests.billing.conftest import ACCOUNT, LAST_MONTH, OCTOBER, Messages, Sms, ask, get
from tests.billing.usage.test_rating import MESSAGES, empty, quarter_of

NOTHING = {"messages": 0, "delivered": 0, "failed": 0, "segments": 0, "amount": "0.0000"}


def zoned(zone: str, *when: int) -> datetime:
    return datetime(*when, tzinfo=ZoneInfo(zone)).astimezone(UTC)  # type: ignore[misc, arg-type]


# usage


async def test_no_usage_is_an_empty_list(app: ServiceApp) -> None:
    assert await ask(app, "usage") == {
        "data": [], "totals": {"messages": 0, "segments": 0, "amount": "0.0000"}, "currency": "USD",
    }  # fmt: skip


async def test_usage_of_the_running_month_by_day(app: ServiceApp, messages: Messages) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    midnight = now.replace(hour=0, minute=0, second=0)
    await messages.happen(Sms(at=midnight), Sms(at=midnight, segments=3), Sms(at=midnight - timedelta(days=31)))
    row = {"messages": 2, "segments": 4, "amount": "0.1800"}
    assert await ask(app, "usage") == {
        "data": [
            {"period_start": rfc3339(midnight), "period_end": rfc3339(midnight + timedelta(days=1)), "group": None}
            | row
        ],
        "totals": row,
        "currency": "USD",
    }


async def periods(app: ServiceApp, **query: str) -> list[tuple[str, str, int]]:
    return [
        (row["period_start"][:16], row["period_end"][:16], row["messages"])
        for row in (await ask(app, "usage", **OCTOBER | query))["data"]
    ]


async def test_granularities_and_clipping(app: ServiceApp, messages: Messages) -> None:
    await messages.happen(*(Sms(at=LAST_MONTH + timedelta(hours=hours)) for hours in (0, 0, 1, 24, 24 * 14)))
    assert await periods(app, granularity="hour") == [
        ("2026-10-15T12:00", "2026-10-15T13:00", 2), ("2026-10-15T13:00", "2026-10-15T14:00", 1),
        ("2026-10-16T12:00", "2026-10-16T13:00", 1), ("2026-10-29T12:00", "2026-10-29T13:00", 1),
    ]  # fmt: skip
    assert await periods(app) == [
        ("2026-10-15T00:00", "2026-10-16T00:00", 3), ("2026-10-16T00:00", "2026-10-17T00:00", 1),
        ("2026-10-29T00:00", "2026-10-30T00:00", 1),
    ]  # fmt: skip
    assert await periods(app, granularity="month") == [("2026-10-01T00:00", "2026-11-01T00:00", 5)]
    clipped = {"from": "2026-10-15T17:15:00+04:30", "to": "2026-10-16T13:00:00Z"}
    assert await periods(app, **clipped) == [
        ("2026-10-15T12:45", "2026-10-16T00:00", 1), ("2026-10-16T00:00", "2026-10-16T13:00", 1),
    ]  # fmt: skip
    assert await periods(app, granularity="month", **clipped) == [("2026-10-15T12:45", "2026-10-16T13:00", 2)]


async def test_groups(app: ServiceApp, messages: Messages) -> None:
    changing = Sms(country="DE", segments=2)
    *before, delivered = changing.events()
    await messages.happen(Sms(), Sms(country=None), Sms(account_id=new_id()), Sms(passes=("failed",)))
    await messages.write(*before)
    await messages.read()

    async def groups(group_by: str) -> dict[str, tuple[int, int, str]]:
        answer = await ask(app, "usage", group_by=group_by, **OCTOBER)
        assert answer["totals"] == {"messages": 3, "segments": 4, "amount": "0.1800"}
        return {row["group"]: (row["messages"], row["segments"], row["amount"]) for row in answer["data"]}

    assert await groups("country") == {"AF": (1, 1, "0.0450"), "DE": (1, 2, "0.0900"), "ZZ": (1, 1, "0.0450")}
    assert await groups("status") == {"delivered": (2, 2, "0.0900"), "sent": (1, 2, "0.0900")}
    await messages.write(delivered)
    await messages.read()
    assert await groups("status") == {"delivered": (3, 4, "0.1800")}


async def test_days_and_months_are_those_of_the_zone(app: ServiceApp, messages: Messages) -> None:
    """To the minute: the last of a day there, and the first of the next."""
    second = timedelta(seconds=1)
    for zone, offset in (("Asia/Kabul", "19:30"), ("Asia/Kathmandu", "18:15"), ("Pacific/Chatham", "10:15")):
        midnight = zoned(zone, 2026, 10, 16)
        assert rfc3339(midnight)[11:16] == offset
        account = new_id()
        # sent a second after `at`
        await messages.happen(*(Sms(account_id=account, at=midnight + n * second) for n in (-3, -2, -1, 0)))
        query = {"from": rfc3339(midnight - timedelta(days=1)), "to": rfc3339(midnight + timedelta(days=1))}
        rows = (await ask(app, "usage", account, time_zone=zone, **query))["data"]
        assert [(row["period_start"], row["period_end"], row["messages"]) for row in rows] == [
            (rfc3339(midnight - timedelta(days=1)), rfc3339(midnight), 2),
            (rfc3339(midnight), rfc3339(midnight + timedelta(days=1)), 2),
        ]
        summary = await ask(app, "summary", account, time_zone=zone, **query)
        assert [row["messages"] for row in summary["data"]] == [2, 2]
        hours = (await ask(app, "usage", account, time_zone=zone, granularity="hour", **query))["data"]
        assert [(row["period_end"], row["messages"]) for row in hours] == [
            (rfc3339(midnight), 2), (rfc3339(midnight + timedelta(hours=1)), 2),
        ]  # fmt: skip
        (month,) = (await ask(app, "usage", account, time_zone=zone, granularity="month", **query))["data"]
        assert (month["period_start"], month["period_end"]) == (query["from"], query["to"])


DAYS_OF_ODD_LENGTH = [
    ("Europe/Berlin", date(2026, 3, 29), 23), ("Europe/Berlin", date(2026, 10, 25), 25),
    ("America/Santiago", date(2026, 9, 6), 23),  # begins at 01:00
    ("America/Havana", date(2026, 11, 1), 25),  # has its first hour twice
    ("Atlantic/Azores", date(2026, 10, 25), 25), ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
    ("Asia/Kabul", date(2026, 3, 29), 24), ("Pacific/Apia", date(2011, 12, 31), 24),
]  # fmt: skip


def test_days_on_which_clocks_are_turned() -> None:
    for name, day, hours in DAYS_OF_ODD_LENGTH:
        zone = ZoneInfo(name)
        start, end = day_start(day, zone), day_start(day + timedelta(days=1), zone)
        assert end - start == timedelta(hours=hours), name
        # all that the zone's clocks call that day lies in it, and nothing else
        assert {(start + n * QUARTER).astimezone(zone).date() for n in range((end - start) // QUARTER)} == {day}
        assert (start - QUARTER).astimezone(zone).date() < day
        around = bounds_of(start - timedelta(days=2), end + timedelta(days=2), "day", zone)
        assert {start, end} <= set(around)
        assert around == sorted(set(around))
        # by hour: whole ones but where clocks are turned by less
        hourly = bounds_of(start, end, "hour", zone)
        lengths = {after - before for before, after in itertools.pairwise(hourly)}
        assert lengths <= ({timedelta(hours=1), timedelta(minutes=30)} if hours == 24.5 else {timedelta(hours=1)})
    samoa = ZoneInfo("Pacific/Apia")  # which had no 30 December in 2011
    days = bounds_of(day_start(date(2011, 12, 29), samoa), day_start(date(2012, 1, 1), samoa), "day", samoa)
    assert len(days) == 3


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from(sorted(available_timezones() - {"localtime", "Factory"})),
    first=st.integers(0, 100 * 365 * 96),
    length=st.integers(1, 40 * 96),
    granularity=st.sampled_from(["hour", "day", "month"]),
)
def test_bounds_are_full_quarters_that_grow(name: str, first: int, length: int, granularity: Granularity) -> None:
    zone, since = ZoneInfo(name), datetime(2000, 1, 1, tzinfo=UTC) + first * QUARTER
    until = since + length * QUARTER
    bounds = bounds_of(since, until, granularity, zone)
    assert bounds[0] == since
    assert bounds[-1] == until
    assert all(before < after for before, after in itertools.pairwise(bounds))
    for bound in bounds:
        assert bound.timestamp() % 900 == 0
        assert bound.tzinfo is UTC
    for bound in bounds[1:-1]:
        assert granularity == "hour" or bound.astimezone(zone).day != (bound - QUARTER).astimezone(zone).day


# ranges

BAD_RANGES = [
    ("from=2026-10-02T00:00:00Z&to=2026-10-01T00:00:00Z", "from"),
    ("from=2026-10-01T00:00:00Z&to=2026-10-01T00:00:00Z", "from"),
    ("from=2099-10-01T00:00:00Z", "from"),
    ("from=2026-10-01T00:00:01Z", "from"),
    ("to=2026-10-01T00:20:00Z", "to"),
    ("to=2026-10-01T00:00:00%2B04:31", "to"),
    ("from=2026-10-01T00:00:00", "from"),
    ("from=2025-01-01T00:00:00Z&to=2026-02-01T00:00:00Z", "from"),
    ("from=2026-01-01T00:00:00Z&to=2026-02-02T00:00:00Z&granularity=hour", "from"),
    ("from=2010-01-01T00:00:00Z&to=2026-02-02T00:00:00Z&granularity=month", "from"),
    ("from=0001-01-01T00:00:00%2B14:00", "from"),
    ("to=9999-12-31T23:00:00-12:00", "to"),
    ("to=1999-12-31T23:45:00Z", "to"),
    ("from=yesterday", "from"),
    ("granularity=minute", "granularity"),
    ("since=2026-10-01T00:00:00Z", "since"),
    ("time_zone=", "time_zone"),
    ("time_zone=Kabul", "time_zone"),
    ("time_zone=asia/kabul", "time_zone"),
    ("time_zone=Asia", "time_zone"),
    ("time_zone=Asia/", "time_zone"),
    ("time_zone=%2B04:30", "time_zone"),
    ("time_zone=../etc/passwd", "time_zone"),
    ("time_zone=/etc/localtime", "time_zone"),
    ("time_zone=localtime", "time_zone"),
    ("time_zone=right/Asia/Kabul", "time_zone"),
    ("time_zone=%D8%A2%D8%B3%DB%8C%D8%A7", "time_zone"),
    (f"time_zone={'A' * 65}", "time_zone"),
]


@pytest.mark.parametrize("what", ["usage", "summary"])
async def test_bad_ranges_are_refused_by_field(app: ServiceApp, what: str) -> None:
    more = [("group_by=color", "group_by")] if what == "usage" else [("group_by=country", "group_by")]
    for query, field in BAD_RANGES + more:
        answer = await get(app, f"{what}?{query}")
        assert (answer.status, answer.json["code"]) == (422, "invalid_request"), query
        assert [error["field"] for error in answer.json["errors"]] == [field], query


def test_usages_range_by_default() -> None:
    now = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)
    first, last = datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    assert usage_range(UsageQuery(), now)[:2] == (first, last)
    assert usage_range(UsageQuery(since=first - timedelta(days=9)), now)[:2] == (first - timedelta(days=9), last)
    assert usage_range(UsageQuery(until=first), now)[:2] == (datetime(2026, 11, 1, tzinfo=UTC), first)
    with pytest.raises(Problem, match="366 days"):
        usage_range(UsageQuery(since=last - timedelta(days=366, minutes=15)), now)
    assert usage_range(UsageQuery(since=last - timedelta(days=366)), now)[0] == last - timedelta(days=366)
    # where it is January already, and where the month has 31 days by the clock and an hour more by the sun
    kabul = usage_range(UsageQuery(time_zone="Asia/Kabul"), now)
    assert kabul[:2] == (zoned("Asia/Kabul", 2027, 1, 1), zoned("Asia/Kabul", 2027, 2, 1))
    october = usage_range(UsageQuery(time_zone="Europe/Berlin", granularity="hour"), LAST_MONTH)
    assert october.until - october.since == timedelta(days=31, hours=1)


def test_a_summarys_range_by_default() -> None:
    now = datetime(2026, 11, 3, 20, tzinfo=UTC)  # 4 November in Kabul
    assert summary_range(SummaryQuery(), now)[:2] == (
        datetime(2026, 10, 5, tzinfo=UTC), datetime(2026, 11, 4, tzinfo=UTC),
    )  # fmt: skip
    assert summary_range(SummaryQuery(time_zone="Asia/Kabul"), now)[:2] == (
        zoned("Asia/Kabul", 2026, 10, 6), zoned("Asia/Kabul", 2026, 11, 5),
    )  # fmt: skip
    berlin = summary_range(SummaryQuery(time_zone="Europe/Berlin"), now)
    assert berlin[:2] == (zoned("Europe/Berlin", 2026, 10, 5), zoned("Europe/Berlin", 2026, 11, 4))
    assert berlin.until - berlin.since == timedelta(days=30, hours=1)
    assert previous_start(*berlin) == zoned("Europe/Berlin", 2026, 9, 5)
    # not whole days there: as many hours
    assert previous_start(berlin.since, berlin.until - QUARTER, berlin.zone) == (
        berlin.since - timedelta(days=30, minutes=45)
    )
    only_end = SummaryQuery(until=datetime(2026, 10, 10, 12, 45, tzinfo=UTC))
    assert summary_range(only_end, now).since == datetime(2026, 9, 10, 12, 45, tzinfo=UTC)
    with pytest.raises(Problem, match="31 days"):
        summary_range(SummaryQuery(since=datetime(2026, 10, 1, tzinfo=UTC), granularity="hour"), now)
    assert LAST_YEAR == 2100


# the summary


async def test_the_summary_of_nothing(app: ServiceApp) -> None:
    summary = await ask(app, "summary")
    assert (summary["current"], summary["previous"], summary["currency"]) == (NOTHING, NOTHING, "USD")
    assert len(summary["data"]) == 30
    assert (summary["data"][0]["period_start"], summary["data"][-1]["period_end"]) == (summary["from"], summary["to"])
    left = datetime.fromisoformat(summary["to"]) - datetime.now(UTC)
    assert timedelta(seconds=-5) < left <= timedelta(days=1)


async def test_a_summary_counts_outcomes_and_moves_late_ones(app: ServiceApp, messages: Messages) -> None:
    late = Sms(passes=("sent", "unknown", "delivered"), segments=2)
    *before, delivered = late.events()
    await messages.happen(
        Sms(), Sms(passes=("sent", "undelivered")), Sms(passes=("sent", "expired")), Sms(passes=("failed",)),
        Sms(passes=("sent",)), Sms(passes=("expired",)), Sms(passes=("canceled",)), Sms(passes=()),
        Sms(account_id=new_id()), Sms(direction="inbound"), Sms(at=LAST_MONTH - timedelta(days=20)),
    )  # fmt: skip
    await messages.write(*before)
    await messages.read()

    async def summary() -> Any:
        return await ask(app, "summary", **OCTOBER)

    october = await summary()
    expected = {"messages": 7, "delivered": 1, "failed": 4, "segments": 6, "amount": "0.2700"}
    assert october["current"] == expected
    assert october["previous"] == {
        "messages": 1, "delivered": 1, "failed": 0, "segments": 1, "amount": "0.0450",
    }  # fmt: skip
    assert len(october["data"]) == 31
    day = {"period_start": "2026-10-15T00:00:00.000Z", "period_end": "2026-10-16T00:00:00.000Z"}
    assert october["data"][14] == expected | day
    assert all(NOTHING.items() <= row.items() for row in october["data"] if row["period_start"] != day["period_start"])
    await messages.write(delivered)
    await messages.read()
    assert (await summary())["current"] == expected | {"delivered": 2}


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    sent=st.lists(MESSAGES, max_size=8),
    zone=st.sampled_from(["UTC", "Asia/Kabul", "Asia/Kathmandu", "Europe/Berlin", "America/Havana"]),
    since=st.integers(-30 * 96, 30 * 96),
    length=st.integers(1, 31 * 96),
    granularity=st.sampled_from(["hour", "day", "month"]),
)
async def test_a_summary_equals_a_naive_count(  # noqa: PLR0917 - fixtures, and what is drawn
    app: ServiceApp, pool: Pool, messages: Messages, sent: list[Sms], zone: str, since: int, length: int,
    granularity: str,
) -> None:  # fmt: skip
    await empty(pool)
    await messages.happen(*sent)
    start = LAST_MONTH + since * QUARTER
    end = start + length * QUARTER
    summary = await ask(
        app, "summary", **{"from": rfc3339(start), "to": rfc3339(end), "time_zone": zone, "granularity": granularity}
    )
    counted = [Counter[str]() for _ in range(len(summary["data"]) + 1)]
    bounds = [row["period_start"] for row in summary["data"]]
    for message in sent:
        at = quarter_of(message.at + timedelta(seconds=1))
        last = message.passes[-1] if message.passes else "accepted"
        charged = "sent" in message.passes
        if message.account_id != ACCOUNT or message.direction != "outbound" or at >= end:
            continue
        if not charged and last not in ("failed", "expired"):
            continue
        period = sum(bound <= rfc3339(at) for bound in bounds)
        if period == 0 and at < previous_start(start, end, ZoneInfo(zone)):
            continue
        counted[period].update(
            messages=1, delivered=int(last == "delivered"), failed=int(last in ("failed", "undelivered", "expired")),
            segments=message.segments * charged,
        )  # fmt: skip

    def outcome(*counters: Counter[str]) -> dict[str, Any]:
        total = sum(counters, Counter[str]())
        counts = {name: total[name] for name in ("messages", "delivered", "failed", "segments")}
        return counts | {"amount": decimal_string(total["segments"] * 45000)}

    assert summary["previous"] == outcome(counted[0])
    assert summary["current"] == outcome(*counted[1:])
    rows = [{name: row[name] for name in NOTHING} for row in summary["data"]]
    assert rows == [outcome(counter) for counter in counted[1:]]


async def test_a_busy_accounts_summary_is_quick(app: ServiceApp, pool: Pool) -> None:
    """Two months in which every quarter of an hour has usage in 18 countries and statuses: 100 000 rows of it."""
    since, until = datetime(2026, 8, 20, tzinfo=UTC), datetime(2026, 10, 20, tzinfo=UTC)
    await pool.execute(
        """
        WITH quarters AS (
            SELECT generate_series($2::timestamptz, $3::timestamptz - interval '15 minutes', '15 minutes') AS at
        ), usage AS (
            INSERT INTO billing.usage_quarters
            SELECT $1, at, country, status, 1, 2, 90000
            FROM quarters, unnest('{AF,DE,PK,FR,US,IN}'::text[]) AS country,
                 unnest('{delivered,undelivered,sent}'::text[]) AS status
        )
        INSERT INTO billing.outcome_quarters SELECT $1, at, 18, 6, 6, 36, 1620000 FROM quarters
        """,
        ACCOUNT, since, until,
    )  # fmt: skip
    assert await pool.fetchval("SELECT count(*) FROM billing.usage_quarters") > 100_000
    await pool.execute("ANALYZE billing.outcome_quarters")
    query = {"from": "2026-09-19T19:30:00Z", "to": "2026-10-19T19:30:00Z", "time_zone": "Asia/Kabul"}
    took: list[float] = []
    while len(took) < 7 or (min(took) >= 0.015 and len(took) < 100):  # more often where others take the machine's time
        begun = time.perf_counter()
        summary = await ask(app, "summary", **query)
        took.append(time.perf_counter() - begun)
    assert summary["current"]["messages"] == 30 * 96 * 18 == summary["previous"]["messages"]
    assert summary["data"][29]["delivered"] == 96 * 6
    assert min(took) < 0.015, took
