"""sms-orchestrator's preview: what sending a text would come to, and why it would be refused as it stands.

Owns how a preview is put together; the rules are sending's own. Writes nothing and refuses nothing: a half-typed
number is an entry in `errors`.
"""

from datetime import UTC, datetime

from ghasi.contract.errors import Problem
from ghasi.contract.serving import Caller
from ghasi.contract.shapes import FieldError, ForcingCharacter, Preview, PreviewInput
from ghasi.messages import prices, queries, service
from ghasi.messages.look_alikes import describe, suggest
from ghasi.messages.numbers import Recipient, parse_recipient, parse_sender
from ghasi.messages.segmentation import count_forcing, measure
from ghasi.messages.service import Sending

MOST_FORCING = 50
"""A text in another script has hundreds of such characters: the first ones say it."""
ACCOUNT = "account"
"""The field of errors that no field of the message has caused."""


async def preview_message(sending: Sending, caller: Caller, body: PreviewInput, now: float) -> Preview:
    """Return a text's encoding, segments and price, and in `errors` why `send` would refuse it; raises nothing.

    A `to` that is missing is not held against the message, since it may not be chosen yet; an empty one is. `now` is
    the event loop's clock.
    """
    size = measure(body.body)
    errors: list[FieldError] = []
    recipient = _read_recipient(body.to, errors)
    _check_sender(body.sender, errors)
    if not body.body:
        errors.append(FieldError(field="body", message="must not be empty"))
    elif size.segments > service.MOST_SEGMENTS:
        errors.append(FieldError(field="body", message=service.length_refusal(size.segments)))
    await _check_account(sending, caller, recipient, errors, now)
    price = None
    if recipient is not None:
        price = await prices.find_price(sending.pool, caller.account_id, recipient.country, size.segments)
    return Preview(
        encoding=size.encoding,
        segments=size.segments,
        characters=len(body.body),
        units=size.units,
        units_per_segment=size.units_per_segment,
        left=size.left,
        forcing=forcing_characters(body.body),
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


def _check_sender(sender: str | None, errors: list[FieldError]) -> None:
    try:
        parse_sender(sender)
    except Problem as problem:
        errors += problem.errors


async def _check_account(
    sending: Sending, caller: Caller, recipient: Recipient | None, errors: list[FieldError], now: float
) -> None:
    rules = await service.rules_of(sending, caller.account_id, now)
    if rules.status != "active":
        errors.append(FieldError(field=ACCOUNT, message="the account is suspended"))
    if recipient is not None and rules.countries is not None and recipient.country not in rules.countries:
        errors.append(FieldError(field="to", message=service.country_refusal(recipient.country)))
    if rules.daily_cap is not None:
        day = datetime.now(UTC).date()
        first = service.first_id_of(day)
        sent = await queries.count_of_day(sending.pool, caller.account_id, day, first, rules.daily_cap)
        if sent >= rules.daily_cap:
            errors.append(FieldError(field=ACCOUNT, message=service.cap_refusal(rules.daily_cap)))
