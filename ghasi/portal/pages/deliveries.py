"""The deliveries to an endpoint: their log, one with its attempts, a test, and sending them again.

Owns how the log is filtered and shown. Sends nothing by itself: it asks the API to.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ghasi.client.api import Ghasi
from ghasi.client.errors import ApiError
from ghasi.contract.shapes import (
    BILLING_EVENT_DATA,
    EVENT_TYPES,
    WEBHOOK_EVENT_DATA,
    Delivery,
    DeliveryDetail,
    DeliveryStatus,
    Page,
)
from ghasi.portal.access import signed_in
from ghasi.portal.formats import read_time
from ghasi.portal.forms import input_errors, read_form, sentence
from ghasi.portal.pages.moments import read_local_time
from ghasi.portal.pages.opening import find_at_once, id_of, reader_for
from ghasi.portal.pages.paging import Place, place_of, refuse_place
from ghasi.portal.rendering import Toast, nothing, page, part
from ghasi.portal.sessions import Visit

BASE = "/webhooks/{webhook_id}"
PAGE_ROWS = 25
TEST_EVENT = "message.delivered"
STATUSES: tuple[DeliveryStatus, ...] = get_args(DeliveryStatus)
STATUS_WORDS: dict[DeliveryStatus, str] = {
    "pending": "It is under way, or waits for its next attempt.",
    "succeeded": "The endpoint has taken it.",
    "failed": "Every attempt has failed; nothing more is tried.",
    "canceled": "The endpoint was disabled before it got through.",
}
FRESH_S, LIVE_FRESH_S = 12, 2
"""What is pending for less than this is looked at so often: a page has 12 looks a minute for all that is live on it."""
SINCE_OPTIONS = (
    ("1", "The last hour"),
    ("24", "The last 24 hours"),
    ("168", "The last 7 days"),
    ("custom", "Since a time of choice"),
)
_HOURS = {"1": 1, "24": 24, "168": 168}
NO_TIME, STILL_TO_COME = "Choose a day and a time.", "This is still to come."
ANSWERS = {"2xx": "2xx", "3xx": "3xx", "4xx": "4xx", "5xx": "5xx", "none": "No answer"}
"""What an attempt may have come to, by class; an address may have one status alone."""
_ONE_STATUS = re.compile(r"[1-9]\d\d", re.ASCII)
_NOT_SHOWN = {
    code: f"\u27e8U+{code:04X}\u27e9"
    for code in (
        *range(0x20),
        *range(0x7F, 0xA0),
        0x200E,
        0x200F,
        0x061C,
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
    )
    if chr(code) not in "\t\n"
}
"""Control characters and marks that turn the direction of text, as something that can be seen."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A delivery as its page shows it; `body` is indented to be read, `live_s` None when it is over."""

    delivery: DeliveryDetail
    meaning: str
    body: str
    headers: list[tuple[str, str]]
    live_s: int | None


def visible(text: str | None) -> str:
    """Return a text in which control characters are seen and change nothing."""
    return (text or "").replace("\r\n", "\n").translate(_NOT_SHOWN)


