"""Turns what happened to messages into charges: one for each message that was sent, at the rate of its acceptance.

Owns what is charged and how usage moves with a message's status. A message is billed on `sent`: one that failed at
submission has no `sent_at`, costs nothing and is not counted. Events may come in any order and more than once: a
charge is made by the first that says the message was sent, and never again; its status is that of the greatest
sequence. Works on a batch at a time, with no query for a single message.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import NamedTuple, cast
from uuid import UUID

import msgspec

from ghasi.billing import queries
from ghasi.billing.model import (
    DEFAULT_CURRENCY,
    EVERY_COUNTRY,
    UNKNOWN_COUNTRY,
    Charge,
    Rate,
    Sums,
    TallyKey,
    UsageHour,
)
from ghasi.billing.periods import hour_start, month_of
from ghasi.contract.values import new_id
from ghasi.storage import outbox
from ghasi.storage.outbox import Event
from ghasi.storage.pool import Connection

Usage = dict[UsageHour, Sums]
Move = tuple[UUID, str, int]
"""A message's id, and the status and sequence that its charge moves to."""
_NOTHING = Sums()
_COUNTRY_LENGTH = 2


class MessageState(msgspec.Struct, frozen=True):
    """What billing reads of a message resource; the rest is skipped unread."""

    direction: str
    country: str | None
    segments: int
    status: str
    created_at: datetime
    sent_at: datetime | None


class Rated(msgspec.Struct, frozen=True):
    """Data of the event `message.rated`."""

    message_id: UUID
    amount_micros: int
    currency: str


class Sent(NamedTuple):
    """The newest known state of a message that was sent."""

    event: Event
    state: MessageState

    @property
    def sent_at(self) -> datetime:
        """When it was sent, which makes it one of these."""
        return cast("datetime", self.state.sent_at)


_decode = msgspec.json.Decoder(MessageState).decode


async def apply(connection: Connection, events: Sequence[Event]) -> None:
    """Charge messages that were sent and move usage, within the caller's transaction; idempotent, in any order."""
    newest = find_sent(events)
    if not newest:
        return
    charged = await queries.list_charges(connection, list(newest))
    usage: Usage = defaultdict(Sums)
    moved = move_usage(charged, newest, usage)
    if moved:
        await queries.move_charges(connection, moved)
    if len(charged) < len(newest):
        fresh = [sent for message_id, sent in newest.items() if message_id not in charged]
        await _charge(connection, fresh, usage)
    if differences := {hour: sums for hour, sums in usage.items() if sums != _NOTHING}:
        await queries.add_usage(connection, differences)


def find_sent(events: Sequence[Event]) -> dict[UUID, Sent]:
    """Return the newest state of each outbound message that was sent, by message id.

    Events from before sending say nothing about a charge, whenever they arrive.
    """
    newest: dict[UUID, Sent] = {}
    for event in events:
        state = _decode(event.data)
        if state.sent_at is None or state.direction != "outbound":
            continue
        known = newest.get(event.subject_id)
        if known is None or event.sequence > known.event.sequence:
            newest[event.subject_id] = Sent(event, state)
    return newest


def move_usage(charged: Mapping[UUID, Charge], newest: Mapping[UUID, Sent], usage: Usage) -> list[Move]:
    """Return the charges that a greater sequence moves, and move their usage from one status to the other."""
    moved: list[Move] = []
    for message_id, charge in charged.items():
        sent = newest[message_id]
        sequence, status = sent.event.sequence, sent.state.status
        if sequence <= charge.sequence:
            continue
        moved.append((message_id, status, sequence))
        if status != charge.status:
            hour = hour_start(charge.sent_at)
            segments, amount_micros = charge.segments, charge.amount_micros
            usage[UsageHour(charge.account_id, hour, charge.country, charge.status)].add(-1, -segments, -amount_micros)
            usage[UsageHour(charge.account_id, hour, charge.country, status)].add(1, segments, amount_micros)
    return moved


async def _charge(connection: Connection, fresh: Sequence[Sent], usage: Usage) -> None:
    currencies = await _fix_currencies(connection, {sent.event.account_id for sent in fresh})
    countries = {_country(sent.state.country) for sent in fresh}
    prices = PriceList(await queries.list_rates_of(connection, set(currencies.values()), {*countries, EVERY_COUNTRY}))
    kinds: list[tuple[Sent, Rate, TallyKey]] = []
    tallies: dict[TallyKey, Sums] = defaultdict(Sums)
    for sent in fresh:
        account_id, country, segments = sent.event.account_id, _country(sent.state.country), sent.state.segments
        rate = prices.find(currencies[account_id], country, sent.state.created_at)
        hour = hour_start(sent.sent_at)
        key = TallyKey(account_id, month_of(hour), country, rate.currency, rate.amount_micros)
        amount_micros = segments * rate.amount_micros
        tallies[key].add(1, segments, amount_micros)
        usage[UsageHour(account_id, hour, country, sent.state.status)].add(1, segments, amount_micros)
        kinds.append((sent, rate, key))
    tally_ids = await queries.add_tallies(connection, sorted(tallies.items(), key=itemgetter(0)))
    charges = [_make_charge(sent, rate, key.country, tally_ids[key]) for sent, rate, key in kinds]
    await queries.insert_charges(connection, charges)
    now = datetime.now(UTC)
    await outbox.append(connection, "billing", [_rated(charge, now) for charge in charges])


def _country(country: str | None) -> str:
    # numbers of no country have no region, or a numeric one like 001 (UN M49)
    return country if country and len(country) == _COUNTRY_LENGTH else UNKNOWN_COUNTRY


def _make_charge(sent: Sent, rate: Rate, country: str, tally_id: UUID) -> Charge:
    event, state = sent
    return Charge(
        message_id=event.subject_id,
        account_id=event.account_id,
        sent_at=sent.sent_at,
        country=country,
        segments=state.segments,
        unit_micros=rate.amount_micros,
        amount_micros=state.segments * rate.amount_micros,
        currency=rate.currency,
        rate_id=rate.id,
        tally_id=tally_id,
        status=state.status,
        sequence=event.sequence,
    )


def _rated(charge: Charge, at: datetime) -> Event:
    data = Rated(charge.message_id, charge.amount_micros, charge.currency)
    return Event(new_id(), "message.rated", charge.account_id, charge.message_id, 1, at, outbox.to_json(data))


async def _fix_currencies(connection: Connection, accounts: set[UUID]) -> dict[UUID, str]:
    known = await queries.list_currencies(connection, accounts)
    if missing := accounts - known.keys():
        # an operator may be choosing one this moment: whoever is first fixes it, so ask again
        await queries.insert_accounts(connection, missing, DEFAULT_CURRENCY)
        known |= await queries.list_currencies(connection, missing)
    return known


class PriceList:
    """Rates by currency and country, for looking up what held at a moment."""

    def __init__(self, rates: Sequence[Rate]) -> None:
        """Take rates ordered by `valid_from`, of equal ones the one that counts last."""
        self._rates: dict[tuple[str, str], list[Rate]] = defaultdict(list)
        for rate in rates:
            self._rates[rate.currency, rate.country].append(rate)

    def find(self, currency: str, country: str, at: datetime) -> Rate:
        """Return the country's rate at a moment, else the default's.

        Before its first default rate a currency has that one: a message that was sent is never left without a price.
        """
        for key in (country, EVERY_COUNTRY):
            rates = self._rates.get((currency, key), [])
            if position := bisect_right(rates, at, key=lambda rate: rate.valid_from):
                return rates[position - 1]
        return self._rates[currency, EVERY_COUNTRY][0]
