"""Why a message was not delivered, in codes that never change their meaning.

Owns the catalogue shown to customers as a message's `error: {code, message}`. It knows neither HTTP (those errors
are the contract's) nor any protocol: each kind of carrier maps its own statuses onto these codes.
"""

MESSAGE_ERRORS: dict[str, str] = {
    # refused at submission
    "invalid_destination": "The carrier does not accept the number as a destination.",
    "invalid_source": "The carrier does not accept the sender for this destination.",
    "invalid_message": "The carrier does not accept the message in this form.",
    "message_rejected": "The carrier or the operator rejected the message.",
    "not_permitted": "The connection to the carrier may not send this message.",
    "throttled": "The carrier took too many messages at once and never found room for this one.",
    "queue_full": "The carrier's queue for this destination is full.",
    "carrier_error": "The carrier failed while it took the message.",
    "submit_failed": "The carrier refused the message.",
    # reported by a receipt
    "undeliverable": "The operator could not deliver the message to the handset.",
    "expired": "The message was not delivered before its validity ended.",
    "deleted": "The message was deleted at the carrier before it was delivered.",
    "delivery_unknown": "The carrier does not know what became of the message.",
    # decided by Ghasi
    "no_answer": "The carrier did not say whether it took the message.",
    "no_receipt": "The carrier sent no receipt in time.",
}
