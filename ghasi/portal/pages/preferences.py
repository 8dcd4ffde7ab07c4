"""Settings, the visitor's own: the time zone and the locale in which dates, numbers and money are shown.

Owns what can be chosen. Keeps no choice: the API does, and the next token has it.
"""

import asyncio
from datetime import UTC, datetime
from functools import lru_cache
from http import HTTPStatus
from zoneinfo import ZoneInfo, available_timezones

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ghasi.client.errors import ApiError
from ghasi.contract.shapes import Money
from ghasi.portal.access import signed_in
from ghasi.portal.formats import (
    ENGLISH,
    Reader,
    find_locale,
    find_zone,
    reader_of,
    write_day,
    write_money,
    write_number,
    write_when,
)
from ghasi.portal.forms import input_errors, read_form
from ghasi.portal.pages.settings import follow
from ghasi.portal.rendering import page, part
from ghasi.portal.sessions import Visit

REGIONS = (
    "Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific",
)  # fmt: skip
"""The regions that places are named in; the other names of the IANA database are older ones for the same."""
LOCALES = (
    "en-GB", "en-US", "en-AU", "en-CA", "en-IN", "ar", "bn", "zh", "fa-AF", "nl", "fr", "de", "de-AT", "de-CH", "hi",
    "id", "it", "ja", "kk", "ps", "fa", "pl", "pt", "pt-BR", "ru", "es", "es-MX", "sw", "tg", "tr", "uk", "ur", "uz",
)  # fmt: skip
"""What can be chosen, English first, then by the English name."""
EXAMPLE_MONEY = Money("1284.60", "USD")
EXAMPLE_NUMBER = "48219.5"
Groups = list[tuple[str, list[tuple[str, str]]]]


async def show_preferences(_: Request, visit: Visit) -> Response:
    """Show the page; what was chosen loads by itself."""
    return page("settings/preferences.html", visit=visit)


async def show_form(_: Request, visit: Visit) -> Response:
    """Show what can be chosen, as it is chosen."""
    chosen = await visit.ask(lambda api: api.get_preferences())
    return await _form(visit, chosen.time_zone or "", chosen.locale or "", {})


async def save(request: Request, visit: Visit) -> Response:
    """Save what was chosen, and load the page anew: every date on it is another."""
    form = await read_form(request)
    zone, locale = form.get("time_zone", ""), form.get("locale", "")
    try:
        await visit.ask(lambda api: api.update_preferences(zone or None, locale or None))
    except ApiError as refusal:
        errors = input_errors(refusal)
        return await _form(visit, zone, locale, errors, HTTPStatus.UNPROCESSABLE_ENTITY)
    return await follow(visit, "/settings/preferences", "Your preferences are saved.")


async def show_example(request: Request, visit: Visit) -> Response:
    """Show what a choice looks like, before it is saved; nothing is asked of the API."""
    chosen = reader_of(request, request.query_params.get("locale"), request.query_params.get("time_zone"))
    return part("settings/example.html", visit=visit, example=_example(chosen))


async def _form(visit: Visit, zone: str, locale: str, errors: dict[str, str], status: int = 200) -> Response:
    own = reader_of(visit.request)
    return part(
        "settings/preferences_form.html",
        status,
        visit=visit,
        zone=zone,
        locale=locale,
        zone_groups=await asyncio.to_thread(zone_groups, zone),
        locale_options=locale_options(locale),
        browser_zone=own.zone.key,
        browser_locale=own.locale.display_name,
        example=_example(reader_of(visit.request, locale, zone)),
        errors=errors,
    )


def _example(reader: Reader) -> list[tuple[str, str]]:
    now = datetime.now(UTC)
    return [
        ("Date and time", write_when(now, reader)),
        ("Day", write_day(now, reader)),
        ("Money", write_money(EXAMPLE_MONEY, reader)),
        ("Number", write_number(EXAMPLE_NUMBER, reader)),
    ]


def zone_groups(chosen: str = "") -> Groups:
    """Return the time zones by region, each as its IANA name and as its place with today's offset.

    One that was chosen stands there too when it is none of a region's. Reads files the first time.
    """
    now = datetime.now(UTC)
    groups: Groups = [(region, [(zone.key, _place(zone, now)) for zone in zones]) for region, zones in _zones()]
    known = {name for _, options in groups for name, _ in options}
    other = find_zone(chosen) if chosen and chosen not in known else None
    return [*groups, ("Other", [(chosen, f"{chosen} ({write_offset(other, now)})")])] if other is not None else groups


@lru_cache(1)
def _zones() -> list[tuple[str, list[ZoneInfo]]]:
    names = sorted(available_timezones())
    regions = [
        (region, [zone for name in names if name.startswith(f"{region}/") and (zone := find_zone(name)) is not None])
        for region in REGIONS
    ]
    return [("World", [ZoneInfo("UTC")]), *regions]


def _place(zone: ZoneInfo, now: datetime) -> str:
    name = zone.key.partition("/")[2] or zone.key
    return f"{name.replace('_', ' ').replace('/', ', ')} ({write_offset(zone, now)})"


def write_offset(zone: ZoneInfo, at: datetime) -> str:
    """Write a zone's offset at a time: UTC+04:30."""
    offset = at.astimezone(zone).utcoffset()
    minutes = round(offset.total_seconds() / 60) if offset is not None else 0
    return f"UTC{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


def locale_options(chosen: str = "") -> list[tuple[str, str]]:
    """Return the locales, each as its tag and its own name, with the English one behind it where that differs."""
    tags = [*LOCALES, chosen] if chosen not in LOCALES and find_locale(chosen) is not None else LOCALES
    return [(tag, _language(tag)) for tag in tags]


@lru_cache(128)
def _language(tag: str) -> str:
    locale = find_locale(tag)
    if locale is None:
        return tag
    own = locale.languages.get(str(locale)) or locale.get_display_name() or tag
    english = ENGLISH.languages.get(str(locale)) or locale.get_display_name(ENGLISH) or tag
    own = own[0].upper() + own[1:]
    return own if own == english else f"{own} ({english})"


ROUTES = [
    Route("/settings/preferences", signed_in(show_preferences)),
    Route("/settings/preferences", signed_in(save), methods=["POST"]),
    Route("/settings/preferences/form", signed_in(show_form)),
    Route("/settings/preferences/example", signed_in(show_example)),
]
