"""The SMPP 3.4 codec: bytes to PDUs and back, and nothing else.

Owns the layouts of the PDUs that Ghasi speaks (section 4 of the SMPP 3.4 specification), their optional parameters
(TLVs) and the cutting of a byte stream into PDUs. It opens no socket, keeps no session and never raises anything but
PduError, whatever the peer sends.
"""

from struct import Struct as Layout
from typing import NamedTuple

from msgspec import Struct

GENERIC_NACK = 0x80000000
BIND_RECEIVER = 0x00000001
BIND_TRANSMITTER = 0x00000002
SUBMIT_SM = 0x00000004
DELIVER_SM = 0x00000005
UNBIND = 0x00000006
BIND_TRANSCEIVER = 0x00000009
OUTBIND = 0x0000000B
ENQUIRE_LINK = 0x00000015
ALERT_NOTIFICATION = 0x00000102
DATA_SM = 0x00000103
RESPONSE = 0x80000000
BIND_RECEIVER_RESP = BIND_RECEIVER | RESPONSE
BIND_TRANSMITTER_RESP = BIND_TRANSMITTER | RESPONSE
BIND_TRANSCEIVER_RESP = BIND_TRANSCEIVER | RESPONSE
SUBMIT_SM_RESP = SUBMIT_SM | RESPONSE
DELIVER_SM_RESP = DELIVER_SM | RESPONSE
UNBIND_RESP = UNBIND | RESPONSE
ENQUIRE_LINK_RESP = ENQUIRE_LINK | RESPONSE
DATA_SM_RESP = DATA_SM | RESPONSE

RECEIPTED_MESSAGE_ID = 0x001E
SAR_MSG_REF_NUM = 0x020C
SAR_TOTAL_SEGMENTS = 0x020E
SAR_SEGMENT_SEQNUM = 0x020F
SC_INTERFACE_VERSION = 0x0210
NETWORK_ERROR_CODE = 0x0423
MESSAGE_PAYLOAD = 0x0424
MESSAGE_STATE = 0x0427

HEADER_BYTES = 16
MOST_PDU_BYTES = 64 * 1024
LAST_SEQUENCE = 0x7FFFFFFF
INTERFACE_VERSION = 0x34

_HEADER = Layout(">IIII")
_TLV = Layout(">HH")
_SHORT_MESSAGE_FLAGS = Layout("5B")


class PduError(Exception):
    """What the peer sent is not SMPP, or what we were about to send would not be."""


class Frame(NamedTuple):
    """One PDU cut from the stream: its header, and its body still to be decoded."""

    command: int
    status: int
    sequence: int
    body: bytes


class FrameReader:
    """Cuts a byte stream into PDUs; holds at most one incomplete PDU, so never more than 64 KiB and one read."""

    __slots__ = ("_needed", "_pending", "fault")

    def __init__(self) -> None:
        self._pending = bytearray()
        self._needed = HEADER_BYTES
        self.fault: PduError | None = None
        """Set once a command_length is out of bounds: the stream can't be followed any further, close it."""

    def feed(self, data: bytes) -> list[Frame]:
        """Return the PDUs that are complete now; those before a fault are returned, then `fault` is set."""
        if self.fault is not None:
            return []
        if self._pending:
            self._pending += data
            if len(self._pending) < self._needed:
                return []
            data = bytes(self._pending)
            self._pending.clear()
        frames: list[Frame] = []
        position, end = 0, len(data)
        self._needed = HEADER_BYTES
        while end - position >= HEADER_BYTES:
            length, command, status, sequence = _HEADER.unpack_from(data, position)
            if not HEADER_BYTES <= length <= MOST_PDU_BYTES:
                self.fault = PduError(f"command_length {length} is not within {HEADER_BYTES} to {MOST_PDU_BYTES}")
                return frames
            following = position + length
            if following > end:
                self._needed = length
                break
            frames.append(Frame(command, status, sequence, data[position + HEADER_BYTES : following]))
            position = following
        if position < end:
            self._pending += data[position:]
        return frames


class Bind(Struct, frozen=True, kw_only=True):
    """The body of bind_transceiver, bind_transmitter and bind_receiver."""

    system_id: str
    password: str = ""
    system_type: str = ""
    interface_version: int = INTERFACE_VERSION
    address_ton: int = 0
    address_npi: int = 0
    address_range: str = ""

    def __repr__(self) -> str:
        return f"Bind(system_id={self.system_id!r})"  # a password never reaches a log


class BindResponse(Struct, frozen=True, kw_only=True):
    """The body of a bind's response."""

    system_id: str = ""
    tlvs: dict[int, bytes] = {}


