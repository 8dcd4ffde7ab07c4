"""Addresses: which TON and NPI a number goes out with, and what number one that comes in is.

Owns the kinds of address and the rules of a carrier for them. Holds no state but what it has encoded before.
"""

from typing import Literal

from ghasi.carriers.smpp.configuration import LONGEST_NAME, ByKind, SmppConfiguration
from ghasi.carriers.smpp.pdu import Address, PduError, encode_address

TON_UNKNOWN, TON_INTERNATIONAL, TON_NATIONAL, TON_NETWORK_SPECIFIC, TON_ALPHANUMERIC = 0, 1, 2, 3, 5
NPI_UNKNOWN, NPI_E164 = 0, 1
LONGEST_SHORT_CODE = 8
LONGEST_ADDRESS = 20
_SHORTEST_E164, _LONGEST_E164 = 7, 15
_SURELY_E164 = 11
"""Digits of an unknown type from which on they hold a country code: no national number is that long without a 0."""
_MOST_SENDERS = 1024

Kind = Literal["international", "national", "short", "alphanumeric"]
_DEFAULTS: dict[Kind, tuple[int, int]] = {
    "international": (TON_INTERNATIONAL, NPI_E164),
    "national": (TON_UNKNOWN, NPI_E164),
    "short": (TON_NETWORK_SPECIFIC, NPI_UNKNOWN),
    "alphanumeric": (TON_ALPHANUMERIC, NPI_UNKNOWN),
}
_NO_ADDRESS = b"\0\0\0"


class UnusableAddressError(PduError):
    """The sender or the destination has no form in SMPP; `error_code` says which one it is."""

    def __init__(self, error_code: str, message: str) -> None:
        super().__init__(message)
        self.error_code = error_code


def kind_of(number: str) -> Kind:
    """Return an address's kind.

    E.164 with + is international; up to 8 digits are a short code, more are national; anything else is a name.
    """
    if number.isascii():
        if number[:1] == "+" and number[1:].isdigit():
            return "international"
        if number.isdigit():
            return "short" if len(number) <= LONGEST_SHORT_CODE else "national"
    return "alphanumeric"


class Addresses:
    """One carrier's rules, worked out once."""

    def __init__(self, told: SmppConfiguration) -> None:
        self._source = {kind: _pair(kind, told.source_ton, told.source_npi) for kind in _DEFAULTS}
        self._destination = {kind: _pair(kind, told.dest_ton, told.dest_npi) for kind in _DEFAULTS}
        self._cut = 1 if told.strip_plus else 0
        self._default_sender = told.default_sender
        self._country_code = told.country_code
        self._senders: dict[str | None, bytes] = {}
        self._international = bytes(self._destination["international"])

    def encode_sender(self, sender: str | None) -> bytes:
        """Encode a source address, the default one for None; raises UnusableAddressError."""
        encoded = self._senders.get(sender)
        if encoded is None:
            encoded = self._encode_sender(sender or self._default_sender)
            if len(self._senders) >= _MOST_SENDERS:
                self._senders.clear()
            self._senders[sender] = encoded
        return encoded

    def _encode_sender(self, sender: str | None) -> bytes:
        if not sender:
            return _NO_ADDRESS
        kind = kind_of(sender)
        if kind == "alphanumeric" and (not sender.isascii() or len(sender) > LONGEST_NAME):
            raise UnusableAddressError("invalid_source", f"a name of {LONGEST_NAME} ASCII characters at most is needed")
        try:
            return encode_address(self._address(self._source, kind, sender))
        except PduError as error:
            raise UnusableAddressError("invalid_source", str(error)) from error

    def encode_destination(self, to: str) -> bytes:
        """Encode a destination address, which is a number or a short code; raises UnusableAddressError."""
        cut = self._cut
        if to[:1] == "+" and len(to) - cut <= LONGEST_ADDRESS and to.isascii() and to[1:].isdigit():
            return b"%b%b\0" % (self._international, to[cut:].encode())
        kind = kind_of(to)
        if kind == "alphanumeric":
            raise UnusableAddressError("invalid_destination", "the destination is not a number")
        try:
            return encode_address(self._address(self._destination, kind, to))
        except PduError as error:
            raise UnusableAddressError("invalid_destination", str(error)) from error

    def _address(self, rules: dict[Kind, tuple[int, int]], kind: Kind, number: str) -> Address:
        return Address(*rules[kind], number[self._cut :] if kind == "international" else number)

    def read(self, address: Address) -> str:
        """Return an address that came in, E.164 with + where it surely is such a number, else as it came.

        That is so for 7 to 15 digits of TON 1 (international), for digits behind 00, and for 11 digits or more of an
        unknown type that do not begin with 0. With a country_code it is so too for national numbers: those of TON 2,
        and those of an unknown type that begin with a single 0, which is left out.
        """
        ton, _, value = address
        digits = value.removeprefix("+")
        if ton == TON_ALPHANUMERIC or not digits.isascii() or not digits.isdigit():
            return value
        if ton != TON_NATIONAL and digits[:2] == "00":
            digits, ton = digits[2:], TON_INTERNATIONAL
        if not _SHORTEST_E164 <= len(digits) <= _LONGEST_E164:
            return value
        if ton == TON_INTERNATIONAL or value[:1] == "+":
            return "+" + digits
        if ton not in {TON_UNKNOWN, TON_NATIONAL}:
            return value
        if self._country_code is not None and (ton == TON_NATIONAL or digits[0] == "0"):
            return f"+{self._country_code}{digits.removeprefix('0')}"
        return "+" + digits if ton == TON_UNKNOWN and len(digits) >= _SURELY_E164 and digits[0] != "0" else value


def _pair(kind: Kind, ton: int | ByKind, npi: int | ByKind) -> tuple[int, int]:
    """Return TON and NPI of a kind: what the operator fixed for all, or for this one, or the default."""
    default = _DEFAULTS[kind]
    fixed_ton = getattr(ton, kind) if isinstance(ton, ByKind) else ton
    fixed_npi = getattr(npi, kind) if isinstance(npi, ByKind) else npi
    return (default[0] if fixed_ton is None else fixed_ton, default[1] if fixed_npi is None else fixed_npi)
