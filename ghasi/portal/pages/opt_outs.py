"""Opt-outs: who wants no more messages; the list, a number added to it, and one taken off it.

Owns the form and the filter. Whom an opt-out covers is the API's rule.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.datastructures import ImmutableMultiDict
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from ghasi.client.errors import ApiError
from ghasi.portal.access import signed_in
from ghasi.portal.forms import input_errors, read_form, sentence
from ghasi.portal.pages.message_filters import find_fault, tidy_number
from ghasi.portal.pages.opening import id_of
from ghasi.portal.pages.paging import place_of, refuse_place
from ghasi.portal.rendering import Toast, is_htmx, nothing, page, part
from ghasi.portal.sessions import Visit

PATH = "/senders/opt-outs"
PAGE_ROWS = 50
FIELDS = ("to", "from")


@dataclass(frozen=True, slots=True)
class Draft:
    """What stands in the form that adds a number; without a sender it is meant of all."""

    to: str = ""
    sender: str = ""


def _filters(request: Request) -> dict[str, str]:
    number = request.query_params.get("to", "").strip()
    return {"to": number} if number else {}


def _number(text: str) -> str:
    """Return a number in E.164: people leave out its plus, and addresses lose it."""
    tidied = tidy_number(text)
    return f"+{tidied}" if tidied.isascii() and tidied.isdigit() else tidied


async def show_opt_outs(request: Request, visit: Visit) -> Response:
    """Show the filter, the form that adds a number, and the place of the list, which loads by itself."""
    filters = _filters(request)
    if "to" in request.query_params and not filters:
        return RedirectResponse(PATH, 303)  # what a form leaves empty does not belong in an address
    return page("senders/opt_outs.html", visit=visit, **_page_context(request, filters), **_context(Draft()))


def _page_context(request: Request, filters: Mapping[str, str]) -> dict[str, Any]:
    return {
        "number": filters.get("to", ""),
        "fault": find_fault("to", filters["to"]) if filters else None,
        "list_path": place_of(request, filters).path(f"{PATH}/list"),
    }


def _context(draft: Draft, errors: Mapping[str, str] | None = None) -> dict[str, Any]:
    return {"draft": draft, "errors": {name: (errors or {}).get(name) for name in ("", *FIELDS)}}


async def show_list(request: Request, visit: Visit) -> Response:
    """Show one page of the list."""
    filters = _filters(request)
    if filters and find_fault("to", filters["to"]):
        return part("list_refused.html", 422, visit=visit, text="Correct the filter above.", first=PATH)
    place = place_of(request, filters)
    number = _number(filters["to"]) if filters else None
    try:
        found = await visit.ask(lambda api: api.list_opt_outs(limit=PAGE_ROWS, cursor=place.cursor, to=number))
    except ApiError as error:
        return refuse_place(error, visit, PATH)
    return part(
        "senders/opt_out_list.html", visit=visit, opt_outs=found.data, filters=filters,
        newer=place.newer(PATH), older=place.older(PATH, found.next_cursor),
    )  # fmt: skip


async def add(request: Request, visit: Visit) -> Response:
    """Put a number on the list; one that is on it stays.

    Raises ApiError and ApiUnreachableError for what is no fault of the input: the form stays as it is.
    """
    draft = _read_draft(await read_form(request))
    values = {"to": draft.to, "from": draft.sender}
    errors = {name: fault for name, value in values.items() if (fault := find_fault(name, value))}
    if not draft.to:
        errors["to"] = "Enter the number that gets no more messages."
    if not errors:
        try:
            await visit.ask(
                lambda api: api.create_opt_out(tidy_number(draft.to), sender=tidy_number(draft.sender) or None)
            )
        except ApiError as error:
            found = input_errors(error, {"invalid_number": "to", "invalid_sender": "from"})
            errors = {name if name in FIELDS else "": sentence(text) for name, text in found.items()}
    if not errors:
        if not is_htmx(request):
            return RedirectResponse(PATH, 303)
        return part(
            "senders/opt_out_form.html", visit=visit, toast=Toast("Number opted out"), refresh="#opt-outs",
            close_dialog=True, **_context(Draft()),
        )  # fmt: skip
    if is_htmx(request):
        return part("senders/opt_out_form.html", 422, visit=visit, **_context(draft, errors))
    return page("senders/opt_outs.html", 422, visit=visit, **_page_context(request, {}), **_context(draft, errors))


def _read_draft(form: ImmutableMultiDict[str, str]) -> Draft:
    return Draft(form.get("to", "").strip(), form.get("from", "").strip())


async def remove(request: Request, visit: Visit) -> Response:
    """Take an entry off the list; one that is gone is no error."""
    opt_out_id = id_of(request, "opt_out_id")
    try:
        await visit.ask(lambda api: api.delete_opt_out(opt_out_id))
    except ApiError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return nothing(Toast("This opt-out does not exist any more.", "plain"), refresh="#opt-outs")
    return nothing(Toast("Opt-out removed"), refresh="#opt-outs")


ROUTES = [
    Route(PATH, signed_in(show_opt_outs)),
    Route(PATH, signed_in(add), methods=["POST"]),
    Route(f"{PATH}/list", signed_in(show_list)),
    Route(f"{PATH}/{{opt_out_id}}/remove", signed_in(remove), methods=["POST"]),
]
