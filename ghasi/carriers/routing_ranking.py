"""In which order the carriers of a rule are tried: by its strategy first, then by whether they do well and are up.

Owns the strategies. What is chosen by chance is chosen by the message's id, so that it is chosen alike every time.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from uuid import UUID

from ghasi.carriers.routing_conditions import RouteError
from ghasi.carriers.routing_costs import CostTable
from ghasi.carriers.routing_question import Asked, Quality, View
from ghasi.carriers.routing_rules import RouteConfiguration

Prefer = Callable[[Sequence[str], Asked, View], Sequence[str]]
LEAST_MESSAGES = 100
EXPLORED_SHARE = 0.05
"""Of the messages of a rule by quality: they try carriers that are not measured yet before those that are."""


class Ranking:
    """The order of one rule's carriers."""

    def __init__(self, rule: RouteConfiguration, carriers: Sequence[str], costs: Mapping[str, CostTable]) -> None:
        """Take a rule and all carriers that it names; raises RouteError."""
        self.least_messages = rule.min_messages or LEAST_MESSAGES
        self._least_rate, self._longest_s = rule.min_delivery_rate, rule.max_latency_s
        self._judges = self._least_rate is not None or self._longest_s is not None
        if rule.min_messages is not None and not self._judges and rule.strategy != "quality":
            raise RouteError(rule.name, "min_messages", "has no meaning without a condition or strategy of quality")
        if rule.weights is not None and rule.strategy != "weighted":
            raise RouteError(rule.name, "weights", 'has no meaning without strategy = "weighted"')
        self._prefer: Prefer | None
        match rule.strategy:
            case "weighted":
                self._prefer = _by_weight(rule, carriers)
            case "least_cost":
                self._prefer = _by_cost(rule, carriers, costs)
            case "quality":
                self._prefer = self._by_quality(rule)
            case "failover":
                self._prefer = None

    def order(self, carriers: Sequence[str], asked: Asked, view: View) -> tuple[str, ...]:
        """Return the same carriers, best first: up and good, up and below the rule's conditions, not up."""
        if len(carriers) == 1:
            return tuple(carriers)
        preferred = carriers if self._prefer is None else self._prefer(carriers, asked, view)
        good, below, away = [], [], []
        for carrier in preferred:
            if not view.usable(carrier):
                away.append(carrier)
            elif self._judges and self.fault(carrier, asked, view) is not None:
                below.append(carrier)
            else:
                good.append(carrier)
        return (*good, *below, *away)

    def fault(self, carrier: str, asked: Asked, view: View) -> str | None:
        """Return by which of the rule's conditions a carrier does too badly, None if it does well or is not known."""
        quality = view.quality(carrier, asked.country) if self._judges else None
        if quality is None or quality.messages < self.least_messages:
            return None
        if self._least_rate is not None and quality.delivery_rate < self._least_rate:
            return "min_delivery_rate"
        if self._longest_s is not None and (quality.latency_s or 0.0) > self._longest_s:
            return "max_latency_s"
        return None

    def _by_quality(self, rule: RouteConfiguration) -> Prefer:
        chance = _Chance(rule.name, "")

        def prefer(carriers: Sequence[str], asked: Asked, view: View) -> Sequence[str]:
            measured: list[tuple[tuple[float, float], str]] = []
            unmeasured: list[str] = []
            for carrier in carriers:
                quality = view.quality(carrier, asked.country)
                if quality is None or quality.messages < self.least_messages:
                    unmeasured.append(carrier)
                else:
                    measured.append((_badness(quality), carrier))
            measured.sort(key=lambda one: one[0])
            known = [carrier for _, carrier in measured]
            # without this a carrier that nobody tries would never be measured, nor once again after it did badly
            if unmeasured and known and chance.of(asked.seed) < EXPLORED_SHARE:
                return unmeasured + known
            return known + unmeasured

        return prefer


def _badness(quality: Quality) -> tuple[float, float]:
    """Order by delivery rate in whole percent, then by latency."""
    return -round(quality.delivery_rate, 2), math.inf if quality.latency_s is None else quality.latency_s


class _Chance:
    """A number from 0 to 1 (both excluded) for each message, the same in every process and every time."""

    def __init__(self, route: str, carrier: str) -> None:
        self._salt = f"{route}\0{carrier}".encode()

    def of(self, seed: UUID) -> float:
        digest = blake2b(seed.bytes + self._salt, digest_size=8).digest()
        return ((int.from_bytes(digest) >> 12) + 0.5) / 2**52


def _by_weight(rule: RouteConfiguration, carriers: Sequence[str]) -> Prefer:
    """Order by weighted rendezvous hashing: first places fall in proportion to the weights.

    Where a carrier is away its share falls to the others in proportion to theirs, and no other message moves.
    """
    weights = rule.weights
    if weights is None:
        raise RouteError(rule.name, "weights", 'is missing; strategy = "weighted" needs one for each carrier')
    if unknown := [name for name in weights if name not in carriers]:
        raise RouteError(rule.name, "weights", f"{unknown[0]!r} is not among the carriers of the route")
    if missing := [name for name in carriers if name not in weights]:
        raise RouteError(rule.name, "weights", f"{missing[0]!r} has none")
    chances = {name: _Chance(rule.name, name) for name in carriers}

    def prefer(carriers: Sequence[str], asked: Asked, view: View) -> Sequence[str]:
        del view

        def distance(name: str) -> float:
            return -math.log(chances[name].of(asked.seed)) / weights[name] if weights[name] else math.inf

        return sorted(carriers, key=distance)

    return prefer


def _by_cost(rule: RouteConfiguration, carriers: Sequence[str], costs: Mapping[str, CostTable]) -> Prefer:
    if missing := [name for name in carriers if name not in costs]:
        raise RouteError(rule.name, "strategy", f"least_cost needs a table [costs.{missing[0]}]")

    def prefer(carriers: Sequence[str], asked: Asked, view: View) -> Sequence[str]:
        del view

        def cost(name: str) -> tuple[bool, float]:
            amount = costs[name].of(asked.to, asked.country)
            return amount is None, 0.0 if amount is None else float(amount)

        return sorted(carriers, key=cost)

    return prefer
