"""How a document writes dates, numbers and money: as CLDR says for its locale, in the locale's own digits.

A page that reads from right to left holds much that does not: numbers, e-mail addresses, foreign names. Each such piece
is isolated (Unicode's bidirectional algorithm, UAX 9), so that it neither turns around nor moves its neighbours.
"""

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from functools import lru_cache

from babel import Locale, UnknownLocaleError
from babel.core import get_global
from babel.dates import format_date, format_interval, format_skeleton
from babel.numbers import NumberPattern, get_currency_symbol, parse_pattern

from ghasi.billing.documents.words import LANGUAGES, Words, find_words
from ghasi.billing.money import invoice_amount
from ghasi.contract.pricing import UNKNOWN_COUNTRY
from ghasi.contract.values import decimal_string

_SCRIPTS = {
    "LATIN", "MODIFIER", "GREEK", "CYRILLIC", "ARABIC", "HEBREW", "ARMENIAN", "GEORGIAN", "ETHIOPIC", "DEVANAGARI",
    "BENGALI", "GURMUKHI", "GUJARATI", "ORIYA", "TAMIL", "TELUGU", "KANNADA", "MALAYALAM", "SINHALA", "THAI", "LAO",
    "KHMER", "MYANMAR",
}  # fmt: skip
"""Scripts that our fonts have, as the names of their letters begin."""
_PRECISION = 40
_ZEROS = {"latn": 0x30, "arab": 0x660, "arabext": 0x6F0, "beng": 0x9E6, "deva": 0x966, "mymr": 0x1040}
"""Where the ten digits of a numbering system begin in Unicode."""
_SPACE = "\xa0"
_LEFT_TO_RIGHT, _FIRST_STRONG, _END = "\u2066", "\u2068", "\u2069"
_MARKS = re.compile("[\u061c\u200e\u200f]")
_LEFTWARD = {"R", "AL", "AN"}
_RIGHTWARD = {"L", "EN"}


@dataclass(frozen=True, slots=True)
class Formats:
    """What a document is written with: its words, and its locale's ways with numbers and dates."""

    language: str
    region: str | None
    words: Words
    right_to_left: bool
    locale: Locale
    numbering: str
    digits: str

    def count(self, count: int) -> str:
        """Write a count."""
        return self._number(Decimal(count), 0)

    def price(self, amount_micros: int, decimals: int) -> str:
        """Write a price without its currency, with at least so many decimals."""
        text = decimal_string(amount_micros, decimals)
        return self._number(Decimal(text), decimals_of(text))

    def amount(self, amount_micros: int, currency: str) -> str:
        """Write an amount with the currency's decimals, and without the currency."""
        text = invoice_amount(amount_micros, currency)
        return self._number(Decimal(text), decimals_of(text))

    def money(self, amount_micros: int, currency: str) -> str:
        """Write an amount with its currency, the sign always beside the number where the page is right-to-left."""
        text = invoice_amount(amount_micros, currency)
        number, decimals = Decimal(text), decimals_of(text)
        negative = number < 0 and not self.right_to_left
        pattern = parse_pattern(self.locale.currency_formats["standard"].pattern)
        before, after = pattern.prefix[negative], pattern.suffix[negative]
        symbol = get_currency_symbol(currency, self.locale)
        # CLDR's currencySpacing, which Babel leaves out
        before += _SPACE if before.endswith("¤") and symbol[-1].isalpha() else ""
        after = (_SPACE if after.startswith("¤") and symbol[0].isalpha() else "") + after
        if not self.right_to_left:
            before, after = _MARKS.sub("", before), _MARKS.sub("", after)
            return before.replace("¤", symbol) + self._number(abs(number), decimals) + after.replace("¤", symbol)
        # the symbol and the number each stay whole; which is first is the pattern's own business, by its first mark
        symbol = self.piece(symbol)
        written = before.replace("¤", symbol) + self._number(number, decimals) + after.replace("¤", symbol)
        return f"{_FIRST_STRONG}{written}{_END}"

    def percent(self, percent: str) -> str:
        """Write a decimal string of hundredths as a percentage, with the decimals that it has."""
        pattern = _pattern(self.locale.percent_formats[None].pattern, 0, decimals_of(percent))
        with localcontext(prec=_PRECISION):
            return self._number_text(self._apply(pattern, Decimal(percent) / 100))

    def day(self, at: datetime) -> str:
        """Write the day of a moment, in UTC: 15 November 2026."""
        return self._date(format_date(at.astimezone(UTC).date(), "long", self.locale))

    def month(self, month: date) -> str:
        """Write a month: November 2026."""
        return self._date(format_skeleton("yMMMM", month, locale=self.locale))

    def period(self, start: datetime, end: datetime) -> str:
        """Write a period, of which the end is exclusive, by its first and last day."""
        first, last = start.astimezone(UTC).date(), (end.astimezone(UTC) - timedelta(microseconds=1)).date()
        if first >= last:
            return self._date(format_date(first, "medium", self.locale))
        return self._date(format_interval(first, last, "yMMMd", locale=self.locale))

    def country(self, code: str | None) -> str | None:
        """Return a country's name in the language of the words; None for no country."""
        if code is None or code == UNKNOWN_COUNTRY:
            return None
        name: str = Locale.parse(self.language).territories.get(code, code)
        return self.piece(name)

    def piece(self, text: str) -> str:
        """Return a piece of text so that it can stand within any other."""
        return isolate(text, right_to_left=self.right_to_left)

    def _date(self, text: str) -> str:
        text = self._own_digits(text)
        return text if self.right_to_left else self.piece(text)

    def _number(self, number: Decimal, decimals: int) -> str:
        pattern = _pattern(self.locale.decimal_formats[None].pattern, decimals, decimals)
        return self._number_text(self._apply(pattern, number))

    def _number_text(self, text: str) -> str:
        return f"{_LEFT_TO_RIGHT}{_MARKS.sub('', text)}{_END}" if self.right_to_left else text

    def _apply(self, pattern: NumberPattern, number: Decimal) -> str:
        with localcontext(prec=_PRECISION):
            text: str = pattern.apply(number, self.locale, numbering_system=self.numbering)
        return self._own_digits(text)

    def _own_digits(self, text: str) -> str:
        return text.translate(dict(enumerate(self.digits, ord("0"))))


