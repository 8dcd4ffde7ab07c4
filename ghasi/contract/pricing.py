"""Which rate a message is charged at. Pure; billing charges by it, and messages shows a price before sending by it.

Of the rates of an account's currency and a message's direction, those are candidates whose every condition holds: the
account's or its plan's own, the country, what the number begins with, the kind of sender, the class of the carrier. The
most particular one counts: the account's before its plan's before everybody's; then the longest prefix; then one for
the country before one for any; then one for the kind of sender; then one for the class of carrier. Of these conditions'
rates the one counts that was valid when the message was accepted, of several the last.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import Literal, NamedTuple
from uuid import UUID

Direction = Literal["outbound", "inbound"]
SenderKind = Literal["name", "short_code", "number"]
EVERY_COUNTRY = "*"
"""The country of a rate that holds where no other says more."""
UNKNOWN_COUNTRY = "ZZ"
"""CLDR's code for an unknown region: messages to numbers of no country (satellites, international services)."""
_SHORT_CODE_DIGITS = 8
_COUNTRY_LENGTH = 2


class Tier(NamedTuple):
    """The price of a segment once an account has been charged `from_segments` of a month at the rate."""

    from_segments: int
    amount_micros: int


class RateKey(NamedTuple):
    """The conditions of a rate; None and the empty prefix are "any". Rates of one key follow each other in time."""

    currency: str
    direction: Direction
    account_id: UUID | None
    plan: str | None
    country: str
    prefix: str
    sender_kind: SenderKind | None
    carrier_class: str | None


@dataclass(frozen=True, slots=True)
class Rate:
    """Price of a segment where `key`'s conditions hold, from a moment on; `tiers` lead on from `amount_micros`."""

    id: UUID
    key: RateKey
    amount_micros: int
    valid_from: datetime
    tiers: tuple[Tier, ...] = ()

    def price_after(self, segments: int) -> int:
        """Return the price of a segment once so many segments of the month have been charged at the rate."""
        position = bisect_right(self.tiers, segments, key=lambda tier: tier.from_segments)
        return self.tiers[position - 1].amount_micros if position else self.amount_micros


class Question(NamedTuple):
    """What is known of a message whose rate is asked for; `number` are the digits of the other end."""

    currency: str
    direction: Direction
    account_id: UUID
    plan: str | None
    country: str
    number: str
    sender_kind: SenderKind | None
    carrier_class: str | None


class RateBook:
    """Rates in memory, for finding the one that holds; rates may be added at any time."""

    def __init__(self, rates: Iterable[Rate] = ()) -> None:
        """Begin with some rates."""
        self._rates: dict[RateKey, list[Rate]] = {}
        self._prefix_lengths: list[int] = []
        self.add(rates)

    def add(self, rates: Iterable[Rate]) -> None:
        """Take rates in, in any order; of equal ones the last id counts."""
        keys = set()
        for rate in rates:
            self._rates.setdefault(rate.key, []).append(rate)
            keys.add(rate.key)
        for key in keys:
            self._rates[key].sort(key=lambda rate: (rate.valid_from, rate.id))
        lengths = {len(key.prefix) for key in keys}.union(self._prefix_lengths)
        self._prefix_lengths = sorted(lengths, reverse=True)

    def find(self, question: Question, at: datetime) -> Rate | None:
        """Return the rate at a moment; None where none holds, which is free.

        Before the first rate of a currency for everybody's messages anywhere that one holds: a message that was sent
        is never left without a price.
        """
        for key in self._keys(question):
            rates = self._rates.get(key)
            if rates and (position := bisect_right(rates, at, key=lambda rate: rate.valid_from)):
                return rates[position - 1]
        first = self._rates.get(default_key(question.currency)) if question.direction == "outbound" else None
        return first[0] if first else None

    def _keys(self, question: Question) -> Iterable[RateKey]:
        """Yield the keys whose conditions hold, the most particular first."""
        currency, direction, account_id, plan, country, number, sender_kind, carrier_class = question
        scopes = [(account_id, None), (None, plan), (None, None)] if plan else [(account_id, None), (None, None)]
        prefixes = [number[:length] for length in self._prefix_lengths if length <= len(number)]
        kinds = (sender_kind, None) if sender_kind else (None,)
        classes = (carrier_class, None) if carrier_class else (None,)
        for scope, prefix, where, kind, of in product(scopes, prefixes, (country, EVERY_COUNTRY), kinds, classes):
            yield RateKey(currency, direction, *scope, where, prefix, kind, of)


def default_key(currency: str) -> RateKey:
    """Return the key of a currency's default rate, which every currency needs."""
    return RateKey(currency, "outbound", None, None, EVERY_COUNTRY, "", None, None)


def sender_kind(sender: str | None) -> SenderKind | None:
    """Return what kind of sender a message has; short codes are up to 8 digits without a plus; None: not known."""
    if not sender:
        return None
    digits = sender.removeprefix("+")
    if not digits.isdecimal():
        return "name"
    return "short_code" if digits is sender and len(digits) <= _SHORT_CODE_DIGITS else "number"


def pricing_country(country: str | None) -> str:
    """Return the country that rates know: numbers of none have no region, or a numeric one like 001 (UN M49)."""
    return country if country and len(country) == _COUNTRY_LENGTH else UNKNOWN_COUNTRY
