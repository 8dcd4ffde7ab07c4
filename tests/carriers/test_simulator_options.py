"""What each option of the simulated SMSC does, seen from the wire; chances are seeded."""

import asyncio
import contextlib
import re
import struct
from collections import Counter
from typing import Any

import pytest
import pytest_asyncio

from ghasi.carriers.simulated_behaviour import Behaviour
from ghasi.carriers.simulator import Simulator, serve_simulator
from tests.carriers.smsc import PeerLink, StartSimulator, eventually
from tests.carriers.test_simulator import BIND_TRANSMITTER, SUBMIT_BODY, bind

SUBMIT, SUBMIT_RESP, DELIVER, DELIVER_RESP = 4, 0x80000004, 5, 0x80000005


class Esme:
    """A client that submits many messages at once and sorts what comes back."""

    def __init__(self, simulator: Simulator, link: PeerLink) -> None:
        self.simulator, self.link = simulator, link
        self.statuses: dict[int, int] = {}
        self.ids: dict[int, str] = {}
        self.answered: list[int] = []
        self.deliveries: list[bytes] = []
        self._next = 1

    def submit(self, count: int, number: bytes = b"93701234567") -> None:
        for _ in range(count):
            self._next += 1
            self.link.write(SUBMIT, self._next, SUBMIT_BODY % number)

    async def read(self, *, answers: int = 0, deliveries: int = 0) -> None:
        """Read until there are so many of them in all."""
        while len(self.answered) < answers or len(self.deliveries) < deliveries:
            command, status, sequence, body = await self.link.read()
            if command == SUBMIT_RESP:
                self.statuses[sequence] = status
                self.ids[sequence] = body.rstrip(b"\0").decode()
                self.answered.append(sequence)
            elif command == DELIVER:
                self.deliveries.append(body)
                self.link.write(DELIVER_RESP, sequence, b"\0")


@pytest_asyncio.fixture
async def esme(start_simulator: StartSimulator) -> Any:
    links: list[PeerLink] = []

    async def connect(**options: Any) -> Esme:
        simulator = await start_simulator(Behaviour(**{"receipt_delay_s": 0.01, "seed": 5} | options))
        links.append(await bind(simulator.port))
        return Esme(simulator, links[-1])

    yield connect
    for link in links:
        link.writer.close()


async def test_outcomes_are_mixed_as_asked(esme: Any) -> None:
    client = await esme(outcomes={"delivered": 60, "undelivered": 20, "expired": 10, "rejected": 5, "unknown": 5})
    client.submit(400)
    await client.read(answers=400, deliveries=400)
    states = Counter(re.search(rb"stat:(\w+)", body)[1].decode() for body in client.deliveries)  # type: ignore[index]
    assert set(states) == {"DELIVRD", "UNDELIV", "EXPIRED", "REJECTD", "UNKNOWN"}
    assert 200 < states["DELIVRD"] < 280
    assert 50 < states["UNDELIV"] < 110


async def test_refusals_are_of_the_statuses_asked_for(esme: Any) -> None:
    client = await esme(refuse={0x0B: 0.1, 0x58: 0.2})
    client.submit(400)
    await client.read(answers=400)
    statuses = Counter(client.statuses.values())
    assert set(statuses) == {0, 0x0B, 0x58}
    assert 20 < statuses[0x0B] < 60 < statuses[0x58] < 110
    assert client.simulator.refused == {status: count for status, count in statuses.items() if status}


async def test_the_same_seed_is_the_same_fate(esme: Any) -> None:
    options = {"refuse": {8: 0.3}, "outcomes": {"delivered": 1, "deleted": 1}, "receipt_loss": 0.2}
    seen = []
    for seed in (1, 1, 2):
        client = await esme(**options, seed=seed)
        client.submit(60)
        await client.read(answers=60)
        await eventually(lambda c=client: not c.simulator._due)
        seen.append(([client.statuses[sequence] for sequence in range(2, 62)], client.simulator.receipts_pending))
    assert seen[0] == seen[1] != seen[2]