class Address(NamedTuple):
    """Type of number, numbering plan and the digits or letters."""

    ton: int
    npi: int
    value: str


class ShortMessage(Struct, frozen=True, kw_only=True):
    """The body of submit_sm and deliver_sm, which are laid out alike; of a repeated TLV the last one counts."""

    source: Address
    destination: Address
    short_message: bytes = b""
    service_type: str = ""
    esm_class: int = 0
    protocol_id: int = 0
    priority: int = 0
    schedule_delivery_time: str = ""
    validity_period: str = ""
    registered_delivery: int = 0
    replace_if_present: int = 0
    data_coding: int = 0
    default_message_id: int = 0
    tlvs: dict[int, bytes] = {}

    @property
    def text(self) -> bytes:
        """The user data, from wherever the peer put it."""
        return self.short_message or self.tlvs.get(MESSAGE_PAYLOAD, b"")


def encode(command: int, sequence: int, body: bytes = b"", status: int = 0) -> bytes:
    """Put a header before a body."""
    return _HEADER.pack(HEADER_BYTES + len(body), command, status, sequence) + body


def encode_bind(bind: Bind) -> bytes:
    """Encode a bind's body; raises PduError where a field can't be written.

    The specification's lengths (15 octets of system_id, 8 of password) are not enforced: an SMSC that gave out longer
    ones means them.
    """
    return b"".join(
        (
            _text(bind.system_id, 255),
            _text(bind.password, 255),
            _text(bind.system_type, 12),
            _octets(bind.interface_version, bind.address_ton, bind.address_npi),
            _text(bind.address_range, 40),
        )
    )


def decode_bind(body: bytes) -> Bind:
    """Decode a bind's body; raises PduError."""
    system_id, position = _read_text(body, 0)
    password, position = _read_text(body, position)
    system_type, position = _read_text(body, position)
    if len(body) < position + 3:
        raise PduError("the bind ends within its fixed fields")
    address_range, _ = _read_text(body, position + 3)
    return Bind(
        system_id=system_id,
        password=password,
        system_type=system_type,
        interface_version=body[position],
        address_ton=body[position + 1],
        address_npi=body[position + 2],
        address_range=address_range,
    )


def encode_bind_response(response: BindResponse) -> bytes:
    """Encode a bind response's body; raises PduError."""
    return _text(response.system_id, 255) + encode_tlvs(response.tlvs)


def decode_bind_response(body: bytes, *, lenient: bool = False) -> BindResponse:
    """Decode a bind response's body, which may be empty when the bind was refused; raises PduError.

    `lenient` as of decode_short_message.
    """
    if not body:
        return BindResponse()
    system_id, position = _read_text(body, 0)
    return BindResponse(system_id=system_id, tlvs=_read_tlvs(body, position, lenient=lenient))


def encode_address(address: Address) -> bytes:
    """Encode TON, NPI and value; raises PduError when it is longer than 20 octets or not ASCII."""
    return _octets(address.ton, address.npi) + _text(address.value, 20)


def encode_short_message(message: ShortMessage) -> bytes:
    """Encode the body of submit_sm or deliver_sm; raises PduError."""
    return join_short_message(message, encode_address(message.source), encode_address(message.destination))


def join_short_message(message: ShortMessage, source: bytes, destination: bytes) -> bytes:
    """Encode like encode_short_message, with addresses that are encoded already; raises PduError."""
    user_data = message.short_message
    if len(user_data) > 255:  # noqa: PLR2004 - sm_length is one octet
        raise PduError(f"short_message has {len(user_data)} octets, and 255 at most can be sent")
    try:
        return b"".join(
            (
                _text(message.service_type, 5) if message.service_type else b"\0",
                source,
                destination,
                bytes((message.esm_class, message.protocol_id, message.priority)),
                _text(message.schedule_delivery_time, 16) if message.schedule_delivery_time else b"\0",
                _text(message.validity_period, 16) if message.validity_period else b"\0",
                bytes(
                    (
                        message.registered_delivery,
                        message.replace_if_present,
                        message.data_coding,
                        message.default_message_id,
                        len(user_data),
                    )
                ),
                user_data,
                encode_tlvs(message.tlvs) if message.tlvs else b"",
            )
        )
    except ValueError as error:
        raise PduError("a one-octet field is out of bounds") from error


