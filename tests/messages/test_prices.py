"""The rates and currencies that billing tells of, and that a preview's price is the one billing will charge."""

import asyncio
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from ghasi.billing import events
from ghasi.billing.model import DEFAULT_CURRENCY
from ghasi.billing.rates import admin as rate_admin
from ghasi.billing.rates import queries as rate_queries
from ghasi.contract.pricing import Question, Rate, RateBook, RateKey, Tier, sender_kind
from ghasi.contract.values import decimal_string, new_id
from ghasi.messages.senders import admin as senders
from ghasi.messages.sending import prices
from ghasi.messages.sending.prices import take_billing
from ghasi.storage.events import outbox, postgres
from ghasi.storage.events.outbox import Event
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
        read += await postgres.consume(pool, "billing", "messages", take_billing)
    return read


async def price(customer: Customer, to: str = "+93701234567", sender: str | None = None) -> Any:
    body = {"body": "x", "to": to} | ({"from": sender} if sender else {})
    return (await customer.call("POST", "/v1/messages/preview", body)).json["price"]


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
    data = {"currency": "USD", "prices": [(message_id, 26_500, 1)]}
    async with pool.acquire() as connection, connection.transaction():
        await outbox.append(
            connection,
            "billing",
            [
                rate_event(plain("USD", "SE", 12_000, LONG_AGO)),
                event("messages.rated", customer.account_id, message_id, 1, data),
                event("invoice.opened", customer.account_id, new_id(), 1, {}),
            ],
        )
    assert await take_all(pool) == 3
    assert (await customer.get(message["id"]))["price"] == {"amount": "0.0265", "currency": "USD"}
    assert await price(customer, "+46700000010") == {"amount": "0.0120", "currency": "USD"}


async def test_the_last_word_on_a_price_counts(pool: Pool, customer: Customer) -> None:
    message = await customer.send()
    message_id = UUID(message["id"])

    def rated(micros: int, sequence: int) -> Event:
        data = {"currency": "USD", "prices": [(message["id"], micros, sequence)]}
        return event("messages.rated", customer.account_id, message_id, sequence, data)

    for told in ((rated(45_000, 1), rated(0, 2)), (rated(0, 2), rated(45_000, 1))):  # billed, and given back
        await take(pool, *told)
        assert (await customer.get(message["id"]))["price"] == {"amount": "0.0000", "currency": "USD"}


async def test_a_price_that_was_told_alone_is_taken(pool: Pool, customer: Customer) -> None:
    """An outbox may still have events from before prices were told together."""
    message = await customer.send()
    data = {"message_id": message["id"], "amount_micros": 45_000, "currency": "USD"}
    await take(pool, event("message.rated", customer.account_id, UUID(message["id"]), 1, data))
    assert (await customer.get(message["id"]))["price"] == {"amount": "0.0450", "currency": "USD"}


async def test_both_schemas_begin_with_the_same_rates(pool: Pool) -> None:
    columns = ", ".join(("id", *RateKey._fields, "amount_micros", "valid_from", "tiers::text"))
    ours = await pool.fetch(f"SELECT {columns} FROM messages.rates ORDER BY id")
    assert ours
    assert ours == await pool.fetch(f"SELECT {columns} FROM billing.rates ORDER BY id")
    assert prices.DEFAULT_CURRENCY == DEFAULT_CURRENCY


async def test_a_price_is_of_the_most_particular_rate(customer: Customer, other: Customer, pool: Pool) -> None:
    everybody = RateKey("USD", "outbound", None, None, "*", "", None, None)
    rates = (
        (everybody._replace(country="AF", prefix="9370", sender_kind="name"), 2),
        (everybody._replace(country="AF", prefix="9370"), 3),
        (everybody._replace(plan="gold"), 4),
        (everybody._replace(account_id=other.account_id), 5),
        (everybody._replace(country="SE", carrier_class="direct"), 6),
        (everybody._replace(country="SE", direction="inbound"), 7),
    )
    await take(pool, *(rate_event(Rate(new_id(), key, amount * 10_000, LONG_AGO)) for key, amount in rates))
    assert (await price(customer))["amount"] == "0.0300"
    assert (await price(customer, sender="Bakery"))["amount"] == "0.0200"
    assert (await price(customer, "+46700000010"))["amount"] == "0.0450", (
        "no carrier is known yet, and it is not inbound"
    )
    assert (await price(other))["amount"] == "0.0500"
    today = datetime.now(UTC).date()
    for sequence, (plans, amount) in enumerate(
        (
            ([[today.replace(day=1), "gold"]], "0.0400"),
            ([[today.replace(day=1), None], [today + timedelta(days=31), "gold"]], "0.0300"),
            ([["2026-01-01", "basic"], ["2026-02-01", "gold"], [today + timedelta(days=31), None]], "0.0400"),
        ),
        start=2,
    ):
        data = {"account_id": customer.account_id, "currency": "USD", "plans": plans}
        await take(pool, event("billing_account.updated", customer.account_id, customer.account_id, sequence, data))
        assert (await price(customer))["amount"] == amount


