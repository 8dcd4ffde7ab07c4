"""Delivery receipts: what a deliver_sm says of a message that was submitted earlier.

Reads both forms: the optional parameters (SMPP 3.4, 5.3.2) and the text of Appendix B, in the spellings that SMSCs
have for it; where both are there the optional parameters win. Decides nothing about messages and never keeps a
receipt's text.
"""

import re
from datetime import datetime, timedelta

from msgspec import Struct

from ghasi.carriers.carrier import RECEIPT_ERRORS, ReceiptState
from ghasi.carriers.smpp.configuration import SmppConfiguration, read_number
from ghasi.carriers.smpp.errors import GSM_ERRORS, NETWORK_GSM, NETWORK_SMPP, ErrorTable
from ghasi.carriers.smpp.identifiers import LONGEST_ID, reader_of
from ghasi.carriers.smpp.pdu import MESSAGE_STATE, NETWORK_ERROR_CODE, RECEIPTED_MESSAGE_ID, ShortMessage
from ghasi.carriers.smpp.statuses import failed_submit, status_name

__all__ = [
    "ESM_INTERMEDIATE",
    "ESM_RECEIPT",
    "LONGEST_ID",
    "ReadReceipt",
    "ReceiptReader",
    "is_receipt",
    "read_receipt",
]

ESM_RECEIPT = 0x04
ESM_INTERMEDIATE = 0x20
_ESM_TYPE = 0x3C

_STATES_BY_NUMBER: dict[int, str] = {
    0: "SCHEDULED",
    1: "ENROUTE",
    2: "DELIVRD",
    3: "EXPIRED",
    4: "DELETED",
    5: "UNDELIV",
    6: "ACCEPTD",
    7: "UNKNOWN",
    8: "REJECTD",
    9: "SKIPPED",
}
_SPELLINGS: dict[ReceiptState, str] = {
    "accepted": "ENROUTE ACCEPTD ACCEPTED ACCEPT BUFFERED BUFFRED SCHEDULED SUBMITD SUBMITTED QUEUED RETRY",
    "delivered": "DELIVRD DELIVERED DELIVERD DELIVRED DLVRD DELIVERY",
    "undelivered": "UNDELIV UNDELIVERED UNDELIVERABLE UNDELIVERD UNDELIVRD UNDELIVERA UNDLV FAILED FAIL",
    "expired": "EXPIRED EXPIRD EXPRD",
    "failed": "REJECTD REJECTED REJECT REJCTED BLOCKED SKIPPED",
    "unknown": "UNKNOWN UNKNWN UNKNOWNS",
}
_STATES: dict[str, tuple[ReceiptState, str | None]] = {
    spelling: (state, RECEIPT_ERRORS[state])
    for state, spellings in _SPELLINGS.items()
    for spelling in spellings.split()
} | {"DELETED": ("undelivered", "deleted"), "CANCELED": ("undelivered", "deleted")}
_MAY_BE_EXPLAINED = frozenset({"undelivered", "failed", "expired"})
"""States whose error code may be a more telling one."""

_APPENDIX_B = re.compile(r"id:([^\s\0]+) .*?done date:(\d+) stat:(\w+) err:([^\s\0]*)", re.IGNORECASE | re.DOTALL)
_BY_TEXT = re.compile(r"\s*id:[^\s\0]+ .*?\bstat:(\w+)", re.IGNORECASE | re.DOTALL)
"""What is surely no person's: the fields that every receipt has, in their place and without a space."""
_NAMES = {
    "id": r"(?:msg|message)?[ _]?id",
    "stat": r"(?:message|msg)?[ _]?(?:stat(?:us|e)?)",
    "err": r"(?:network)?[ _]?err(?:or)?(?:[ _]?code)?",
    "date": r"done[ _]?(?:date|time)?",
}
_FIELD = re.compile(
    rf"(?<![A-Za-z])(?:(?P<id>{_NAMES['id']})|(?P<stat>{_NAMES['stat']})|(?P<err>{_NAMES['err']})"
    rf"|(?P<date>{_NAMES['date']}))[ ]?[:=][ ]?(?P<value>(?![A-Za-z_]+(?: date)?[:=])[^\s\0,;]*)",
    re.IGNORECASE,
)
_TEXT_FIELD = re.compile(r"\btext ?[:=]", re.IGNORECASE)
_ALL = frozenset({"id", "stat", "err", "date"})
_UCS2 = 8
_DATE_LENGTHS = (10, 12, 14)
_CENTURY = 14
_OLDEST = timedelta(days=4)
_MINUTE, _SECOND = timedelta(minutes=1), timedelta(seconds=1)
_NOTHING = ("", "", "", "")


class ReadReceipt(Struct, frozen=True):
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


