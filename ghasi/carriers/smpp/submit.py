"""A segment as the body of a submit_sm.

Owns the choice of TON and NPI, data coding, the concatenation header and the validity period. Holds no state.
"""

from functools import lru_cache

from ghasi.carriers.carrier import Segment
from ghasi.carriers.smpp.pdu import Address, PduError, encode_address

TON_UNKNOWN, TON_INTERNATIONAL, TON_NETWORK_SPECIFIC, TON_ALPHANUMERIC = 0, 1, 3, 5
NPI_UNKNOWN, NPI_E164 = 0, 1
LONGEST_SHORT_CODE = 8
LONGEST_NAME = 11
UDHI = 0x40
DATA_CODINGS = {"gsm7": 0, "ucs2": 8}
MOST_VALIDITY_S = 31 * 86_400 - 1  # a relative time's days are two digits, 31 at most

_NO_ADDRESS = b"\0\0\0"
_AFTER_VALIDITY = {coding: bytes((1, 0, number, 0)) for coding, number in DATA_CODINGS.items()}
_CONCATENATED = bytes((UDHI, 0, 0))
_PLAIN = bytes((0, 0, 0))


class UnusableAddressError(PduError):
    """The sender or the destination has no form in SMPP; `error_code` says which one it is."""

    def __init__(self, error_code: str, message: str) -> None:
        super().__init__(message)
        self.error_code = error_code


def address_of(number: str) -> Address:
    """Return TON and NPI for a number, a short code or a name.

    E.164 with + is international (1, 1) without its +; up to 8 digits are a short code, network specific (3, 0);
    more digits are of an unknown type (0, 1); anything else is a name, alphanumeric (5, 0).
    """
    if number.isascii():
        if number[:1] == "+" and number[1:].isdigit():
            return Address(TON_INTERNATIONAL, NPI_E164, number[1:])
        if number.isdigit():
            short = len(number) <= LONGEST_SHORT_CODE
            return (
                Address(TON_NETWORK_SPECIFIC, NPI_UNKNOWN, number) if short else Address(TON_UNKNOWN, NPI_E164, number)
            )
    return Address(TON_ALPHANUMERIC, NPI_UNKNOWN, number)


@lru_cache(maxsize=1024)
def encode_sender(sender: str | None) -> bytes:
    """Encode a source address; None leaves it to the SMSC; raises UnusableAddressError."""
    if not sender:
        return _NO_ADDRESS
    address = address_of(sender)
    if address.ton == TON_ALPHANUMERIC and (not sender.isascii() or len(sender) > LONGEST_NAME):
        raise UnusableAddressError("invalid_source", f"a name of {LONGEST_NAME} ASCII characters at most is needed")
    try:
        return encode_address(address)
    except PduError as error:
        raise UnusableAddressError("invalid_source", str(error)) from error


def encode_destination(to: str) -> bytes:
    """Encode a destination address, which is a number or a short code; raises UnusableAddressError."""
    if to[:1] == "+" and len(to) <= 21 and to.isascii() and to[1:].isdigit():  # noqa: PLR2004 - 20 digits fit
        return b"\1\1%b\0" % to[1:].encode()
    address = address_of(to)
    if address.ton == TON_ALPHANUMERIC:
        raise UnusableAddressError("invalid_destination", "the destination is not a number")
    try:
        return encode_address(address)
    except PduError as error:
        raise UnusableAddressError("invalid_destination", str(error)) from error


def relative_time(validity_s: int) -> str:
    """Write a duration as a relative time (SMPP 3.4, 7.1.1), from 1 second to just under 31 days."""
    minutes, seconds = divmod(min(max(validity_s, 1), MOST_VALIDITY_S), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"0000{days:02d}{hours:02d}{minutes:02d}{seconds:02d}000R"


def encode_submit(segment: Segment, default_sender: str | None) -> bytes:
    """Encode a segment as the body of a submit_sm with registered_delivery 1.

    A part of a long message gets the header 05 00 03 reference parts part (3GPP TS 23.040, 9.2.3.24.1) and the UDHI.
    Raises UnusableAddressError for an address, PduError for anything else that SMPP has no form for.
    """
    concatenated = segment.parts > 1
    user_data = segment.payload
    try:
        if concatenated:
            user_data = bytes((5, 0, 3, segment.udh_reference, segment.parts, segment.part)) + user_data
        return b"".join(
            (
                b"\0",
                encode_sender(segment.sender or default_sender),
                encode_destination(segment.to),
                _CONCATENATED if concatenated else _PLAIN,
                b"\0",
                relative_time(segment.validity_s).encode() if segment.validity_s is not None else b"",
                b"\0",
                _AFTER_VALIDITY[segment.encoding],
                bytes((len(user_data),)),
                user_data,
            )
        )
    except ValueError as error:
        raise PduError("the payload, the reference or the number of parts is out of bounds") from error
