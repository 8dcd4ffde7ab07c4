"""The simulated SMSC as other clients meet it: smpplib, which other people wrote, and bare sockets."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterator

import pytest
import smpplib.client
import smpplib.consts
import smpplib.exceptions
import smpplib.gsm

from ghasi.carriers.simulator import Behaviour, serve_simulator
from tests.carriers.smsc import PeerLink, StartSimulator, eventually, packed

BIND_TRANSMITTER, BIND_RECEIVER, BIND_TRANSCEIVER = 2, 1, 9
SUBMIT_BODY = b"\0\5\0Ghasi\0\1\001%b\0\0\0\0\0\0\1\0\0\0\5Hello"


@contextlib.contextmanager
def smpplib_client(port: int) -> Iterator[smpplib.client.Client]:
    client = smpplib.client.Client("127.0.0.1", port, timeout=5, allow_unknown_opt_params=True)
    client.connect()
    try:
        yield client
    finally:
        with contextlib.suppress(smpplib.exceptions.ConnectionError, smpplib.exceptions.PDUError):
            client.unbind()  # which it refuses itself when it is not bound
        client.disconnect()


def exchange_with_smpplib(port: int, number: str, text: str) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """Send a text and wait for its receipts; return message ids, receipted ids and receipts' texts."""
    ids: list[bytes] = []
    receipted: list[bytes] = []
    texts: list[bytes] = []

    def on_delivery(pdu: smpplib.command.DeliverSM) -> int:
        assert pdu.esm_class == 4
        assert pdu.source_addr == number.encode()
        receipted.append(pdu.receipted_message_id)
        texts.append(pdu.short_message)
        return smpplib.consts.SMPP_ESME_ROK

    with smpplib_client(port) as client:
        client.set_message_sent_handler(lambda pdu: ids.append(pdu.message_id))
        client.set_message_received_handler(on_delivery)
        client.bind_transceiver(system_id="smpplib", password="any")
        parts, coding, message_type = smpplib.gsm.make_parts(text)
        for part in parts:
            client.send_message(
                source_addr_ton=5, source_addr="Ghasi", dest_addr_ton=1, dest_addr_npi=1, destination_addr=number,
                short_message=part, data_coding=coding, esm_class=message_type, registered_delivery=True,
            )  # fmt: skip
        while len(receipted) < len(parts):
            client.read_once()
    return ids, receipted, texts


@pytest.mark.parametrize(
    ("number", "text", "count", "stat"),
    [
        ("93701234567", "Hello", 1, b"DELIVRD"),
        ("93701230001", "Hello", 1, b"UNDELIV"),
        ("93701230002", "д" * 100, 2, b"EXPIRED"),
    ],
)
async def test_smpplib_sends_and_has_its_receipts(
    start_simulator: StartSimulator, number: str, text: str, count: int, stat: bytes
) -> None:
    simulator = await start_simulator()
    async with asyncio.timeout(20):
        ids, receipted, texts = await asyncio.to_thread(exchange_with_smpplib, simulator.port, number, text)
    assert len(set(ids)) == count
    assert sorted(ids) == sorted(receipted)
    assert all(b"stat:" + stat in one for one in texts)
    assert simulator.accepted == count
    assert {destination for destination, _ in simulator.submissions} == {number}
    await eventually(lambda: simulator.receipts_acknowledged == count)
    assert simulator.receipts_pending == 0


async def test_smpplib_sees_refusals_and_throttling(start_simulator: StartSimulator) -> None:
    simulator = await start_simulator()

    def statuses_of(number: str, times: int) -> list[int]:
        seen: list[int] = []
        with smpplib_client(simulator.port) as client:
            client.set_message_sent_handler(lambda pdu: seen.append(pdu.status))
            client.set_error_pdu_handler(lambda pdu: None)  # by default it raises
            client.bind_transmitter(system_id="smpplib", password="any")
            for _ in range(times):
                client.send_message(source_addr="Ghasi", destination_addr=number, short_message=b"Hello")
                client.read_once()
        return seen

    async with asyncio.timeout(20):
        assert await asyncio.to_thread(statuses_of, "93701230003", 1) == [0x0B]
        assert await asyncio.to_thread(statuses_of, "93701230004", 4) == [0x58, 0x58, 0, 0x58]
    assert simulator.accepted == 1


