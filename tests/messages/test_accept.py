"""Acceptance and reading, over a real database."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from ghasi.contract.values import new_id
from ghasi.messages.sending.accounts import take_accounts
from ghasi.storage.events import outbox, postgres
from ghasi.storage.pool import Pool
from tests.messages.conftest import Customer


async def test_an_accepted_message_is_committed_with_its_event_and_its_place_in_the_queue(
    customer: Customer, pool: Pool
) -> None:
    message = await customer.send("+93701234567", "Your code is 1234", reference="order-1", **{"from": "Ghasi"})
    assert message == {
        "id": message["id"], "direction": "outbound", "to": "+93701234567", "from": "Ghasi",
        "body": "Your code is 1234", "encoding": "gsm7", "segments": 1, "status": "accepted", "price": None,
        "error": None, "reference": "order-1", "country": "AF", "created_at": message["created_at"], "send_at": None,
        "sent_at": None, "completed_at": None,
    }  # fmt: skip
    shown = await customer.get(message["id"])
    assert shown.pop("events") == [{"status": "accepted", "at": message["created_at"], "detail": None}]
    assert shown == message
    assert await pool.fetchval("SELECT count(*) FROM messages.dispatch WHERE message_id = $1", message["id"]) == 1
    event = await pool.fetchrow("SELECT type, subject_id::text, sequence, data FROM messages.outbox")
    assert (event["type"], event["subject_id"], event["sequence"]) == ("message.accepted", message["id"], 1)


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"to": "12345"}, "invalid_number", "to"),
        ({"to": "+999123456"}, "invalid_number", "to"),
        ({"to": "not a number"}, "invalid_number", "to"),
        ({"to": "+93701234567 "}, "invalid_number", "to"),
        ({"to": "+٤٦٧٠٠٠٠٠٠١٠"}, "invalid_number", "to"),
        ({"to": 46700000010}, "invalid_request", "to"),
        ({"body": ""}, "invalid_request", "body"),
        ({"body": "a" * 1531}, "body_too_long", "body"),
        ({"body": "€" * 766}, "body_too_long", "body"),
        ({"body": "ش" * 671}, "body_too_long", "body"),
        ({"body": "nul\0"}, "invalid_request", "body"),
        ({"from": "much too long a name"}, "invalid_sender", "from"),
        ({"from": "12"}, "invalid_sender", "from"),
        ({"from": " lead"}, "invalid_sender", "from"),
        ({"send_at": "2999-01-01T00:00:00Z"}, "invalid_send_at", "send_at"),
        ({"send_at": "2020-01-01T00:00:00Z"}, "invalid_send_at", "send_at"),
        ({"send_at": "2030-01-01T00:00:00"}, "invalid_request", "send_at"),
        ({"validity_s": 1}, "invalid_request", "validity_s"),
        ({"priority": 1}, "invalid_request", "priority"),
    ],
)
async def test_bad_input_is_named(
    customer: Customer, pool: Pool, change: dict[str, Any], code: str, field: str
) -> None:
    answer = await customer.call("POST", "/v1/messages", {"to": "+46700000010", "body": "x"} | change)
    assert (answer.status, answer.json["code"], answer.json["errors"][0]["field"]) == (422, code, field)
    assert await pool.fetchval("SELECT count(*) FROM messages.messages") == 0


async def test_ten_segments_are_accepted(customer: Customer) -> None:
    assert (await customer.send(body="a" * 1530))["segments"] == 10
    assert (await customer.send(body="ش" * 670))["segments"] == 10


async def test_smart_encoding_replaces_what_only_looks_different(customer: Customer, pool: Pool) -> None:
    for body, sent in {
        "It\u2019s \u201cready\u201d \u2014 come\u2026": 'It\'s "ready" - come...',
        "plain": "plain",
        "\u201cnot all\u201d \u0416": "\u201cnot all\u201d \u0416",
        "\u200b\u2060": "\u200b\u2060",
        "\u2026" * 60: "\u2026" * 60,  # 180 septets are two segments, and this is one
    }.items():
        message = await customer.send(body=body, smart_encoding=True)
        assert message["body"] == sent
        assert message["encoding"] == ("gsm7" if sent.isascii() else "ucs2")
        assert await pool.fetchval("SELECT body FROM messages.messages WHERE id = $1::uuid", message["id"]) == sent
        assert (await customer.send(body=body))["body"] == body


async def test_senders_and_opt_outs_hold_for_a_send(customer: Customer, other: Customer, pool: Pool) -> None:
    await pool.execute(
        "INSERT INTO messages.senders (id, account_id, address, kind, is_default) "
        "VALUES (gen_random_uuid(), $1, '+46700000099', 'number', true)",
        customer.account_id,
    )

    async def refusal(one: Customer, **fields: str) -> str | None:
        answer = await one.call("POST", "/v1/messages", {"to": "+46700000010", "body": "x"} | fields)
        return None if answer.status == 202 else answer.json["code"]

    assert (await customer.send())["from"] == "+46700000099"
    assert await refusal(other, **{"from": "+46700000099"}) == "sender_not_allowed"
    assert await refusal(customer, **{"from": "+46700000098"}) is None, "anybody's who is nobody's"
    opted_out = await customer.call("POST", "/v1/opt-outs", {"to": "+46700000010"})
    for idempotency_key in ({}, {"idempotency_key": "k"}):
        answer = await customer.call("POST", "/v1/messages", {"to": "+46700000010", "body": "x"}, **idempotency_key)
        assert (answer.status, answer.json["code"]) == (403, "recipient_opted_out")
    assert await pool.fetchval("SELECT count(*) FROM messages.idempotency_keys") == 0, "it may be asked again"
    assert await refusal(customer, to="+46700000011") is None
    assert await refusal(other) is None
    assert (await customer.call("DELETE", f"/v1/opt-outs/{opted_out.json['id']}")).status == 204
    assert await refusal(customer) is None
    await pool.execute(
        "INSERT INTO messages.sender_policies (account_id, policy) VALUES ($1, 'listed')", customer.account_id
    )
    async with asyncio.timeout(5):
        while await refusal(customer, **{"from": "Bakery"}) is None:
            await asyncio.sleep(0.05)
    assert await refusal(customer, **{"from": "Bakery"}) == "sender_not_allowed"
    assert await refusal(customer) is None


async def test_hostile_text_comes_back_as_it_was(customer: Customer) -> None:
    for text in (
        "<script>alert(1)</script>",
        "'; DROP TABLE messages; --",
        "\\u0041 \u202e 👩‍👩‍👧 \n\t\r",
        '{"a":"b\\\\"}',
    ):
        message = await customer.send(body=text)
        assert (await customer.get(message["id"]))["body"] == text


async def test_another_accounts_message_is_not_found(customer: Customer, other: Customer) -> None:
    message = await customer.send()
    for target in (message["id"], str(new_id()), "x", message["id"].upper() + "0"):
        answer = await other.call("GET", f"/v1/messages/{target}")
        assert (answer.status, answer.json["code"]) == (404, "not_found")
    assert (await other.call("GET", "/v1/messages")).json == {"data": [], "next_cursor": None}


async def test_lists_page_newest_first_without_gaps(customer: Customer) -> None:
    sent = [(await customer.send(body=f"{number}"))["id"] for number in range(7)]
    seen: list[str] = []
    target = "/v1/messages?limit=3"
    while True:
        page = (await customer.call("GET", target)).json
        seen += [message["id"] for message in page["data"]]
        if page["next_cursor"] is None:
            break
        target = f"/v1/messages?limit=3&cursor={page['next_cursor']}"
    assert seen == sent[::-1]


async def test_list_filters(customer: Customer) -> None:
    first = await customer.send("+46700000010", reference="a", **{"from": "Ghasi"})
    second = await customer.send("+46700000011", reference="b")
    third = await customer.send("+46700000012")

    async def ids(query: str) -> list[str]:
        answer = await customer.call("GET", f"/v1/messages?{query}")
        assert answer.status == 200, answer.body
        return [message["id"] for message in answer.json["data"]]

    assert await ids("to=%2B46700000011") == [second["id"]]
    assert await ids("to=+46700000011") == [second["id"]]
    assert await ids("reference=a") == [first["id"]]
    assert await ids("from=Ghasi") == [first["id"]]
    assert await ids("status=accepted") == [third["id"], second["id"], first["id"]]
    assert await ids("status=delivered") == []
    assert await ids("direction=outbound") == [third["id"], second["id"], first["id"]]
    assert await ids("direction=inbound") == []
    assert await ids(f"created_before={first['created_at']}") == []
    assert first["id"] not in await ids(f"created_after={first['created_at']}")
    assert len(await ids("created_after=2020-01-01T00:00:00Z&created_before=2100-01-01T00:00:00Z")) == 3
    assert len(await ids("created_after=1000-01-01T00:00:00Z&created_before=9998-12-31T23:59:59.999Z")) == 3
    assert await ids("created_after=9998-12-31T23:59:59.999Z") == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "invalid_request"),
        ("limit=101", "invalid_request"),
        ("limit=ten", "invalid_request"),
        ("status=lost", "invalid_request"),
        ("direction=up", "invalid_request"),
        ("created_after=yesterday", "invalid_request"),
        ("created_after=2026-01-01T00:00:00", "invalid_request"),
        ("page=2", "invalid_request"),
        ("limit=1&limit=2", "invalid_request"),
        ("cursor=abc", "invalid_cursor"),
        ("cursor=WyJhIl0", "invalid_cursor"),
    ],
)
async def test_bad_queries_are_refused(customer: Customer, query: str, code: str) -> None:
    answer = await customer.call("GET", f"/v1/messages?{query}")
    assert (answer.status, answer.json["code"]) == (422, code)


async def test_an_idempotency_key_sends_once(customer: Customer, other: Customer, pool: Pool) -> None:
    body = {"to": "+46700000010", "body": "once"}
    first = await customer.call("POST", "/v1/messages", body, idempotency_key="k1")
    again = await customer.call("POST", "/v1/messages", body, idempotency_key="k1")
    assert (first.status, again.status, again.body) == (202, 202, first.body)
    assert (first.header("idempotent-replayed"), again.header("idempotent-replayed")) == (None, "true")
    changed = await customer.call("POST", "/v1/messages", body | {"body": "twice"}, idempotency_key="k1")
    assert (changed.status, changed.json["code"]) == (409, "idempotency_key_reused")
    # another account's keys are its own
    assert (await other.call("POST", "/v1/messages", body, idempotency_key="k1")).body != first.body
    assert await pool.fetchval("SELECT count(*) FROM messages.messages") == 2
    refused = await customer.call("POST", "/v1/messages", {"to": "1", "body": "x"}, idempotency_key="k2")
    assert refused.status == 422
    assert (await customer.call("POST", "/v1/messages", body, idempotency_key="k2")).status == 202
    bad = await customer.call("POST", "/v1/messages", body, idempotency_key="\x80" * 3)
    assert (bad.status, bad.json["code"]) == (422, "invalid_idempotency_key")


async def test_the_same_key_at_once_sends_once(customer: Customer, pool: Pool) -> None:
    body = {"to": "+46700000010", "body": "once"}
    answers = await asyncio.gather(
        *(customer.call("POST", "/v1/messages", body, idempotency_key="k") for _ in range(20)),
        *(customer.call("POST", "/v1/messages", body | {"body": "2"}, idempotency_key="k") for _ in range(5)),
        *(customer.call("POST", "/v1/messages", body) for _ in range(5)),
    )
    assert [answer.status for answer in answers] == [202] * 20 + [409] * 5 + [202] * 5
    assert len({answer.body for answer in answers[:20]}) == 1
    assert await pool.fetchval("SELECT count(*) FROM messages.messages") == 6


async def test_a_key_is_free_again_after_a_day(customer: Customer, pool: Pool) -> None:
    body = {"to": "+46700000010", "body": "once"}
    first = await customer.call("POST", "/v1/messages", body, idempotency_key="k")
    await pool.execute("UPDATE messages.idempotency_keys SET created_at = now() - interval '25 hours'")
    second = await customer.call("POST", "/v1/messages", body, idempotency_key="k")
    assert second.json["id"] != first.json["id"]


async def set_account(pool: Pool, customer: Customer, **values: Any) -> None:
    """Say something of an account as auth-service does, and wait until messages has heard it."""
    state = {"id": str(customer.account_id), "name": "x", "status": "active", "countries": None, "daily_cap": None}
    sequence = await pool.fetchval("SELECT coalesce(max(sequence), 0) + 1 FROM auth.outbox")
    event = outbox.Event(
        new_id(), "account.updated", customer.account_id, customer.account_id, sequence,
        datetime.now(UTC), outbox.to_json(state | values),
    )  # fmt: skip
    async with pool.acquire() as connection, connection.transaction():
        await outbox.append(connection, "auth", [event])
    await postgres.consume(pool, "auth", "messages", take_accounts)
    while await postgres.consume(pool, "auth", "messages", take_accounts):
        pass


async def test_suspension_countries_and_cap_hold_within_a_second(customer: Customer, pool: Pool) -> None:
    async def outcome(to: str = "+46700000010") -> tuple[int, str | None]:
        answer = await customer.call("POST", "/v1/messages", {"to": to, "body": "x"})
        return answer.status, answer.json.get("code")

    async def within_a_second(expected: tuple[int, str | None], to: str = "+46700000010") -> None:
        async with asyncio.timeout(1):
            while await outcome(to) != expected:
                await asyncio.sleep(0.05)

    await customer.send()
    await set_account(pool, customer, status="suspended")
    await within_a_second((403, "account_suspended"))
    await set_account(pool, customer, countries=["AF"])
    await within_a_second((403, "country_not_allowed"))
    assert await outcome("+93701234567") == (202, None)
    had = await pool.fetchval("SELECT count(*) FROM messages.messages")
    await set_account(pool, customer, daily_cap=had + 10)
    await within_a_second((202, None))
    answers = await asyncio.gather(*(outcome() for _ in range(25)))
    assert sorted(answers) == [(202, None)] * 9 + [(403, "daily_cap_reached")] * 16
    await set_account(pool, customer)
    await within_a_second((202, None))


async def test_a_refused_message_does_not_hold_its_key(customer: Customer, pool: Pool) -> None:
    await set_account(pool, customer, daily_cap=1)
    body = {"to": "+46700000010", "body": "x"}
    answers = await asyncio.gather(
        *(customer.call("POST", "/v1/messages", body, idempotency_key=f"k{n}") for n in "ab")
    )
    assert sorted(answer.status for answer in answers) == [202, 403]
    assert await pool.fetchval("SELECT count(*) FROM messages.idempotency_keys") == 1


async def test_many_at_once_are_few_transactions(customer: Customer, pool: Pool) -> None:
    before = await pool.fetchval("SELECT count(DISTINCT xid) FROM messages.outbox")
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE messages.messages IN EXCLUSIVE MODE")  # the first is held up for as long
        sent = [asyncio.create_task(customer.send(body=f"{number}")) for number in range(200)]
        await asyncio.sleep(0.5)
    await asyncio.gather(*sent)
    assert await pool.fetchval("SELECT count(*) FROM messages.messages") == 200
    assert await pool.fetchval("SELECT count(DISTINCT xid) FROM messages.outbox") - before < 10
