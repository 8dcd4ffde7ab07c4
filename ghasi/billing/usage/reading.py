"""What a customer may read of usage: by period and group, and the summary of what became of messages.

Owns which range is meant, how long it may be and which periods it has. Changes nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from ghasi.billing.accounts import queries as account_queries
from ghasi.billing.model import DEFAULT_CURRENCY, OutcomeSums, Sums
from ghasi.billing.periods import (
    FIRST_YEAR,
    LAST_YEAR,
    QUARTER,
    Granularity,
    bounds_of,
    day_start,
    local_day,
    month_start,
    period_end,
    quarter_start,
)
from ghasi.billing.usage import queries
from ghasi.contract import shapes
from ghasi.contract.errors import invalid
from ghasi.contract.serving import Caller
from ghasi.contract.values import decimal_string, rfc3339, zone_names
from ghasi.storage.pool import Pool

LONGEST: dict[Granularity, int] = {"hour": 31, "day": 366, "month": 3660}
"""The longest range of each granularity, in days by the zone's clock."""
SUMMARY_DAYS = 30
MOST_GROUPS, MOST_ROWS = 1000, 50_000
"""Of an answer by sender, API key or reference."""


class Range(NamedTuple):
    """From `since` (inclusive) to `until` (exclusive), both on a full quarter of an hour."""

    since: datetime
    until: datetime
    zone: ZoneInfo


async def get_usage(pool: Pool, caller: Caller, query: shapes.UsageQuery) -> shapes.Usage:
    """Return usage by the zone's periods, oldest first, of periods that have any; see usage_range for the bounds."""
    since, until, zone = usage_range(query, datetime.now(UTC))
    bounds = bounds_of(since, until, query.granularity, zone)
    rows = await _list_rows(pool, caller, bounds, query.group_by)
    total = Sums()
    for _, _, sums in rows:
        total.add(sums.messages, sums.segments, sums.amount_micros)
    times = [rfc3339(bound) for bound in bounds]  # once: an answer may have many rows of a period
    return shapes.Usage(
        data=[
            shapes.UsageRow(
                period_start=times[period],
                period_end=times[period + 1],
                group=group,
                messages=sums.messages,
                segments=sums.segments,
                amount=decimal_string(sums.amount_micros),
            )
            for period, group, sums in rows
        ],
        totals=shapes.UsageTotals(total.messages, total.segments, decimal_string(total.amount_micros)),
        currency=await _currency(pool, caller),
    )