def _pretty(body: str) -> str:
    try:
        return json.dumps(json.loads(body), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        return body


# ---- the log


def _place(request: Request) -> Place:
    """Read the log's address; what is no filter is left out."""
    given = request.query_params
    filters = {}
    if given.get("status") in STATUSES:
        filters["status"] = given["status"]
    if given.get("event") in EVENT_TYPES:
        filters["event"] = given["event"]
    if (answer := given.get("response", "")) in ANSWERS or _ONE_STATUS.fullmatch(answer):
        filters["response"] = answer
    return place_of(request, filters)


def log_context(request: Request, webhook_id: str) -> dict[str, Any]:
    """Return what the page of an endpoint needs for its log."""
    place = _place(request)
    answer = [place.filters["response"]] if "response" in place.filters else []
    return {
        "place": place,
        "log_path": place.path(f"/webhooks/{webhook_id}/log"),
        "status_filter": [("", "Any"), *((status, status.capitalize()) for status in STATUSES)],
        "event_filter": [("", "Any"), *((event, event) for event in EVENT_TYPES)],
        "response_filter": [("", "Any"), *(ANSWERS | {one: ANSWERS.get(one, one) for one in answer}).items()],
    }


async def show_log(request: Request, visit: Visit) -> Response:
    """Show one page of the log."""
    webhook_id, place = id_of(request, "webhook_id"), _place(request)
    base = f"/webhooks/{webhook_id}"

    async def ask(api: Ghasi) -> Page[Delivery]:
        status: Any = place.filters.get("status")
        return await api.list_deliveries(
            webhook_id,
            limit=PAGE_ROWS,
            cursor=place.cursor,
            status=status,
            event_type=place.filters.get("event"),
            response_status=place.filters.get("response"),
        )

    try:
        found = await visit.ask(ask)
    except ApiError as error:
        return refuse_place(error, visit, base)
    return part(
        "webhooks/log.html", visit=visit, deliveries=found.data, place=place, base=base, now=datetime.now(UTC),
        newer=place.newer(base), older=place.older(base, found.next_cursor), live_s=_live_s(found.data),
        read_time=read_time,
    )  # fmt: skip


def _live_s(deliveries: Sequence[Delivery]) -> int | None:
    """Return how often to look while something has only just begun; None is the page's own pace."""
    since = datetime.now(UTC) - timedelta(seconds=FRESH_S)
    pending = [read_time(delivery.created_at) for delivery in deliveries if delivery.status == "pending"]
    return LIVE_FRESH_S if any(at is not None and at > since for at in pending) else None


# ---- what can be done


async def send_test(request: Request, visit: Visit) -> Response:
    """Send the endpoint an example of an event."""
    webhook_id = id_of(request, "webhook_id")
    event_type = (await read_form(request)).get("event") or TEST_EVENT
    await visit.ask(lambda api: api.send_test_event(webhook_id, event_type))
    return nothing(Toast("Test event sent"), refresh="#deliveries")


def recover_context(
    visit: Visit, webhook_id: str, since: str = "24", at: str = "", errors: dict[str, str] | None = None
) -> dict[str, Any]:
    """Return what the form to send failed deliveries again needs."""
    return {
        "recover_id": webhook_id,
        "since": since,
        "since_at": at,
        "since_options": SINCE_OPTIONS,
        "since_errors": {name: (errors or {}).get(name) for name in ("", "at")},
        "zone": reader_for(visit).zone.key,
    }


def read_since(choice: str, typed: str, zone: ZoneInfo) -> datetime | None:
    """Return the time that one of SINCE_OPTIONS stands for; None where the one of choice is none."""
    if choice in _HOURS:
        return datetime.now(UTC) - timedelta(hours=_HOURS[choice])
    return read_local_time(typed, zone)


async def recover(request: Request, visit: Visit) -> Response:
    """Send all deliveries again that failed since a time."""
    webhook_id = id_of(request, "webhook_id")
    form = await read_form(request)
    choice, typed = form.get("since", "24"), form.get("at", "").strip()
    since = read_since(choice, typed, reader_for(visit).zone)
    errors = {}
    if since is None:
        errors["at"] = NO_TIME
    elif since > datetime.now(UTC):
        errors["at"] = STILL_TO_COME
    else:
        begin = since
        try:
            recovered = await visit.ask(lambda api: api.recover_deliveries(webhook_id, begin))
        except ApiError as error:
            found = input_errors(error, {"since": "at"})
            errors = {name if name == "at" else "": sentence(text) for name, text in found.items()}
        else:
            count = recovered.deliveries
            words = f"{count:,} {'delivery is' if count == 1 else 'deliveries are'} sent again"
            toast = Toast(words) if count else Toast("No delivery has failed since then", "plain")
            return part(
                "webhooks/recover_form.html", visit=visit, toast=toast, refresh="#deliveries", close_dialog=True,
                **recover_context(visit, webhook_id),
            )  # fmt: skip
    context = recover_context(visit, webhook_id, choice, typed, errors)
    return part("webhooks/recover_form.html", 422, visit=visit, **context)


# ---- one delivery


async def show_delivery(request: Request, visit: Visit) -> Response:
    """Show a delivery; when the API is slow or away it loads into the page. One that does not exist is a 404 page."""
    webhook_id, delivery_id = id_of(request, "webhook_id"), id_of(request, "delivery_id")
    delivery = await find_at_once(visit, lambda api: api.get_delivery(webhook_id, delivery_id))
    return page(
        "webhooks/delivery.html", visit=visit, webhook_id=webhook_id, delivery_id=delivery_id,
        shown=None if delivery is None else _shown(delivery), visible=visible, about_endpoints=WEBHOOK_EVENT_DATA,
        about_money=BILLING_EVENT_DATA,
    )  # fmt: skip


async def show_delivery_detail(request: Request, visit: Visit) -> Response:
    """Show a delivery as it stands now."""
    webhook_id, delivery_id = id_of(request, "webhook_id"), id_of(request, "delivery_id")
    delivery = await visit.ask(lambda api: api.get_delivery(webhook_id, delivery_id))
    return part(
        "webhooks/delivery_detail.html", visit=visit, shown=_shown(delivery), visible=visible,
        about_endpoints=WEBHOOK_EVENT_DATA, about_money=BILLING_EVENT_DATA,
    )  # fmt: skip


def _shown(delivery: DeliveryDetail) -> Shown:
    live_s = None
    if delivery.status == "pending":
        due = read_time(delivery.next_attempt_at)
        is_near = due is None or due < datetime.now(UTC) + timedelta(seconds=FRESH_S)
        live_s = LIVE_FRESH_S * 2 if is_near else FRESH_S
    return Shown(delivery, STATUS_WORDS.get(delivery.status, ""), _pretty(delivery.body), _headers(delivery), live_s)


def _headers(delivery: DeliveryDetail) -> list[tuple[str, str]]:
    """Return the headers that are sent; of those made anew for each attempt, the last one's, so far as it is known."""
    at = read_time(delivery.attempts[-1].at) if delivery.attempts else None
    return [
        ("content-type", "application/json"),
        ("webhook-id", delivery.id),
        ("webhook-timestamp", str(int(at.timestamp())) if at else "the attempt's time in Unix seconds"),
        ("webhook-signature", "v1,… over id, timestamp and body; made anew for each attempt"),
    ]


async def resend(request: Request, visit: Visit) -> Response:
    """Send a delivery again at once, whatever became of it."""
    webhook_id, delivery_id = id_of(request, "webhook_id"), id_of(request, "delivery_id")
    await visit.ask(lambda api: api.resend_delivery(webhook_id, delivery_id))
    return nothing(Toast("Delivery is sent again"), refresh="#delivery", close_dialog=False)


ROUTES = [
    Route(f"{BASE}/log", signed_in(show_log)),
    Route(f"{BASE}/test", signed_in(send_test), methods=["POST"]),
    Route(f"{BASE}/recover", signed_in(recover), methods=["POST"]),
    Route(f"{BASE}/deliveries/{{delivery_id}}", signed_in(show_delivery)),
    Route(f"{BASE}/deliveries/{{delivery_id}}/detail", signed_in(show_delivery_detail)),
    Route(f"{BASE}/deliveries/{{delivery_id}}/resend", signed_in(resend), methods=["POST"]),
]
