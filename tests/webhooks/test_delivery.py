"""Deliveries to real receivers: what arrives, what is tried again, and what is written down."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from aiohttp import web
from standardwebhooks import Webhook

import ghasi
from ghasi.contract.values import rfc3339
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from ghasi.webhooks.delivering.recording import delay_s
from ghasi.webhooks.model import SCHEDULE_S, Pace
from tests.webhooks.conftest import (
    QUICK,
    Customer,
    Receiver,
    attempts_of,
    log_of,
    publish,
    receiving,
    until,
    working,
)


async def test_an_event_arrives_signed_and_whole(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    endpoint = await customer.create(receiver.url, ["message.*"], headers={"X-Token": "t0ken"})
    async with working(resources):
        (event,) = await publish(pool, customer.account_id)
        await until(lambda: receiver.got)
        (row,) = await until(lambda: log_of(pool, endpoint["id"]))
    (got,) = receiver.got
    assert Webhook(endpoint["secret"]).verify(got.body, got.headers) == {
        "type": "message.delivered",
        "timestamp": rfc3339(event.at),
        "data": msgspec.json.decode(event.data),
    }
    assert got.id == str(event.id)
    assert got.headers["content-type"] == "application/json"
    assert got.headers["user-agent"] == f"Ghasi-Webhooks/{ghasi.__version__}"
    assert got.headers["x-token"] == "t0ken"
    assert (row["state"], row["attempts"], row["status_code"], row["response"]) == ("succeeded", 1, 200, "thanks")
    assert row["duration_ms"] >= 0
    assert await pool.fetchval("SELECT count(*) FROM webhooks.pending") == 0
    assert await attempts_of(pool, endpoint["id"]) == []


async def test_only_what_was_asked_for_arrives_and_at_every_endpoint_that_asked(
    resources: Resources, pool: Pool, customer: Customer, app: Any
) -> None:
    stranger = Customer(app)
    async with receiving() as failures, receiving() as everything, receiving() as off, receiving() as foreign:
        await customer.create(failures.url, ["message.failed", "message.undelivered"])
        await customer.create(everything.url, ["*"])
        await customer.create(off.url, ["*"], enabled=False)
        await stranger.create(foreign.url, ["*"])
        async with working(resources):
            delivered = await publish(pool, customer.account_id, 3)
            failed = await publish(pool, customer.account_id, 2, "failed")
            await until(lambda: len(everything.got) == 5 and len(failures.got) == 2)
        assert everything.ids == {str(event.id) for event in delivered + failed}
        assert failures.ids == {str(event.id) for event in failed}
        assert not off.got
        assert not foreign.got


async def test_an_account_without_endpoints_leaves_no_rows(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver, app: Any
) -> None:
    await customer.create(receiver.url)
    async with working(resources):
        await publish(pool, Customer(app).account_id, 50)
        await publish(pool, customer.account_id)
        await until(lambda: receiver.got)
    assert await pool.fetchval("SELECT count(*) FROM webhooks.events") == 1


async def test_an_event_that_is_read_again_is_not_delivered_again(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    await customer.create(receiver.url)
    async with working(resources):
        await publish(pool, customer.account_id, 3)
        await until(lambda: len(receiver.got) == 3)
    await pool.execute("UPDATE webhooks.positions SET xid = '0'")  # as a restore into another cluster does
    async with working(resources):
        last = await publish(pool, customer.account_id)
        await until(lambda: str(last[0].id) in receiver.ids)
    assert len(receiver.got) == 4


async def test_both_secrets_sign_after_a_rotation_and_then_the_new_one_alone(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    endpoint = await customer.create(receiver.url)
    rotated = (await customer.call("POST", f"/v1/webhooks/{endpoint['id']}/rotate")).json
    async with working(resources):
        await publish(pool, customer.account_id)
        await until(lambda: receiver.got)
        for secret in (endpoint["secret"], rotated["secret"]):
            Webhook(secret).verify(receiver.got[0].body, receiver.got[0].headers)
        assert len(receiver.got[0].headers["webhook-signature"].split()) == 2
        await pool.execute("UPDATE webhooks.endpoints SET previous_until = now(), version = version + 1")
        await publish(pool, customer.account_id)
        await until(lambda: len(receiver.got) == 2)
    assert len(receiver.got[1].headers["webhook-signature"].split()) == 1
    Webhook(rotated["secret"]).verify(receiver.got[1].body, receiver.got[1].headers)


async def test_a_failure_is_tried_again_under_the_same_id_until_it_succeeds(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    async def third_time_lucky(_: web.Request) -> web.Response:
        return web.Response(status=500, text="no\0t yet") if len(receiver.got) < 3 else web.Response(status=204)

    receiver.answer = third_time_lucky
    endpoint = await customer.create(receiver.url)
    async with working(resources):
        (event,) = await publish(pool, customer.account_id)
        (row,) = await until(lambda: log_of(pool, endpoint["id"]))
    assert receiver.ids == {str(event.id)}
    assert (row["state"], row["attempts"], row["status_code"]) == ("succeeded", 3, 204)
    failed = await attempts_of(pool, endpoint["id"])
    assert [(one["number"], one["status_code"], one["response"]) for one in failed] == [
        (1, 500, "no\ufffdt yet"),
        (2, 500, "no\ufffdt yet"),
    ]
    assert failed[0]["error"] == "status: the endpoint answered 500"
    for got in receiver.got:  # each attempt has a timestamp and a signature of its own
        Webhook(endpoint["secret"]).verify(got.body, got.headers)


async def test_the_eighth_failure_is_the_last(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    async def no(_: web.Request) -> web.Response:
        return web.Response(status=503)

    receiver.answer = no
    endpoint = await customer.create(receiver.url)
    async with working(resources, replace(QUICK, schedule_s=(0.01,) * 7)):
        await publish(pool, customer.account_id)
        (row,) = await until(lambda: log_of(pool, endpoint["id"]))
    assert (row["state"], row["attempts"], row["status_code"]) == ("exhausted", 8, None)
    assert len(receiver.got) == 8
    assert len(await attempts_of(pool, endpoint["id"])) == 8
    assert await pool.fetchval("SELECT count(*) FROM webhooks.pending") == 0


async def test_a_retry_is_due_when_the_schedule_says(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    async def busy(_: web.Request) -> web.Response:
        return web.Response(status=503, headers={"Retry-After": "8"})

    receiver.answer = busy
    await customer.create(receiver.url)
    async with working(resources, Pace(jitter=0.0)):
        await publish(pool, customer.account_id)
        row = await until(
            lambda: pool.fetchrow("SELECT *, due_at - now() AS wait FROM webhooks.pending WHERE attempts = 1")
        )
    assert timedelta(seconds=7) < row["wait"] < timedelta(seconds=8.5)


def test_the_schedule_is_5_s_to_10_h_with_a_fifth_of_jitter() -> None:
    assert SCHEDULE_S == (5, 300, 1800, 7200, 18000, 36000, 36000)
    pace = Pace()
    for number, delay in enumerate(SCHEDULE_S, 1):
        drawn = [delay_s(number, None, pace) for _ in range(300)]
        assert 0.8 * delay <= min(drawn) < 0.85 * delay
        assert 1.15 * delay < max(drawn) <= 1.2 * delay
    still = Pace(jitter=0.0)
    assert delay_s(1, 7.0, still) == 7.0
    assert delay_s(1, 1000.0, still) == 10.0  # twice the delay at most
    assert delay_s(2, 1.0, still) == 300.0  # and never sooner


async def test_gone_disables_the_endpoint_and_drops_what_is_pending(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    statuses = iter([500])

    async def gone(_: web.Request) -> web.Response:
        return web.Response(status=next(statuses, 410))

    receiver.answer = gone
    endpoint = await customer.create(receiver.url)
    async with working(resources, replace(QUICK, schedule_s=(1000.0,) * 7)):
        await publish(pool, customer.account_id)
        await until(lambda: pool.fetchval("SELECT count(*) FROM webhooks.pending WHERE attempts = 1"))
        await publish(pool, customer.account_id)
        rows = await until(lambda: log_of(pool, endpoint["id"]))
    assert [row["state"] for row in rows] == ["canceled"] * 2
    assert await pool.fetchval("SELECT count(*) FROM webhooks.pending") == 0
    shown = (await customer.call("GET", f"/v1/webhooks/{endpoint['id']}")).json
    assert (shown["enabled"], shown["disabled_reason"]) == (False, "gone")
    assert len(receiver.got) == 2
    assert await pool.fetchval("SELECT actor FROM storage.audit_log WHERE action = 'webhook.disabled'")
    again = {"url": receiver.url, "events": ["*"], "enabled": True}
    shown = (await customer.call("PUT", f"/v1/webhooks/{endpoint['id']}", again)).json
    assert (shown["enabled"], shown["disabled_reason"]) == (True, None)


@pytest.mark.parametrize("ending", ["disable", "delete"])
async def test_what_is_pending_is_canceled_with_its_endpoint(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver, ending: str
) -> None:
    async def no(_: web.Request) -> web.Response:
        return web.Response(status=500)

    receiver.answer = no
    endpoint = await customer.create(receiver.url)
    path = f"/v1/webhooks/{endpoint['id']}"
    async with working(resources, replace(QUICK, schedule_s=(1000.0,) * 7)):
        await publish(pool, customer.account_id, 3)
        await until(lambda: pool.fetchval("SELECT count(*) = 3 FROM webhooks.pending WHERE attempts = 1"))
        if ending == "delete":
            assert (await customer.call("DELETE", path)).status == 204
        else:
            off = {"url": receiver.url, "events": ["*"], "enabled": False}
            assert (await customer.call("PUT", path, off)).json["disabled_reason"] is None
        assert await pool.fetchval("SELECT count(*) FROM webhooks.pending") == 0
        assert [row["state"] for row in await log_of(pool, endpoint["id"])] == ["canceled"] * 3
        await publish(pool, customer.account_id)
        assert await pool.fetchval("SELECT count(*) FROM webhooks.events") == 3
    assert len(receiver.got) == 3


async def test_what_was_pending_when_the_endpoint_was_disabled_is_not_sent_when_it_is_enabled(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    endpoint = await customer.create(receiver.url)
    path = f"/v1/webhooks/{endpoint['id']}"
    (old,) = await publish(pool, customer.account_id)
    # a delivery that canceling passes over, because a worker holds it just then
    await pool.execute(
        "INSERT INTO webhooks.events (id, account_id, type, at, body) VALUES ($1, $2, 'message.sent', now(), '{}')",
        old.id, customer.account_id,
    )  # fmt: skip
    await pool.execute(
        "INSERT INTO webhooks.pending (endpoint_id, event_id, due_at) VALUES ($1, $2, now())", endpoint["id"], old.id
    )
    async with pool.acquire() as busy, busy.transaction():
        await busy.execute("SELECT FROM webhooks.pending FOR UPDATE")
        for enabled in (False, True):
            body = {"url": receiver.url, "events": ["*"], "enabled": enabled}
            assert (await customer.call("PUT", path, body)).status == 200
    async with working(resources):
        (new,) = await publish(pool, customer.account_id)
        await until(lambda: pool.fetchval("SELECT count(*) = 2 FROM webhooks.deliveries"))
    assert receiver.ids == {str(new.id)}
