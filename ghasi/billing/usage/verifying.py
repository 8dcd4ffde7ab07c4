"""Recounts a month: what messages say beside what billing has charged, and billing's sums beside its charges.

Owns what a difference is and what it is called. Counts anew, by no code of rating's, with bounded memory: messages are
given in the order of their ids, so many at a time. Changes nothing.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Literal, NamedTuple
from uuid import UUID

from ghasi.billing.model import DEFAULT_CURRENCY, BilledOn, Charge
from ghasi.billing.periods import month_of, parse_month
from ghasi.billing.plans.book import PlanBook
from ghasi.billing.rates import queries as rate_queries
from ghasi.billing.usage import verify_queries as queries
from ghasi.contract.pricing import Question, RateBook, pricing_country, sender_kind
from ghasi.contract.values import decimal_string, first_id, id_time
from ghasi.storage.pool import Pool, Record

MADE_BEFORE = timedelta(days=60)
"""How long before it counts a message may have been made: it may be scheduled, and wait for its carrier."""
MADE_AFTER = timedelta(days=1)
"""Clocks of several machines differ."""
MOST_KEPT = 10_000
Kind = Literal[
    "missing in billing", "not in messages", "charged in error", "time", "status", "segments", "country", "amount",
    "usage", "group", "outcome", "tally",
]  # fmt: skip


class Facts(NamedTuple):
    """What a message says of itself."""

    id: UUID
    account_id: UUID
    direction: str
    recipient: str
    sender: str | None
    country: str | None
    segments: int
    status: str
    send_at: datetime | None
    accepted_at: datetime | None
    sent_at: datetime | None
    completed_at: datetime | None
    price_micros: int | None
    carrier_class: str | None


class Difference(NamedTuple):
    """What differs, of whom; `message` and `billing` say what each has (of sums: the charges, and what is kept)."""

    kind: Kind
    account_id: UUID
    what: str
    message: str | None
    billing: str | None


@dataclass(slots=True)
class Recount:
    """The recount of a month, of one account or of all; `attached` are the months of messages that can be read."""

    period: str
    account_id: UUID | None
    attached: Collection[str]
    plans: PlanBook
    rates: RateBook
    added_at: dict[UUID, datetime]
    currencies: dict[UUID, str]
    start: datetime = field(init=False)
    end: datetime = field(init=False)
    first: UUID = field(init=False)
    beyond: UUID = field(init=False)
    messages: int = 0
    charges: int = 0
    uncheckable: int = 0
    unread_months: set[str] = field(default_factory=set)
    found: list[Difference] = field(default_factory=list)
    counts: Counter[Kind] = field(default_factory=Counter)
    differing: set[UUID] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.start, self.end = parse_month(self.period)
        self.first, self.beyond = first_id(self.start - MADE_BEFORE), first_id(self.end + MADE_AFTER)

    @property
    def month(self) -> date:
        """The month's first day."""
        return month_of(self.start)

    def share_of(self, reached: UUID) -> float:
        """How much of the way to the last id has been gone."""
        first, beyond = id_time(self.first), id_time(self.beyond)
        return min(1.0, max(0.0, (id_time(reached) - first) / (beyond - first)))

    async def take(self, pool: Pool, facts: Sequence[Facts], after: UUID, until: UUID) -> None:
        """Compare messages behind one id up to another with their charges."""
        charges = await queries.list_charges(pool, after, until, self.account_id)
        self._compare(facts, charges)

    async def look_again(self, pool: Pool, facts: Sequence[Facts]) -> None:
        """Compare the messages that differed anew: what was under way has arrived by now. `facts` is what they say."""
        charges = await queries.list_charges_of(pool, self.differing)
        counted = (self.messages, self.charges, self.uncheckable)
        self.found.clear()
        self.counts.clear()
        self.differing.clear()
        self._compare(facts, charges)
        self.messages, self.charges, self.uncheckable = counted

    async def check_sums(self, pool: Pool) -> None:
        """Check billing's sums against its charges, all at one moment."""
        scope = (self.first, self.beyond, self.start, self.end, self.account_id)
        async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            checked: list[tuple[Kind, list[Record]]] = [
                ("usage", await queries.check_quarters(connection, scope, MOST_KEPT)),
                ("group", await queries.check_groups(connection, scope, self.month, MOST_KEPT)),
                ("outcome", await queries.check_outcomes(connection, scope, MOST_KEPT)),
                ("tally", await queries.check_tallies(connection, scope, self.month, MOST_KEPT)),
            ]
        for kind, rows in checked:
            for account_id, what, *sums in rows:
                self._note(Difference(kind, account_id, what, _sums(*sums[3:]), _sums(*sums[:3])))

    def _compare(self, facts: Sequence[Facts], charges: Sequence[Charge]) -> None:
        of_message = {charge.message_id: charge for charge in charges}
        for one in facts:
            self.messages += 1
            charge = of_message.pop(one.id, None)
            if charge is None:
                self._expect_none(one)
            elif self._is_within(charge.at):
                self._check(one, charge)
        for charge in of_message.values():
            if not self._is_within(charge.at):
                continue
            self.charges += 1
            made_in = f"{id_time(charge.message_id):%Y-%m}"
            if made_in in self.attached:
                what = _charge(charge)
                self._note(
                    Difference("not in messages", charge.account_id, str(charge.message_id), None, what),
                    charge.message_id,
                )
            else:
                self.uncheckable += 1
                self.unread_months.add(made_in)

    def _expect_none(self, one: Facts) -> None:
        """Name a message that should have been charged in the month."""
        billed_on = self._billed_on(one)
        at = _counted_at(one, billed_on)
        if at is None or not self._is_within(at) or (one.direction == "inbound" and not self._has_rate(one, at)):
            return
        said = f"{one.status}, {one.segments} segments to {pricing_country(one.country)}"
        self._note(Difference("missing in billing", one.account_id, str(one.id), said, None), one.id)

    def _check(self, one: Facts, charge: Charge) -> None:
        self.charges += 1
        at = _counted_at(one, charge.billed_on)
        is_billed = charge.tally_id is not None and charge.reversal_tally_id is None
        cost_micros = charge.amount_micros if is_billed else 0
        if at is None and charge.reversal_tally_id is None:
            self._differ("charged in error", one, one.status, _charge(charge))
            return
        if at is not None and _milliseconds(at) != _milliseconds(charge.at):
            self._differ("time", one, at.isoformat(), charge.at.isoformat())
        if one.status != charge.status:
            self._differ("status", one, one.status, charge.status)
        if one.segments != charge.segments:
            self._differ("segments", one, str(one.segments), str(charge.segments))
        if pricing_country(one.country) != charge.country:
            self._differ("country", one, pricing_country(one.country), charge.country)
        is_due = at is not None and (charge.billed_on != "delivered" or one.status == "delivered")
        if one.price_micros != cost_micros:
            price = None if one.price_micros is None else decimal_string(one.price_micros)
            self._differ("amount", one, price, decimal_string(cost_micros))
        elif is_due != is_billed and one.status == charge.status:
            self._differ("amount", one, "to be billed" if is_due else "free", decimal_string(cost_micros))

    def _billed_on(self, one: Facts) -> BilledOn:
        if one.direction == "inbound":
            return "accepted"
        plan = self.plans.find(one.account_id, month_of(_accepted_at(one)))
        return plan.billed_on if plan else "sent"

    def _has_rate(self, one: Facts, at: datetime) -> bool:
        """Whether a rate for what was received had been added by then."""
        plan = self.plans.find(one.account_id, self.month)
        question = Question(
            self.currencies.get(one.account_id, DEFAULT_CURRENCY), "inbound", one.account_id,
            plan.name if plan else None, pricing_country(one.country), (one.sender or "").removeprefix("+"),
            sender_kind(one.recipient), one.carrier_class,
        )  # fmt: skip
        return any(self.added_at[rate.id] <= at for rate in self.rates.list_holding(question, at))

    def _is_within(self, at: datetime) -> bool:
        return self.start <= at < self.end

    def _differ(self, kind: Kind, one: Facts, message: str | None, billing: str | None) -> None:
        self._note(Difference(kind, one.account_id, str(one.id), message, billing), one.id)

    def _note(self, difference: Difference, message_id: UUID | None = None) -> None:
        self.counts[difference.kind] += 1
        if len(self.found) < MOST_KEPT:
            self.found.append(difference)
            if message_id is not None:
                self.differing.add(message_id)


