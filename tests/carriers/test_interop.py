"""The client against SMSCs: our simulator, and node-smpp, which other people wrote. Each test is the same for both."""

import asyncio
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ghasi.carriers.carrier import InboundPart, Outcome, Receipt, Segment
from ghasi.carriers.smpp.client import SmppCarrier
from ghasi.carriers.smpp.configuration import SmppConfiguration, Timing
from ghasi.contract.serving import ServiceApp
from ghasi.contract.values import new_id
from ghasi.messages import routes, worker
from ghasi.settings import Settings
from ghasi.storage.pool import UNAVAILABLE, Pool
from ghasi.storage.resources import Resources
from tests.carriers.smsc import eventually, packed, text_to
from tests.carriers.smscs import SMSCS, Received, Smsc
from tests.messages.conftest import Customer

PATIENT = Timing(
    least_backoff_s=0.02, most_backoff_s=0.1, stop_timeout_s=0.2, unbind_timeout_s=0.2, response_timeout_s=60
)
UNHURRIED = replace(PATIENT, least_backoff_s=1, most_backoff_s=1)
"""That a link is gone is seen before it is back."""
LONG_GSM7 = "Prices in € {today}: [1] ~ 5; Ä, ö, ñ, Δ and Ω. " * 12
LONG_UCS2 = "د افغانستان پیغام؛ привет, 你好 🎉 " * 12


@pytest_asyncio.fixture(params=list(SMSCS))
async def smsc(request: pytest.FixtureRequest) -> AsyncIterator[Smsc]:
    async with SMSCS[request.param]() as started:
        yield started


class Client:
    """A carrier, and what it brought; all of it is acknowledged."""

    def __init__(self, port: int, timing: Timing, **more: Any) -> None:
        told = {"name": "test", "kind": "smpp", "host": "127.0.0.1", "system_id": "ghasi", "password": "hunter2"} | more
        self.carrier = SmppCarrier(SmppConfiguration(port=port, **told), timing)
        self.receipts: list[Receipt] = []
        self.inbound: list[InboundPart] = []

    def on_receipts(self, receipts: Sequence[Receipt]) -> None:
        self.receipts.extend(receipts)
        self.carrier.acknowledge(receipts, accepted=True)

    def on_inbound(self, parts: Sequence[InboundPart]) -> None:
        self.inbound.extend(parts)
        self.carrier.acknowledge(parts, accepted=True)

    async def bound(self) -> None:
        """Wait for all links: a transmitter alone could send, and have no receipts."""
        await eventually(lambda: self.carrier.state().links == self.carrier.state().links_wanted)


StartClient = Callable[..., Awaitable[Client]]


@pytest_asyncio.fixture
async def start_client(smsc: Smsc) -> AsyncIterator[StartClient]:
    started: list[Client] = []

    async def start(timing: Timing = PATIENT, **more: Any) -> Client:
        client = Client(smsc.port, timing, **more)
        started.append(client)
        await client.carrier.start(client.on_receipts, client.on_inbound)
        await client.bound()
        return client

    yield start
    await asyncio.gather(*(client.carrier.stop() for client in started))


async def send_text(client: Client, text: str, to: str = "+93701234567") -> list[Any]:
    """Submit a text as the dispatcher does: split by the carrier, part by part."""
    split = client.carrier.split(text)
    return await asyncio.gather(
        *(
            client.carrier.submit(
                Segment(
                    to=to, sender="Ghasi", encoding=split.encoding, payload=part, part=number, parts=split.count,
                    udh_reference=77,
                )
            )
            for number, part in enumerate(split.parts, 1)
        )
    )  # fmt: skip


def reassembled(received: list[Received]) -> str:
    return "".join(one.text for one in sorted(received, key=lambda one: one.part))


@pytest.mark.parametrize("text", ["Hello", LONG_GSM7, LONG_UCS2], ids=["short", "long GSM-7", "long UCS-2"])
async def test_a_text_arrives_as_it_was_and_has_its_receipts(smsc: Smsc, start_client: StartClient, text: str) -> None:
    client = await start_client()
    results = await send_text(client, text)
    assert {result.outcome for result in results} == {Outcome.ACCEPTED}
    await eventually(lambda: len(client.receipts) == len(results))
    assert sorted(receipt.carrier_message_id for receipt in client.receipts) == sorted(
        result.carrier_message_id for result in results
    )
    assert {receipt.state for receipt in client.receipts} == {"delivered"}
    await eventually(lambda: smsc.receipts_acknowledged == len(results))
    await eventually(lambda: len(smsc.received) == len(results))
    assert reassembled(smsc.received) == text
    assert {(one.source, one.destination) for one in smsc.received} == {("Ghasi", "93701234567")}
    if len(results) > 1:
        assert {(one.reference, one.parts) for one in smsc.received} == {(77, len(results))}
        assert sorted(one.part for one in smsc.received) == list(range(1, len(results) + 1))


