"""What a deliver_sm or data_sm brings: a receipt, or a phone's message, or nothing that can be read.

Owns the reading of user data that phones wrote: its header (3GPP TS 23.040, 9.2.3.24), the sar_ parameters, and its
alphabet. Keeps nothing and joins no parts.
"""

import secrets
from datetime import datetime
from typing import NamedTuple

from ghasi.carriers.alphabet import Alphabet, alphabet_of, read_user_data, unpack
from ghasi.carriers.carrier import Encoding, InboundPart, Receipt
from ghasi.carriers.smpp.addresses import Addresses
from ghasi.carriers.smpp.configuration import SmppConfiguration
from ghasi.carriers.smpp.pdu import (
    SAR_MSG_REF_NUM,
    SAR_SEGMENT_SEQNUM,
    SAR_TOTAL_SEGMENTS,
    ShortMessage,
)
from ghasi.carriers.smpp.receipts import ReceiptReader
from ghasi.carriers.smpp.submit import UDHI

LONGEST_ADDRESS = 64  # data_sm's (4.7.1); deliver_sm's is 20
_REFERENCE_8, _REFERENCE_16 = 0x00, 0x08
_REFERENCE_8_OCTETS, _REFERENCE_16_OCTETS = 3, 4


class UnreadableError(Exception):
    """It can never be taken, however often it is sent; the message says why, without any text of it."""


class Place(NamedTuple):
    """Where a part stands in its message."""

    reference: int = 0
    part: int = 1
    parts: int = 1


ALONE = Place()


def new_session() -> str:
    """Name a session as no process has named one before."""
    return secrets.token_hex(8)


class DeliveryReader:
    """Reads what one carrier brings."""

    def __init__(self, told: SmppConfiguration, addresses: Addresses) -> None:
        self._name = told.name
        self._session = new_session()
        self._addresses = addresses
        self._receipts = ReceiptReader(told)
        self._packed = told.gsm7 == "packed"
        self._alphabets = [alphabet_of(coding) for coding in range(256)]
        if told.inbound_alphabet == "latin1":
            self._alphabets[0] = "latin1"
        if told.gsm7 == "latin1":
            self._alphabets[told.latin1_data_coding] = "latin1"
        elif told.gsm7_data_coding:
            self._alphabets[told.gsm7_data_coding] = "gsm7"
        self._alphabets[told.ucs2_data_coding] = "ucs2"

    def begin_session(self) -> None:
        """Note that a link was lost: our answers may have been, too, and the SMSC may send again what it sent."""
        self._session = new_session()

    def read(self, message: ShortMessage, now: datetime, handle: object) -> Receipt | InboundPart:
        """Return a message as what it is; raises UnreadableError."""
        if self._receipts.is_receipt(message):
            read = self._receipts.read(message, now)
            if read is None:
                raise UnreadableError("the receipt names no message")
            return Receipt(
                self._name, read.carrier_message_id, read.state, read.at, read.error_code, read.detail, handle
            )
        return self._read_part(message, now, handle)

    def _read_part(self, message: ShortMessage, now: datetime, handle: object) -> InboundPart:
        if max(len(message.source.value), len(message.destination.value)) > LONGEST_ADDRESS:
            raise UnreadableError("an address is too long")
        data, header_octets, place = message.text, 0, ALONE
        if message.esm_class & UDHI:
            header_octets, place = read_header(data)
        if place.parts == 1 and SAR_TOTAL_SEGMENTS in message.tlvs:
            place = _read_sar(message.tlvs)
        encoding, payload = self._decode(self._alphabets[message.data_coding], data[header_octets:], header_octets)
        return InboundPart(
            self._name,
            self._addresses.read(message.source),
            self._addresses.read(message.destination),
            encoding,
            payload,
            place.reference,
            place.part,
            place.parts,
            now,
            handle,
            self._session,
        )

    def _decode(self, alphabet: Alphabet, data: bytes, header_octets: int) -> tuple[Encoding, bytes]:
        if alphabet == "compressed":
            raise UnreadableError("its text is compressed")
        if alphabet == "gsm7" and self._packed:
            return "gsm7", unpack(data, header_octets)
        return read_user_data(alphabet, data)


def read_header(data: bytes) -> tuple[int, Place]:
    """Return the length of a user data header, its first octet included, and what it says of parts.

    Elements of other kinds are passed over, and so is one whose numbers can't be (9.2.3.24.1). Raises UnreadableError
    for a header that is longer than the data.
    """
    end = data[0] + 1 if data else 1
    if end > len(data):
        raise UnreadableError("its user data header has no end")
    place, position = ALONE, 1
    while position + 2 <= end:
        kind, length = data[position], data[position + 1]
        position += 2
        if position + length > end:
            break
        element = data[position : position + length]
        position += length
        if kind == _REFERENCE_8 and length == _REFERENCE_8_OCTETS:
            place = _place(element[0], element[2], element[1])
        elif kind == _REFERENCE_16 and length == _REFERENCE_16_OCTETS:
            place = _place(int.from_bytes(element[:2], "big"), element[3], element[2])
    return end, place


def _read_sar(tlvs: dict[int, bytes]) -> Place:
    reference, total, number = (
        int.from_bytes(tlvs.get(tag, b"")[:2], "big")
        for tag in (SAR_MSG_REF_NUM, SAR_TOTAL_SEGMENTS, SAR_SEGMENT_SEQNUM)
    )
    return _place(reference, number, total)


def _place(reference: int, part: int, parts: int) -> Place:
    return Place(reference, part, parts) if 1 <= part <= parts <= 255 and parts > 1 else ALONE  # noqa: PLR2004
