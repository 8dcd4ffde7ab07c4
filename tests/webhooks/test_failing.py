"""Endpoints that fail: since when, and when they are disabled; real receivers that fail and recover."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from ghasi.contract.values import first_id, new_id
from ghasi.storage import audit
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from ghasi.webhooks.delivering import delivery_queries
from ghasi.webhooks.endpoints import failing_queries
from ghasi.webhooks.endpoints.failing import decide, sum_up
from ghasi.webhooks.model import EXHAUSTED, FAILING, GONE, RETRY, SUCCEEDED, Pace, Result, Standing, Verdict
from tests.webhooks.conftest import QUICK, Customer, Receiver, attempts_of, log_of, publish, receiving, until, working
from tests.webhooks.test_resending import STILL, TWICE, answering, enable

NOW = datetime(2026, 1, 10, tzinfo=UTC)
URL = "https://example.com/hook?token=hidden"


async def row_of(pool: Pool, endpoint: dict[str, Any]) -> Any:
    return await pool.fetchrow("SELECT * FROM webhooks.endpoints WHERE id = $1", endpoint["id"])


async def failing_for(pool: Pool, endpoint: dict[str, Any], warned: int = 3, **time: float) -> None:
    """Let an endpoint have failed for that long."""
    await pool.execute(
        "UPDATE webhooks.endpoints SET failing_since = now() - $2::interval, warned = $3 WHERE id = $1",
        endpoint["id"],
        timedelta(**time),
        warned,
    )


async def test_an_endpoint_fails_from_its_first_failed_attempt_on_until_one_succeeds(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    open_up = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=200 if open_up.is_set() else 500)

    receiver.answer = answer
    endpoint, well = await customer.create(receiver.url), await customer.create(receiver.url, ["message.failed"])
    async with working(resources, replace(QUICK, schedule_s=(0.05,) * 40)):
        await publish(pool, customer.account_id)
        await until(lambda: pool.fetchval("SELECT attempts >= 3 FROM webhooks.pending"))
        first = (await attempts_of(pool, endpoint["id"]))[0]
        shown = (await customer.call("GET", f"/v1/webhooks/{endpoint['id']}")).json
        since = datetime.fromisoformat(shown["failing_since"])
        assert timedelta() <= since - first["at"] < timedelta(seconds=1)
        assert (await row_of(pool, endpoint))["version"] == 1
        open_up.set()
        await until(lambda: log_of(pool, endpoint["id"]))
    assert (await row_of(pool, endpoint))["failing_since"] is None
    assert (await row_of(pool, well))["failing_since"] is None


async def test_after_five_days_the_next_failure_disables_the_endpoint(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    receiver.answer = answering(500)
    endpoint = await customer.create(receiver.url + "?token=hidden")
    with capture_logs() as logs:
        async with working(resources, STILL):
            await publish(pool, customer.account_id)
            await until(lambda: pool.fetchval("SELECT count(*) = 1 FROM webhooks.pending WHERE attempts = 1"))
            await failing_for(pool, endpoint, days=4, hours=23)
            await publish(pool, customer.account_id)
            await until(lambda: pool.fetchval("SELECT count(*) = 2 FROM webhooks.pending WHERE attempts = 1"))
            assert (await row_of(pool, endpoint))["enabled"]
            await failing_for(pool, endpoint, days=5)
            await publish(pool, customer.account_id)
            rows = await until(lambda: log_of(pool, endpoint["id"]))
    assert [row["state"] for row in rows] == ["canceled"] * 3
    assert await pool.fetchval("SELECT count(*) FROM webhooks.pending") == 0
    shown = (await customer.call("GET", f"/v1/webhooks/{endpoint['id']}")).json
    assert (shown["enabled"], shown["disabled_reason"]) == (False, "failing")
    assert shown["failing_since"] is not None
    entry = (await audit.list_entries(pool, account_id=customer.account_id))[0]
    assert (entry.actor, entry.action, entry.detail) == ("system:webhooks", "webhook.disabled", '{"reason":"failing"}')
    (line,) = [one for one in logs if one["event"] == "webhook_disabled"]
    assert line == {
        "event": "webhook_disabled", "log_level": "warning", "reason": "failing", "endpoint_id": endpoint["id"],
        "account_id": str(customer.account_id),
    }  # fmt: skip
    assert "hidden" not in str(logs)

    receiver.answer = None
    await enable(customer, endpoint, receiver.url, enabled=True)
    shown = (await customer.call("GET", f"/v1/webhooks/{endpoint['id']}")).json
    assert (shown["enabled"], shown["disabled_reason"], shown["failing_since"]) == (True, None, None)
    async with working(resources, STILL):
        (event,) = await publish(pool, customer.account_id)
        await until(lambda: str(event.id) in receiver.ids)


async def test_it_is_disabled_in_time_that_passes(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    receiver.answer = answering(500)
    endpoint = await customer.create(receiver.url)
    pace = replace(QUICK, schedule_s=(0.1,) * 100, warned_after_s=(0.2, 0.4), disabled_after_s=1.0)
    async with working(resources, pace), working(resources, pace):
        await publish(pool, customer.account_id, 5)
        await until(lambda: pool.fetchval("SELECT NOT enabled FROM webhooks.endpoints"))
        await until(lambda: pool.fetchval("SELECT count(*) = 5 FROM webhooks.deliveries WHERE state = 'canceled'"))
    row = await row_of(pool, endpoint)
    assert row["disabled_reason"] == "failing"
    assert row["updated_at"] - row["failing_since"] >= timedelta(seconds=1)


async def test_a_success_in_five_days_begins_them_anew(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    receiver.answer = answering(500, 200, 500)
    endpoint = await customer.create(receiver.url)
    async with working(resources, STILL):
        for table, days in (("attempts", 0), ("deliveries", 6), ("attempts", 0), ("attempts", 4.9)):
            if days:
                await failing_for(pool, endpoint, days=days)
            (event,) = await publish(pool, customer.account_id)
            await until(
                lambda event=event, table=table: pool.fetchval(
                    f"SELECT count(*) = 1 FROM webhooks.{table} WHERE event_id = $1", event.id
                )
            )
            # a success is written beside its delivery, not with it
            is_well = "SELECT (failing_since IS NULL) = $1 FROM webhooks.endpoints"
            await until(lambda is_well=is_well, table=table: pool.fetchval(is_well, table == "deliveries"))
    assert (await row_of(pool, endpoint))["enabled"]


async def test_successes_and_failures_at_once_disable_nothing(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    async def every_other(_: web.Request) -> web.Response:
        return web.Response(status=200 if len(receiver.got) % 2 else 500)

    receiver.answer = every_other
    endpoint = await customer.create(receiver.url)
    await failing_for(pool, endpoint, days=6)
    pace = replace(QUICK, schedule_s=(0.05,) * 30)
    async with working(resources, pace), working(resources, pace), working(resources, pace):
        # the first attempt succeeds, and is written before another can fail
        await publish(pool, customer.account_id)
        await until(lambda: pool.fetchval("SELECT failing_since IS NULL FROM webhooks.endpoints"))
        for _ in range(4):
            await publish(pool, customer.account_id, 50)
        await until(
            lambda: pool.fetchval("SELECT count(*) = 201 FROM webhooks.deliveries WHERE state = 'succeeded'"), 30
        )
        # every delivery got through in the end, whichever worker wrote its failures when
        await until(lambda: pool.fetchval("SELECT failing_since IS NULL FROM webhooks.endpoints"))
    row = await row_of(pool, endpoint)
    assert (row["enabled"], row["version"]) == (True, 1)


async def test_an_endpoint_that_is_left_alone_is_not_disabled(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    receiver.answer = answering(500)
    endpoint = await customer.create(receiver.url)
    async with working(resources, replace(TWICE, housekeeping_s=0.02)):
        await publish(pool, customer.account_id)
        await until(lambda: log_of(pool, endpoint["id"]))
        await failing_for(pool, endpoint, warned=0, days=30)
        await asyncio.sleep(0.3)
    row = await row_of(pool, endpoint)
    assert (row["enabled"], row["warned"]) == (True, 0)


async def test_an_attempt_from_before_a_change_disables_nothing(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    changed = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        await changed.wait()
        return web.Response(status=500)

    receiver.answer = answer
    endpoint = await customer.create(receiver.url)
    await failing_for(pool, endpoint, days=6)
    async with working(resources, STILL):
        await publish(pool, customer.account_id)
        await until(lambda: receiver.got)
        await enable(customer, endpoint, receiver.url + "/new", enabled=True)
        changed.set()
        await until(lambda: pool.fetchval("SELECT attempts = 1 FROM webhooks.pending"))
        assert (await row_of(pool, endpoint))["enabled"]
        await publish(pool, customer.account_id)
        await until(lambda: pool.fetchval("SELECT NOT enabled FROM webhooks.endpoints"))


async def test_a_disabled_endpoint_is_marked_by_nothing(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    let_go = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        await let_go.wait()
        return web.Response(status=500)

    receiver.answer = answer
    endpoint = await customer.create(receiver.url)
    async with working(resources, STILL):
        await publish(pool, customer.account_id)
        await until(lambda: receiver.got)
        await enable(customer, endpoint, receiver.url, enabled=False)
        let_go.set()
        await until(lambda: attempts_of(pool, endpoint["id"]))
    assert (await row_of(pool, endpoint))["failing_since"] is None


async def test_a_failure_written_down_after_a_later_success_disables_nothing(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    """One worker wrote a success while another had not yet written the failure before it, and then all was quiet."""
    receiver.answer = answering(500)
    endpoint = await customer.create(receiver.url)
    since = datetime.now(UTC) - timedelta(days=6)
    await failing_for(pool, endpoint, days=6)
    await pool.execute(
        """
        INSERT INTO webhooks.deliveries (endpoint_id, event_id, completed_at, attempts, claims, state)
        VALUES ($1, $2, $3, 1, 1, 'succeeded')
        """,
        endpoint["id"],
        UUID(int=first_id(since - timedelta(seconds=1)).int + 1),
        since + timedelta(seconds=5),
    )
    began = datetime.now(UTC)
    async with working(resources, STILL):
        await publish(pool, customer.account_id)
        await until(lambda: pool.fetchval("SELECT attempts = 1 FROM webhooks.pending"))
        row = await row_of(pool, endpoint)
        assert (row["enabled"], row["warned"]) == (True, 0)
        assert row["failing_since"] >= began
        await failing_for(pool, endpoint, days=5)  # this time in earnest
        await publish(pool, customer.account_id)
        await until(lambda: pool.fetchval("SELECT NOT enabled FROM webhooks.endpoints"))


async def test_many_endpoints_are_disabled_at_once(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    receiver.answer = answering(500)
    endpoints = [await customer.create(receiver.url) for _ in range(20)]
    for endpoint in endpoints:
        await failing_for(pool, endpoint, days=6)
    async with working(resources, STILL), working(resources, STILL):
        await publish(pool, customer.account_id, 10)
        await until(lambda: pool.fetchval("SELECT count(*) = 20 FROM webhooks.endpoints WHERE NOT enabled"))
        await until(lambda: pool.fetchval("SELECT count(*) = 0 FROM webhooks.pending"))
    entries = await audit.list_entries(pool, account_id=customer.account_id, limit=100)
    assert sum(entry.action == "webhook.disabled" for entry in entries) == 20


async def test_the_count_of_failing_endpoints_is_of_those_that_are_tried(pool: Pool, customer: Customer) -> None:
    on, off, gone, _ = [await customer.create(URL) for _ in range(4)]
    for endpoint in (on, off, gone):
        await failing_for(pool, endpoint, days=1)
    await enable(customer, off, URL, enabled=False)
    await customer.call("DELETE", f"/v1/webhooks/{gone['id']}")
    assert await failing_queries.count_failing(pool) == 1


async def test_successes_lock_no_endpoint_that_is_well(pool: Pool, customer: Customer) -> None:
    endpoint = await customer.create(URL)
    tried = sum_up([result(endpoint["id"], True)])
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM webhooks.endpoints FOR UPDATE")
        await asyncio.wait_for(failing_queries.clear(pool, tried), 5)


async def test_a_delivery_is_exhausted_once(pool: Pool, customer: Customer) -> None:
    endpoint = await customer.create(URL)
    event_id = new_id()
    await pool.execute(
        "INSERT INTO webhooks.pending (endpoint_id, event_id, due_at, claims) VALUES ($1, $2, now(), 1)",
        endpoint["id"],
        event_id,
    )
    last = result(endpoint["id"], succeeded=False, event_id=event_id, outcome=EXHAUSTED)
    assert await delivery_queries.finish(pool, [last]) == {(last.endpoint_id, event_id)}
    assert await delivery_queries.finish(pool, [last]) == set()


# ---- what attempts written together mean


def result(endpoint_id: UUID | str, succeeded: bool, at: datetime = NOW, **more: Any) -> Result:
    made = Result(
        UUID(str(endpoint_id)), new_id(), 1, 0, 1, SUCCEEDED if succeeded else RETRY, at, 0, 200 if succeeded else 500,
        None if succeeded else "status: the endpoint answered 500", None, 1.0, 1.0, 1,
    )  # fmt: skip
    return msgspec.structs.replace(made, **more)


def after(**time: float) -> datetime:
    return NOW + timedelta(**time)


@pytest.mark.parametrize(
    ("outcomes", "succeeded", "failed"),
    [
        ("+", 0, None), ("-", None, 0), ("--", None, 0), ("-+", 1, None), ("+-", 0, 1), ("-+--", 1, 2),
        ("+-+", 2, None),
    ],
)  # fmt: skip
def test_attempts_are_summed_up_in_their_order(outcomes: str, succeeded: int | None, failed: int | None) -> None:
    endpoint_id = new_id()
    (tried,) = sum_up([result(endpoint_id, one == "+", after(hours=hour)) for hour, one in enumerate(outcomes)])
    assert tried.succeeded_at == (None if succeeded is None else after(hours=succeeded))
    assert tried.failed_at == (None if failed is None else after(hours=failed))


def test_what_the_operators_proxy_failed_says_nothing_of_the_endpoint() -> None:
    endpoint_id = new_id()
    ours = result(endpoint_id, succeeded=False, error="proxy: the sender's proxy cannot be reached")
    assert sum_up([ours]) == []
    theirs = result(endpoint_id, succeeded=False, error="tunnel: the sender's proxy answered 502")
    assert [one.failed_at for one in sum_up([ours, theirs])] == [NOW]


def judged(since: datetime | None, warned: int, *results: Result, version: int = 1) -> Verdict:
    standing = Standing(results[0].endpoint_id, new_id(), URL, version, since, warned)
    return decide(standing, sum_up(results)[0], Pace())


@pytest.mark.parametrize(
    ("lasted", "warned", "expected"),
    [
        ({"hours": 23}, 0, (0, False, None)),
        ({"days": 1}, 0, (1, True, None)),
        ({"days": 2}, 1, (1, False, None)),
        ({"days": 3}, 1, (2, True, None)),
        ({"days": 4}, 2, (3, True, None)),
        ({"days": 4, "hours": 23}, 3, (3, False, None)),
        ({"days": 4}, 0, (3, True, None)),  # one warning, though three steps have passed
        ({"days": 5}, 3, (3, False, FAILING)),
        ({"days": 50}, 0, (0, False, FAILING)),
    ],
)
def test_the_steps(lasted: dict[str, float], warned: int, expected: tuple[int, bool, str | None]) -> None:
    verdict = judged(NOW, warned, result(new_id(), False, after(**lasted)))
    assert (verdict.warned, verdict.warns, verdict.reason) == expected
    assert verdict.failing_since == NOW


def test_what_else_becomes_of_an_endpoint() -> None:
    one = new_id()
    fresh = judged(None, 3, result(one, False, after(days=9)))
    assert (fresh.failing_since, fresh.warned, fresh.warns, fresh.reason) == (after(days=9), 0, False, None)
    well = judged(NOW, 3, result(one, True, after(days=9)))
    assert (well.failing_since, well.warned, well.reason) == (None, 0, None)
    anew = judged(NOW, 3, result(one, True, after(days=8)), result(one, False, after(days=9)))
    assert (anew.failing_since, anew.warned, anew.reason) == (after(days=9), 0, None)
    late = judged(after(days=2), 0, result(one, True, after(days=1)))  # of another worker, and older than the failure
    assert late.failing_since == after(days=2)
    gone = judged(None, 0, result(one, False, NOW, status_code=410))
    assert (gone.failing_since, gone.reason) == (NOW, GONE)
    changed = judged(None, 0, result(one, False, NOW, status_code=410), version=2)
    assert (changed.failing_since, changed.reason) == (NOW, None)
    changed = judged(NOW, 0, result(one, False, after(days=6)), version=2)
    assert (changed.warns, changed.reason) == (False, None)


async def test_an_endpoint_of_another_account_hears_and_suffers_nothing(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver, app: Any
) -> None:
    receiver.answer = answering(500)
    other = Customer(app)
    async with receiving() as theirs:
        endpoint, foreign = await customer.create(receiver.url), await other.create(theirs.url)
        await failing_for(pool, endpoint, days=6)
        async with working(resources, STILL):
            await publish(pool, customer.account_id)
            await until(lambda: pool.fetchval("SELECT count(*) = 1 FROM webhooks.endpoints WHERE NOT enabled"))
            (event,) = await publish(pool, other.account_id)
            await until(lambda: theirs.got)
        assert theirs.ids == {str(event.id)}
    assert (await row_of(pool, foreign))["enabled"]