async def test_a_transmitter_and_a_receiver(smsc: Smsc, start_client: StartClient) -> None:
    client = await start_client(bind="transmitter_receiver")
    results = await send_text(client, LONG_GSM7)
    assert {result.outcome for result in results} == {Outcome.ACCEPTED}
    await eventually(lambda: len(client.receipts) == len(results))
    assert reassembled(smsc.received) == LONG_GSM7
    await eventually(lambda: smsc.receipts_acknowledged == len(results))


@pytest.mark.parametrize("style", ["text", "tlv"])
async def test_receipts_by_text_and_by_optional_parameters(smsc: Smsc, start_client: StartClient, style: Any) -> None:
    await smsc.behave(receipts=style)
    client = await start_client()
    states = {}
    for number, state in (("+93701230001", "undelivered"), ("+93701230002", "expired"), ("+93701239999", "delivered")):
        (result,) = await send_text(client, "Hello", number)
        states[result.carrier_message_id] = state
    await eventually(lambda: len(client.receipts) == len(states))
    assert {receipt.carrier_message_id: receipt.state for receipt in client.receipts} == states


async def test_a_window_of_100_is_filled_and_never_exceeded(smsc: Smsc, start_client: StartClient) -> None:
    await smsc.behave(latency_s=0.05)
    client = await start_client(window=100)
    results = []
    while len(results) < 500:
        await eventually(client.carrier.capacity)
        results += [
            client.carrier.submit(text_to("+93701234567", f"{len(results)} {n}"))
            for n in range(min(client.carrier.capacity(), 500 - len(results)))
        ]
    assert {result.outcome for result in await asyncio.gather(*results)} == {Outcome.ACCEPTED}
    await eventually(lambda: len(smsc.received) == 500)
    assert smsc.most_unanswered == 100
    assert len({one.text for one in smsc.received}) == 500


async def test_refused_and_throttled(smsc: Smsc, start_client: StartClient) -> None:
    client = await start_client()
    (refused,) = await send_text(client, "Hello", "+93701230003")
    assert (refused.outcome, refused.error_code) == (Outcome.REFUSED, "invalid_destination")
    outcomes = [(await send_text(client, "Hello", "+93701230004"))[0].outcome for _ in range(3)]
    assert outcomes == [Outcome.THROTTLED, Outcome.THROTTLED, Outcome.ACCEPTED]


async def test_the_smsc_unbinds(smsc: Smsc, start_client: StartClient) -> None:
    client = await start_client(UNHURRIED)
    for _ in range(2):
        await smsc.unbind()
        await eventually(lambda: not client.carrier.state().bound)
        await client.bound()
    assert {result.outcome for result in await send_text(client, LONG_GSM7)} == {Outcome.ACCEPTED}


async def test_a_socket_dropped_in_the_middle_of_500_outstanding(smsc: Smsc, start_client: StartClient) -> None:
    await smsc.behave(mute_every=2)
    client = await start_client(window=500)
    waiting = [client.carrier.submit(text_to(f"+9370123{n:04}", str(n))) for n in range(1000, 1500)]
    await eventually(lambda: len(smsc.received) == 500)
    await smsc.drop()
    results = await asyncio.gather(*waiting)
    outcomes = [result.outcome for result in results]
    assert set(outcomes) == {Outcome.ACCEPTED, Outcome.UNANSWERED}
    assert smsc.accepted == 500  # so those unanswered are in doubt, and rightly
    await smsc.behave()
    await client.bound()
    assert client.carrier.state().outstanding == 0
    # the receipts of all 500 come on the next link
    await eventually(lambda: len({receipt.carrier_message_id for receipt in client.receipts}) == 500, within_s=20)
    known = {result.carrier_message_id for result in results if result.outcome is Outcome.ACCEPTED}
    assert known < {receipt.carrier_message_id for receipt in client.receipts}


async def test_half_a_pdu_and_then_the_rest_of_the_stream_is_gone(smsc: Smsc, start_client: StartClient) -> None:
    client = await start_client(UNHURRIED)
    await smsc.write(packed(0x80000004, 2, b"half of a message id\0")[:-9])
    await smsc.drop()
    await eventually(lambda: not client.carrier.state().bound)
    await client.bound()
    assert (await send_text(client, "Hello"))[0].outcome is Outcome.ACCEPTED


