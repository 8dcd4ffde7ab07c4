"""sms-orchestrator's preview: what sending a text would come to, and why it would be refused as it stands.

Owns how a preview is put together; the rules are sending's own. Writes nothing and refuses nothing: a half-typed
number is an entry in `errors`.
"""

from collections.abc import Collection
from datetime import UTC, datetime
from uuid import UUID

from ghasi.carriers.segmentation import count_forcing, measure
from ghasi.contract.errors import CODES, Problem
from ghasi.contract.serving import Caller
from ghasi.contract.shapes import FieldError, ForcingCharacter, Preview, PreviewInput
from ghasi.messages.numbers import Recipient, parse_recipient, parse_sender
from ghasi.messages.senders import queries as sender_queries
from ghasi.messages.senders.opt_outs import find_opted_out
from ghasi.messages.senders.senders import SenderRules, resolve_sender, sticky_needed
from ghasi.messages.sending import queries
from ghasi.messages.sending.accepting import first_id_of, opt_out_refusal
from ghasi.messages.sending.accounts import AccountRules, cap_refusal, country_refusal
from ghasi.messages.sending.look_alikes import describe, make_gsm7, suggest
from ghasi.messages.sending.scheduling import check_send_at
from ghasi.messages.sending.service import MOST_SEGMENTS, Sending, length_refusal
from ghasi.storage.pool import Pool

MOST_FORCING = 50
"""A text in another script has hundreds of such characters: the first ones say it."""
ACCOUNT = "account"
"""The field of errors that no field of the message has caused."""


async def preview_message(sending: Sending, caller: Caller, body: PreviewInput, now: float) -> Preview:
    """Return a text's encoding, segments and price, and in `errors` why `send` would refuse it; raises nothing.

    A `to` that is missing is not held against the message, since it may not be chosen yet; an empty one is. With
    `smart_encoding` all is told of the text that would be sent. `now` is the event loop's clock.
    """
    text = make_gsm7(body.body) if body.smart_encoding else body.body
    size = measure(text)
    errors: list[FieldError] = []
    recipient = _read_recipient(body.to, errors)
    sender_is_good = _check_sender(body.sender, errors)
    if not text:
        errors.append(FieldError(field="body", message="must not be empty"))
    elif size.segments > MOST_SEGMENTS:
        errors.append(FieldError(field="body", message=length_refusal(size.segments)))
    _check_time(body.send_at, errors)
    rules = await sending.accounts.rules_of(caller.account_id, now)
    await _check_account(sending, caller, rules, recipient, errors)
    sender = body.sender if sender_is_good else None
    if recipient is not None and sender_is_good:
        taken = await sending.accounts.list_taken(caller.account_id, rules, (sender,), now)
        try:
            sender = await _find_sender(sending.pool, caller.account_id, rules.senders, sender, recipient, taken=taken)
        except Problem as problem:
            field = "to" if problem.code == "recipient_opted_out" else "from"
            errors.append(FieldError(field=field, message=problem.detail))
    price = None
    if recipient is not None:
        price = await sending.prices.find_price(caller.account_id, recipient, sender, size.segments)
    return Preview(
        body=text,
        encoding=size.encoding,
        segments=size.segments,
        characters=len(text),
        units=size.units,
        units_per_segment=size.units_per_segment,
        left=size.left,
        forcing=forcing_characters(text),
        country=recipient.country if recipient else None,
        price=price,
        errors=errors,
    )


def forcing_characters(text: str) -> list[ForcingCharacter]:
    """Return the first 50 characters that force UCS-2, in the order of the text; `suggestion` "" is to leave it out."""
    return [
        ForcingCharacter(
            character=character,
            code_point=f"U+{ord(character):04X}",
            name=describe(character),
            count=count,
            suggestion=suggest(character),
        )
        for character, count in list(count_forcing(text).items())[:MOST_FORCING]
    ]


def _read_recipient(to: str | None, errors: list[FieldError]) -> Recipient | None:
    if to is None:
        return None
    try:
        return parse_recipient(to)
    except Problem as problem:
        errors += problem.errors
        return None


def _check_time(send_at: datetime | None, errors: list[FieldError]) -> None:
    if send_at is None:
        return
    try:
        check_send_at(send_at, datetime.now(UTC))
    except Problem as problem:
        errors += problem.errors


def _check_sender(sender: str | None, errors: list[FieldError]) -> bool:
    try:
        parse_sender(sender)
    except Problem as problem:
        errors += problem.errors
        return False
    return True


async def _check_account(
    sending: Sending, caller: Caller, rules: AccountRules, recipient: Recipient | None, errors: list[FieldError]
) -> None:
    if rules.status != "active":
        errors.append(FieldError(field=ACCOUNT, message="the account is suspended"))
    if rules.held_back is not None:
        errors.append(FieldError(field=ACCOUNT, message=CODES[rules.held_back].title.lower()))
    if recipient is not None and rules.countries is not None and recipient.country not in rules.countries:
        errors.append(FieldError(field="to", message=country_refusal(recipient.country)))
    if rules.daily_cap is not None:
        day = datetime.now(UTC).date()
        sent = await queries.count_of_day(sending.pool, caller.account_id, day, first_id_of(day), rules.daily_cap)
        if sent >= rules.daily_cap:
            errors.append(FieldError(field=ACCOUNT, message=cap_refusal(rules.daily_cap)))


async def _find_sender(
    pool: Pool,
    account_id: UUID,
    rules: SenderRules,
    sender: str | None,
    recipient: Recipient,
    *,
    taken: Collection[str],
) -> str | None:
    """Return the sender it would have; raises Problem sender_not_allowed or recipient_opted_out where sending would."""
    sticky = None
    if sticky_needed(rules, sender, recipient.country):
        key = (account_id, recipient.number)
        sticky = (await sender_queries.list_sticky(pool, [key])).get(key)
    resolved = resolve_sender(rules, sender, recipient, sticky, taken)
    if rules.has_opt_outs and await find_opted_out(pool, [(account_id, resolved, recipient.number)]):
        raise Problem("recipient_opted_out", opt_out_refusal(recipient.number))
    return resolved
