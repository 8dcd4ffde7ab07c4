"""What phones send: over a real database, in any order, more than once, and with parts lost."""

import asyncio
import dataclasses
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from ghasi.billing.usage.rating import Rater
from ghasi.carriers.alphabet import decode
from ghasi.carriers.carrier import Encoding, InboundPart
from ghasi.carriers.segmentation import segment
from ghasi.carriers.simulated_phone import SimulatorAddress, disturb, send_from_phone, write_parts
from ghasi.carriers.simulator import Simulator
from ghasi.messages.inbound import queries as inbound_queries
from ghasi.messages.inbound import reassembly
from ghasi.messages.inbound.inbox import Inbox
from ghasi.messages.senders.admin import add_sender, remove_sender
from ghasi.storage.bells import Bells
from ghasi.storage.events.outbox import Event
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from tests.messages.conftest import Customer, Worker
from tests.messages.test_senders import tell_of

OURS, PERSON = "+46700001000", "+93701234567"
# of this database alone: others are clones of one template, and their tables have the same numbers
WAITING = """
    SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'messages.inbound_parts'::regclass
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_references = count(1)


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, delta: timedelta) -> None:
        self.now += delta


class Phones:
    """Carriers' side of an inbox: what was acknowledged, in its order."""

    def __init__(self, pool: Pool, bells: Bells) -> None:
        self.clock = Clock()
        self.inbox = Inbox(pool, bells, self.clock)
        self.answers: list[bool] = []

    async def bring(self, parts: Sequence[InboundPart]) -> None:
        """Hand all parts over at once, and wait until they are answered."""
        before = len(self.answers)
        self.inbox.put(parts, self.answers.append)
        await self.inbox.drain()
        await asyncio.sleep(0)
        assert self.answers[before:] == [True]

    async def say(self, text: str, **changed: Any) -> None:
        await self.bring(parts_of(text, **changed))


def parts_of(text: str, reference: int | None = None, **changed: Any) -> list[InboundPart]:
    split = segment(text)
    reference = next(_references) % 65536 if reference is None else reference
    return [
        replace(
            InboundPart(
                "simulator",
                PERSON,
                OURS,
                split.encoding,
                payload,
                reference if split.count > 1 else 0,
                number,
                split.count,
                datetime.now(UTC),
                None,
            ),
            **changed,
        )
        for number, payload in enumerate(split.parts, 1)
    ]


@pytest.fixture
def phones(pool: Pool, resources: Resources) -> Phones:
    return Phones(pool, resources.bells)


@pytest.fixture
async def owner(customer: Customer, pool: Pool) -> Customer:
    await tell_of(pool, customer)
    await add_sender(pool, customer.account_id, OURS, actor="operator:ann")
    return customer


async def received(customer: Customer) -> list[dict[str, Any]]:
    """Oldest first."""
    answer = await customer.call("GET", "/v1/messages?direction=inbound")
    assert answer.status == 200, answer.body
    return answer.json["data"][::-1]


async def test_what_a_phone_sends_is_a_message_of_the_numbers_account(
    owner: Customer, other: Customer, phones: Phones, pool: Pool
) -> None:
    await phones.say("Where is my parcel?")
    [message] = await received(owner)
    assert message == {
        "id": message["id"], "direction": "inbound", "to": OURS, "from": PERSON, "body": "Where is my parcel?",
        "encoding": "gsm7", "segments": 1, "status": "received", "price": None, "error": None, "reference": None,
        "country": "AF", "created_at": message["created_at"], "send_at": None, "sent_at": None,
        "completed_at": message["created_at"],
    }  # fmt: skip
    shown = await owner.get(message["id"])
    assert shown.pop("events") == [{"status": "received", "at": message["created_at"], "detail": None}]
    assert shown == message
    [event] = await pool.fetch(
        "SELECT type, account_id, subject_id, sequence, data::jsonb AS data FROM messages.outbox"
    )
    assert (event["type"], event["account_id"], event["sequence"]) == ("message.received", owner.account_id, 1)
    assert await received(other) == []
    assert (await other.call("GET", f"/v1/messages/{message['id']}")).status == 404


