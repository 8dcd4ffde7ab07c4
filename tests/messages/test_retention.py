"""How long things are kept: receipts are waited for, texts go, and no copy of a deleted text is left anywhere."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from aiohttp import web

from ghasi.carriers.carrier import Receipt
from ghasi.contract.serving import Caller, ServiceApp
from ghasi.contract.shapes import WebhookInput
from ghasi.contract.values import first_id, id_time, new_id
from ghasi.messages.dispatch.ledger import Ending, Ledger, Submitted
from ghasi.messages.dispatch.lifecycle import Part
from ghasi.messages.keeping import redaction, retention
from ghasi.settings import Settings
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from ghasi.webhooks import redaction as webhooks_redaction
from ghasi.webhooks.endpoints import service as webhooks
from tests.carrying import events_of
from tests.messages.conftest import Customer
from tests.webhooks.conftest import QUICK, receiving, until, working

SECRET = "PIN forty-two nobody else knows"
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


@pytest.fixture
def ledger(resources: Resources) -> Ledger:
    return Ledger(resources.pool, resources.bells)


async def hand_over(ledger: Ledger, *messages: dict[str, Any]) -> None:
    """As if the carrier took them, by their ids' last letters."""
    now = datetime.now(UTC)
    await ledger.put(
        [Submitted(UUID(one["id"]), [(Part(1, "accepted", "north", now), one["id"][-12:])]) for one in messages]
    )


async def deliver(ledger: Ledger, *messages: dict[str, Any]) -> None:
    now = datetime.now(UTC)
    await ledger.put([Receipt("north", one["id"][-12:], "delivered", now, None, None, None) for one in messages])


def age(message: dict[str, Any], later: timedelta) -> datetime:
    return id_time(UUID(message["id"])) + later


async def test_a_message_without_a_receipt_becomes_unknown(customer: Customer, ledger: Ledger, pool: Pool) -> None:
    usual = await customer.send()
    short, long = await customer.send(validity_s=60), await customer.send(validity_s=172_800)
    await hand_over(ledger, usual, short, long)
    for message, validity in ((short, timedelta(minutes=1)), (usual, DAY), (long, 2 * DAY)):
        end = age(message, validity + timedelta(hours=72))
        assert await retention.end_unreceipted(pool, ledger, end - timedelta(seconds=1)) == 0
        assert (await customer.get(message["id"]))["status"] == "sent"
        assert await retention.end_unreceipted(pool, ledger, end + timedelta(seconds=2)) == 1
        ended = await customer.get(message["id"])
        assert (ended["status"], ended["error"]["code"]) == ("unknown", "no_receipt")
        assert [event["status"] for event in ended["events"]] == ["accepted", "sent", "unknown"]
    types = await pool.fetch(
        "SELECT type FROM messages.outbox WHERE subject_id = $1 ORDER BY sequence", UUID(usual["id"])
    )
    assert [row["type"] for row in types] == ["message.accepted", "message.sent", "message.unknown"]
    assert await pool.fetchval("SELECT count(*) FROM messages.awaited") == 0
    await deliver(ledger, usual)
    corrected = await customer.get(usual["id"])
    assert (corrected["status"], corrected["error"]) == ("delivered", None)


async def test_who_has_ended_is_not_awaited(customer: Customer, ledger: Ledger, pool: Pool) -> None:
    message = await customer.send()
    await hand_over(ledger, message)
    await deliver(ledger, message)
    assert await retention.end_unreceipted(pool, ledger, age(message, 30 * DAY)) == 0
    assert (await customer.get(message["id"]))["status"] == "delivered"
    assert await pool.fetchval("SELECT count(*) FROM messages.awaited") == 0


async def test_who_is_still_to_be_submitted_is_waited_for(customer: Customer, ledger: Ledger, pool: Pool) -> None:
    queued, scheduled = await customer.send(), await customer.send()
    later = age(queued, 20 * DAY)
    await pool.execute("DELETE FROM messages.dispatch WHERE message_id = $1", UUID(scheduled["id"]))
    await pool.execute("INSERT INTO messages.scheduled VALUES ($1, $2)", UUID(scheduled["id"]), later)
    await pool.execute(
        "UPDATE messages.messages SET status = 'scheduled', send_at = $2 WHERE id = $1", UUID(scheduled["id"]), later
    )
    assert await retention.end_unreceipted(pool, ledger, age(queued, 10 * DAY)) == 0
    awaited = dict(await pool.fetch("SELECT * FROM messages.awaited"))  # type: ignore[arg-type]
    assert awaited[UUID(queued["id"])] > age(queued, 10 * DAY)  # no worker has come by in ten days
    assert awaited[UUID(scheduled["id"])] == later + 4 * DAY
    assert (await customer.get(queued["id"]))["status"] == "accepted"
    assert (await customer.get(scheduled["id"]))["status"] == "scheduled"


