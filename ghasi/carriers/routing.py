"""Which carriers may take a message, best first: the first [[route]] whose conditions all hold decides.

Owns the rules of carriers.toml once they are compiled, and the explanation of a decision. Never waits, opens nothing
and knows carriers by name alone; what it must know of them now it asks its View.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from ghasi.carriers.routing_conditions import RouteError, compile_conditions
from ghasi.carriers.routing_costs import CostTable
from ghasi.carriers.routing_question import Asked, Quality, View
from ghasi.carriers.routing_ranking import Ranking
from ghasi.carriers.routing_rules import RouteConfiguration, Targets

__all__ = [
    "Asked",
    "Checked",
    "Decision",
    "Explanation",
    "Quality",
    "Ranked",
    "RouteError",
    "Routes",
    "Step",
    "View",
]


STEADY = frozenset({"accounts", "senders", "countries"})
"""Conditions that hold alike for all messages of one account, sender and country, of which there are not many."""
MOST_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Decision:
    """Which carriers may take a message, best first; those that are not up come last, and are waited for.

    No candidates: the message fails, with not_permitted if it was `rejected` by a rule, else with no_route.
    `overflow`: while the best one that is up has no room, the next one may take it. `rule` is None where no rule
    matched, and where there are none, so that every carrier may take it.
    """

    rule: str | None
    candidates: tuple[str, ...]
    overflow: bool = False
    rejected: bool = False


@dataclass(frozen=True, slots=True)
class Checked:
    """One condition of a rule: what it wants, what the message has, and whether it holds."""

    key: str
    wants: str
    has: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Step:
    """One rule that was looked at."""

    rule: str
    matched: bool
    conditions: tuple[Checked, ...]


@dataclass(frozen=True, slots=True)
class Ranked:
    """One candidate, and why it has its place. `fault` is the rule's condition of quality that it does not meet."""

    carrier: str
    usable: bool
    cost: Decimal | None
    """Of one segment."""
    quality: Quality | None
    fault: str | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision, rule by rule up to the one that decided, and its candidates in order."""

    decision: Decision
    steps: tuple[Step, ...]
    candidates: tuple[Ranked, ...]


class Rule:
    """A [[route]], compiled."""

    def __init__(self, written: RouteConfiguration, known: Sequence[str], costs: Mapping[str, CostTable]) -> None:
        """Take a rule and the names of all carriers there are; raises RouteError."""
        self.name = written.name
        self.overflow = written.overflow
        self.rejects = written.reject
        self.conditions = compile_conditions(written)
        self._to = _targets(written, "to", written.to, known)
        self.prefixes = _compile_prefixes(written, self._to, known)
        self._lengths = sorted({len(prefix) for prefix in self.prefixes or ()}, reverse=True)
        _check_end(written)
        every = dict.fromkeys(name for targets in (self._to, *(self.prefixes or {}).values()) for name in targets)
        self.carriers: tuple[str, ...] = tuple(every)
        self.ranking = Ranking(written, self.carriers, costs)
        if written.weights is not None:
            for targets in (self.prefixes or {}).values() or [self._to]:
                if not any(written.weights[name] for name in targets):
                    raise RouteError(self.name, "weights", f"{' and '.join(targets)}: one must be above 0")
        self._holds = tuple(condition.holds for condition in self.conditions)
        self._fits = tuple(condition.holds for condition in self.conditions if condition.key in STEADY)
        self.decides = len(self._fits) == len(self._holds)
        """Whether it matches each message that it fits and that has one of its prefixes, whatever its text and time."""

    def fits(self, asked: Asked) -> bool:
        """Return whether the conditions hold that are about account, sender and country."""
        return all(holds(asked) for holds in self._fits)

    def match(self, asked: Asked) -> tuple[str, ...] | None:
        """Return the carriers that the rule leads a message to, None when the rule does not match it."""
        for holds in self._holds:
            if not holds(asked):
                return None
        if self.prefixes is None:
            return self._to
        prefix = self.longest_prefix(asked.to)
        return None if prefix is None else self.prefixes[prefix]

    def longest_prefix(self, number: str) -> str | None:
        """Return the longest of the rule's prefixes that a number (E.164 with +) begins with."""
        if self.prefixes is not None:
            for length in self._lengths:
                prefix = number[1 : length + 1]
                if prefix in self.prefixes:
                    return prefix
        return None

    def explain(self, asked: Asked) -> Step:
        """Return whether each condition holds."""
        checked = [Checked(one.key, one.wants, one.has(asked), one.holds(asked)) for one in self.conditions]
        if self.prefixes is not None:
            prefix = self.longest_prefix(asked.to)
            wants = f"one of {len(self.prefixes)}" if len(self.prefixes) > 5 else ", ".join(self.prefixes)  # noqa: PLR2004 - what a line holds
            checked.append(Checked("prefixes", wants, asked.to if prefix is None else prefix, prefix is not None))
        return Step(self.name, all(one.holds for one in checked), tuple(checked))


