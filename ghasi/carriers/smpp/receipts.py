"""Delivery receipts: what a deliver_sm says of a message that was submitted earlier.

Reads both forms: the optional parameters (SMPP 3.4, 5.3.2) and the text of Appendix B; where both are there the
optional parameters win. Decides nothing about messages and never keeps a receipt's text.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from ghasi.carriers.carrier import ReceiptState
from ghasi.carriers.smpp.pdu import MESSAGE_STATE, NETWORK_ERROR_CODE, RECEIPTED_MESSAGE_ID, ShortMessage

ESM_RECEIPT = 0x04
ESM_INTERMEDIATE = 0x20
_ESM_TYPE = 0x3C

_STATES_BY_NUMBER: dict[int, str] = {
    1: "ENROUTE",
    2: "DELIVRD",
    3: "EXPIRED",
    4: "DELETED",
    5: "UNDELIV",
    6: "ACCEPTD",
    7: "UNKNOWN",
    8: "REJECTD",
}
_STATES: dict[str, tuple[ReceiptState, str | None]] = {
    "ENROUTE": ("accepted", None),
    "ACCEPTD": ("accepted", None),
    "DELIVRD": ("delivered", None),
    "EXPIRED": ("expired", "expired"),
    "DELETED": ("undelivered", "deleted"),
    "UNDELIV": ("undelivered", "undeliverable"),
    "UNKNOWN": ("unknown", "delivery_unknown"),
    "REJECTD": ("failed", "message_rejected"),
}
_FIELD = re.compile(r"\b(id|stat|err|done date):([^\s\0]*)", re.IGNORECASE)
_TEXT_FIELD = re.compile(r"\btext:", re.IGNORECASE)
_UCS2 = 8
_DATE_LENGTHS = (10, 12)
_OLDEST = timedelta(days=4)
LONGEST_ID = 64  # SMPP 3.4, 5.3.2.12: 65 octets with the NUL


@dataclass(frozen=True, slots=True)
class ReadReceipt:
    """A receipt's content; `error_code` is of the catalogue, `detail` is what the carrier said, fit for a log."""

    carrier_message_id: str
    state: ReceiptState
    at: datetime
    error_code: str | None
    detail: str | None


def is_receipt(message: ShortMessage) -> bool:
    """Tell a receipt from a mobile-originated message.

    By esm_class (5.2.12) or by receipted_message_id; never by the text alone, since a subscriber can write any text.
    """
    return message.esm_class & _ESM_TYPE in (ESM_RECEIPT, ESM_INTERMEDIATE) or RECEIPTED_MESSAGE_ID in message.tlvs


def read_receipt(message: ShortMessage, now: datetime) -> ReadReceipt | None:
    """Read a receipt, or return None when it names no message.

    `at` is the done date read as UTC, when that is within the four days before `now` (SMSCs write local time without
    a zone, and to the minute only), else `now`; it is never later than `now`. An intermediate notification, or a
    state that isn't final, is `accepted`; a state nobody knows is `unknown`.
    """
    fields = _read_text(message)
    tlvs = message.tlvs
    identifier = fields.get("id", "")
    stat = fields.get("stat", "").upper()
    if tlvs:
        if RECEIPTED_MESSAGE_ID in tlvs:
            identifier = tlvs[RECEIPTED_MESSAGE_ID].partition(b"\0")[0].decode("latin-1") or identifier
        number = tlvs.get(MESSAGE_STATE)
        if number:
            stat = _STATES_BY_NUMBER.get(number[0], f"STATE {number[0]}")
    if not identifier or len(identifier) > LONGEST_ID:
        return None
    if message.esm_class & _ESM_TYPE == ESM_INTERMEDIATE:
        state, error_code = _STATES["ENROUTE"]
    else:
        state, error_code = _STATES.get(stat) or _STATES["UNKNOWN"]
    return ReadReceipt(
        identifier, state, _done_at(fields.get("done date", ""), now), error_code, _detail(stat, fields, tlvs)
    )


def _read_text(message: ShortMessage) -> dict[str, str]:
    data = message.text
    if not data:
        return {}
    text = data.decode("utf-16-be", "replace") if message.data_coding == _UCS2 else data.decode("latin-1")
    quoted = _TEXT_FIELD.search(text)  # what follows is the customer's text and may look like any field
    return {name.lower(): value for name, value in _FIELD.findall(text[: quoted.start()] if quoted else text)}


def _done_at(written: str, now: datetime) -> datetime:
    """Read YYMMDDhhmm or YYMMDDhhmmss as the last moment it can mean."""
    if len(written) not in _DATE_LENGTHS or not written.isascii() or not written.isdigit():
        return now
    try:
        begun = datetime.fromisoformat(f"20{written[:6]}T{written[6:]}+00:00")
    except ValueError:
        return now
    at = begun + (timedelta(minutes=1) if len(written) == 10 else timedelta(seconds=1))  # noqa: PLR2004 - no seconds
    return at if now - _OLDEST < at < now else now


def _detail(stat: str, fields: dict[str, str], tlvs: dict[int, bytes]) -> str | None:
    error = fields.get("err", "")
    network = tlvs.get(NETWORK_ERROR_CODE)
    if network and len(network) == 3:  # noqa: PLR2004 - type and two octets of code (5.3.2.31)
        error = str(int.from_bytes(network[1:], "big"))
    detail = f"{stat} err {error}" if error else stat
    return "".join(c for c in detail[:100] if c.isprintable()) or None
