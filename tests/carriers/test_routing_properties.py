"""What holds of every set of rules: against naive oracles, and against zoneinfo for the clock."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ghasi.carriers.routing import Asked, Quality, Routes
from ghasi.carriers.routing_conditions import DAYS
from ghasi.carriers.routing_costs import CostTable
from ghasi.carriers.routing_rules import RouteConfiguration
from tests.carriers.test_routing import NAMES, View, asked

COSTS = {name: CostTable({"*": f"0.0{number}", "93": f"0.{9 - number}"}) for number, name in enumerate(NAMES, start=1)}

targets = st.lists(st.sampled_from(NAMES), min_size=1, unique=True)
# few digits, so that prefixes lie in one another and numbers meet them
digits = st.text("12", min_size=1, max_size=6)
numbers = digits.map(lambda text: f"+{text}99")
qualities = st.dictionaries(
    st.sampled_from(NAMES),
    st.builds(Quality, st.integers(1, 300), st.floats(0, 1), st.none() | st.floats(0, 600)),
)
views = st.builds(View, st.sets(st.sampled_from(NAMES)), qualities)


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    """A rule of any kind that may be written."""
    rule: dict[str, Any] = {}
    if draw(st.booleans()):
        rule["countries"] = draw(st.lists(st.sampled_from(["AF", "PK"]), min_size=1, unique=True))
    if draw(st.booleans()):
        rule["accounts"] = [str(UUID(int=number)) for number in draw(st.sets(st.integers(1, 3), min_size=1))]
    if draw(st.booleans()):
        rule["senders"] = draw(st.lists(st.sampled_from(["Ghasi", "G*", "4711", "kind:none"]), min_size=1))
    kind = draw(st.sampled_from(["none", "list", "table"]))
    if kind == "list":
        rule["prefixes"] = draw(st.lists(digits, min_size=1, unique=True))
    if kind == "table":
        rule["prefixes"] = draw(st.dictionaries(digits, targets, min_size=1))
    else:
        rule["to"] = draw(targets)
    if draw(st.integers(0, 9)) == 0 and kind != "table":
        del rule["to"]
        return rule | {"reject": True}
    rule["strategy"] = draw(st.sampled_from(["failover", "weighted", "least_cost", "quality"]))
    if rule["strategy"] == "weighted":
        table = rule.get("prefixes")
        names = sorted({name for to in table.values() for name in to}) if isinstance(table, dict) else rule["to"]
        rule["weights"] = {name: draw(st.integers(1, 5)) for name in names}
    if draw(st.booleans()):
        rule["min_delivery_rate"] = draw(st.floats(0, 1))
    return rule


def compiled(written: list[dict[str, Any]]) -> Routes:
    named = [{"name": f"r{number}"} | rule for number, rule in enumerate(written)]
    return Routes(msgspec.convert(named, list[RouteConfiguration]), NAMES, COSTS)


def longest(table: Mapping[str, Any] | list[str], number: str) -> str | None:
    fitting = [prefix for prefix in table if number[1:].startswith(prefix)]
    return max(fitting, key=len, default=None)


def naive_targets(rule: dict[str, Any], message: Asked) -> list[str] | None:
    """Look at one rule as the page says it; None where it does not match, and no target where it rejects."""
    if message.country not in rule.get("countries", [message.country]):
        return None
    if str(message.account_id) not in rule.get("accounts", [str(message.account_id)]):
        return None
    if "senders" in rule:
        sender, wanted = message.sender, rule["senders"]
        by_pattern = "G*" in wanted and sender is not None and sender.startswith("G")
        if not (sender in wanted or by_pattern or ("kind:none" in wanted and sender is None)):
            return None
    if "prefixes" in rule:
        prefix = longest(rule["prefixes"], message.to)
        if prefix is None:
            return None
        if isinstance(rule["prefixes"], dict):
            return list(rule["prefixes"][prefix])
    return [] if rule.get("reject") else list(rule["to"])


messages = st.builds(
    asked,
    numbers,
    country=st.sampled_from(["AF", "PK", "DE", None]),
    account_id=st.integers(1, 4).map(lambda number: UUID(int=number)),
    sender=st.sampled_from(["Ghasi", "Gul", "4711", "Bank", None]),
    seed=st.uuids(),
)


@given(
    written=st.lists(rules(), min_size=1, max_size=8), asked_of=st.lists(messages, min_size=1, max_size=5), view=views
)
def test_a_decision_is_the_first_matching_rules_and_its_candidates_are_all_of_its_carriers(
    written: list[dict[str, Any]], asked_of: list[Asked], view: View
) -> None:
    routing = compiled(written)
    for message in asked_of:
        decision = routing.decide(message, view)
        naive = [naive_targets(rule, message) for rule in written]
        number = next((number for number, to in enumerate(naive) if to is not None), None)
        expected = [] if number is None else naive[number]
        assert decision.rule == (None if number is None else f"r{number}")
        assert decision.rejected == (number is not None and not expected)
        # a permutation: nobody twice, nobody left out
        assert sorted(decision.candidates) == sorted(expected or [])
        # usable ones before those that are not
        up = [view.usable(name) for name in decision.candidates]
        assert up == sorted(up, reverse=True)
        # the same again, by rules that are compiled anew and have seen no other message too
        assert routing.decide(message, view) == decision == compiled(written).decide(message, view)
        explained = routing.explain(message, view)
        assert explained.decision == decision
        assert tuple(one.carrier for one in explained.candidates) == decision.candidates
        assert [step.matched for step in explained.steps] == [to is not None for to in naive[: len(explained.steps)]]


@given(table=st.dictionaries(digits, st.integers(0, 99), min_size=1), country=st.sampled_from(["AF", "PK"]), to=numbers)
def test_a_price_is_the_longest_prefixs_then_the_countrys_then_the_others(
    table: dict[str, int], country: str, to: str
) -> None:
    costs = CostTable({prefix: f"0.{cents:02}" for prefix, cents in table.items()} | {"AF": "1", "*": "2"})
    prefix = longest(table, to)
    expected = f"0.{table[prefix]:02}" if prefix is not None else "1" if country == "AF" else "2"
    assert str(costs.of(to, country)) == expected


minutes = st.integers(0, 24 * 60 - 1)


@given(
    begin=minutes,
    end=st.integers(0, 24 * 60),
    days=st.sets(st.integers(0, 6), min_size=1),
    zone=st.sampled_from(
        ["UTC", "Asia/Kabul", "Asia/Tehran", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]
    ),
    # the clocks of 2026 are set forward and back within these, and the seconds are looked at around it
    at=st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1))  # noqa: DTZ001 - made aware below
    | st.builds(
        lambda day, second: datetime.combine(day, time()) + timedelta(seconds=second),
        st.sampled_from([date(2026, 3, 8), date(2026, 3, 29), date(2026, 4, 4), date(2026, 10, 25), date(2026, 11, 1)]),
        st.integers(0, 86_399),
    ),
)
def test_hours_are_those_of_the_clock_on_the_wall(
    begin: int, end: int, days: set[int], zone: str, at: datetime
) -> None:
    if begin == end:
        return
    hours = f"{begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02}"
    rule = {"hours": hours, "days": [DAYS[day] for day in sorted(days)], "time_zone": zone, "to": "a"}
    instant = at.replace(tzinfo=UTC)
    wall = instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    # the oracle: each span as two points on the wall's clock, begun today or yesterday
    spans = []
    for back in (0, 1):
        day = wall.date() - timedelta(days=back)
        if day.weekday() in days:
            midnight = datetime.combine(day, time())
            over = timedelta(days=1 if end < begin else 0)
            spans.append((midnight + timedelta(minutes=begin), midnight + over + timedelta(minutes=end)))
    expected = any(start <= wall < stop for start, stop in spans)
    assert (compiled([rule]).decide(asked(at=instant), View()).rule == "r0") == expected