def decimals_of(amount: str) -> int:
    """Return how many decimals a decimal string has."""
    return len(amount.partition(".")[2])


def isolate(text: str, *, right_to_left: bool) -> str:
    """Return text that neither turns nor is turned by what stands beside it on the page; the same if it would not."""
    turning = _RIGHTWARD if right_to_left else _LEFTWARD
    if any(unicodedata.bidirectional(character) in turning for character in text):
        return f"{_FIRST_STRONG}{text}{_END}"
    return text


@lru_cache(256)
def find_formats(tag: str) -> Formats:
    """Return what a language tag (BCP 47) asks for; what is unknown of it is left out, the last resort is English."""
    locale = _find_locale(tag)
    words = find_words(locale.language, locale.territory)
    language = locale.language if words is not None else "en"
    numbering = locale.default_numbering_system
    if numbering not in _ZEROS or numbering not in locale.number_symbols:
        numbering = "latn"
    zero = _ZEROS[numbering]
    return Formats(
        language=language,
        region=_page_region(locale) if words is not None else None,
        words=words or LANGUAGES["en"],
        right_to_left=words is not None and locale.text_direction == "rtl",
        locale=locale,
        numbering=numbering,
        digits="".join(chr(zero + digit) for digit in range(10)),
    )


def _page_region(locale: Locale) -> str | None:
    """Return the region that typst is told of: it knows countries, and not UN M49's numbers, as in es-419."""
    region: str | None = locale.territory
    return region if region is not None and region.isalpha() else None


def _find_locale(tag: str) -> Locale:
    parts = [part for part in re.split("[-_]", tag) if part.isascii() and part.isalnum()]
    aliases = get_global("language_aliases")
    if parts:
        parts[:1] = aliases.get(parts[0].lower(), parts[0]).split("_")
    while parts:
        try:
            found = Locale.parse("_".join(parts))
        except (ValueError, UnknownLocaleError):
            parts.pop()
        else:
            return found if _is_printable(found) else Locale("en")
    return Locale("en")


def _is_printable(locale: Locale) -> bool:
    """Whether our fonts have the letters that the locale's dates are written in."""
    months = "".join(locale.months["format"]["wide"].values())
    # Cn: a letter newer than this Python's Unicode
    letters = [character for character in months if unicodedata.category(character) in {"Lu", "Ll", "Lm", "Lo", "Cn"}]
    return all(unicodedata.name(letter, "").partition(" ")[0] in _SCRIPTS for letter in letters)


@lru_cache(512)
def _pattern(pattern: str, least: int, most: int) -> NumberPattern:
    parsed = parse_pattern(pattern)
    parsed.frac_prec = (least, most)
    return parsed
