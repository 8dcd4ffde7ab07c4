"""Dry runs: which endpoints an event would reach and why, from what is told of it or from a stored one."""

from typing import Any

import pytest

from ghasi.contract.serving import ServiceApp
from ghasi.contract.shapes import BILLING_EVENT_DATA, MESSAGE_EVENTS, WEBHOOK_EVENT_DATA
from ghasi.contract.values import new_id
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from ghasi.webhooks.model import MAX_ENDPOINTS
from tests.webhooks.conftest import Customer, Receiver, log_of, publish, until, working

PATH = "/v1/webhooks/dry-run"
URL = "https://example.com/hook"


async def dry_run(customer: Customer, **body: Any) -> list[dict[str, Any]]:
    answer = await customer.call("POST", PATH, body)
    assert answer.status == 200, answer.json
    data: list[dict[str, Any]] = answer.json["data"]
    return data


async def reasons(customer: Customer, **body: Any) -> list[tuple[str, str | None]]:
    rows = await dry_run(customer, **body)
    assert [row["reached"] for row in rows] == [row["reason"] == "reached" for row in rows]
    return [(row["reason"], row["field"]) for row in rows]


async def test_each_endpoint_says_why_the_newest_first(customer: Customer, app: ServiceApp) -> None:
    made = [
        await customer.create(URL, ["message.*"], description="all"),
        await customer.create(URL, ["message.sent"]),
        await customer.create(URL, ["*"], enabled=False),
        await customer.create(URL, ["*"], filter={"country": ["DE"]}),
        await customer.create(URL, ["*"], filter={"country": ["AF"], "reference": ["order-*"]}),
        await customer.create(URL, ["*"], filter={"sender": ["Bakery"]}),
        await customer.create(URL, ["*"], filter={"status": ["delivered"]}),
        await customer.create(URL, ["message.failed"], filter={"country": ["DE"]}, enabled=False),
    ]
    await Customer(app).create(URL)
    data = {"country": "AF", "from": "Bakery", "to": "+93701234567"}
    rows = await dry_run(customer, event_type="message.delivered", data=data)
    assert [(row["webhook_id"], row["url"], row["description"]) for row in rows] == [
        (one["id"], URL, one["description"]) for one in reversed(made)
    ]
    assert await reasons(customer, event_type="message.delivered", data=data) == [
        ("disabled", None), ("reached", None), ("reached", None), ("filter", "reference"), ("filter", "country"),
        ("disabled", None), ("event_type", None), ("reached", None),
    ]  # fmt: skip
    assert (await reasons(customer, event_type="message.delivered"))[2] == ("filter", "sender")
    assert (await reasons(customer, event_type="message.sent"))[1] == ("filter", "status")
    assert (await reasons(customer, event_type="message.sent", data={"status": "delivered"}))[1] == ("reached", None)
    assert await dry_run(Customer(app), event_type="message.sent") == []


async def test_filters_are_asked_of_messages_alone(customer: Customer) -> None:
    await customer.create(URL, ["*"], filter={"country": ["DE"]})
    await customer.create(URL, ["message.*"])
    for event_type in (*WEBHOOK_EVENT_DATA, *BILLING_EVENT_DATA):
        assert await reasons(customer, event_type=event_type) == [("event_type", None), ("reached", None)]


@pytest.mark.parametrize("event_type", MESSAGE_EVENTS)
async def test_it_says_what_the_feed_does(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver, event_type: str
) -> None:
    """An event of each type, stored: what a dry run of it says is who got it."""
    status = event_type.partition(".")[2]
    made = [
        await customer.create(receiver.url, events, filter=asked)
        for events in (["*"], [event_type], ["message.sent"])
        for asked in (None, {"country": ["AF"]}, {"status": ["delivered", "sent"]}, {"reference": ["7*"]})
    ]
    async with working(resources):
        (event,) = await publish(pool, customer.account_id, status=status, country="AF", reference="71")
        await until(lambda: pool.fetchval("SELECT true FROM webhooks.events"))
        await until(lambda: pool.fetchval("SELECT count(*) = 0 FROM webhooks.pending"))
        reached = {one["id"] for one in made if await log_of(pool, one["id"])}
    rows = await dry_run(customer, event_type=event_type, message_id=str(event.subject_id))
    assert {row["webhook_id"] for row in rows if row["reached"]} == reached
    told = await dry_run(customer, event_type=event_type, data={"country": "AF", "reference": "71"})
    assert told == rows


async def test_a_message_without_such_an_event_is_not_found(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver, app: ServiceApp
) -> None:
    endpoint = await customer.create(receiver.url)
    async with working(resources):
        (event,) = await publish(pool, customer.account_id)
        await until(lambda: log_of(pool, endpoint["id"]))
    asked = {"event_type": "message.delivered", "message_id": str(event.subject_id)}
    assert (await customer.call("POST", PATH, asked)).status == 200
    for other in ({"event_type": "message.sent"}, {"message_id": str(new_id())}):
        answer = await customer.call("POST", PATH, asked | other)
        assert (answer.status, answer.json["code"]) == (404, "not_found")
    assert (await Customer(app).call("POST", PATH, asked)).status == 404
    before = len(receiver.got)
    assert before == 1  # nothing was sent for it


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"event_type": "message.lost"}, "event_type"),
        ({"event_type": "message.sent", "message_id": "x" * 36}, "message_id"),
        ({"event_type": "message.sent", "message_id": "0" * 36, "data": {}}, "data"),
        ({"event_type": "message.sent", "data": {"country": "Germany"}}, "data.country"),
        ({"event_type": "message.sent", "data": {"sender": "x"}}, "data.sender"),
        ({}, "event_type"),
    ],
)
async def test_what_is_no_event_is_refused(customer: Customer, body: dict[str, Any], field: str) -> None:
    answer = await customer.call("POST", PATH, body)
    assert (answer.status, answer.json["errors"][0]["field"]) == (422, field)


async def test_it_looks_at_as_many_endpoints_as_an_account_may_have(pool: Pool, customer: Customer) -> None:
    first = await customer.create(URL)
    await pool.execute(
        """
        INSERT INTO webhooks.endpoints (id, account_id, url, events, enabled, secret, created_at, updated_at)
        SELECT gen_random_uuid(), account_id, url, events, enabled, secret, created_at, updated_at
        FROM webhooks.endpoints, generate_series(2, $2) WHERE id = $1
        """,
        first["id"], MAX_ENDPOINTS,
    )  # fmt: skip
    assert len(await dry_run(customer, event_type="message.sent")) == MAX_ENDPOINTS