class ReceiptReader:
    """Reads the receipts of one carrier, with the states, errors and form of ids that it was told of."""

    def __init__(self, told: SmppConfiguration) -> None:
        self._read_id = reader_of(told.receipt_id)
        self._by_text = told.receipts_by_text
        self._states = _STATES | {
            spelling.upper(): (state, RECEIPT_ERRORS[state]) for spelling, state in told.receipt_states.items()
        }
        self._numbers = {
            number: state
            for spelling, state in told.receipt_states.items()
            if (number := read_number(spelling)) is not None
        }
        self._errors = ErrorTable(told.receipt_errors)
        self._err_is_gsm = told.receipt_err_is_gsm
        self._dates: dict[str, datetime] = {}

    def is_receipt(self, message: ShortMessage) -> bool:
        """Tell a receipt as the module's is_receipt does, and by its text where that was asked for."""
        return is_receipt(message) or (self._by_text and self._reads_as_receipt(_text_of(message)))

    def _reads_as_receipt(self, text: str) -> bool:
        found = _BY_TEXT.match(text, 0, _quoted(text))
        return found is not None and found[1].upper() in self._states

    def read(self, message: ShortMessage, now: datetime) -> ReadReceipt | None:
        """Read a receipt, or return None when it names no message.

        `at` is the done date read as UTC, when that is within the four days before `now` (SMSCs write local time
        without a zone, and to the minute only), else `now`; it is never later than `now`. An intermediate
        notification, or a state that isn't final, is `accepted`; a state nobody knows is `unknown`.
        """
        identifier, stat, error, date = _fields(_text_of(message))
        stat = stat.upper()
        tlvs = message.tlvs
        number = kind = code = None
        if tlvs:
            if RECEIPTED_MESSAGE_ID in tlvs:
                identifier = tlvs[RECEIPTED_MESSAGE_ID].partition(b"\0")[0].decode("latin-1").strip() or identifier
            if octets := tlvs.get(MESSAGE_STATE):
                number = octets[-1]
                stat = _STATES_BY_NUMBER.get(number) or f"STATE {number}"
            network = tlvs.get(NETWORK_ERROR_CODE, b"")
            if len(network) == 3:  # noqa: PLR2004 - type and two octets of code (5.3.2.31)
                kind, code = network[0], int.from_bytes(network[1:], "big")
                error = str(code)
        if not identifier or len(identifier) > LONGEST_ID:
            return None
        state, error_code = self._state_of(message.esm_class, number, stat)
        if error and state != "delivered":
            error_code = self._explain(state, error_code, error, kind, code)
        said = f"{stat} err {error}" if error else stat
        detail = said if len(said) <= 100 and said.isprintable() else _printable(said)  # noqa: PLR2004
        return ReadReceipt(self._read_id(identifier), state, self._done_at(date, now), error_code, detail or None)

    def _state_of(self, esm_class: int, number: int | None, stat: str) -> tuple[ReceiptState, str | None]:
        if esm_class & _ESM_TYPE == ESM_INTERMEDIATE:
            return _STATES["ENROUTE"]
        if number is not None and (state := self._numbers.get(number)) is not None:
            return state, RECEIPT_ERRORS[state]
        return self._states.get(stat) or _STATES["UNKNOWN"]

    def _explain(
        self, state: ReceiptState, error_code: str | None, written: str, kind: int | None, code: int | None
    ) -> str | None:
        """Return the error code that an error gives a receipt: by the operator's table, else by GSM's.

        `kind` and `code` are network_error_code's; without it `written` is what the text has.
        """
        if state == "accepted":
            return error_code
        if found := self._errors.find(written):
            return found
        if state not in _MAY_BE_EXPLAINED:
            return error_code
        number = read_number(written) if code is None else code
        if number and (kind == NETWORK_GSM or (kind is None and self._err_is_gsm)):
            return GSM_ERRORS.get(number, error_code)
        if number and kind == NETWORK_SMPP and status_name(number).startswith("ESME"):
            return failed_submit(number).error_code or error_code
        return error_code

    def _done_at(self, written: str, now: datetime) -> datetime:
        """Read YYMMDDhhmm, YYMMDDhhmmss or YYYYMMDDhhmmss as the last moment it can mean."""
        at = self._dates.get(written)
        if at is None:
            at = _read_date(written)
            if at is None:
                return now
            if len(self._dates) >= 1024:  # noqa: PLR2004 - receipts of one moment come together
                self._dates.clear()
            self._dates[written] = at
        return at if at < now and now - _OLDEST < at else now


def read_receipt(message: ShortMessage, now: datetime) -> ReadReceipt | None:
    """Read a receipt of a carrier that was told nothing; see ReceiptReader.read."""
    return _PLAIN.read(message, now)


def _text_of(message: ShortMessage) -> str:
    data = message.text
    if not data:
        return ""
    return data.decode("utf-16-be", "replace") if message.data_coding == _UCS2 else data.decode("latin-1")


def _fields(text: str) -> tuple[str, str, str, str]:
    """Return id, stat, err and done date, each empty where it is missing."""
    if not text:
        return _NOTHING
    usual = _APPENDIX_B.match(text)
    if usual is not None and usual.end() <= _quoted(text):
        identifier, date, stat, error = usual.groups()
        return identifier, stat, error, date
    found: dict[str, str] = {}
    for match in _FIELD.finditer(text, 0, _quoted(text)):
        if match.lastgroup is not None:
            name = next(name for name in _ALL if match[name] is not None)
            found.setdefault(name, match["value"])
    return found.get("id", ""), found.get("stat", ""), found.get("err", ""), found.get("date", "")


def _quoted(text: str) -> int:
    """Return where the customer's text begins, which may look like any field."""
    if (usual := text.rfind(" text:")) >= 0 and text.find("text", 0, usual + 1) < 0:
        return usual
    match = _TEXT_FIELD.search(text)
    return match.start() if match else len(text)


def _read_date(written: str) -> datetime | None:
    if len(written) not in _DATE_LENGTHS or not written.isascii() or not written.isdigit():
        return None
    century = "" if len(written) == _CENTURY else "20"
    day = len(written) - (4 if len(written) == 10 else 6)  # noqa: PLR2004 - without seconds
    try:
        begun = datetime.fromisoformat(f"{century}{written[:day]}T{written[day:]}+00:00")
        return begun + (_MINUTE if len(written) == 10 else _SECOND)  # noqa: PLR2004
    except (ValueError, OverflowError):  # no date, or the last second of all
        return None


def _printable(said: str) -> str:
    return "".join(c for c in said[:100] if c.isprintable())


_PLAIN = ReceiptReader(SmppConfiguration(name="any", kind="smpp", host="any", port=1, system_id="any", password=""))
