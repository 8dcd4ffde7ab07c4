"""Rules, one by one: what each condition holds for, in which order each strategy puts carriers, and what is refused."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest

from ghasi.carriers.routing import Asked, Decision, Quality, RouteError, Routes
from ghasi.carriers.routing_costs import CostTable
from ghasi.carriers.routing_rules import RouteConfiguration
from ghasi.contract.values import new_id

NAMES = ("a", "b", "c")
ACCOUNT = UUID("0192f0c1-2f6e-7d5a-9a53-6d1f0a7c1b11")
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)  # a Monday


@dataclass
class View:
    """Carriers as a test wants them."""

    away: set[str] = field(default_factory=set)
    qualities: Mapping[str, Quality] = field(default_factory=dict)

    def usable(self, carrier: str) -> bool:
        return carrier not in self.away

    def quality(self, carrier: str, country: str | None) -> Quality | None:
        return self.qualities.get(carrier) if country == "AF" else None


UP = View()


def asked(to: str = "+93701234567", **given: Any) -> Asked:
    known: dict[str, Any] = {
        "country": "AF", "sender": "Ghasi", "account_id": ACCOUNT, "body": "hello", "segments": 1, "at": NOON,
        "seed": new_id(),
    }  # fmt: skip
    return Asked(to, **known | given)


def routes(*rules: dict[str, Any], costs: Mapping[str, Mapping[str, str]] | None = None) -> Routes:
    written = [msgspec.convert({"name": f"r{number}"} | rule, RouteConfiguration) for number, rule in enumerate(rules)]
    return Routes(written, NAMES, {name: CostTable(table) for name, table in (costs or {}).items()})


def test_without_rules_every_carrier_may_take_every_message_in_order_and_overflows() -> None:
    assert routes().decide(asked(), UP) == Decision(None, NAMES, overflow=True)
    assert routes().decide(asked(), View({"a"})).candidates == ("b", "c", "a")


def test_the_first_rule_that_matches_decides_and_none_is_no_route() -> None:
    two = routes(
        {"countries": ["PK"], "to": "a"}, {"countries": ["AF", "IR"], "to": "b"}, {"countries": ["AF"], "to": "c"}
    )
    assert two.decide(asked(), UP) == Decision("r1", ("b",))
    assert two.decide(asked(country="DE"), UP) == Decision(None, ())
    assert two.decide(asked(country=None), UP) == Decision(None, ())


def test_a_rule_that_rejects_has_no_candidates() -> None:
    assert routes({"prefixes": ["9370"], "reject": True}, {"to": "a"}).decide(asked(), UP) == Decision(
        "r0", (), rejected=True
    )


@pytest.mark.parametrize(
    ("rule", "given", "holds"),
    [
        ({"senders": ["Ghasi"]}, {}, True),
        ({"senders": ["ghasi"]}, {}, False),
        ({"senders": ["Gh*"]}, {}, True),
        ({"senders": ["*as?", "x"]}, {}, True),
        ({"senders": ["G*x"]}, {}, False),
        ({"senders": ["G.*"]}, {}, False),
        ({"senders": ["*"]}, {"sender": None}, False),
        ({"senders": ["kind:none"]}, {"sender": None}, True),
        ({"senders": ["kind:none"]}, {}, False),
        ({"senders": ["kind:name"]}, {}, True),
        ({"senders": ["kind:number"]}, {"sender": "+93701234567"}, True),
        ({"senders": ["kind:number"]}, {"sender": "4711"}, False),
        ({"senders": ["kind:short_code", "Bank"]}, {"sender": "4711"}, True),
        ({"accounts": [str(ACCOUNT)]}, {}, True),
        ({"accounts": [str(ACCOUNT)]}, {"account_id": UUID(int=1)}, False),
        ({"body": "(?i)HELLO|bye"}, {}, True),
        ({"body": "^ello"}, {}, False),
        ({"body": "سلام"}, {"body": "و سلام"}, True),
        ({"hours": "12:00-12:01"}, {}, True),
        ({"hours": "11:00-12:00"}, {}, False),
        ({"hours": ["01:00-02:00", "11:59-24:00"]}, {}, True),
        ({"hours": "16:30-16:31", "time_zone": "Asia/Kabul"}, {}, True),
        ({"days": ["mon"]}, {}, True),
        ({"days": ["sat-mon"]}, {}, True),
        ({"days": ["tue-sun"]}, {}, False),
        ({"hours": "20:00-12:30", "days": ["sun"]}, {}, True),
        ({"hours": "20:00-12:30", "days": ["mon"]}, {}, False),
        ({"prefixes": ["+9370"]}, {}, True),
        ({"prefixes": ["9371", "4"]}, {}, False),
        ({"countries": ["AF"], "senders": ["Ghasi"], "prefixes": ["93"], "body": "hell"}, {}, True),
        ({"countries": ["AF"], "senders": ["Ghasi"], "prefixes": ["93"], "body": "heaven"}, {}, False),
    ],
)
def test_a_condition_holds_or_not(rule: dict[str, Any], given: dict[str, Any], holds: bool) -> None:
    decision = routes(rule | {"to": "a"}).decide(asked(**given), UP)
    assert decision == (Decision("r0", ("a",)) if holds else Decision(None, ()))


def test_the_longest_prefix_of_a_table_tells_the_carriers_and_a_number_without_one_goes_on() -> None:
    table = routes({"prefixes": {"93": "a", "+9370": ["b", "c"], "937": "c"}}, {"to": "a", "overflow": True})
    assert table.decide(asked("+93701234567"), UP) == Decision("r0", ("b", "c"))
    assert table.decide(asked("+93711234567"), UP).candidates == ("c",)
    assert table.decide(asked("+93201234567"), UP).candidates == ("a",)
    assert table.decide(asked("+989123456789"), UP) == Decision("r1", ("a",), overflow=True)


def test_order_counts_before_the_length_of_a_prefix() -> None:
    assert routes({"prefixes": ["93"], "to": "a"}, {"prefixes": ["9370"], "to": "b"}).decide(asked(), UP).rule == "r0"


def test_failover_goes_by_the_list_and_who_is_away_comes_last() -> None:
    rule = routes({"to": ["c", "a", "b"]})
    assert rule.decide(asked(), UP).candidates == ("c", "a", "b")
    assert rule.decide(asked(), View({"c", "a"})).candidates == ("b", "c", "a")
    assert rule.decide(asked(), View(set(NAMES))).candidates == ("c", "a", "b")


def seeds(number: int) -> list[UUID]:
    return [UUID(int=0x0192_0000_0000_7000_8000_0000_0000_0000 + one) for one in range(number)]


def test_weights_are_shares_of_first_places_and_a_message_keeps_its_way() -> None:
    rule = routes({"to": ["a", "b", "c"], "strategy": "weighted", "weights": {"a": 6, "b": 3, "c": 1}})
    ways = {seed: rule.decide(asked(seed=seed), UP).candidates for seed in seeds(4000)}
    shares = Counter(way[0] for way in ways.values())
    # the ids are fixed, and so are the shares: 4 standard deviations are some 120
    for name, weight in (("a", 6), ("b", 3), ("c", 1)):
        assert abs(shares[name] - 400 * weight) < 120
    again = routes({"to": ["c", "a", "b"], "strategy": "weighted", "weights": {"c": 1, "b": 3, "a": 6}})
    for seed, way in ways.items():
        assert again.decide(asked(seed=seed), UP).candidates == way
    # without a only its own messages move, to b and c as 3 to 1
    without = {seed: rule.decide(asked(seed=seed), View({"a"})).candidates for seed in ways}
    assert all(without[seed][0] == way[0] for seed, way in ways.items() if way[0] != "a")
    moved = Counter(without[seed][0] for seed, way in ways.items() if way[0] == "a")
    assert abs(moved["b"] / moved.total() - 0.75) < 0.04


def test_a_weight_of_nothing_stands_by() -> None:
    rule = routes({"to": ["a", "b"], "strategy": "weighted", "weights": {"a": 0, "b": 5}})
    assert {rule.decide(asked(seed=seed), UP).candidates for seed in seeds(200)} == {("b", "a")}
    assert rule.decide(asked(), View({"b"})).candidates == ("a", "b")


def test_the_cheapest_goes_first_by_prefix_then_country_then_star() -> None:
    costs = {
        "a": {"AF": "0.0210", "+9370": "0.0190", "*": "0.05"},
        "b": {"AF": "0.0200", "937": "0.0300", "93799": "0.01"},
        "c": {"*": "0.0205"},
    }
    rule = routes({"to": ["c", "b", "a"], "strategy": "least_cost"}, costs=costs)
    assert rule.decide(asked("+93701234567"), UP).candidates == ("a", "c", "b")
    assert rule.decide(asked("+93201234567"), UP).candidates == ("b", "c", "a")
    assert rule.decide(asked("+93799123456"), UP).candidates == ("b", "c", "a")
    # b has no price for Germany
    assert rule.decide(asked("+4915112345678", country="DE"), UP).candidates == ("c", "a", "b")
    assert rule.decide(asked("+93201234567"), View({"b"})).candidates == ("c", "a", "b")
    assert CostTable(costs["a"]).of("+9370", "AF") == Decimal("0.0190")
    assert CostTable(costs["b"]).of("+881612345678", None) is None


def test_quality_goes_by_rate_then_latency_and_tries_those_it_does_not_know_now_and_then() -> None:
    rule = routes({"to": ["a", "b", "c"], "strategy": "quality"})
    view = View(qualities={"a": Quality(500, 0.9, 9.0), "b": Quality(500, 0.95, 3.0), "c": Quality(500, 0.954, 2.0)})
    assert {rule.decide(asked(seed=seed), view).candidates for seed in seeds(100)} == {("c", "b", "a")}
    view.qualities = {"a": Quality(500, 0.9, 9.0), "b": Quality(99, 1.0, 1.0)}
    firsts = Counter(rule.decide(asked(seed=seed), view).candidates for seed in seeds(2000))
    assert set(firsts) == {("a", "b", "c"), ("b", "c", "a")}
    assert 60 < firsts["b", "c", "a"] < 140
    assert rule.decide(asked(country="PK"), view).candidates == ("a", "b", "c")
    assert (
        routes({"to": ["a", "b"], "strategy": "quality", "min_messages": 50}).decide(asked(), view).candidates[0] == "b"
    )


def test_who_does_badly_goes_behind_the_others_but_before_those_who_are_away() -> None:
    rule = routes({"to": ["a", "b", "c"], "min_delivery_rate": 0.8, "max_latency_s": 10, "min_messages": 20})
    view = View(qualities={"a": Quality(20, 0.79, 1.0)})
    assert rule.decide(asked(), view).candidates == ("b", "c", "a")
    view.qualities = {"a": Quality(19, 0.1, 1.0), "b": Quality(20, 1.0, 10.1)}
    assert rule.decide(asked(), view).candidates == ("a", "c", "b")
    view.qualities = {"a": Quality(99, 0.0, None)}
    view.away = {"b", "c"}
    assert rule.decide(asked(), view).candidates == ("a", "b", "c")
    explained = rule.explain(asked(), view)
    assert [(one.carrier, one.usable, one.fault) for one in explained.candidates] == [
        ("a", True, "min_delivery_rate"), ("b", False, None), ("c", False, None),
    ]  # fmt: skip


def test_an_explanation_tells_each_rule_to_the_one_that_decided() -> None:
    rules = routes(
        {"countries": ["PK"], "senders": ["Ghasi"], "to": "a"},
        {"prefixes": {"93": "b", "9370": "c"}},
        {"to": "a"},
        costs={"c": {"*": "0.02"}},
    )
    explained = rules.explain(asked(), UP)
    assert explained.decision == rules.decide(asked(seed=UUID(int=1)), UP)
    first, second = explained.steps
    assert (first.rule, first.matched) == ("r0", False)
    assert [(one.key, one.wants, one.has, one.holds) for one in first.conditions] == [
        ("countries", "PK", "AF", False), ("senders", "Ghasi", "Ghasi", True),
    ]  # fmt: skip
    assert (second.matched, second.conditions[0].has) == (True, "9370")
    assert [(one.carrier, one.cost) for one in explained.candidates] == [("c", Decimal("0.02"))]
    none = routes({"countries": ["PK"], "to": "a"}).explain(asked(), UP)
    assert (none.decision.rule, none.candidates, len(none.steps)) == (None, (), 1)


@pytest.mark.parametrize(
    ("rule", "key", "why"),
    [
        ({}, "to", "is missing"),
        ({"to": "d"}, "to", "no carrier 'd'; there are a, b, c"),
        ({"to": ["a", "a"]}, "to", "twice"),
        ({"prefixes": {"93": "d"}}, "prefixes", "no carrier 'd'"),
        ({"prefixes": {"93": ["a", "a"]}}, "prefixes", "twice"),
        ({"prefixes": {"93": "a", "+93": "b"}}, "prefixes", "93 is there twice"),
        ({"prefixes": ["93", "93"], "to": "a"}, "prefixes", "twice"),
        ({"prefixes": {}}, "prefixes", "empty"),
        ({"prefixes": {"93": "a"}, "to": "b"}, "to", "no meaning"),
        ({"countries": ["UK"], "to": "a"}, "countries", "UK is no ISO 3166 country"),
        ({"senders": ["kind:robot"], "to": "a"}, "senders", "a kind is one of"),
        ({"body": "(a", "to": "a"}, "body", "missing )"),
        ({"body": r"(a)\1", "to": "a"}, "body", "no back-references"),
        ({"body": "(?=a)", "to": "a"}, "body", "no look-around"),
        ({"hours": "08:00-20:00", "time_zone": "Asia/Kabool", "to": "a"}, "time_zone", "no IANA time zone"),
        ({"hours": "08:00-20:00", "time_zone": "../../etc/passwd", "to": "a"}, "time_zone", "no IANA time zone"),
        ({"time_zone": "Asia/Kabul", "to": "a"}, "time_zone", "no meaning"),
        ({"hours": "24:00-25:00", "to": "a"}, "hours", "00:00 to 24:00"),
        ({"hours": "08:00-08:00", "to": "a"}, "hours", "empty"),
        ({"to": ["a", "b"], "strategy": "weighted"}, "weights", "missing"),
        ({"to": ["a", "b"], "strategy": "weighted", "weights": {"a": 1}}, "weights", "'b' has none"),
        ({"to": ["a"], "strategy": "weighted", "weights": {"a": 1, "b": 1}}, "weights", "'b' is not among"),
        ({"to": ["a", "b"], "strategy": "weighted", "weights": {"a": 0, "b": 0}}, "weights", "above 0"),
        ({"to": ["a", "b"], "weights": {"a": 1, "b": 1}}, "weights", "no meaning"),
        ({"to": ["a", "b"], "strategy": "least_cost"}, "strategy", "[costs.a]"),
        ({"to": "a", "min_messages": 10}, "min_messages", "no meaning"),
        ({"reject": True, "to": "a"}, "reject", "leads to no carrier"),
        ({"reject": True, "prefixes": {"93": "a"}}, "reject", "leads to no carrier"),
    ],
)
def test_a_rule_that_means_nothing_is_refused_by_route_and_key(rule: dict[str, Any], key: str, why: str) -> None:
    with pytest.raises(RouteError) as caught:
        routes({"to": "a"}, rule)
    assert (caught.value.route, caught.value.key) == ("r1", key)
    assert why in caught.value.reason


def test_an_expression_that_backtracking_would_choke_on_is_decided_at_once() -> None:
    rule = routes({"body": "^(a+)+$", "to": "a"}, {"to": "b"})
    assert rule.decide(asked(body="a" * 1500 + "!"), UP).rule == "r1"