async def test_a_number_is_one_however_the_carrier_writes_it(owner: Customer, phones: Phones, pool: Pool) -> None:
    await add_sender(pool, owner.account_id, "72100", actor="operator:ann")
    for brought in ("46700001000", "0046700001000", "+46700001000", "72100", "+72100"):
        await phones.say("Hello", recipient=brought, sender=PERSON[1:])
    messages = await received(owner)
    assert [message["to"] for message in messages] == [OURS] * 3 + ["72100"] * 2
    assert {(message["from"], message["country"]) for message in messages} == {(PERSON, "AF")}


async def test_what_comes_from_no_number_keeps_its_name(owner: Customer, phones: Phones) -> None:
    await phones.say("Your balance is low", sender="Operator")
    await phones.say("Hello", sender="")
    await phones.say("Hi", sender="0701234567\0")
    got = [(message["from"], message["country"]) for message in await received(owner)]
    assert got == [("Operator", None), (None, None), ("0701234567\ufffd", None)]


async def test_what_is_for_nobody_is_acknowledged_and_counted_and_its_text_is_nowhere(
    owner: Customer, phones: Phones, pool: Pool
) -> None:
    await add_sender(pool, owner.account_id, "Bakery", actor="operator:ann")
    with capture_logs() as logs:
        await phones.say("a secret", recipient="+46700009999")
        await phones.say("a secret", recipient="Bakery")
        await phones.say("a secret " * 40, recipient="+46700009999")
    assert [line["event"] for line in logs] == ["inbound_for_nobody"] * 3
    assert "secret" not in str(logs)
    assert await pool.fetchval("SELECT count(*) FROM messages.inbound_parts") == 0
    assert await received(owner) == []


async def test_a_message_whose_number_was_taken_away_meanwhile_is_nobodys(
    owner: Customer, phones: Phones, pool: Pool
) -> None:
    first, *rest = parts_of("a long one " * 30)
    await phones.bring([first])
    await remove_sender(pool, owner.account_id, OURS, actor="operator:ann")
    await phones.bring(rest)
    phones.clock.pass_(reassembly.WHOLE_WITHIN)
    await phones.inbox.tend()
    assert await received(owner) == []
    assert await pool.fetchval("SELECT count(*) FROM messages.inbound_parts WHERE payload IS NOT NULL") == 0


TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=300),
    st.text(st.sampled_from("a€{}[]\n😀👩ش \u200d"), min_size=1, max_size=700),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(text=TEXTS, data=st.data())
async def test_any_text_comes_out_as_it_was_in_any_order_with_parts_repeated(
    owner: Customer, phones: Phones, text: str, data: st.DataObject
) -> None:
    parts = parts_of(text, sender=f"+4670{next(_references):07}")
    repeated = data.draw(st.lists(st.sampled_from(parts), max_size=3))
    order = data.draw(st.permutations(parts + repeated))
    cut = data.draw(st.integers(0, len(order)))
    for some in filter(None, (order[:cut], order[cut:])):
        await phones.bring(some)
    answer = await owner.call("GET", f"/v1/messages?from={parts[0].sender}&limit=2")
    [message] = answer.json["data"]
    split = segment(text)
    assert (message["body"], message["encoding"], message["segments"]) == (text, split.encoding, split.count)


@settings(max_examples=200)
@given(text=st.text("aé€{ش😀", min_size=200, max_size=900), data=st.data())
def test_lost_parts_in_a_row_are_one_mark(text: str, data: st.DataObject) -> None:
    parts = parts_of(text)
    kept = sorted(data.draw(st.sets(st.sampled_from(range(len(parts))), min_size=1)))
    desk = reassembly.Desk()
    for number in data.draw(st.permutations(kept)):
        desk.take(reassembly.held(parts[number], parts[number].at))
    desk.close(reassembly.held(parts[0], parts[0].at).key)
    [whole] = desk.whole
    pieces: list[str] = []
    for number, part in enumerate(parts):
        if number in kept:
            pieces.append(decode(part.encoding, part.payload))
        elif not pieces or pieces[-1] != reassembly.GAP:
            pieces.append(reassembly.GAP)
    assert reassembly.read_text(whole.parts) == "".join(pieces)
    assert whole.segments == len(parts)