@pytest.mark.parametrize(
    "stream",
    [
        struct.pack(">IIII", 15, 0x80000004, 0, 1),
        struct.pack(">IIII", 0, 0x80000004, 0, 1),
        struct.pack(">IIII", 0xFFFFFFFF, 0x80000004, 0, 1),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\xff" * 300,
        bytes(range(256)),
    ],
    ids=["15", "0", "4 GiB", "HTTP", "0xff", "0 to 255"],
)
async def test_a_stream_that_can_not_be_followed_is_left(smsc: Smsc, start_client: StartClient, stream: bytes) -> None:
    await smsc.behave(mute_every=1)
    client = await start_client()
    waiting = client.carrier.submit(text_to("+93701234567"))
    await eventually(lambda: smsc.received)
    await smsc.write(stream)
    result = await waiting
    assert result.outcome is Outcome.UNANSWERED
    await smsc.behave()
    await client.bound()
    assert (await send_text(client, LONG_UCS2))[0].outcome is Outcome.ACCEPTED


async def test_a_pdu_that_claims_more_than_comes_is_left_at_last(smsc: Smsc, start_client: StartClient) -> None:
    """The rest never comes, or other PDUs are taken for it: the submits then have no answer, and the link goes."""
    timing = Timing(
        least_backoff_s=0.02, most_backoff_s=0.1, unbind_timeout_s=0.05, response_timeout_s=0.5, enquire_after_s=0.1
    )
    client = await start_client(timing)
    await smsc.write(struct.pack(">IIII", 60_000, 0x80000004, 0, 99))
    result = await client.carrier.submit(text_to("+93701234567"))
    assert result.outcome is Outcome.UNANSWERED
    # the answer was swallowed; a link on which all is swallowed must not count as one that lives
    async with asyncio.timeout(20):
        while True:
            await client.bound()
            result = await client.carrier.submit(text_to("+93701234567"))
            if result.outcome is Outcome.ACCEPTED:
                break


async def test_what_phones_send(smsc: Smsc, start_client: StartClient) -> None:
    client = await start_client()
    await smsc.inbound("93701234567", "12345", ["STOP"])
    await smsc.inbound("93701234567", "12345", ["да", "нет"], reference=9)
    await eventually(lambda: len(client.inbound) == 3)
    first, *rest = client.inbound
    assert (first.sender, first.recipient, first.encoding, first.payload) == ("+93701234567", "12345", "gsm7", b"STOP")
    assert [(one.reference, one.part, one.parts, one.payload.decode("utf-16-be")) for one in rest] == [
        (9, 1, 2, "да"),
        (9, 2, 2, "нет"),
    ]
    await eventually(lambda: smsc.messages_acknowledged == 3)


async def test_nothing_is_lost_through_the_whole_dispatcher_and_what_went_twice_is_known(
    smsc: Smsc, resources: Resources, pool: Pool, tmp_path: Path
) -> None:
    """Every tenth submit is never answered, and twice all sockets are dropped."""
    path = tmp_path / "carriers.toml"
    path.write_text(
        f'[[carrier]]\nname = "peer"\nkind = "smpp"\nhost = "127.0.0.1"\nport = {smsc.port}\nwindow = 20\n'
        'system_id = "ghasi"\npassword = "hunter2"\nresponse_timeout_s = 1\n'
    )
    own = replace(resources, settings=Settings(dev=True, carriers=path), stopping=asyncio.Event())
    await smsc.behave(latency_s=0.02, mute_every=10)
    async with routes.serve(own) as handlers:
        customer = Customer(ServiceApp(handlers, unavailable=UNAVAILABLE), new_id(), new_id())
        bodies = {
            f"+4670000{number}": (f"Hello {number}", f"{LONG_GSM7[:300]} {number}", f"привет {number} " * 9)[number % 3]
            for number in range(1000, 1090)
        }
        working = asyncio.create_task(worker.work(own))
        try:
            sent = await asyncio.gather(*(customer.send(to, body) for to, body in bodies.items()))
            for share in (4, 2):
                await eventually(lambda s=share: len(smsc.received) >= len(bodies) / s, within_s=30)
                await smsc.drop()
            await smsc.behave(latency_s=0.01)
            for message in sent:
                await customer.until(message["id"], "delivered", within_s=60)
        finally:
            own.stopping.set()
            await working
    arrived: dict[str, Counter[tuple[int, str]]] = {to: Counter() for to in bodies}
    for one in smsc.received:
        arrived[f"+{one.destination}"][one.part, one.text] += 1
    assert {to: "".join(text for _, text in sorted(parts)) for to, parts in arrived.items()} == bodies
    twice = {to for to, parts in arrived.items() if max(parts.values()) > 1}
    known = {row["recipient"] for row in await pool.fetch("SELECT recipient FROM messages.messages WHERE resubmitted")}
    assert twice  # else this has shown nothing
    assert twice <= known
