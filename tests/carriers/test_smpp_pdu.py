"""The codec: what it writes it reads, and nothing a peer sends makes it fail in any other way than PduError."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghasi.carriers.smpp import pdu
from ghasi.carriers.smpp.pdu import Address, Bind, BindResponse, FrameReader, PduError, ShortMessage

octets = st.integers(0, 255)
tlvs = st.dictionaries(st.integers(0, 0xFFFF), st.binary(max_size=40), max_size=4)


def fields(longest: int) -> st.SearchStrategy[str]:
    return st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=longest)


addresses = st.builds(Address, octets, octets, fields(20))
messages = st.builds(
    ShortMessage,
    source=addresses,
    destination=addresses,
    short_message=st.binary(max_size=255),
    service_type=fields(5),
    esm_class=octets,
    protocol_id=octets,
    priority=octets,
    schedule_delivery_time=fields(16),
    validity_period=fields(16),
    registered_delivery=octets,
    replace_if_present=octets,
    data_coding=octets,
    default_message_id=octets,
    tlvs=tlvs,
)
binds = st.builds(
    Bind,
    system_id=fields(15),
    password=fields(8),
    system_type=fields(12),
    interface_version=octets,
    address_ton=octets,
    address_npi=octets,
    address_range=fields(40),
)


@given(messages)
def test_short_message_round_trip(message: ShortMessage) -> None:
    assert pdu.decode_short_message(pdu.encode_short_message(message)) == message


data_messages = st.builds(
    ShortMessage,
    source=st.builds(Address, octets, octets, fields(64)),
    destination=st.builds(Address, octets, octets, fields(64)),
    service_type=fields(5),
    esm_class=octets,
    registered_delivery=octets,
    data_coding=octets,
    tlvs=tlvs,
)


@given(data_messages)
def test_data_round_trip(message: ShortMessage) -> None:
    assert pdu.decode_data(pdu.encode_data(message)) == message


@given(messages, data_messages, st.binary(max_size=3))
def test_lenient_reading_ends_where_parameters_make_no_sense(
    short: ShortMessage, data: ShortMessage, garbage: bytes
) -> None:
    tail = b"\x00\x1e\x00\xff" + garbage  # claims 255 octets
    assert pdu.decode_short_message(pdu.encode_short_message(short) + tail, lenient=True) == short
    assert pdu.decode_data(pdu.encode_data(data) + tail, lenient=True) == data
    with pytest.raises(PduError):
        pdu.decode_data(pdu.encode_data(data) + tail)


COMMANDS = [
    pdu.GENERIC_NACK, pdu.BIND_RECEIVER, pdu.BIND_TRANSMITTER, pdu.BIND_TRANSCEIVER, pdu.SUBMIT_SM, pdu.DELIVER_SM,
    pdu.UNBIND, pdu.OUTBIND, pdu.ENQUIRE_LINK, pdu.ALERT_NOTIFICATION, pdu.DATA_SM, pdu.BIND_RECEIVER_RESP,
    pdu.BIND_TRANSMITTER_RESP, pdu.BIND_TRANSCEIVER_RESP, pdu.SUBMIT_SM_RESP, pdu.DELIVER_SM_RESP, pdu.UNBIND_RESP,
    pdu.ENQUIRE_LINK_RESP, pdu.DATA_SM_RESP,
]  # fmt: skip


@given(st.sampled_from(COMMANDS), st.integers(0, pdu.LAST_SEQUENCE), st.integers(0, 0xFFFFFFFF), messages)
def test_every_command_round_trip(command: int, sequence: int, status: int, message: ShortMessage) -> None:
    body = pdu.encode_short_message(message)
    (frame,) = FrameReader().feed(pdu.encode(command, sequence, body, status))
    assert frame == (command, status, sequence, body)


@given(binds)
def test_bind_round_trip(bind: Bind) -> None:
    assert pdu.decode_bind(pdu.encode_bind(bind)) == bind


@given(st.builds(BindResponse, system_id=fields(15), tlvs=tlvs))
def test_bind_response_round_trip(response: BindResponse) -> None:
    assert pdu.decode_bind_response(pdu.encode_bind_response(response)) == response


@given(fields(64))
def test_message_id_round_trip(message_id: str) -> None:
    assert pdu.decode_message_id(pdu.encode_message_id(message_id)) == message_id


def test_the_bytes_of_a_submit_sm_are_those_of_the_specification() -> None:
    message = ShortMessage(
        source=Address(5, 0, "Ghasi"),
        destination=Address(1, 1, "93701234567"),
        short_message=b"Hello",
        registered_delivery=1,
        tlvs={0x0204: b"\0\1"},
    )
    body = (
        b"\0" + b"\5\0Ghasi\0" + b"\1\00193701234567\0" + b"\0\0\0" + b"\0" + b"\0" + b"\1\0\0\0"
        + b"\5Hello" + b"\2\4\0\2\0\1"
    )  # fmt: skip
    assert pdu.encode_short_message(message) == body
    assert pdu.encode(pdu.SUBMIT_SM, 7, body) == struct.pack(">IIII", 16 + len(body), 4, 0, 7) + body


@given(st.lists(st.tuples(octets, octets, octets, st.binary(max_size=60)), max_size=8), st.data())
def test_frames_are_the_same_however_the_stream_is_cut(
    written: list[tuple[int, int, int, bytes]], data: st.DataObject
) -> None:
    stream = b"".join(pdu.encode(command, sequence, body, status) for command, status, sequence, body in written)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    reader = FrameReader()
    frames = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        frames += reader.feed(stream[start:end])
    assert [tuple(frame) for frame in frames] == written
    assert reader.fault is None


@pytest.mark.parametrize("length", [0, 1, 15, pdu.MOST_PDU_BYTES + 1, 0xFFFFFFFF])
def test_a_false_length_is_a_fault_and_what_came_before_is_kept(length: int) -> None:
    reader = FrameReader()
    good = pdu.encode(pdu.ENQUIRE_LINK, 1)
    assert [frame.sequence for frame in reader.feed(good + struct.pack(">IIII", length, 4, 0, 2))] == [1]
    assert isinstance(reader.fault, PduError)
    assert reader.feed(good) == []


def test_the_longest_pdu_is_read_octet_by_octet() -> None:
    stream = pdu.encode(pdu.SUBMIT_SM, 1, bytes(pdu.MOST_PDU_BYTES - 16))
    reader = FrameReader()
    frames = [frame for position in range(len(stream)) for frame in reader.feed(stream[position : position + 1])]
    assert [len(frame.body) for frame in frames] == [pdu.MOST_PDU_BYTES - 16]


@given(st.binary(max_size=300))
def test_garbage_as_a_stream_raises_nothing(garbage: bytes) -> None:
    reader = FrameReader()
    for frame in reader.feed(garbage):
        assert len(frame.body) <= len(garbage)
    assert reader.fault is None or isinstance(reader.fault, PduError)


DECODERS = [
    pdu.decode_short_message,
    pdu.decode_data,
    lambda body: pdu.decode_short_message(body, lenient=True),
    lambda body: pdu.decode_data(body, lenient=True),
    pdu.decode_bind,
    pdu.decode_bind_response,
    pdu.decode_message_id,
]


@given(st.binary(max_size=120), st.sampled_from(DECODERS))
def test_garbage_as_a_body_raises_pdu_error_alone(body: bytes, decode: object) -> None:
    with contextlib.suppress(PduError):
        decode(body)  # type: ignore[operator]


@given(messages, st.data())
def test_a_truncated_message_is_a_pdu_error(message: ShortMessage, data: st.DataObject) -> None:
    body = pdu.encode_short_message(message)
    fixed = len(body) - len(pdu.encode_tlvs(message.tlvs))
    end = data.draw(st.integers(0, fixed - 1))
    with pytest.raises(PduError):
        pdu.decode_short_message(body[:end])


@given(messages, st.data())
def test_a_flipped_octet_is_read_or_a_pdu_error(message: ShortMessage, data: st.DataObject) -> None:
    body = bytearray(pdu.encode_short_message(message))
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(octets)
    with contextlib.suppress(PduError):
        pdu.decode_short_message(bytes(body))


def test_what_cannot_be_written_is_a_pdu_error() -> None:
    source = Address(0, 0, "")
    for unwritable in (
        ShortMessage(source=source, destination=Address(1, 1, "1" * 21)),
        ShortMessage(source=source, destination=Address(1, 1, "1\0" * 2)),
        ShortMessage(source=source, destination=Address(1, 256, "1")),
        ShortMessage(source=source, destination=Address(1, 1, "д")),
        ShortMessage(source=source, destination=source, short_message=bytes(256)),
        ShortMessage(source=source, destination=source, esm_class=256),
        ShortMessage(source=source, destination=source, tlvs={0x10000: b""}),
        ShortMessage(source=source, destination=source, tlvs={1: bytes(0x10000)}),
    ):
        with pytest.raises(PduError):
            pdu.encode_short_message(unwritable)


def test_a_tlv_that_claims_too_much_is_a_pdu_error() -> None:
    body = pdu.encode_short_message(ShortMessage(source=Address(0, 0, ""), destination=Address(0, 0, "")))
    for tail in (b"\0", b"\0\x1e\0", b"\0\x1e\0\5ab"):
        with pytest.raises(PduError, match="optional parameter"):
            pdu.decode_short_message(body + tail)


def test_a_password_is_in_no_repr() -> None:
    assert "hunter2" not in repr(Bind(system_id="ghasi", password="hunter2"))