async def test_after_the_time_limit_what_is_there_is_the_message(owner: Customer, phones: Phones, pool: Pool) -> None:
    texts = ["a" * 153 + "b" * 153 + "c" * 153, "ش" * 67 + "ک" * 67]
    long, arabic = (parts_of(text) for text in texts)
    await phones.bring([long[2], long[0]])
    phones.clock.pass_(timedelta(minutes=10))
    await phones.bring(arabic[1:])
    phones.clock.pass_(timedelta(minutes=5) - timedelta(seconds=1))
    await phones.inbox.tend()
    assert await received(owner) == []
    phones.clock.pass_(timedelta(seconds=1))
    for inbox in (phones.inbox, Inbox(pool, phones.inbox.bells, phones.clock)):  # once, whoever tends
        await inbox.tend()
    [message] = await received(owner)
    assert (message["body"], message["segments"]) == ("a" * 153 + "…" + "c" * 153, 3)
    assert message["encoding"] == "gsm7"
    # the lost part comes late: what it says is not lost
    await phones.bring([long[1]])
    phones.clock.pass_(timedelta(minutes=15))
    await phones.inbox.tend()
    assert [message["body"] for message in (await received(owner))[1:]] == ["…" + "ک" * 67, "…" + "b" * 153 + "…"]
    assert await pool.fetchval("SELECT count(*) FROM messages.inbound_parts WHERE payload IS NOT NULL") == 0


async def test_parts_find_each_other_over_several_workers_and_a_restart(
    owner: Customer, phones: Phones, pool: Pool, resources: Resources
) -> None:
    texts = [f"{number} " + "long " * 100 for number in range(30)]
    inboxes = [phones.inbox, *(Inbox(pool, resources.bells, phones.clock) for _ in range(2))]
    answers: list[bool] = []
    for text in texts:
        for number, part in enumerate(parts_of(text)):
            inboxes[number % 2].put([part], answers.append)
            inboxes[2].put([part], answers.append)  # and each comes twice
    await asyncio.gather(*(inbox.drain() for inbox in inboxes))
    await asyncio.sleep(0)
    assert answers == [True] * len(answers)
    assert sorted(message["body"] for message in await received(owner)) == sorted(texts)
    types = await pool.fetch("SELECT type FROM messages.outbox")
    assert len(types) == len(texts)


async def test_a_reference_used_anew_ends_the_message_before(owner: Customer, phones: Phones) -> None:
    first, second = parts_of("a" * 200, reference=7), parts_of("b" * 200, reference=7)
    await phones.bring(first[:1])
    await phones.bring(second)
    assert [message["body"] for message in await received(owner)] == ["a" * 153 + "…", "b" * 200]


async def test_parts_of_several_encodings_and_impossible_places(owner: Customer, phones: Phones) -> None:
    def part(encoding: Encoding, payload: bytes, number: int, parts: int) -> InboundPart:
        return InboundPart("c", PERSON, OURS, encoding, payload, 1, number, parts, datetime.now(UTC), None)

    mixed = [
        part("gsm7", b"a\x1b", 1, 5), part("gsm7", b"\x65", 2, 5), part("ucs2", b"\xd8\x3d", 3, 5),
        part("ucs2", b"\xde\x00", 4, 5), part("latin1", b"\xe9\x00", 5, 5),
    ]  # fmt: skip
    await phones.bring(mixed[::-1])
    await phones.bring([part("text", "é\ud83d".encode("utf-8", "surrogatepass"), 3, 2), part("latin1", b"x", 0, 0)])
    messages = await received(owner)
    assert [message["encoding"] for message in messages] == ["ucs2", "ucs2", "gsm7"]
    assert [message["segments"] for message in messages] == [5, 1, 1]
    assert messages[0]["body"] == "a€😀é\ufffd"
    assert messages[1]["body"].startswith("é\ufffd")
    assert messages[2]["body"] == "x"


