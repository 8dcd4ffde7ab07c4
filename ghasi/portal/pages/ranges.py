"""Ranges of days and months as a URL holds them, in the visitor's time zone.

Owns what may stand in the range's links and fields. Knows nothing of pages or of the API's answers.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from ghasi.portal.pages.moments import midnight, read_day

CHOICES = {
    "today": "Today", "7d": "7 days", "30d": "30 days", "90d": "90 days", "month": "This month", "custom": "Custom",
}  # fmt: skip
DAYS = {"today": 1, "7d": 7, "30d": 30, "90d": 90}
USUAL = "30d"
MOST_DAYS = 366
"""The API's longest range by day."""
YEARS = range(2001, 2100)
"""A day less at both ends than the API's, so that every zone's days lie within."""
MOST_MONTHS = 24
_MONTH = re.compile(r"\d{4}-\d{2}", re.ASCII)
_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Range:
    """Whole days of a zone, both included; `typed` and `errors` are of the custom range's fields, from and to."""

    choice: str
    first: date
    last: date
    zone: ZoneInfo
    typed: Mapping[str, str]
    errors: Mapping[str, str]

    @property
    def since(self) -> datetime:
        """The beginning, in UTC."""
        return midnight(self.first, self.zone)

    @property
    def until(self) -> datetime:
        """The end, which is not part of it, in UTC."""
        return midnight(self.last + _ONE_DAY, self.zone)

    @property
    def days(self) -> int:
        """How many days it has."""
        return (self.last - self.first).days + 1

    @property
    def granularity(self) -> Literal["hour", "day"]:
        """By what its course is shown."""
        return "hour" if self.days == 1 else "day"

    @property
    def before(self) -> str:
        """What the range is called that it is compared with."""
        if self.choice == "today":
            return "yesterday"
        return "the day before" if self.days == 1 else f"the {self.days} days before"

    @property
    def fields(self) -> dict[str, str]:
        """Its days as the custom range's fields have them."""
        return {"from": self.first.isoformat(), "to": self.last.isoformat()}

    def path(self, base: str, choice: str | None = None) -> str:
        """Return a path with this range in it, or with another choice."""
        chosen = choice or self.choice
        values = {} if chosen == USUAL else {"range": chosen}
        if chosen == "custom":
            values |= self.typed or self.fields
        return f"{base}?{urlencode(values)}" if values else base


def read_range(parameters: Mapping[str, str], now: datetime, zone: ZoneInfo) -> Range:
    """Read the range of a URL; whatever stands there, nothing is raised. `now` is in the zone."""
    choice = parameters.get("range", USUAL)
    if choice not in CHOICES:
        choice = USUAL
    today = now.astimezone(zone).date()
    typed = {name: value for name in ("from", "to") if (value := parameters.get(name, "").strip()[:32])}
    if choice == "month":
        return Range(choice, today.replace(day=1), today, zone, {}, {})
    if choice != "custom" or not typed:
        return Range(choice, today - (DAYS.get(choice, DAYS[USUAL]) - 1) * _ONE_DAY, today, zone, {}, {})
    days = {name: _day(typed.get(name, "")) for name in ("from", "to")}
    errors = {name: "Enter a day such as 2026-11-22." for name, day in days.items() if day is None}
    first, last = days["from"] or today, days["to"] or today
    if not errors and last < first:
        errors["to"] = "This is before the first day."
    elif not errors and last - first >= MOST_DAYS * _ONE_DAY:
        errors["to"] = f"A range has at most {MOST_DAYS} days."
    return Range(choice, first, last, zone, typed, errors)


def _day(text: str) -> date | None:
    day = read_day(text)
    return day if day is not None and day.year in YEARS else None


def read_month(text: str | None, today: date) -> date:
    """Return the first day of the month that a URL names, and of the running month for anything else."""
    running = today.replace(day=1)
    day = _day(f"{text}-01") if text is not None and _MONTH.fullmatch(text) else None
    return day if day is not None and day <= running else running


def months_until(today: date, chosen: date) -> list[date]:
    """Return the months to choose from, the running one first."""
    count = today.year * 12 + today.month - 1
    months = [date((count - back) // 12, (count - back) % 12 + 1, 1) for back in range(MOST_MONTHS)]
    return months if chosen in months else [*months, chosen]


def next_month(month: date) -> date:
    """Return the first day of the month after."""
    return (month + 31 * _ONE_DAY).replace(day=1)
