"""Reads rates from CSV: a header row, then country,amount[,currency][,valid_from].

Owns the file's format and its faults, all of which are named at once. Pure: knows no database.
"""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from phonenumbers import SUPPORTED_REGIONS

from ghasi.billing.model import DEFAULT_CURRENCY, RatesError
from ghasi.billing.periods import FIRST_YEAR, LAST_YEAR
from ghasi.contract.pricing import EVERY_COUNTRY, Rate, RateKey
from ghasi.contract.values import micros, new_id

REQUIRED, OPTIONAL = ("country", "amount"), ("currency", "valid_from")
_AMOUNT = re.compile(r"\d{1,6}(\.\d{1,6})?", re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}")


@dataclass(frozen=True, slots=True)
class RateLine:
    """A line of the file; without `valid_from` it is valid from the import on."""

    number: int
    country: str
    amount_micros: int
    currency: str
    valid_from: datetime | None


def parse_rates(text: str) -> list[RateLine]:
    """Read a file; raises RatesError that names every bad line with its number."""
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    lines: list[RateLine] = []
    faults: list[str] = []
    seen: dict[tuple[str, str, datetime | None], int] = {}
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        _check_header(header)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            number = reader.line_num
            try:
                line = _parse_line(number, header, cells)
            except ValueError as error:
                faults.append(f"line {number}: {error}")
                continue
            key = (line.currency, line.country, line.valid_from)
            if key in seen:
                faults.append(f"line {number}: line {seen[key]} has this country, currency and valid_from already")
            seen.setdefault(key, number)
            lines.append(line)
    except csv.Error as error:
        faults.append(f"line {reader.line_num}: not CSV: {error}")
    if faults:
        raise RatesError("nothing was imported:\n" + "\n".join(faults))
    if not lines:
        raise RatesError("the file has no rates")
    return lines


def new_rates(lines: Sequence[RateLine], known: Sequence[Rate], now: datetime) -> list[Rate]:
    """Return the rates that the lines add to `known` (by validity, of equal ones the last counts).

    A line says nothing new when the rate of its very `valid_from`, or without one the rate valid now, is the same.
    Raises RatesError where a currency would have no default rate.
    """
    exact: dict[tuple[str, str, datetime], int] = {}
    current: dict[tuple[str, str], int] = {}
    for rate in known:
        exact[rate.key.currency, rate.key.country, rate.valid_from] = rate.amount_micros
        if rate.valid_from <= now:
            current[rate.key.currency, rate.key.country] = rate.amount_micros
    defaults = {rate.key.currency for rate in known if rate.key.country == EVERY_COUNTRY}
    defaults |= {line.currency for line in lines if line.country == EVERY_COUNTRY}
    if faults := [
        f"line {line.number}: {line.currency} has no rate for {EVERY_COUNTRY}, which every currency needs"
        for line in lines
        if line.currency not in defaults
    ]:
        raise RatesError("nothing was imported:\n" + "\n".join(faults))
    return [
        Rate(
            new_id(),
            RateKey(line.currency, "outbound", None, None, line.country, "", None, None),
            line.amount_micros,
            line.valid_from or now,
        )
        for line in lines
        if line.amount_micros
        != (
            exact.get((line.currency, line.country, line.valid_from))
            if line.valid_from
            else current.get((line.currency, line.country))
        )
    ]


def _check_header(header: list[str]) -> None:
    if missing := [name for name in REQUIRED if name not in header]:
        raise RatesError(f"line 1: the header row lacks {', '.join(missing)}; it is country,amount,currency,valid_from")
    if unknown := [name for name in header if name not in REQUIRED + OPTIONAL]:
        raise RatesError(f"line 1: unknown column {unknown[0]!r}; there are country,amount,currency,valid_from")
    if len(set(header)) < len(header):
        raise RatesError("line 1: a column is there twice")


def _parse_line(number: int, header: list[str], cells: list[str]) -> RateLine:
    if len(cells) != len(header):
        raise ValueError(f"{len(cells)} values for {len(header)} columns")
    values = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
    country = values["country"].upper()
    if country != EVERY_COUNTRY and country not in SUPPORTED_REGIONS:
        raise ValueError(f"{values['country']!r} is no country: write ISO 3166 with two letters, or *")
    if not _AMOUNT.fullmatch(values["amount"]):
        raise ValueError(
            f"{values['amount']!r} is no amount: write a decimal number of at most 6 decimals, like 0.0450"
        )
    currency = values.get("currency", "").upper() or DEFAULT_CURRENCY
    if not _CURRENCY.fullmatch(currency):
        raise ValueError(f"{values['currency']!r} is no currency: write ISO 4217 with three letters")
    return RateLine(number, country, micros(values["amount"]), currency, _parse_valid_from(values.get("valid_from")))


def _parse_valid_from(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
        if "T" not in text.upper() and " " not in text:
            at = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
        if at.tzinfo is None or not FIRST_YEAR <= at.year <= LAST_YEAR:
            raise ValueError(text)  # noqa: TRY301 - the same fault as one that does not parse
    except ValueError:
        raise ValueError(f"{text!r} is no time: write 2026-12-01, or RFC 3339 like 2026-12-01T00:00:00Z") from None
    return at.astimezone(UTC)
