"""The client against a peer that behaves as badly as peers do: the bytes are written by the tests themselves."""

import asyncio
import socket
import struct

import pytest
import structlog

from ghasi.carriers.carrier import Outcome
from ghasi.carriers.smpp.configuration import Timing
from tests.carriers.smsc import QUICK, Peer, StartClient, eventually, packed, text_to

SUBMIT_SM, SUBMIT_SM_RESP = 0x00000004, 0x80000004
DELIVER_SM, DELIVER_SM_RESP = 0x00000005, 0x80000005
ENQUIRE_LINK, ENQUIRE_LINK_RESP = 0x00000015, 0x80000015
UNBIND, UNBIND_RESP = 0x00000006, 0x80000006
GENERIC_NACK = 0x80000000


def receipt_body(message_id: bytes = b"42", esm_class: int = 4, text: bytes | None = None) -> bytes:
    text = b"id:%b sub:001 dlvrd:001 stat:DELIVRD err:000 text:" % message_id if text is None else text
    return b"\0\1\1937\0\5\0Ghasi\0%c\0\0\0\0\0\0\0\0%c%b" % (esm_class, len(text), text)


async def test_an_smsc_that_answers_octet_by_octet(peer: Peer, start_client: StartClient) -> None:
    client = await start_client(peer.port)
    link = await peer.accept()
    await client.bound()
    result = client.carrier.submit(text_to("+93701234567"))
    _, _, sequence, _ = await link.read()
    stream = packed(SUBMIT_SM_RESP, sequence, b"abc\0") + packed(DELIVER_SM, 1, receipt_body(b"abc"))
    link.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for position in range(len(stream)):
        link.writer.write(stream[position : position + 1])
        await asyncio.sleep(0)
    assert (await result).carrier_message_id == "abc"
    await eventually(lambda: client.receipts)
    assert await link.read() == (DELIVER_SM_RESP, 0, 1, b"\0")


async def test_several_pdus_in_one_segment_are_one_batch(peer: Peer, start_client: StartClient) -> None:
    client = await start_client(peer.port)
    link = await peer.accept()
    await client.bound()
    waiting = [client.carrier.submit(text_to("+93701234567", str(n))) for n in range(3)]
    sequences = [(await link.read())[2] for _ in range(3)]
    link.writer.write(
        b"".join(packed(SUBMIT_SM_RESP, sequence, b"%d\0" % sequence) for sequence in reversed(sequences))
        + b"".join(packed(DELIVER_SM, sequence, receipt_body(b"%d" % sequence)) for sequence in sequences)
        + packed(ENQUIRE_LINK, 99)
    )
    results = await asyncio.gather(*waiting)
    assert [result.carrier_message_id for result in results] == [str(sequence) for sequence in sequences]
    await eventually(lambda: client.receipts)
    assert client.batches == [3]
    answers = [await link.read() for _ in range(4)]
    assert sorted(answers) == sorted(
        [(DELIVER_SM_RESP, 0, sequence, b"\0") for sequence in sequences] + [(ENQUIRE_LINK_RESP, 0, 99, b"")]
    )


async def test_half_a_pdu_and_then_the_end(peer: Peer, start_client: StartClient) -> None:
    client = await start_client(peer.port)
    link = await peer.accept()
    await client.bound()
    waiting = [client.carrier.submit(text_to("+93701234567", str(n))) for n in range(2)]
    first = (await link.read())[2]
    await link.read()
    link.writer.write(packed(SUBMIT_SM_RESP, first, b"7\0") + packed(SUBMIT_SM_RESP, first + 1, b"8\0")[:-1])
    link.writer.close()
    results = await asyncio.gather(*waiting)
    assert [result.outcome for result in results] == [Outcome.ACCEPTED, Outcome.UNANSWERED]
    assert await peer.accept()  # it is back
    await client.bound()
    assert client.carrier.state().outstanding == 0


async def test_a_dropped_link_leaves_written_submits_unanswered(peer: Peer, start_client: StartClient) -> None:
    client = await start_client(peer.port, window=10)
    link = await peer.accept()
    await client.bound()
    waiting = [client.carrier.submit(text_to("+93701234567", str(n))) for n in range(10)]
    assert client.carrier.capacity() == 0
    for _ in range(10):
        assert (await link.read())[0] == SUBMIT_SM
    assert (await client.carrier.submit(text_to("+93701234567"))).outcome is Outcome.UNSENT
    link.writer.transport.abort()
    assert [result.outcome for result in await asyncio.gather(*waiting)] == [Outcome.UNANSWERED] * 10


