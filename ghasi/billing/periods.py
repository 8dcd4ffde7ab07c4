"""Quarters of an hour, and the hours, days and months of a time zone: where they begin and end.

Pure functions. Usage is kept by quarter of an hour, since all zones' offsets from UTC are whole quarters (in this
century, as the IANA database has it): so a day of Kabul (+04:30) or Kathmandu (+05:45) has whole rows of it. Bounds
are moments; where a zone's clocks are turned a day has 23 or 25 hours, and a midnight that a day has twice is the
first of them. Invoices are made by UTC month alone.
"""

import re
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

from ghasi.billing.model import PeriodError

Granularity = Literal["hour", "day", "month"]
FIRST_YEAR, LAST_YEAR = 2000, 2100
"""Years that billing speaks of; beyond them is a mistake."""
QUARTER = timedelta(minutes=15)
_MONTH = re.compile(r"(?P<year>\d{4})-(?P<month>0[1-9]|1[0-2])", re.ASCII)


def quarter_start(at: datetime) -> datetime:
    """Return the beginning of the quarter of an hour, in UTC."""
    if at.tzinfo is not UTC:
        at = at.astimezone(UTC)
    return datetime(at.year, at.month, at.day, at.hour, at.minute // 15 * 15, tzinfo=UTC)  # quicker than replace()


@lru_cache(maxsize=1024)
def month_of(at: datetime) -> date:
    """Return the first day of the UTC month of a time in UTC."""
    return at.date().replace(day=1)


def day_start(day: date, zone: ZoneInfo) -> datetime:
    """Return the first moment of a day in a zone, in UTC."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def local_day(at: datetime, zone: ZoneInfo) -> date:
    """Return the day it is in a zone."""
    return at.astimezone(zone).date()


def month_start(at: datetime, zone: ZoneInfo) -> datetime:
    """Return the beginning of the month in a zone, in UTC."""
    return day_start(local_day(at, zone).replace(day=1), zone)


def period_end(at: datetime, granularity: Granularity, zone: ZoneInfo) -> datetime:
    """Return where the zone's hour, day or month that a moment lies in ends and the next one begins, in UTC."""
    local = at.astimezone(zone)
    if granularity == "hour":
        return at.astimezone(UTC) + timedelta(hours=1) - timedelta(minutes=local.minute, seconds=local.second)
    day = local.date()
    while True:  # once, but where the zone left a day out, as Samoa did in 2011
        day = (
            day + timedelta(days=1)
            if granularity == "day"
            else (day.replace(day=1) + timedelta(days=31)).replace(day=1)
        )
        if (end := day_start(day, zone)) > at:
            return end


def bounds_of(since: datetime, until: datetime, granularity: Granularity, zone: ZoneInfo) -> list[datetime]:
    """Return where the periods of a range begin, and its end; the first and the last are cut off by the range."""
    bounds = [since]
    while (end := period_end(bounds[-1], granularity, zone)) < until:
        bounds.append(end)
    return [*bounds, until]


def month_bounds(day: date) -> tuple[datetime, datetime]:
    """Return the first moment of the UTC month that a UTC day is in, and the next month's."""
    start = datetime(day.year, day.month, 1, tzinfo=UTC)
    return start, (start + timedelta(days=31)).replace(day=1)


def parse_month(text: str) -> tuple[datetime, datetime]:
    """Read YYYY-MM as its first moment in UTC and the next month's; raises PeriodError."""
    match = _MONTH.fullmatch(text)
    if match is None or not FIRST_YEAR <= int(match["year"]) <= LAST_YEAR:
        raise PeriodError(f"not a month: {text!r}; write YYYY-MM, for example 2026-11")
    return month_bounds(date(int(match["year"]), int(match["month"]), 1))
