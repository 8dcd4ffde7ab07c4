"""The filters of the message list as a URL holds them: read, checked, and put in the API's terms.

Owns what may stand in the filter form's fields. Knows nothing of pages or of the API's answers.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, get_args
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from ghasi.contract.shapes import Direction, MessageStatus
from ghasi.portal.pages.moments import midnight, read_day

STATUSES: tuple[MessageStatus, ...] = get_args(MessageStatus)
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
FIELDS = ("direction", "status", "to", "from", "reference", "since", "until")
"""The form's inputs and the URL's parameters; `since` and `until` are days of the visitor's, both included."""
DAYS = ("since", "until")
LONGEST = {"to": 32, "from": 32, "reference": 255}
_WRITTEN_NUMBER = re.compile(r"\+?[\d\s().\-/\u00a0]+")
_AROUND_DIGITS = re.compile(r"[\s().\-/\u00a0]")


@dataclass(frozen=True, slots=True)
class Filters:
    """What was asked for: `typed` as it stands in the fields, `errors` by field, `arguments` for list_messages."""

    typed: Mapping[str, str]
    errors: Mapping[str, str]
    arguments: Mapping[str, Any]

    @property
    def values(self) -> dict[str, str]:
        """What the fields hold: a date field takes dates alone."""
        kept = {name: self.typed.get(name, "") for name in FIELDS}
        return kept | {name: "" for name in DAYS if read_day(kept[name]) is None}

    def path(self, base: str) -> str:
        """Return a path with the filters."""
        return f"{base}?{urlencode(self.typed)}" if self.typed else base


def read_filters(parameters: Mapping[str, str], zone: ZoneInfo) -> Filters:
    """Read the filters of a URL; whatever stands there, nothing is raised."""
    typed = {name: value for name in FIELDS if (value := parameters.get(name, "").strip())}
    errors: dict[str, str] = {}
    arguments: dict[str, Any] = {}
    for name, value in typed.items():
        if fault := find_fault(name, value):
            errors[name] = fault
        elif name == "status" and value not in STATUSES:
            errors[name] = "There is no such status."
        elif name == "direction" and value not in DIRECTIONS:
            errors[name] = "There is no such direction."
    arguments["direction"] = typed.get("direction")
    arguments["status"] = typed.get("status")
    arguments["to"] = _number(typed.get("to"))
    arguments["sender"] = _sender(typed.get("from"))
    arguments["reference"] = typed.get("reference")
    since, until = (_day(typed, name, errors) for name in DAYS)
    if since and until and until < since:
        errors["until"] = "This is before the first day."
    if since:
        # the API's bounds are exclusive, and ids are made to the millisecond
        arguments["created_after"] = midnight(since, zone) - timedelta(milliseconds=1)
    if until:
        arguments["created_before"] = midnight(until + timedelta(days=1), zone)
    return Filters(typed, errors, arguments)


def find_fault(name: str, value: str) -> str | None:
    """Say what no message can have in a field, a filter's or a form's."""
    if "\0" in value:
        return "It holds a character that no message can have."
    if len(value) > LONGEST.get(name, len(value)):
        return f"At most {LONGEST[name]} characters."
    return None


def tidy_number(text: str) -> str:
    """Return a number without the spaces and brackets that people write into it, 00 as +; anything else as it is."""
    if not _WRITTEN_NUMBER.fullmatch(text):
        return text.strip()
    digits = _AROUND_DIGITS.sub("", text)
    return f"+{digits[2:]}" if digits.startswith("00") else digits


def _number(text: str | None) -> str | None:
    """Every message has gone to a number in E.164, so digits alone lack their plus (which a URL may have lost)."""
    if text is None:
        return None
    tidied = tidy_number(text)
    return f"+{tidied}" if tidied.isascii() and tidied.isdigit() else tidied


def _sender(text: str | None) -> str | None:
    return None if text is None else tidy_number(text)


def _day(typed: Mapping[str, str], name: str, errors: dict[str, str]) -> date | None:
    value = typed.get(name)
    if value is None or name in errors:
        return None
    day = read_day(value)
    if day is None:
        errors[name] = f"{value[:12]!r} is no day such as 2026-11-22."
    return day