async def test_what_a_stuck_socket_never_took_is_unsent(peer: Peer, start_client: StartClient) -> None:
    client = await start_client(peer.port, window=10_000, timing=Timing(response_timeout_s=2, least_backoff_s=5))
    link = await peer.accept()
    await client.bound()
    link.writer.transport.pause_reading()
    link.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.carrier.links[0]._writer.transport.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_SNDBUF, 4096
    )
    waiting = []
    for _ in range(100):
        waiting += [client.carrier.submit(text_to("+93701234567", "x" * 160)) for _ in range(100)]
        await asyncio.sleep(0)
    results = await asyncio.gather(*waiting)
    unsent = [result.outcome for result in results].index(Outcome.UNSENT)
    assert {result.outcome for result in results[:unsent]} == {Outcome.UNANSWERED}
    assert {result.outcome for result in results[unsent:]} == {Outcome.UNSENT}
    assert "the socket took nothing in time" in (results[unsent].detail or "")
    # and what was called unsent did not leave after all
    link.writer.transport.resume_reading()
    received = len(await link.reader.read(-1))
    assert 0 < received <= unsent * (16 + 193)  # a header and this submit_sm


async def test_no_answer_in_time_is_unanswered_and_the_room_comes_back(peer: Peer, start_client: StartClient) -> None:
    client = await start_client(peer.port, window=1, timing=Timing(response_timeout_s=1, unbind_timeout_s=0.05))
    link = await peer.accept()
    await client.bound()
    result = await client.carrier.submit(text_to("+93701234567"))
    assert (result.outcome, result.detail) == (Outcome.UNANSWERED, "no answer in time")
    assert client.carrier.capacity() == 1
    link.write(SUBMIT_SM_RESP, (await link.read())[2], b"late\0")  # nobody waits for it any more
    second = client.carrier.submit(text_to("+93701234567"))
    link.write(SUBMIT_SM_RESP, (await link.read())[2], b"8\0")
    assert (await second).carrier_message_id == "8"


async def test_a_silent_peer_is_asked_and_dropped_when_it_does_not_answer(
    peer: Peer, start_client: StartClient
) -> None:
    timing = Timing(enquire_after_s=0.1, response_timeout_s=1, least_backoff_s=0.02, unbind_timeout_s=0.05)
    client = await start_client(peer.port, timing=timing)
    link = await peer.accept()
    await client.bound()
    for _ in range(2):
        command, _, sequence, _ = await link.read()
        assert command == ENQUIRE_LINK
        link.write(ENQUIRE_LINK_RESP, sequence)
    assert client.carrier.state().bound
    with structlog.testing.capture_logs() as logs:
        assert (await link.read())[0] == ENQUIRE_LINK
        await peer.accept()
    assert any("enquire_link was not answered" in log.get("cause", "") for log in logs)


@pytest.mark.parametrize("length", [0, 15, 64 * 1024 + 1, 0xFFFFFFFF])
async def test_a_false_length_closes_the_link(peer: Peer, start_client: StartClient, length: int) -> None:
    client = await start_client(peer.port)
    link = await peer.accept()
    await client.bound()
    result = client.carrier.submit(text_to("+93701234567"))
    await link.read()
    link.writer.write(struct.pack(">IIII", length, SUBMIT_SM_RESP, 0, 1))
    ended = await result
    assert ended.outcome is Outcome.UNANSWERED
    assert "does not speak SMPP" in (ended.detail or "")
    await peer.accept()


async def test_another_protocol_closes_the_link(peer: Peer, start_client: StartClient) -> None:
    client = await start_client(peer.port)
    _, writer = await peer.connections.get()
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await eventually(lambda: "does not speak SMPP" in client.carrier.state().detail)
    await peer.accept()
    await client.bound()


@pytest.mark.parametrize(
    ("status", "outcome", "code"),
    [
        (0x58, Outcome.THROTTLED, "throttled"),
        (0x14, Outcome.THROTTLED, "queue_full"),
        (0x0B, Outcome.REFUSED, "invalid_destination"),
        (0x45, Outcome.REFUSED, "submit_failed"),
        (0x04, Outcome.UNSENT, None),
    ],
)
async def test_statuses_of_a_submit(
    peer: Peer, start_client: StartClient, status: int, outcome: Outcome, code: str | None
) -> None:
    client = await start_client(peer.port)
    link = await peer.accept()
    await client.bound()
    for command in (SUBMIT_SM_RESP, GENERIC_NACK):
        result = client.carrier.submit(text_to("+93701234567"))
        link.write(command, (await link.read())[2], b"", status)
        assert ((await result).outcome, (await result).error_code) == (outcome, code)


