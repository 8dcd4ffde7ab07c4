"""Rates as CSV: a header row, then a rate a line. What is written here is read again as the very same rates.

Owns the file's format and its faults, all of which are named at once. Pure: knows no database.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import cast, get_args
from uuid import UUID

import phonenumbers

from ghasi.billing.model import DEFAULT_CURRENCY, RatesError
from ghasi.billing.periods import LAST_YEAR
from ghasi.contract.pricing import EVERY_COUNTRY, UNKNOWN_COUNTRY, Direction, Rate, RateKey, SenderKind, Tier
from ghasi.contract.values import decimal_string, micros

COLUMNS = (
    "country", "prefix", "amount", "currency", "valid_from", "direction", "sender_kind", "carrier_class", "account",
    "plan", "tiers",
)  # fmt: skip
"""Of these a file needs `amount`, and `country` or `prefix`."""
FIRST_YEAR = 1970
"""The rate that billing begins with is from the beginning of this one."""
MOST_TIERS, MOST_SEGMENTS = 20, 10**12
LONGEST_NAME = 100
_AMOUNT = re.compile(r"\d{1,6}(\.\d{1,6})?", re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}")
_PREFIX = re.compile(r"[1-9]\d{0,14}", re.ASCII)
_WHOLE = re.compile(r"\d{1,13}", re.ASCII)
_ACCOUNT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_DIRECTIONS, _SENDER_KINDS = get_args(Direction), get_args(SenderKind)
_MIDNIGHT = datetime.min.time()


@dataclass(frozen=True, slots=True)
class RateLine:
    """A line of the file; without `valid_from` it is valid from the import on."""

    number: int
    key: RateKey
    amount_micros: int
    tiers: tuple[Tier, ...]
    valid_from: datetime | None


def parse_rates(text: str) -> list[RateLine]:
    """Read a file; raises RatesError that names every bad line with its number."""
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    lines: list[RateLine] = []
    faults: list[str] = []
    seen: dict[tuple[RateKey, datetime | None], int] = {}
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
            known = seen.setdefault((line.key, line.valid_from), number)
            if known != number:
                faults.append(f"line {number}: line {known} has these conditions and valid_from already")
            lines.append(line)
    except csv.Error as error:
        faults.append(f"line {reader.line_num}: not CSV: {error}")
    if faults:
        raise RatesError("nothing was imported:\n" + "\n".join(faults))
    if not lines:
        raise RatesError("the file has no rates")
    return lines


def write_rates(rates: Iterable[Rate]) -> str:
    """Write rates as a file that imports again without a change."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for rate in rates:
        key = rate.key
        writer.writerow(
            (
                key.country, key.prefix, decimal_string(rate.amount_micros), key.currency,
                rate.valid_from.isoformat().replace("+00:00", "Z"), key.direction, key.sender_kind, key.carrier_class,
                key.account_id, key.plan, write_tiers(rate.tiers),
            )
        )  # fmt: skip
    return text.getvalue()


def write_tiers(tiers: Sequence[Tier]) -> str:
    """Write tiers as in the file: 10000:0.0400;100000:0.0350."""
    return ";".join(f"{tier.from_segments}:{decimal_string(tier.amount_micros)}" for tier in tiers)


def parse_prefix(text: str) -> str:
    """Read what numbers begin with: up to 15 digits, with or without a plus; raises ValueError."""
    prefix = text.removeprefix("+")
    if prefix and not _PREFIX.fullmatch(prefix):
        raise ValueError(f"{text!r} is no prefix: write the first digits of E.164 numbers, like 9370")
    return prefix


def _check_header(header: list[str]) -> None:
    there_are = f"there are {','.join(COLUMNS)}"
    if missing := [
        what
        for what, names in (("amount", {"amount"}), ("country or prefix", {"country", "prefix"}))
        if not names.intersection(header)
    ]:
        raise RatesError(f"line 1: the header row lacks {', '.join(missing)}; {there_are}")
    if unknown := [name for name in header if name not in COLUMNS]:
        raise RatesError(f"line 1: unknown column {unknown[0]!r}; {there_are}")
    if len(set(header)) < len(header):
        raise RatesError("line 1: a column is there twice")


