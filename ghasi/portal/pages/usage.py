"""What was used in a month: its figures and their course, and the same by day, by country and by what else there is.

Owns how usage is shown, and which names stand for what it is grouped by. Counts nothing: every sum of all is the API's.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from babel.dates import format_skeleton
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ghasi.client.errors import ApiError, ApiUnreachableError
from ghasi.contract.shapes import Usage, UsageRow
from ghasi.portal.access import Page, signed_in
from ghasi.portal.failures import explain
from ghasi.portal.formats import Reader, read_time, write_country, write_day, write_month, write_number
from ghasi.portal.pages.moments import midnight
from ghasi.portal.pages.opening import reader_for
from ghasi.portal.pages.ranges import next_month, read_month
from ghasi.portal.rendering import part
from ghasi.portal.sessions import Visit

PATH = "/billing/usage"
GROUPS = {
    "day": "Day", "country": "Country", "sender": "Sender", "api_key": "API key", "reference": "Reference",
    "status": "Status", "direction": "Direction",
}  # fmt: skip
"""What usage is shown by, and what that is called: of the API's groups, and by day."""
OTHERS = {"sender": "Others, or none", "api_key": "Others, or the portal", "reference": "Others, or none"}
"""What the API's group of all others is called."""
DIRECTIONS = {"outbound": "Sent", "inbound": "Received"}
MOST_ROWS = 100
"""The dearest are shown, and the others as one."""
MOST_KEYS = 100
"""As many as an account may have, and a page of the API."""


@dataclass(frozen=True, slots=True)
class Used:
    """Usage of a day or of a group; `note` says what its name is not clear of."""

    name: str
    messages: int
    segments: int
    amount: str
    note: str | None = None


def path_of(group: str) -> str:
    """Return where usage is shown by one of GROUPS."""
    return f"{PATH}/by-{group.replace('_', '-')}"


def month_of(request: Request, reader: Reader) -> tuple[date, date]:
    """Return the first day of the month that an address names, and today, in the reader's zone."""
    today = datetime.now(reader.zone).date()
    return read_month(request.query_params.get("month"), today), today


def _bounds(month: date, reader: Reader) -> dict[str, Any]:
    return {
        "since": midnight(month, reader.zone), "until": midnight(next_month(month), reader.zone),
        "time_zone": reader.zone.key,
    }  # fmt: skip


async def show_usage(request: Request, visit: Visit) -> Response:
    """Show a month's figures and their course, in the visitor's zone."""
    reader = reader_for(visit)
    month, today = month_of(request, reader)
    daily = await visit.ask(lambda api: api.get_usage(granularity="day", **_bounds(month, reader)))
    last = min(today, next_month(month) - timedelta(days=1))
    return part(
        "billing/usage.html",
        visit=visit,
        month=write_month(month, reader),
        is_running=last == today,
        usage=daily,
        chart=course(daily.data, month, last, reader),
        chart_text=describe(daily, month, reader),
    )


def _shows(group: str) -> Page:
    """Return what shows a month's usage by one of GROUPS."""

    async def show(request: Request, visit: Visit) -> Response:
        reader = reader_for(visit)
        month, _ = month_of(request, reader)
        how: dict[str, Any] = {"granularity": "day"} if group == "day" else {"granularity": "month", "group_by": group}
        asked = visit.ask(lambda api: api.get_usage(**how, **_bounds(month, reader)))
        if group == "api_key":
            usage, keys = await asyncio.gather(asked, _find_keys(visit))
        else:
            usage, keys = await asked, {}
        rows = of_days(usage.data, reader) if group == "day" else of_groups(usage, group, reader, keys)
        return part("billing/usage_table.html", visit=visit, rows=rows, usage=usage, name=GROUPS[group])

    return show


async def _find_keys(visit: Visit) -> dict[str, str]:
    """Return the keys' names by their ids, as far as they can be had: without them the ids are shown."""
    try:
        keys = await visit.ask(lambda api: api.list_api_keys(limit=MOST_KEYS))
    except (ApiError, ApiUnreachableError) as error:
        explain(error)
        return {}
    return {key.id: key.name for key in keys.data}


def of_days(rows: Sequence[UsageRow], reader: Reader) -> list[Used]:
    """Return usage by day, the latest first; the year is the month's."""
    return [Used(_short_day(row.period_start, reader), row.messages, row.segments, row.amount) for row in rows[::-1]]


def _short_day(at: str, reader: Reader) -> str:
    start = read_time(at)
    if start is None:
        return at
    written: str = format_skeleton("MMMd", start.astimezone(reader.zone).date(), locale=reader.locale)
    return written


def of_groups(usage: Usage, group: str, reader: Reader, keys: Mapping[str, str]) -> list[Used]:
    """Return usage by group, the dearest first; beyond MOST_ROWS, and those without a name, are the last as one."""
    rows = [_used(row, group, reader, keys) for row in usage.data if row.group is not None or group not in OTHERS]
    rows.sort(key=lambda used: (-Decimal(used.amount), -used.messages, used.name))
    unnamed = [_used(row, group, reader, keys) for row in usage.data if row.group is None and group in OTHERS]
    shown, others = rows[:MOST_ROWS], rows[MOST_ROWS:] + unnamed
    return [*shown, _sum(OTHERS.get(group, "Others"), others)] if others else shown


def _used(row: UsageRow, group: str, reader: Reader, keys: Mapping[str, str]) -> Used:
    value, note = row.group or "", None
    if group == "country":
        value = write_country(row.group, reader)
    elif group == "status":
        value = value.capitalize()
    elif group == "direction":
        value = DIRECTIONS.get(value, value)
    elif group == "api_key":
        value, note = keys.get(value, value), None if value in keys else "Revoked or unknown"
    return Used(value, row.messages, row.segments, row.amount, note)


def _sum(name: str, rows: Sequence[Used]) -> Used:
    amount = sum((Decimal(row.amount) for row in rows), Decimal(0))
    return Used(name, sum(row.messages for row in rows), sum(row.segments for row in rows), f"{amount:f}")


def course(rows: Sequence[UsageRow], month: date, last: date, reader: Reader) -> dict[str, Any]:
    """Return what the chart draws: each day of the month until the last, those without usage too."""
    used = {at.astimezone(reader.zone).date(): row for row in rows if (at := read_time(row.period_start)) is not None}
    days = [month + timedelta(days=count) for count in range((last - month).days + 1)]
    found = [used.get(day) for day in days]
    return {
        "x": [int(midnight(day, reader.zone).timestamp()) for day in days],
        "series": [
            {"label": "Messages", "tone": "primary", "values": [row.messages if row else 0 for row in found]},
            {"label": "Segments", "tone": "active", "values": [row.segments if row else 0 for row in found]},
        ],
        "zone": reader.zone.key,
        "locale": str(reader.locale).replace("_", "-"),
    }


def describe(usage: Usage, month: date, reader: Reader) -> str:
    """Say in words what the chart shows."""
    text = (
        f"Usage by day, {write_month(month, reader)}: {write_number(usage.totals.messages, reader)} messages, "
        f"{write_number(usage.totals.segments, reader)} segments."
    )
    most = max(usage.data, key=lambda row: row.messages, default=None)
    if most is None:
        return text
    return f"{text} Most on {write_day(most.period_start, reader)}: {write_number(most.messages, reader)} messages."


ROUTES = [
    Route(PATH, signed_in(show_usage)),
    *(Route(path_of(group), signed_in(_shows(group))) for group in GROUPS),
]
