"""What a customer sees of deliveries: lists, filters, pages, one delivery with its attempts; and nobody else's."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from aiohttp import web

from ghasi.contract.serving import ServiceApp
from ghasi.contract.shapes import DeliveryDetail
from ghasi.contract.values import encode_cursor, first_id, id_time, new_id, rfc3339
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from tests.webhooks.conftest import QUICK, Customer, Receiver, log_of, publish, receiving, until, working

DAY = timedelta(days=1)
MILLISECOND = timedelta(milliseconds=1)
"""A first id is of its time rounded up: without one less it may be of the time to come, and no replay's."""
STATES = ("pending", "succeeded", "exhausted", "canceled")


async def deliveries(customer: Customer, endpoint_id: str, query: str = "") -> list[dict[str, Any]]:
    answer = await customer.call("GET", f"/v1/webhooks/{endpoint_id}/deliveries{query}")
    assert answer.status == 200, answer.json
    data: list[dict[str, Any]] = answer.json["data"]
    return data


async def store(
    pool: Pool,
    customer: Customer,
    endpoint_id: str,
    state: str = "exhausted",
    *,
    age: timedelta = timedelta(),
    event_type: str = "message.delivered",
    message_id: UUID | None = None,
    answered: int | None = 500,
) -> str:
    """Write a delivery as a worker leaves it, of an event so old, and return its id; `answered` where it failed."""
    event_id = UUID(int=first_id(datetime.now(UTC) - age - MILLISECOND).int + new_id().int % 2**62)
    await pool.execute(
        "INSERT INTO webhooks.events (id, account_id, message_id, type, at, body) VALUES ($1, $2, $3, $4, $5, '{}')",
        event_id, customer.account_id, message_id or new_id(), event_type, id_time(event_id),
    )  # fmt: skip
    if state == "pending":
        await pool.execute(
            "INSERT INTO webhooks.pending (endpoint_id, event_id, due_at, attempts) VALUES ($1, $2, $3, 1)",
            endpoint_id, event_id, datetime.now(UTC) + DAY,
        )  # fmt: skip
    else:
        status_code = 204 if state == "succeeded" else None
        await pool.execute(
            """
            INSERT INTO webhooks.deliveries
                (endpoint_id, event_id, completed_at, attempts, claims, duration_ms, status_code, state)
            VALUES ($1, $2, now(), 1, 1, $3, $4, $5)
            """,
            endpoint_id, event_id, status_code, status_code, state,
        )  # fmt: skip
    if state != "succeeded":
        await pool.execute(
            "INSERT INTO webhooks.attempts (endpoint_id, event_id, number, at, duration_ms, status_code, error) "
            "VALUES ($1, $2, 1, now(), 5, $3, 'status: it failed')",
            endpoint_id, event_id, answered,
        )  # fmt: skip
    return str(event_id)


async def test_a_list_has_pending_and_ended_ones_newest_first_and_pages_lose_none(
    pool: Pool, customer: Customer
) -> None:
    endpoint = await customer.create("https://example.com/")
    made = [
        await store(pool, customer, endpoint["id"], STATES[number % 4], age=timedelta(hours=20 - number))
        for number in range(18)
    ]
    newest_first = made[::-1]
    assert [row["id"] for row in await deliveries(customer, endpoint["id"])] == newest_first
    seen: list[str] = []
    cursor = ""
    while True:
        answer = await customer.call("GET", f"/v1/webhooks/{endpoint['id']}/deliveries?limit=5{cursor}")
        seen += [row["id"] for row in answer.json["data"]]
        if answer.json["next_cursor"] is None:
            break
        cursor = f"&cursor={answer.json['next_cursor']}"
    assert seen == newest_first
    for number, shown in enumerate(("pending", "succeeded", "failed", "canceled")):
        rows = await deliveries(customer, endpoint["id"], f"?status={shown}&limit=100")
        assert [row["id"] for row in rows] == made[number::4][::-1]
        assert {row["status"] for row in rows} == {shown}
        assert {row["response_status"] for row in rows} == {204 if shown == "succeeded" else 500}
        assert {row["next_attempt_at"] is not None for row in rows} == {shown == "pending"}
        assert {row["completed_at"] is None for row in rows} == {shown == "pending"}


