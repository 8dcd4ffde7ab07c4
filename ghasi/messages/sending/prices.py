"""Billing's word on prices: what messages cost, and the rates and currencies for showing a price before sending.

Owns which of billing's events messages takes over. Decides no price of a message that was sent: that is billing's.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime
from uuid import UUID

import msgspec

from ghasi.contract.pricing import (
    Direction,
    Question,
    Rate,
    RateBook,
    RateKey,
    SenderKind,
    Tier,
    pricing_country,
    sender_kind,
)
from ghasi.contract.shapes import Money
from ghasi.contract.values import money
from ghasi.messages.numbers import Recipient
from ghasi.messages.sending import accounts
from ghasi.messages.sending import price_queries as queries
from ghasi.storage.events.outbox import Event, latest_of, to_json
from ghasi.storage.pool import Connection, Pool

DEFAULT_CURRENCY = "USD"
"""What an account is billed in unless billing says otherwise."""
MOST_AT_ONCE = 2000
"""Rates that are read in one go: the event loop waits some 20 ms for so many."""
Plans = list[tuple[date, str | None]]
"""From the first day of a month on an account has a plan, or none; in the order of time."""


class _Rated(msgspec.Struct):
    """The data of messages.rated: messages with their prices, and the sequences of those."""

    currency: str
    prices: list[tuple[UUID, int, int]]


class _RatedAlone(msgspec.Struct):
    """The data of message.rated, of which an outbox from before messages.rated may still have some."""

    message_id: UUID
    amount_micros: int
    currency: str


class _Rate(msgspec.Struct):
    """The data of rate.created: the price of a segment."""

    id: UUID
    currency: str
    country: str
    amount_micros: int
    valid_from: datetime
    direction: Direction = "outbound"
    account_id: UUID | None = None
    plan: str | None = None
    prefix: str = ""
    sender_kind: SenderKind | None = None
    carrier_class: str | None = None
    tiers: tuple[Tier, ...] = ()

    def rate(self) -> Rate:
        """Return it as it is chosen."""
        key = RateKey(
            self.currency, self.direction, self.account_id, self.plan, self.country, self.prefix, self.sender_kind,
            self.carrier_class,
        )  # fmt: skip
        return Rate(self.id, key, self.amount_micros, self.valid_from, self.tiers)


class _BillingAccount(msgspec.Struct):
    """The data of billing_account.updated."""

    account_id: UUID
    currency: str
    plans: Plans = []


async def take_billing(connection: Connection, events: Sequence[Event]) -> None:
    """Apply billing's events, in any order and more than once: prices, rates, accounts' currencies and spending."""
    if priced := _last_prices(events):
        await queries.set_prices(connection, priced)
    rates = [msgspec.json.decode(event.data, type=_Rate) for event in events if event.type == "rate.created"]
    if rates:
        await queries.insert_rates(connection, [one.rate() for one in rates])
    billed: list[tuple[UUID, str, str, int]] = []
    for event in latest_of(events, "billing_account.updated"):
        account = msgspec.json.decode(event.data, type=_BillingAccount)
        billed.append((account.account_id, account.currency, to_json(account.plans), event.sequence))
    if billed:
        await queries.upsert_accounts(connection, billed)
    await accounts.take_spending(connection, events)


def _last_prices(events: Sequence[Event]) -> list[tuple[UUID, int, str]]:
    """Return the last word of the events on the price of each message: (id, micros, currency)."""
    last: dict[UUID, tuple[int, int, str]] = {}
    for event in events:
        if event.type == "messages.rated":
            rated = msgspec.json.decode(event.data, type=_Rated)
        elif event.type == "message.rated":
            alone = msgspec.json.decode(event.data, type=_RatedAlone)
            rated = _Rated(alone.currency, [(alone.message_id, alone.amount_micros, event.sequence)])
        else:
            continue
        for message_id, amount_micros, sequence in rated.prices:
            if message_id not in last or last[message_id][0] < sequence:
                last[message_id] = (sequence, amount_micros, rated.currency)
    return [(message_id, amount_micros, currency) for message_id, (_, amount_micros, currency) in last.items()]


class Prices:
    """Billing's rates in memory, for showing prices; only what is new of them is read, before the next price."""

    def __init__(self, pool: Pool) -> None:
        """Begin without rates."""
        self._pool = pool
        self._book = RateBook()
        self._position = 0
        self._reading = asyncio.Lock()

    async def find_price(
        self, account_id: UUID, recipient: Recipient, sender: str | None, segments: int
    ) -> Money | None:
        """Return what segments would cost an account now; None where its currency has no rate.

        By the rate that billing will choose for a message accepted now, as long as no rate is for the class of its
        carrier, at the price of the first of its tiers.
        """
        currency, plans, position = await queries.find_account(self._pool, account_id)
        if position > self._position:
            await self._read_until(position)
        at = datetime.now(UTC)
        question = Question(
            currency=currency or DEFAULT_CURRENCY,
            direction="outbound",
            account_id=account_id,
            plan=_plan_of(plans, at.date()),
            country=pricing_country(recipient.country),
            number=recipient.number.removeprefix("+"),
            sender_kind=sender_kind(sender),
            carrier_class=None,
        )
        rate = self._book.find(question, at)
        return None if rate is None else money(rate.amount_micros * segments, question.currency)

    async def _read_until(self, position: int) -> None:
        async with self._reading:
            while self._position < position:
                rates, self._position = await queries.list_rates(self._pool, self._position, MOST_AT_ONCE)
                self._book.add(rates, since=datetime.now(UTC))


def _plan_of(plans: str, day: date) -> str | None:
    """Return the plan of the month that a day is in."""
    names = [name for month, name in msgspec.json.decode(plans, type=Plans) if month <= day]
    return names[-1] if names else None
