"""What phones send, from the octets of a deliver_sm or data_sm to an InboundPart and its answer."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghasi.carriers.alphabet import decode, pack
from ghasi.carriers.carrier import InboundPart
from ghasi.carriers.smpp import pdu
from ghasi.carriers.smpp.inbound import ALONE, DeliveryReader, Place, UnreadableError, read_header
from ghasi.carriers.smpp.pdu import Address, ShortMessage
from ghasi.carriers.smpp.submit import Submitter
from tests.carriers.smsc import Peer, StartClient, eventually
from tests.carriers.test_smpp_round_trip import configured

NOW = datetime(2026, 11, 22, tzinfo=UTC)
PHONE, OURS = Address(1, 1, "93701234567"), Address(3, 0, "12345")
DELIVER_SM, DELIVER_SM_RESP, DATA_SM, DATA_SM_RESP = 0x5, 0x80000005, 0x103, 0x80000103


def read(
    data: bytes = b"", esm_class: int = 0, data_coding: int = 0, tlvs: object = None, **told: object
) -> InboundPart:
    configuration = configured(**told)
    message = ShortMessage(
        source=PHONE,
        destination=OURS,
        short_message=data,
        esm_class=esm_class,
        data_coding=data_coding,
        tlvs=tlvs or {},  # type: ignore[arg-type]
    )
    word = DeliveryReader(configuration, Submitter(configuration).addresses).read(message, NOW, 7)
    assert isinstance(word, InboundPart)
    return word


def test_a_short_message() -> None:
    part = read(b"STOP \x00")
    assert (part.carrier, part.sender, part.recipient, part.at, part.handle) == ("one", "+93701234567", "12345", NOW, 7)
    assert (part.encoding, part.payload, part.reference, part.part, part.parts) == ("gsm7", b"STOP \x00", 0, 1, 1)


@pytest.mark.parametrize(
    ("header", "place"),
    [
        (b"\5\0\3\x2a\3\2", Place(42, 2, 3)),
        (b"\6\x08\4\x01\x2a\3\2", Place(298, 2, 3)),
        (b"\x0b\5\4\x0b\x84\0\0\0\3\x2a\2\1", Place(42, 1, 2)),  # behind an element of another kind
        (b"\5\0\3\x2a\1\1", ALONE),
        (b"\5\0\3\x2a\3\0", ALONE),
        (b"\5\0\3\x2a\3\4", ALONE),
        (b"\5\0\3\x2a\0\1", ALONE),
        (b"\4\0\2\3\2", ALONE),
        (b"\2\0\3", ALONE),
        (b"\0", ALONE),
    ],
)
def test_headers(header: bytes, place: Place) -> None:
    assert read_header(header + b"text") == (len(header), place)
    part = read(header + b"text", esm_class=0x40)
    assert (part.payload, part.reference, part.part, part.parts) == (b"text", *place)


@given(st.binary(max_size=160))
def test_any_header_is_read_or_refused(data: bytes) -> None:
    try:
        end, place = read_header(data)
    except UnreadableError:
        assert not data or data[0] >= len(data)
    else:
        assert end <= len(data)
        assert place == ALONE or 1 <= place.part <= place.parts


def test_sar_parameters_and_message_payload() -> None:
    tlvs = {pdu.SAR_MSG_REF_NUM: b"\1\2", pdu.SAR_TOTAL_SEGMENTS: b"\3", pdu.SAR_SEGMENT_SEQNUM: b"\2"}
    part = read(tlvs=tlvs | {pdu.MESSAGE_PAYLOAD: "дa".encode("utf-16-be")}, data_coding=8)
    assert (part.reference, part.part, part.parts) == (258, 2, 3)
    assert decode(part.encoding, part.payload) == "дa"
    assert read(b"a", tlvs={pdu.SAR_TOTAL_SEGMENTS: b"\3"}).parts == 1


def test_packed_septets_behind_a_header() -> None:
    header = b"\5\0\3\x2a\2\1"
    part = read(header + pack(b"Hello\x1be", 6), 0x40, gsm7="packed")
    assert (decode(part.encoding, part.payload), part.parts) == ("Hello€", 2)


def test_data_codings_that_a_carrier_was_told_of() -> None:
    assert read(b"@\xe9", inbound_alphabet="latin1").encoding == "latin1"
    assert read(b"\0", data_coding=1).encoding == "latin1"
    assert read(b"\0", data_coding=1, gsm7_data_coding=1).encoding == "gsm7"
    assert read(b"\0", data_coding=4, gsm7="latin1", latin1_data_coding=4).encoding == "latin1"
    assert read(b"\0a", data_coding=0x11, ucs2_data_coding=0x11).encoding == "ucs2"


def test_what_can_never_be_read() -> None:
    for unreadable in (
        {"data": b"a", "data_coding": 0x20},
        {"data": b"\7abc", "esm_class": 0x40},
        {"data": b"", "esm_class": 0x40},
    ):
        with pytest.raises(UnreadableError):
            read(**unreadable)  # type: ignore[arg-type]


async def test_a_message_is_answered_only_once_it_is_acknowledged(peer: Peer, start_client: StartClient) -> None:
    client = await start_client(peer.port)
    client.keep = True
    link = await peer.accept()
    await client.bound()
    body = pdu.encode_short_message(ShortMessage(source=PHONE, destination=OURS, short_message=b"STOP"))
    data = pdu.encode_data(ShortMessage(source=PHONE, destination=OURS, tlvs={pdu.MESSAGE_PAYLOAD: b"START"}))
    link.write(DELIVER_SM, 5, body)
    link.write(DELIVER_SM, 5, body)  # numbered alike, which it must not
    link.write(DATA_SM, 6, data + b"\x04")  # and an octet too many
    await eventually(lambda: len(client.parts) == 3)
    assert [part.payload for part in client.parts] == [b"STOP", b"STOP", b"START"]
    client.carrier.acknowledge(client.parts[:2], accepted=True)
    client.carrier.acknowledge(client.parts[2:], accepted=False)
    client.carrier.acknowledge(client.parts, accepted=True)  # answered already
    answers = [await link.read() for _ in range(3)]
    assert answers == [(DELIVER_SM_RESP, 0, 5, b"\0")] * 2 + [(DATA_SM_RESP, 0x64, 6, b"\0")]
    link.write(0x15, 9)
    assert (await link.read())[0] == 0x80000015


async def test_a_link_that_was_lost_begins_another_session(peer: Peer, start_client: StartClient) -> None:
    client = await start_client(peer.port)
    body = pdu.encode_short_message(ShortMessage(source=PHONE, destination=OURS, short_message=b"STOP"))
    for _ in range(2):
        link = await peer.accept()
        await client.bound()
        for sequence in (1, 2):
            link.write(DELIVER_SM, sequence, body)
            await link.read()
        link.writer.transport.abort()
    first, second, third, fourth = (part.session for part in client.parts)
    assert first == second != third == fourth
