"""Sending a message by hand: the form, what sending it would come to, and the sending itself, once.

Owns the form, and the faults that the API need not be asked about. Decides neither segments nor prices.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any
from zoneinfo import ZoneInfo

from starlette.datastructures import ImmutableMultiDict
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ghasi.client.errors import ApiError, ApiUnreachableError
from ghasi.contract.errors import CODES
from ghasi.contract.shapes import MessageDetail, Preview, Sender
from ghasi.portal.access import signed_in
from ghasi.portal.failures import explain
from ghasi.portal.formats import find_zone, write_country
from ghasi.portal.forms import input_errors, key_of, new_key, read_form, sentence
from ghasi.portal.pages.message_detail import ENCODINGS
from ghasi.portal.pages.message_filters import find_fault, tidy_number
from ghasi.portal.pages.moments import read_local_time
from ghasi.portal.pages.opening import is_id, reader_for
from ghasi.portal.rendering import Toast, go_to, is_htmx, page, part
from ghasi.portal.sessions import Visit

MAX_FORM_BYTES = 300 * 1024
"""A text of 20,000 characters, percent-encoded, so that one that is too long is told so beside its field."""
LONGEST_TEXT = 20_000
MOST_SEGMENTS = 10
SHOWN_AT_ONCE = 6
"""Characters that force UCS-2 beyond these are folded away: a text in another script has dozens."""
SENT_BEFORE = "This form was sent before with other content. Look at Messages before you send this."
SIMULATED = (
    ("0001", "undelivered"), ("0002", "expired"), ("0003", "refused by the carrier: failed"),
    ("0004", "throttled twice, then delivered"), ("0005", "receipt after 30 seconds"), ("0006", "no receipt"),
)  # fmt: skip
"""What the simulated carrier does by a number's last four digits."""
FIELDS = {"to": "to", "from": "from", "body": "body", "reference": "reference", "send_at": "send_at"}
SOONEST, LATEST = timedelta(minutes=5), timedelta(days=30)
"""What the browser offers as times; the API decides."""
MOST_SENDERS = 100
NO_SENDER = "A number, 3 to 8 digits, or a name. Empty: the carrier's own."
_REFUSED = {
    "account_suspended": "", "daily_cap_reached": "", "country_not_allowed": "to", "recipient_opted_out": "to",
    "sender_not_allowed": "from", "insufficient_balance": "", "spending_limit_reached": "",
}  # fmt: skip
"""Refusals that are nobody's typing error, and beside which field each is said."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What stands in the form. `key` is its Idempotency-Key: the same until the message is sent."""

    key: str
    to: str = ""
    sender: str = ""
    body: str = ""
    reference: str = ""
    is_later: bool = False
    send_at: str = ""
    zone: str = ""
    is_smart: bool = False


def read_draft(form: ImmutableMultiDict[str, str]) -> Draft:
    """Read the form as it was sent; browsers end the lines of a text by CR LF, messages by LF."""
    return Draft(
        key=key_of(form),
        to=form.get("to", "").strip(),
        sender=form.get("from", "").strip(),
        body=form.get("body", "").replace("\r\n", "\n"),
        reference=form.get("reference", "").strip(),
        is_later=form.get("later") == "on",
        send_at=form.get("send_at", "").strip(),
        zone=form.get("zone", ""),
        is_smart=form.get("smart_encoding") == "on",
    )


async def show_form(request: Request, visit: Visit) -> Response:
    """Show the form, or the place where a message loads that is to be sent again."""
    again = request.query_params.get("again")
    draft = None if again else Draft(new_key())
    return page("messages/send.html", visit=visit, again=again, **_context(visit, draft))


async def show_form_again(request: Request, visit: Visit) -> Response:
    """Show the form filled with a message that was sent before, or with an answer to one that came from a phone."""
    message_id = request.query_params.get("again", "")
    try:
        message = await visit.ask(lambda api: api.get_message(message_id)) if is_id(message_id) else None
    except ApiError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        message = None
    if message is None:
        errors = {"": "The message to be sent again does not exist."}
        return part("messages/compose.html", visit=visit, **_context(visit, Draft(new_key()), errors))
    return part("messages/compose.html", visit=visit, **_context(visit, _draft_after(message)))


def _draft_after(message: MessageDetail) -> Draft:
    if message.direction == "inbound":
        return Draft(new_key(), to=message.sender or "", sender=message.to)
    return Draft(new_key(), message.to, message.sender or "", message.body or "", message.reference or "")


def _context(visit: Visit, draft: Draft | None, errors: dict[str, str] | None = None) -> dict[str, Any]:
    zone = _zone(visit, draft)
    now = datetime.now(zone)
    return {
        "draft": draft,
        "errors": {name: (errors or {}).get(name) for name in ("", *FIELDS)},
        "simulated": SIMULATED,
        "most_segments": MOST_SEGMENTS,
        "no_sender": NO_SENDER,
        "zone": zone.key,
        # the next minute: an input of type datetime-local has no seconds
        "soonest": f"{now + SOONEST + timedelta(minutes=1):%Y-%m-%dT%H:%M}",
        "latest": f"{now + LATEST:%Y-%m-%dT%H:%M}",
    }


def _zone(visit: Visit, draft: Draft | None) -> ZoneInfo:
    """Return the zone of the form's times: the one that it names beside the field, whatever changed meanwhile."""
    return find_zone(draft.zone if draft else "") or reader_for(visit).zone


