"""Canceling, and that it never goes together with being sent."""

import asyncio
import random
from typing import Any
from uuid import UUID

from ghasi.carriers.simulator import Simulator
from ghasi.contract.values import new_id
from ghasi.messages.sending.scheduling import release_due
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from tests.asgi import Answer
from tests.messages.conftest import Customer, Worker
from tests.messages.test_scheduling import events_of, in_an_hour, make_due, schedule


async def cancel(customer: Customer, message_id: str) -> Answer:
    return await customer.call("POST", f"/v1/messages/{message_id}/cancel")


async def send_many(customer: Customer, count: int, **fields: Any) -> list[str]:
    batch = {"body": "x", "recipients": [{"to": "+46700000010"}] * count, **fields}
    answer = await customer.call("POST", "/v1/messages/batch", batch)
    assert answer.status == 202, answer.body
    return [item["message"]["id"] for item in answer.json["data"]]


async def test_a_scheduled_and_an_accepted_message_can_be_canceled(
    customer: Customer, pool: Pool, resources: Resources
) -> None:
    for message, first in ((await schedule(customer), "scheduled"), (await customer.send(), "accepted")):
        answer = await cancel(customer, message["id"])
        assert answer.status == 200, answer.body
        shown = answer.json
        assert shown == await customer.get(message["id"])
        assert (shown["status"], shown["error"]) == ("canceled", None)
        assert shown["completed_at"] == shown["events"][1]["at"]
        assert [event["status"] for event in shown["events"]] == [first, "canceled"]
        again = await cancel(customer, message["id"])
        assert (again.status, again.json) == (200, shown)
        assert await events_of(pool, message["id"]) == [(f"message.{first}", 1), ("message.canceled", 2)]
    assert await pool.fetchval("SELECT count(*) FROM messages.dispatch") == 0
    await make_due(pool)
    assert await release_due(pool, resources.bells) == 0


async def test_what_was_sent_has_ended_or_came_from_a_phone_is_not_cancelable(customer: Customer, pool: Pool) -> None:
    for status, direction in (
        ("sent", "outbound"), ("delivered", "outbound"), ("failed", "outbound"), ("unknown", "outbound"),
        ("received", "inbound"),
    ):  # fmt: skip
        message = await customer.send()
        await pool.execute(
            "UPDATE messages.messages SET status = $2, direction = $3 WHERE id = $1::uuid",
            message["id"], status, direction,
        )  # fmt: skip
        refused = await cancel(customer, message["id"])
        assert (refused.status, refused.json["code"]) == (409, "not_cancelable")
        assert status in refused.json["detail"]


async def test_what_a_carrier_may_have_is_not_cancelable(customer: Customer, pool: Pool) -> None:
    in_doubt, taken_in_part = await customer.send(), await customer.send(body="x" * 200)
    await pool.execute("UPDATE messages.dispatch SET in_doubt = true WHERE message_id = $1::uuid", in_doubt["id"])
    await pool.execute(
        "INSERT INTO messages.submissions (message_id, part, carrier, state, at) "
        "VALUES ($1, 1, 'c', 'accepted', now())",
        UUID(taken_in_part["id"]),
    )
    for message in (in_doubt, taken_in_part):
        refused = await cancel(customer, message["id"])
        assert (refused.status, refused.json["code"]) == (409, "not_cancelable")
        assert (await customer.get(message["id"]))["status"] == "accepted"
    assert await pool.fetchval("SELECT count(*) FROM messages.dispatch") == 2


async def test_another_accounts_message_is_not_found(customer: Customer, other: Customer) -> None:
    message = await schedule(customer)
    for target in (message["id"], str(new_id()), "x"):
        refused = await cancel(other, target)
        assert (refused.status, refused.json["code"]) == (404, "not_found")
    assert (await customer.get(message["id"]))["status"] == "scheduled"


async def test_many_cancels_at_once_are_one(customer: Customer, pool: Pool) -> None:
    message = await schedule(customer)
    answers = await asyncio.gather(*(cancel(customer, message["id"]) for _ in range(20)))
    assert {(answer.status, answer.body) for answer in answers} == {(200, answers[0].body)}
    assert await events_of(pool, message["id"]) == [("message.scheduled", 1), ("message.canceled", 2)]


async def test_a_release_and_a_cancel_at_once_have_one_winner(
    customer: Customer, pool: Pool, resources: Resources
) -> None:
    winners = set()
    async with asyncio.timeout(30):
        while winners != {"accepted", "canceled"}:
            ids = await send_many(customer, 60, send_at=in_an_hour())
            await make_due(pool, ids)
            cancels = [cancel(customer, one) for one in ids]
            half = len(cancels) // 2
            *answers, _ = await asyncio.gather(*cancels[:half], release_due(pool, resources.bells), *cancels[half:])
            del answers
            rows = await pool.fetch(
                """
                SELECT status, dispatch.message_id IS NOT NULL AS queued, scheduled.message_id IS NOT NULL AS scheduled
                FROM messages.messages AS message
                LEFT JOIN messages.dispatch AS dispatch ON dispatch.message_id = message.id
                LEFT JOIN messages.scheduled AS scheduled ON scheduled.message_id = message.id
                WHERE message.id = ANY($1::uuid[])
                """,
                ids,
            )
            assert {tuple(row) for row in rows} <= {("canceled", False, False), ("accepted", True, False)}
            # one that was released first may be canceled all the same: it is in the queue and nobody has it
            winners |= {row["status"] for row in rows}
            released = await pool.fetchval(
                "SELECT count(*) FROM messages.outbox WHERE type = 'message.accepted' AND subject_id = ANY($1::uuid[])",
                ids,
            )
            if released:
                winners.add("accepted")


async def test_no_message_is_both_canceled_and_submitted(
    customer: Customer, pool: Pool, simulator: Simulator, start_worker: Worker
) -> None:
    await start_worker()
    canceled = submitted = 0
    chances = random.Random(7)

    async def cancel_later(message_id: str, late_s: float) -> Answer:
        await asyncio.sleep(late_s)
        return await cancel(customer, message_id)

    async with asyncio.timeout(40):
        while not canceled or not submitted:
            sending = [asyncio.create_task(customer.send(body=f"{number}")) for number in range(150)]
            answers = []
            for task in asyncio.as_completed(sending):
                message_id = (await task)["id"]
                # some at once and some when the carrier may have it: whoever is quicker on this machine, both happen
                late_s = chances.choice((0.0, chances.uniform(0, 0.1)))
                answers += [asyncio.create_task(cancel_later(message_id, late_s)) for _ in range(2)]
            statuses = {(await answer).status for answer in answers}
            assert statuses <= {200, 409}
            while await pool.fetchval("SELECT count(*) FROM messages.messages WHERE status IN ('accepted', 'sent')"):
                await asyncio.sleep(0.02)
            canceled = await pool.fetchval("SELECT count(*) FROM messages.messages WHERE status = 'canceled'")
            submitted = await pool.fetchval("SELECT count(*) FROM messages.messages WHERE status = 'delivered'")
    total = await pool.fetchval("SELECT count(*) FROM messages.messages")
    assert canceled + submitted == total
    assert simulator.accepted == submitted, "the carrier had none of those that were canceled"
    of_canceled = await pool.fetchval(
        "SELECT count(*) FROM messages.submissions JOIN messages.messages ON id = message_id WHERE status = 'canceled'"
    )
    assert of_canceled == 0
    assert await pool.fetchval("SELECT count(*) FROM messages.dispatch") == 0