async def test_filters(pool: Pool, customer: Customer) -> None:
    endpoint = await customer.create("https://example.com/")
    message_id = new_id()
    old = await store(pool, customer, endpoint["id"], age=3 * DAY, event_type="message.sent", message_id=message_id)
    new = await store(pool, customer, endpoint["id"], "pending", age=DAY, message_id=message_id)
    other = await store(pool, customer, endpoint["id"], "succeeded")

    async def ids(query: str) -> list[str]:
        return [row["id"] for row in await deliveries(customer, endpoint["id"], query)]

    assert await ids(f"?message_id={message_id}") == [new, old]
    assert await ids(f"?message_id={new_id()}") == []
    assert await ids("?event_type=message.sent") == [old]
    assert await ids("?event_type=message.delivered&status=succeeded") == [other]
    at = {key: rfc3339(id_time(UUID(key))) for key in (old, new, other)}
    assert await ids(f"?created_after={at[old]}") == [other, new]  # exclusive
    assert await ids(f"?created_before={at[new]}") == [old]
    assert await ids(f"?created_after={at[old]}&created_before={at[other]}&limit=1") == [new]
    shown = (await deliveries(customer, endpoint["id"], "?event_type=message.sent"))[0]
    assert (shown["created_at"], shown["message_id"], shown["attempt_count"]) == (at[old], str(message_id), 1)
    for query, field in (("event_type=message.lost", "event_type"), (f"message_id={'x' * 36}", "message_id")):
        answer = await customer.call("GET", f"/v1/webhooks/{endpoint['id']}/deliveries?{query}")
        assert (answer.status, answer.json["errors"][0]["field"]) == (422, field)


async def test_what_is_older_than_30_days_is_not_there(pool: Pool, customer: Customer) -> None:
    endpoint = await customer.create("https://example.com/")
    message_id = new_id()
    kept = [await store(pool, customer, endpoint["id"], age=29 * DAY, message_id=message_id)]
    old = [await store(pool, customer, endpoint["id"], state, age=31 * DAY, message_id=message_id) for state in STATES]
    assert [row["id"] for row in await deliveries(customer, endpoint["id"])] == kept
    caused = (await customer.call("GET", f"/v1/messages/{message_id}/deliveries")).json["data"]
    assert [row["id"] for row in caused] == kept
    for event_id in old:
        path = f"/v1/webhooks/{endpoint['id']}/deliveries/{event_id}"
        assert (await customer.call("GET", path)).status == 404
        assert (await customer.call("POST", f"{path}/resend")).status == 404
    since = {"since": rfc3339(datetime.now(UTC) - 60 * DAY)}
    recovered = await customer.call("POST", f"/v1/webhooks/{endpoint['id']}/recover", since)
    assert (recovered.status, recovered.json) == (202, {"deliveries": 1})


