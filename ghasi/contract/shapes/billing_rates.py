"""What goes over the wire from billing-service about rates. Owns no rule beyond a field's own shape."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from ghasi.contract.pricing import Direction, SenderKind
from ghasi.contract.shapes.common import Moment, PageQuery

RateScope = Literal["account", "plan", "everybody"]


class RateTier(Struct, frozen=True):
    """The price of a segment once the account was charged `from_segments` of a UTC month at the rate."""

    from_segments: int
    amount: str


class Rate(Struct, frozen=True):
    """The price of a segment of messages for which every condition holds; null is any.

    `prefix` is what the other end's number begins with. `amount` holds up to the first of `tiers`. Of several rates
    that hold the most particular counts: by `scope` (the account's before its plan's before everybody's), then the
    longest prefix, then one that names the country, the kind of sender, the class of carrier.
    """

    id: str
    direction: Direction
    scope: RateScope
    country: str | None
    prefix: str | None
    sender_kind: SenderKind | None
    carrier_class: str | None
    currency: str
    amount: str
    tiers: list[RateTier]
    valid_from: str


class RateQuery(PageQuery, frozen=True, kw_only=True):
    """Filters of the account's rates: those that hold at a moment, by default now.

    `number` leaves those that may hold for messages to a number (from it, for inbound ones); `country` those that name
    a country, or with `*` none; `prefix` those whose prefix begins with these digits.
    """

    number: Annotated[str, Meta(pattern=r"^[+ ]?[1-9][0-9]{5,14}$", description="E.164")] | None = None
    country: Annotated[str, Meta(pattern=r"^([A-Z]{2}|\*)$", description="ISO 3166")] | None = None
    prefix: Annotated[str, Meta(pattern=r"^[0-9]{1,15}$")] | None = None
    direction: Direction | None = None
    at: Moment | None = None
