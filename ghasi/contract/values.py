"""How ids, times, money, pages and cursors are written on the wire; one place, so that no two services differ.

Ids are UUIDv7 (RFC 9562) and carry their creation time in milliseconds. Money is kept in integer micros.
"""

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache, lru_cache
from typing import TypeVar
from uuid import UUID
from zoneinfo import available_timezones

import msgspec
import uuid_utils.compat

from ghasi.contract.errors import Problem
from ghasi.contract.shapes import Money, Page

Row = TypeVar("Row")
Shape = TypeVar("Shape")
MICROS = 1_000_000
_BIGINT = range(-(2**63), 2**63)
_DECIMAL = re.compile(r"-?[0-9]{1,13}(?:\.[0-9]{1,6})?")
_NO_PLACES = frozenset({"localtime", "Factory"})
"""Names that the database of time zones has for itself: the machine's own zone, and none at all."""
_LANGUAGE_TAG = re.compile(
    r"(?:[a-z]{2,3}(?:-[a-z]{3}){0,3}|[a-z]{4,8})"  # language
    r"(?:-[a-z]{4})?(?:-(?:[a-z]{2}|[0-9]{3}))?"  # script, region
    r"(?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*"  # variants
    r"(?:-[0-9a-wy-z](?:-[a-z0-9]{2,8})+)*(?:-x(?:-[a-z0-9]{1,8})+)?",  # extensions, private use
    re.IGNORECASE | re.ASCII,  # else a Kelvin sign would be a k
)
"""A language tag by its form: RFC 5646, section 2.1, without the grandfathered ones."""
_FORMULA = re.compile(r"[=+\-@\t\r\n\uff0b\uff0d\uff1d\uff20]")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_MILLISECONDS = tuple(f".{number:03d}Z" for number in range(1000))
_UP_TO_SECONDS, _UP_TO_MILLISECONDS = len("2026-01-01T00:00:00"), len("2026-01-01T00:00:00.000")


def new_id() -> UUID:
    """Make a UUIDv7: ids made later sort later (within a process, to the id)."""
    return uuid_utils.compat.uuid7()


def id_time(identifier: UUID) -> datetime:
    """Return the UTC time, to the millisecond, at which a UUIDv7 was made."""
    return _EPOCH + (identifier.int >> 80) * _MILLISECOND  # by floats some are a millisecond less


