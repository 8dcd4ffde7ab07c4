"""What an account may send by its money, as billing tells it: refused in every way of sending, and open again."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ghasi.contract.values import new_id
from ghasi.messages.sending.prices import take_billing
from ghasi.messages.sending.scheduling import release_due
from ghasi.storage.events import outbox
from ghasi.storage.events.outbox import Event
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from tests.messages.conftest import Customer
from tests.messages.test_scheduling import in_an_hour, make_due

BODY = {"to": "+46700000010", "body": "x"}
CODES = ("insufficient_balance", "spending_limit_reached")


async def tell(
    pool: Pool,
    customer: Customer,
    status: str,
    *,
    sequence: int,
    exhausted: bool = False,
    until: datetime | None = None,
) -> None:
    """Say what holds an account back as billing does, and wait until messages has heard it."""
    data = {"account_id": str(customer.account_id), "status": status, "exhausted": exhausted, "until": until}
    event = Event(
        new_id(), "account.spending", customer.account_id, customer.account_id, sequence, datetime.now(UTC),
        outbox.to_json(data),
    )  # fmt: skip
    async with pool.acquire() as connection, connection.transaction():
        await take_billing(connection, [event])


async def outcome(customer: Customer, **fields: Any) -> tuple[int, str | None]:
    answer = await customer.call("POST", "/v1/messages", BODY | fields)
    return answer.status, answer.json.get("code")


async def within_a_second(customer: Customer, expected: tuple[int, str | None]) -> None:
    async with asyncio.timeout(1):
        while await outcome(customer) != expected:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("code", CODES)
async def test_a_used_up_account_is_refused_in_every_way_and_opens_again(
    customer: Customer, pool: Pool, code: str
) -> None:
    sent = await customer.call("POST", "/v1/messages", BODY, idempotency_key="before")
    await tell(pool, customer, code, sequence=1)
    await within_a_second(customer, (402, code))
    assert await outcome(customer, send_at=in_an_hour()) == (402, code)
    again = await customer.call("POST", "/v1/messages", BODY, idempotency_key="before")
    assert (again.status, again.json) == (202, sent.json)  # what was accepted stays so
    batch = await customer.call("POST", "/v1/messages/batch", {"messages": [BODY, BODY | {"to": "+999"}]})
    assert (batch.status, batch.json["accepted"]) == (202, 0)
    assert [item["error"]["code"] for item in batch.json["data"]] == [code, "invalid_number"]
    preview = await customer.call("POST", "/v1/messages/preview", BODY)
    [error] = preview.json["errors"]
    assert (preview.status, error["field"]) == (200, "account")
    assert error["message"].startswith("the account's ")
    await tell(pool, customer, "ok", sequence=2)
    await within_a_second(customer, (202, None))
    assert (await customer.call("POST", "/v1/messages/preview", BODY)).json["errors"] == []


async def test_a_limit_ends_with_its_month_though_nobody_says_so(customer: Customer, pool: Pool) -> None:
    until = datetime.now(UTC) + timedelta(seconds=1.5)
    await tell(pool, customer, "spending_limit_reached", sequence=1, exhausted=True, until=until)
    await within_a_second(customer, (402, "spending_limit_reached"))
    async with asyncio.timeout(3):
        while await outcome(customer) != (202, None):
            await asyncio.sleep(0.05)
    assert datetime.now(UTC) >= until


async def test_an_older_word_is_passed_over(customer: Customer, pool: Pool) -> None:
    await tell(pool, customer, "insufficient_balance", sequence=2)
    await tell(pool, customer, "ok", sequence=1)
    await within_a_second(customer, (402, "insufficient_balance"))


@pytest.mark.parametrize(("code", "error"), [(CODES[0], "balance_used_up"), (CODES[1], "limit_used_up")])
async def test_a_scheduled_message_goes_out_of_what_is_held_for_it_and_fails_without(
    customer: Customer, pool: Pool, resources: Resources, code: str, error: str
) -> None:
    held, broke, late = [await customer.send(send_at=in_an_hour()) for _ in range(3)]
    await tell(pool, customer, code, sequence=1)  # all the rest is held for others
    await make_due(pool, [held["id"]])
    assert await release_due(pool, resources.bells) == 1
    assert (await customer.get(held["id"]))["status"] == "accepted"
    await tell(pool, customer, code, sequence=2, exhausted=True)
    await make_due(pool, [broke["id"]])
    assert await release_due(pool, resources.bells) == 1
    shown = await customer.get(broke["id"])
    assert (shown["status"], shown["error"]["code"]) == ("failed", error)
    await tell(pool, customer, code, sequence=3, exhausted=True, until=datetime.now(UTC) - timedelta(seconds=1))
    await make_due(pool, [late["id"]])
    assert await release_due(pool, resources.bells) == 1
    assert (await customer.get(late["id"]))["status"] == "accepted"
