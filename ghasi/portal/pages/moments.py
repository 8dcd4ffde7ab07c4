"""Days and times as visitors type them and as their own zone has them: where a day begins and ends.

Owns how a day is read from a form or a URL. Knows nothing of what is asked about it.
"""

import re
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

YEARS = range(1970, 3000)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d{1,3})?)?", re.ASCII)
_LAST_SECOND = time(23, 59, 59)


def read_day(text: str) -> date | None:
    """Read what an input of type date sends; None for anything else."""
    try:
        day = date.fromisoformat(text) if _DAY.fullmatch(text) else None
    except ValueError:
        return None
    return day if day is not None and day.year in YEARS else None


def read_local_time(text: str, zone: ZoneInfo) -> datetime | None:
    """Read what an input of type datetime-local sends, in UTC; None for anything else."""
    try:
        at = datetime.fromisoformat(text) if _TIME.fullmatch(text) else None
    except ValueError:
        return None
    return at.replace(tzinfo=zone).astimezone(UTC) if at is not None and at.year in YEARS else None


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """Return when a day begins in a zone, in UTC; where clocks skip midnight, when they do."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def end_of_day(day: date, zone: ZoneInfo) -> datetime:
    """Return the last second of a zone's day, in UTC: written in the zone it still reads as that day."""
    return datetime.combine(day, _LAST_SECOND, zone).astimezone(UTC)
