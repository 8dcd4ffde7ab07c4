"""One message: what it is, how it went, why it failed, and the webhook deliveries that it caused.

Owns how often a message on its way is looked at again. Changes nothing.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ghasi.client.api import Ghasi
from ghasi.client.errors import GhasiError
from ghasi.contract.message_errors import MESSAGE_ERRORS, STATUS_MEANINGS, MessageFault
from ghasi.contract.shapes import FINAL_STATUSES, Delivery, MessageDetail, Page, Webhook
from ghasi.portal.access import signed_in
from ghasi.portal.formats import Reader, read_time, write_country
from ghasi.portal.pages.opening import find_at_once, id_of, reader_for
from ghasi.portal.rendering import page, part
from ghasi.portal.sessions import Visit

FRESH_S = 12
LIVE_FRESH_S, LIVE_S = 3, 10
"""How often a message on its way is looked at: with the deliveries (30 s), at most 12 times in a minute."""
SETTLED_S = 20
"""So long after its end a message may still cause deliveries."""
MOST_DELIVERIES = 50
ENCODINGS = {"gsm7": "GSM-7", "ucs2": "UCS-2"}


@dataclass(frozen=True, slots=True)
class Shown:
    """A message as its page shows it; `live_s` is None when it has ended."""

    message: MessageDetail
    country: str | None
    meaning: str
    fault: MessageFault | None
    live_s: int | None


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
]