@pytest.mark.parametrize(
    ("session", "later_session", "waited_s", "answered_after_s", "messages"),
    [
        ("", "", 1, 0, 1), ("", "", 119, 0, 1), ("", "", 121, 0, 2),
        ("a", "b", 119, 0, 1), ("a", "b", 121, 0, 2),
        ("a", "a", 1, 0, 2), ("a", "a", 60, 0, 2),  # answered at once, and the connection goes on: said twice
        ("a", "a", 60, 60, 1), ("a", "a", 1, 60, 2),  # no answer for a minute: sent again; two said at once are two
        ("", "", 170, 100, 1),  # two minutes from the answer
    ],
)  # fmt: skip
async def test_the_same_again_is_sent_again_or_said_again(
    session: str, later_session: str, waited_s: int, answered_after_s: int, messages: int
) -> None:
    [part] = parts_of("1", session=session)
    [again] = parts_of("1", session=later_session)
    start = datetime(2026, 11, 23, tzinfo=UTC)
    desk = reassembly.Desk()
    desk.take(dataclasses.replace(
        reassembly.held(part, start), committed_at=start + timedelta(seconds=answered_after_s)
    ))  # fmt: skip
    desk.take(reassembly.held(again, start + timedelta(seconds=waited_s)))
    assert (len(desk.whole), desk.repeated) == (messages, 2 - messages)


async def test_what_the_smsc_sends_again_is_received_once(owner: Customer, phones: Phones) -> None:
    short, long = parts_of("Yes", session="a"), parts_of("long " * 100, session="a")
    await phones.bring([*short, *long])
    for session in ("b", "c"):
        phones.clock.pass_(timedelta(seconds=50))
        await phones.bring([replace(part, session=session) for part in (*long[::-1], *short)])
    assert [message["body"] for message in await received(owner)] == ["Yes", "long " * 100]
    phones.clock.pass_(timedelta(minutes=3))
    await phones.bring(short)
    assert [message["body"] for message in (await received(owner))[2:]] == ["Yes"]
    await phones.bring([replace(short[0], payload=b"No"), replace(short[0], sender="+46700000011")])
    assert len(await received(owner)) == 5


async def test_all_that_a_person_has_sent_is_not_read_for_each_message(
    owner: Customer, phones: Phones, pool: Pool
) -> None:
    often = 2 * reassembly.MOST_ALIKE
    same = [part for _ in range(often) for part in parts_of("ping", session="s")]
    others = [part for number in range(often) for part in parts_of(f"ping {number}", session="s")]
    for brought in (same[:often], others, parts_of("ping", session="s")):
        await phones.bring(brought)
    assert await pool.fetchval("SELECT count(*) FROM messages.messages") == 2 * often + 1
    now = phones.clock.now
    keys = [reassembly.held(one, now).key for one in (same[0], others[0])]
    async with pool.acquire() as connection:
        read = [await inbound_queries.list_parts(connection, [key], now - timedelta(hours=1)) for key in keys]
    assert [len(parts) for parts in read] == [reassembly.MOST_ALIKE, 1]
    assert read[0] == sorted(read[0], key=lambda part: part.id)


async def test_nothing_is_acknowledged_before_it_is_committed(owner: Customer, phones: Phones, pool: Pool) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE messages.inbound_parts")
        phones.inbox.put(parts_of("Hello"), phones.answers.append)
        async with asyncio.timeout(10):
            while not await connection.fetchval(WAITING):
                await asyncio.sleep(0.01)
        assert phones.answers == []
    await phones.inbox.drain()
    await asyncio.sleep(0)
    assert phones.answers == [True]
    assert len(await received(owner)) == 1


async def test_a_commit_in_doubt_is_not_done_twice(owner: Customer, phones: Phones) -> None:
    """The connection was lost after the commit; the same batch is written again."""
    entry = [reassembly.held(part, phones.clock()) for part in parts_of("Yes", session="a") + parts_of("b" * 200)]
    await phones.inbox._write([entry], again=False)
    phones.clock.pass_(timedelta(minutes=10))
    await phones.inbox._write([entry], again=True)
    assert sorted(message["body"] for message in await received(owner)) == ["Yes", "b" * 200]


