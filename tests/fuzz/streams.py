"""Streams that no SMSC should send: valid PDUs of every kind, then cut, joined, repeated and overwritten by chance."""

import random
import struct

from ghasi.carriers.alphabet import pack
from ghasi.carriers.smpp import pdu

MOST_EDITS = 6
MOST_PIECES = 5
INTERESTING = (0, 1, 0x0F, 0x10, 0x11, 0x7F, 0x80, 0xFE, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x10001,
               0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)  # fmt: skip
TOKENS = (
    b"id:", b"stat:", b"err:", b"done date:", b"text:", b"submit date:", b"DELIVRD", b"2611231200",
    b"991332256199", b"\0", b"\x1b", b"\x1b\x1b", b"\xff\xfe", b"\xfe\xff", b"\xd8\x00", b"\xdc\x00",
    b"\x05\x00\x03\x07\x02\x01", b"\x06\x08\x04\x00\x07\x02\x01", b"\x00\x03", b"\x00\x1e", b"\x04\x27",
    b"\x04\x24", b"\x04\x23", b"\x02\x0c", b"\x02\x0e", b"\x02\x0f", b"+93701234567", b":" * 40, b" " * 40,
)  # fmt: skip


def _receipt(text: bytes, esm_class: int = 4, coding: int = 0, **tlvs: bytes) -> bytes:
    named = {
        "message_id": pdu.RECEIPTED_MESSAGE_ID,
        "state": pdu.MESSAGE_STATE,
        "network": pdu.NETWORK_ERROR_CODE,
        "payload": pdu.MESSAGE_PAYLOAD,
    }
    return _message(text, esm_class, coding, {named[name]: value for name, value in tlvs.items()})


def _message(text: bytes, esm_class: int = 0, coding: int = 0, tlvs: dict[int, bytes] | None = None) -> bytes:
    return pdu.encode_short_message(
        pdu.ShortMessage(
            source=pdu.Address(1, 1, "93701234567"), destination=pdu.Address(3, 0, "12345"), esm_class=esm_class,
            data_coding=coding, short_message=text, registered_delivery=1, tlvs=tlvs or {},
        )
    )  # fmt: skip


_TEXT = b"id:0123abc sub:001 dlvrd:001 submit date:2611230100 done date:2611230101 stat:UNDELIV err:00b text:hello"
_SAR = {0x020C: b"\0\7", 0x020E: b"\2", 0x020F: b"\1"}
BODIES = [
    b"", b"\0", b"0123abc\0", b"peer\0\x02\x10\0\1\x34",
    pdu.encode_bind(pdu.Bind(system_id="ghasi", password="hunter2", system_type="x", address_range="93")),
    _receipt(_TEXT), _receipt(b"", message_id=b"0123abc\0", state=b"\2", network=b"\3\0\1"),
    _receipt(_TEXT.decode().encode("utf-16-be"), 4, 8), _receipt(b"", 0x20, payload=_TEXT),
    _message(b"STOP"), _message("\ufeff\u0633\u0644".encode("utf-16-le"), 0, 8),
    _message("سلام".encode("utf-16-be"), 0, 8), _message(b"\x05\0\x03\x07\x02\x01part", 0x40),
    _message(b"\x06\x08\x04\0\x07\x02\x01part", 0x40, 8), _message(b"part", 0, 3, _SAR),
    _message(b"", 0, 0, {pdu.MESSAGE_PAYLOAD: b"payload" * 40}), _message(pack(b"packed septets"), 0, 0xF1),
    pdu.encode_data(pdu.ShortMessage(source=pdu.Address(1, 1, "93701234567"), destination=pdu.Address(3, 0, "1"),
                                     tlvs={pdu.MESSAGE_PAYLOAD: b"by data_sm"})),
]  # fmt: skip
TEXTS = [
    b"Hello", b"\x1b\x65\x1b\x14\x1b\x1b\x1b", "سلام 🎉".encode("utf-16-be"), "سلام 🎉".encode("utf-16-le"),
    "Grüße".encode("latin-1"), pack(b"packed septets"), "テスト".encode("shift-jis"), bytes(range(160)), b"",
]  # fmt: skip
REQUESTS = (1, 2, 4, 5, 6, 9, 0x0B, 0x15, 0x102, 0x103, 0x21, 0x80000000)
COMMANDS = [command | response for command in REQUESTS for response in (0, 0x80000000)]


def make_stream(chance: random.Random, *, mostly: tuple[int, ...] = ()) -> bytes:
    """Return some PDUs, most of them broken; `mostly` are the commands that half of them have."""
    pieces = []
    for _ in range(chance.randint(1, MOST_PIECES)):
        command = chance.choice(mostly) if mostly and chance.random() < 0.5 else chance.choice(COMMANDS)
        body = chance.choice(BODIES)
        if chance.random() < 0.7:
            body = mutate(body, chance)
        status = chance.choice((0, 0, 0, 0x58, 0x0B, 4, chance.choice(INTERESTING)))
        pieces.append(
            struct.pack(">IIII", 16 + len(body), command, status, chance.choice((1, 2, 3, chance.choice(INTERESTING))))
            + body
        )
    stream = b"".join(pieces)
    return mutate(stream, chance) if chance.random() < 0.3 else stream


def mutate(data: bytes, chance: random.Random) -> bytes:
    """Return data with up to MOST_EDITS changes."""
    for _ in range(chance.randint(1, MOST_EDITS)):
        at = chance.randint(0, len(data))
        end = min(len(data), at + chance.choice((1, 2, 4, 16, 100)))
        match chance.randrange(8):
            case 0:
                data = data[:at] + chance.randbytes(end - at) + data[end:]
            case 1:
                data = data[:at] + data[end:]
            case 2:
                data = data[:at] + data[at:end] * chance.choice((2, 3, 50)) + data[end:]
            case 3:
                data = data[:at]
            case 4:
                number = chance.choice(INTERESTING)
                size = chance.choice((1, 2, 4))
                data = data[:at] + (number & (1 << 8 * size) - 1).to_bytes(size) + data[at + size :]
            case 5:
                data = data[:at] + chance.choice(TOKENS) + data[at:]
            case 6:
                token = chance.choice(TOKENS)
                data = data[:at] + token + data[at + len(token) :]
            case _:
                data = data[:at] + chance.choice(BODIES) + data[at:]
    return data