@pytest.mark.parametrize("body", [b"", b"\0", b"no end"])
async def test_an_acceptance_without_a_message_id_is_an_acceptance(
    peer: Peer, start_client: StartClient, body: bytes
) -> None:
    client = await start_client(peer.port)
    link = await peer.accept()
    await client.bound()
    result = client.carrier.submit(text_to("+93701234567"))
    link.write(SUBMIT_SM_RESP, (await link.read())[2], body)
    assert ((await result).outcome, (await result).carrier_message_id) == (Outcome.ACCEPTED, None)


@pytest.mark.parametrize(
    "body",
    [
        receipt_body(esm_class=0x40, text=b"\x7fsecret words"),
        receipt_body(text=b"secret words"),
        receipt_body()[:-9],
        b"",
        b"\xff" * 40,
    ],
    ids=["header without end", "no id", "truncated", "empty", "garbage"],
)
async def test_what_is_no_receipt_is_refused_for_good_and_its_text_not_logged(
    peer: Peer, start_client: StartClient, body: bytes
) -> None:
    client = await start_client(peer.port)
    link = await peer.accept()
    await client.bound()
    with structlog.testing.capture_logs() as logs:
        link.write(DELIVER_SM, 5, body)
        assert await link.read() == (DELIVER_SM_RESP, 0x65, 5, b"\0")
    assert [log["event"] for log in logs] == ["smpp_delivery_refused"]
    assert "secret" not in str(logs)
    link.write(DELIVER_SM, 6, receipt_body())
    assert await link.read() == (DELIVER_SM_RESP, 0, 6, b"\0")
    assert [receipt.carrier_message_id for receipt in client.receipts] == ["42"]


async def test_other_commands(peer: Peer, start_client: StartClient) -> None:
    client = await start_client(peer.port)
    link = await peer.accept()
    await client.bound()
    link.write(0x00000103, 8, b"data_sm")
    assert await link.read() == (0x80000103, 0x65, 8, b"\0")  # one that can't be read
    link.write(0x00000003, 8, b"query_sm")
    assert await link.read() == (GENERIC_NACK, 3, 8, b"")
    link.write(0x0000000B, 9, b"outbind has no response")
    link.write(0x00000102, 9, b"alert_notification has no response")
    link.write(0x80000103, 10, b"a response to nothing")
    link.write(GENERIC_NACK, 11, b"", 3)
    link.write(SUBMIT_SM_RESP, 12, b"nobody asked\0")
    link.write(ENQUIRE_LINK, 13)
    assert await link.read() == (ENQUIRE_LINK_RESP, 0, 13, b"")
    assert client.carrier.state().bound


async def test_the_peer_unbinds(peer: Peer, start_client: StartClient) -> None:
    client = await start_client(peer.port)
    link = await peer.accept()
    await client.bound()
    result = client.carrier.submit(text_to("+93701234567"))
    await link.read()
    link.write(UNBIND, 3)
    assert await link.read() == (UNBIND_RESP, 0, 3, b"")
    assert ((await result).outcome, (await result).detail) == (Outcome.UNANSWERED, "unbound by the peer")
    await peer.accept()


async def test_a_peer_that_unbinds_may_answer_what_it_has_first(peer: Peer, start_client: StartClient) -> None:
    client = await start_client(peer.port, timing=Timing(stop_timeout_s=20, least_backoff_s=0.02))
    link = await peer.accept()
    await client.bound()
    results = [client.carrier.submit(text_to("+93701234567", str(n))) for n in range(3)]
    sequences = [(await link.read())[2] for _ in results]
    link.write(UNBIND, 3)
    await eventually(lambda: client.carrier.capacity() == 0)
    link.write(DELIVER_SM, 7, receipt_body(b"%d" % sequences[0]))
    for sequence in reversed(sequences):
        link.write(SUBMIT_SM_RESP, sequence, b"%d\0" % sequence)
    assert [(await result).outcome for result in results] == [Outcome.ACCEPTED] * 3
    answers = {await link.read(), await link.read()}
    assert answers == {(DELIVER_SM_RESP, 0, 7, b"\0"), (UNBIND_RESP, 0, 3, b"")}
    assert await link.reader.read() == b""
    await peer.accept()


