"""Whatever carries events may bring them again: each consumer is idempotent, over all that happens in a month."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from ghasi.auth.events import account_updated, user_updated
from ghasi.auth.model import Account
from ghasi.billing.accounts import customers
from ghasi.billing.invoices import admin as invoice_admin
from ghasi.billing.rates import admin as rate_admin
from ghasi.billing.usage.rating import Rater
from ghasi.contract.serving import ServiceApp
from ghasi.contract.values import new_id
from ghasi.messages import routes as messages_routes
from ghasi.messages.dispatch.ledger import Ledger
from ghasi.messages.sending import prices
from ghasi.messages.sending.accounts import take_accounts
from ghasi.storage.events import outbox, postgres
from ghasi.storage.events.outbox import CONSUMERS, Event, Handler, event_of
from ghasi.storage.events.positions import NIL
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from ghasi.webhooks import routes as webhooks_routes
from ghasi.webhooks.delivering import billing_feed
from ghasi.webhooks.delivering.feed import Feed
from ghasi.webhooks.delivering.lanes import Lanes
from ghasi.webhooks.delivering.targets import Targets
from ghasi.webhooks.model import Pace
from tests.carrying import events_of
from tests.messages.conftest import Customer
from tests.messages.test_retention import deliver, hand_over
from tests.webhooks.conftest import Customer as Owner
from tests.webhooks.conftest import event_of as message_event

WHO = "operator:ann"
THE_END = datetime(9000, 1, 1, tzinfo=UTC)


def feed_of(resources: Resources) -> Feed:
    """Without anybody who sends: all that is fed is written down."""

    async def attempt(*_: Any) -> Any:
        raise AssertionError("nothing is sent")

    pace = Pace(most_in_memory=0)
    return Feed(Lanes(attempt, pace, asyncio.Event(), asyncio.Event()), Targets(resources.sealer), pace, lambda: None)


def handlers(resources: Resources) -> dict[tuple[str, str], Handler]:
    return {
        ("auth", "messages"): take_accounts,
        ("auth", "billing"): customers.apply,
        ("messages", "billing"): Rater().apply,
        ("messages", "webhooks"): feed_of(resources).handle,
        ("billing", "messages"): prices.take_billing,
        ("billing", "webhooks"): billing_feed.feed,
    }


async def read_all(pool: Pool, found: dict[tuple[str, str], Handler]) -> None:
    for (source, consumer), handle in found.items():
        while await postgres.consume(pool, source, consumer, handle, 7) or not await postgres.has_read_until(
            pool, source, consumer, THE_END
        ):
            await asyncio.sleep(0)


async def contents(pool: Pool, schema: str) -> dict[str, list[str]]:
    """All that a service has written, without its positions."""
    tables = await pool.fetch(
        "SELECT tablename FROM pg_tables WHERE schemaname = $1 AND tablename <> 'positions'", schema
    )
    return {
        table["tablename"]: sorted(
            row["row"] for row in await pool.fetch(f"SELECT t::text AS row FROM {schema}.{table['tablename']} AS t")
        )
        for table in tables
    }


async def a_month(resources: Resources, stack: AsyncExitStack) -> None:
    """Accounts and people change, and messages become all that they may, up to their invoice."""
    pool, now, person = resources.pool, datetime.now(UTC), new_id()
    accounts = [new_id(), new_id()]
    told = [
        account_updated(Account(account, "Bakery", status, None, None, number, now), now)
        for account in accounts
        for number, status in enumerate(("active", "suspended", "active"), start=1)
    ]
    told += [user_updated(accounts[0], person, role, number, now) for number, role in enumerate(("owner", None), 1)]
    async with pool.acquire() as connection, connection.transaction():
        await outbox.append(connection, "auth", told)
    webhooks = ServiceApp(await stack.enter_async_context(webhooks_routes.serve(resources)))
    messages = ServiceApp(await stack.enter_async_context(messages_routes.serve(resources)))
    ledger = Ledger(pool, resources.bells)
    await rate_admin.import_rates(pool, "country,amount\nSE,0.0100\nAF,0.0200\n", WHO)
    for account in accounts:
        await Owner(webhooks, account).create("https://example.com/all", ["*"])
        await Owner(webhooks, account).create("https://example.com/in-order", ["message.*"], fifo={})
        customer = Customer(messages, account, person)
        sent = [await customer.send(to) for to in ("+46700000010", "+93701234567", "+46700000010", "+93701234567")]
        await hand_over(ledger, *sent[:3])
        await deliver(ledger, *sent[:2])
        assert (await customer.call("POST", f"/v1/messages/{sent[0]['id']}/redact")).status == 200
    found = handlers(resources)
    await read_all(pool, found)
    period = f"{now:%Y-%m}"
    await invoice_admin.close_period(pool, events_of(pool), period, early=True, actor=WHO)
    await read_all(pool, found)


def in_batches(events: Sequence[Event], size: int = 7) -> list[Sequence[Event]]:
    return [events[start : start + size] for start in range(0, len(events), size)]


async def test_what_comes_again_changes_nothing(resources: Resources) -> None:
    pool = resources.pool
    async with AsyncExitStack() as stack:
        await a_month(resources, stack)
        assert set(handlers(resources)) == {(source, one) for source, readers in CONSUMERS.items() for one in readers}
        for source, consumer in handlers(resources):
            before = await contents(pool, consumer)
            rows = await outbox.read_after(pool, source, 0, NIL, 10_000)
            events = [event_of(row) for row in rows]
            assert len(events) > 5
            # from the beginning, once more, and in any order
            for again in (events, events, random.sample(events, len(events))):
                handle = handlers(resources)[source, consumer]
                for batch in in_batches(again):
                    async with pool.acquire() as connection, connection.transaction():
                        await handle(connection, batch)
                after = await contents(pool, consumer)
                assert {table for table in before if after[table] != before[table]} == set(), (source, consumer)


async def test_an_endpoint_hears_nothing_of_what_happened_before_it_was_made(resources: Resources) -> None:
    pool = resources.pool
    async with webhooks_routes.serve(resources) as served:
        owner = Owner(ServiceApp(served))
        old = replace(message_event(owner.account_id), at=datetime(2026, 1, 1, tzinfo=UTC))
        await owner.create("https://example.com/late")
        async with pool.acquire() as connection, connection.transaction():
            await feed_of(resources).handle(connection, [old, message_event(owner.account_id)])
        assert await pool.fetchval("SELECT count(*) FROM webhooks.pending") == 1
