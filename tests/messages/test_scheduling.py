"""Messages for later: when that may be, and what becomes of them once it has come."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from ghasi.contract.errors import Problem
from ghasi.contract.values import rfc3339
from ghasi.messages.sending.scheduling import MOST_RELEASED, check_send_at, release_due
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from tests.messages.conftest import Customer, Worker

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def in_an_hour() -> str:
    return rfc3339(datetime.now(UTC) + timedelta(hours=1))


async def schedule(customer: Customer, **fields: Any) -> dict[str, Any]:
    return await customer.send(**{"send_at": in_an_hour()} | fields)


async def make_due(pool: Pool, ids: Sequence[str] | None = None, *, since: timedelta = timedelta(0)) -> None:
    """Let the time of scheduled messages have come."""
    for table, column in (("scheduled", "message_id"), ("messages", "id")):
        await pool.execute(
            f"UPDATE messages.{table} SET send_at = now() - $1::interval "
            f"WHERE send_at IS NOT NULL AND ($2::uuid[] IS NULL OR {column} = ANY($2::uuid[]))",
            since, None if ids is None else [UUID(one) for one in ids],
        )  # fmt: skip


async def suspend(pool: Pool, account_id: UUID) -> None:
    await pool.execute(
        "INSERT INTO messages.accounts (account_id, status, sequence) VALUES ($1, 'suspended', 1)", account_id
    )


async def opt_out(customer: Customer, to: str, **fields: str) -> None:
    assert (await customer.call("POST", "/v1/opt-outs", {"to": to, **fields})).status == 201


async def events_of(pool: Pool, message_id: str) -> list[tuple[str, int]]:
    rows = await pool.fetch(
        "SELECT type, sequence FROM messages.outbox WHERE subject_id = $1::uuid ORDER BY sequence", message_id
    )
    return [tuple(row) for row in rows]


def test_bounds_are_exact_and_included() -> None:
    for ahead in (timedelta(minutes=5), timedelta(days=1), timedelta(days=30)):
        check_send_at(NOW + ahead, NOW)
    instant = timedelta(microseconds=1)
    for ahead in (timedelta(minutes=5) - instant, timedelta(0), -timedelta(days=1), timedelta(days=30) + instant):
        with pytest.raises(Problem) as refused:
            check_send_at(NOW + ahead, NOW)
        assert (refused.value.code, refused.value.errors[0].field) == ("invalid_send_at", "send_at")


async def test_a_scheduled_message_waits_outside_the_queue(
    customer: Customer, pool: Pool, resources: Resources
) -> None:
    at = in_an_hour()
    message = await customer.send(send_at=at, reference="later")
    assert (message["status"], message["send_at"]) == ("scheduled", at)
    shown = await customer.get(message["id"])
    assert shown.pop("events") == [{"status": "scheduled", "at": message["created_at"], "detail": None}]
    assert shown == message
    assert await events_of(pool, message["id"]) == [("message.scheduled", 1)]
    assert await pool.fetchval("SELECT count(*) FROM messages.dispatch") == 0
    assert (await customer.call("GET", "/v1/messages?status=scheduled")).json["data"] == [message]
    assert await release_due(pool, resources.bells) == 0
    assert (await customer.get(message["id"]))["status"] == "scheduled"


async def test_a_time_of_another_zone_is_the_same_time(customer: Customer) -> None:
    at = datetime.now(UTC) + timedelta(days=30)
    for offset in (timedelta(hours=4, minutes=30), -timedelta(hours=11)):
        message = await schedule(customer, send_at=at.astimezone(timezone(offset)).isoformat())
        assert message["send_at"] == rfc3339(at)


async def test_what_is_due_is_accepted_then(customer: Customer, pool: Pool, resources: Resources) -> None:
    message = await schedule(customer, validity_s=600)
    with_default = await schedule(customer)
    await make_due(pool, since=timedelta(seconds=90))
    assert await release_due(pool, resources.bells) == 2
    assert await release_due(pool, resources.bells) == 0
    shown = await customer.get(message["id"])
    assert [event["status"] for event in shown["events"]] == ["scheduled", "accepted"]
    assert shown["status"] == "accepted"
    assert shown["events"][0]["at"] == shown["created_at"]
    assert shown["events"][1]["at"] >= shown["send_at"]
    assert await events_of(pool, message["id"]) == [("message.scheduled", 1), ("message.accepted", 2)]
    validities = {
        str(row["id"]): row["validity"]
        for row in await pool.fetch(
            "SELECT id, expires_at - send_at AS validity "
            "FROM messages.messages JOIN messages.dispatch ON message_id = id"
        )
    }
    assert validities == {message["id"]: timedelta(seconds=600), with_default["id"]: timedelta(days=1)}


async def test_a_worker_sends_it(customer: Customer, pool: Pool, resources: Resources, start_worker: Worker) -> None:
    message = await schedule(customer)
    await make_due(pool)
    await release_due(pool, resources.bells)
    await start_worker()
    shown = await customer.until(message["id"], "delivered")
    assert [event["status"] for event in shown["events"]] == ["scheduled", "accepted", "sent", "delivered"]
    times = [event["at"] for event in shown["events"]]
    assert times == sorted(times)
    assert [sequence for _, sequence in await events_of(pool, message["id"])] == [1, 2, 3, 4]


async def test_whose_validity_ended_while_nobody_released_it_is_not_sent_late(
    customer: Customer, pool: Pool, resources: Resources, start_worker: Worker
) -> None:
    message = await schedule(customer, validity_s=60)
    await make_due(pool, since=timedelta(seconds=61))
    await release_due(pool, resources.bells)
    await start_worker()
    assert (await customer.until(message["id"], "expired"))["sent_at"] is None


async def test_who_opted_out_meanwhile_or_may_not_send_any_more_gets_nothing(
    customer: Customer, other: Customer, pool: Pool, resources: Resources
) -> None:
    gone = await schedule(customer, to="+46700000010")
    stays = await schedule(customer, to="+46700000011")
    named = await schedule(customer, to="+46700000012", **{"from": "Bakery"})
    of_suspended = await schedule(other, to="+46700000010")
    await opt_out(customer, "+46700000010")
    await opt_out(customer, "+46700000012", **{"from": "Bakery"})
    await suspend(pool, other.account_id)
    await make_due(pool)
    assert await release_due(pool, resources.bells) == 4
    for one, message, code in (
        (customer, gone, "opted_out"), (customer, named, "opted_out"), (other, of_suspended, "suspended"),
    ):  # fmt: skip
        shown = await one.get(message["id"])
        assert (shown["status"], shown["error"]["code"]) == ("failed", code)
        assert [event["status"] for event in shown["events"]] == ["scheduled", "failed"]
        assert await events_of(pool, message["id"]) == [("message.scheduled", 1), ("message.failed", 2)]
    assert (await customer.get(stays["id"]))["status"] == "accepted"
    assert await pool.fetchval("SELECT array_agg(message_id) FROM messages.dispatch") == [UUID(stays["id"])]
    assert await pool.fetchval("SELECT count(*) FROM messages.scheduled") == 0


async def test_many_that_release_at_once_release_each_once(
    customer: Customer, pool: Pool, resources: Resources
) -> None:
    count = 2 * MOST_RELEASED + 7
    batches = [{"body": "x", "recipients": [{"to": "+46700000010"}] * size, "send_at": in_an_hour()}
               for size in (1000, count - 1000)]  # fmt: skip
    for batch in batches:
        assert (await customer.call("POST", "/v1/messages/batch", batch)).status == 202
    await make_due(pool)
    released = 0
    async with asyncio.timeout(20):
        while released < count:
            released += sum(await asyncio.gather(*(release_due(pool, resources.bells) for _ in range(4))))
    assert released == count
    row = await pool.fetchrow(
        "SELECT count(*), count(DISTINCT subject_id) FROM messages.outbox WHERE type = 'message.accepted'"
    )
    assert tuple(row) == (count, count)
    assert await pool.fetchval("SELECT count(*) FROM messages.dispatch") == count
    assert await pool.fetchval("SELECT count(*) FROM messages.scheduled") == 0


async def test_a_cap_counts_on_the_day_of_the_request(customer: Customer, pool: Pool, resources: Resources) -> None:
    await pool.execute(
        "INSERT INTO messages.accounts (account_id, status, daily_cap, sequence) VALUES ($1, 'active', 2, 1)",
        customer.account_id,
    )
    for _ in range(2):
        await schedule(customer)
    refused = await customer.call("POST", "/v1/messages", {"to": "+46700000010", "body": "x"})
    assert refused.json["code"] == "daily_cap_reached"
    await make_due(pool)
    assert await release_due(pool, resources.bells) == 2
    assert await pool.fetchval("SELECT messages FROM messages.daily_counts") == 2


async def test_a_replay_wins_over_what_was_forbidden_since(customer: Customer, pool: Pool) -> None:
    body = {"to": "+46700000010", "body": "once", "send_at": in_an_hour()}
    first = await customer.call("POST", "/v1/messages", body, idempotency_key="k")
    assert first.status == 202
    await opt_out(customer, "+46700000010")
    assert (await customer.call("POST", "/v1/messages", body)).json["code"] == "recipient_opted_out"
    assert (await customer.call("POST", "/v1/messages", body, idempotency_key="k2")).json["code"] == (
        "recipient_opted_out"
    )
    again = await customer.call("POST", "/v1/messages", body, idempotency_key="k")
    assert (again.status, again.body, again.header("idempotent-replayed")) == (202, first.body, "true")
    await suspend(pool, customer.account_id)
    async with asyncio.timeout(5):
        while (await customer.call("POST", "/v1/messages", body)).json["code"] != "account_suspended":
            await asyncio.sleep(0.05)
    again = await customer.call("POST", "/v1/messages", body, idempotency_key="k")
    assert (again.status, again.body, again.header("idempotent-replayed")) == (202, first.body, "true")
    assert (await customer.call("POST", "/v1/messages", body, idempotency_key="k2")).status == 403
    changed = body | {"body": "another"}
    assert (await customer.call("POST", "/v1/messages", changed, idempotency_key="k")).status == 403
