"""How dates, numbers and money read for one visitor: Babel's words in the visitor's locale and time zone.

Owns the template filters. A value that is none of what a filter knows is shown as it came, never an error.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_skeleton, format_time, format_timedelta
from babel.numbers import NumberPattern, format_decimal, get_currency_precision, parse_pattern
from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup
from starlette.requests import Request

from ghasi.contract.shapes import Money

ZONE_COOKIE = "ghasi_zone"
NOTHING = "—"
NO_COUNTRY = "ZZ"
"""CLDR's Unknown Region, which the API gives for numbers of no country."""
LANGUAGES_READ = 5
SHOWN_CHARACTERS = 160
LEAST_DIGITS = 2
_DIGITS = 40
_AMOUNT = re.compile(r"-?\d{1,20}(?:\.(\d{1,12}))?", re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,3}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads a page: the locale and time zone it is written for."""

    locale: Locale
    zone: ZoneInfo


@lru_cache(512)
def find_locale(tag: str) -> Locale | None:
    """Return the locale of a language tag (BCP 47), such as de-AT."""
    if not re.fullmatch(r"[A-Za-z]{2,3}([_-][A-Za-z0-9]{2,8}){0,3}", tag):
        return None
    try:
        return Locale.parse(tag.replace("-", "_"))
    except (ValueError, UnknownLocaleError):
        return None


@lru_cache(512)
def find_zone(name: str) -> ZoneInfo | None:
    """Return the time zone of an IANA name, such as Asia/Kabul."""
    if not _ZONE.fullmatch(name):
        return None
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # KeyError: not found; the others: a folder, an odd name
        return None


ENGLISH = Locale("en")
UTC_ZONE = ZoneInfo("UTC")
ANYBODY = Reader(ENGLISH, UTC_ZONE)


def reader_of(request: Request, locale: str | None = None, zone: str | None = None) -> Reader:
    """Return for whom to write: the account's own choice, else what the browser says, else English and UTC."""
    cookie = unquote(request.cookies.get(ZONE_COOKIE, ""))
    found_zone = find_zone(zone or "") or find_zone(cookie) or UTC_ZONE
    found_locale = find_locale(locale or "")
    if found_locale is None:
        asked = request.headers.get("accept-language", "")
        found_locale = next(filter(None, map(find_locale, _languages(asked))), ENGLISH)
    return Reader(found_locale, found_zone)


def _languages(header: str) -> list[str]:
    """Read Accept-Language (RFC 9110, section 12.5.4), the most wanted first."""
    weighed: list[tuple[float, str]] = []
    for item in header[:200].split(",")[:LANGUAGES_READ]:
        tag, _, weight = item.strip().partition(";q=")
        quality = float(weight) if re.fullmatch(r"[01](\.\d{1,3})?", weight) else float(not weight)
        weighed.append((quality, tag))
    return [tag for quality, tag in sorted(weighed, key=lambda pair: -pair[0]) if quality > 0]


def read_time(value: Any) -> datetime | None:
    """Read an RFC 3339 time, or take a datetime; None for anything else."""
    try:
        at = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def write_when(value: Any, reader: Reader, precision: Literal["short", "medium"] = "short") -> str:
    """Write date and time: Nov 22, 2026, 6:00 PM; `medium` has the seconds too."""
    at = read_time(value)
    if at is None:
        return NOTHING if value is None else str(value)
    try:
        local = at.astimezone(reader.zone)
    except OverflowError:
        return str(value)
    day = format_date(local.date(), "medium", reader.locale)
    return f"{day}, {format_time(local, precision, tzinfo=reader.zone, locale=reader.locale)}"


def write_day(value: Any, reader: Reader) -> str:
    """Write the day of a time, in the reader's zone, or a plain date as it is."""
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value, re.ASCII):
        try:
            value = date.fromisoformat(value)
        except ValueError:
            return str(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return format_date(value, "medium", reader.locale)
    at = read_time(value)
    if at is None:
        return NOTHING if value is None else str(value)
    try:
        return format_date(at.astimezone(reader.zone).date(), "medium", reader.locale)
    except OverflowError:
        return str(value)


def write_month(month: date, reader: Reader) -> str:
    """Write a month: November 2026."""
    written: str = format_skeleton("yMMMM", month, locale=reader.locale)
    return written


def write_ago(value: Any, reader: Reader) -> Markup:
    """Write how long ago (or in how long) in a <time> with the full time as its title."""
    at = read_time(value)
    if at is None:
        return Markup("{}").format(NOTHING if value is None else value)
    words = _write_since(at - datetime.now(UTC), reader.locale)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        at.isoformat(), write_when(at, reader, "medium"), words
    )


def _write_since(elapsed: timedelta, locale: Locale) -> str:
    try:
        return format_timedelta(elapsed, add_direction=True, format="short", locale=locale)
    except KeyError:  # CLDR has no short words for some units of some languages, as Malay's seconds
        return format_timedelta(elapsed, add_direction=True, locale=locale)