class Routes:
    """All rules in their order, kept so that only those that may match are looked at."""

    def __init__(
        self,
        routes: Sequence[RouteConfiguration],
        carriers: Sequence[str],
        costs: Mapping[str, CostTable] | None = None,
    ) -> None:
        """Compile the rules for the carriers of these names, in the file's order; raises RouteError.

        Without rules there is an implied one: all carriers in their order, with overflow.
        """
        self.carriers = tuple(carriers)
        self._costs = costs or {}
        self.rules = [Rule(one, self.carriers, self._costs) for one in routes]
        self._implied = Ranking(RouteConfiguration(name="implied"), self.carriers, {})
        self._by_prefix: dict[str, list[int]] = defaultdict(list)
        for number, rule in enumerate(self.rules):
            for prefix in rule.prefixes or ():
                self._by_prefix[prefix].append(number)
        self._prefix_lengths = sorted({len(prefix) for prefix in self._by_prefix})
        self._remembered: dict[tuple[UUID, str | None, str | None], list[int]] = {}

    def decide(self, asked: Asked, view: View) -> Decision:
        """Return the carriers that may take a message, best first."""
        if not self.rules:
            return Decision(None, self._implied.order(self.carriers, asked, view), overflow=True)
        for number in self._may_match(asked):
            rule = self.rules[number]
            targets = rule.match(asked)
            if targets is not None:
                if rule.rejects:
                    return Decision(rule.name, (), rejected=True)
                return Decision(rule.name, rule.ranking.order(targets, asked, view), rule.overflow)
        return Decision(None, ())

    def explain(self, asked: Asked, view: View) -> Explanation:
        """Return what `decide` returns, and why."""
        decision = self.decide(asked, view)
        steps: list[Step] = []
        ranking = self._implied
        for rule in self.rules:
            steps.append(rule.explain(asked))
            if rule.name == decision.rule:
                ranking = rule.ranking
                break
        ranked = [
            Ranked(
                name,
                view.usable(name),
                self._costs[name].of(asked.to, asked.country) if name in self._costs else None,
                view.quality(name, asked.country),
                ranking.fault(name, asked, view),
            )
            for name in decision.candidates
        ]
        return Explanation(decision, tuple(steps), tuple(ranked))

    def unreachable(self) -> list[tuple[str, str]]:
        """Return rules that never decide, each behind the one without conditions that comes before it."""
        ends = [number for number, rule in enumerate(self.rules) if _takes_all(rule)]
        return [(self.rules[ends[0]].name, rule.name) for rule in self.rules[ends[0] + 1 :]] if ends else []

    def has_last(self) -> bool:
        """Return whether every message is matched by some rule."""
        return not self.rules or any(map(_takes_all, self.rules))

    def _may_match(self, asked: Asked) -> Sequence[int]:
        """Return, in order, the rules that may match: those with a fitting prefix, and those that ask for none."""
        key = (asked.account_id, asked.sender, asked.country)
        without = self._remembered.get(key)
        if without is None:
            if len(self._remembered) >= MOST_REMEMBERED:
                self._remembered.clear()
            without = self._remembered[key] = self._list_without_prefixes(asked)
        found: list[int] = []
        for length in self._prefix_lengths:
            if length < len(asked.to):  # it begins with +
                found += self._by_prefix.get(asked.to[1 : length + 1], ())
        if not found:
            return without
        found += without
        found.sort()
        return found

    def _list_without_prefixes(self, asked: Asked) -> list[int]:
        """Return the rules without prefixes that fit an account, a sender and a country, to the first that decides."""
        found = []
        for number, rule in enumerate(self.rules):
            if rule.prefixes is None and rule.fits(asked):
                found.append(number)
                if rule.decides:
                    break
        return found


def _takes_all(rule: Rule) -> bool:
    return not rule.conditions and rule.prefixes is None


def _targets(rule: RouteConfiguration, key: str, written: Targets | None, known: Sequence[str]) -> tuple[str, ...]:
    names = () if written is None else (written,) if isinstance(written, str) else tuple(written)
    for number, name in enumerate(names):
        if name not in known:
            raise RouteError(rule.name, key, f"there is no carrier {name!r}; there are {', '.join(known)}")
        if name in names[:number]:
            raise RouteError(rule.name, key, f"{name!r} is there twice")
    return names


def _compile_prefixes(
    rule: RouteConfiguration, to: tuple[str, ...], known: Sequence[str]
) -> dict[str, tuple[str, ...]] | None:
    """Return the carriers by prefix, without +; None for a rule without prefixes."""
    if rule.prefixes is None:
        return None
    if not rule.prefixes:
        raise RouteError(rule.name, "prefixes", "is empty")
    compiled: dict[str, tuple[str, ...]] = {}
    for written in rule.prefixes:
        prefix = written.removeprefix("+")
        if prefix in compiled:
            raise RouteError(rule.name, "prefixes", f"{prefix} is there twice")
        table = rule.prefixes
        compiled[prefix] = _targets(rule, "prefixes", table[written], known) if isinstance(table, dict) else to
    return compiled


def _check_end(rule: RouteConfiguration) -> None:
    """Check that a rule says where its messages go, once."""
    table = isinstance(rule.prefixes, dict)
    if rule.reject:
        idle = [key for key in ("to", "weights", "min_delivery_rate", "max_latency_s", "min_messages")
                if getattr(rule, key) is not None]  # fmt: skip
        if idle or table or rule.overflow or rule.strategy != "failover":
            raise RouteError(rule.name, "reject", "a route that rejects leads to no carrier")
    elif table and rule.to is not None:
        raise RouteError(rule.name, "to", "has no meaning where `prefixes` says the carriers of each prefix")
    elif not table and rule.to is None:
        raise RouteError(rule.name, "to", "is missing; name a carrier or several, or write reject = true")