async def test_a_delivery_has_its_attempts_with_their_times_answers_and_errors(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    arrived: list[datetime] = []

    async def slow(_: web.Request) -> web.Response:
        arrived.append(datetime.now(UTC))
        await asyncio.sleep(0.2)
        return web.Response(status=500, text="x" * 5000) if len(arrived) == 1 else web.Response(text="thanks")

    receiver.answer = slow
    endpoint = await customer.create(receiver.url)
    async with working(resources):
        (event,) = await publish(pool, customer.account_id)
        await until(lambda: log_of(pool, endpoint["id"]))
    answer = await customer.call("GET", f"/v1/webhooks/{endpoint['id']}/deliveries/{event.id}")
    shown = msgspec.json.decode(answer.body, type=DeliveryDetail)
    assert (shown.status, shown.attempt_count, shown.response_status) == ("succeeded", 2, 200)
    assert (shown.id, shown.webhook_id, shown.message_id) == (str(event.id), endpoint["id"], str(event.subject_id))
    assert (shown.url, shown.body.encode()) == (receiver.url, receiver.got[0].body)
    first, second = shown.attempts
    assert (first.number, first.response_status, first.response_body) == (1, 500, "x" * 4096)
    assert first.error == "status: the endpoint answered 500"
    assert (second.number, second.response_status, second.response_body, second.error) == (2, 200, "thanks", None)
    for attempt, reached in zip(shown.attempts, arrived, strict=True):
        # it began when it was sent, not when it was written down
        assert -0.05 < (reached - datetime.fromisoformat(attempt.at)).total_seconds() < 0.15
        assert 190 <= attempt.duration_ms < 400
    assert shown.completed_at is not None
    ended = datetime.fromisoformat(shown.completed_at) - datetime.fromisoformat(second.at)
    assert abs(ended / timedelta(milliseconds=1) - second.duration_ms) <= 1


async def test_an_attempt_under_way_is_not_shown_as_due_later(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    go = asyncio.Event()

    async def hold(_: web.Request) -> web.Response:
        await go.wait()
        return web.Response(status=500)

    receiver.answer = hold
    endpoint = await customer.create(receiver.url)
    async with working(resources, replace(QUICK, schedule_s=(1000.0,) * 7)):
        await publish(pool, customer.account_id)
        await until(lambda: receiver.got)
        (row,) = await deliveries(customer, endpoint["id"])
        assert row["next_attempt_at"] <= rfc3339(datetime.now(UTC))
        go.set()
        await until(lambda: pool.fetchval("SELECT attempts = 1 FROM webhooks.pending"))
        (row,) = await deliveries(customer, endpoint["id"])
        assert row["next_attempt_at"] > rfc3339(datetime.now(UTC) + timedelta(seconds=700))
        assert (row["attempt_count"], row["response_status"]) == (1, 500)


async def test_what_a_message_caused_is_shown_for_all_endpoints_deleted_ones_too(
    resources: Resources, pool: Pool, customer: Customer, app: ServiceApp
) -> None:
    async with receiving() as one, receiving() as two:
        first, second = await customer.create(one.url), await customer.create(two.url)
        async with working(resources):
            events = await publish(pool, customer.account_id, 2)
            await until(lambda: len(one.got) == len(two.got) == 2)
            await until(lambda: pool.fetchval("SELECT count(*) = 4 FROM webhooks.deliveries"))
    await pool.execute("UPDATE webhooks.events SET message_id = $1", events[0].subject_id)
    await customer.call("DELETE", f"/v1/webhooks/{second['id']}")
    path = f"/v1/messages/{events[0].subject_id}/deliveries"
    expected = sorted(
        ((str(event.id), endpoint["id"]) for event in events for endpoint in (first, second)), reverse=True
    )
    shown = (await customer.call("GET", path)).json
    assert [(row["id"], row["webhook_id"]) for row in shown["data"]] == expected
    assert shown["next_cursor"] is None
    seen, cursor = [], ""
    for _ in expected:
        page = (await customer.call("GET", f"{path}?limit=1{cursor}")).json
        seen += [(row["id"], row["webhook_id"]) for row in page["data"]]
        cursor = f"&cursor={page['next_cursor']}"
    assert (seen, page["next_cursor"]) == (expected, None)
    after = (await customer.call("GET", f"{path}?cursor={encode_cursor(expected[0][0])}")).json["data"]
    assert [row["id"] for row in after] == [expected[2][0]] * 2  # a cursor of an event goes on behind all of it
    assert (await customer.call("GET", f"/v1/messages/{new_id()}/deliveries")).json["data"] == []
    assert (await Customer(app).call("GET", path)).json == {"data": [], "next_cursor": None}
    three = encode_cursor(*(str(new_id()) for _ in range(3)))
    assert (await customer.call("GET", f"{path}?cursor={three}")).json["code"] == "invalid_cursor"


@pytest.mark.parametrize("state", STATES)
async def test_another_accounts_deliveries_are_not_found_nor_touched(
    pool: Pool, customer: Customer, app: ServiceApp, state: str
) -> None:
    stranger = Customer(app)
    endpoint, own = await customer.create("https://example.com/"), await stranger.create("https://example.org/")
    event_id = await store(pool, customer, endpoint["id"], state)

    async def everything() -> list[Any]:
        return [await pool.fetch(f"SELECT * FROM webhooks.{table}") for table in ("pending", "deliveries", "events")]

    before = await everything()
    # by way of the owner's endpoint, and of one's own
    for webhook_id in (endpoint["id"], own["id"]):
        path = f"/v1/webhooks/{webhook_id}/deliveries"
        assert (await stranger.call("GET", f"{path}/{event_id}")).status == 404
        assert (await stranger.call("POST", f"{path}/{event_id}/resend")).status == 404
    path = f"/v1/webhooks/{endpoint['id']}"
    assert (await stranger.call("GET", f"{path}/deliveries")).status == 404
    assert (await stranger.call("POST", f"{path}/test", {})).status == 404
    assert (await stranger.call("POST", f"{path}/recover", {"since": rfc3339(datetime.now(UTC) - DAY)})).status == 404
    assert await everything() == before
    await customer.call("DELETE", path)
    assert (await customer.call("GET", f"{path}/deliveries")).status == 404
    assert (await customer.call("GET", f"{path}/deliveries/{event_id}")).status == 404