def first_id(at: datetime) -> UUID:
    """Return the least UUIDv7 of a time, rounded up to whole milliseconds: an id below it was made before.

    A time before 1970 has the least id of all.
    """
    milliseconds = max(0, -((_EPOCH - at) // _MILLISECOND))
    return UUID(int=(milliseconds << 80) | (0x7 << 76) | (0x8 << 60))


def first_id_after(at: datetime) -> UUID:
    """Return the least UUIDv7 made in a later millisecond than a time's."""
    milliseconds = max(-1, (at - _EPOCH) // _MILLISECOND)
    return UUID(int=((milliseconds + 1) << 80) | (0x7 << 76) | (0x8 << 60))


def parse_id(text: str) -> UUID:
    """Read an id from a path; raises Problem not_found where it cannot be one of ours."""
    try:
        identifier = UUID(text)
    except ValueError:
        raise Problem("not_found") from None
    if str(identifier) != text:  # the canonical form only, so that an id has one spelling
        raise Problem("not_found")
    return identifier


def rfc3339(at: datetime) -> str:
    """Write a time as RFC 3339 in UTC with milliseconds and Z."""
    text: str = msgspec.to_builtins(at if at.tzinfo is UTC else at.astimezone(UTC))  # a sixth of isoformat's time
    return f"{text[:_UP_TO_MILLISECONDS]}Z" if at.microsecond else f"{text[:_UP_TO_SECONDS]}.000Z"


def id_rfc3339(identifier: UUID) -> str:
    """Write the time at which a UUIDv7 was made as RFC 3339 in UTC with milliseconds and Z."""
    second, millisecond = divmod(identifier.int >> 80, 1000)
    return _up_to_second(second) + _MILLISECONDS[millisecond]


@lru_cache(maxsize=4096)
def _up_to_second(second: int) -> str:
    return rfc3339(datetime.fromtimestamp(second, UTC))[:_UP_TO_SECONDS]


def optional_rfc3339(at: datetime | None) -> str | None:
    """Write a time that may be missing."""
    return None if at is None else rfc3339(at)


@cache
def zone_names() -> frozenset[str]:
    """Return the names of all IANA time zones that this machine knows; the first time looks at hundreds of files."""
    return frozenset(available_timezones() - _NO_PLACES)


def is_language_tag(text: str) -> bool:
    """Return whether a text has the form of a language tag (BCP 47), such as en-GB."""
    return _LANGUAGE_TAG.fullmatch(text) is not None


def spreadsheet_text(text: str | None) -> str | None:
    """Return a text so that a spreadsheet takes it for one: an apostrophe goes before what would begin a formula.

    OWASP, CSV Injection: = + - @, tab, CR and LF, and their full-width forms.
    """
    return f"'{text}" if text and _FORMULA.match(text) else text


def decimal_string(amount_micros: int, digits: int = 4) -> str:
    """Write integer micros as a decimal string with at least `digits` decimals and at most six: 45000 is 0.0450."""
    whole, fraction = divmod(abs(amount_micros), MICROS)
    decimals = f"{fraction:06d}".rstrip("0").ljust(digits, "0")
    sign = "-" if amount_micros < 0 else ""
    return f"{sign}{whole}.{decimals}" if decimals else f"{sign}{whole}"


def money(amount_micros: int, currency: str) -> Money:
    """Write integer micros as Money."""
    return Money(amount=decimal_string(amount_micros), currency=currency)


def micros(amount: str) -> int:
    """Read a decimal string as integer micros; raises ValueError when it is none, finer than a micro, or no bigint.

    Exponents, underscores and other scripts' digits, which Python would read, are nothing that decimal_string writes.
    """
    if not _DECIMAL.fullmatch(amount):
        raise ValueError(f"not a decimal number of at most 6 decimals: {amount!r}")
    scaled = int(Decimal(amount) * MICROS)
    if scaled not in _BIGINT:
        raise ValueError(f"not a decimal number that can be kept: {amount!r}")
    return scaled


def encode_cursor(*position: str | int | UUID) -> str:
    """Make an opaque cursor of a keyset position."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).rstrip(b"=").decode()


def page_of(
    rows: Sequence[Row], limit: int, shape: Callable[[Row], Shape], position: Callable[[Row], tuple[UUID | int, ...]]
) -> Page[Shape]:
    """Make a page of rows, of which one more was asked for than it may have: that one says that there is a next page.

    `position` is what the list is ordered by, of which the cursor is made.
    """
    page = rows[:limit]
    next_cursor = encode_cursor(*position(page[-1])) if len(rows) > limit else None
    return Page([shape(row) for row in page], next_cursor)


def decode_id_cursor(cursor: str | None) -> UUID | None:
    """Read a cursor that holds one id; raises Problem invalid_cursor."""
    return None if cursor is None else decode_ids_cursor(cursor, 1)[0]


def decode_ids_cursor(cursor: str, most: int) -> tuple[UUID, ...]:
    """Read a cursor that holds one to `most` ids; raises Problem invalid_cursor."""
    ids = decode_cursor(cursor, tuple[UUID, ...])
    if not 1 <= len(ids) <= most:
        raise Problem("invalid_cursor")
    return ids


def decode_cursor(cursor: str, position: type[Shape]) -> Shape:
    """Read a cursor that holds such a position; raises Problem invalid_cursor."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(raw, type=position)
    except (binascii.Error, msgspec.DecodeError, UnicodeError, ValueError) as error:
        raise Problem("invalid_cursor") from error