async def test_a_price_is_for_the_sender_that_the_message_would_have(customer: Customer, pool: Pool) -> None:
    await take(
        pool, rate_event(Rate(new_id(), RateKey("USD", "outbound", None, None, "*", "", "name", None), 9, LONG_AGO))
    )
    assert (await price(customer))["amount"] == "0.0450"
    await pool.execute(
        "INSERT INTO messages.accounts (account_id, status, sequence) VALUES ($1, 'active', 1)", customer.account_id
    )
    await senders.add_sender(pool, customer.account_id, "Bakery", actor="operator:ann", default=True)
    async with asyncio.timeout(5):  # a rule is heard of within 0.4 s
        while (await price(customer))["amount"] != "0.000009":
            await asyncio.sleep(0.05)


async def test_the_first_tier_is_what_is_shown(customer: Customer, pool: Pool) -> None:
    tiers = (Tier(1, 20_000), Tier(100, 10_000))
    await take(pool, rate_event(replace(plain("USD", "SE", 30_000, LONG_AGO), tiers=tiers)))
    assert (await price(customer, "+46700000010"))["amount"] == "0.0300"
    assert (
        await pool.fetchval("SELECT tiers::text FROM messages.rates WHERE country = 'SE'") == "[[1,20000],[100,10000]]"
    )


async def test_many_rates_are_read_in_pieces_and_by_many_at_once(
    customer: Customer, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prices, "MOST_AT_ONCE", 7)
    key = RateKey("USD", "outbound", None, None, "AF", "", None, None)
    await take(pool, *(rate_event(Rate(new_id(), key, number, LONG_AGO + timedelta(number))) for number in range(50)))
    assert await asyncio.gather(*(price(customer) for _ in range(5))) == [{"amount": "0.000049", "currency": "USD"}] * 5
    await take(pool, rate_event(Rate(new_id(), key, 50, LONG_AGO + timedelta(days=50))))
    assert (await price(customer))["amount"] == "0.00005"


async def test_a_price_is_the_one_that_billing_charges(customer: Customer, pool: Pool) -> None:
    """Random rates by the way of both: billing's import, its outbox, and what is found for a message of now."""
    chance = random.Random(3)
    plans = ("", "", "basic", "", "gold")
    plan = plans[-1]
    today = datetime.now(UTC).date()
    data = {"account_id": customer.account_id, "currency": "USD", "plans": [[today.replace(day=1), plan]]}
    await take(pool, event("billing_account.updated", customer.account_id, customer.account_id, 1, data))
    found = set()
    for turn in range(8):
        lines = {
            ",".join((
                *chance.choice((("AF", ""), ("AF", "9370"), ("AF", "93701"), ("SE", "467"), ("*", ""), ("*", "4670"))),
                chance.choice(("", "", str(customer.account_id) if turn > 5 else "", str(new_id()))),
                chance.choice(("", "name", "number")), chance.choice(("", "direct")),
                chance.choice(("", "2020-01-01", "2099-01-01")),
            )): f"{chance.randrange(1, 90_000) / 1e6:.6f}"
            for _ in range(60)
        }  # fmt: skip
        text = "country,prefix,account,sender_kind,carrier_class,valid_from,amount,plan\n" + "".join(
            f"{conditions},{amount},{'' if conditions.split(',')[2] else chance.choice(plans[: turn + 1])}\n"
            for conditions, amount in lines.items()
        )
        await rate_admin.import_rates(pool, text, "operator:ann")
        await take_all(pool)
        rates, _ = await rate_queries.list_rates(pool)
        book = RateBook(rates)
        for to, country in (("+93701234567", "AF"), ("+93791234567", "AF"), ("+46700000010", "SE")):
            for sender in (None, "Bakery", "+46700000099", "72100"):
                question = Question(
                    "USD", "outbound", customer.account_id, plan, country, to[1:], sender_kind(sender), None
                )
                rate = book.find(question, datetime.now(UTC))
                assert rate is not None
                assert (await price(customer, to, sender)) == {
                    "amount": decimal_string(rate.amount_micros), "currency": "USD",
                }, (text, question)  # fmt: skip
                found.add(rate.id)
    assert len(found) > 20
