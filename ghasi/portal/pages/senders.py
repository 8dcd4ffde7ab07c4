"""Senders: the numbers, short codes and names that an account may send from; one is the default, some share the pool.

Owns what the list offers. Senders are given out and taken back by the operator, not here.
"""

from dataclasses import dataclass
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ghasi.client.errors import ApiError
from ghasi.contract.errors import CODES
from ghasi.contract.shapes import Sender
from ghasi.portal.access import signed_in
from ghasi.portal.formats import write_country
from ghasi.portal.forms import read_form
from ghasi.portal.pages.opening import id_of, reader_for
from ghasi.portal.pages.paging import place_of, refuse_place
from ghasi.portal.rendering import Toast, nothing, page, part
from ghasi.portal.sessions import Visit

PATH = "/senders"
PAGE_ROWS = 50
SHOWN_COUNTRIES = 4
KINDS = {"number": "Number", "short_code": "Short code", "alphanumeric": "Name"}
DONE = {
    (True, True): "Sender is the default now", (True, False): "Sender is not the default any more",
    (False, True): "Sender is in the pool now", (False, False): "Sender is not in the pool any more",
}  # fmt: skip
"""What was done: whether it was about the default, and what it is now."""


@dataclass(frozen=True, slots=True)
class Row:
    """A sender as the list shows it; `countries` are names in the visitor's language, None everywhere."""

    sender: Sender
    kind: str
    countries: list[str] | None

    @property
    def fits_pool(self) -> bool:
        """Whether it may share the pool: people answer to numbers, not to names."""
        return self.sender.kind != "alphanumeric"


async def show_senders(request: Request, visit: Visit) -> Response:
    """Show the place of the list, which loads by itself."""
    return page("senders/senders.html", visit=visit, list_path=place_of(request).path(f"{PATH}/list"))


async def show_list(request: Request, visit: Visit) -> Response:
    """Show one page of the list."""
    place = place_of(request)
    try:
        found = await visit.ask(lambda api: api.list_senders(limit=PAGE_ROWS, cursor=place.cursor))
    except ApiError as error:
        return refuse_place(error, visit, PATH)
    reader = reader_for(visit)
    rows = [
        Row(
            sender,
            KINDS.get(sender.kind, sender.kind),
            None if sender.countries is None else sorted(write_country(code, reader) for code in sender.countries),
        )
        for sender in found.data
    ]
    return part(
        "senders/list.html", visit=visit, rows=rows, shown_countries=SHOWN_COUNTRIES,
        newer=place.newer(PATH), older=place.older(PATH, found.next_cursor),
    )  # fmt: skip


async def change(request: Request, visit: Visit) -> Response:
    """Make a sender the default or not, put it in the pool or take it out: `about` says which, the rest stays."""
    sender_id = id_of(request, "sender_id")
    form = await read_form(request)
    default, pool = form.get("default") == "on", form.get("pool") == "on"
    is_default = form.get("about") == "default"
    try:
        await visit.ask(lambda api: api.update_sender(sender_id, default=default, pool=pool))
    except ApiError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return nothing(Toast("This sender does not exist any more.", "plain"), refresh="#senders")
        if error.status != HTTPStatus.CONFLICT:
            raise
        code = CODES.get(error.code)
        text = f"{code.title}. {code.remedy}" if code else error.message
        return nothing(Toast(text, "bad"), refresh="#senders")
    return nothing(Toast(DONE[is_default, default if is_default else pool]), refresh="#senders")


ROUTES = [
    Route(PATH, signed_in(show_senders)),
    Route(f"{PATH}/list", signed_in(show_list)),
    Route(f"{PATH}/{{sender_id}}", signed_in(change), methods=["POST"]),
]
