"""A segment as the body of a submit_sm.

Owns data coding, the concatenation header or parameters, and the validity period. All that is the same for every
message of a carrier is put together once.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zlib import crc32

from ghasi.carriers.alphabet import pack
from ghasi.carriers.carrier import Segment, Split
from ghasi.carriers.segmentation import (
    BEHIND_8_BITS,
    BEHIND_16_BITS,
    GSM7_SINGLE,
    UCS2_SINGLE,
    segment,
    segment_latin1,
    whole,
)
from ghasi.carriers.smpp.addresses import Addresses
from ghasi.carriers.smpp.configuration import SmppConfiguration
from ghasi.carriers.smpp.pdu import MESSAGE_PAYLOAD, SAR_MSG_REF_NUM, SAR_SEGMENT_SEQNUM, SAR_TOTAL_SEGMENTS, PduError

UDHI = 0x40
MOST_VALIDITY_S = 31 * 86_400 - 1  # a relative time's days are two digits, 31 at most
MOST_PAYLOAD = 0xFFFF
UDH8_OCTETS, UDH16_OCTETS = 6, 7
_SAR_REFERENCE = SAR_MSG_REF_NUM.to_bytes(2, "big") + b"\0\2"
_SAR_TOTAL = SAR_TOTAL_SEGMENTS.to_bytes(2, "big") + b"\0\1"
_SAR_NUMBER = SAR_SEGMENT_SEQNUM.to_bytes(2, "big") + b"\0\1"
_PAYLOAD = MESSAGE_PAYLOAD.to_bytes(2, "big")


def relative_time(validity_s: int) -> str:
    """Write a duration as a relative time (SMPP 3.4, 7.1.1), from 1 second to just under 31 days."""
    minutes, seconds = divmod(min(max(validity_s, 1), MOST_VALIDITY_S), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"0000{days:02d}{hours:02d}{minutes:02d}{seconds:02d}000R"


def absolute_time(validity_s: int) -> str:
    """Write the end of a duration that begins now as an absolute time in UTC (SMPP 3.4, 7.1.1)."""
    return _absolute(int(time.time()) + min(max(validity_s, 1), MOST_VALIDITY_S))


@lru_cache(maxsize=256)
def _absolute(second: int) -> str:
    return (datetime.fromtimestamp(0, UTC) + timedelta(seconds=second)).strftime("%y%m%d%H%M%S000+")


class Submitter:
    """Splits texts and encodes segments as one carrier wants them."""

    def __init__(self, told: SmppConfiguration) -> None:
        self.addresses = Addresses(told)
        self._long = told.long_messages
        self._packed = told.gsm7 == "packed"
        self._latin1 = told.gsm7 == "latin1"
        self._service_type = told.service_type.encode() + b"\0"
        self._plain = bytes((0, told.protocol_id, told.priority)) + b"\0"
        self._with_header = bytes((UDHI, told.protocol_id, told.priority)) + b"\0"
        codings = (
            ("gsm7", told.gsm7_data_coding),
            ("latin1", told.latin1_data_coding),
            ("ucs2", told.ucs2_data_coding),
        )
        self._after_validity: dict[str, bytes] = {
            encoding: b"\0" + bytes((told.registered_delivery, 0, coding, 0)) for encoding, coding in codings
        }
        self._default_validity_s = told.default_validity_s
        self._time: Callable[[int], str] | None = {
            "relative": relative_time,
            "absolute": absolute_time,
            "off": None,
        }[told.validity]

    def split(self, text: str) -> Split:
        """Return a text as this carrier's submits; raises ValueError for lone surrogates and for 256 segments."""
        if self._long == "payload":
            return whole(text, latin1=self._latin1)
        header = UDH16_OCTETS if self._long == "udh16" else UDH8_OCTETS
        sizes = BEHIND_16_BITS if self._long == "udh16" else BEHIND_8_BITS
        if self._latin1:
            return segment_latin1(text, sizes)
        if not self._packed:
            return segment(text, sizes)
        return segment(text, sizes, header_octets=0 if self._long == "sar" else header)

    def encode(self, one: Segment) -> bytes:
        """Encode a segment as the body of a submit_sm.

        A part of a long message has the header 05 00 03 reference parts part, or 06 08 04 and a reference of 16 bits
        (3GPP TS 23.040, 9.2.3.24), and the UDHI; or the sar_ parameters. A whole long text is in message_payload.
        Raises UnusableAddressError for an address, PduError for anything else that SMPP has no form for.
        """
        header = tail = b""
        encoding, data = one.encoding, one.payload
        try:
            if one.parts > 1:
                if self._long == "sar":
                    tail = _sar(one)
                elif self._long == "udh16":
                    header = bytes((6, 8, 4, _high_octet(one.message_id), one.udh_reference, one.parts, one.part))
                else:
                    header = bytes((5, 0, 3, one.udh_reference, one.parts, one.part))
            long = self._long == "payload" and len(data) > (GSM7_SINGLE if encoding == "gsm7" else UCS2_SINGLE)
            if self._packed and encoding == "gsm7":
                data = pack(data, len(header))
            if header:
                data = header + data
            if long and one.parts == 1:
                if len(data) > MOST_PAYLOAD:
                    raise PduError("the text is longer than message_payload can be")
                tail, data = b"".join((_PAYLOAD, len(data).to_bytes(2, "big"), data)), b""
            validity_s = one.validity_s if one.validity_s is not None else self._default_validity_s
            addresses = self.addresses
            return b"".join(
                (
                    self._service_type,
                    addresses.encode_sender(one.sender),
                    addresses.encode_destination(one.to),
                    self._with_header if header else self._plain,
                    b"" if validity_s is None or self._time is None else self._time(validity_s).encode(),
                    self._after_validity[encoding],
                    bytes((len(data),)),
                    data,
                    tail,
                )
            )
        except ValueError as error:
            raise PduError("the payload, the reference or the number of parts is out of bounds") from error
        except KeyError as error:
            raise PduError(f"SMPP has no {encoding}") from error


def _sar(one: Segment) -> bytes:
    """Write the parameters of 5.3.2.22 to 5.3.2.24."""
    reference = bytes((_high_octet(one.message_id), one.udh_reference))
    return b"".join((_SAR_REFERENCE, reference, _SAR_TOTAL, bytes((one.parts,)), _SAR_NUMBER, bytes((one.part,))))


def _high_octet(message_id: str) -> int:
    """Return the upper half of a 16-bit reference, the same for all parts of a message and every time they are sent."""
    return crc32(message_id.encode()) & 0xFF if message_id else 0
