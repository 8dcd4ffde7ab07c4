"""Billing's events for customers: alerts and invoices, as endpoints get them."""

from typing import Any
from uuid import UUID

import pytest
from standardwebhooks import Webhook

from ghasi.contract.shapes import BILLING_EVENT_DATA
from ghasi.contract.values import first_id, id_time, new_id, rfc3339
from ghasi.storage.events import outbox
from ghasi.storage.events.outbox import Event
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from ghasi.webhooks.examples import example_data
from tests.webhooks.conftest import Customer, Receiver, log_of, receiving, until, working


async def publish(pool: Pool, account_id: UUID, event_type: str, data: str | None = None) -> Event:
    """Write an event as billing does."""
    event_id = new_id()
    event = Event(event_id, event_type, account_id, new_id(), 1, id_time(event_id), data or example_data(event_type))
    async with pool.acquire() as connection, connection.transaction():
        await outbox.append(connection, "billing", [event])
    return event


@pytest.mark.parametrize("event_type", BILLING_EVENT_DATA)
async def test_they_reach_who_asks_for_them_and_no_filter_is_asked(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver, event_type: str
) -> None:
    kind = event_type.partition(".")[0]
    made = [
        await customer.create(receiver.url, events, filter=asked, fifo=fifo)
        for events in ([event_type], [f"{kind}.*"], ["*"])
        for asked, fifo in ((None, None), ({"country": ["AF"]}, None), (None, {"by": "endpoint"}))
    ]
    async with receiving() as other:
        await customer.create(other.url, ["message.*", "webhook.*"])
        async with working(resources):
            event = await publish(pool, customer.account_id, event_type)
            await publish(pool, new_id(), event_type)  # another account's
            await publish(pool, customer.account_id, "messages.rated", "{}")  # between services
            await until(lambda: len(receiver.got) == len(made))
            await until(lambda: pool.fetchval("SELECT count(*) = 0 FROM webhooks.pending"))
    assert {one.id for one in receiver.got} == {str(event.id)}
    assert other.got == []
    assert await pool.fetchval("SELECT array_agg(type) FROM webhooks.events") == [event_type]
    secrets = {one["id"]: one["secret"] for one in made}
    for endpoint_id, secret in secrets.items():
        assert [row["state"] for row in await log_of(pool, endpoint_id)] == ["succeeded"]
        assert any(_is_signed(secret, one) for one in receiver.got)


def _is_signed(secret: str, got: Any) -> bool:
    try:
        Webhook(secret).verify(got.body, got.headers)
    except Exception:  # noqa: BLE001 - another endpoint's
        return False
    return True


async def test_they_are_fed_once_and_replayed_as_they_were(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    endpoint = await customer.create(receiver.url, ["billing.*"])
    async with working(resources):
        event = await publish(pool, customer.account_id, "billing.alert")
        await until(lambda: len(receiver.got) == 1)
        await until(lambda: pool.fetchval("SELECT count(*) = 0 FROM webhooks.pending"))
        await pool.execute("UPDATE webhooks.positions SET xid = '0', id = $1", UUID(int=0))  # as after a restore
        await until(lambda: pool.fetchval("SELECT xid > '0' FROM webhooks.positions WHERE source = 'billing'"))
        assert len(receiver.got) == 1
        since = rfc3339(id_time(first_id(event.at)))
        answer = await customer.call("POST", f"/v1/webhooks/{endpoint['id']}/replay", {"since": since})
        assert (answer.status, answer.json["deliveries"]) == (202, 1)
        await until(lambda: len(receiver.got) == 2)
    first, again = receiver.got
    assert (first.id, first.body) == (again.id, again.body)
