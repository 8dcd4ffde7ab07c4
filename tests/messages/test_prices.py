"""The rates and currencies that billing tells of, and that a preview's price is the one billing will charge."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from ghasi.billing import events
from ghasi.billing.model import DEFAULT_CURRENCY
from ghasi.contract.pricing import EVERY_COUNTRY, UNKNOWN_COUNTRY, Question, Rate, RateBook, RateKey
from ghasi.contract.values import new_id
from ghasi.messages.sending import price_queries, prices
from ghasi.messages.sending.prices import take_billing
from ghasi.storage import outbox
from ghasi.storage.outbox import Event
from ghasi.storage.pool import Pool
from tests.messages.conftest import Customer

NOBODY = UUID(int=0)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def plain(currency: str, country: str, amount_micros: int, valid_from: datetime, rate_id: UUID | None = None) -> Rate:
    """A rate of everybody's by country alone."""
    key = RateKey(currency, "outbound", None, None, country, "", None, None)
    return Rate(rate_id or new_id(), key, amount_micros, valid_from)


def rate_event(rate: Rate) -> Event:
    return events.rate_created(rate, datetime.now(UTC))


def account_event(account_id: UUID, currency: str, sequence: int = 1) -> Event:
    data = {"account_id": account_id, "currency": currency}
    return event("billing_account.updated", account_id, account_id, sequence, data)


def event(kind: str, account_id: UUID, subject_id: UUID, sequence: int, data: dict[str, Any]) -> Event:
    text = msgspec.json.encode(data).decode()
    return Event(new_id(), kind, account_id, subject_id, sequence, datetime.now(UTC), text)


async def take(pool: Pool, *events: Event) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await take_billing(connection, events)


async def take_all(pool: Pool) -> int:
    """Read billing's outbox as the worker does; return how many events there were."""
    read = 0
    for _ in range(2):  # the first look only makes the position
        read += await outbox.consume(pool, "billing", "messages", take_billing)
    return read


async def price(customer: Customer, to: str = "+93701234567") -> Any:
    return (await customer.call("POST", "/v1/messages/preview", {"body": "x", "to": to})).json["price"]


async def test_what_billing_tells_holds_at_once(customer: Customer, other: Customer, pool: Pool) -> None:
    await take(
        pool,
        rate_event(plain("EUR", "*", 50_000, LONG_AGO)),
        rate_event(plain("EUR", "AF", 70_000, LONG_AGO)),
        account_event(customer.account_id, "EUR"),
    )
    assert await price(customer) == {"amount": "0.0700", "currency": "EUR"}
    assert await price(customer, "+46700000010") == {"amount": "0.0500", "currency": "EUR"}
    assert await price(other) == {"amount": "0.0450", "currency": "USD"}
    await take(pool, account_event(other.account_id, "CHF"))
    assert await price(other) is None, "a currency without any rate has no price"


async def test_events_come_in_any_order_and_again(customer: Customer, pool: Pool) -> None:
    rate = plain("EUR", "*", 50_000, LONG_AGO)
    for _ in range(2):
        await take(
            pool,
            account_event(customer.account_id, "EUR", 3),
            account_event(customer.account_id, "GBP", 2),
            rate_event(rate),
        )
        await take(pool, account_event(customer.account_id, "USD", 1), rate_event(rate), rate_event(rate))
    assert await price(customer) == {"amount": "0.0500", "currency": "EUR"}
    assert await pool.fetchval("SELECT count(*) FROM messages.rates WHERE currency = 'EUR'") == 1


async def test_rated_messages_and_rates_come_in_one_batch(customer: Customer, pool: Pool) -> None:
    message = await customer.send()
    message_id = UUID(message["id"])
    await take_all(pool)
    data = {"message_id": message_id, "amount_micros": 26_500, "currency": "USD"}
    async with pool.acquire() as connection, connection.transaction():
        await outbox.append(
            connection,
            "billing",
            [
                rate_event(plain("USD", "SE", 12_000, LONG_AGO)),
                event("message.rated", customer.account_id, message_id, 1, data),
                event("invoice.opened", customer.account_id, new_id(), 1, {}),
            ],
        )
    assert await take_all(pool) == 3
    assert (await customer.get(message["id"]))["price"] == {"amount": "0.0265", "currency": "USD"}
    assert await price(customer, "+46700000010") == {"amount": "0.0120", "currency": "USD"}


async def test_both_schemas_begin_with_the_same_rates(pool: Pool) -> None:
    columns = "id, currency, country, amount_micros, valid_from"
    ours = await pool.fetch(f"SELECT {columns} FROM messages.rates ORDER BY id")
    assert ours
    assert ours == await pool.fetch(f"SELECT {columns} FROM billing.rates ORDER BY id")
    assert (prices.DEFAULT_CURRENCY, prices.NO_COUNTRY) == (DEFAULT_CURRENCY, UNKNOWN_COUNTRY)


async def test_a_price_is_the_one_that_billing_finds(pool: Pool) -> None:
    """Random rates, many of the same validity, at random moments: before, between and after them."""
    chance = random.Random(3)
    days = [LONG_AGO + timedelta(days=day) for day in range(6)]
    account_id = new_id()
    differing = set()
    for _ in range(25):
        await pool.execute("DELETE FROM messages.rates")
        rates = [
            plain(chance.choice(("USD", "EUR")), chance.choice(("*", "AF", "SE")), chance.randrange(100_000),
                  chance.choice(days), UUID(int=chance.getrandbits(128)))
            for _ in range(chance.randrange(1, 14))
        ]  # fmt: skip
        rates.append(plain("USD", EVERY_COUNTRY, 7, chance.choice(days), UUID(int=chance.getrandbits(128))))
        await take(pool, *(rate_event(rate) for rate in rates))
        billing = RateBook(rates)
        for country in ("AF", "SE", "DE", UNKNOWN_COUNTRY):
            for at in (days[0] - timedelta(1), *days, days[-1] + timedelta(1), days[2] + timedelta(hours=1)):
                expected = billing.find(Question("USD", "outbound", account_id, None, country, "1", None, None), at)
                assert expected is not None
                found = await price_queries.find_price(pool, account_id, "USD", country, at)
                assert found == (expected.amount_micros, "USD"), (rates, country, at)
                differing.add(expected.amount_micros)
    assert len(differing) > 50
