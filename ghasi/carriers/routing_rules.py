"""A [[route]] of carriers.toml as it is written: its conditions, the carriers it leads to, and how one is chosen.

Owns the form alone. What the values mean together is checked where they are compiled (routing_conditions, routing).
"""

from typing import Annotated, Literal
from uuid import UUID

from msgspec import Meta, Struct

Strategy = Literal["failover", "weighted", "least_cost", "quality"]
RuleName = Annotated[str, Meta(pattern=r"^[^\x00-\x20\x7f]([^\x00-\x1f\x7f]*[^\x00-\x20\x7f])?\Z", max_length=63)]
CarrierName = Annotated[str, Meta(min_length=1, max_length=63)]
Country = Annotated[str, Meta(pattern=r"^[A-Z]{2}\Z")]
Prefix = Annotated[str, Meta(pattern=r"^\+?[0-9]{1,15}\Z")]
Sender = Annotated[str, Meta(min_length=1, max_length=40)]
Span = Annotated[str, Meta(pattern=r"^[0-2][0-9]:[0-5][0-9]-[0-2][0-9]:[0-5][0-9]\Z")]
Day = Annotated[str, Meta(pattern=r"^(mon|tue|wed|thu|fri|sat|sun)(-(mon|tue|wed|thu|fri|sat|sun))?\Z")]
Targets = CarrierName | Annotated[list[CarrierName], Meta(min_length=1)]
FORMS = {
    "name": "a name of 1 to 63 characters, such as night",
    "countries": "an ISO 3166 country such as AF",
    "prefixes": "digits such as 9370",
    "accounts": "an account's id",
    "hours": "a span such as 08:00-20:00",
    "days": "a day such as mon, or days such as sat-thu",
}
"""What a key's values look like, for people who wrote something else."""
Costs = dict[str, str]
"""Prices of a segment at one carrier, as decimal strings by prefix, country or *."""


class RouteConfiguration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule. Conditions that are absent hold for every message; those that are there must all hold."""

    name: RuleName
    countries: Annotated[list[Country], Meta(min_length=1)] | None = None
    """ISO 3166 countries of the recipient."""
    prefixes: Annotated[list[Prefix], Meta(min_length=1)] | dict[Prefix, Targets] | None = None
    """Beginnings of the recipient's number; as a table each with its own carriers, of which the longest counts."""
    senders: Annotated[list[Sender], Meta(min_length=1)] | None = None
    """Exact, a pattern with * and ?, or kind:number, kind:short_code, kind:name, kind:none."""
    accounts: Annotated[list[UUID], Meta(min_length=1)] | None = None
    body: Annotated[str, Meta(min_length=1, max_length=1000)] | None = None
    """A regular expression of RE2 that is found somewhere in the text."""
    hours: Span | Annotated[list[Span], Meta(min_length=1)] | None = None
    """HH:MM-HH:MM by the clock of `time_zone`, the end excluded; over midnight where the end is not after the start."""
    days: Annotated[list[Day], Meta(min_length=1)] | None = None
    """mon to sun, or mon-fri: the days on which `hours` begin."""
    time_zone: str | None = None
    """An IANA name; UTC by default."""
    to: Targets | None = None
    strategy: Strategy = "failover"
    weights: dict[CarrierName, Annotated[int, Meta(ge=0, le=1_000_000)]] | None = None
    overflow: bool = False
    """Go on to the next carrier while the best one that is up has no room."""
    min_delivery_rate: Annotated[float, Meta(ge=0, le=1)] | None = None
    """Of 1: a carrier that delivers less goes behind those that don't."""
    max_latency_s: Annotated[float, Meta(gt=0)] | None = None
    """From sent to delivered: a carrier that takes longer goes behind those that don't."""
    min_messages: Annotated[int, Meta(ge=1)] | None = None
    """The least number of messages that a carrier is judged by; 100 by default."""
    reject: bool = False
    """Messages end here: failed, not_permitted."""
