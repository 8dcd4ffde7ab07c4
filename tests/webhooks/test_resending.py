"""Deliveries sent again and test events: what arrives, what is remembered, and what if it all happens at once."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from aiohttp import web
from standardwebhooks import Webhook
from structlog.testing import capture_logs

from ghasi.contract.serving import ServiceApp
from ghasi.contract.shapes import BILLING_EVENT_DATA, EVENT_DATA, EVENT_TYPES, MESSAGE_EVENTS, Message
from ghasi.contract.values import new_id, rfc3339
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from ghasi.webhooks.delivering import delivery_queries
from ghasi.webhooks.history import deliveries as service
from ghasi.webhooks.model import EXHAUSTED, RETRY, SUCCEEDED, Result
from ghasi.webhooks.redaction import delete_texts
from ghasi.webhooks.worker import work
from tests.webhooks.conftest import (
    QUICK,
    Customer,
    Receiver,
    attempts_of,
    log_of,
    publish,
    until,
    working,
)
from tests.webhooks.test_log import STATES, deliveries, store

BY_BELL = replace(QUICK, poll_s=30.0)
"""Finds what is due when it is told so, and by itself much too late."""
STILL = replace(QUICK, schedule_s=(1000.0,) * 7)
"""A failure is tried again long after the test."""
TWICE = replace(QUICK, schedule_s=(0.05,))
"""The second failure is the last."""


def answering(*statuses: int) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Answer with these statuses in turn, the last for ever."""
    left = list(statuses)

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=left.pop(0) if len(left) > 1 else left[0])

    return answer


async def resend(customer: Customer, endpoint_id: str, event_id: Any) -> dict[str, Any]:
    answer = await customer.call("POST", f"/v1/webhooks/{endpoint_id}/deliveries/{event_id}/resend")
    assert answer.status == 202, answer.json
    shown: dict[str, Any] = answer.json
    return shown


async def detail(customer: Customer, endpoint_id: str, event_id: Any) -> dict[str, Any]:
    answer = await customer.call("GET", f"/v1/webhooks/{endpoint_id}/deliveries/{event_id}")
    assert answer.status == 200, answer.json
    shown: dict[str, Any] = answer.json
    return shown


def attempts_in(shown: dict[str, Any]) -> list[tuple[int, int | None, bool]]:
    return [(one["number"], one["response_status"], one["error"] is None) for one in shown["attempts"]]


async def enable(customer: Customer, endpoint: dict[str, Any], url: str, *, enabled: bool) -> None:
    body = {"url": url, "events": ["*"], "enabled": enabled}
    assert (await customer.call("PUT", f"/v1/webhooks/{endpoint['id']}", body)).status == 200


@pytest.mark.parametrize("state", STATES)
async def test_a_resend_is_one_attempt_at_once_whatever_became_of_it(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver, state: str
) -> None:
    endpoint = await customer.create(receiver.url)
    event_id = await store(pool, customer, endpoint["id"], state)
    before = await detail(customer, endpoint["id"], event_id)
    async with working(resources, BY_BELL):
        assert await until(lambda: pool.fetchval("SELECT true FROM webhooks.positions"))
        began = time.perf_counter()
        shown = await resend(customer, endpoint["id"], event_id)
        assert (shown["status"], shown["attempt_count"], shown["completed_at"]) == ("pending", 1, None)
        assert shown["next_attempt_at"] <= rfc3339(datetime.now(UTC))
        await until(lambda: receiver.got, 1.0)
        assert time.perf_counter() - began < 1.0
        await until(lambda: log_of(pool, endpoint["id"]))
    assert [got.id for got in receiver.got] == [event_id]
    after = await detail(customer, endpoint["id"], event_id)
    assert (after["status"], after["attempt_count"], after["response_status"]) == ("succeeded", 2, 200)
    assert after["attempts"][0] == before["attempts"][0]  # what was is remembered as it was
    assert attempts_in(after)[1:] == [(2, 200, True)]
    assert await pool.fetchval(
        "SELECT count(*) FROM storage.audit_log WHERE action = 'webhook.delivery_resent' AND account_id = $1",
        customer.account_id,
    ) == 1  # fmt: skip


