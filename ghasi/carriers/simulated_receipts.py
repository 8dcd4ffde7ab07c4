"""The deliver_sm that tells of a submit, in the styles that SMSCs have.

Owns a receipt's bytes: its text (SMPP 3.4, Appendix B), its optional parameters (5.3.2), and how it names the message.
Decides nothing about which receipt is sent when.
"""

from datetime import UTC, datetime
from functools import lru_cache

from ghasi.carriers.simulated_behaviour import ENROUTE, ReceiptIds, ReceiptStyle
from ghasi.carriers.smpp import pdu
from ghasi.carriers.smpp.receipts import ESM_INTERMEDIATE, ESM_RECEIPT

# dlvrd and err of a text; 001 is GSM's "unknown subscriber"
_STATES = {
    1: ("ENROUTE", "000", "000"),
    2: ("DELIVRD", "001", "000"),
    3: ("EXPIRED", "000", "000"),
    4: ("DELETED", "000", "000"),
    5: ("UNDELIV", "000", "001"),
    7: ("UNKNOWN", "000", "000"),
    8: ("REJECTD", "000", "000"),
}
_NETWORK_GSM = b"\x03"


def write_id(number: int, form: ReceiptIds) -> str:
    """Return how a submit's answer names a message whose receipts have their ids in a form."""
    return f"{number:020d}" if form == "hex" else f"{number:x}"


def write_receipted_id(message_id: str, form: ReceiptIds) -> str:
    """Return how a receipt names the message that its submit's answer gave this id."""
    match form:
        case "hex":
            return f"{int(message_id):X}"
        case "decimal":
            return str(int(message_id, 16))
        case _:
            return message_id


def encode_receipt(
    message: pdu.ShortMessage,
    message_id: str,
    state: int,
    submitted: float,
    delay_s: float,
    *,
    style: ReceiptStyle = "both",
) -> bytes:
    """Encode the body of a receipt; `message_id` as it shall be in it, `state` a message_state (5.2.28)."""
    name, delivered, error = _STATES[state]
    text = b""
    if style != "tlv":
        text = (
            f"id:{message_id} sub:001 dlvrd:{delivered} submit date:{_stamp(int(submitted))} "
            f"done date:{_stamp(int(submitted + delay_s))} stat:{name} err:{error} text:"
        ).encode()
    tlvs: dict[int, bytes] = {}
    if style != "text":
        tlvs = {pdu.RECEIPTED_MESSAGE_ID: message_id.encode() + b"\0", pdu.MESSAGE_STATE: bytes((state,))}
    if style == "tlv" and error != "000":  # else the text has it
        tlvs[pdu.NETWORK_ERROR_CODE] = _NETWORK_GSM + int(error).to_bytes(2)
    return pdu.encode_short_message(
        pdu.ShortMessage(
            source=message.destination,
            destination=message.source,
            short_message=text,
            esm_class=ESM_INTERMEDIATE if state == ENROUTE else ESM_RECEIPT,
            tlvs=tlvs,
        )
    )


@lru_cache(maxsize=128)
def _stamp(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%y%m%d%H%M%S")
