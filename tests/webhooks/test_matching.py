"""Filters and orders of endpoints: what may be asked for, what an event has to have, and that the feed holds to it."""

from typing import Any

import msgspec
import pytest

from ghasi.contract.shapes import EventFilter, Fifo
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from ghasi.webhooks.delivering.matching import EventFields, fields_of, mismatch, order_key
from tests.webhooks.conftest import Customer, Receiver, publish, until, working

FIELDS = EventFields(id="1", to="+93701234567", sender="Bakery", country="AF", status="delivered", reference="order-7")
URL = "https://example.com/hook"


@pytest.mark.parametrize(
    ("asked", "missed"),
    [
        ({}, None),
        ({"country": ["AF"]}, None),
        ({"country": ["DE", "AF"], "status": ["delivered"]}, None),
        ({"country": ["DE"]}, "country"),
        ({"country": ["AF"], "status": ["failed"]}, "status"),
        ({"reference": ["order-7"]}, None),
        ({"reference": ["order-*"]}, None),
        ({"reference": ["order"]}, "reference"),
        ({"reference": ["*"]}, None),
        ({"sender": ["bakery"]}, "sender"),
        ({"sender": ["Bak*", "x"]}, None),
    ],
)
def test_every_field_that_is_given_has_to_have_one_of_its_values(asked: dict[str, Any], missed: str | None) -> None:
    assert mismatch(msgspec.convert(asked, EventFilter), FIELDS) == missed


def test_what_an_event_lacks_passes_no_filter_that_asks_for_it() -> None:
    nothing = fields_of('{"id":"1","body":"hello","price":null}')
    for name in ("country", "status", "reference", "sender"):
        value = {"country": "AF", "status": "sent"}.get(name, "*")
        assert mismatch(msgspec.convert({name: [value]}, EventFilter), nothing) == name


def test_orders_have_the_keys_of_their_events() -> None:
    keys = {by: order_key(Fifo(by=by), FIELDS) for by in ("endpoint", "message", "to", "from", "reference")}
    assert keys == {"endpoint": "", "message": "1", "to": "+93701234567", "from": "Bakery", "reference": "order-7"}
    assert order_key(Fifo(by="reference"), EventFields()) is None


async def test_what_an_endpoint_asks_for_is_kept_and_shown(customer: Customer, pool: Pool) -> None:
    asked = {
        "filter": {"country": ["AF"], "sender": ["Bak*"]},
        "metadata": {"team": "orders"},
        "rate_per_s": 5,
        "fifo": {"by": "to", "hold_s": 60, "after_hold": "drop"},
        "headers": {"X-Key": "s3cret"},
    }
    made = await customer.create(URL, **asked)
    shown = {**asked, "header_names": ["X-Key"]}
    del shown["headers"]
    assert {name: made[name] for name in shown} == shown
    assert "s3cret" not in str(made)
    path = f"/v1/webhooks/{made['id']}"
    kept = (await customer.call("PUT", path, {"url": URL, "events": ["*"]})).json
    assert {name: kept[name] for name in shown} == shown
    cleared = dict.fromkeys(asked)
    after = (await customer.call("PUT", path, {"url": URL, "events": ["*"], **cleared})).json
    assert [after[name] for name in ("filter", "metadata", "rate_per_s", "fifo", "header_names")] == [
        None, {}, None, None, [],
    ]  # fmt: skip
    assert (await customer.call("GET", path)).json == after
    assert await pool.fetchval("SELECT headers FROM webhooks.endpoints") is None
    plain = await customer.create(URL, filter={}, fifo={})
    assert (plain["filter"], plain["fifo"]) == (None, {"by": "endpoint", "hold_s": 3600, "after_hold": "skip"})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"filter": {"country": ["af"]}}, "filter.country[0]"),
        ({"filter": {"country": []}}, "filter.country"),
        ({"filter": {"status": ["lost"]}}, "filter.status[0]"),
        ({"filter": {"to": ["+1"]}}, "filter.to"),
        ({"filter": {"reference": [""]}}, "filter.reference[0]"),
        ({"filter": []}, "filter"),
        ({"metadata": {"": "x"}}, "metadata"),
        ({"metadata": {"x": 1}}, "metadata[]"),
        ({"metadata": {str(n): "" for n in range(51)}}, "metadata"),
        ({"rate_per_s": 0}, "rate_per_s"),
        ({"rate_per_s": 1001}, "rate_per_s"),
        ({"rate_per_s": 1.5}, "rate_per_s"),
        ({"fifo": {"by": "country"}}, "fifo.by"),
        ({"fifo": {"hold_s": 86401}}, "fifo.hold_s"),
        ({"fifo": {"after_hold": "wait"}}, "fifo.after_hold"),
    ],
)
async def test_what_cannot_be_asked_for_is_refused_by_its_name(
    customer: Customer, body: dict[str, Any], field: str
) -> None:
    answer = await customer.call("POST", "/v1/webhooks", {"url": URL, "events": ["*"], **body})
    assert (answer.status, answer.json["code"]) == (422, "invalid_request"), answer.json
    assert [one["field"] for one in answer.json["errors"]] == [field]


async def test_only_what_the_filter_lets_pass_is_delivered(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    await customer.create(receiver.url, ["message.delivered"], filter={"reference": ["order-*"]})
    async with working(resources):
        await publish(pool, customer.account_id)
        (wanted,) = await publish(pool, customer.account_id, reference="order-7")
        await until(lambda: receiver.got)
        await until(lambda: pool.fetchval("SELECT count(*) = 1 FROM webhooks.deliveries"))
    assert receiver.ids == {str(wanted.id)}
    assert await pool.fetchval("SELECT count(*) FROM webhooks.events") == 1
