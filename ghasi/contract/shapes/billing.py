"""What goes over the wire to and from billing-service: usage and its summary.

Owns no rule beyond a field's own shape: prices and periods are the service's.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from ghasi.contract.shapes.common import Input, Moment

UsageGrouping = Literal["country", "status", "direction", "sender", "api_key", "reference"]


class UsageQuery(Input, frozen=True, kw_only=True):
    """Usage from `from` (inclusive) to `to` (exclusive), by default the zone's current month by day, ungrouped.

    Both are full quarters of an hour, such as 19:30Z or 09:45Z: zones' days and months begin on one. A range is at most
    31 days long by hour, 366 by day and 3660 by month, and cuts its first and its last period off.

    By sender, API key (its id) or reference an answer has the 1,000 largest groups, and fewer where it has many
    periods: 50,000 rows at most. Of an account and a UTC month the first 1,000 of each are kept by name. All others,
    and messages that have none, are the group null. Received messages count with the sender they came to.
    """

    since: Moment | None = field(default=None, name="from")
    until: Moment | None = field(default=None, name="to")
    granularity: Literal["hour", "day", "month"] = "day"
    group_by: UsageGrouping | None = None
    time_zone: Annotated[str, Meta(min_length=1, max_length=64, description="IANA; whose days and months")] = "UTC"


class UsageRow(Struct, frozen=True):
    """What was used in one period; `group` is what it is grouped by; null: all others, or not grouped."""

    period_start: str
    period_end: str
    group: str | None
    messages: int
    segments: int
    amount: str


class UsageTotals(Struct, frozen=True):
    """The sum of all rows."""

    messages: int
    segments: int
    amount: str


class Usage(Struct, frozen=True):
    """Usage of the account; a message counts in the quarter of an hour it was sent."""

    data: list[UsageRow]
    totals: UsageTotals
    currency: str


class SummaryQuery(Input, frozen=True, kw_only=True):
    """From `from` (inclusive) to `to` (exclusive), by default the zone's last 30 days, today being the last of them.

    Both are full quarters of an hour, and the range is as long as usage's at most.
    """

    since: Moment | None = field(default=None, name="from")
    until: Moment | None = field(default=None, name="to")
    granularity: Literal["hour", "day", "month"] = "day"
    time_zone: Annotated[str, Meta(min_length=1, max_length=64, description="IANA; whose days and months")] = "UTC"


class Outcome(Struct, frozen=True):
    """What became of messages: `failed` are undelivered, expired and refused ones; `amount` is what they cost.

    `messages` counts all that carriers took or refused, and those that expired before one took them; those neither
    delivered nor failed are under way or unknown. A message counts when it was sent, one never sent when it failed.
    """

    messages: int
    delivered: int
    failed: int
    segments: int
    amount: str


class SummaryRow(Outcome, frozen=True):
    """The outcome of one period."""

    period_start: str
    period_end: str


class Summary(Struct, frozen=True):
    """A range beside the one as long before it; `data` has every period of the range, empty ones too.

    The range before whole days of the zone is as many days, though one of them may have 23 or 25 hours.
    """

    since: str = field(name="from")
    until: str = field(name="to")
    current: Outcome
    previous: Outcome
    data: list[SummaryRow]
    currency: str
