"""What the error of a receipt means: GSM's errors, and those that a vendor has of its own.

Owns the mapping of MAP's user errors (3GPP TS 29.002, 17.6.6, alike in GSM 09.02) and of the failure causes of
TS 23.040 (9.2.3.22) onto the codes of contract/message_errors.py, and how an operator's table is looked up.
"""

from collections.abc import Mapping

from ghasi.carriers.smpp.configuration import read_number

NETWORK_GSM, NETWORK_SMPP = 3, 7
"""Types of network_error_code (SMPP 3.4, 5.3.2.31; the second of 5.0, 4.8.4.42): MAP's errors, SMPP's statuses."""


def _named(code: str, *numbers: int) -> dict[int, str]:
    return dict.fromkeys(numbers, code)


GSM_ERRORS: dict[int, str] = (
    # MAP: unknown and unidentified subscriber, number changed
    _named("unknown_subscriber", 1, 5, 44)
    # MAP: absent (SM), absent, no subscriber reply
    | _named("absent_subscriber", 6, 27, 46)
    # MAP: illegal subscriber, bearer or teleservice not provisioned, illegal equipment, call barred, CUG reject
    | _named("barred", 8, 9, 10, 11, 12, 13, 15)
    # MAP: unknown equipment, incompatible terminal, SM delivery failure of a phone that says no more
    | _named("undeliverable", 7, 28, 32)
    # MAP: subscriber busy for MT-SMS, message waiting list full, busy subscriber: another time it works
    | _named("absent_subscriber", 31, 45)
    | _named("handset_full", 33)
    # MAP: unknown MSC, facility not supported, no roaming number, system failure, data missing, unexpected value,
    # forwarding violation and failed, resource limitation, unauthorized network
    | _named("network_error", 3, 14, 21, 34, 35, 36, 39, 47, 51, 52)
    # TP-FCS: protocol identifier, coding and class, command, TPDU, validity that the phone or the centre won't have
    | _named("invalid_message", 0x80, 0x81, 0x82, 0x8F, 0x90, 0x91, 0x9F, 0xA0, 0xA1, 0xAF, 0xB0, 0xC6, 0xC7)
    # TP-FCS: SC busy, SC system failure
    | _named("network_error", 0xC0, 0xC2)
    # TP-FCS: no SC subscription, destination SME barred
    | _named("barred", 0xC1, 0xC4)
    | _named("unknown_subscriber", 0xC3)
    # TP-FCS: rejected as a duplicate
    | _named("message_rejected", 0xC5)
    # TP-FCS: SIM storage full, memory capacity exceeded
    | _named("handset_full", 0xD0, 0xD3)
    # TP-FCS: no storage in the SIM, error in MS, SIM toolkit busy, SIM data download error, unspecified
    | _named("undeliverable", 0xD1, 0xD2, 0xD4, 0xD5, 0xFF)
)


class ErrorTable:
    """An operator's own codes, by what a receipt writes: however many zeros, in either case, 0x or not."""

    def __init__(self, told: Mapping[str, str]) -> None:
        self._codes = {_plain(written): code for written, code in told.items()}

    def find(self, written: str) -> str | None:
        """Return the code for what stands in a receipt, or None."""
        return self._codes.get(_plain(written)) if self._codes else None


def _plain(written: str) -> str:
    if written[:2].lower() == "0x" and (number := read_number(written)) is not None:
        return str(number)
    return written.upper().lstrip("0")
