"""Events about endpoints: who gets them, what is in them, and that they end."""

from collections import Counter
from typing import Any

import msgspec
import pytest
from standardwebhooks import Webhook

from ghasi.contract.shapes import DisabledWebhook, ExhaustedDelivery, FailingWebhook
from ghasi.contract.values import rfc3339
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from ghasi.webhooks.endpoints.notices import without_query
from ghasi.webhooks.redaction import delete_texts
from tests.webhooks.conftest import Customer, Receiver, log_of, publish, receiving, until, working
from tests.webhooks.test_failing import failing_for, row_of
from tests.webhooks.test_resending import BY_BELL, STILL, TWICE, answering, detail, resend


def sent(receiver: Receiver, event_type: str) -> list[dict[str, Any]]:
    """What a receiver got of a type, each once."""
    bodies = {one.id: msgspec.json.decode(one.body) for one in receiver.got}
    return [body for body in bodies.values() if body["type"] == event_type]


async def types_of(pool: Pool) -> Counter[str]:
    return Counter(row["type"] for row in await pool.fetch("SELECT type FROM webhooks.events"))


async def test_each_step_is_told_once_to_the_other_endpoints(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    receiver.answer = answering(500)
    async with receiving() as other:
        endpoint = await customer.create(receiver.url + "?token=hidden")
        listener = await customer.create(other.url, ["webhook.failing"], filter={"country": ["AF"]})
        async with working(resources, BY_BELL):
            for days, told in ((0.9, 0), (1, 1), (1.1, 1), (2.9, 1), (3, 2), (3.5, 2), (4, 3), (4.9, 3)):
                warned = (await row_of(pool, endpoint))["warned"]
                await failing_for(pool, endpoint, warned=warned, days=days)
                since = (await row_of(pool, endpoint))["failing_since"]
                (event,) = await publish(pool, customer.account_id)
                await until(
                    lambda event=event: pool.fetchval(
                        "SELECT count(*) >= 1 FROM webhooks.attempts WHERE event_id = $1", event.id
                    )
                )
                await until(lambda told=told: len(other.got) == told, 5)
                if told > warned:
                    assert (await row_of(pool, endpoint))["warned"] == told
                    got = other.got[-1]
                    event_sent: Any = Webhook(listener["secret"]).verify(got.body, got.headers)
                    assert event_sent["type"] == "webhook.failing"
                    data = msgspec.convert(event_sent["data"], FailingWebhook)
                    assert (data.webhook_id, data.url) == (endpoint["id"], receiver.url)
                    assert data.failing_since == rfc3339(since)
                    assert data.disables_at[:10] > data.failing_since[:10]
        assert (await types_of(pool))["webhook.failing"] == 3
    assert not sent(receiver, "webhook.failing")
    assert (await row_of(pool, endpoint))["enabled"]


@pytest.mark.parametrize("reason", ["gone", "failing"])
async def test_that_an_endpoint_was_disabled_is_told_to_those_who_ask(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver, reason: str
) -> None:
    receiver.answer = answering(410 if reason == "gone" else 500)
    async with receiving() as exact, receiving() as kind, receiving() as everything, receiving() as messages:
        endpoint = await customer.create(receiver.url + "?token=hidden", ["*"])
        await customer.create(exact.url, ["webhook.disabled"])
        await customer.create(kind.url, ["webhook.*"])
        await customer.create(everything.url, ["*"])
        await customer.create(messages.url, ["message.*"])
        if reason == "failing":
            await failing_for(pool, endpoint, days=5)
        async with working(resources, STILL):
            await publish(pool, customer.account_id)
            await until(lambda: exact.got and kind.got and len(everything.got) == 2 and messages.got)
        (body,) = sent(exact, "webhook.disabled")
        assert sent(kind, "webhook.disabled") == sent(everything, "webhook.disabled") == [body]
        data = msgspec.convert(body["data"], DisabledWebhook)
        assert (data.webhook_id, data.url, data.reason) == (endpoint["id"], receiver.url, reason)
        assert data.failing_since == rfc3339((await row_of(pool, endpoint))["failing_since"])
        assert [msgspec.json.decode(one.body)["type"] for one in messages.got] == ["message.delivered"]
    assert await types_of(pool) == {"message.delivered": 1, "webhook.disabled": 1}
    assert len(receiver.got) == 1


async def test_the_last_retry_that_failed_is_told(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    receiver.answer = answering(503)
    async with receiving() as other:
        endpoint = await customer.create(receiver.url + "?token=hidden", ["message.*"])
        listener = await customer.create(other.url, ["webhook.exhausted"])
        async with working(resources, TWICE):
            events = await publish(pool, customer.account_id, 3)
            await until(lambda: len(other.got) == 3)
        told = {one["data"]["delivery_id"]: one["data"] for one in sent(other, "webhook.exhausted")}
        for event in events:
            assert msgspec.convert(told[str(event.id)], ExhaustedDelivery) == ExhaustedDelivery(
                webhook_id=endpoint["id"],
                url=receiver.url,
                delivery_id=str(event.id),
                event_type="message.delivered",
                message_id=str(event.subject_id),
                attempts=2,
                response_status=503,
                error="status: the endpoint answered 503",
            )
        # it is a delivery as any other, and of no message: not in the message's log, nor touched with its text
        before = await pool.fetch("SELECT id, body FROM webhooks.events WHERE type LIKE 'webhook.%' ORDER BY id")
        async with pool.acquire() as connection, connection.transaction():
            await delete_texts(connection, [event.subject_id for event in events])
        assert before == await pool.fetch(
            "SELECT id, body FROM webhooks.events WHERE type LIKE 'webhook.%' ORDER BY id"
        )
        assert await pool.fetchval("SELECT bool_and(body::json -> 'data' ->> 'body' IS NULL) FROM webhooks.events")
        path = f"/v1/messages/{events[0].subject_id}/deliveries"
        (caused,) = (await customer.call("GET", path)).json["data"]
        assert (caused["event_type"], caused["status"]) == ("message.delivered", "failed")
        listed = (
            await customer.call("GET", f"/v1/webhooks/{listener['id']}/deliveries?event_type=webhook.exhausted")
        ).json["data"]
        assert [(one["message_id"], one["status"]) for one in listed] == [(None, "succeeded")] * 3
        shown = await detail(customer, listener["id"], listed[0]["id"])
        assert shown["message_id"] is None
        assert msgspec.json.decode(shown["body"])["data"]["webhook_id"] == endpoint["id"]
        await resend(customer, listener["id"], listed[0]["id"])
        async with working(resources, TWICE):
            await until(lambda: len(other.got) == 4)
        assert other.got[-1].id == listed[0]["id"]


@pytest.mark.parametrize("count", [2, 6])
async def test_endpoints_that_all_fail_tell_each_other_once_and_no_more(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver, count: int
) -> None:
    receiver.answer = answering(500)
    endpoints = [await customer.create(receiver.url) for _ in range(count)]
    async with working(resources, TWICE), working(resources, TWICE):
        await publish(pool, customer.account_id)
        over = count + count * (count - 1)  # the event to each, and of each to all others
        await until(
            lambda: pool.fetchval("SELECT count(*) = $1 FROM webhooks.deliveries WHERE state = 'exhausted'", over)
        )
        assert await pool.fetchval("SELECT count(*) FROM webhooks.pending") == 0
    assert await types_of(pool) == {"message.delivered": 1, "webhook.exhausted": count}
    own = await pool.fetchval(
        """
        SELECT count(*) FROM webhooks.deliveries JOIN webhooks.events ON id = event_id
        WHERE body::json -> 'data' ->> 'webhook_id' = endpoint_id::text
        """
    )
    assert own == 0
    assert len(receiver.got) == 2 * over
    assert all([(await row_of(pool, endpoint))["enabled"] for endpoint in endpoints])


async def test_an_endpoint_that_is_dead_itself_hears_of_no_exhausted_deliveries(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    receiver.answer = answering(500)
    async with receiving() as other:
        dead, sick = [await customer.create(receiver.url) for _ in range(2)]
        await customer.create(other.url, ["webhook.*"])
        await failing_for(pool, dead, warned=1, days=2)
        async with working(resources, TWICE):
            await publish(pool, customer.account_id)
            await until(lambda: len(other.got) == 2)
            await until(lambda: pool.fetchval("SELECT count(*) = 0 FROM webhooks.pending"))
    told = await pool.fetch(
        """
        SELECT endpoint_id::text FROM webhooks.deliveries JOIN webhooks.events ON id = event_id
        WHERE type = 'webhook.exhausted' AND state = 'exhausted'
        """
    )
    assert [row["endpoint_id"] for row in told] == [sick["id"]]


async def test_a_test_event_that_fails_is_told_of_and_one_about_endpoints_is_not(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    receiver.answer = answering(500)
    async with receiving() as other:
        endpoint = await customer.create(receiver.url, ["message.*"])
        await customer.create(other.url, ["webhook.*"])
        async with working(resources, TWICE):
            for event_type in ("webhook.disabled", "message.sent"):
                path = f"/v1/webhooks/{endpoint['id']}/test"
                assert (await customer.call("POST", path, {"event_type": event_type})).status == 202
            await until(lambda: other.got)
            await until(lambda: pool.fetchval("SELECT count(*) = 0 FROM webhooks.pending"))
        (body,) = sent(other, "webhook.exhausted")
        assert (body["data"]["event_type"], body["data"]["message_id"]) == ("message.sent", None)
    assert len(await log_of(pool, endpoint["id"])) == 2


async def test_nobody_who_asks_leaves_no_rows(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    receiver.answer = answering(410)
    endpoint = await customer.create(receiver.url, ["*"])
    await customer.create("https://example.com/", ["message.failed"])
    await customer.create("https://example.com/", ["*"], enabled=False)
    async with working(resources, STILL):
        await publish(pool, customer.account_id)
        await until(lambda: pool.fetchval("SELECT NOT enabled FROM webhooks.endpoints WHERE id = $1", endpoint["id"]))
    assert await types_of(pool) == {"message.delivered": 1}


def test_a_url_is_told_without_its_query() -> None:
    assert without_query("https://example.com:8443/a/b?token=x&c=/d?e") == "https://example.com:8443/a/b"
    assert without_query("https://example.com") == "https://example.com"