def write_money(value: Any, reader: Reader, currency: str | None = None) -> str:
    """Write Money, or an amount as a decimal string with its currency, with the digits that it has.

    A fraction has at least two of them, and an amount without one those of its currency: $0.50, $5.00, ¥5.
    """
    if value is None:
        return NOTHING
    amount = value.amount if isinstance(value, Money) else str(value)
    code = value.currency if isinstance(value, Money) else currency or ""
    found = _AMOUNT.fullmatch(amount)
    if found is None or not _CURRENCY.fullmatch(code):
        return f"{amount} {code}".strip()
    digits = max(len(found[1]), LEAST_DIGITS) if found[1] else get_currency_precision(code)
    pattern = _pattern(reader.locale.currency_formats["standard"].pattern, digits, digits)
    with localcontext(prec=_DIGITS):
        written: str = pattern.apply(Decimal(amount), reader.locale, currency=code, currency_digits=False)
    return written


def write_plain_money(amount: str, reader: Reader, currency: str) -> str:
    """Write an amount exactly, without zeros that are finer than its currency: $12.3180, $12.31, ¥500."""
    whole, _, fraction = amount.partition(".")
    digits = max(get_currency_precision(currency), LEAST_DIGITS)
    if not fraction.strip("0"):
        return write_money(whole, reader, currency)
    exact = fraction if fraction[digits:].strip("0") else fraction[:digits]
    return write_money(f"{whole}.{exact}", reader, currency)


@lru_cache(512)
def _pattern(pattern: str, least: int, most: int) -> NumberPattern:
    """Return a locale's pattern of numbers with as many decimals as are wanted."""
    parsed = parse_pattern(pattern)
    parsed.frac_prec = (least, most)
    return parsed


def write_number(value: Any, reader: Reader) -> str:
    """Write a count, or a decimal string with the digits that it has."""
    if value is None:
        return NOTHING
    if not _AMOUNT.fullmatch(str(value)):
        return str(value)
    with localcontext(prec=_DIGITS):
        return format_decimal(Decimal(str(value)), locale=reader.locale, decimal_quantization=False)


def write_percent(value: Any, reader: Reader, digits: int = 1) -> str:
    """Write a ratio, of which 1 is 100 %, with at most `digits` decimals."""
    try:
        ratio = Decimal(str(value))
    except ArithmeticError:
        return NOTHING if value is None else str(value)
    if not ratio.is_finite() or abs(ratio.adjusted()) > _DIGITS:
        return NOTHING
    written: str = _pattern(reader.locale.percent_formats[None].pattern, 0, digits).apply(ratio, reader.locale)
    return written


def write_country(code: str | None, reader: Reader) -> str:
    """Write a country's name in the reader's language, or its code where that has none."""
    if code is None or code == NO_COUNTRY:
        return "No country"
    name: str = reader.locale.territories.get(code, code)
    return name


def _reader(context: Context) -> Reader:
    found = context.get("reader")
    return found if isinstance(found, Reader) else ANYBODY


@pass_context
def when(context: Context, value: Any) -> str:
    """`{{ message.created_at | when }}`: date and time; a dash for None."""
    return write_when(value, _reader(context))


@pass_context
def to_the_second(context: Context, value: Any) -> str:
    """`{{ event.at | to_the_second }}`: date and time, for what happens within a minute."""
    return write_when(value, _reader(context), "medium")


@pass_context
def day(context: Context, value: Any) -> str:
    """`{{ invoice.period_start | day }}`: the day alone."""
    return write_day(value, _reader(context))


@pass_context
def ago(context: Context, value: Any) -> Markup:
    """`{{ message.created_at | ago }}`: a <time> saying 2 min ago."""
    return write_ago(value, _reader(context))


@pass_context
def money(context: Context, value: Any, currency: str | None = None) -> str:
    """Write a price as in $0.0265, for Money or for an amount and its currency."""
    return write_money(value, _reader(context), currency)


@pass_context
def plain_money(context: Context, amount: str, currency: str) -> str:
    """Write an amount as in $12.31, and as in $12.3180 where there are finer digits."""
    return write_plain_money(amount, _reader(context), currency)


@pass_context
def number(context: Context, value: Any) -> str:
    """`{{ 48219 | number }}`: 48,219."""
    return write_number(value, _reader(context))


@pass_context
def percent(context: Context, value: Any, digits: int = 1) -> str:
    """`{{ 0.982 | percent }}`: 98.2%."""
    return write_percent(value, _reader(context), digits)


def cut(text: str | None) -> str:
    """`{{ message.body | cut }}`: as much of a text as a row can show."""
    words = " ".join((text or "")[: 2 * SHOWN_CHARACTERS].split())
    return words if len(words) <= SHOWN_CHARACTERS else f"{words[:SHOWN_CHARACTERS]}…"


FILTERS = {
    "when": when, "to_the_second": to_the_second, "day": day, "ago": ago, "money": money, "plain_money": plain_money,
    "number": number, "percent": percent, "cut": cut,
}  # fmt: skip
