"""A carrier's links: how many, of which kind, how they are bound, and what an operator sees of them."""

import asyncio
import ssl
import struct
from pathlib import Path

import pytest
import structlog

from ghasi.carriers.carrier import Outcome
from ghasi.carriers.smpp import pdu
from ghasi.carriers.smpp.configuration import Timing
from tests.carriers.smsc import QUICK, Peer, PeerLink, StartClient, StartSimulator, eventually, text_to
from tests.carriers.test_smpp_client import _certificate as certificate_of

RX, TX, TRX = 1, 2, 9
SUBMIT_SM, SUBMIT_SM_RESP = 0x00000004, 0x80000004
DELIVER_SM, DELIVER_SM_RESP = 0x00000005, 0x80000005


def receipt(message_id: bytes = b"42", stat: bytes = b"DELIVRD") -> bytes:
    text = b"id:%b sub:001 dlvrd:001 done date:2611221229 stat:%b err:000 text:" % (message_id, stat)
    return b"\0\1\1937\0\5\0Ghasi\0\4\0\0\0\0\0\0\0\0%c%b" % (len(text), text)


async def answer_one(link: PeerLink, body: bytes = b"42\0", status: int = 0) -> None:
    command, _, sequence, _ = await link.read()
    assert command == SUBMIT_SM
    link.write(SUBMIT_SM_RESP, sequence, body, status)


async def test_the_octets_of_a_bind(peer: Peer, start_client: StartClient) -> None:
    await start_client(
        peer.port,
        system_type="VMA",
        interface_version="5.0",
        address_range="^937",
        address_range_ton=1,
        address_range_npi=8,
    )
    link = await peer.accept()
    assert link.bind_body == b"ghasi\0hunter2\0VMA\0\x50\1\x08^937\0"


async def test_a_transmitter_and_a_receiver(peer: Peer, start_client: StartClient) -> None:
    client = await start_client(peer.port, bind="transmitter_receiver")
    links = {link.bind: link for link in [await peer.accept(0) for _ in range(2)]}
    assert set(links) == {RX, TX}
    await eventually(lambda: client.carrier.state().links == 2)
    result = client.carrier.submit(text_to("+93701234567"))
    await answer_one(links[TX])
    assert (await result).carrier_message_id == "42"
    links[RX].write(DELIVER_SM, 1, receipt())
    assert await links[RX].read() == (DELIVER_SM_RESP, 0, 1, b"\0")
    assert [one.state for one in client.receipts] == ["delivered"]
    # without its transmitter it takes nothing, and goes on bringing receipts
    links[TX].writer.transport.abort()
    await eventually(lambda: not client.carrier.state().bound)
    assert client.carrier.capacity() == 0
    assert client.carrier.state().detail.startswith("1 of 2 links; transmitter: ")
    links[RX].write(DELIVER_SM, 2, receipt())
    assert (await links[RX].read())[1:3] == (0, 2)
    assert (await peer.accept(TX)).bind == TX
    await client.bound()


async def test_a_receiver_may_have_a_port_of_its_own(peer: Peer, start_client: StartClient) -> None:
    other = Peer()
    server = await asyncio.start_server(other.on_connection, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        client = await start_client(peer.port, bind="transmitter_receiver", receiver_port=port)
        assert (await peer.accept(TX)).bind == TX
        assert (await other.accept(RX)).bind == RX
        await eventually(lambda: client.carrier.state().links == 2)
    finally:
        server.close()
        for writer in other.writers:
            writer.transport.abort()


async def test_several_links_share_the_work(peer: Peer, start_client: StartClient) -> None:
    client = await start_client(peer.port, binds=3, window=2, throughput_per_s=1000)
    links = [await peer.accept() for _ in range(3)]
    await eventually(lambda: client.carrier.state().links == 3)
    state = client.carrier.state()
    assert (state.links_wanted, state.window, state.throughput_per_s, state.detail) == (3, 6, 1000, "bound")
    waiting = [client.carrier.submit(text_to("+93701234567", str(n))) for n in range(6)]
    assert client.carrier.capacity() == 0
    assert client.carrier.state().outstanding == 6
    for link in links:
        for _ in range(2):
            await answer_one(link)
    assert {result.outcome for result in await asyncio.gather(*waiting)} == {Outcome.ACCEPTED}
    links[1].writer.transport.abort()
    await eventually(lambda: client.carrier.state().links == 2)
    assert client.carrier.capacity() == 4
    assert client.carrier.state().detail.startswith("2 of 3 links; transceiver: ")
    await peer.accept()
    await eventually(lambda: client.carrier.state().links == 3)


async def test_an_smsc_without_transceivers_is_named(peer: Peer, start_client: StartClient) -> None:
    with structlog.testing.capture_logs() as logs:
        client = await start_client(peer.port)
        await peer.accept(answer=b"", status=3)
        await eventually(lambda: "ESME_RINVCMDID" in client.carrier.state().detail)
        assert 'set bind = "transmitter_receiver"' in client.carrier.state().detail
        # others say so with a generic_nack
        link = PeerLink(*await peer.connections.get())
        link.write(0x80000000, (await link.read())[2], status=3)
        await eventually(lambda: len([log for log in logs if 'set bind = "' in log.get("cause", "")]) == 2)


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (b"peer\0", "bound"),
        (b"", "bound"),
        (b"no end", "bound"),
        (b"peer\0\x02\x10\0\1\x34", "bound"),
        (b"peer\0\x02\x10\0\1\x50", "bound"),
        (b"peer\0\x02\x10\0\1", "bound"),
        (b"peer\0\x02\x10\0\1\x33", "bound; the SMSC speaks SMPP 3.3, which has no optional parameters"),
    ],
)
async def test_what_a_bind_is_answered_with(peer: Peer, start_client: StartClient, answer: bytes, detail: str) -> None:
    client = await start_client(peer.port)
    await peer.accept(answer=answer)
    await client.bound()
    await eventually(lambda: client.carrier.state().detail == detail)


