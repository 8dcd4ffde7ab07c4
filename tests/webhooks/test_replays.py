"""Replays: what an endpoint gets of a time, whatever became of it, and what is neither sent nor made again."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from ghasi.contract.serving import ServiceApp
from ghasi.contract.values import encode_cursor, first_id, id_time, new_id, rfc3339
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from ghasi.webhooks.history import replays
from ghasi.webhooks.redaction import delete_texts
from tests.webhooks.conftest import Customer, Receiver, log_of, publish, receiving, until, working
from tests.webhooks.test_log import DAY, MILLISECOND, STATES, store
from tests.webhooks.test_resending import BY_BELL, attempts_in, detail

URL = "https://example.com/"
SINCE = rfc3339(datetime.now(UTC) - timedelta(hours=1))


async def replay(customer: Customer, endpoint: dict[str, Any], since: str = SINCE, **body: Any) -> dict[str, Any]:
    answer = await customer.call("POST", f"/v1/webhooks/{endpoint['id']}/replay", {"since": since, **body})
    assert answer.status == 202, answer.json
    replayed: dict[str, Any] = answer.json
    return replayed


async def pending_of(pool: Pool, endpoint: dict[str, Any]) -> list[str]:
    rows = await pool.fetch(
        "SELECT event_id FROM webhooks.pending WHERE endpoint_id = $1 AND due_at <= now() ORDER BY event_id",
        endpoint["id"],
    )
    return [str(row["event_id"]) for row in rows]


async def store_event(
    pool: Pool, customer: Customer, *, age: timedelta = timedelta(), status: str = "delivered", **data: Any
) -> str:
    """Write an event that some endpoint wanted, and return its id."""
    event_id = UUID(int=first_id(datetime.now(UTC) - age - MILLISECOND).int + new_id().int % 2**62)
    body = {"type": f"message.{status}", "timestamp": rfc3339(id_time(event_id)), "data": data | {"status": status}}
    await pool.execute(
        "INSERT INTO webhooks.events (id, account_id, message_id, type, at, body) VALUES ($1, $2, $3, $4, $5, $6)",
        event_id, customer.account_id, new_id(), body["type"], id_time(event_id), msgspec.json.encode(body).decode(),
    )  # fmt: skip
    return str(event_id)


async def test_a_new_endpoint_gets_what_came_before_it_with_the_same_ids(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    async with receiving() as late, working(resources, BY_BELL):
        first = await customer.create(receiver.url)
        events = await publish(pool, customer.account_id, 3)
        await until(lambda: pool.fetchval("SELECT count(*) = 3 FROM webhooks.deliveries"))
        second = await customer.create(late.url)
        assert await replay(customer, second) == {"deliveries": 3, "next_cursor": None}
        await until(lambda: pool.fetchval("SELECT count(*) = 6 FROM webhooks.deliveries"))
    assert late.ids == receiver.ids == {str(event.id) for event in events}
    assert len(late.got) == len(receiver.got) == 3  # the other endpoint got nothing more
    assert {got.body for got in late.got} == {got.body for got in receiver.got}
    assert len(await log_of(pool, first["id"])) == 3
    detail_row = await pool.fetchrow(
        "SELECT account_id, subject, detail FROM storage.audit_log WHERE action = 'webhook.events_replayed'"
    )
    assert (detail_row["account_id"], detail_row["subject"]) == (customer.account_id, second["id"])
    assert msgspec.json.decode(detail_row["detail"])["deliveries"] == 3


async def test_what_is_over_is_sent_again_and_remembered_and_what_is_pending_is_left(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    endpoint = await customer.create(receiver.url)
    made = {state: await store(pool, customer, endpoint["id"], state) for state in STATES}
    unsent = await store_event(pool, customer)
    waiting = await pool.fetchrow("SELECT * FROM webhooks.pending")
    async with working(resources, BY_BELL):
        assert await until(lambda: pool.fetchval("SELECT true FROM webhooks.positions"))
        assert (await replay(customer, endpoint))["deliveries"] == 4
        await until(lambda: pool.fetchval("SELECT count(*) = 4 FROM webhooks.deliveries"))
    assert receiver.ids == {*made.values(), unsent} - {made["pending"]}
    assert len(receiver.got) == 4
    assert await pool.fetchrow("SELECT * FROM webhooks.pending") == waiting
    for state, before in (("succeeded", (1, 204, True)), ("exhausted", (1, 500, False)), ("canceled", (1, 500, False))):
        shown = await detail(customer, endpoint["id"], made[state])
        assert attempts_in(shown) == [before, (2, 200, True)]
    assert attempts_in(await detail(customer, endpoint["id"], unsent)) == [(1, 200, True)]


async def test_an_endpoint_that_took_something_else_gets_what_it_missed(pool: Pool, customer: Customer) -> None:
    endpoint = await customer.create(URL)
    await store(pool, customer, endpoint["id"], "succeeded", age=timedelta(hours=2))  # before the time of the replay
    missed = [await store_event(pool, customer, age=timedelta(minutes=minutes)) for minutes in (2, 1)]
    assert await replay(customer, endpoint) == {"deliveries": 2, "next_cursor": None}
    assert await pending_of(pool, endpoint) == missed


async def test_it_sends_what_the_endpoint_asks_for_now(pool: Pool, customer: Customer, app: ServiceApp) -> None:
    events = {
        (status, country): await store_event(pool, customer, status=status, country=country, reference="order-7")
        for status in ("sent", "delivered", "failed")
        for country in ("AF", "DE")
    }
    await store_event(pool, Customer(app), status="sent", country="AF")

    async def chosen(asked: dict[str, Any], **body: Any) -> set[tuple[str, str]]:
        endpoint = await customer.create(URL, **asked)
        replayed = await replay(customer, endpoint, **body)
        ids = await pending_of(pool, endpoint)
        assert replayed == {"deliveries": len(ids), "next_cursor": None}
        return {key for key, event_id in events.items() if event_id in ids}

    assert await chosen({}) == set(events)
    assert await chosen({"events": ["message.sent", "message.failed"]}, event_types=["message.sent"]) == {
        ("sent", "AF"), ("sent", "DE"),
    }  # fmt: skip
    assert await chosen({"events": ["message.sent"]}, event_types=["message.failed"]) == set()
    assert await chosen({"filter": {"country": ["AF"], "status": ["sent", "failed"]}}) == {
        ("sent", "AF"), ("failed", "AF"),
    }  # fmt: skip
    assert await chosen({"filter": {"reference": ["invoice-*"]}}) == set()


async def test_the_range_is_from_since_on_and_before_until_and_30_days_at_most(pool: Pool, customer: Customer) -> None:
    hours = [await store_event(pool, customer, age=timedelta(hours=hour)) for hour in (31 * 24, 29 * 24, 5, 4, 3, 2, 1)]
    at = [rfc3339(id_time(UUID(event_id))) for event_id in hours]

    async def chosen(since: str, **body: Any) -> list[str]:
        endpoint = await customer.create(URL)
        await replay(customer, endpoint, since, **body)
        return await pending_of(pool, endpoint)

    assert await chosen(at[3], until=at[5]) == hours[3:5]
    assert await chosen(at[5]) == hours[5:]
    assert await chosen(rfc3339(datetime.now(UTC) - 60 * DAY)) == hours[1:]
    assert await chosen(rfc3339(datetime.now(UTC) + DAY)) == []


async def test_test_events_are_their_endpoints_alone(pool: Pool, customer: Customer) -> None:
    endpoint, other = await customer.create(URL), await customer.create(URL)
    assert (await customer.call("POST", f"/v1/webhooks/{endpoint['id']}/test", {})).status == 202
    await pool.execute("DELETE FROM webhooks.pending")
    for one in (endpoint, other):
        assert (await replay(customer, one))["deliveries"] == 0


async def test_a_long_range_goes_on_by_cursor_to_the_end_that_it_had(
    pool: Pool, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replays, "MOST_REPLAYED", 3)
    made = [await store_event(pool, customer, age=timedelta(minutes=10 - number)) for number in range(7)]
    endpoint = await customer.create(URL)
    first = await replay(customer, endpoint)
    assert (first["deliveries"], await pending_of(pool, endpoint)) == (3, made[:3])
    await asyncio.sleep(0.01)  # an event's time is told to the millisecond
    await store_event(pool, customer)  # later than the replay: it is no part of it
    second = await replay(customer, endpoint, cursor=first["next_cursor"])
    assert (second["deliveries"], await pending_of(pool, endpoint)) == (3, made[:6])
    third = await replay(customer, endpoint, cursor=second["next_cursor"])
    assert third == {"deliveries": 1, "next_cursor": None}
    assert await pending_of(pool, endpoint) == made
    assert await replay(customer, endpoint, cursor=second["next_cursor"]) == {"deliveries": 0, "next_cursor": None}
    # what the endpoint does not ask for counts as looked at
    picky = await customer.create(URL, ["message.failed"])
    replayed = await replay(customer, picky)
    assert (replayed["deliveries"], replayed["next_cursor"] is not None) == (0, True)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"since": SINCE, "until": SINCE}, "until"),
        ({"since": SINCE, "event_types": ["message.sent", "message.lost"]}, "event_types[1]"),
        ({"since": SINCE, "event_types": []}, "event_types"),
        ({"until": SINCE}, "since"),
    ],
)
async def test_a_range_that_is_none_is_refused(customer: Customer, body: dict[str, Any], field: str) -> None:
    endpoint = await customer.create(URL)
    answer = await customer.call("POST", f"/v1/webhooks/{endpoint['id']}/replay", body)
    assert (answer.status, answer.json["errors"][0]["field"]) == (422, field)


async def test_no_cursor_of_another_list_and_nobody_elses_endpoint(
    pool: Pool, customer: Customer, app: ServiceApp
) -> None:
    await store_event(pool, customer)
    endpoint = await customer.create(URL)
    path = f"/v1/webhooks/{endpoint['id']}/replay"
    answer = await customer.call("POST", path, {"since": SINCE, "cursor": encode_cursor(new_id())})
    assert (answer.status, answer.json["code"]) == (422, "invalid_cursor")
    top = str(UUID(int=2**128 - 1))
    assert (await replay(customer, endpoint, cursor=encode_cursor(top, top)))["deliveries"] == 0
    assert (await Customer(app).call("POST", path, {"since": SINCE})).status == 404
    await customer.call("PUT", f"/v1/webhooks/{endpoint['id']}", {"url": URL, "events": ["*"], "enabled": False})
    assert (await customer.call("POST", path, {"since": SINCE})).json["code"] == "webhook_disabled"
    assert await pending_of(pool, endpoint) == []


async def test_replays_at_once_make_each_delivery_once(pool: Pool, customer: Customer) -> None:
    endpoint = await customer.create(URL)
    made = [await store_event(pool, customer) for _ in range(20)]
    ended = [await store(pool, customer, endpoint["id"], state) for state in ("succeeded", "exhausted") * 5]
    counts = await asyncio.gather(*(replay(customer, endpoint) for _ in range(4)))
    assert sum(one["deliveries"] for one in counts) == 30
    assert await pending_of(pool, endpoint) == sorted(made + ended)
    assert await log_of(pool, endpoint["id"]) == []


async def test_a_replay_while_texts_are_deleted_forgets_no_delivery(pool: Pool, customer: Customer) -> None:
    """Whoever deletes texts holds rows of the log for a while: a replay waits, and skips none of them."""
    endpoint = await customer.create(URL)
    event_id = await store(pool, customer, endpoint["id"], "succeeded")
    await pool.execute('UPDATE webhooks.events SET body = \'{"data":{"body":"x"}}\'')
    await pool.execute("UPDATE webhooks.deliveries SET response = 'x'")
    message_id = await pool.fetchval("SELECT message_id FROM webhooks.events")
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await delete_texts(connection, [message_id])
        asked = asyncio.create_task(replay(customer, endpoint))
        await asyncio.sleep(0.2)
        assert not asked.done()
        await transaction.commit()
    assert (await asked)["deliveries"] == 1
    assert await pending_of(pool, endpoint) == [event_id]


async def test_what_was_told_of_an_endpoint_is_replayed_to_the_others_alone(pool: Pool, customer: Customer) -> None:
    about, other = await customer.create(URL), await customer.create(URL)
    event_id = new_id()
    body = msgspec.json.encode({"type": "webhook.failing", "data": {"webhook_id": about["id"]}}).decode()
    await pool.execute(
        "INSERT INTO webhooks.events (id, account_id, type, at, body) VALUES ($1, $2, 'webhook.failing', now(), $3)",
        event_id,
        customer.account_id,
        body,
    )
    for one, count in ((about, 0), (other, 1)):
        assert (await replay(customer, one))["deliveries"] == count