async def test_what_the_database_refuses_takes_no_neighbour_along(owner: Customer, phones: Phones, pool: Pool) -> None:
    await pool.execute("ALTER TABLE messages.inbound_parts ADD CHECK (sender <> '+46700000666')")
    bad = parts_of("hidden", sender="+46700000666")
    with capture_logs() as logs:
        await phones.bring([*parts_of("first"), *bad, *parts_of("last")])
    assert [message["body"] for message in await received(owner)] == ["first", "last"]
    assert "inbound_part_dropped" in [line["event"] for line in logs]
    assert "hidden" not in str(logs)


async def test_a_full_queue_asks_the_carrier_to_come_again(owner: Customer, phones: Phones) -> None:
    phones.inbox.batcher._queue_size = 0
    phones.inbox.put(parts_of("Hello"), phones.answers.append)
    assert phones.answers == [False]


async def test_what_was_taken_is_forgotten_after_an_hour(owner: Customer, phones: Phones, pool: Pool) -> None:
    await phones.say("Hello")
    assert await pool.fetchval("SELECT count(*) FROM messages.inbound_parts WHERE payload IS NULL") == 1
    phones.clock.pass_(timedelta(minutes=61))
    await phones.inbox.tend()
    assert await pool.fetchval("SELECT count(*) FROM messages.inbound_parts") == 0
    assert len(await received(owner)) == 1


async def test_inbound_messages_are_listed_filtered_exported_and_neither_canceled_nor_billed(
    owner: Customer, phones: Phones, pool: Pool
) -> None:
    sent = await owner.send(PERSON)
    await phones.say("Thanks")
    [message] = await received(owner)
    for query in ("", "direction=inbound", "status=received", f"to={OURS}", f"from={PERSON}"):
        page = (await owner.call("GET", f"/v1/messages?{query}")).json["data"]
        assert [one["id"] for one in page] == [message["id"]] + [sent["id"]] * (not query)
    [_, row] = (await owner.call("GET", "/v1/messages/export?direction=inbound")).body.decode().splitlines()
    assert (row.startswith(message["id"]), ",inbound," in row, ",received," in row) == (True, True, True)
    assert (await owner.call("POST", f"/v1/messages/{message['id']}/cancel")).json["code"] == "not_cancelable"
    rows = await pool.fetch("SELECT id, type, account_id, subject_id, sequence, at, data FROM messages.outbox")
    async with pool.acquire() as connection, connection.transaction():
        await Rater().apply(connection, [Event(*row.values()) for row in rows if row["type"] == "message.received"])
    for table in ("charges", "usage_quarters", "refusals", "outcome_quarters", "tallies"):
        assert await pool.fetchval(f"SELECT count(*) FROM billing.{table}") == 0, table


async def test_a_keyword_opts_out_and_start_in_again(owner: Customer, phones: Phones, pool: Pool) -> None:
    out = (
        "STOP",
        "stop",
        " Stop. ",
        "STOP!!!",
        "\u201cstop\u201d",
        "StopAll",
        "unsubscribe",
        "CANCEL",
        "End",
        "quit\r\n",
    )
    for word, start in zip(out, ["START", "unstop", " Start "] * 4, strict=False):
        for again in (False, True):  # a second STOP changes nothing
            phones.clock.pass_(timedelta(minutes=5))
            await phones.say(word)
            [opt_out] = (await owner.call("GET", "/v1/opt-outs")).json["data"]
            assert (opt_out["to"], opt_out["from"], opt_out["source"]) == (PERSON, OURS, "keyword"), (word, again)
        await phones.say(start)
        assert (await owner.call("GET", "/v1/opt-outs")).json["data"] == []
    assert [message["body"] for message in await received(owner)][:3] == ["STOP", "STOP", "START"]
    types = await pool.fetch("SELECT type FROM messages.outbox")
    assert [event["type"] for event in types] == ["message.received"] * len(out) * 3


async def test_other_words_are_messages_alone(owner: Customer, phones: Phones) -> None:
    words = ("HELP", "please stop", "STOP it", "don't stop", "", "!", "ST\u041eP", "stop" * 20)
    for word in words:
        await phones.say(word)
    assert (await owner.call("GET", "/v1/opt-outs")).json["data"] == []
    await phones.say("STOP")
    await phones.say("YES")
    await phones.say("STOP", sender="Shop")
    assert len((await owner.call("GET", "/v1/opt-outs")).json["data"]) == 1
    assert len(await received(owner)) == len(words) + 3


