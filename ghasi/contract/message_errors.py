"""Why a message was not delivered, in codes that never change their meaning, and what each final status says.

Owns the catalogue behind a message's `error: {code, message}`: the API shows the message, the portal and the docs the
cause and the remedy too. It knows neither HTTP (those errors are in `errors`) nor any protocol: each kind of carrier
maps its own statuses onto these codes.
"""

from dataclasses import dataclass

from ghasi.contract.shapes import MessageStatus


@dataclass(frozen=True, slots=True)
class MessageFault:
    """One reason: what the API says, what usually lies behind it, and what the sender can do.

    `retry_helps` says whether the same message, sent again as it is, may well arrive.
    """

    message: str
    cause: str
    remedy: str
    retry_helps: bool


MESSAGE_ERRORS: dict[str, MessageFault] = {
    # refused at submission
    "invalid_destination": MessageFault(
        "The carrier does not accept the number as a destination.",
        "The number is well formed, but it is not in use, or the carrier has no route to its network.",
        "Check the number with the person; a landline or a number taken out of service gets no messages.",
        retry_helps=False,
    ),
    "invalid_source": MessageFault(
        "The carrier does not accept the sender for this destination.",
        "Many countries take only senders that were registered with them, or no names at all.",
        "Send without `from`, so that the carrier's own sender is used, or ask the operator which ones are registered.",
        retry_helps=False,
    ),
    "invalid_message": MessageFault(
        "The carrier does not accept the message in this form.",
        "Its length, its characters or its validity are more than the carrier or the network allows.",
        "Shorten the text, leave out unusual characters, or send without `validity_s`.",
        retry_helps=False,
    ),
    "message_rejected": MessageFault(
        "The carrier or the operator rejected the message.",
        "Filters took it for unwanted: by its text, its links, its sender, or because the person asked for no more.",
        "Change the text, above all shortened links, and write only to people who asked for it.",
        retry_helps=False,
    ),
    "not_permitted": MessageFault(
        "The connection to the carrier may not send this message.",
        "The carrier's contract does not cover this destination or this kind of message.",
        "Ask the operator to have the destination allowed.",
        retry_helps=False,
    ),
    "throttled": MessageFault(
        "The carrier took too many messages at once and never found room for this one.",
        "More was sent than the carrier takes a second, for as long as the message was valid.",
        "Send it again later, spread large sendings over time, or give messages a longer `validity_s`.",
        retry_helps=True,
    ),
    "queue_full": MessageFault(
        "The carrier's queue for this destination is full.",
        "Too many messages wait for this number or its network already.",
        "Send it again later.",
        retry_helps=True,
    ),
    "carrier_error": MessageFault(
        "The carrier failed while it took the message.",
        "A fault inside the carrier; it has nothing to do with the message.",
        "Send it again; tell the operator if that goes on.",
        retry_helps=True,
    ),
    "submit_failed": MessageFault(
        "The carrier refused the message.",
        "The carrier gave no reason, or one that says nothing to others.",
        "Send it again once; if it is refused again, ask the operator.",
        retry_helps=True,
    ),
    # reported by a receipt
    "undeliverable": MessageFault(
        "The operator could not deliver the message to the handset.",
        "The number is not in use any more, the phone takes no messages, or its memory is full.",
        "Check the number with the person; try again later if it is known to work.",
        retry_helps=True,
    ),
    "expired": MessageFault(
        "The message was not delivered before its validity ended.",
        "The phone was off or out of reach, or the carrier could not take the message in time.",
        "Send it again, with a longer `validity_s` if there is time.",
        retry_helps=True,
    ),
    "deleted": MessageFault(
        "The message was deleted at the carrier before it was delivered.",
        "Somebody at the carrier, or one of its rules, removed it from the queue.",
        "Send it again; ask the operator if that happens more than once.",
        retry_helps=True,
    ),
    "delivery_unknown": MessageFault(
        "The carrier does not know what became of the message.",
        "The network behind the carrier never told it how the delivery ended.",
        "It may have arrived: ask before sending again, or the person may get it twice.",
        retry_helps=False,
    ),
    "unknown_subscriber": MessageFault(
        "The operator does not know the number.",
        "The number was never given out, was given back, or was moved to another operator.",
        "Check the number with the person, and take it off your list if it is wrong.",
        retry_helps=False,
    ),
    "absent_subscriber": MessageFault(
        "The phone was off or out of reach.",
        "The operator tried and did not find the phone in its network.",
        "Send it again later, with a longer `validity_s` if there is time.",
        retry_helps=True,
    ),
    "handset_full": MessageFault(
        "The phone had no room for another message.",
        "Its memory or its SIM card is full.",
        "Send it again later; the person has to delete messages first.",
        retry_helps=True,
    ),
    "barred": MessageFault(
        "The operator lets this number have no such messages.",
        "The line is barred, has no service for messages, or is on an operator's list of who wants none.",
        "Reach the person in another way.",
        retry_helps=False,
    ),
    "spam_filtered": MessageFault(
        "The operator's filter took the message for spam.",
        "Its text, its link or its sender look like unwanted messages, or too many alike were sent.",
        "Change the text, above all shortened links, and use a sender that is registered.",
        retry_helps=False,
    ),
    "network_error": MessageFault(
        "A network on the way to the phone failed.",
        "A fault or congestion between the carrier and the operator.",
        "Send it again later.",
        retry_helps=True,
    ),
    "no_credit": MessageFault(
        "The carrier's account has no credit left.",
        "The company that runs this service has to top up its account with the carrier.",
        "Tell the operator; send it again once that is done.",
        retry_helps=True,
    ),
    # decided by Ghasi
    "no_route": MessageFault(
        "No carrier is set up for this message.",
        "No rule of the operator's routing leads this number, sender or account to a carrier.",
        "Ask the operator to have the destination set up.",
        retry_helps=False,
    ),
    "opted_out": MessageFault(
        "The recipient asked for no more messages before this one was due.",
        "They answered with STOP, or were put on the opt-out list, after the message had been scheduled.",
        "Write again once they have sent START or opted in.",
        retry_helps=False,
    ),
    "suspended": MessageFault(
        "The account was suspended when the message was due.",
        "The operator suspended the account after the message had been scheduled.",
        "Ask the operator.",
        retry_helps=False,
    ),
    "balance_used_up": MessageFault(
        "The account's prepaid balance was used up when the message was due.",
        "The balance went down, as by an invoice or a correction, after the message had been scheduled.",
        "Top up the balance, and send it again.",
        retry_helps=True,
    ),
    "limit_used_up": MessageFault(
        "The account's spending limit of the month was used up when the message was due.",
        "More was spent in the month than was foreseen when the message was scheduled.",
        "Raise the limit or wait for the next UTC month, and send it again.",
        retry_helps=True,
    ),
    "no_answer": MessageFault(
        "The carrier did not say whether it took the message.",
        "The connection to the carrier ended between sending the message and its answer.",
        "It may have arrived: ask before sending again, or the person may get it twice.",
        retry_helps=False,
    ),
    "no_receipt": MessageFault(
        "The carrier sent no receipt in time.",
        "The network gives no receipts, or the receipt was lost; the message itself may well have arrived.",
        "Ask before sending again, or the person may get it twice.",
        retry_helps=False,
    ),
}

STATUS_MEANINGS: dict[MessageStatus, str] = {
    "scheduled": "It waits for its time.",
    "accepted": "It is stored, and is on its way to a carrier.",
    "sent": "A carrier has taken all of it; its receipt is awaited.",
    "delivered": "The handset has it. This is final.",
    "undelivered": "The carrier took it and could not deliver it. This is final.",
    "failed": "The carrier refused it or rejected it; it was not delivered. This is final.",
    "expired": "Its validity ended before it was delivered. This is final.",
    "canceled": "It was canceled before it was sent. This is final.",
    "unknown": "Nobody can say what became of it; a late receipt may still tell.",
    "received": "It came from a phone, to a number of the account. This is final.",
}
"""What each status of a message says, to people."""
