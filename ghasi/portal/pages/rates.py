"""Rates: what a segment costs, by whom a message is from and where it goes.

Owns the filter and the words. Which rate counts is the API's rule.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from unicodedata import combining, normalize

from babel import Locale
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from ghasi.client.errors import ApiError
from ghasi.contract.pricing import EVERY_COUNTRY, SenderKind
from ghasi.contract.shapes import Rate
from ghasi.portal.access import signed_in
from ghasi.portal.formats import Reader, write_country
from ghasi.portal.pages.message_filters import tidy_number
from ghasi.portal.pages.opening import reader_for
from ghasi.portal.pages.paging import place_of, refuse_place
from ghasi.portal.rendering import page, part
from ghasi.portal.sessions import Visit

PATH = "/billing/rates"
PAGE_ROWS = 50
FIELDS = ("number", "country")
SENDERS: dict[SenderKind, str] = {"name": "names", "short_code": "short codes", "number": "numbers"}
NOT_A_NUMBER = "Enter a number, or its first 6 digits or more, such as +93701."
_NUMBER = re.compile(r"\+[1-9][0-9]{5,14}", re.ASCII)
_NO_COUNTRIES = frozenset({"EU", "EZ", "QO", "UN", "XA", "XB", "ZZ"})
"""CLDR's codes of two letters that are of no country."""


@dataclass(frozen=True, slots=True)
class Filters:
    """What was asked for, as it stands in the fields; `fault` says what is wrong with the number."""

    number: str
    country: str

    @property
    def typed(self) -> dict[str, str]:
        """The parameters of an address."""
        return {name: value for name, value in (("number", self.number), ("country", self.country)) if value}

    @property
    def tidied(self) -> str:
        """The number in E.164: people leave out its plus, and addresses lose it."""
        tidied = tidy_number(self.number)
        return f"+{tidied}" if tidied.isascii() and tidied.isdigit() else tidied

    @property
    def fault(self) -> str | None:
        """What is wrong with the number."""
        return NOT_A_NUMBER if self.number and not _NUMBER.fullmatch(self.tidied) else None

    @property
    def arguments(self) -> dict[str, Any]:
        """What the API is asked for."""
        return {"number": self.tidied if self.number else None, "country": self.country or None}


@dataclass(frozen=True, slots=True)
class Row:
    """A rate as the list shows it."""

    rate: Rate
    country: str
    kind: str


def read_filters(parameters: QueryParams) -> Filters:
    """Read the filter of an address; whatever stands there, nothing is raised."""
    country = parameters.get("country", "")
    known = country == EVERY_COUNTRY or country in _codes(Locale("en"))
    return Filters(parameters.get("number", "").strip()[:40], country if known else "")


@lru_cache(64)
def _codes(locale: Locale) -> dict[str, str]:
    return {
        code: name
        for code, name in locale.territories.items()
        if len(code) == 2 and code.isalpha() and code not in _NO_COUNTRIES  # noqa: PLR2004 - ISO 3166-1 alpha-2
    }


@lru_cache(64)
def countries(locale: Locale) -> list[tuple[str, str]]:
    """Return the countries to choose from, by their names in a language."""
    return sorted(_codes(locale).items(), key=lambda item: (_plain(item[1]), item[0]))


def _plain(name: str) -> str:
    """Return a name without accents, to be sorted by: an Ä stands among the As."""
    return "".join(one for one in normalize("NFKD", name) if not combining(one)).casefold()


async def show_rates(request: Request, visit: Visit) -> Response:
    """Show the filter, and the place of the list, which loads by itself."""
    filters = read_filters(request.query_params)
    if any(request.query_params.get(name) == "" for name in FIELDS):
        return RedirectResponse(place_of(request, filters.typed).path(PATH), 303)  # what is empty is no address's
    options = [("", "All"), (EVERY_COUNTRY, "Everywhere else"), *countries(reader_for(visit).locale)]
    return page(
        "billing/rates.html", visit=visit, filters=filters, options=options,
        list_path=place_of(request, filters.typed).path(f"{PATH}/list"),
    )  # fmt: skip


async def show_list(request: Request, visit: Visit) -> Response:
    """Show one page of the rates that hold now."""
    filters = read_filters(request.query_params)
    if filters.fault:
        return part("list_refused.html", 422, visit=visit, text=filters.fault, first=PATH)
    place = place_of(request, filters.typed)
    try:
        found = await visit.ask(lambda api: api.list_rates(limit=PAGE_ROWS, cursor=place.cursor, **filters.arguments))
    except ApiError as error:
        return refuse_place(error, visit, PATH)
    reader = reader_for(visit)
    return part(
        "billing/rate_list.html", visit=visit, rows=[row_of(rate, reader) for rate in found.data],
        filters=filters, newer=place.newer(PATH), older=place.older(PATH, found.next_cursor),
    )  # fmt: skip


def row_of(rate: Rate, reader: Reader) -> Row:
    """Return a rate with its country and its conditions in words."""
    country = "Everywhere else" if rate.country is None else write_country(rate.country, reader)
    senders = f" from {SENDERS[rate.sender_kind]}" if rate.sender_kind else ""
    if rate.direction == "inbound":
        senders = f" to {SENDERS[rate.sender_kind]}" if rate.sender_kind else ""
    return Row(rate, country, f"{'Received' if rate.direction == 'inbound' else 'Sent'}{senders}")


ROUTES = [
    Route(PATH, signed_in(show_rates)),
    Route(f"{PATH}/list", signed_in(show_list)),
]
