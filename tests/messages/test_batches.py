"""Batches: each message by itself, all at once, in both forms; and what one costs."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghasi.contract.errors import Problem
from ghasi.contract.shapes import Batch
from ghasi.contract.values import rfc3339
from ghasi.messages.sending import queries
from ghasi.messages.sending.batches import BATCH_ROUTE, Job, Template
from ghasi.storage.pool import Pool
from tests.asgi import Answer
from tests.messages.conftest import Customer
from tests.messages.test_scheduling import in_an_hour, opt_out, suspend

ONE, TWO, THREE, AFGHAN = "+46700000010", "+46700000011", "+46700000012", "+93701234567"


async def post(customer: Customer, body: dict[str, Any], **headers: str) -> Answer:
    return await customer.call("POST", "/v1/messages/batch", body, **headers)


async def send(customer: Customer, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    answer = await post(customer, body, **headers)
    assert answer.status == 202, answer.body
    msgspec.json.decode(answer.body, type=Batch)
    batch: dict[str, Any] = answer.json
    assert [item["index"] for item in batch["data"]] == list(range(len(batch["data"])))
    assert batch["accepted"] == sum(item["message"] is not None for item in batch["data"])
    assert batch["refused"] == sum(item["error"] is not None for item in batch["data"])
    assert len(batch["data"]) == batch["accepted"] + batch["refused"]
    return batch


def refusals(batch: dict[str, Any]) -> dict[int, tuple[str, list[str]]]:
    return {
        item["index"]: (item["error"]["code"], [error["field"] for error in item["error"]["errors"]])
        for item in batch["data"] if item["error"]
    }  # fmt: skip


async def test_each_message_is_accepted_or_refused_by_itself(customer: Customer, pool: Pool) -> None:
    later = in_an_hour()
    batch = await send(customer, {"messages": [
        {"to": ONE, "body": "first", "reference": "r1", "from": "Bakery"},
        {"to": "12345", "body": "no number"},
        {"to": AFGHAN, "body": "سلام", "validity_s": 600},
        {"to": ONE, "body": "x" * 1531},
        {"to": ONE, "body": "x", "from": "much too long a name"},
        {"to": TWO, "body": "later", "send_at": later},
        {"to": TWO, "body": "too soon", "send_at": rfc3339(datetime.now(UTC))},
        {"to": THREE, "body": "It\u2019s \u201cready\u201d", "smart_encoding": True},
    ]})  # fmt: skip
    assert refusals(batch) == {
        1: ("invalid_number", ["messages[1].to"]),
        3: ("body_too_long", ["messages[3].body"]),
        4: ("invalid_sender", ["messages[4].from"]),
        6: ("invalid_send_at", ["messages[6].send_at"]),
    }
    accepted = [item["message"] for item in batch["data"] if item["message"]]
    assert [message["body"] for message in accepted] == ["first", "سلام", "later", 'It\'s "ready"']
    assert [message["status"] for message in accepted] == ["accepted", "accepted", "scheduled", "accepted"]
    assert [message["encoding"] for message in accepted] == ["gsm7", "ucs2", "gsm7", "gsm7"]
    assert (accepted[0]["from"], accepted[0]["reference"], accepted[2]["send_at"]) == ("Bakery", "r1", later)
    listed = (await customer.call("GET", "/v1/messages")).json["data"]
    assert listed == accepted[::-1], "as the list has them, in the order of the request"
    assert await pool.fetchval("SELECT count(*) FROM messages.dispatch") == 3
    assert await pool.fetchval("SELECT count(*) FROM messages.scheduled") == 1
    events = await pool.fetch("SELECT type, subject_id::text, data FROM messages.outbox ORDER BY subject_id")
    assert [(row["type"], row["subject_id"]) for row in events] == [
        (f"message.{message['status']}", message["id"]) for message in accepted
    ]
    assert [msgspec.json.decode(row["data"]) for row in events] == accepted


async def test_one_body_goes_to_many_with_their_own_words(customer: Customer) -> None:
    batch = await send(customer, {
        "body": "Dear {{name}}, your {{ what }} is ready, {{name}}.", "from": "Bakery", "reference": "today",
        "validity_s": 3600, "send_at": in_an_hour(),
        "recipients": [
            {"to": ONE, "variables": {"name": "Omid", "what": "bread", "more": "unused"}},
            {"to": TWO, "variables": {"name": "{{what}}", "what": "cake"}, "reference": "own"},
            {"to": "nobody", "variables": {"name": "Ann", "what": "cake"}},
            {"to": THREE, "variables": {"what": "cake"}},
            {"to": THREE},
            {"to": THREE, "variables": {"name": "x" * 1000, "what": "y"}},
        ],
    })  # fmt: skip
    assert refusals(batch) == {
        2: ("invalid_number", ["recipients[2].to"]),
        3: ("invalid_request", ["recipients[3].variables.name"]),
        4: ("invalid_request", ["recipients[4].variables.name"]),
        5: ("body_too_long", ["body"]),
    }
    first, second = (item["message"] for item in batch["data"][:2])
    assert first["body"] == "Dear Omid, your bread is ready, Omid."
    assert second["body"] == "Dear {{what}}, your cake is ready, {{what}}.", "a value is not read again"
    assert [(one["from"], one["reference"], one["status"]) for one in (first, second)] == [
        ("Bakery", "today", "scheduled"), ("Bakery", "own", "scheduled"),
    ]  # fmt: skip


async def test_smart_encoding_is_of_the_text_with_its_variables(customer: Customer) -> None:
    batch = await send(customer, {
        "body": "\u201c{{x}}\u201d", "smart_encoding": True,
        "recipients": [{"to": ONE, "variables": {"x": "a\u2014b"}}, {"to": ONE, "variables": {"x": "\u0416"}}],
    })  # fmt: skip
    assert [item["message"]["body"] for item in batch["data"]] == ['"a-b"', "\u201c\u0416\u201d"]


NO_BATCHES: list[tuple[dict[str, Any], str]] = [
    ({}, "messages"),
    ({"body": "x"}, "recipients"),
    ({"recipients": [{"to": ONE}]}, "body"),
    ({"messages": [{"to": ONE, "body": "x"}], "body": "x"}, "body"),
    ({"messages": [{"to": ONE, "body": "x"}], "recipients": [{"to": ONE}]}, "recipients"),
    ({"messages": [{"to": ONE, "body": "x"}], "from": "Bakery"}, "from"),
    ({"messages": [{"to": ONE, "body": "x"}], "reference": "r"}, "reference"),
    ({"messages": [{"to": ONE, "body": "x"}], "send_at": "2027-01-01T00:00:00Z"}, "send_at"),
    ({"messages": [{"to": ONE, "body": "x"}], "validity_s": 60}, "validity_s"),
    ({"messages": [{"to": ONE, "body": "x"}], "smart_encoding": True}, "smart_encoding"),
    ({"messages": []}, "messages"),
    ({"messages": [{"to": ONE, "body": "x"}] * 1001}, "messages"),
    ({"body": "x", "recipients": []}, "recipients"),
    ({"body": "x", "recipients": [{"to": ONE}] * 1001}, "recipients"),
    ({"messages": {"to": ONE, "body": "x"}}, "messages"),
    ({"messages": [{"to": ONE}], "surprise": 1}, "surprise"),
    ({"body": "x\0", "recipients": [{"to": 1}]}, "body"),
    ({"body": "x", "recipients": [{}], "send_at": "0001-01-01T00:00:00Z"}, "send_at"),
    ({"messages": [{"to": ONE}], "recipients": [{}]}, "messages[0].body"),
    ({"messages": [{"to": ONE}], "from": "Bakery"}, "from"),
    ({"messages": [{"to": ONE}] * 1001}, "messages[0].body"),
]  # fmt: skip


async def test_what_is_no_batch_is_refused_whole(customer: Customer, pool: Pool) -> None:
    for body, field in NO_BATCHES:
        answer = await post(customer, body, idempotency_key="k")
        assert (answer.status, answer.json["code"]) == (422, "invalid_request"), answer.body
        assert answer.json["errors"][0]["field"] == field
    assert await pool.fetchval("SELECT count(*) FROM messages.messages") == 0
    assert await pool.fetchval("SELECT count(*) FROM messages.idempotency_keys") == 0


async def test_a_message_that_is_none_is_refused_by_itself(customer: Customer, pool: Pool) -> None:
    good = {"to": ONE, "body": "x"}
    faulty: list[tuple[Any, str]] = [
        (None, ""), ([], ""), ({"body": "x"}, ".to"), ({"to": ONE}, ".body"), ({**good, "body": ""}, ".body"),
        ({**good, "to": 5}, ".to"), ({**good, "body": "x" * 20_001}, ".body"), ({**good, "body": "nul\0"}, ".body"),
        ({**good, "validity_s": 59}, ".validity_s"), ({**good, "send_at": "tomorrow"}, ".send_at"),
        ({**good, "send_at": "0001-01-01T00:00:00Z"}, ".send_at"), ({**good, "surprise": 1}, ".surprise"),
    ]  # fmt: skip
    body = {"messages": [one for message, _ in faulty for one in (message, good)]}
    batch = await send(customer, body, idempotency_key="k")
    assert refusals(batch) == {
        2 * n: ("invalid_request", [f"messages[{2 * n}]{field}"]) for n, (_, field) in enumerate(faulty)
    }
    assert await pool.fetchval("SELECT count(*) FROM messages.messages") == len(faulty)
    assert (await post(customer, body, idempotency_key="k")).json == batch
    assert (await post(customer, {"messages": body["messages"][1:]}, idempotency_key="k")).status == 409

    people: list[tuple[Any, str]] = [
        ("x", ""), ({}, ".to"), ({"to": ONE, "body": "x"}, ".body"),
        ({"to": ONE, "variables": {"x": 1}}, ".variables[]"),
        ({"to": ONE, "variables": {"x": "y" * 1001}}, ".variables[]"),
        ({"to": ONE, "variables": {"x": "\0"}}, ".variables.x"),
    ]  # fmt: skip
    batch = await send(customer, {"body": "x", "recipients": [one for one, _ in people]})
    assert refusals(batch) == {
        n: ("invalid_request", [f"recipients[{n}]{field}"]) for n, (_, field) in enumerate(people)
    }


async def test_far_times_are_refused_alone(customer: Customer) -> None:
    times = ("9998-12-30T23:59:59-14:00", "1000-01-02T00:00:00+14:00")
    batch = await send(customer, {"messages": [{"to": ONE, "body": "x", "send_at": at} for at in times]})
    assert refusals(batch) == {n: ("invalid_send_at", [f"messages[{n}].send_at"]) for n in (0, 1)}


async def test_all_refused_is_an_answer_too_and_writes_nothing(customer: Customer, pool: Pool) -> None:
    batch = await send(customer, {"body": "{{x}}", "recipients": [{"to": ONE, "variables": {"x": ""}}]})
    assert refusals(batch) == {0: ("invalid_request", ["body"])}
    assert await pool.fetchval("SELECT count(*) FROM messages.messages") == 0


async def test_the_first_ones_are_within_the_cap(customer: Customer, pool: Pool) -> None:
    await pool.execute(
        "INSERT INTO messages.accounts (account_id, status, daily_cap, sequence) VALUES ($1, 'active', 5, 1)",
        customer.account_id,
    )
    await customer.send()
    await opt_out(customer, TWO)
    to = [ONE, "nobody", TWO, ONE, THREE, TWO, ONE, ONE, THREE]
    batch = await send(customer, {"body": "x", "recipients": [{"to": one} for one in to]}, idempotency_key="k")
    assert {index: code for index, (code, _) in refusals(batch).items()} == {
        1: "invalid_number", 2: "recipient_opted_out", 5: "recipient_opted_out", 7: "daily_cap_reached",
        8: "daily_cap_reached",
    }  # fmt: skip
    again = await post(customer, {"body": "x", "recipients": [{"to": one} for one in to]}, idempotency_key="k")
    assert again.json == batch
    assert await pool.fetchval("SELECT count(*) FROM messages.messages") == 5
    assert await pool.fetchval("SELECT messages FROM messages.daily_counts") == 5


async def test_what_the_account_may_not_is_refused_by_the_same_codes(customer: Customer, pool: Pool) -> None:
    await pool.execute(
        "INSERT INTO messages.accounts (account_id, status, countries, sequence) VALUES ($1, 'active', '{SE}', 1)",
        customer.account_id,
    )
    await pool.execute(
        "INSERT INTO messages.sender_policies (account_id, policy) VALUES ($1, 'listed')", customer.account_id
    )
    batch = await send(customer, {"messages": [
        {"to": AFGHAN, "body": "x"}, {"to": ONE, "body": "x", "from": "Bakery"}, {"to": ONE, "body": "x"},
    ]})  # fmt: skip
    assert {index: code for index, (code, _) in refusals(batch).items()} == {
        0: "country_not_allowed", 1: "sender_not_allowed", 2: "sender_not_allowed",
    }  # fmt: skip
    assert all(item["error"]["detail"] for item in batch["data"])


async def test_a_suspended_account_sends_no_batch_but_hears_what_became_of_one(customer: Customer, pool: Pool) -> None:
    body = {"body": "x", "recipients": [{"to": ONE}]}
    first = await post(customer, body, idempotency_key="k")
    await suspend(pool, customer.account_id)
    async with asyncio.timeout(5):
        while (answer := await post(customer, body)).status == 202:
            await asyncio.sleep(0.05)
    assert (answer.status, answer.json["code"]) == (403, "account_suspended")
    again = await post(customer, body, idempotency_key="k")
    assert (again.status, again.body, again.header("idempotent-replayed")) == (202, first.body, "true")


async def test_a_key_sends_a_batch_once_and_is_the_routes_own(customer: Customer, other: Customer, pool: Pool) -> None:
    body = {"body": "{{a}}{{b}}", "recipients": [{"to": ONE, "variables": {"a": "1", "b": "2"}}, {"to": "nobody"}]}
    turned = {"recipients": [{"variables": {"b": "2", "a": "1"}, "to": ONE}, {"to": "nobody"}], "body": "{{a}}{{b}}"}
    answers = await asyncio.gather(
        *(post(customer, one, idempotency_key="k") for one in (body, turned) for _ in range(5)),
        *(post(customer, body | {"body": "other"}, idempotency_key="k") for _ in range(3)),
    )
    assert [answer.status for answer in answers] == [202] * 10 + [409] * 3
    assert {answer.json["code"] for answer in answers[10:]} == {"idempotency_key_reused"}
    assert len({answer.body for answer in answers[:10]}) == 1
    assert sorted(answer.header("idempotent-replayed") or "" for answer in answers[:10]) == [""] + ["true"] * 9
    assert await pool.fetchval("SELECT count(*) FROM messages.messages") == 1
    assert (await post(other, body, idempotency_key="k")).body != answers[0].body
    single = await customer.call("POST", "/v1/messages", {"to": ONE, "body": "x"}, idempotency_key="k")
    assert (single.status, single.header("idempotent-replayed")) == (202, None), "a key of another route"
    await pool.execute("UPDATE messages.idempotency_keys SET created_at = now() - interval '25 hours'")
    assert (await post(customer, body, idempotency_key="k")).body != answers[0].body


async def test_a_key_that_another_process_holds_is_waited_for(customer: Customer, pool: Pool) -> None:
    body = {"body": "x", "recipients": [{"to": ONE}]}
    first = await post(customer, body, idempotency_key="k")
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        # as the other process has it while it writes: the row is there for nobody, and locked
        await connection.execute("UPDATE messages.idempotency_keys SET key = 'k2'")
        waiting = asyncio.create_task(post(customer, body, idempotency_key="k2"))
        async with asyncio.timeout(10):
            while not await pool.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            ):
                await asyncio.sleep(0.02)
        await transaction.commit()
    answer = await waiting
    assert (answer.status, answer.body, answer.header("idempotent-replayed")) == (202, first.body, "true")
    assert await pool.fetchval("SELECT count(*) FROM messages.messages") == 1


async def test_a_known_key_stays_until_its_answer_is_read(customer: Customer, pool: Pool) -> None:
    await send(customer, {"body": "x", "recipients": [{"to": ONE}]}, idempotency_key="k")
    job = Job(customer.account_id, "k", b"", [], by_recipient=True)
    async with pool.acquire() as connection, connection.transaction():
        assert not await queries.take_idempotency_keys(connection, [job], BATCH_ROUTE)
        async with pool.acquire() as other, other.transaction():
            await other.execute("SET LOCAL lock_timeout = '200ms'")
            with pytest.raises(asyncpg.LockNotAvailableError):  # as housekeeping would, were it a day old just now
                await other.execute("DELETE FROM messages.idempotency_keys")


async def test_a_thousand_are_a_handful_of_statements_and_hold_nobody_up(customer: Customer, pool: Pool) -> None:
    """Of each kind one, however many messages; others are served meanwhile."""
    await pool.execute(
        "INSERT INTO messages.accounts (account_id, status, daily_cap, sequence) VALUES ($1, 'active', 999, 1)",
        customer.account_id,
    )
    await opt_out(customer, TWO)
    body = {"body": "Hello {{n}}", "recipients": [{"to": ONE, "variables": {"n": f"{n}"}} for n in range(1000)]}
    seen: list[str] = []
    for connection in [await pool.acquire() for _ in range(10)]:
        connection.add_query_logger(lambda query: seen.append(query.query))
        await pool.release(connection)
    batch = await send(customer, body, idempotency_key="k")
    assert refusals(batch) == {999: ("daily_cap_reached", [])}
    assert [item["message"]["body"] for item in batch["data"][:999]] == [f"Hello {n}" for n in range(999)]
    assert 0 < len(seen) < 20, seen
    assert await pool.fetchval("SELECT count(DISTINCT xid) FROM messages.outbox WHERE type LIKE 'message.%'") == 1


async def test_the_largest_batch_is_taken(customer: Customer) -> None:
    recipients = [{"to": ONE, "variables": {"x": "\u062f" * 600}} for _ in range(1000)]
    batch = await send(customer, {"body": "{{x}}" * 1, "recipients": recipients})
    assert (batch["accepted"], batch["data"][0]["message"]["segments"]) == (1000, 9)


async def test_senders_of_a_pool_stay_with_their_recipients(customer: Customer, pool: Pool) -> None:
    addresses = [f"+4670000002{n}" for n in range(5)]
    await pool.executemany(
        "INSERT INTO messages.senders (id, account_id, address, kind, in_pool) "
        "VALUES (gen_random_uuid(), $1, $2, 'number', true)",
        [(customer.account_id, address) for address in addresses],
    )
    recipients = [f"+467000001{n:02}" for n in range(40)]
    batch = await send(customer, {"body": "x", "recipients": [{"to": to} for to in recipients * 2]})
    senders = [item["message"]["from"] for item in batch["data"]]
    assert senders[:40] == senders[40:]
    assert set(senders) <= set(addresses)
    assert len(set(senders)) > 1
    assert [(await customer.send(to))["from"] for to in recipients[:5]] == senders[:5]
    await pool.execute("UPDATE messages.sticky_senders SET sender = $1", addresses[0])
    assert (await customer.send(recipients[0]))["from"] == addresses[0]
    listed = (await customer.call("GET", f"/v1/messages?to=%2B{recipients[0][1:]}&limit=1")).json["data"]
    assert listed[0]["from"] == addresses[0]


names = st.text("ab \u0627-.", min_size=1, max_size=4).filter(str.strip)


@given(st.lists(st.tuples(st.text("xy{} ", max_size=5), names), max_size=6), st.text("xyz", max_size=3))
def test_a_template_fills_each_place_and_nothing_else(places: list[tuple[str, str]], end: str) -> None:
    places = [(text.replace("{", "(").replace("}", ")"), name) for text, name in places]
    variables = {name.strip(): f"<{name.strip()}>{{{{a}}}}" for _, name in places}
    text = "".join(f"{text}{{{{{name}}}}}" for text, name in places) + end
    expected = "".join(f"{text}{variables[name.strip()]}" for text, name in places) + end
    if expected:
        assert Template(text).render(variables | {"unused": "?"}) == expected
    for name in variables:
        with pytest.raises(Problem) as refused:
            Template(text).render({key: value for key, value in variables.items() if key != name})
        assert refused.value.errors[0].field == f"variables.{name}"


def test_a_long_text_of_long_values_is_refused_before_it_is_made() -> None:
    template = Template("{{a}}" * 4000)
    with pytest.raises(Problem) as refused:
        template.render({"a": "x" * 1000})
    assert refused.value.code == "body_too_long"
    assert template.render({"a": "xxxxx"}) == "x" * 20_000
    assert Template("{{}} { {a} {{ }}").render({}) == "{{}} { {a} {{ }}", "what names nothing is text"