async def test_each_message_is_looked_at_once_and_by_one(
    customer: Customer, ledger: Ledger, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 4)
    sent = [await customer.send() for _ in range(10)]
    await hand_over(ledger, *sent)
    at = age(sent[-1], timedelta(hours=72, seconds=61))
    await asyncio.gather(*(retention.end_unreceipted(pool, ledger, at) for _ in range(3)))
    await retention.end_unreceipted(pool, ledger, at)  # who found the sweep taken has left the rest
    assert await pool.fetchval("SELECT count(*) FROM messages.awaited") == 10
    await pool.execute("DELETE FROM messages.awaited")
    await retention.end_unreceipted(pool, ledger, at + HOUR)
    assert await pool.fetchval("SELECT count(*) FROM messages.awaited") == 0, "none is looked at again"
    ended = await asyncio.gather(*(retention.end_unreceipted(pool, ledger, at + DAY) for _ in range(3)))
    assert ended == [0, 0, 0]


async def test_submissions_are_kept_by_their_own_age(customer: Customer, ledger: Ledger, pool: Pool) -> None:
    early, scheduled = await customer.send(), await customer.send()
    await hand_over(ledger, early, scheduled)
    await pool.execute(
        "UPDATE messages.submissions SET at = at + interval '20 days' WHERE message_id = $1", UUID(scheduled["id"])
    )

    async def left(later: timedelta) -> set[str]:
        await retention.forget_submissions(pool, age(scheduled, later))
        return {str(row["message_id"]) for row in await pool.fetch("SELECT message_id FROM messages.submissions")}

    assert retention.SUBMISSIONS_KEPT == 12 * DAY  # 48 h, 72 h, 7 days
    assert await left(12 * DAY - HOUR) == {early["id"], scheduled["id"]}
    assert await left(12 * DAY + HOUR) == {scheduled["id"]}
    assert await left(32 * DAY - HOUR) == {scheduled["id"]}
    assert await left(42 * DAY + HOUR) == set()


