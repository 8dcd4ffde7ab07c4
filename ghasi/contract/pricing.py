"""Which rate a message is charged at. Pure; billing charges by it, and messages shows a price before sending by it.

Of the rates of an account's currency and a message's direction, those are candidates whose every condition holds: the
account's or its plan's own, the country, what the number begins with, the kind of sender, the class of the carrier. The
most particular one counts: the account's before its plan's before everybody's; then the longest prefix; then one for
the country before one for any; then one for the kind of sender; then one for the class of carrier. Of these conditions'
rates the one counts that was valid when the message was accepted, of several the last.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
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
        self._markets: dict[tuple[str, Direction], _Market] = {}
        self._defaults: dict[str, _Series] = {}
        self.add(rates)

    def add(self, rates: Iterable[Rate], since: datetime | None = None) -> None:
        """Take rates in, in any order and more than once; of those of one key and moment the last id counts.

        With `since` those are forgotten that are over by then: no earlier moment will be asked for.
        """
        for rate in rates:
            key = rate.key
            market = self._markets.get((key.currency, key.direction))
            if market is None:
                market = self._markets[key.currency, key.direction] = _Market()
            series = market.deck_of(key).series_of(key)
            series.add(rate)
            if since is not None:
                series.forget_before(since)
            if key == default_key(key.currency):
                self._defaults[key.currency] = series

    def find(self, question: Question, at: datetime) -> Rate | None:
        """Return the rate at a moment; None where none holds, which is free.

        Before the first rate of a currency for everybody's messages anywhere that one holds: a message that was sent
        is never left without a price.
        """
        return next(self.list_holding(question, at), None)

    def list_holding(self, question: Question, at: datetime) -> Iterator[Rate]:
        """Yield the rates that hold at a moment, the most particular first, which is the one that counts."""
        currency, direction, account_id, plan, country, number, sender_kind, carrier_class = question
        market = self._markets.get((currency, direction))
        if market is None:
            return
        none = True
        for deck in market.decks_for(account_id, plan):
            for series in deck.list_for(country, number):
                kind, of = series.sender_kind, series.carrier_class
                if (kind is None or kind == sender_kind) and (of is None or of == carrier_class):
                    rate = series.find(at)
                    if rate is not None:
                        none = False
                        yield rate
        if none and direction == "outbound" and currency in self._defaults:
            yield self._defaults[currency].rates[0]


class _Series:
    """The rates of one key in the order of time; of those of one moment the last alone."""

    __slots__ = ("carrier_class", "rates", "sender_kind", "starts")

    def __init__(self, key: RateKey) -> None:
        self.sender_kind, self.carrier_class = key.sender_kind, key.carrier_class
        self.starts: list[datetime] = []
        self.rates: list[Rate] = []

    def add(self, rate: Rate) -> None:
        position = bisect_left(self.starts, rate.valid_from)
        if position == len(self.starts) or self.starts[position] != rate.valid_from:
            self.starts.insert(position, rate.valid_from)
            self.rates.insert(position, rate)
        elif self.rates[position].id < rate.id:
            self.rates[position] = rate

    def forget_before(self, at: datetime) -> None:
        over = max(0, bisect_right(self.starts, at) - 1)
        del self.starts[:over], self.rates[:over]

    def find(self, at: datetime) -> Rate | None:
        position = bisect_right(self.starts, at)
        return self.rates[position - 1] if position else None


class _Deck:
    """The rates of an account, of a plan or of everybody, by prefix and country; most have few lengths of prefixes."""

    __slots__ = ("lengths", "series")

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self.series: dict[str, dict[str, list[_Series]]] = {}

    def series_of(self, key: RateKey) -> _Series:
        """Return where a key's rates are; it is made where there is none."""
        if key.prefix not in self.series:
            self.series[key.prefix] = {}
            if len(key.prefix) not in self.lengths:
                self.lengths = sorted([*self.lengths, len(key.prefix)], reverse=True)
        known = self.series[key.prefix].setdefault(key.country, [])
        for series in known:
            if (series.sender_kind, series.carrier_class) == (key.sender_kind, key.carrier_class):
                return series
        known.append(_Series(key))
        made = known[-1]
        known.sort(key=lambda series: (series.sender_kind is None, series.carrier_class is None))
        return made

    def list_for(self, country: str, number: str) -> Iterator[_Series]:
        """Yield what is for a country and a number: the longest prefix first, then what names the country."""
        for length in self.lengths:
            if length <= len(number) and (found := self.series.get(number[:length])):
                yield from found.get(country, ())
                yield from found.get(EVERY_COUNTRY, ())


class _Market:
    """The rates of a currency and a direction."""

    __slots__ = ("_accounts", "_everybody", "_plans")

    def __init__(self) -> None:
        self._accounts: dict[UUID, _Deck] = {}
        self._plans: dict[str, _Deck] = {}
        self._everybody = _Deck()

    def deck_of(self, key: RateKey) -> _Deck:
        """Return the rates of a key's account, plan or everybody."""
        if key.account_id is not None:
            return self._accounts.setdefault(key.account_id, _Deck())
        return self._everybody if key.plan is None else self._plans.setdefault(key.plan, _Deck())

    def decks_for(self, account_id: UUID, plan: str | None) -> Iterator[_Deck]:
        """Yield the rates that may hold for an account: its own, its plan's, everybody's."""
        if account_id in self._accounts:
            yield self._accounts[account_id]
        if plan in self._plans:
            yield self._plans[plan]
        yield self._everybody


def default_key(currency: str) -> RateKey:
    """Return the key of a currency's default rate, which every currency needs."""
    return RateKey(currency, "outbound", None, None, EVERY_COUNTRY, "", None, None)


def sender_kind(sender: str | None) -> SenderKind | None:
    """Return what kind of sender a message has; short codes are up to 8 digits without a plus; None: not known."""
    if not sender:
        return None
    if not sender.removeprefix("+").isdecimal():
        return "name"
    return "short_code" if sender[0] != "+" and len(sender) <= _SHORT_CODE_DIGITS else "number"


def pricing_country(country: str | None) -> str:
    """Return the country that rates know: numbers of none have no region, or a numeric one like 001 (UN M49)."""
    return country if country and len(country) == _COUNTRY_LENGTH else UNKNOWN_COUNTRY
