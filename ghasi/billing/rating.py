"""Turns what happened to messages into charges: one for each message that was sent, at the rate of its acceptance.

Owns what is charged and how usage moves with a message's status. A message is billed on `sent`: one that failed at
submission has no `sent_at`, costs nothing and is not counted. Events may come in any order and more than once: a
charge is made by the first that says the message was sent, and never again; its status is that of the greatest
sequence. Works on a batch at a time, with no query for a single message.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
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
from ghasi.billing.periods import hour_start, month_start
from ghasi.contract.values import new_id
from ghasi.storage import outbox
from ghasi.storage.outbox import Event
from ghasi.storage.pool import Connection

Deltas = dict[UsageHour, Sums]
_NOTHING = Sums(0, 0, 0)
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

    message_id: str
    amount_micros: int
    currency: str


@dataclass(frozen=True, slots=True)
class Sent:
    """The newest known state of a message that was sent."""

    event: Event
    state: MessageState
    sent_at: datetime


_decode = msgspec.json.Decoder(MessageState).decode


async def apply(connection: Connection, events: Sequence[Event]) -> None:
    """Charge messages that were sent and move usage, within the caller's transaction; idempotent, in any order."""
    newest = find_sent(events)
    if not newest:
        return
    charged = await queries.list_charges(connection, list(newest))
    usage: Deltas = defaultdict(lambda: _NOTHING)
    _move(charged, newest, usage)
    moved = [one.event for one in newest.values() if _is_newer(one.event, charged.get(one.event.subject_id))]
    if moved:
        await queries.move_charges(connection, moved, [newest[event.subject_id].state.status for event in moved])
    fresh = [one for one in newest.values() if one.event.subject_id not in charged]
    if fresh:
        await _charge(connection, fresh, usage)
    await queries.add_usage(connection, {hour: sums for hour, sums in usage.items() if sums != _NOTHING})


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
            newest[event.subject_id] = Sent(event, state, state.sent_at)
    return newest


def _is_newer(event: Event, charge: Charge | None) -> bool:
    return charge is not None and event.sequence > charge.sequence


def _move(charged: dict[UUID, Charge], newest: dict[UUID, Sent], usage: Deltas) -> None:
    for message_id, charge in charged.items():
        sent = newest[message_id]
        if not _is_newer(sent.event, charge) or sent.state.status == charge.status:
            continue
        hour = hour_start(charge.sent_at)
        usage[UsageHour(charge.account_id, hour, charge.country, charge.status)] += Sums(
            -1, -charge.segments, -charge.amount_micros
        )
        usage[UsageHour(charge.account_id, hour, charge.country, sent.state.status)] += Sums(
            1, charge.segments, charge.amount_micros
        )


async def _charge(connection: Connection, fresh: Sequence[Sent], usage: Deltas) -> None:
    currencies = await _fix_currencies(connection, {one.event.account_id for one in fresh})
    countries = {_country(one.state.country) for one in fresh}
    prices = PriceList(await queries.list_rates_of(connection, set(currencies.values()), {*countries, EVERY_COUNTRY}))
    charges = [_price(one, currencies[one.event.account_id], prices) for one in fresh]
    tallies: dict[TallyKey, Sums] = defaultdict(lambda: _NOTHING)
    for charge in charges:
        sums = Sums(1, charge.segments, charge.amount_micros)
        tallies[_tally_key(charge)] += sums
        usage[UsageHour(charge.account_id, hour_start(charge.sent_at), charge.country, charge.status)] += sums
    tally_ids = await queries.add_tallies(connection, sorted(tallies.items(), key=lambda item: item[0]))
    await queries.insert_charges(connection, charges, [tally_ids[_tally_key(charge)] for charge in charges])
    now = datetime.now(UTC)
    await outbox.append(connection, "billing", [_rated(charge, now) for charge in charges])


def _country(country: str | None) -> str:
    # numbers of no country have no region, or a numeric one like 001 (UN M49)
    return country if country and len(country) == _COUNTRY_LENGTH else UNKNOWN_COUNTRY


def _price(sent: Sent, currency: str, prices: "PriceList") -> Charge:
    state = sent.state
    country = _country(state.country)
    rate = prices.find(currency, country, state.created_at)
    return Charge(
        message_id=sent.event.subject_id,
        account_id=sent.event.account_id,
        sent_at=sent.sent_at,
        country=country,
        segments=state.segments,
        unit_micros=rate.amount_micros,
        amount_micros=state.segments * rate.amount_micros,
        currency=currency,
        rate_id=rate.id,
        status=state.status,
        sequence=sent.event.sequence,
    )


def _tally_key(charge: Charge) -> TallyKey:
    month = month_start(charge.sent_at).date()
    return TallyKey(charge.account_id, month, charge.country, charge.currency, charge.unit_micros)


def _rated(charge: Charge, at: datetime) -> Event:
    data = Rated(str(charge.message_id), charge.amount_micros, charge.currency)
    return Event(
        new_id(), "message.rated", charge.account_id, charge.message_id, 1, at, outbox.to_json(data)
    )  # fmt: skip


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