async def test_answers_come_late(esme: Any) -> None:
    client = await esme(latency_s=30)
    client.submit(3)
    await eventually(lambda: client.simulator.outstanding == 3)
    assert client.simulator.accepted == 3
    client.link.write(0x15, 9)
    assert (await client.link.read())[0] != SUBMIT_RESP  # nothing but the receipts and enquire_link's answer


async def test_some_submits_are_taken_and_never_answered(esme: Any) -> None:
    client = await esme(loss=0.5)
    client.submit(100)
    await eventually(lambda: client.simulator.accepted == 100)
    assert 30 < client.simulator.lost < 70
    await client.read(answers=100 - client.simulator.lost, deliveries=100)
    assert client.simulator.outstanding == 0


async def test_a_rate_is_kept(esme: Any) -> None:
    client = await esme(throttle_per_s=10)
    client.submit(50)
    await client.read(answers=50)
    statuses = Counter(client.statuses.values())
    assert set(statuses) == {0, 0x58}
    assert 10 <= statuses[0] < 50


async def test_a_window_is_kept(esme: Any) -> None:
    client = await esme(window=10, latency_s=0.05)
    client.submit(50)
    await client.read(answers=50)
    assert Counter(client.statuses.values()) == {0: 10, 0x14: 40}
    client.submit(1)
    await client.read(answers=51)
    assert client.simulator.accepted == 11


@pytest.mark.parametrize(
    ("style", "text", "parameters"),
    [("text", True, False), ("tlv", False, True), ("both", True, True)],
)
async def test_receipts_in_each_style(esme: Any, style: str, text: bool, parameters: bool) -> None:
    client = await esme(receipts=style)
    client.submit(1, b"93701230001")
    await client.read(answers=1, deliveries=1)
    message_id = client.ids[2].encode()
    assert (b"id:" + message_id + b" sub:001 dlvrd:000" in client.deliveries[0]) is text
    assert (b"stat:UNDELIV err:001" in client.deliveries[0]) is text
    named = b"\x00\x1e" + struct.pack(">H", len(message_id) + 1) + message_id + b"\0" + b"\x04\x27\0\1\5"
    assert (named in client.deliveries[0]) is parameters
    assert (b"\x04\x23\0\3\3\0\1" in client.deliveries[0]) is (style == "tlv")  # network_error_code


async def test_no_receipts(esme: Any) -> None:
    client = await esme(receipts="none")
    client.submit(5)
    await client.read(answers=5)
    assert client.simulator.receipts_pending == 0


@pytest.mark.parametrize("form", ["hex", "decimal"])
async def test_receipts_name_the_same_message_in_another_form(esme: Any, form: str) -> None:
    client = await esme(receipt_ids=form)
    client.submit(20)
    await client.read(answers=20, deliveries=20)
    bases = (10, 16) if form == "hex" else (16, 10)
    submitted = {int(one, bases[0]) for one in client.ids.values()}
    receipted = {re.search(rb"id:(\w+)", body)[1].decode() for body in client.deliveries}  # type: ignore[index]
    assert {int(one, bases[1]) for one in receipted} == submitted
    assert not receipted & set(client.ids.values())


async def test_receipts_are_lost_doubled_and_preceded(esme: Any) -> None:
    client = await esme(receipt_loss=0.25, duplicate_receipts=0.5, intermediate_receipts=True)
    client.submit(100)
    await client.read(answers=100)
    await eventually(lambda: not client.simulator._due)
    await client.read(deliveries=client.simulator.receipts_pending)
    states = Counter(re.search(rb"stat:(\w+)", body)[1] for body in client.deliveries)  # type: ignore[index]
    assert 55 < states[b"ENROUTE"] < 95
    assert 80 < states[b"DELIVRD"] < 145
    intermediate = next(body for body in client.deliveries if b"ENROUTE" in body)
    assert intermediate[intermediate.index(b"Ghasi\0") + 6] == 0x20


