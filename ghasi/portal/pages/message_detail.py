"""One message: what it is, how it went, why it failed, and the webhook deliveries that it caused.

Owns how often a message on its way is looked at again, and what may be done with one: cancel it, delete its text.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ghasi.client.api import Ghasi
from ghasi.client.errors import ApiError, GhasiError
from ghasi.contract.errors import CODES
from ghasi.contract.message_errors import MESSAGE_ERRORS, STATUS_MEANINGS, MessageFault
from ghasi.contract.shapes import FINAL_STATUSES, Delivery, MessageDetail, Page, Webhook
from ghasi.portal.access import signed_in
from ghasi.portal.formats import Reader, read_time, write_country
from ghasi.portal.forms import sentence
from ghasi.portal.pages.opening import find_at_once, id_of, reader_for
from ghasi.portal.rendering import Toast, nothing, page, part
from ghasi.portal.sessions import Visit

FRESH_S = 12
LIVE_FRESH_S, LIVE_S = 3, 10
"""How often a message on its way is looked at: with the deliveries (30 s), at most 12 times in a minute."""
WAITING_S, SOON_S = 60, 60
"""How often one is looked at that waits for a time farther away than SOON_S."""
CANCELABLE = frozenset({"scheduled", "accepted"})
SETTLED_S = 20
"""So long after its end a message may still cause deliveries."""
MOST_DELIVERIES = 50
PARTS = "#message, #deliveries"
ENCODINGS = {"gsm7": "GSM-7", "ucs2": "UCS-2"}


@dataclass(frozen=True, slots=True)
class Shown:
    """A message as its page shows it; `live_s` is None when it has ended."""

    message: MessageDetail
    country: str | None
    meaning: str
    fault: MessageFault | None
    live_s: int | None

    @property
    def is_inbound(self) -> bool:
        """Whether it came from a phone."""
        return self.message.direction == "inbound"

    @property
    def person(self) -> str:
        """Whom it was sent to, or who sent it."""
        return (self.message.sender or "") if self.is_inbound else self.message.to

    @property
    def can_be_answered(self) -> bool:
        """Whether a phone can be written back to: names cannot."""
        return self.is_inbound and self.person.startswith("+")

    @property
    def can_be_canceled(self) -> bool:
        """Whether no carrier has it yet, as far as can be seen from here."""
        return self.message.status in CANCELABLE

    @property
    def can_be_redacted(self) -> bool:
        """Whether its text is there, and nobody needs it any more."""
        return self.message.body is not None and self.message.status in FINAL_STATUSES


async def show_message(request: Request, visit: Visit) -> Response:
    """Show a message; when the API is slow or away it loads into the page. One that does not exist is a 404 page."""
    message_id = id_of(request, "message_id")
    message = await find_at_once(visit, lambda api: api.get_message(message_id))
    return page(
        "messages/message.html",
        visit=visit,
        message_id=message_id,
        shown=None if message is None else _shown(message, reader_for(visit)),
        encodings=ENCODINGS,
    )


async def show_detail(request: Request, visit: Visit) -> Response:
    """Show a message as it stands now; when its status is not the one that the page has, its deliveries load again."""
    message_id = id_of(request, "message_id")
    message = await visit.ask(lambda api: api.get_message(message_id))
    seen = request.query_params.get("seen")
    return part(
        "messages/detail.html",
        visit=visit,
        shown=_shown(message, reader_for(visit)),
        encodings=ENCODINGS,
        refresh="#deliveries" if seen and seen != message.status else None,
    )


def _shown(message: MessageDetail, reader: Reader) -> Shown:
    live_s = None
    if message.status not in FINAL_STATUSES:
        created = read_time(message.created_at)
        is_fresh = created is not None and datetime.now(UTC) - created < timedelta(seconds=FRESH_S)
        live_s = LIVE_FRESH_S if is_fresh else LIVE_S
        due = read_time(message.send_at)
        if message.status == "scheduled" and due is not None and due - datetime.now(UTC) > timedelta(seconds=SOON_S):
            live_s = WAITING_S
    return Shown(
        message,
        write_country(message.country, reader) if message.country else None,
        STATUS_MEANINGS.get(message.status, ""),
        MESSAGE_ERRORS.get(message.error.code) if message.error else None,
        live_s,
    )


async def show_deliveries(request: Request, visit: Visit) -> Response:
    """Show the webhook deliveries that a message caused, with their endpoints' addresses where those can be had."""
    message_id = id_of(request, "message_id")

    async def ask(api: Ghasi) -> tuple[Page[Delivery], dict[str, Webhook]]:
        deliveries, webhooks = await asyncio.gather(
            api.list_message_deliveries(message_id, limit=MOST_DELIVERIES),
            api.list_webhooks(limit=100),
            return_exceptions=True,
        )
        if isinstance(deliveries, BaseException):
            raise deliveries
        if isinstance(webhooks, BaseException):
            if not isinstance(webhooks, GhasiError):
                raise webhooks
            return deliveries, {}
        return deliveries, {webhook.id: webhook for webhook in webhooks.data}

    found, webhooks = await visit.ask(ask)
    return part(
        "messages/deliveries.html", visit=visit, deliveries=found.data, webhooks=webhooks,
        more=found.next_cursor is not None, is_settled=_is_settled(request, found.data),
    )  # fmt: skip


async def cancel(request: Request, visit: Visit) -> Response:
    """Cancel a message that no carrier has had."""
    message_id = id_of(request, "message_id")
    try:
        await visit.ask(lambda api: api.cancel_message(message_id))
    except ApiError as error:
        return _refused(error)
    return nothing(Toast("Message canceled"), refresh=PARTS)


async def redact(request: Request, visit: Visit) -> Response:
    """Delete a message's text for good."""
    message_id = id_of(request, "message_id")
    try:
        await visit.ask(lambda api: api.redact_message(message_id))
    except ApiError as error:
        return _refused(error)
    return nothing(Toast("Text deleted"), refresh=PARTS)


def _refused(error: ApiError) -> Response:
    """Say why it came too late, and show how the message stands; raises the error if it is another."""
    if error.status != HTTPStatus.CONFLICT:
        raise error
    code = CODES.get(error.code)
    why = sentence(error.message)
    text = f"{code.title}: {error.message.rstrip('.')}." if code and error.message != code.title else why
    return nothing(Toast(text, "bad"), refresh=PARTS)


def _is_settled(request: Request, deliveries: list[Delivery]) -> bool:
    """Say whether nothing more is to be expected: the page tells how its message stands."""
    ended = read_time(request.query_params.get("ended") or None)
    if request.query_params.get("seen") not in FINAL_STATUSES or ended is None:
        return False
    if any(delivery.status == "pending" for delivery in deliveries):
        return False
    return datetime.now(UTC) - ended > timedelta(seconds=SETTLED_S)


ROUTES = [
    Route("/messages/{message_id}", signed_in(show_message)),
    Route("/messages/{message_id}/detail", signed_in(show_detail)),
    Route("/messages/{message_id}/deliveries", signed_in(show_deliveries)),
    Route("/messages/{message_id}/cancel", signed_in(cancel), methods=["POST"]),
    Route("/messages/{message_id}/redact", signed_in(redact), methods=["POST"]),
]
