"""Billing's word on prices: what messages cost, and the rates and currencies for showing a price before sending.

Owns which of billing's events messages takes over. Decides no price of a message that was sent: that is billing's.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import msgspec

from ghasi.contract.shapes import Money
from ghasi.contract.values import money
from ghasi.messages.sending import accounts
from ghasi.messages.sending import price_queries as queries
from ghasi.storage.outbox import Event, latest_of
from ghasi.storage.pool import Connection, Pool

DEFAULT_CURRENCY = "USD"
"""What an account is billed in unless billing says otherwise."""
NO_COUNTRY = "ZZ"
"""What billing takes for the country of a number that belongs to none (user-assigned in ISO 3166)."""


class _Rated(msgspec.Struct):
    """The data of message.rated."""

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


class _BillingAccount(msgspec.Struct):
    """The data of billing_account.updated."""

    account_id: UUID
    currency: str


async def take_billing(connection: Connection, events: Sequence[Event]) -> None:
    """Apply billing's events, in any order and more than once: prices, rates, accounts' currencies and spending."""
    rated = [msgspec.json.decode(event.data, type=_Rated) for event in events if event.type == "message.rated"]
    if rated:
        await queries.set_prices(connection, [(one.message_id, one.amount_micros, one.currency) for one in rated])
    rates = [msgspec.json.decode(event.data, type=_Rate) for event in events if event.type == "rate.created"]
    if rates:
        await queries.insert_rates(
            connection, [(one.id, one.currency, one.country, one.amount_micros, one.valid_from) for one in rates]
        )
    currencies: list[tuple[UUID, str, int]] = []
    for event in latest_of(events, "billing_account.updated"):
        account = msgspec.json.decode(event.data, type=_BillingAccount)
        currencies.append((account.account_id, account.currency, event.sequence))
    if currencies:
        await queries.upsert_currencies(connection, currencies)
    await accounts.take_spending(connection, events)


async def find_price(pool: Pool, account_id: UUID, country: str | None, segments: int) -> Money | None:
    """Return what segments to a country would cost an account now; None where its currency has no rate.

    By the rate that billing will choose for a message accepted now.
    """
    found = await queries.find_price(pool, account_id, DEFAULT_CURRENCY, country or NO_COUNTRY, datetime.now(UTC))
    return None if found is None else money(found[0] * segments, found[1])
