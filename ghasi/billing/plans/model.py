"""What a plan is, and what it makes of a segment's price. Pure: knows no database."""

from bisect import bisect_right
from dataclasses import dataclass
from datetime import date
from typing import Literal, NamedTuple
from uuid import UUID

from ghasi.billing.model import BilledOn, BillingError

Payment = Literal["postpaid", "prepaid"]
MILLION = 1_000_000


class PlanError(BillingError):
    """A plan, or its place with an account, cannot be as it was asked for."""


class PlanTier(NamedTuple):
    """How many millionths less a segment costs once an account has been billed `from_segments` of a month."""

    from_segments: int
    off_ppm: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What accounts of a plan pay, from a month on; tiers by their segments, from few to many."""

    name: str
    valid_from: date
    currency: str
    base_fee_micros: int = 0
    included_segments: int = 0
    tiers: tuple[PlanTier, ...] = ()
    minimum_micros: int = 0
    billed_on: BilledOn = "sent"
    payment: Payment = "postpaid"

    @property
    def is_prepaid(self) -> bool:
        """Whether accounts pay ahead."""
        return self.payment == "prepaid"

    def price_after(self, segments: int, price_micros: int) -> int:
        """Return what a segment of a price costs once so many of the month were billed: whole micros, half to even."""
        position = bisect_right(self.tiers, segments, key=lambda tier: tier.from_segments)
        if not position:
            return price_micros
        whole, rest = divmod(price_micros * (MILLION - self.tiers[position - 1].off_ppm), MILLION)
        return whole + (2 * rest > MILLION or (2 * rest == MILLION and whole % 2 == 1))


@dataclass(frozen=True, slots=True)
class Subscription:
    """An account's plan from a month on; None: no plan."""

    account_id: UUID
    from_month: date
    plan: str | None
