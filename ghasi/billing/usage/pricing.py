"""What a message costs: by its rate, the rate's tiers, and what the plan includes and takes off.

Pure: knows no database. A message is never split: all its segments have the price of the first one's place in the
month. Included segments come first, and count for the plan's tiers but not for the rate's; a plan is about outbound
messages alone.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import date
from typing import NamedTuple
from uuid import UUID

from ghasi.billing.model import TallyKey, TallyKind
from ghasi.billing.plans.model import Plan
from ghasi.contract.pricing import Direction, Rate, RateKey

Month = tuple[UUID, date]
"""An account's month."""


class Order(NamedTuple):
    """What is to be billed of a message."""

    month: Month
    direction: Direction
    country: str
    currency: str
    rate: Rate
    plan: Plan | None
    segments: int

    def key(self, price: "Price") -> TallyKey:
        """Return what it is added up under."""
        return TallyKey(
            *self.month, self.direction, self.country, self.currency, price.kind, self.rate.id, price.unit_micros
        )

    @property
    def depends(self) -> bool:
        """Whether the price depends on what the month had before."""
        plan = self.plan
        return bool(self.rate.tiers) or (plan is not None and bool(plan.included_segments or plan.tiers))


class Price(NamedTuple):
    """What a segment costs, and what it would cost without a plan."""

    kind: TallyKind
    list_micros: int | None
    unit_micros: int


class Charged(NamedTuple):
    """Segments that an account was charged in a month at a rate; negative ones were given back."""

    month: Month
    direction: Direction
    kind: TallyKind
    rate_key: RateKey | None
    segments: int


class Counters:
    """How many segments accounts were charged in their months: by plan, and by the key of a rate.

    Kept of those months alone in which a price depends on it.
    """

    def __init__(self, months: Collection[Month] = (), charged: Iterable[Charged] = ()) -> None:
        """Begin with what was charged in the months before."""
        self._months = months
        self._of_plan: dict[Month, int] = defaultdict(int)
        self._of_rate: dict[tuple[Month, RateKey], int] = defaultdict(int)
        for one in charged:
            self.add(one)

    def add(self, one: Charged) -> None:
        """Count segments."""
        if one.month not in self._months:
            return
        if one.direction == "outbound":
            self._of_plan[one.month] += one.segments
        if one.kind == "usage" and one.rate_key is not None:
            self._of_rate[one.month, one.rate_key] += one.segments

    def price(self, order: Order) -> Price:
        """Return what a message costs that comes next, and count it."""
        month, direction, _, _, rate, plan, segments = order
        if month not in self._months:
            return Price("usage", rate.amount_micros, rate.amount_micros)
        used = self._of_plan[month]
        list_micros = rate.price_after(self._of_rate[month, rate.key])
        price = Price("usage", list_micros, list_micros)
        if plan is not None and direction == "outbound":
            if used < plan.included_segments:
                price = Price("included", list_micros, 0)
            else:
                price = Price("usage", list_micros, plan.price_after(used, list_micros))
        self.add(Charged(month, direction, price.kind, rate.key, segments))
        return price