async def test_stop_waits_for_answers_and_unbinds(peer: Peer, start_client: StartClient) -> None:
    client = await start_client(peer.port, timing=Timing(stop_timeout_s=20))
    link = await peer.accept()
    await client.bound()
    result = client.carrier.submit(text_to("+93701234567"))
    sequence = (await link.read())[2]
    stopping = asyncio.create_task(client.carrier.stop())
    await eventually(lambda: client.carrier.capacity() == 0)
    link.write(SUBMIT_SM_RESP, sequence, b"7\0")
    command, _, sequence, _ = await link.read()
    assert command == UNBIND
    assert (await result).outcome is Outcome.ACCEPTED
    link.write(UNBIND_RESP, sequence)
    await stopping
    assert await link.reader.read() == b""


async def test_stop_is_bounded_whatever_the_peer_does(peer: Peer, start_client: StartClient) -> None:
    client = await start_client(peer.port, timing=Timing(stop_timeout_s=0.1, unbind_timeout_s=0.1))
    await peer.accept()
    await client.bound()
    result = client.carrier.submit(text_to("+93701234567"))
    async with asyncio.timeout(10):
        await client.carrier.stop()
    assert (await result).outcome is Outcome.UNANSWERED


async def test_a_bind_nobody_answers_is_tried_again(peer: Peer, start_client: StartClient) -> None:
    client = await start_client(
        peer.port, timing=Timing(response_timeout_s=1, least_backoff_s=0.02, unbind_timeout_s=0.05)
    )
    await peer.connections.get()
    await eventually(lambda: client.carrier.state().detail == "the bind was not answered in time")
    assert client.carrier.capacity() == 0
    await peer.accept()
    await client.bound()


Pauses = list[tuple[float, float]]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    """Between which times each pause before an attempt was chosen; none of them is waited for."""
    chosen: Pauses = []

    def choose(least_s: float, most_s: float) -> float:
        chosen.append((least_s, most_s))
        return 0.001

    monkeypatch.setattr("ghasi.carriers.smpp.line.random.uniform", choose)
    return chosen


async def test_attempts_grow_rarer(start_client: StartClient, pauses: Pauses) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # and nobody else can have the port meanwhile
        await start_client(deaf.getsockname()[1], timing=Timing(least_backoff_s=0.02, most_backoff_s=0.32))
        await eventually(lambda: len(pauses) >= 6)
    assert pauses[:6] == [(longest / 2, longest) for longest in (0.02, 0.04, 0.08, 0.16, 0.32, 0.32)]


@pytest.mark.parametrize("useful", ["submit", "receipt", "nothing"])
async def test_an_smsc_that_ends_its_links_is_soon_asked_again_if_they_were_of_use(
    peer: Peer, start_client: StartClient, pauses: Pauses, useful: str
) -> None:
    client = await start_client(peer.port, timing=Timing(least_backoff_s=30, most_backoff_s=300))
    for number in range(4):
        link = await peer.accept()
        await client.bound()
        if useful == "submit":
            waiting = client.carrier.submit(text_to("+93701234567", str(number)))
            link.write(SUBMIT_SM_RESP, (await link.read())[2], b"7\0")
            await waiting
        elif useful == "receipt":
            link.write(DELIVER_SM, 1, receipt_body())
            assert await link.read() == (DELIVER_SM_RESP, 0, 1, b"\0")
        link.write(UNBIND, 3)
        assert (await link.read())[0] == UNBIND_RESP
        await eventually(lambda so_far=number: len(pauses) > so_far)
    longest = [most_s for _, most_s in pauses]
    assert longest == ([30, 60, 120, 240] if useful == "nothing" else [30] * 4)


async def test_it_refuses_to_hold_more_receipts_than_it_can(
    peer: Peer, start_client: StartClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghasi.carriers.smpp.link.MOST_UNACKNOWLEDGED", 2)
    client = await start_client(peer.port, timing=QUICK)
    client.keep = True
    link = await peer.accept()
    await client.bound()
    for sequence in (1, 2, 3):
        link.write(DELIVER_SM, sequence, receipt_body())
    assert await link.read() == (DELIVER_SM_RESP, 0x64, 3, b"\0")
    client.carrier.acknowledge(client.receipts, accepted=True)
    assert [(await link.read())[1:3] for _ in range(2)] == [(0, 1), (0, 2)]
