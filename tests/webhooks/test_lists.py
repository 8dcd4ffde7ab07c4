"""Lists of deliveries and of attempts: each filter, pages that lose none, and short ones where a log is long."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from ghasi.contract.serving import ServiceApp
from ghasi.contract.values import encode_cursor, id_time, new_id, rfc3339
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from ghasi.webhooks.history import list_queries
from tests.webhooks.conftest import Customer, Receiver, log_of, publish, receiving, until, working
from tests.webhooks.test_log import DAY, store
from tests.webhooks.test_resending import BY_BELL, TWICE, answering, detail, resend

HOUR = timedelta(hours=1)


async def pages(customer: Customer, path: str, query: str = "") -> list[list[dict[str, Any]]]:
    """All pages of a list, from the newest on."""
    found, cursor = [], ""
    while True:
        answer = await customer.call("GET", f"{path}?{query}{cursor}")
        assert answer.status == 200, answer.json
        found.append(answer.json["data"])
        if answer.json["next_cursor"] is None:
            return found
        cursor = f"&cursor={answer.json['next_cursor']}"


async def all_of(customer: Customer, path: str, query: str = "") -> list[dict[str, Any]]:
    return [row for page in await pages(customer, path, query) for row in page]


def deliveries_path(endpoint: dict[str, Any]) -> str:
    return f"/v1/webhooks/{endpoint['id']}/deliveries"


def attempts_path(endpoint: dict[str, Any]) -> str:
    return f"/v1/webhooks/{endpoint['id']}/attempts"


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("503", [503]), ("5xx", [503, 500]), ("4xx", [404]), ("2xx", [204]), ("204", [204]), ("none", [None]),
        ("3xx", []), ("599", []),
    ],
)  # fmt: skip
async def test_deliveries_by_what_the_last_attempt_was_answered(
    pool: Pool, customer: Customer, asked: str, wanted: list[int | None]
) -> None:
    endpoint = await customer.create("https://example.com/")
    await store(pool, customer, endpoint["id"], age=5 * HOUR, answered=None)
    await store(pool, customer, endpoint["id"], "pending", age=4 * HOUR, answered=404)
    await store(pool, customer, endpoint["id"], "canceled", age=3 * HOUR, answered=500)
    await store(pool, customer, endpoint["id"], "exhausted", age=2 * HOUR, answered=503)
    await store(pool, customer, endpoint["id"], "succeeded", age=HOUR)
    untried = await store(pool, customer, endpoint["id"], "pending")
    await pool.execute("DELETE FROM webhooks.attempts WHERE event_id = $1", untried)  # none: no answer to an attempt
    rows = await all_of(customer, deliveries_path(endpoint), f"response_status={asked}")
    assert [row["response_status"] for row in rows] == wanted
    assert await all_of(customer, "/v1/webhooks/deliveries", f"response_status={asked}") == rows
    tried = await all_of(customer, attempts_path(endpoint), f"response_status={asked}")
    assert [row["response_status"] for row in tried] == wanted


async def test_a_delivery_is_found_by_its_last_answer_and_not_by_one_before(pool: Pool, customer: Customer) -> None:
    endpoint = await customer.create("https://example.com/")
    event_id = await store(pool, customer, endpoint["id"], answered=503)
    await pool.execute(
        "INSERT INTO webhooks.attempts (endpoint_id, event_id, number, at, duration_ms, status_code, error) "
        "VALUES ($1, $2, 2, now(), 5, 404, 'status: it failed')",
        endpoint["id"], event_id,
    )  # fmt: skip
    assert await all_of(customer, deliveries_path(endpoint), "response_status=503") == []
    (row,) = await all_of(customer, deliveries_path(endpoint), "response_status=404")
    assert (row["id"], row["response_status"]) == (event_id, 404)
    numbers = [(one["number"], one["response_status"]) for one in await all_of(customer, attempts_path(endpoint))]
    assert numbers == [(2, 404), (1, 503)]


@pytest.mark.parametrize("path_of", [deliveries_path, attempts_path, lambda _: "/v1/webhooks/deliveries"])
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("response_status=99", "response_status"), ("response_status=5XX", "response_status"),
        ("response_status=", "response_status"), ("event_type=message.lost", "event_type"),
        (f"message_id={'x' * 36}", "message_id"),
    ],
)  # fmt: skip
async def test_a_filter_that_can_be_none_is_refused(
    customer: Customer, path_of: Callable[[dict[str, Any]], str], query: str, field: str
) -> None:
    answer = await customer.call("GET", f"{path_of(await customer.create('https://example.com/'))}?{query}")
    assert (answer.status, answer.json["errors"][0]["field"]) == (422, field)


async def test_a_long_log_is_looked_through_a_piece_at_a_time_and_none_is_lost(
    pool: Pool, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(list_queries, "MOST_LOOKED_AT", 4)
    monkeypatch.setattr(list_queries, "MOST_LOOKED_AT_OF_ALL", 4)
    endpoint = await customer.create("https://example.com/")
    states = ("succeeded", "pending", "exhausted", "canceled")
    made = [
        await store(
            pool, customer, endpoint["id"], states[number % 4], age=number * HOUR, answered=503 if number > 12 else 500
        )
        for number in range(18)
    ]
    for path in (deliveries_path(endpoint), "/v1/webhooks/deliveries"):
        found = await pages(customer, path, "response_status=503&limit=3")
        assert [len(page) for page in found] == [0, 0, 0, 3, 1]
        assert [row["id"] for page in found for row in page] == [
            made[number] for number in range(13, 18) if number != 16
        ]
        for status, number in (("succeeded", 0), ("canceled", 3), ("failed", 2), ("pending", 1)):
            rows = await all_of(customer, path, f"status={status}&limit=3")
            assert [row["id"] for row in rows] == made[number::4]
    # of the 18 deliveries one in four is no attempt and one of the others each
    attempts = await pages(customer, attempts_path(endpoint), "limit=3")
    assert [row["delivery_id"] for page in attempts for row in page] == made
    assert max(len(page) for page in attempts) == 3
    failed = await all_of(customer, attempts_path(endpoint), "outcome=failed&response_status=503&limit=3")
    assert [row["delivery_id"] for row in failed] == [made[number] for number in range(13, 18) if number != 16]
    succeeded = await all_of(customer, attempts_path(endpoint), "outcome=succeeded&limit=2")
    assert [row["delivery_id"] for row in succeeded] == made[::4]


async def test_attempts_are_what_was_tried_the_last_of_the_newest_event_first(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    receiver.answer = answering(500, 200, 503, 204, 404, 200)
    endpoint = await customer.create(receiver.url)
    async with working(resources, TWICE):
        (first,) = await publish(pool, customer.account_id)
        await until(lambda: log_of(pool, endpoint["id"]))
        await resend(customer, endpoint["id"], first.id)
        await until(lambda: len(receiver.got) == 4)
        await until(lambda: log_of(pool, endpoint["id"]))
        (second,) = await publish(pool, customer.account_id, status="sent")
        await until(lambda: pool.fetchval("SELECT count(*) = 2 FROM webhooks.deliveries"))
    rows = await all_of(customer, attempts_path(endpoint), "limit=2")
    assert [(row["delivery_id"], row["number"], row["response_status"], row["error"] is None) for row in rows] == [
        (str(second.id), 2, 200, True), (str(second.id), 1, 404, False), (str(first.id), 4, 204, True),
        (str(first.id), 3, 503, False), (str(first.id), 2, 200, True), (str(first.id), 1, 500, False),
    ]  # fmt: skip
    # the same as with each delivery, and with its event
    for event in (first, second):
        shown = (await detail(customer, endpoint["id"], event.id))["attempts"]
        of_event = [row for row in rows if row["delivery_id"] == str(event.id)]
        told = {"delivery_id": str(event.id), "event_type": event.type, "message_id": str(event.subject_id)}
        assert of_event == [one | told for one in reversed(shown)]

    async def found(query: str) -> list[tuple[str, int]]:
        listed = await all_of(customer, attempts_path(endpoint), query)
        return [(row["event_type"].partition(".")[2], row["number"]) for row in listed]

    assert await found("outcome=failed") == [("sent", 1), ("delivered", 3), ("delivered", 1)]
    assert await found("outcome=succeeded&limit=1") == [("sent", 2), ("delivered", 4), ("delivered", 2)]
    assert await found("outcome=succeeded&event_type=message.delivered") == [("delivered", 4), ("delivered", 2)]
    assert await found("response_status=200") == [("sent", 2), ("delivered", 2)]
    assert await found(f"message_id={second.subject_id}") == [("sent", 2), ("sent", 1)]
    assert await found(f"created_after={rfc3339(id_time(first.id))}") == [("sent", 2), ("sent", 1)]
    assert await found(f"created_before={rfc3339(id_time(second.id))}&outcome=failed") == [
        ("delivered", 3), ("delivered", 1),
    ]  # fmt: skip
    assert await found("outcome=failed&response_status=2xx") == []


async def test_an_attempt_under_way_while_pages_are_read_is_neither_lost_nor_shown_twice(
    pool: Pool, customer: Customer
) -> None:
    """A delivery that ends between two pages: its last attempt is newer than where the reader is."""
    endpoint = await customer.create("https://example.com/")
    event_id = await store(pool, customer, endpoint["id"], "pending")
    older = await store(pool, customer, endpoint["id"], "succeeded", age=HOUR)
    first = (await customer.call("GET", f"{attempts_path(endpoint)}?limit=1")).json
    assert [(row["delivery_id"], row["number"]) for row in first["data"]] == [(event_id, 1)]
    await pool.execute(
        """
        WITH ended AS (DELETE FROM webhooks.pending WHERE event_id = $1 RETURNING *)
        INSERT INTO webhooks.deliveries (endpoint_id, event_id, completed_at, attempts, claims, duration_ms,
            status_code, state)
        SELECT endpoint_id, event_id, now(), 2, 2, 5, 200, 'succeeded' FROM ended
        """,
        event_id,
    )
    rest = await all_of(customer, attempts_path(endpoint), f"cursor={first['next_cursor']}")
    assert [row["delivery_id"] for row in rest] == [older]
    assert len(await all_of(customer, attempts_path(endpoint))) == 3


async def test_deliveries_to_all_endpoints_by_event_then_endpoint(
    resources: Resources, pool: Pool, customer: Customer, app: ServiceApp
) -> None:
    stranger = Customer(app)
    async with receiving() as one, receiving() as two:
        first, second = await customer.create(one.url), await customer.create(two.url)
        gone = await customer.create(one.url)
        await stranger.create(one.url)
        async with working(resources, BY_BELL):
            events = await publish(pool, customer.account_id, 3)
            await publish(pool, stranger.account_id)
            await until(lambda: pool.fetchval("SELECT count(*) = 10 FROM webhooks.deliveries"))
        await customer.call("DELETE", f"/v1/webhooks/{gone['id']}")
    pending = await store(pool, customer, second["id"], "pending", age=DAY)
    expected = sorted(
        [(str(event.id), endpoint["id"]) for event in events for endpoint in (first, second)]
        + [(pending, second["id"])],
        reverse=True,
    )
    path = "/v1/webhooks/deliveries"
    for limit in (1, 2, 100):
        rows = await all_of(customer, path, f"limit={limit}")
        assert [(row["id"], row["webhook_id"]) for row in rows] == expected
    of_second = [key for key in expected if key[1] == second["id"]]
    rows = await all_of(customer, path, f"webhook_id={second['id']}&limit=2")
    assert [(row["id"], row["webhook_id"]) for row in rows] == of_second
    assert [row["id"] for row in await all_of(customer, path, "status=pending")] == [pending]
    assert len(await all_of(customer, path, f"message_id={events[0].subject_id}")) == 2
    assert await all_of(customer, path, f"webhook_id={gone['id']}") == []
    assert await all_of(customer, path, f"webhook_id={new_id()}") == []
    assert len(await all_of(stranger, path)) == 1
    assert await all_of(stranger, path, f"webhook_id={second['id']}") == []
    assert (await customer.call("GET", f"{path}?webhook_id={'x' * 36}")).json["errors"][0]["field"] == "webhook_id"


@pytest.mark.parametrize("number", [-1, 2**31, "1", 1.5])
async def test_a_cursor_of_attempts_holds_an_event_and_a_number(customer: Customer, number: Any) -> None:
    endpoint = await customer.create("https://example.com/")
    answer = await customer.call("GET", f"{attempts_path(endpoint)}?cursor={encode_cursor(new_id(), number)}")
    assert (answer.status, answer.json["code"]) == (422, "invalid_cursor")


async def test_attempts_older_than_30_days_and_of_others_are_not_there(
    pool: Pool, customer: Customer, app: ServiceApp
) -> None:
    endpoint = await customer.create("https://example.com/")
    for state in ("succeeded", "exhausted"):
        await store(pool, customer, endpoint["id"], state, age=31 * DAY)
        await store(pool, customer, endpoint["id"], state, age=29 * DAY)
    rows = await all_of(customer, attempts_path(endpoint))
    assert len(rows) == 2
    assert all(id_time(UUID(row["delivery_id"])) > datetime.now(UTC) - 30 * DAY for row in rows)
    assert (await Customer(app).call("GET", attempts_path(endpoint))).status == 404
    await customer.call("DELETE", f"/v1/webhooks/{endpoint['id']}")
    assert (await customer.call("GET", attempts_path(endpoint))).status == 404
