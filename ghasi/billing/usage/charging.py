"""Writes charges and the tallies that they are added up in: those made, those billed later, those given back.

Owns that the sum of a tally is that of the charges that name it, less those whose reversal names it. A tally that an
invoice has taken changes no more: what comes then opens a new one of the same key.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from operator import itemgetter
from typing import NamedTuple
from uuid import UUID

from ghasi.billing.model import Charge, Sums, TallyKey
from ghasi.billing.periods import month_of, quarter_start
from ghasi.billing.plans.book import PlanBook
from ghasi.billing.plans.model import Plan
from ghasi.billing.usage import charge_queries
from ghasi.billing.usage.changes import Changes, Due
from ghasi.billing.usage.pricing import Charged, Counters, Order, Price
from ghasi.billing.usage.states import PrivatePart, Seen, parse_id
from ghasi.contract.pricing import Rate, pricing_country
from ghasi.storage.pool import Connection

Rates = Mapping[UUID, Rate]
_NOT_YET = (Price("usage", None, 0), None)


class Rated(NamedTuple):
    """A message to be charged in a month, by which rate, plan and in which currency."""

    due: Due
    private: PrivatePart
    month: date
    rate: Rate
    currency: str
    plan: Plan | None


class Written(NamedTuple):
    """Charges as they are after a batch: those made, those billed later, those given back.

    `changes` is what each account's month came to.
    """

    made: list[Charge]
    billed: list[Charge]
    given_back: list[Charge]
    changes: dict[tuple[UUID, date], int]


async def write_charges(
    connection: Connection, rated: Sequence[Rated], changes: Changes, plans: PlanBook, rates: Rates
) -> Written:
    """Make charges, and bill, give back and move those there are; add them to their tallies."""
    orders = [_order_again(charge, plans, rates) for charge, _ in changes.billed]
    orders += [_order(one) for one in rated if one.due.is_billed]
    counters = await _count(connection, orders, rates)
    tallies: dict[TallyKey, Sums] = defaultdict(Sums)
    for charge, _ in changes.given_back:
        key = key_of(charge)
        counters.add(_charged(key, -charge.segments, rates))
        tallies[key].add(-1, -charge.segments, -charge.amount_micros)
    priced: list[tuple[Price, TallyKey]] = []
    for order in orders:
        price = counters.price(order)
        key = order.key(price)
        tallies[key].add(1, order.segments, order.segments * price.unit_micros)
        priced.append((price, key))
    ids = await charge_queries.add_tallies(connection, sorted(tallies.items(), key=itemgetter(0))) if tallies else {}
    bills = iter([(price, ids[key]) for price, key in priced])
    billed = [_bill(charge, seen, *next(bills)) for charge, seen in changes.billed]
    given_back = [
        _move(charge, seen)._replace(reversal_tally_id=ids[key_of(charge)]) for charge, seen in changes.given_back
    ]
    made = [_make(one, *(next(bills) if one.due.is_billed else _NOT_YET)) for one in rated]
    if made:
        await charge_queries.insert_charges(connection, made)
    if changed := [*billed, *given_back]:
        await charge_queries.bill_charges(connection, changed)
    done = {charge.message_id for charge in changed}
    if moved := [
        (charge.message_id, seen.state.status, seen.event.sequence)
        for charge, seen in changes.moved
        if charge.message_id not in done
    ]:
        await charge_queries.move_charges(connection, moved)
    return Written(made, billed, given_back, _by_month(tallies))


def key_of(charge: Charge) -> TallyKey:
    """Return what a charge that is billed is added up under."""
    month = month_of(quarter_start(charge.at))
    return TallyKey(
        charge.account_id, month, charge.direction, charge.country, charge.currency, charge.kind, charge.rate_id,
        charge.unit_micros,
    )  # fmt: skip


def _by_month(tallies: Mapping[TallyKey, Sums]) -> dict[tuple[UUID, date], int]:
    changes: dict[tuple[UUID, date], int] = defaultdict(int)
    for key, sums in tallies.items():
        changes[key.account_id, key.month] += sums.amount_micros
    return {month: amount_micros for month, amount_micros in changes.items() if amount_micros}


async def _count(connection: Connection, orders: Sequence[Order], rates: Rates) -> Counters:
    """Return what was charged before in those months where prices depend on it."""
    months = {order.month for order in orders if order.depends}
    if not months:
        return Counters()
    rows = await charge_queries.list_charged(connection, months)
    # a rate that is not known is of charges from before tallies kept theirs: it counts for the plan alone
    charged = [
        Charged((account_id, month), direction, kind, rates[rate_id].key if rate_id in rates else None, segments)
        for account_id, month, direction, kind, rate_id, segments in rows
    ]
    return Counters(months, charged)


def _charged(key: TallyKey, segments: int, rates: Rates) -> Charged:
    return Charged((key.account_id, key.month), key.direction, key.kind, rates[key.rate_id].key, segments)


def _order(one: Rated) -> Order:
    (event, state), rate = one.due.seen, one.rate
    return Order(
        (event.account_id, one.month), rate.key.direction, pricing_country(state.country), one.currency, rate,
        one.plan, state.segments,
    )  # fmt: skip


def _order_again(charge: Charge, plans: PlanBook, rates: Rates) -> Order:
    month = month_of(quarter_start(charge.at))
    return Order(
        (charge.account_id, month), charge.direction, charge.country, charge.currency, rates[charge.rate_id],
        plans.find(charge.account_id, month), charge.segments,
    )  # fmt: skip


def _make(one: Rated, price: Price, tally_id: UUID | None) -> Charge:
    due, private, _, rate, currency, _ = one
    event, state = due.seen
    return Charge(
        message_id=event.subject_id,
        account_id=event.account_id,
        at=due.at,
        direction=rate.key.direction,
        country=pricing_country(state.country),
        sender=due.seen.own_end,
        segments=state.segments,
        kind=price.kind,
        list_micros=price.list_micros,
        unit_micros=price.unit_micros,
        amount_micros=state.segments * price.unit_micros,
        currency=currency,
        rate_id=rate.id,
        tally_id=tally_id,
        reversal_tally_id=None,
        billed_on=due.billed_on,
        status=state.status,
        sequence=event.sequence,
        api_key_id=parse_id(private.credential) if private.api_key and private.credential else None,
        reference=state.reference,
        carrier_class=private.carrier_class,
    )


def _bill(charge: Charge, seen: Seen, price: Price, tally_id: UUID) -> Charge:
    return _move(charge, seen)._replace(
        kind=price.kind, list_micros=price.list_micros, unit_micros=price.unit_micros,
        amount_micros=charge.segments * price.unit_micros, tally_id=tally_id,
    )  # fmt: skip


def _move(charge: Charge, seen: Seen) -> Charge:
    return charge._replace(status=seen.state.status, sequence=seen.event.sequence)