async def test_tls_with_a_certificate_of_ours_and_another_name(
    start_simulator: StartSimulator, start_client: StartClient, tmp_path: Path
) -> None:
    certificate, key = (str(path) for path in certificate_of(tmp_path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    simulator = await start_simulator(tls=context)
    told = {"tls": True, "tls_ca_file": certificate}
    client = await start_client(simulator.port, **told, tls_cert_file=certificate, tls_key_file=key)
    await client.bound()
    # the certificate is for 127.0.0.1, however the SMSC is reached
    named = await start_client(
        simulator.port,
        host="localhost",
        **told,
        tls_cert_file=certificate,
        tls_key_file=key,
        tls_server_name="127.0.0.1",
    )
    await named.bound()
    wrong = await start_client(simulator.port, **told, tls_cert_file=certificate, tls_key_file=key, tls_server_name="b")
    await eventually(lambda: "CERTIFICATE_VERIFY_FAILED" in wrong.carrier.state().detail)
    without = await start_client(simulator.port, **told)
    with structlog.testing.capture_logs() as logs:
        await eventually(lambda: any(log["event"].startswith("carrier_") for log in logs))
    assert not without.carrier.state().bound


async def test_hexadecimal_ids_match_decimal_receipts(peer: Peer, start_client: StartClient) -> None:
    client = await start_client(peer.port, submit_id="hex", receipt_id="decimal")
    link = await peer.accept()
    await client.bound()
    for written in (b"0001a2b\0", b"1A2B\0", b"0x1a2B\0"):
        result = client.carrier.submit(text_to("+93701234567"))
        await answer_one(link, written)
        assert (await result).carrier_message_id == "1a2b"
    for number, written in enumerate((b"6699", b"0000006699", b"none"), 1):
        link.write(DELIVER_SM, number, receipt(written))
        await link.read()
    assert [one.carrier_message_id for one in client.receipts] == ["1a2b", "1a2b", "none"]


async def test_statuses_of_the_carriers_own(peer: Peer, start_client: StartClient) -> None:
    client = await start_client(
        peer.port, status_errors={"0x0400": "no_credit", "1025": "throttled", "8": "queue_full"}
    )
    link = await peer.accept()
    await client.bound()
    for status, outcome, code in (
        (0x400, Outcome.REFUSED, "no_credit"),
        (0x401, Outcome.THROTTLED, "throttled"),
        (8, Outcome.THROTTLED, "queue_full"),
        (0x402, Outcome.REFUSED, "submit_failed"),
    ):
        result = client.carrier.submit(text_to("+93701234567"))
        await answer_one(link, b"", status)
        assert ((await result).outcome, (await result).error_code) == (outcome, code)


async def test_a_link_that_the_smsc_calls_unbound_is_bound_anew(peer: Peer, start_client: StartClient) -> None:
    client = await start_client(peer.port)
    link = await peer.accept()
    await client.bound()
    for _ in range(10):
        result = client.carrier.submit(text_to("+93701234567"))
        await answer_one(link, b"", 4)
        assert (await result).outcome is Outcome.UNSENT
    await peer.accept()
    await client.bound()


async def test_sequence_numbers_begin_anew_and_pass_over_those_in_use(peer: Peer, start_client: StartClient) -> None:
    client = await start_client(peer.port)
    link = await peer.accept()
    await client.bound()
    first = client.carrier.submit(text_to("+93701234567"))
    held = (await link.read())[2]
    client.carrier.links[0]._sequence = pdu.LAST_SEQUENCE - 1
    waiting = [client.carrier.submit(text_to("+93701234567", str(n))) for n in range(4)]
    sequences = [(await link.read())[2] for _ in range(4)]
    assert sequences == [pdu.LAST_SEQUENCE, *[n for n in range(1, 5) if n != held][:3]]
    for sequence in [*sequences, held]:
        link.write(SUBMIT_SM_RESP, sequence, b"%d\0" % sequence)
    results = await asyncio.gather(*waiting, first)
    assert [result.carrier_message_id for result in results] == [str(sequence) for sequence in [*sequences, held]]


async def test_a_link_drops_in_the_middle_of_500_submits(peer: Peer, start_client: StartClient) -> None:
    client = await start_client(peer.port, window=500)
    link = await peer.accept()
    await client.bound()
    waiting = [client.carrier.submit(text_to("+93701234567", str(n))) for n in range(500)]
    for number in range(500):
        sequence = (await link.read())[2]
        if number % 2:
            link.write(SUBMIT_SM_RESP, sequence, b"%d\0" % number)
    await link.writer.drain()
    link.writer.close()
    outcomes = [result.outcome for result in await asyncio.gather(*waiting)]
    assert outcomes == [Outcome.UNANSWERED, Outcome.ACCEPTED] * 250
    await peer.accept()
    await client.bound()
    assert client.carrier.state().outstanding == 0


@pytest.mark.parametrize("ends", ["drops", "stops"])
async def test_what_waits_for_its_turn_is_unsent_when_the_link_goes(
    peer: Peer, start_client: StartClient, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    monkeypatch.setattr("ghasi.carriers.smpp.client.AHEAD_S", 60.0)
    client = await start_client(peer.port, throughput_per_s=1)
    link = await peer.accept()
    await client.bound()
    waiting = [client.carrier.submit(text_to("+93701234567", str(n))) for n in range(client.carrier.capacity())]
    assert len(waiting) >= 50
    await link.read()
    if ends == "drops":
        link.writer.transport.abort()
    else:
        await client.carrier.stop()
    outcomes = [result.outcome for result in await asyncio.gather(*waiting)]
    assert (outcomes[0], outcomes[-1]) == (Outcome.UNANSWERED, Outcome.UNSENT)
    assert outcomes == sorted(outcomes)  # unanswered before unsent, however long the machine took


async def test_times_come_from_the_configuration(peer: Peer, start_client: StartClient) -> None:
    client = await start_client(peer.port, timing=None, enquire_link_s=0.1)
    link = await peer.accept()
    command, _, sequence, _ = await link.read()
    assert command == 0x15
    link.write(0x80000015, sequence)
    await client.bound()


async def test_a_flood_of_answers_to_nothing_is_told_once(peer: Peer, start_client: StartClient) -> None:
    client = await start_client(peer.port, timing=Timing(enquire_after_s=0.5, unbind_timeout_s=0.05))
    link = await peer.accept()
    await client.bound()
    with structlog.testing.capture_logs() as logs:
        link.writer.write(b"".join(struct.pack(">IIII", 16, SUBMIT_SM_RESP, 0, 77) for _ in range(5000)))
        await eventually(lambda: sum(log.get("count", 0) for log in logs) == 5000)
    assert len(logs) < 100
    assert client.carrier.state().bound


async def test_an_ordinary_start_says_what_the_links_do(
    start_simulator: StartSimulator, start_client: StartClient
) -> None:
    simulator = await start_simulator()
    client = await start_client(simulator.port, bind="transmitter_receiver", binds=2, timing=QUICK)
    await eventually(lambda: client.carrier.state().links == 4)
    assert client.carrier.state().links_wanted == 4
    results = [await client.carrier.submit(text_to("+93701234567", str(n))) for n in range(20)]
    await eventually(lambda: simulator.receipts_acknowledged == 20)
    assert {one.carrier_message_id for one in client.receipts} == {one.carrier_message_id for one in results}
    await client.carrier.stop()
    assert client.carrier.state().links == 0


async def test_a_peer_that_asks_and_never_reads_is_dropped(
    peer: Peer, start_client: StartClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghasi.carriers.smpp.writer.MOST_HELD_BACK", 1000)
    client = await start_client(peer.port)
    link = await peer.accept()
    await client.bound()
    link.writer.transport.pause_reading()
    with structlog.testing.capture_logs() as logs:
        asking = struct.pack(">IIII", 16, 0x15, 0, 1) * 4000
        while not any("while requests came in" in log.get("cause", "") for log in logs):
            link.writer.write(asking)
            await asyncio.sleep(0.001)
            assert link.writer.transport.get_write_buffer_size() < 64 << 20
    await peer.accept()


async def test_receipts_that_are_numbered_alike_are_bounded_too(
    peer: Peer, start_client: StartClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghasi.carriers.smpp.link.MOST_UNACKNOWLEDGED", 2)
    client = await start_client(peer.port)
    client.keep = True
    link = await peer.accept()
    await client.bound()
    for _ in range(3):
        link.write(DELIVER_SM, 7, receipt())
    assert await link.read() == (DELIVER_SM_RESP, 0x64, 7, b"\0")
    client.carrier.acknowledge(client.receipts, accepted=True)
    assert [await link.read() for _ in range(2)] == [(DELIVER_SM_RESP, 0, 7, b"\0")] * 2
    link.write(DELIVER_SM, 8, receipt())
    await eventually(lambda: len(client.receipts) == 3)
