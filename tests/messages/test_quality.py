"""How well carriers deliver: counted as messages end, written now and then, read by routing."""

import asyncio
from datetime import UTC, datetime, timedelta

from ghasi.carriers.carrier import Receipt, ReceiptState
from ghasi.messages.dispatch import admin
from ghasi.messages.dispatch.ledger import Ledger
from ghasi.messages.dispatch.quality import QualityCounts, read_quality
from ghasi.storage.bells import Bells
from ghasi.storage.pool import Pool
from tests.messages.conftest import Customer
from tests.messages.test_hardening import receipt, taken


def says(carrier_message_id: str, state: ReceiptState) -> Receipt:
    return receipt(carrier_message_id, state)


async def test_messages_count_once_each_as_they_end(customer: Customer, pool: Pool) -> None:
    ledger = Ledger(pool, Bells(pool))
    sent = [await customer.send() for _ in range(4)]
    await ledger.put([taken(message, f"m{number}") for number, message in enumerate(sent)])
    await ledger.quality.flush(pool)
    assert await read_quality(pool) == {}
    await ledger.put([says("m0", "delivered"), says("m1", "undelivered"), says("m2", "unknown"), says("m0", "failed")])
    await ledger.quality.flush(pool)
    quality = (await read_quality(pool))["simulator", "SE"]
    assert (quality.messages, quality.delivery_rate) == (3, 1 / 3)
    assert quality.latency_s is not None
    assert 0 <= quality.latency_s < 5
    await ledger.put([says("m2", "delivered")])  # the late receipt corrects it, and it is no other message
    await ledger.quality.flush(pool)
    quality = (await read_quality(pool))["simulator", "SE"]
    assert (quality.messages, quality.delivery_rate) == (3, 2 / 3)
    (row,) = await admin.list_quality(pool)
    assert (row["carrier"], row["country"], row["messages"]) == ("simulator", "SE", 3)


async def test_only_the_last_hours_count(pool: Pool) -> None:
    counts = QualityCounts()
    counts.ended("a", None, again=False, sent_to_delivered_s=2.0)
    counts.ended("a", "AF", again=False, sent_to_delivered_s=None)
    await counts.flush(pool)
    now = datetime.now(UTC)
    assert {key: one.delivery_rate for key, one in (await read_quality(pool)).items()} == {
        ("a", None): 1.0, ("a", "AF"): 0.0
    }  # fmt: skip
    assert len(await read_quality(pool, now=now + timedelta(hours=5))) == 2
    assert await read_quality(pool, now=now + timedelta(hours=6)) == {}


async def test_a_database_that_is_away_gets_the_counts_later(pool: Pool, database_url: str) -> None:
    counts = QualityCounts()
    counts.ended("a", "AF", again=False, sent_to_delivered_s=2.0)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE messages.quality IN ACCESS EXCLUSIVE MODE")
        async with asyncio.timeout(10):
            flushing = asyncio.create_task(counts.flush(pool))
            while not await pool.fetchval(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND wait_event_type = 'Lock'"
            ):
                await asyncio.sleep(0.01)
            await flushing
    counts.ended("a", "AF", again=False, sent_to_delivered_s=None)
    await counts.flush(pool)
    quality = (await read_quality(pool))["a", "AF"]
    assert (quality.messages, quality.delivery_rate, quality.latency_s) == (2, 0.5, 2.0)