async def show_senders(_: Request, visit: Visit) -> Response:
    """Show what the form's From offers. It is a help alone: when it cannot be had, nobody is told."""
    senders: list[Sender] = []
    try:
        senders = (await visit.ask(lambda api: api.list_senders(limit=MOST_SENDERS))).data
    except (ApiError, ApiUnreachableError) as error:
        explain(error)
    default = next((sender.address for sender in senders if sender.default), None)
    return part("messages/sender_options.html", visit=visit, senders=senders, default=default, no_sender=NO_SENDER)


async def preview(request: Request, visit: Visit) -> Response:
    """Show what sending the text would come to; what is wrong so far is told to the page's script, for later."""
    draft = read_draft(await read_form(request, MAX_FORM_BYTES))
    found: Preview | None = None
    faults = _find_faults(draft)
    if not faults and (draft.body or draft.to or draft.sender):
        try:
            found = await visit.ask(
                lambda api: api.preview_message(
                    draft.body, to=tidy_number(draft.to) or None, sender=_sender(draft), smart_encoding=draft.is_smart
                )
            )
        except (ApiError, ApiUnreachableError) as error:
            if isinstance(error, ApiUnreachableError) or error.status not in {400, 422}:
                status, text = explain(error)
                return part("failure_part.html", status, visit=visit, text=text, toast=Toast(text, "bad"))
            faults = {name: sentence(text) for name, text in input_errors(error, FIELDS).items()}
    if found is not None:
        for one in found.errors:
            faults.setdefault(one.field if one.field in FIELDS else "", sentence(one.message))
    if not draft.body:
        faults.pop("body", None)
    return part(
        "messages/preview.html",
        visit=visit,
        preview=found if draft.body else None,
        country=write_country(found.country, reader_for(visit)) if found and found.country else None,
        price=found.price if found and draft.body else None,
        faults=faults,
        encodings=ENCODINGS,
        most_segments=MOST_SEGMENTS,
        shown_at_once=SHOWN_AT_ONCE,
        is_smart=draft.is_smart,
        is_replaced=draft.is_smart and found is not None and bool(draft.body) and found.body != draft.body,
    )


async def send(request: Request, visit: Visit) -> Response:
    """Send the message and lead to its page.

    The form's key goes with it, so that a form that is sent again after a time-out does not send again. Raises
    ApiError and ApiUnreachableError for what is no fault of the input: the form stays as it is.
    """
    draft = read_draft(await read_form(request, MAX_FORM_BYTES))
    errors = _missing(draft) | _find_faults(draft)
    send_at = read_local_time(draft.send_at, _zone(visit, draft)) if draft.is_later else None
    if draft.is_later and send_at is None:
        errors["send_at"] = "Choose the day and the time."
    if not errors:
        try:
            message = await visit.ask(
                lambda api: api.send_message(
                    tidy_number(draft.to),
                    draft.body,
                    sender=_sender(draft),
                    reference=draft.reference or None,
                    send_at=send_at,
                    smart_encoding=draft.is_smart,
                    idempotency_key=draft.key,
                )
            )
        except ApiError as error:
            errors = _refusal(error)
            if error.code == "idempotency_key_reused":
                draft = replace(draft, key=new_key())
        else:
            words = "Message scheduled" if message.status == "scheduled" else "Message accepted"
            return go_to(request, f"/messages/{message.id}", Toast(words))
    context = _context(visit, draft, errors)
    if is_htmx(request):
        return part("messages/compose.html", 422, visit=visit, **context)
    return page("messages/send.html", 422, visit=visit, again=None, **context)


def _sender(draft: Draft) -> str | None:
    return tidy_number(draft.sender) or None


def _find_faults(draft: Draft) -> dict[str, str]:
    """Say what the API need not be asked about, whatever else is wrong."""
    values = {"to": draft.to, "from": draft.sender, "body": draft.body, "reference": draft.reference}
    faults = {name: fault for name, value in values.items() if (fault := find_fault(name, value))}
    if len(draft.body) > LONGEST_TEXT:
        faults["body"] = f"The text is far longer than {MOST_SEGMENTS} segments."
    return faults


def _missing(draft: Draft) -> dict[str, str]:
    errors = {}
    if not draft.to:
        errors["to"] = "Enter the number to send to."
    if not draft.body:
        errors["body"] = "Write the text of the message."
    return errors


def _refusal(error: ApiError) -> dict[str, str]:
    """Say what is wrong beside the fields, "" for the form as a whole; raises the error if input is not to blame."""
    if error.code == "idempotency_key_reused":
        return {"": SENT_BEFORE}
    if error.code in _REFUSED and error.status in {HTTPStatus.FORBIDDEN, HTTPStatus.PAYMENT_REQUIRED}:
        if error.code == "sender_not_allowed":
            return {"from": f"{sentence(error.message)} Senders lists those that may be used."}
        code = CODES[error.code]
        more = " Billing shows what is left." if error.status == HTTPStatus.PAYMENT_REQUIRED else ""
        return {_REFUSED[error.code]: f"{code.title}. {code.remedy}{more}"}
    found = input_errors(error)
    return {name if name in FIELDS else "": sentence(text) for name, text in found.items()}


ROUTES = [
    Route("/messages/new", signed_in(show_form)),
    Route("/messages/new", signed_in(send), methods=["POST"]),
    Route("/messages/new/form", signed_in(show_form_again)),
    Route("/messages/new/senders", signed_in(show_senders)),
    Route("/messages/preview", signed_in(preview), methods=["POST"]),
]
