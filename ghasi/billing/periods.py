"""Hours, days and months in UTC: where they begin and end.

Pure functions. Billing knows no other time zone.
"""

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Literal

from ghasi.billing.model import PeriodError

Granularity = Literal["hour", "day", "month"]
FIRST_YEAR, LAST_YEAR = 2000, 2100
"""Years that billing speaks of; beyond them is a mistake."""
_MONTH = re.compile(r"(?P<year>\d{4})-(?P<month>0[1-9]|1[0-2])", re.ASCII)


def hour_start(at: datetime) -> datetime:
    """Return the beginning of the hour in UTC."""
    if at.tzinfo is not UTC:
        at = at.astimezone(UTC)
    return datetime(at.year, at.month, at.day, at.hour, tzinfo=UTC)  # quicker than replace()


@lru_cache(maxsize=1024)
def month_of(hour: datetime) -> date:
    """Return the first day of the month of an hour in UTC."""
    return hour.date().replace(day=1)


def month_start(at: datetime) -> datetime:
    """Return the beginning of the month in UTC."""
    return at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def period_end(start: datetime, granularity: Granularity) -> datetime:
    """Return where the period that begins at `start` ends and the next one begins."""
    if granularity == "hour":
        return start + timedelta(hours=1)
    if granularity == "day":
        return start + timedelta(days=1)
    return month_start(start + timedelta(days=31))


def parse_month(text: str) -> tuple[datetime, datetime]:
    """Read YYYY-MM as its first moment and the next month's; raises PeriodError."""
    match = _MONTH.fullmatch(text)
    if match is None or not FIRST_YEAR <= int(match["year"]) <= LAST_YEAR:
        raise PeriodError(f"not a month: {text!r}; write YYYY-MM, for example 2026-11")
    start = datetime(int(match["year"]), int(match["month"]), 1, tzinfo=UTC)
    return start, period_end(start, "month")