async def _list_rows(
    pool: Pool, caller: Caller, bounds: Sequence[datetime], group_by: shapes.UsageGrouping | None
) -> list[tuple[int, str | None, Sums]]:
    """Return what was used by period and group, oldest first; in each period the group None, all others, is the last.

    It is the difference to all of it, so that nothing is left out, whatever is kept by name.
    """
    if group_by in ("country", "status"):
        return [*await queries.list_usage(pool, caller.account_id, bounds, group_by)]
    all_of_it = await queries.list_outcomes(pool, caller.account_id, bounds)
    named: dict[int, list[tuple[str, Sums]]] = defaultdict(list)
    if group_by == "direction":
        for period, outcome in all_of_it.items():
            named[period] = [("inbound", outcome.inbound), ("outbound", outcome.outbound)]
    elif group_by is not None:
        most = min(MOST_GROUPS, max(1, MOST_ROWS // len(bounds)))
        for period, group, sums in await queries.list_named(pool, caller.account_id, bounds, group_by, most):
            named[period].append((group, sums))
    rows: list[tuple[int, str | None, Sums]] = []
    for period, outcome in sorted(all_of_it.items()):
        left = outcome.used
        for group, sums in named[period]:
            left -= sums
            rows.append((period, group, sums))
        rows.append((period, None, left))
    return [row for row in rows if row[2].messages]


async def get_summary(pool: Pool, caller: Caller, query: shapes.SummaryQuery) -> shapes.Summary:
    """Return what became of messages in every period of a range, oldest first, and in the range before.

    See summary_range for the bounds, and previous_start for the range before.
    """
    since, until, zone = summary_range(query, datetime.now(UTC))
    bounds = bounds_of(since, until, query.granularity, zone)
    found = await queries.list_outcomes(pool, caller.account_id, [previous_start(since, until, zone), *bounds])
    # period 0 is the range before
    periods = [found.get(period, OutcomeSums()) for period in range(1, len(bounds))]
    return shapes.Summary(
        since=rfc3339(since),
        until=rfc3339(until),
        current=_outcome(_total(periods)),
        previous=_outcome(found.get(0, OutcomeSums())),
        data=[
            shapes.SummaryRow(
                sums.messages, sums.delivered, sums.failed, sums.segments, decimal_string(sums.amount_micros),
                period_start=rfc3339(start), period_end=rfc3339(end),
            )
            for start, end, sums in zip(bounds, bounds[1:], periods, strict=False)
        ],
        currency=await _currency(pool, caller),
    )  # fmt: skip


def usage_range(query: shapes.UsageQuery, now: datetime) -> Range:
    """Return the range asked for, not longer than LONGEST.

    `to` is by default the end of the zone's current month, `from` the beginning of the month in which the range ends.
    Raises Problem invalid_request: nothing is moved to where it would be valid.
    """
    zone = find_zone(query.time_zone)
    since, until = _given(query)
    until = until or period_end(now, "month", zone)
    return _checked(Range(since or month_start(until - QUARTER, zone), until, zone), query.granularity)


def summary_range(query: shapes.SummaryQuery, now: datetime) -> Range:
    """Return the range asked for, not longer than LONGEST.

    `to` is by default the end of the zone's current day, `from` 30 days before `to` by the zone's clock.
    Raises Problem invalid_request, as usage_range.
    """
    zone = find_zone(query.time_zone)
    since, until = _given(query)
    until = until or period_end(now, "day", zone)
    return _checked(Range(since or _days_before(until, SUMMARY_DAYS, zone), until, zone), query.granularity)


def previous_start(since: datetime, until: datetime, zone: ZoneInfo) -> datetime:
    """Return where the range begins that is as long and ends at `since`.

    Before whole days of the zone it is as many days, though clocks were turned in one of the two.
    """
    first, last = local_day(since, zone), local_day(until, zone)
    if since == day_start(first, zone) and until == day_start(last, zone):
        return day_start(first - (last - first), zone)
    return since - (until - since)


def find_zone(name: str) -> ZoneInfo:
    """Return the time zone of an IANA name; raises Problem invalid_request."""
    if name not in zone_names():
        raise invalid("time_zone", "must be the IANA name of a time zone, such as Asia/Kabul")
    return ZoneInfo(name)


def _given(query: shapes.UsageQuery | shapes.SummaryQuery) -> tuple[datetime | None, datetime | None]:
    return (
        _full_quarter("from", query.since) if query.since else None,
        _full_quarter("to", query.until) if query.until else None,
    )


def _full_quarter(name: str, at: datetime) -> datetime:
    if not FIRST_YEAR <= at.year <= LAST_YEAR:
        raise invalid(name, f"must lie between the years {FIRST_YEAR} and {LAST_YEAR}")
    quarter = quarter_start(at)
    if quarter != at:
        raise invalid(name, "must be a full quarter of an hour, such as 09:45:00Z")
    return quarter


def _checked(asked: Range, granularity: Granularity) -> Range:
    since, until, zone = asked
    if since >= until:
        raise invalid("from", f"must be before `to`, which is {rfc3339(until)}")
    longest = LONGEST[granularity]
    if since < _days_before(until, longest, zone):
        raise invalid("from", f"at most {longest} days before `to` when granularity is {granularity}")
    return asked


def _days_before(at: datetime, days: int, zone: ZoneInfo) -> datetime:
    return (at.astimezone(zone) - timedelta(days=days)).astimezone(UTC)  # by the clock: Python's rule within a zone


def _total(periods: Iterable[OutcomeSums]) -> OutcomeSums:
    total = OutcomeSums()
    for sums in periods:
        total.add(sums)
    return total


def _outcome(sums: OutcomeSums) -> shapes.Outcome:
    return shapes.Outcome(sums.messages, sums.delivered, sums.failed, sums.segments, decimal_string(sums.amount_micros))


async def _currency(pool: Pool, caller: Caller) -> str:
    return await account_queries.find_currency(pool, caller.account_id) or DEFAULT_CURRENCY