def _parse_line(number: int, header: list[str], cells: list[str]) -> RateLine:
    if len(cells) != len(header):
        raise ValueError(f"{len(cells)} values for {len(header)} columns")
    values = dict.fromkeys(COLUMNS, "")
    values.update((name, cell.strip()) for name, cell in zip(header, cells, strict=True))
    key = _parse_key(values)
    amount_micros = _parse_amount(values["amount"])
    return RateLine(number, key, amount_micros, _parse_tiers(values["tiers"]), parse_time(values["valid_from"]))


def _parse_key(values: dict[str, str]) -> RateKey:
    prefix = parse_prefix(values["prefix"])
    country = values["country"].upper() or (EVERY_COUNTRY if prefix else "")
    if country not in (EVERY_COUNTRY, UNKNOWN_COUNTRY):
        if country not in phonenumbers.SUPPORTED_REGIONS:
            raise ValueError(f"{values['country']!r} is no country: write ISO 3166 with two letters, or *")
        code = _calling_code(country)
        if not (prefix.startswith(code) or code.startswith(prefix)):
            raise ValueError(f"numbers of {country} begin with {code}, and not with {prefix}")
    currency = values["currency"].upper() or DEFAULT_CURRENCY
    if not _CURRENCY.fullmatch(currency):
        raise ValueError(f"{values['currency']!r} is no currency: write ISO 4217 with three letters")
    account_id, plan = _parse_account(values["account"]), _parse_name(values["plan"])
    if account_id and plan:
        raise ValueError("a rate is an account's or a plan's, and not both")
    direction, sender_kind = values["direction"].lower() or "outbound", values["sender_kind"].lower() or None
    if direction not in _DIRECTIONS:
        raise ValueError(f"{direction!r} is no direction: write {' or '.join(_DIRECTIONS)}")
    if sender_kind is not None and sender_kind not in _SENDER_KINDS:
        raise ValueError(f"{sender_kind!r} is no kind of sender: write {' or '.join(_SENDER_KINDS)}")
    return RateKey(
        currency, cast("Direction", direction), account_id, plan, country, prefix,
        cast("SenderKind | None", sender_kind), _parse_name(values["carrier_class"]),
    )  # fmt: skip


@lru_cache
def _calling_code(country: str) -> str:
    return str(phonenumbers.country_code_for_region(country))


def _parse_account(text: str) -> UUID | None:
    if not text:
        return None
    if not _ACCOUNT.fullmatch(text):
        raise ValueError(f"{text!r} is no account: write its id")
    return UUID(text)


def _parse_name(text: str) -> str | None:
    if not text.isprintable() or len(text) > LONGEST_NAME:
        raise ValueError(f"{text!r} is no name: write up to {LONGEST_NAME} characters that can be seen")
    return text or None


def _parse_amount(text: str) -> int:
    if not _AMOUNT.fullmatch(text):
        raise ValueError(f"{text!r} is no amount: write a decimal number of at most 6 decimals, like 0.0450")
    return micros(text)


def _parse_tiers(text: str) -> tuple[Tier, ...]:
    if not text:
        return ()
    tiers: list[Tier] = []
    for part in text.split(";"):
        segments, colon, amount = (piece.strip() for piece in part.partition(":"))
        if not colon or not _WHOLE.fullmatch(segments) or not 1 <= int(segments) <= MOST_SEGMENTS:
            raise ValueError(f"{part!r} is no tier: write segments:amount, like 10000:0.0400;100000:0.0350")
        if tiers and int(segments) <= tiers[-1].from_segments:
            raise ValueError(f"the tier from {segments} segments must come before the one from {tiers[-1][0]}")
        tiers.append(Tier(int(segments), _parse_amount(amount)))
    if len(tiers) > MOST_TIERS:
        raise ValueError(f"{len(tiers)} tiers: there may be {MOST_TIERS}")
    return tuple(tiers)


@lru_cache
def parse_time(text: str) -> datetime | None:
    """Read a day, whose first moment in UTC it is, or a time of RFC 3339; None of nothing. Raises ValueError."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
        if "T" not in text.upper() and " " not in text:
            at = datetime.combine(date.fromisoformat(text), _MIDNIGHT, UTC)
        if at.tzinfo is None or not FIRST_YEAR <= at.year <= LAST_YEAR:
            raise ValueError(text)  # noqa: TRY301 - the same fault as one that does not parse
    except ValueError:
        raise ValueError(f"{text!r} is no time: write 2026-12-01, or RFC 3339 like 2026-12-01T00:00:00Z") from None
    return at.astimezone(UTC)
