"""POST /v1/carriers/NAME/receipts: what proves a callback, what its answer says, and that it is written by then."""

import asyncio
import hashlib
import hmac
import tomllib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
from aiohttp import web

from ghasi.carriers.configuration import parse_carriers_file
from ghasi.contract.serving import ServiceApp
from ghasi.contract.values import new_id
from ghasi.messages import routes, worker
from ghasi.messages.dispatch import carrier_reports
from ghasi.settings import Settings
from ghasi.storage.pool import UNAVAILABLE, Pool
from ghasi.storage.resources import Resources
from tests.asgi import Answer, request
from tests.carriers.aggregator import Aggregator, answers, serve_aggregator
from tests.messages.conftest import Customer

SECRET = "hunter2-hunter2"
COMMON = """
[[carrier]]
kind = "http"
url = "http://127.0.0.1:1/"
body = {{ to = "{{to}}", text = "{{text}}" }}
name = "{name}"
"""
RECEIPTS = """
[carrier.receipts]
secret = "hunter2-hunter2"
verify = "{verify}"
list = "/results"
id = "/id"
status = "/status"
states = {{ delivered = "delivered", failed = "undelivered" }}
"""
KINDS = {"by-header": "header:X-Secret", "by-hmac": "hmac-sha256:X-Signature", "by-query": "query:token"}


@dataclass
class Outside:
    """Somebody outside, before a service that reads a carriers.toml."""

    app: ServiceApp
    file: Path

    async def call(self, carrier: str, document: Any, *, query: str = "", **headers: str) -> Answer:
        body = document if isinstance(document, bytes) else msgspec.json.encode(document)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await request(self.app, "POST", f"/v1/carriers/{carrier}/receipts{query}", headers=named, body=body)


def write(file: Path, **verified: str | None) -> None:
    tables = [
        COMMON.format(name=name.replace("_", "-")) + ("" if verify is None else RECEIPTS.format(verify=verify))
        for name, verify in verified.items()
    ]
    file.write_text("".join(tables))


@pytest.fixture
async def outside(resources: Resources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Outside]:
    monkeypatch.setattr(carrier_reports, "LOOK_EVERY_S", 0.0)
    file = tmp_path / "carriers.toml"
    write(file, silent=None, **KINDS)
    own = replace(resources, settings=Settings(dev=True, carriers=file))
    async with routes.serve(own) as handlers:
        yield Outside(ServiceApp(handlers, unavailable=UNAVAILABLE), file)


ONE = {"results": [{"id": "a-1", "status": "delivered"}]}


async def parked(pool: Pool) -> list[tuple[str, str, str, str | None]]:
    rows = await pool.fetch("SELECT carrier, carrier_message_id, state, error_code FROM messages.parked_receipts")
    return sorted(tuple(row) for row in rows)


async def test_receipts_are_written_when_they_are_answered(outside: Outside, pool: Pool) -> None:
    document = {"results": [*ONE["results"], {"id": "b-2", "status": "failed"}, {"nothing": "here"}]}
    answer = await outside.call("by-header", document, x_secret=SECRET)
    assert (answer.status, answer.body) == (204, b"")
    assert await parked(pool) == [
        ("by-header", "a-1", "delivered", None), ("by-header", "b-2", "undelivered", "undeliverable"),
    ]  # fmt: skip


async def test_each_proof(outside: Outside, pool: Pool) -> None:
    body = msgspec.json.encode(ONE)
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert (await outside.call("by-hmac", body, x_signature=signature)).status == 204
    assert (await outside.call("by-query", body, query=f"?a=b&token={SECRET}")).status == 204
    assert len(await parked(pool)) == 2
    wrong = [
        await outside.call("by-header", body),
        await outside.call("by-header", body, x_secret="hunter2-hunter"),
        await outside.call("by-hmac", body + b" ", x_signature=signature),
        await outside.call("by-hmac", body, x_signature=SECRET),
        await outside.call("by-query", body, x_secret=SECRET, query="?token="),
        await outside.call("by-header", b"\xff", x_secret=SECRET[:-1]),  # what it is comes after the proof
    ]
    assert [(answer.status, answer.json["code"]) for answer in wrong] == [(401, "invalid_callback")] * 6
    assert len(await parked(pool)) == 2


