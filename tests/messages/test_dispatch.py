"""Dispatch over real SMPP: claims, results, receipts, retries, crashes."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from uuid import UUID

from ghasi.carriers.carrier import Receipt
from ghasi.carriers.simulated_behaviour import Behaviour
from ghasi.carriers.simulator import Simulator
from ghasi.contract.values import first_id
from ghasi.messages.dispatch.admin import list_carriers
from ghasi.messages.dispatch.ledger import Ledger
from ghasi.storage.bells import Bells
from ghasi.storage.events import outbox
from ghasi.storage.events.outbox import Event
from ghasi.storage.pool import Pool
from tests.messages.conftest import Customer, Worker


async def event_types(pool: Pool, message_id: str) -> list[str]:
    rows = await pool.fetch("SELECT type FROM messages.outbox WHERE subject_id = $1 ORDER BY sequence", message_id)
    return [row["type"] for row in rows]


async def test_a_message_is_sent_and_delivered(customer: Customer, start_worker: Worker, pool: Pool) -> None:
    await start_worker()
    sent = await customer.send()
    message = await customer.until(sent["id"], "delivered")
    assert [event["status"] for event in message["events"]] == ["accepted", "sent", "delivered"]
    assert message["created_at"] <= message["sent_at"] <= message["completed_at"]
    assert message["events"][1]["detail"] == "taken by simulator"
    assert await event_types(pool, sent["id"]) == ["message.accepted", "message.sent", "message.delivered"]
    assert await pool.fetchval("SELECT count(*) FROM messages.dispatch") == 0


async def test_every_ending_of_the_simulator(customer: Customer, start_worker: Worker) -> None:
    await start_worker()
    endings = {"0001": "undelivered", "0002": "expired", "0003": "failed", "0004": "delivered", "0006": "sent"}
    sent = {suffix: (await customer.send(f"+4670000{suffix}"))["id"] for suffix in endings}
    for suffix, status in endings.items():
        message = await customer.until(sent[suffix], status)
        statuses = [event["status"] for event in message["events"]]
        expected = ["accepted", status] if status in ("failed", "sent") else ["accepted", "sent", status]
        assert statuses == expected
        assert (message["error"] is None) == (status in ("delivered", "sent"))
        assert (message["sent_at"] is None) == (status == "failed")
    throttled = await customer.get(sent["0004"])
    took = datetime.fromisoformat(throttled["sent_at"]) - datetime.fromisoformat(throttled["created_at"])
    assert 3.0 <= took.total_seconds() < 6.0  # throttled twice: again after 1 s and after 2 s


async def test_long_messages_arrive_whole(customer: Customer, start_worker: Worker, simulator: Simulator) -> None:
    await start_worker()
    latin, arabic = "long {text} " * 60, "پیام طولانی 😀 " * 20
    for text in (latin, arabic):
        sent = await customer.send(body=text)
        message = await customer.until(sent["id"], "delivered")
        assert message["segments"] > 1
        assert [event["status"] for event in message["events"]] == ["accepted", "sent", "delivered"]
    assert simulator.duplicates == 0


async def test_a_long_message_ends_with_its_worst_segment(customer: Customer, start_worker: Worker) -> None:
    await start_worker()
    sent = await customer.send("+46700000001", "a" * 400)
    assert (await customer.until(sent["id"], "undelivered"))["error"]["code"]


async def test_many_messages_are_sent_once_each(
    customer: Customer, start_worker: Worker, simulator: Simulator, pool: Pool
) -> None:
    await start_worker()
    sent = await asyncio.gather(*(customer.send(f"+4670000{number:04}") for number in range(1000, 1500)))
    for message in sent:
        await customer.until(message["id"], "delivered")
    assert (simulator.accepted, simulator.duplicates) == (500, 0)
    types = Counter(row["type"] for row in await pool.fetch("SELECT type FROM messages.outbox"))
    assert types == {"message.accepted": 500, "message.sent": 500, "message.delivered": 500}
    assert await pool.fetchval("SELECT count(*) FROM messages.dispatch") == 0


async def test_a_killed_worker_loses_nothing(
    customer: Customer, start_worker: Worker, simulator: Simulator, pool: Pool
) -> None:
    simulator.behaviour = Behaviour(receipt_delay_s=0.3)
    first = await start_worker()
    sent = await asyncio.gather(*(customer.send(f"+4670000{number:04}") for number in range(1000, 1300)))
    while simulator.accepted < 50:
        await asyncio.sleep(0.005)
    simulator.drop_links()
    await first.kill()
    await pool.execute("UPDATE messages.dispatch SET due_at = now()")  # the leases' 30 s are over
    await start_worker()
    for message in sent:
        await customer.until(message["id"], "delivered")
    marked = await pool.fetchval("SELECT count(*) FROM messages.messages WHERE resubmitted")
    assert simulator.duplicates <= marked
    assert await pool.fetchval("SELECT count(*) FROM messages.dispatch") == 0


async def test_a_dropped_link_sends_again_what_was_not_answered(
    customer: Customer, start_worker: Worker, simulator: Simulator
) -> None:
    await start_worker()
    sending = asyncio.gather(*(customer.send(f"+4670000{number:04}") for number in range(1000, 1200)))
    for _ in range(3):
        await asyncio.sleep(0.05)
        simulator.drop_links()
    for message in await sending:
        await customer.until(message["id"], "delivered")


async def test_draining_leaves_no_doubt(
    customer: Customer, start_worker: Worker, simulator: Simulator, pool: Pool
) -> None:
    own = await start_worker()
    sent = await asyncio.gather(*(customer.send(f"+4670000{number:04}") for number in range(1000, 1300)))
    own.stopping.set()
    await start_worker()
    for message in sent:
        await customer.until(message["id"], "delivered")
    assert simulator.duplicates == 0
    assert not await pool.fetchval("SELECT count(*) FROM messages.messages WHERE resubmitted")


def receipt(carrier_message_id: str, state: str = "delivered") -> Receipt:
    return Receipt("simulator", carrier_message_id, state, datetime.now(UTC), None, None, None)  # type: ignore[arg-type]


async def test_a_receipt_that_comes_too_early_is_kept_until_it_matches(
    customer: Customer, pool: Pool, start_worker: Worker
) -> None:
    ledger = Ledger(pool, Bells(pool))
    await ledger.put([receipt("early-1"), receipt("early-1")])
    assert await pool.fetchval("SELECT count(*) FROM messages.parked_receipts") == 2
    sent = await customer.send("+46700000006")
    await start_worker()
    await customer.until(sent["id"], "sent")
    await pool.execute("UPDATE messages.submissions SET carrier_message_id = 'early-1'")
    await customer.until(sent["id"], "delivered")
    assert await pool.fetchval("SELECT count(*) FROM messages.parked_receipts") == 0
    assert await event_types(pool, sent["id"]) == ["message.accepted", "message.sent", "message.delivered"]


async def test_a_carrier_that_reuses_its_ids_confuses_nothing(
    customer: Customer, pool: Pool, start_worker: Worker
) -> None:
    await start_worker()
    ended, fresh = await customer.send(), await customer.send("+46700000006")
    await customer.until(ended["id"], "delivered")
    await customer.until(fresh["id"], "sent")
    reused = await pool.fetchval(
        "SELECT carrier_message_id FROM messages.submissions WHERE message_id = $1", UUID(ended["id"])
    )
    # the receipt comes before the submit's answer is written, when only the ended message has its id
    ledger = Ledger(pool, Bells(pool))
    await ledger.put([receipt(reused)])
    assert len(await event_types(pool, ended["id"])) == 3
    assert await pool.fetchval("SELECT keep_until < now() + interval '2 min' FROM messages.parked_receipts")
    await pool.execute(
        "UPDATE messages.submissions SET carrier_message_id = $1 WHERE message_id = $2", reused, UUID(fresh["id"])
    )
    await customer.until(fresh["id"], "delivered")
    assert await pool.fetchval("SELECT count(*) FROM messages.parked_receipts") == 0


async def test_statuses_only_move_forward(customer: Customer, pool: Pool, start_worker: Worker) -> None:
    await start_worker()
    sent = await customer.send()
    await customer.until(sent["id"], "delivered")
    carrier_id = await pool.fetchval("SELECT carrier_message_id FROM messages.submissions")
    ledger = Ledger(pool, Bells(pool))
    await ledger.put([receipt(carrier_id, "undelivered"), receipt(carrier_id), receipt(carrier_id, "accepted")])
    assert (await customer.get(sent["id"]))["status"] == "delivered"
    assert len(await event_types(pool, sent["id"])) == 3


async def test_an_unknown_message_may_still_be_corrected(customer: Customer, pool: Pool, start_worker: Worker) -> None:
    await start_worker()
    sent = await customer.send("+46700000006")
    await customer.until(sent["id"], "sent")
    carrier_id = await pool.fetchval("SELECT carrier_message_id FROM messages.submissions")
    ledger = Ledger(pool, Bells(pool))
    await ledger.put([receipt(carrier_id, "unknown")])
    assert (await customer.get(sent["id"]))["status"] == "unknown"
    await ledger.put([receipt(carrier_id)])
    message = await customer.get(sent["id"])
    assert [event["status"] for event in message["events"]] == ["accepted", "sent", "unknown", "delivered"]
    assert message["error"] is None


async def test_a_price_is_shown_once_it_is_rated(customer: Customer, pool: Pool, start_worker: Worker) -> None:
    await start_worker()
    sent = await customer.send()
    data = outbox.to_json({"currency": "USD", "prices": [(sent["id"], 45_000, 1)]})
    event = Event(
        first_id(datetime.now(UTC)), "messages.rated", customer.account_id, customer.user_id, 1,
        datetime.now(UTC), data,
    )  # fmt: skip
    async with pool.acquire() as connection, connection.transaction():
        await outbox.append(connection, "billing", [event])
    async with asyncio.timeout(5):
        while (await customer.get(sent["id"]))["price"] is None:
            await asyncio.sleep(0.02)
    assert (await customer.get(sent["id"]))["price"] == {"amount": "0.0450", "currency": "USD"}


async def test_an_overdue_message_expires(customer: Customer, pool: Pool, start_worker: Worker) -> None:
    sent = await customer.send(validity_s=60)
    await pool.execute("UPDATE messages.dispatch SET expires_at = now()")
    await start_worker()
    message = await customer.until(sent["id"], "expired")
    assert (message["sent_at"], message["error"]["code"]) == (None, "expired")


async def test_carriers_are_shown_to_operators(customer: Customer, pool: Pool, start_worker: Worker) -> None:
    await start_worker()
    await customer.until((await customer.send())["id"], "delivered")
    async with asyncio.timeout(5):
        while not (carriers := await list_carriers(pool)) or not carriers[0]["submitted"]:
            await asyncio.sleep(0.05)
    assert (carriers[0]["name"], carriers[0]["bound"], carriers[0]["submitted"]) == ("simulator", True, 1)
