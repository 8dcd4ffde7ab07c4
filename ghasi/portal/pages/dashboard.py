"""The start page: what became of the messages of a range, beside the range before, and the latest ones.

Owns how figures are compared and put in words. Counts nothing: what became of messages is the API's word.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ghasi.contract.shapes import Summary, SummaryRow
from ghasi.portal.access import signed_in
from ghasi.portal.formats import (
    NOTHING,
    Reader,
    read_time,
    write_day,
    write_number,
    write_percent,
    write_plain_money,
    write_when,
)
from ghasi.portal.pages import first_steps
from ghasi.portal.pages.opening import reader_for
from ghasi.portal.pages.ranges import CHOICES, Range, read_range
from ghasi.portal.rendering import page, part
from ghasi.portal.sessions import Visit

LATEST = 8
MORNING, AFTERNOON, EVENING = 5, 12, 18
"""The hours at which they begin."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure as it is shown; `tone` says whether its change is good."""

    label: str
    value: str
    change: str | None
    tone: str
    note: str


async def show_dashboard(request: Request, visit: Visit) -> Response:
    """Show the range and the places of the parts; it needs no call of the API."""
    reader = reader_for(visit)
    now = datetime.now(reader.zone)
    chosen = read_range(request.query_params, now, reader.zone)
    names = (visit.claims.name or "").split()
    return page(
        "dashboard/dashboard.html",
        visit=visit,
        greeting=greeting(now.hour),
        first_name=names[0] if names else None,
        chosen=chosen,
        choices=[(chosen.path("/", choice), words, choice == chosen.choice) for choice, words in CHOICES.items()],
        values={"from": "", "to": "", **chosen.typed} if chosen.typed else chosen.fields,
        figures_path=chosen.path("/dashboard/figures"),
        has_steps=not first_steps.are_over(visit),
    )


def greeting(hour: int) -> str:
    """Return how one greets at an hour of the day."""
    if MORNING <= hour < AFTERNOON:
        return "Good morning"
    return "Good afternoon" if AFTERNOON <= hour < EVENING else "Good evening"


async def show_figures(request: Request, visit: Visit) -> Response:
    """Show the figures of a range and their course."""
    reader = reader_for(visit)
    now = datetime.now(reader.zone)
    chosen = read_range(request.query_params, now, reader.zone)
    if chosen.errors:
        return part("dashboard/figures_refused.html", 422, visit=visit)
    summary = await visit.ask(
        lambda api: api.get_summary(
            since=chosen.since, until=chosen.until, granularity=chosen.granularity, time_zone=chosen.zone.key
        )
    )
    return part(
        "dashboard/figures.html",
        visit=visit,
        chosen=chosen,
        summary=summary,
        figures=figures(summary, chosen.before, reader),
        rows=[row for row in summary.data if has_begun(row, now)],
        chart=course(summary.data, now, reader),
        chart_text=describe(summary, chosen, reader),
        others=others,
        write_at=write_day if chosen.granularity == "day" else write_when,
        reader=reader,
    )


def others(row: SummaryRow) -> int:
    """Return how many messages are under way, or of an unknown end."""
    return max(0, row.messages - row.delivered - row.failed)


def figures(summary: Summary, before: str, reader: Reader) -> list[Figure]:
    """Return the four figures with their changes; fewer failures are good, and more spend is no reason for joy."""
    now, then = summary.current, summary.previous
    note = f"vs {before}"
    spent, spent_then = Decimal(now.amount), Decimal(then.amount)
    rate, rate_then = _rate(now.delivered, now.messages), _rate(then.delivered, then.messages)

    def counted(label: str, value: str, pair: tuple[Decimal, Decimal], more: str, fewer: str) -> Figure:
        change = relative(*pair, reader)
        tone = more if pair[0] > pair[1] else fewer if pair[0] < pair[1] else ""
        return Figure(label, value, change, tone if pair[1] else "", note if change else NOTHING)

    points = _points(rate, rate_then, reader)
    return [
        counted("Messages sent", write_number(now.messages, reader), _pair(now.messages, then.messages), "good", ""),
        Figure(
            "Delivered",
            NOTHING if rate is None else write_percent(rate, reader),
            points,
            "" if rate is None or rate_then is None else "good" if rate > rate_then else "bad" * (rate < rate_then),
            note if points else "",
        ),
        counted("Failed", write_number(now.failed, reader), _pair(now.failed, then.failed), "bad", "good"),
        counted("Spend", write_plain_money(now.amount, reader, summary.currency), (spent, spent_then), "warn", ""),
    ]