async def test_who_has_no_receipts_is_not_found(outside: Outside) -> None:
    for name in ("nobody", "silent", "BY-HEADER", "by-header%20", "..", "%00", "x" * 500):
        answer = await outside.call(name, ONE, x_secret=SECRET)
        assert (answer.status, answer.json["code"]) == (404, "not_found"), name


async def test_without_a_file_there_is_nobody(resources: Resources) -> None:
    async with routes.serve(resources) as handlers:
        outside = Outside(ServiceApp(handlers), Path())
        assert (await outside.call("by-header", ONE, x_secret=SECRET)).status == 404


async def test_what_has_no_receipt_is_refused(outside: Outside, pool: Pool) -> None:
    for body in (b"", b"{", b"\xff", b"[]", b'{"results": 1}', b'{"results": [{"id": "1"}]}', b"[" * 100_000):
        answer = await outside.call("by-header", body, x_secret=SECRET)
        assert (answer.status, answer.json["code"]) == (422, "invalid_request"), body[:20]
        assert answer.json["detail"]
    assert (await outside.call("by-header", {"results": []}, x_secret=SECRET)).status == 204
    assert (await outside.call("by-header", b" " * 300_000, x_secret=SECRET)).status == 422
    assert await parked(pool) == []


async def test_the_file_is_read_again_and_a_broken_one_changes_nothing(outside: Outside) -> None:
    assert (await outside.call("by-header", ONE, x_secret=SECRET)).status == 204
    outside.file.write_text("[[carrier]\n")
    assert (await outside.call("by-header", ONE, x_secret=SECRET)).status == 204
    outside.file.unlink()
    assert (await outside.call("by-header", ONE, x_secret=SECRET)).status == 204
    write(outside.file, later="header:X-Secret")
    assert (await outside.call("by-header", ONE, x_secret=SECRET)).status == 404
    assert (await outside.call("later", ONE, x_secret=SECRET)).status == 204


async def test_a_file_that_was_never_readable_is_no_404(resources: Resources, tmp_path: Path) -> None:
    own = replace(resources, settings=Settings(dev=True, carriers=tmp_path / "carriers.toml"))
    async with routes.serve(own) as handlers:
        outside = Outside(ServiceApp(handlers), own.settings.carriers)  # type: ignore[arg-type]
        answer = await outside.call("by-header", ONE, x_secret=SECRET)
    assert (answer.status, answer.json["code"]) == (503, "service_unavailable")


async def test_a_database_that_is_away_is_a_503(outside: Outside, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrier_reports, "COMMIT_WITHIN_S", 0.2)
    monkeypatch.setattr(carrier_reports, "DRAIN_S", 0.1)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE messages.parked_receipts")
        answer = await outside.call("by-header", ONE, x_secret=SECRET)
        assert (answer.status, answer.json["code"]) == (503, "service_unavailable")
    async with asyncio.timeout(10):
        while not await parked(pool):  # it was not lost either
            await asyncio.sleep(0.02)


async def test_neither_secrets_nor_callbacks_reach_logs(outside: Outside) -> None:
    with structlog.testing.capture_logs() as logs:
        for document in (ONE, b"hunter2", {"results": [{"id": "hunter2"}, *ONE["results"]]}):
            await outside.call("by-query", document, query=f"?token={SECRET}")
            await outside.call("by-query", document, query=f"?token={SECRET}x")
        outside.file.write_text('[[carrier]]\nsecret = "hunter2')
        await outside.call("by-query", ONE, query=f"?token={SECRET}")
    assert len(logs) >= 3
    assert "hunter2" not in str(logs)