async def test_smpplib_is_refused_with_a_false_password(start_simulator: StartSimulator) -> None:
    simulator = await start_simulator(Behaviour(system_id="smpplib", password="right"))

    def bind(password: str) -> None:
        with smpplib_client(simulator.port) as client:
            client.bind_transceiver(system_id="smpplib", password=password)

    async with asyncio.timeout(20):
        await asyncio.to_thread(bind, "right")
        with pytest.raises(smpplib.exceptions.PDUError, match="Invalid Password"):
            await asyncio.to_thread(bind, "wrong")


async def connect(port: int) -> PeerLink:
    return PeerLink(*await asyncio.open_connection("127.0.0.1", port))


async def bind(port: int, command: int = BIND_TRANSCEIVER, system_id: bytes = b"bare") -> PeerLink:
    link = await connect(port)
    link.write(command, 1, system_id + b"\0any\0\0\x34\0\0\0")
    assert await link.read() == (command | 0x80000000, 0, 1, b"ghasi-sim\0")
    return link


async def submit(link: PeerLink, number: bytes = b"93701234567", sequence: int = 2) -> tuple[int, bytes]:
    link.write(4, sequence, SUBMIT_BODY % number)
    command, status, answered, body = await link.read()
    assert (command, answered) == (0x80000004, sequence)
    return status, body


async def test_transmitter_and_receiver_are_two_links(start_simulator: StartSimulator) -> None:
    simulator = await start_simulator()
    receiver = await bind(simulator.port, BIND_RECEIVER)
    transmitter = await bind(simulator.port, BIND_TRANSMITTER)
    assert await submit(receiver) == (4, b"")
    status, message_id = await submit(transmitter)
    assert status == 0
    command, _, sequence, body = await receiver.read()
    assert command == 5
    assert b"\x00\x1e" + struct.pack(">H", len(message_id)) + message_id in body
    receiver.write(0x80000005, sequence, b"\0")
    await eventually(lambda: simulator.receipts_acknowledged == 1)
    for link in (receiver, transmitter):
        link.writer.close()


async def test_it_keeps_to_the_protocol(start_simulator: StartSimulator) -> None:
    simulator = await start_simulator()
    link = await connect(simulator.port)
    assert await submit(link) == (4, b"")  # ESME_RINVBNDSTS: not bound
    link.writer.close()
    link = await bind(simulator.port)
    link.write(BIND_TRANSCEIVER, 2, b"bare\0any\0\0\x34\0\0\0")
    assert await link.read() == (0x80000009, 5, 2, b"")  # ESME_RALYBND
    link.write(0x15, 3)
    assert await link.read() == (0x80000015, 0, 3, b"")
    link.write(0x103, 4, b"data_sm")
    assert await link.read() == (0x80000000, 3, 4, b"")
    link.write(4, 5, b"truncated")
    assert await link.read() == (0x80000000, 2, 5, b"")
    assert await submit(link, b"not a number") == (0x0B, b"")
    link.write(6, 6)
    assert await link.read() == (0x80000006, 0, 6, b"")
    assert await link.reader.read() == b""
    link.writer.close()


async def test_a_false_length_closes_the_link(start_simulator: StartSimulator) -> None:
    simulator = await start_simulator()
    link = await bind(simulator.port)
    link.writer.write(struct.pack(">IIII", 15, 4, 0, 1))
    assert await link.read() == (0x80000000, 2, 0, b"")
    assert await link.reader.read() == b""
    link.writer.close()
    await eventually(lambda: not simulator.sessions)


