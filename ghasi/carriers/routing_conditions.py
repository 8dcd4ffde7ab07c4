"""The conditions of a [[route]], compiled: each one tells whether it holds for a message, and what it wanted.

Owns what a condition's value means and the errors of values that mean nothing. Knows no carrier.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import re2

from ghasi.carriers.routing_costs import COUNTRIES
from ghasi.carriers.routing_question import Asked
from ghasi.carriers.routing_rules import RouteConfiguration
from ghasi.contract.values import zone_names

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
SENDER_KINDS = ("number", "short_code", "name", "none")
DAY_MINUTES = 24 * 60
_KIND = "kind:"


class RouteError(ValueError):
    """A [[route]] means nothing: which one, by which key, and why."""

    def __init__(self, route: str, key: str, reason: str) -> None:
        super().__init__(f"route {route!r}: `{key}`: {reason}")
        self.route, self.key, self.reason = route, key, reason


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition: its key in carriers.toml, what it wants and what a message has, in words, and whether it holds."""

    key: str
    wants: str
    has: Callable[[Asked], str]
    holds: Callable[[Asked], bool]


def compile_conditions(rule: RouteConfiguration) -> list[Condition]:
    """Return a rule's conditions but its prefixes, the cheapest first; raises RouteError."""
    made = (_countries(rule), _accounts(rule), _senders(rule), _hours(rule), _body(rule))
    return [condition for condition in made if condition is not None]


def _countries(rule: RouteConfiguration) -> Condition | None:
    if rule.countries is None:
        return None
    wanted = frozenset(rule.countries)
    if unknown := sorted(wanted - COUNTRIES):
        raise RouteError(rule.name, "countries", f"{unknown[0]} is no ISO 3166 country")
    return Condition(
        "countries", ", ".join(rule.countries), lambda asked: asked.country or "none", lambda it: it.country in wanted
    )


def _accounts(rule: RouteConfiguration) -> Condition | None:
    if rule.accounts is None:
        return None
    wanted = frozenset(rule.accounts)
    return Condition(
        "accounts",
        ", ".join(map(str, rule.accounts)),
        lambda it: str(it.account_id),
        lambda it: it.account_id in wanted,
    )


def sender_kind(sender: str | None) -> str:
    """Return what a sender is: number (E.164), short_code, name, or none where the carrier's default is used."""
    if sender is None:
        return "none"
    if sender.startswith("+"):
        return "number"
    return "short_code" if sender.isdigit() else "name"


def _senders(rule: RouteConfiguration) -> Condition | None:
    if rule.senders is None:
        return None
    exact: set[str] = set()
    kinds: set[str] = set()
    patterns: list[str] = []
    for one in rule.senders:
        if one.startswith(_KIND):
            kind = one.removeprefix(_KIND)
            if kind not in SENDER_KINDS:
                raise RouteError(rule.name, "senders", f"{one!r}: a kind is one of {', '.join(SENDER_KINDS)}")
            kinds.add(kind)
        elif "*" in one or "?" in one:
            # a sender has 16 characters at most, so that this engine's backtracking comes to nothing
            patterns.append(re.escape(one).replace(r"\*", ".*").replace(r"\?", "."))
        else:
            exact.add(one)
    pattern = re.compile("|".join(patterns), re.DOTALL) if patterns else None

    def holds(asked: Asked) -> bool:
        sender = asked.sender
        if sender in exact or (kinds and sender_kind(sender) in kinds):
            return True
        return pattern is not None and sender is not None and pattern.fullmatch(sender) is not None

    return Condition("senders", ", ".join(rule.senders), lambda it: "none" if it.sender is None else it.sender, holds)


def _body(rule: RouteConfiguration) -> Condition | None:
    if rule.body is None:
        return None
    options = re2.Options()
    options.log_errors = False
    try:
        pattern = re2.compile(rule.body, options=options)
    except re2.error as error:
        raw = error.args[0] if error.args else "is no regular expression"
        reason = raw.decode(errors="replace") if isinstance(raw, bytes) else str(raw)
        raise RouteError(
            rule.name, "body", f"{reason} (the syntax is RE2's: no back-references, no look-around)"
        ) from None
    return Condition(
        "body", rule.body, lambda it: f"{len(it.body)} characters", lambda it: bool(pattern.search(it.body))
    )


@dataclass(slots=True)
class Hours:
    """Spans of the day by a zone's clock, on some days; a span over midnight belongs to the day on which it begins.

    By the clock: where it is set back, the hour that comes twice is in its span both times.
    """

    zone: ZoneInfo
    spans: tuple[tuple[int, int], ...]
    """Minutes from midnight; the end is excluded, and before the start where the span goes over midnight."""
    days: frozenset[int]
    """0 is Monday."""
    _at: datetime | None = None
    _answer: bool = False

    def include(self, at: datetime) -> bool:
        """Return whether an aware time is in one of the spans."""
        # messages of one claim are asked with one and the same time
        if at is not self._at:
            local = at.astimezone(self.zone)
            minute, day = local.hour * 60 + local.minute, local.weekday()
            self._answer = any(self._in_span(begin, end, minute, day) for begin, end in self.spans)
            self._at = at
        return self._answer

    def _in_span(self, begin: int, end: int, minute: int, day: int) -> bool:
        if begin < end:
            return begin <= minute < end and day in self.days
        return (minute >= begin and day in self.days) or (minute < end and (day - 1) % 7 in self.days)


def _hours(rule: RouteConfiguration) -> Condition | None:
    if rule.hours is None and rule.days is None:
        if rule.time_zone is not None:
            raise RouteError(rule.name, "time_zone", "has no meaning without `hours` or `days`")
        return None
    name = "UTC" if rule.time_zone is None else rule.time_zone
    if name != "UTC" and name not in zone_names():
        raise RouteError(rule.name, "time_zone", f"{name!r} is no IANA time zone such as Asia/Kabul")
    zone = ZoneInfo(name)
    written = [rule.hours] if isinstance(rule.hours, str) else rule.hours or ["00:00-24:00"]
    hours = Hours(zone, tuple(_span(rule.name, one) for one in written), _days(rule))
    wants = f"{', '.join(rule.days or [])} {', '.join(written)} {name}".strip()
    return Condition(
        "hours" if rule.hours is not None else "days",
        wants,
        lambda it: f"{it.at.astimezone(zone):%a %H:%M} {name}",
        lambda it: hours.include(it.at),
    )


def _span(route: str, written: str) -> tuple[int, int]:
    begin, end = (int(time[:2]) * 60 + int(time[3:]) for time in written.split("-"))
    if begin >= DAY_MINUTES or end > DAY_MINUTES:
        raise RouteError(route, "hours", f"{written!r}: a day has the times 00:00 to 24:00")
    if begin == end:
        raise RouteError(route, "hours", f"{written!r} is empty; the whole day is 00:00-24:00")
    return begin, end


def _days(rule: RouteConfiguration) -> frozenset[int]:
    if rule.days is None:
        return frozenset(range(7))
    found: set[int] = set()
    for one in rule.days:
        first, _, last = one.partition("-")
        begin = DAYS.index(first)
        found.update((begin + ahead) % 7 for ahead in range((DAYS.index(last or first) - begin) % 7 + 1))
    return frozenset(found)