def test_the_examples_of_the_documentation_can_be_read() -> None:
    documentation = Path(__file__).parents[2] / "docs" / "http-carrier.md"
    examples = [part.partition("```")[0] for part in documentation.read_text().split("```toml\n")[1:]]
    assert len(examples) == 3
    for example in examples:
        [table] = tomllib.loads(example)["carrier"]
        file = parse_carriers_file(documentation, example.encode())
        assert [one.name for one in file.carriers] == [table["name"]]


# the whole path, with an aggregator that calls back


@dataclass
class Way:
    """A customer, a worker and an aggregator whose callbacks come to the same service."""

    customer: Customer
    outside: Outside
    aggregator: Aggregator

    async def call_back(self, carrier_message_id: str, status: str) -> None:
        document = {"results": [{"id": carrier_message_id, "status": status}]}
        answer = await self.outside.call("by-header", document, x_secret=SECRET)
        assert answer.status == 204, answer.body


ANSWER = """
[carrier.answer]
id = "/id"
status = "/status"
values = { queued = "accepted", BAD_NUMBER = "invalid_destination" }
"""


@pytest.fixture
async def way(resources: Resources, tmp_path: Path) -> AsyncIterator[Way]:
    file = tmp_path / "carriers.toml"
    async with serve_aggregator() as aggregator:
        carrier = COMMON.format(name="by-header").replace("http://127.0.0.1:1/", aggregator.url)
        file.write_text(carrier + ANSWER + RECEIPTS.format(verify=KINDS["by-header"]))
        own = replace(resources, settings=Settings(dev=True, carriers=file), stopping=asyncio.Event())
        working = asyncio.create_task(worker.work(own))
        async with routes.serve(own) as handlers:
            app = ServiceApp(handlers, unavailable=UNAVAILABLE)
            yield Way(Customer(app, new_id(), new_id()), Outside(app, file), aggregator)
        own.stopping.set()
        async with asyncio.timeout(10):
            await working


async def test_a_message_is_delivered_over_http(way: Way) -> None:
    text = "long {text} " * 60
    sent = await way.customer.send(body=text)
    message = await way.customer.until(sent["id"], "sent")
    assert message["segments"] > 1
    [asked] = way.aggregator.asked
    assert asked.json == {"to": sent["to"], "text": text}
    await way.call_back("abc-1", "delivered")
    message = await way.customer.until(sent["id"], "delivered")
    assert [event["status"] for event in message["events"]] == ["accepted", "sent", "delivered"]


async def test_a_refusal_and_a_failed_delivery_say_why(way: Way) -> None:
    way.aggregator.answer = answers(400, {"status": "BAD_NUMBER"})
    refused = await way.customer.send()
    assert (await way.customer.until(refused["id"], "failed"))["error"]["code"] == "invalid_destination"
    way.aggregator.answer = answers(200, {"id": "abc-2", "status": "queued"})
    sent = await way.customer.send()
    await way.customer.until(sent["id"], "sent")
    await way.call_back("abc-2", "failed")
    assert (await way.customer.until(sent["id"], "undelivered"))["error"]["code"] == "undeliverable"


async def test_a_receipt_may_overtake_the_answer(way: Way) -> None:
    async def call_back_first(request: web.Request) -> web.StreamResponse:
        await way.call_back("abc-3", "delivered")
        return web.json_response({"id": "abc-3", "status": "queued"})

    way.aggregator.answer = call_back_first
    sent = await way.customer.send()
    message = await way.customer.until(sent["id"], "delivered")
    assert [event["status"] for event in message["events"]] == ["accepted", "sent", "delivered"]


async def test_a_throttled_message_goes_again_and_arrives_once(way: Way) -> None:
    way.aggregator.answer = answers(429, None)
    sent = await way.customer.send()
    async with asyncio.timeout(10):
        while not way.aggregator.asked:
            await asyncio.sleep(0.01)
    way.aggregator.answer = answers(200, {"id": "abc-4", "status": "queued"})
    await way.customer.until(sent["id"], "sent")
    await way.call_back("abc-4", "delivered")
    await way.customer.until(sent["id"], "delivered")
    assert len(way.aggregator.asked) == 2