async def test_old_texts_go_but_never_of_messages_on_their_way(
    customer: Customer, ledger: Ledger, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    ended, sent = [await customer.send() for _ in range(5)], await customer.send(body=SECRET)
    await hand_over(ledger, *ended, sent)
    await deliver(ledger, *ended)

    async def bodies() -> list[str | None]:
        return [(await customer.get(message["id"]))["body"] for message in (*ended, sent)]

    assert await retention.delete_bodies(pool, None, age(sent, 99 * DAY)) == 0
    assert await retention.delete_bodies(pool, 7, age(ended[0], 7 * DAY - HOUR)) == 0
    assert await bodies() == ["Hello"] * 5 + [SECRET]
    assert await retention.delete_bodies(pool, 7, age(sent, 7 * DAY + HOUR)) == 5
    assert await bodies() == [None] * 5 + [SECRET]
    assert await retention.delete_bodies(pool, 7, age(sent, 8 * DAY)) == 0
    await deliver(ledger, sent)
    assert await retention.delete_bodies(pool, 7, age(sent, 8 * DAY)) == 1
    assert await bodies() == [None] * 6
    assert await pool.fetchval("SELECT count(*) FROM messages.late_bodies") == 0
    assert await pool.fetchval("SELECT count(*) FROM messages.redactions") >= 1, "its event came after its time"


async def test_a_round_is_bounded_and_the_next_goes_on(
    customer: Customer, ledger: Ledger, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    monkeypatch.setattr(retention, "MOST_BATCHES", 2)
    sent = [await customer.send() for _ in range(6)]
    await hand_over(ledger, *sent)
    await deliver(ledger, *sent)
    now = age(sent[-1], 2 * DAY)
    assert [await retention.delete_bodies(pool, 1, now) for _ in range(3)] == [4, 2, 0]


async def places_of(pool: Pool, text: str) -> set[str]:
    """Every table of the database with a row that holds a text, as it is or as bytes."""
    tables = await pool.fetch(
        """
        SELECT relation.oid::regclass::text AS name FROM pg_class AS relation
        JOIN pg_namespace AS schema ON schema.oid = relation.relnamespace
        WHERE relation.relkind = 'r' AND schema.nspname !~ '^(pg_|information_schema)'
        """
    )
    assert len(tables) > 30
    found = set()
    for table in tables:
        if await pool.fetchval(
            f"SELECT EXISTS (SELECT FROM {table['name']} AS row WHERE position($1 IN row::text) > 0"
            " OR position($2 IN row::text) > 0)",
            text,
            text.encode().hex(),
        ):
            found.add(table["name"])
    return found


async def subscribe(resources: Resources, customer: Customer, url: str) -> None:
    caller = Caller(customer.account_id, customer.user_id, is_api_key=False, credential="")
    await webhooks.create_webhook(
        resources.pool, resources.sealer, caller, WebhookInput(url=url, events=["*"]), key=None, request_id="", dev=True
    )


async def echo(request: web.Request) -> web.StreamResponse:
    return web.Response(body=await request.read(), status=500 if b"message.sent" in await request.read() else 200)


def month_table() -> str:
    return f"messages.messages_{datetime.now(UTC):%Y_%m}"


async def test_a_redacted_text_is_nowhere(
    resources: Resources, customer: Customer, ledger: Ledger, pool: Pool, app: ServiceApp
) -> None:
    async with receiving() as receiver:
        receiver.answer = echo
        await subscribe(resources, customer, receiver.url)
        single = (await customer.call("POST", "/v1/messages", {"to": "+46700000010", "body": SECRET},
                                      idempotency_key="k1")).json  # fmt: skip
        batch = {"messages": [{"to": "+46700000010", "body": SECRET}, {"to": "+46700000011", "body": "stays here"}]}
        items = (await customer.call("POST", "/v1/messages/batch", batch, idempotency_key="k2")).json["data"]
        in_batch, neighbour = items[0]["message"], items[1]["message"]
        await hand_over(ledger, single, in_batch, neighbour)
        await deliver(ledger, single, in_batch, neighbour)
        async with working(resources, QUICK):
            await until(lambda: deliveries_over(pool, 9))
        assert await places_of(pool, SECRET) == {
            month_table(), "messages.idempotency_keys", "messages.outbox", "webhooks.events", "webhooks.attempts",
            "webhooks.deliveries",
        }  # fmt: skip
        before = len(receiver.got)
        for message in (single, in_batch):
            answer = await customer.call("POST", f"/v1/messages/{message['id']}/redact")
            assert (answer.status, answer.json["body"]) == (200, None), answer.body
            assert [event["status"] for event in answer.json["events"]] == ["accepted", "sent", "delivered"]
            again = await customer.call("POST", f"/v1/messages/{message['id']}/redact")
            assert again.json == answer.json
        replayed = await customer.call("POST", "/v1/messages", {"to": "+46700000010", "body": SECRET},
                                       idempotency_key="k1")  # fmt: skip
        assert replayed.header("idempotent-replayed") == "true"
        assert replayed.json == single | {"body": None}
        replayed = await customer.call("POST", "/v1/messages/batch", batch, idempotency_key="k2")
        assert [item["message"]["body"] for item in replayed.json["data"]] == [None, "stays here"]
        await retention.keep_house(resources)
        async with working(resources, QUICK):
            await until(lambda: nowhere(pool))
        assert len(receiver.got) == before, "nobody is told"
    assert await places_of(pool, "stays here") >= {month_table(), "messages.outbox", "webhooks.events"}
    assert await pool.fetchval("SELECT count(*) FROM messages.redactions") == 0
    assert await pool.fetchval("SELECT count(*) FROM storage.audit_log WHERE action = 'message.redacted'") == 2


async def deliveries_over(pool: Pool, count: int) -> bool:
    return bool(await pool.fetchval("SELECT count(*) = $1 FROM webhooks.deliveries", count))


async def nowhere(pool: Pool) -> bool:
    return not await places_of(pool, SECRET)


async def test_a_text_of_its_age_is_nowhere(
    resources: Resources, customer: Customer, ledger: Ledger, pool: Pool
) -> None:
    """What ended in time by its age, what ended late because messages tells."""
    async with receiving() as receiver:
        await subscribe(resources, customer, receiver.url)
        in_time, late = await customer.send(body=SECRET), await customer.send(body=SECRET)
        await hand_over(ledger, in_time, late)
        await deliver(ledger, in_time)
        async with working(resources, QUICK):
            await until(lambda: deliveries_over(pool, 5))
        now = datetime.now(UTC) + DAY + 2 * HOUR
        await retention.delete_bodies(pool, 1, now)
        await webhooks_redaction.delete_old_texts(pool, events_of(pool), 1, now)
        assert await pool.fetchval(
            "SELECT count(*) FROM webhooks.events WHERE message_id = $1 AND body NOT LIKE '%\"body\":null%'",
            UUID(in_time["id"]),
        ) == 0  # fmt: skip
        assert (await customer.get(late["id"]))["body"] == SECRET
        await deliver(ledger, late)
        async with working(resources, QUICK):
            await until(lambda: deliveries_over(pool, 6))
        assert "webhooks.events" in await places_of(pool, SECRET)
        await retention.delete_bodies(pool, 1, now)
        await redaction.delete_copies(pool, resources.bells, resources.events)
        await pool.execute("DELETE FROM messages.outbox WHERE type <> 'message.redacted'")  # of their age, too
        async with working(resources, QUICK):
            await until(lambda: nowhere(pool))


async def test_only_what_has_ended_is_redacted(customer: Customer, other: Customer, ledger: Ledger, pool: Pool) -> None:
    message = await customer.send()
    path = f"/v1/messages/{message['id']}/redact"
    refused = await customer.call("POST", path)
    assert (refused.status, refused.json["code"]) == (409, "not_redactable")
    await hand_over(ledger, message)
    assert (await customer.call("POST", path)).json["code"] == "not_redactable"
    assert (await other.call("POST", path)).status == 404
    await ledger.put([Submitted(UUID(message["id"]), ending=Ending("unknown", "no_receipt", of=("sent",)))])
    assert (await customer.call("POST", path)).json["status"] == "unknown"
    await deliver(ledger, message)
    events = await pool.fetch("SELECT type, data FROM messages.outbox WHERE subject_id = $1", UUID(message["id"]))
    (delivered,) = (msgspec.json.decode(event["data"]) for event in events if event["type"] == "message.delivered")
    assert delivered["body"] is None, "what corrects it has no text to tell"


async def test_a_received_message_is_redacted(customer: Customer, pool: Pool) -> None:
    message_id = new_id()
    await pool.execute(
        """
        INSERT INTO messages.messages (id, account_id, direction, recipient, sender, body, encoding, segments, status)
        VALUES ($1, $2, 'inbound', '12345', '+46700000010', $3, 'gsm7', 1, 'received')
        """,
        message_id,
        customer.account_id,
        SECRET,
    )
    answer = await customer.call("POST", f"/v1/messages/{message_id}/redact")
    assert (answer.status, answer.json["body"], answer.json["status"]) == (200, None, "received")
    assert await places_of(pool, SECRET) == set()


async def test_the_house_is_kept_by_the_settings(
    resources: Resources, customer: Customer, ledger: Ledger, pool: Pool
) -> None:
    message = await customer.send()
    await hand_over(ledger, message)
    await deliver(ledger, message)
    old = UUID(int=first_id(datetime.now(UTC) - 9 * DAY).int + 1)
    await pool.execute("UPDATE messages.messages SET id = $2 WHERE id = $1", UUID(message["id"]), old)
    for days, body in ((None, "Hello"), (10, "Hello"), (8, None)):
        settings = Settings(dev=True, body_retention_days=days)
        await retention.keep_house(replace(resources, settings=settings))
        assert await pool.fetchval("SELECT body FROM messages.messages WHERE id = $1", old) == body


async def test_a_step_that_fails_holds_up_no_other(
    resources: Resources, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pool.execute(
        "INSERT INTO messages.parked_receipts VALUES "
        "(gen_random_uuid(), 'north', 'n', 'delivered', NULL, NULL, now(), now() - interval '1 second')"
    )
    await pool.execute("DROP TABLE messages.submissions")
    await pool.execute(
        "INSERT INTO messages.outbox (id, type, account_id, subject_id, sequence, at, data) "
        "VALUES (gen_random_uuid(), 't', gen_random_uuid(), gen_random_uuid(), 1, now() - interval '2 hours', '{}')"
    )
    for consumer in ("webhooks", "billing"):
        await pool.execute(f"INSERT INTO {consumer}.positions (source, xid) VALUES ('messages', '9223372036854775807')")
    await retention.keep_house(resources)
    assert await pool.fetchval("SELECT count(*) FROM messages.parked_receipts") == 0
    assert await pool.fetchval("SELECT count(*) FROM messages.outbox") == 0
