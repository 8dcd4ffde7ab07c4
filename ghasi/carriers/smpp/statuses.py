"""SMPP 3.4's command statuses (section 5.1.3): their names, and what each one of a submit means to a message.

Owns the constants and the mapping onto Ghasi's outcomes and message error codes. Decides nothing about a link.
"""

from collections.abc import Mapping

from ghasi.carriers.carrier import Outcome, SubmitResult
from ghasi.carriers.smpp.configuration import read_number

ESME_ROK = 0x00
ESME_RINVMSGLEN = 0x01
ESME_RINVCMDLEN = 0x02
ESME_RINVCMDID = 0x03
ESME_RINVBNDSTS = 0x04
ESME_RALYBND = 0x05
ESME_RSYSERR = 0x08
ESME_RINVSRCADR = 0x0A
ESME_RINVDSTADR = 0x0B
ESME_RBINDFAIL = 0x0D
ESME_RINVPASWD = 0x0E
ESME_RINVSYSID = 0x0F
ESME_RMSGQFUL = 0x14
ESME_RTHROTTLED = 0x58
ESME_RX_T_APPN = 0x64
ESME_RX_P_APPN = 0x65
ESME_RX_R_APPN = 0x66

STATUS_NAMES: dict[int, str] = {
    0x00: "ESME_ROK",
    0x01: "ESME_RINVMSGLEN",
    0x02: "ESME_RINVCMDLEN",
    0x03: "ESME_RINVCMDID",
    0x04: "ESME_RINVBNDSTS",
    0x05: "ESME_RALYBND",
    0x06: "ESME_RINVPRTFLG",
    0x07: "ESME_RINVREGDLVFLG",
    0x08: "ESME_RSYSERR",
    0x0A: "ESME_RINVSRCADR",
    0x0B: "ESME_RINVDSTADR",
    0x0C: "ESME_RINVMSGID",
    0x0D: "ESME_RBINDFAIL",
    0x0E: "ESME_RINVPASWD",
    0x0F: "ESME_RINVSYSID",
    0x11: "ESME_RCANCELFAIL",
    0x13: "ESME_RREPLACEFAIL",
    0x14: "ESME_RMSGQFUL",
    0x15: "ESME_RINVSERTYP",
    0x33: "ESME_RINVNUMDESTS",
    0x34: "ESME_RINVDLNAME",
    0x40: "ESME_RINVDESTFLAG",
    0x42: "ESME_RINVSUBREP",
    0x43: "ESME_RINVESMCLASS",
    0x44: "ESME_RCNTSUBDL",
    0x45: "ESME_RSUBMITFAIL",
    0x48: "ESME_RINVSRCTON",
    0x49: "ESME_RINVSRCNPI",
    0x50: "ESME_RINVDSTTON",
    0x51: "ESME_RINVDSTNPI",
    0x53: "ESME_RINVSYSTYP",
    0x54: "ESME_RINVREPFLAG",
    0x55: "ESME_RINVNUMMSGS",
    0x58: "ESME_RTHROTTLED",
    0x61: "ESME_RINVSCHED",
    0x62: "ESME_RINVEXPIRY",
    0x63: "ESME_RINVDFTMSGID",
    0x64: "ESME_RX_T_APPN",
    0x65: "ESME_RX_P_APPN",
    0x66: "ESME_RX_R_APPN",
    0x67: "ESME_RQUERYFAIL",
    0xC0: "ESME_RINVOPTPARSTREAM",
    0xC1: "ESME_ROPTPARNOTALLWD",
    0xC2: "ESME_RINVPARLEN",
    0xC3: "ESME_RMISSINGOPTPARAM",
    0xC4: "ESME_RINVOPTPARAMVAL",
    0xFE: "ESME_RDELIVERYFAILURE",
    0xFF: "ESME_RUNKNOWNERR",
    # of SMPP 5.0
    0x100: "ESME_RSERTYPUNAUTH",
    0x101: "ESME_RPROHIBITED",
    0x102: "ESME_RSERTYPUNAVAIL",
    0x103: "ESME_RSERTYPDENIED",
    0x104: "ESME_RINVDCS",
}

_THROTTLED: dict[int, str] = {
    ESME_RTHROTTLED: "throttled",
    ESME_RMSGQFUL: "queue_full",
    ESME_RX_T_APPN: "throttled",  # "temporary application error": some SMSCs answer it to a submit_sm as well
}

_REFUSED: dict[int, str] = {
    ESME_RINVMSGLEN: "invalid_message",
    ESME_RINVCMDLEN: "invalid_message",
    0x06: "invalid_message",
    0x07: "invalid_message",
    ESME_RSYSERR: "carrier_error",
    ESME_RINVSRCADR: "invalid_source",
    ESME_RINVDSTADR: "invalid_destination",
    0x15: "not_permitted",
    0x33: "invalid_destination",
    0x34: "invalid_destination",
    0x40: "invalid_destination",
    0x43: "invalid_message",
    0x48: "invalid_source",
    0x49: "invalid_source",
    0x50: "invalid_destination",
    0x51: "invalid_destination",
    0x53: "not_permitted",
    0x61: "invalid_message",
    0x62: "invalid_message",
    0x63: "invalid_message",
    ESME_RX_P_APPN: "message_rejected",
    ESME_RX_R_APPN: "message_rejected",
    0xC0: "invalid_message",
    0xC1: "invalid_message",
    0xC2: "invalid_message",
    0xC3: "invalid_message",
    0xC4: "invalid_message",
    0xFE: "undeliverable",
    0xFF: "carrier_error",
    0x100: "not_permitted",
    0x101: "not_permitted",
    0x102: "not_permitted",
    0x103: "not_permitted",
    0x104: "invalid_message",
}
RETRIED = frozenset(_THROTTLED.values())
"""Error codes of a status that is no refusal: the message is submitted again, later."""


def status_name(status: int) -> str:
    """Return the name of a status, and its number for those that are the carrier's own."""
    return STATUS_NAMES.get(status) or f"status 0x{status:08X}"


def failed_submit(status: int) -> SubmitResult:
    """Return what a submit_sm_resp or generic_nack with a status other than ESME_ROK means.

    ESME_RTHROTTLED, ESME_RMSGQFUL and ESME_RX_T_APPN are THROTTLED (with the error code to show should it never get
    better); ESME_RINVBNDSTS is UNSENT, since a link that is not bound takes nothing; all others are REFUSED.
    ESME_RSYSERR is among those: SMSCs answer it for good reasons and for passing ones, and a refused message goes to
    another carrier at once where there is one.
    """
    detail = status_name(status)
    if status in _THROTTLED:
        return SubmitResult(Outcome.THROTTLED, None, _THROTTLED[status], detail)
    if status == ESME_RINVBNDSTS:
        return SubmitResult(Outcome.UNSENT, None, None, detail)
    return SubmitResult(Outcome.REFUSED, None, _REFUSED.get(status, "submit_failed"), detail)


class StatusTable:
    """What statuses mean to one carrier: its own table before SMPP's; `throttled` and `queue_full` are THROTTLED."""

    def __init__(self, told: Mapping[str, str]) -> None:
        self._codes = {read_number(status): code for status, code in told.items()}

    def failed(self, status: int) -> SubmitResult:
        """Return what a status other than ESME_ROK means, as failed_submit does."""
        code = self._codes.get(status)
        if code is None:
            return failed_submit(status)
        outcome = Outcome.THROTTLED if code in RETRIED else Outcome.REFUSED
        return SubmitResult(outcome, None, code, status_name(status))