async def begin_recount(pool: Pool, period: str, account_id: UUID | None, attached: Collection[str]) -> Recount:
    """Read what a recount goes by: plans and rates; raises PeriodError where `period` is no month."""
    parse_month(period)
    plans = PlanBook()
    async with pool.acquire() as connection:
        await plans.learn(connection)
        rates, _ = await rate_queries.list_rates(connection)
    added_at, currencies = await queries.list_rate_times(pool), await queries.list_currencies(pool)
    return Recount(period, account_id, attached, plans, RateBook(rates), added_at, currencies)


def _accepted_at(one: Facts) -> datetime:
    return one.accepted_at or id_time(one.id)


def _counted_at(one: Facts, billed_on: BilledOn) -> datetime | None:
    if one.direction == "inbound":
        return id_time(one.id)
    if billed_on != "accepted":
        return one.sent_at
    unsent = one.sent_at is None and one.status in ("failed", "expired", "canceled")
    return None if unsent or one.status == "scheduled" else _accepted_at(one)


def _milliseconds(at: datetime) -> datetime:
    at = at.astimezone(UTC)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def _charge(charge: Charge) -> str:
    return f"{charge.status}, {charge.segments} segments to {charge.country}, {decimal_string(charge.amount_micros)}"


def _sums(messages: int, segments: int, amount_micros: int) -> str:
    return f"{messages} messages, {segments} segments, {decimal_string(amount_micros)}"