async def test_receipts_are_sent_only_where_they_are_wanted(start_simulator: StartSimulator) -> None:
    simulator = await start_simulator(Behaviour(receipt_delay_s=0.01))
    link = await bind(simulator.port)
    for number, registered in ((b"93701230007", 0), (b"93701230007", 2), (b"93701230001", 2)):
        body = bytearray(SUBMIT_BODY % number)
        body[body.index(b"\1\0\0\0\5Hello")] = registered
        link.write(4, 2, bytes(body))
        assert (await link.read())[1] == 0
    command, _, _, body = await link.read()
    assert (command, b"93701230001" in body) == (5, True)
    assert simulator.receipts_pending == 1
    link.writer.close()


async def test_a_refused_receipt_is_given_up_and_a_deferred_one_kept(start_simulator: StartSimulator) -> None:
    simulator = await start_simulator(Behaviour(receipt_delay_s=0.01, retry_s=0.01))
    link = await bind(simulator.port)
    await submit(link)
    first = await link.read()
    link.write(0x80000005, first[2], b"\0", 0x64)
    second = await link.read()
    assert second[3] == first[3]
    link.write(0x80000005, second[2], b"\0", 0x65)
    await eventually(lambda: simulator.receipts_pending == 0)
    assert simulator.receipts_acknowledged == 0
    link.writer.close()


async def test_memory_is_bounded(start_simulator: StartSimulator) -> None:
    simulator = await start_simulator(Behaviour(receipt_delay_s=30, most_kept=3, most_clients=1))
    link = await bind(simulator.port)
    for number in range(10):
        assert (await submit(link, b"9370%04d0004" % number))[0] == 0x58
        assert (await submit(link, b"9370%04d9999" % number))[0] == 0
    assert len(simulator.submissions) == 3
    assert len(simulator._throttled) == 3
    assert (simulator.receipts_pending, simulator.receipts_dropped) == (3, 7)
    assert simulator.duplicates == 0
    other = await connect(simulator.port)
    other.write(BIND_TRANSCEIVER, 1, b"other\0any\0\0\x34\0\0\0")
    assert (await other.read())[1] == 0x0D  # ESME_RBINDFAIL
    for one in (link, other):
        one.writer.close()


async def test_duplicates_are_counted(start_simulator: StartSimulator) -> None:
    simulator = await start_simulator()
    link = await bind(simulator.port)
    for _ in range(3):
        await submit(link)
    await submit(link, b"93709999999")
    assert simulator.submissions == {("93701234567", b"Hello"): 3, ("93709999999", b"Hello"): 1}
    assert (simulator.accepted, simulator.duplicates) == (4, 2)
    link.writer.close()


async def test_it_takes_a_socket_that_is_bound_already_and_gives_no_id_twice(reserved_port: int) -> None:
    ids = []
    for _ in range(2):
        simulator = await serve_simulator(sock=socket.create_server(("127.0.0.1", reserved_port)))
        assert simulator.port == reserved_port
        link = await bind(reserved_port)
        ids += [(await submit(link, sequence=n))[1] for n in range(2, 5)]
        link.writer.close()
        await simulator.close()
    assert len(set(ids)) == 6


async def test_a_client_that_takes_nothing_blocks_nobody(start_simulator: StartSimulator) -> None:
    simulator = await start_simulator(Behaviour(receipt_delay_s=0.01, receipt_window=100_000))
    stuck = await bind(simulator.port, system_id=b"stuck")
    stuck.writer.transport.pause_reading()
    one = packed(4, 9, SUBMIT_BODY % b"93701234567")
    for _ in range(40):
        stuck.writer.write(one * 500)
        await asyncio.sleep(0)
    await eventually(lambda: simulator.accepted == 20_000)
    link = await bind(simulator.port)
    assert (await submit(link))[0] == 0
    assert (await link.read())[0] == 5
    link.writer.close()
    stuck.writer.transport.abort()