def _pair(now: int, then: int) -> tuple[Decimal, Decimal]:
    return Decimal(now), Decimal(then)


def _rate(part_of: int, whole: int) -> Decimal | None:
    return Decimal(part_of) / whole if whole else None


def relative(now: Decimal, then: Decimal, reader: Reader) -> str | None:
    """Return by how much a figure changed; None when there was and is nothing, New when there was nothing."""
    if not then:
        return "New" if now else None
    if now == then:
        return "No change"
    change = (now - then) / then
    return f"{'+' if change > 0 else ''}{write_percent(change, reader)}"


def _points(rate: Decimal | None, then: Decimal | None, reader: Reader) -> str | None:
    """Return by how many percentage points a rate changed."""
    if rate is None or then is None:
        return None if rate is None else "New"
    change = round((rate - then) * 100, 1)
    if not change:
        return "No change"
    return f"{'+' if change > 0 else ''}{write_number(change, reader)} points"


def has_begun(row: SummaryRow, now: datetime) -> bool:
    """Say whether a period is not all in the future."""
    start = read_time(row.period_start)
    return start is None or start <= now


def course(rows: Sequence[SummaryRow], now: datetime, reader: Reader) -> dict[str, Any]:
    """Return what the chart draws: volume by outcome, and nothing where nothing can be yet."""

    def values(count: Callable[[SummaryRow], int]) -> list[int | None]:
        return [count(row) if has_begun(row, now) else None for row in rows]

    return {
        "x": [int(at.timestamp()) for row in rows if (at := read_time(row.period_start)) is not None],
        "series": [
            {"label": "Delivered", "tone": "primary", "values": values(lambda row: row.delivered)},
            {"label": "Failed", "tone": "bad", "values": values(lambda row: row.failed)},
            {"label": "Under way", "tone": "muted", "values": values(others)},
        ],
        "zone": reader.zone.key,
        "locale": str(reader.locale).replace("_", "-"),
    }


def describe(summary: Summary, chosen: Range, reader: Reader) -> str:
    """Say in words what the chart shows."""
    first, last = write_day(chosen.first, reader), write_day(chosen.last, reader)
    when = first if chosen.days == 1 else f"{first} to {last}"
    now = summary.current
    under_way = max(0, now.messages - now.delivered - now.failed)
    text = (
        f"Messages by {chosen.granularity}, {when}: {write_number(now.delivered, reader)} delivered, "
        f"{write_number(now.failed, reader)} failed, {write_number(under_way, reader)} under way."
    )
    most = max(summary.data, key=lambda row: row.messages, default=None)
    if most is None or not most.messages:
        return text
    at = (write_day if chosen.granularity == "day" else write_when)(most.period_start, reader)
    return f"{text} Most were sent on {at}: {write_number(most.messages, reader)}."


async def show_latest(_: Request, visit: Visit) -> Response:
    """Show the latest messages."""
    found = await visit.ask(lambda api: api.list_messages(limit=LATEST))
    return part("dashboard/latest.html", visit=visit, messages=found.data)


ROUTES = [
    Route("/", signed_in(show_dashboard)),
    Route("/dashboard/figures", signed_in(show_figures)),
    Route("/dashboard/latest", signed_in(show_latest)),
    *first_steps.ROUTES,
]