async def test_attempts_go_on_being_counted_over_resends_and_the_schedule_begins_anew(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    receiver.answer = answering(500, 200, 500, 204, 500, 500, 500, 201)
    endpoint = await customer.create(receiver.url)
    async with working(resources, TWICE):
        (event,) = await publish(pool, customer.account_id)
        for attempts, status in ((2, "succeeded"), (4, "succeeded"), (6, "failed"), (8, "succeeded")):
            await until(lambda: log_of(pool, endpoint["id"]))
            (row,) = await deliveries(customer, endpoint["id"])
            assert (row["attempt_count"], row["status"]) == (attempts, status)
            if attempts < 8:
                await resend(customer, endpoint["id"], event.id)
    assert receiver.ids == {str(event.id)}
    shown = await detail(customer, endpoint["id"], event.id)
    assert attempts_in(shown) == [
        (1, 500, False), (2, 200, True), (3, 500, False), (4, 204, True), (5, 500, False), (6, 500, False),
        (7, 500, False), (8, 201, True),
    ]  # fmt: skip
    times = [one["at"] for one in shown["attempts"]]
    assert times == sorted(times)


async def test_a_resend_during_an_attempt_is_that_attempt_and_its_failure_begins_the_schedule_anew(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    go = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        if len(receiver.got) == 2:
            await go.wait()
        return web.Response(status=500)

    receiver.answer = answer
    endpoint = await customer.create(receiver.url)
    async with working(resources, TWICE):
        (event,) = await publish(pool, customer.account_id)
        await until(lambda: len(receiver.got) == 2)  # the last one that the schedule has
        for _ in range(3):
            assert (await resend(customer, endpoint["id"], event.id))["status"] == "pending"
        await publish(pool, customer.account_id)  # the worker has looked for what is due by the time this is there
        await until(lambda: len(receiver.ids) == 2)
        assert [got.id for got in receiver.got].count(str(event.id)) == 2
        go.set()
        await until(lambda: pool.fetchval("SELECT count(*) = 2 FROM webhooks.deliveries"))
    shown = await detail(customer, endpoint["id"], event.id)
    assert shown["status"] == "failed"
    assert attempts_in(shown) == [(1, 500, False), (2, 500, False), (3, 500, False)]


async def test_a_resend_during_an_attempt_shortens_the_wait_after_it(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    go = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        if len(receiver.got) == 2:
            await go.wait()
        return web.Response(status=500)

    receiver.answer = answer
    endpoint = await customer.create(receiver.url)
    async with working(resources, replace(QUICK, schedule_s=(0.05, 3600.0))):
        (event,) = await publish(pool, customer.account_id)
        await until(lambda: len(receiver.got) == 2)
        await resend(customer, endpoint["id"], event.id)
        go.set()
        await until(lambda: len(receiver.got) == 3)


async def test_a_success_that_an_overtaken_failure_shares_its_number_with_is_not_forgotten(
    pool: Pool, customer: Customer
) -> None:
    endpoint = await customer.create("https://example.com/")
    event_id = await store(pool, customer, endpoint["id"], "succeeded")
    await pool.execute(
        "INSERT INTO webhooks.attempts (endpoint_id, event_id, number, at, duration_ms, error) "
        "VALUES ($1, $2, 1, now(), 5, 'timeout: no complete answer in time')",
        endpoint["id"], event_id,
    )  # fmt: skip
    before = await detail(customer, endpoint["id"], event_id)
    assert attempts_in(before) == [(1, None, False), (2, 204, True)]
    assert (await resend(customer, endpoint["id"], event_id))["attempt_count"] == 2
    assert (await detail(customer, endpoint["id"], event_id))["attempts"] == before["attempts"]


async def test_a_resend_before_a_late_retry_brings_the_schedules_first_delay_back(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    receiver.answer = answering(500)
    endpoint = await customer.create(receiver.url)
    async with working(resources, replace(QUICK, schedule_s=(0.05, 3600.0), jitter=0.0)):
        (event,) = await publish(pool, customer.account_id)
        await until(lambda: pool.fetchval("SELECT attempts = 2 AND NOT leased FROM webhooks.pending"))
        await resend(customer, endpoint["id"], event.id)
        # the one asked for, the first of the schedule, and then an hour's wait
        await until(lambda: pool.fetchval("SELECT attempts = 4 AND NOT leased FROM webhooks.pending"))
        (row,) = await deliveries(customer, endpoint["id"])
    assert row["next_attempt_at"] > rfc3339(datetime.now(UTC) + timedelta(minutes=59))
    assert len(receiver.got) == 4


@pytest.mark.parametrize("state", STATES)
async def test_asking_at_once_many_times_sends_once(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver, state: str
) -> None:
    endpoint = await customer.create(receiver.url)
    event_id = await store(pool, customer, endpoint["id"], state)
    path = f"/v1/webhooks/{endpoint['id']}/recover"
    answers = await asyncio.gather(
        *(resend(customer, endpoint["id"], event_id) for _ in range(8)),
        *(customer.call("POST", path, {"since": "2026-01-01T00:00:00Z"}) for _ in range(3)),
    )
    assert len(answers) == 11
    assert await pool.fetchval("SELECT count(*) FROM webhooks.pending") == 1
    assert await log_of(pool, endpoint["id"]) == []
    async with working(resources):
        await until(lambda: log_of(pool, endpoint["id"]))
    assert [got.id for got in receiver.got] == [event_id]
    assert attempts_in(await detail(customer, endpoint["id"], event_id))[-1] == (2, 200, True)


async def test_disabling_cancels_what_was_sent_again_before_and_nothing_after(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    endpoint = await customer.create(receiver.url)
    event_id = await store(pool, customer, endpoint["id"])
    await resend(customer, endpoint["id"], event_id)
    await enable(customer, endpoint, receiver.url, enabled=False)
    assert (await detail(customer, endpoint["id"], event_id))["status"] == "canceled"
    for path in (f"deliveries/{event_id}/resend", "test", "recover"):
        body = {"test": {}, "recover": {"since": "2026-01-01T00:00:00Z"}}.get(path)
        answer = await customer.call("POST", f"/v1/webhooks/{endpoint['id']}/{path}", body)
        assert (answer.status, answer.json["code"]) == (409, "webhook_disabled")
    await enable(customer, endpoint, receiver.url, enabled=True)
    assert (await resend(customer, endpoint["id"], event_id))["status"] == "pending"
    async with working(resources):
        await until(lambda: receiver.got)
        await until(lambda: log_of(pool, endpoint["id"]))
    assert (await detail(customer, endpoint["id"], event_id))["status"] == "succeeded"


async def test_a_resend_that_waited_while_the_endpoint_was_off_is_not_dropped(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    """It began before the endpoint was disabled and got its turn after it was enabled again."""
    endpoint = await customer.create(receiver.url)
    event_id = await store(pool, customer, endpoint["id"])
    async with pool.acquire() as other, other.transaction():
        await other.execute("SELECT FROM webhooks.endpoints FOR UPDATE")
        waiting = asyncio.create_task(resend(customer, endpoint["id"], event_id))
        await until(lambda: pool.fetchval("SELECT count(*) = 1 FROM pg_locks WHERE NOT granted"))
        await other.execute("UPDATE webhooks.endpoints SET dropped_before = clock_timestamp(), version = version + 1")
    await waiting
    async with working(resources):
        await until(lambda: receiver.got)


async def test_disabling_and_sending_again_at_the_same_time_leave_nothing_to_be_sent(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    endpoint = await customer.create(receiver.url)
    event_ids = [await store(pool, customer, endpoint["id"]) for _ in range(20)]
    path = f"/v1/webhooks/{endpoint['id']}/deliveries"
    asked = [customer.call("POST", f"{path}/{event_id}/resend") for event_id in event_ids]
    asked.insert(10, customer.call("PUT", f"/v1/webhooks/{endpoint['id']}", {
        "url": receiver.url, "events": ["*"], "enabled": False,
    }))  # fmt: skip
    answers = await asyncio.gather(*asked)
    assert {answer.status for answer in answers} <= {200, 202, 409}
    assert await pool.fetchval("SELECT count(*) FROM webhooks.pending") == 0
    rows = await deliveries(customer, endpoint["id"])
    assert len(rows) == 20
    canceled = [row for row in rows if row["status"] == "canceled"]
    assert len(canceled) == [answer.status for answer in answers].count(202)
    async with working(resources):
        await enable(customer, endpoint, receiver.url, enabled=True)
        await resend(customer, endpoint["id"], event_ids[0])
        await until(lambda: receiver.got)
    assert receiver.ids == {event_ids[0]}


@pytest.mark.parametrize("late", [200, 500])
async def test_a_late_answer_from_before_the_resend_is_no_answer_to_it(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver, late: int
) -> None:
    go = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        if len(receiver.got) == 1:
            await go.wait()
            return web.Response(status=late)
        return web.Response(status=503)

    receiver.answer = answer
    endpoint = await customer.create(receiver.url)
    async with working(resources, STILL) as own:
        (event,) = await publish(pool, customer.account_id)
        await until(lambda: receiver.got)
        await enable(customer, endpoint, receiver.url, enabled=False)  # cancels it, though it is under way
        await enable(customer, endpoint, receiver.url, enabled=True)
        await resend(customer, endpoint["id"], event.id)
        await until(lambda: len(receiver.got) == 2)
        await until(lambda: pool.fetchval("SELECT attempts = 1 AND NOT leased FROM webhooks.pending"))
        go.set()
        own.stopping.set()  # all that is known is written before it ends
    row = await pool.fetchrow("SELECT attempts, due_at > now() + interval '700 s' AS late FROM webhooks.pending")
    assert (row["attempts"], row["late"]) == (1, True)
    assert await log_of(pool, endpoint["id"]) == []


@pytest.mark.parametrize("outcome", [SUCCEEDED, EXHAUSTED, RETRY])
async def test_a_lease_from_before_the_resend_holds_nothing_even_if_nobody_claimed_it_since(
    pool: Pool, customer: Customer, outcome: str
) -> None:
    endpoint = await customer.create("https://example.com/")
    event_id = await store(pool, customer, endpoint["id"], "canceled")
    await resend(customer, endpoint["id"], event_id)
    before = await pool.fetch("SELECT * FROM webhooks.pending")
    error = None if outcome == SUCCEEDED else "timeout: no complete answer in time"
    late = Result(
        UUID(endpoint["id"]), UUID(event_id), 1, 0, 1, outcome, datetime.now(UTC), 5, None, error, None, 1000.0, 1000.0
    )
    async with pool.acquire() as connection, connection.transaction():
        await delivery_queries.finish(connection, [late])
        await delivery_queries.postpone(connection, [late])
    await delivery_queries.cancel(pool, [(late.endpoint_id, late.event_id, late.claims)])
    await delivery_queries.release(pool, [(late.endpoint_id, late.event_id, late.claims)])
    assert await pool.fetch("SELECT * FROM webhooks.pending") == before
    assert len(before) == 1


async def test_a_resend_while_a_killed_worker_holds_the_delivery_is_made_when_its_lease_ends(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    slow = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        await slow.wait()
        return web.Response()

    receiver.answer = answer
    endpoint = await customer.create(receiver.url)
    event_id = await store(pool, customer, endpoint["id"])
    pace = replace(QUICK, lease_s=1.5, timeout_s=1.0, spare_s=0.1)
    killed = asyncio.create_task(work(resources, pace=pace))
    await resend(customer, endpoint["id"], event_id)
    await until(lambda: receiver.got)
    killed.cancel()
    await asyncio.gather(killed, return_exceptions=True)
    await resend(customer, endpoint["id"], event_id)
    slow.set()
    async with working(resources, pace):
        await until(lambda: log_of(pool, endpoint["id"]))
    assert [got.id for got in receiver.got] == [event_id] * 2
    assert attempts_in(await detail(customer, endpoint["id"], event_id)) == [(1, 500, False), (2, 200, True)]


async def test_sending_again_while_the_endpoint_says_it_is_gone_never_fails(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    """The worker writes failures and disables the endpoint in one transaction: no deadlock with who sends again."""
    receiver.answer = answering(*([500] * 7 + [410]) * 12, 200)
    endpoint = await customer.create(receiver.url)
    event_ids = [await store(pool, customer, endpoint["id"]) for _ in range(12)]
    seen = set()
    with capture_logs() as logs:
        async with working(resources, replace(QUICK, schedule_s=(0.0,) * 7)):
            for _ in range(8):
                await enable(customer, endpoint, receiver.url, enabled=True)
                path = f"/v1/webhooks/{endpoint['id']}/deliveries"
                asked = (customer.call("POST", f"{path}/{event_id}/resend") for event_id in event_ids)
                seen |= {answer.status for answer in await asyncio.gather(*asked)}
    assert seen <= {202, 409}
    assert 202 in seen
    flushes = [entry for entry in logs if entry["event"] in {"flush_retried", "flush_split", "flush_failed"}]
    assert not [entry for entry in flushes if entry["of"] == "webhook attempts"]
    kept = await pool.fetchval("SELECT count(*) FROM webhooks.deliveries")
    assert kept + await pool.fetchval("SELECT count(*) FROM webhooks.pending") == 12


async def test_recovering_sends_all_that_failed_since_and_nothing_else(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    endpoint, other = await customer.create(receiver.url), await customer.create(receiver.url)
    failed = [await store(pool, customer, endpoint["id"], age=timedelta(hours=hours)) for hours in (1, 2, 3)]
    await store(pool, customer, endpoint["id"], age=timedelta(hours=5))
    await store(pool, customer, endpoint["id"], "canceled")
    await store(pool, customer, endpoint["id"], "succeeded")
    await store(pool, customer, other["id"])
    path = f"/v1/webhooks/{endpoint['id']}/recover"
    async with working(resources, BY_BELL):
        await until(lambda: pool.fetchval("SELECT true FROM webhooks.positions"))
        later = await customer.call("POST", path, {"since": rfc3339(datetime.now(UTC) + timedelta(hours=1))})
        assert later.json == {"deliveries": 0}
        since = {"since": rfc3339(datetime.now(UTC) - timedelta(hours=4))}
        answer = await customer.call("POST", path, since)
        assert (answer.status, answer.json) == (202, {"deliveries": 3})
        await until(lambda: receiver.ids == set(failed), 1.0)
        await until(lambda: pool.fetchval("SELECT count(*) = 0 FROM webhooks.pending"))
        assert (await customer.call("POST", path, since)).json == {"deliveries": 0}
    assert len(receiver.got) == 3
    entries = await pool.fetch("SELECT detail FROM storage.audit_log WHERE action = 'webhook.deliveries_recovered'")
    assert sorted(msgspec.json.decode(entry["detail"])["deliveries"] for entry in entries) == [0, 0, 3]


@pytest.mark.parametrize("way", ["resend", "recover"])
async def test_sending_again_while_texts_are_deleted_skips_nothing(pool: Pool, customer: Customer, way: str) -> None:
    """Whoever deletes texts holds rows of the log for a while."""
    endpoint = await customer.create("https://example.com/")
    event_id = await store(pool, customer, endpoint["id"], "exhausted")
    await pool.execute('UPDATE webhooks.events SET body = \'{"data":{"body":"x"}}\'')
    await pool.execute("UPDATE webhooks.deliveries SET response = 'x'")
    message_id = await pool.fetchval("SELECT message_id FROM webhooks.events")
    path = f"/v1/webhooks/{endpoint['id']}"
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await delete_texts(connection, [message_id])
        if way == "resend":
            asked = asyncio.create_task(customer.call("POST", f"{path}/deliveries/{event_id}/resend"))
        else:
            asked = asyncio.create_task(customer.call("POST", f"{path}/recover", {"since": "2026-01-01T00:00:00Z"}))
        await asyncio.sleep(0.2)
        await transaction.commit()
    assert (await asked).status == 202
    assert await pool.fetchval("SELECT count(*) FROM webhooks.pending WHERE event_id = $1", event_id) == 1


async def test_one_call_recovers_so_many_and_the_next_goes_on_oldest_first(
    pool: Pool, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MOST_RECOVERED", 2)
    endpoint = await customer.create("https://example.com/")
    made = [await store(pool, customer, endpoint["id"], age=timedelta(hours=9 - number)) for number in range(5)]
    for count, left in ((2, made[2:]), (2, made[4:]), (1, [])):
        answer = await customer.call(
            "POST", f"/v1/webhooks/{endpoint['id']}/recover", {"since": "2026-01-01T00:00:00Z"}
        )
        assert answer.json == {"deliveries": count}
        assert [row["id"] for row in await deliveries(customer, endpoint["id"], "?status=failed")] == left[::-1]


async def test_a_backlog_that_is_recovered_delays_no_other_account(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver, app: ServiceApp
) -> None:
    other = Customer(app)
    endpoint, _ = await customer.create(receiver.url), await other.create(receiver.url)
    await pool.execute(
        """
        WITH made AS (
            INSERT INTO webhooks.events (id, account_id, type, at, body)
            SELECT new.id, $1, 'message.sent', now(), '{}' FROM unnest($3::uuid[]) AS new (id) RETURNING id
        )
        INSERT INTO webhooks.deliveries (endpoint_id, event_id, completed_at, attempts, claims, state)
        SELECT $2, id, now(), 8, 8, 'exhausted' FROM made
        """,
        customer.account_id,
        endpoint["id"],
        [new_id() for _ in range(3000)],
    )
    async with working(resources, replace(QUICK, window=2, most_window=2)):
        path = f"/v1/webhooks/{endpoint['id']}/recover"
        answer = await customer.call("POST", path, {"since": "2026-01-01T00:00:00Z"})
        assert answer.json == {"deliveries": 3000}
        began = time.perf_counter()
        (event,) = await publish(pool, other.account_id)
        await until(lambda: str(event.id) in receiver.ids)
        assert time.perf_counter() - began < 1.0
        assert await pool.fetchval("SELECT count(*) > 1000 FROM webhooks.pending")


async def test_a_test_event_arrives_within_a_second_whatever_the_endpoint_asks_for(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    endpoint = await customer.create(receiver.url, ["message.expired"])
    silent = await customer.create(receiver.url + "/other", ["*"])
    shown: dict[str, dict[str, Any]] = {}
    with capture_logs() as logs:
        async with working(resources, BY_BELL):
            await until(lambda: pool.fetchval("SELECT true FROM webhooks.positions"))
            for number, event_type in enumerate(EVENT_TYPES, 1):
                body = {"event_type": event_type}
                answer = await customer.call("POST", f"/v1/webhooks/{endpoint['id']}/test", body)
                assert answer.status == 202, answer.json
                shown[answer.json["id"]] = answer.json
                await until(lambda number=number: len(receiver.got) == number, 1.0)
            await until(lambda: pool.fetchval("SELECT count(*) = 0 FROM webhooks.pending"))
    assert [one["event_type"] for one in shown.values()] == list(EVENT_TYPES)
    for got, expected in zip(receiver.got, shown.values(), strict=True):
        assert got.id == expected["id"]
        assert (expected["message_id"], expected["status"]) == (None, "pending")
        sent: Any = Webhook(endpoint["secret"]).verify(got.body, got.headers)
        assert (sent["type"], sent["timestamp"]) == (expected["event_type"], expected["created_at"])
        data: Any = msgspec.convert(sent["data"], EVENT_DATA[sent["type"]])
        if sent["type"] in BILLING_EVENT_DATA:
            assert data.id == "00000000-0000-7000-8000-000000000000"
            continue
        if sent["type"] not in MESSAGE_EVENTS:
            assert data.webhook_id == "00000000-0000-7000-8000-000000000000"
            continue
        message = msgspec.convert(sent["data"], Message)
        assert message.body == "This is a test event from Ghasi."
        assert message.to.startswith("+1500555")
        received = sent["type"] == "message.received"
        assert message.direction == ("inbound" if received else "outbound")
        assert message.status == sent["type"].removeprefix("message.")
    rows = await deliveries(customer, endpoint["id"])
    assert {(row["id"], row["status"], row["message_id"]) for row in rows} == {
        (key, "succeeded", None) for key in shown
    }
    assert await deliveries(customer, silent["id"]) == []
    assert "test event" not in str(logs)


async def test_a_test_event_is_tried_again_as_any_other_and_of_known_types_alone(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    receiver.answer = answering(500, 200)
    endpoint = await customer.create(receiver.url)
    path = f"/v1/webhooks/{endpoint['id']}/test"
    refused = await customer.call("POST", path, {"event_type": "message.lost"})
    assert (refused.status, refused.json["errors"][0]["field"]) == (422, "event_type")
    assert await pool.fetchval("SELECT count(*) FROM webhooks.events") == 0
    async with working(resources):
        shown = (await customer.call("POST", path, {})).json
        assert shown["event_type"] == "message.delivered"
        await until(lambda: log_of(pool, endpoint["id"]))
    assert [got.id for got in receiver.got] == [shown["id"]] * 2
    assert len(await attempts_of(pool, endpoint["id"])) == 1


async def test_a_delivery_that_never_was_is_not_found(customer: Customer) -> None:
    endpoint = await customer.create("https://example.com/")
    for method, path in (("GET", ""), ("POST", "/resend")):
        answer = await customer.call(method, f"/v1/webhooks/{endpoint['id']}/deliveries/{new_id()}{path}")
        assert (answer.status, answer.json["code"]) == (404, "not_found")