async def test_answers_and_receipts_in_any_order(esme: Any) -> None:
    client = await esme(out_of_order=True, receipt_delay_s=0.05)
    client.submit(50)
    await client.read(answers=50, deliveries=50)
    assert client.answered != sorted(client.answered)
    order = [re.search(rb"id:(\w+)", body)[1] for body in client.deliveries]  # type: ignore[index]
    assert order != sorted(order)
    assert len(set(order)) == 50


async def test_the_link_is_dropped_at_each_nth_submit(esme: Any) -> None:
    client = await esme(disconnect_every=10)
    client.submit(25)
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        await client.read(answers=25)
    await eventually(lambda: not client.simulator.sessions)
    assert (client.simulator.accepted, client.simulator.lost) == (10, 1)


async def test_endings_can_mean_nothing(esme: Any) -> None:
    client = await esme(ignore_endings=True)
    for ending in range(1, 7):
        client.submit(1, b"9370123000%d" % ending)
    await client.read(answers=6, deliveries=6)
    assert set(client.statuses.values()) == {0}
    assert all(b"stat:DELIVRD" in body for body in client.deliveries)


async def test_what_a_phone_sends_goes_to_all_that_receive_once_each(start_simulator: StartSimulator) -> None:
    simulator = await start_simulator(Behaviour(password="any"))
    phone = await bind(simulator.port, BIND_TRANSMITTER, b"subscriber")
    sent = (
        b"\0\1\00193701234567\0\3\00012345\0\x40\x07\x01\0\0\x05\0\x08\0\x0a\5\0\3\7\2\1\4\x26\4\x27"
        b"\x02\x0a\0\2\x12\x34"
    )
    phone.write(SUBMIT, 2, sent)
    assert (await phone.read())[1] == 0xFE  # nobody receives anything
    links = [await bind(simulator.port, system_id=name) for name in (b"one", b"one", b"two")]
    sender = await bind(simulator.port, BIND_TRANSMITTER, b"three")
    phone.write(SUBMIT, 3, sent)
    assert (await phone.read())[1] == 0
    verbatim = sent.replace(b"\0\0\x05\0\x08\0", b"\0\0\0\0\x08\0")  # but registered_delivery
    for link in (links[0], links[2]):
        command, _, sequence, body = await link.read()
        assert (command, body) == (DELIVER, verbatim)
        link.write(DELIVER_RESP, sequence, b"\0")
    await eventually(lambda: simulator.phone_messages_acknowledged == 2)
    assert (simulator.phone_messages, simulator.receipts_acknowledged, simulator.receipts_pending) == (1, 0, 0)
    assert simulator.accepted == 0
    for link in (*links, sender, phone):
        link.writer.close()


async def test_a_phone_message_waits_for_a_link_that_was_there_before() -> None:
    simulator = await serve_simulator()
    link = await bind(simulator.port)
    link.writer.close()
    await eventually(lambda: not simulator.sessions)
    phone = await bind(simulator.port, BIND_TRANSMITTER, b"subscriber")
    phone.write(SUBMIT, 2, SUBMIT_BODY % b"12345")
    assert (await phone.read())[1] == 0
    assert simulator.receipts_pending == 1
    again = await bind(simulator.port)
    assert (await again.read())[0] == DELIVER
    for one in (phone, again):
        one.writer.close()
    await simulator.close()


async def test_an_unbind_of_the_smsc_closes_once_it_is_answered(esme: Any) -> None:
    client = await esme()
    (session,) = client.simulator.sessions
    session.unbind()
    command, _, sequence, _ = await client.link.read()
    assert command == 6
    client.link.write(0x80000006, sequence)
    assert await client.link.reader.read() == b""