async def test_of_several_keywords_at_once_the_last_counts(owner: Customer, phones: Phones) -> None:
    words = ("STOP", "start", "Stop", "START", "stop", "START", "END")
    for count_ in (len(words), len(words) - 1):
        phones.clock.pass_(timedelta(minutes=5))
        await phones.bring([part for word in words[:count_] for part in parts_of(word, session="a")])
        opt_outs = (await owner.call("GET", "/v1/opt-outs")).json["data"]
        assert len(opt_outs) == (count_ == len(words))


async def test_a_phone_and_the_api_meet_over_smpp(
    customer: Customer, start_worker: Worker, simulator: Simulator, pool: Pool
) -> None:
    await tell_of(pool, customer)
    await add_sender(pool, customer.account_id, "72100", default=True, actor="operator:ann")
    await start_worker()
    sent = await customer.send(PERSON)
    assert sent["from"] == "72100"
    await customer.until(sent["id"], "delivered")
    phone = SimulatorAddress("127.0.0.1", simulator.port)
    text = "سلام 😀 " * 40
    for words, lose in ((text, 0), ("STOP", 0)):
        parts = disturb(write_parts(PERSON, "72100", words, 9), shuffle=True, lose=lose, chances=random.Random(1))
        await send_from_phone(phone, parts)
    async with asyncio.timeout(10):
        while len(await received(customer)) < 2:
            await asyncio.sleep(0.02)
    first, second = await received(customer)
    assert (first["body"], first["from"], first["to"], first["segments"]) == (text, PERSON, "72100", 5)
    assert second["body"] == "STOP"
    async with asyncio.timeout(10):  # what accounts may send is known for 0.4 s
        while (answer := await customer.call("POST", "/v1/messages", {"to": PERSON, "body": "Hi"})).status == 202:
            await asyncio.sleep(0.05)
    assert (answer.status, answer.json["code"]) == (403, "recipient_opted_out")
    await send_from_phone(phone, write_parts(PERSON, "72100", "Start", 9))
    async with asyncio.timeout(10):
        while (await customer.call("POST", "/v1/messages", {"to": PERSON, "body": "Hi"})).status != 202:
            await asyncio.sleep(0.05)


async def test_a_link_that_breaks_before_the_answer_brings_the_message_once(
    owner: Customer, start_worker: Worker, simulator: Simulator, pool: Pool
) -> None:
    """And what a phone says twice over one that holds is two messages."""
    await start_worker()
    phone = SimulatorAddress("127.0.0.1", simulator.port)

    async def bound() -> None:
        async with asyncio.timeout(20):
            while not any(session.system_id == "ghasi" for session in simulator.sessions):
                await asyncio.sleep(0.02)

    def repeated() -> float:
        return REGISTRY.get_sample_value("ghasi_inbound_parts_total", {"result": "repeated"}) or 0.0

    async def messages(number: int) -> list[str]:
        async with asyncio.timeout(20):
            while len(got := await received(owner)) < number:
                await asyncio.sleep(0.02)
        return [message["body"] for message in got]

    await bound()
    before = repeated()
    for _ in range(2):
        await send_from_phone(phone, write_parts(PERSON, OURS, "1", 9))
    assert await messages(2) == ["1", "1"]
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE messages.inbound_parts")
        await send_from_phone(phone, write_parts(PERSON, OURS, "Hello", 9))
        async with asyncio.timeout(20):
            while not await connection.fetchval(WAITING):
                await asyncio.sleep(0.01)
        simulator.drop_links()
        await bound()
    await send_from_phone(phone, write_parts(PERSON, OURS, "Bye", 9))
    assert await messages(4) == ["1", "1", "Hello", "Bye"]
    async with asyncio.timeout(20):
        while repeated() == before:  # the other copy comes, and is known
            await asyncio.sleep(0.02)
    assert await messages(4) == ["1", "1", "Hello", "Bye"]