def decode_short_message(body: bytes, *, lenient: bool = False) -> ShortMessage:
    """Decode the body of submit_sm or deliver_sm; raises PduError.

    If `lenient`, optional parameters end where they can't be read any further: the message itself was whole.
    """
    try:
        service_type, position = _read_text(body, 0)
        source, position = _read_address(body, position)
        destination, position = _read_address(body, position)
        esm_class, protocol_id, priority = body[position], body[position + 1], body[position + 2]
        schedule, position = _read_text(body, position + 3)
        validity, position = _read_text(body, position)
        registered, replace, coding, default, length = body[position : position + 5]
    except (IndexError, ValueError) as error:
        raise PduError("the message ends within its fixed fields") from error
    position += 5
    end = position + length
    if end > len(body):
        raise PduError(f"sm_length is {length}, but {len(body) - position} octets follow")
    return ShortMessage(
        source=source,
        destination=destination,
        short_message=body[position:end],
        service_type=service_type,
        esm_class=esm_class,
        protocol_id=protocol_id,
        priority=priority,
        schedule_delivery_time=schedule,
        validity_period=validity,
        registered_delivery=registered,
        replace_if_present=replace,
        data_coding=coding,
        default_message_id=default,
        tlvs=_read_tlvs(body, end, lenient=lenient) if end < len(body) else {},
    )


def encode_data(message: ShortMessage) -> bytes:
    """Encode the body of data_sm, which has fewer fields and its user data in message_payload; raises PduError."""
    return b"".join(
        (
            _text(message.service_type, 5),
            _octets(message.source.ton, message.source.npi),
            _text(message.source.value, 64),
            _octets(message.destination.ton, message.destination.npi),
            _text(message.destination.value, 64),
            _octets(message.esm_class, message.registered_delivery, message.data_coding),
            encode_tlvs(message.tlvs),
        )
    )


def decode_data(body: bytes, *, lenient: bool = False) -> ShortMessage:
    """Decode the body of data_sm (4.7.1); raises PduError; `lenient` as of decode_short_message."""
    try:
        service_type, position = _read_text(body, 0)
        source, position = _read_address(body, position)
        destination, position = _read_address(body, position)
        esm_class, registered, coding = body[position : position + 3]
    except (IndexError, ValueError) as error:
        raise PduError("the message ends within its fixed fields") from error
    return ShortMessage(
        source=source,
        destination=destination,
        service_type=service_type,
        esm_class=esm_class,
        registered_delivery=registered,
        data_coding=coding,
        tlvs=_read_tlvs(body, position + 3, lenient=lenient),
    )


def encode_message_id(message_id: str) -> bytes:
    """Encode the body of submit_sm_resp or deliver_sm_resp; raises PduError."""
    return _text(message_id, 64)


def decode_message_id(body: bytes) -> str:
    """Decode the body of submit_sm_resp or deliver_sm_resp, empty where the status is an error; raises PduError."""
    return _read_text(body, 0)[0] if body else ""


def encode_tlvs(tlvs: dict[int, bytes]) -> bytes:
    """Encode optional parameters; raises PduError."""
    pieces: list[bytes] = []
    for tag, value in tlvs.items():
        if not 0 <= tag <= 0xFFFF or len(value) > 0xFFFF:  # noqa: PLR2004 - two octets each
            raise PduError(f"optional parameter {tag} can't be encoded")
        pieces.append(_TLV.pack(tag, len(value)))
        pieces.append(value)
    return b"".join(pieces)


def _read_tlvs(body: bytes, position: int, *, lenient: bool = False) -> dict[int, bytes]:
    tlvs: dict[int, bytes] = {}
    end = len(body)
    while position < end:
        if end - position < _TLV.size:
            if lenient:
                break
            raise PduError("the body ends within an optional parameter's header")
        tag, length = _TLV.unpack_from(body, position)
        position += _TLV.size
        if length > end - position:
            if lenient:
                break
            raise PduError(f"optional parameter {tag} claims {length} octets, and {end - position} are left")
        tlvs[tag] = body[position : position + length]
        position += length
    return tlvs


def _text(value: str, longest: int) -> bytes:
    """Encode a C-octet string with its NUL; a NUL within would end it early, so it is an error."""
    try:
        encoded = value.encode("latin-1")
    except UnicodeEncodeError as error:
        raise PduError("a text field has a character beyond ISO 8859-1") from error
    if len(encoded) > longest or b"\0" in encoded:
        raise PduError(f"a text field has a NUL, or {len(encoded)} octets where {longest} are allowed")
    return encoded + b"\0"


def _read_text(body: bytes, position: int) -> tuple[str, int]:
    end = body.find(0, position)
    if end < 0:
        raise PduError("a text field has no end")
    return ("" if end == position else body[position:end].decode("latin-1")), end + 1


def _read_address(body: bytes, position: int) -> tuple[Address, int]:
    value, following = _read_text(body, position + 2)
    return Address(body[position], body[position + 1], value), following


def _octets(*values: int) -> bytes:
    try:
        return bytes(values)
    except ValueError as error:
        raise PduError("a one-octet field is out of bounds") from error
