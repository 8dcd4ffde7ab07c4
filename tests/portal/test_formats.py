"""Dates, numbers and money as one visitor reads them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.requests import Request

from ghasi.contract.shapes import Money
from ghasi.portal.formats import (
    Reader,
    find_locale,
    find_zone,
    reader_of,
    write_ago,
    write_day,
    write_money,
    write_number,
    write_percent,
    write_plain_money,
    write_when,
)

AT = "2026-11-22T18:00:00.000Z"


def reader(locale: str = "en", zone: str = "UTC") -> Reader:
    found, place = find_locale(locale), find_zone(zone)
    assert found is not None
    assert place is not None
    return Reader(found, place)


def plain(text: str) -> str:
    """Without the narrow and the unbroken spaces of CLDR."""
    return text.replace("\u202f", " ").replace("\xa0", " ")


@pytest.mark.parametrize(
    ("locale", "zone", "written", "to_the_second"),
    [
        ("en", "UTC", "Nov 22, 2026, 6:00 PM", "Nov 22, 2026, 6:00:00 PM"),
        ("en-GB", "Asia/Kabul", "22 Nov 2026, 22:30", "22 Nov 2026, 22:30:00"),
        ("de", "Asia/Tokyo", "23.11.2026, 03:00", "23.11.2026, 03:00:00"),
    ],
)
def test_times(locale: str, zone: str, written: str, to_the_second: str) -> None:
    assert plain(write_when(AT, reader(locale, zone))) == written
    assert plain(write_when(AT, reader(locale, zone), "medium")) == to_the_second
    assert written.startswith(plain(write_day(AT, reader(locale, zone))))


@pytest.mark.parametrize("locale", ["ms", "ms-MY", "ms-SG", "ms-BN", "fy"])
def test_where_a_language_has_no_short_words_it_has_long_ones(locale: str) -> None:
    now = datetime.now(UTC)
    for seconds in (0, 5, -5, 90, -90, 4000, 90_000, -4e7):
        assert "<time" in write_ago(now - timedelta(seconds=seconds), reader(locale))


def test_days_have_no_zone() -> None:
    assert write_day("2026-11-01", reader("en", "America/New_York")) == "Nov 1, 2026"
    assert write_day("2026-11-01T00:00:00Z", reader("en", "America/New_York")) == "Oct 31, 2026"


def test_how_long_ago() -> None:
    at = (datetime.now(UTC) - timedelta(minutes=4, seconds=3)).isoformat()
    written = write_ago(at, reader())
    assert "4 min" in written
    assert "ago" in written
    assert f'datetime="{at}"' in written
    assert "in 2 hr" in write_ago(datetime.now(UTC) + timedelta(hours=2, seconds=5), reader())


@pytest.mark.parametrize(
    ("amount", "currency", "locale", "written"),
    [
        ("0.0265", "USD", "en", "$0.0265"),
        ("0.0740", "USD", "en", "$0.0740"),
        ("1284.6", "USD", "en", "$1,284.60"),
        ("5", "USD", "en", "$5.00"),
        ("-12.50", "USD", "en", "-$12.50"),
        ("0.0450", "EUR", "de", "0,0450 €"),
        ("99999999999999999999.123456", "USD", "en", "$99,999,999,999,999,999,999.123456"),
        ("0.0265", "CHF", "en", "CHF0.0265"),
    ],
)
def test_money_keeps_its_digits(amount: str, currency: str, locale: str, written: str) -> None:
    assert plain(write_money(Money(amount, currency), reader(locale))) == written
    assert plain(write_money(amount, reader(locale), currency)) == written


@pytest.mark.parametrize(
    ("amount", "currency", "written"),
    [
        ("0.0000", "USD", "$0.00"), ("12.3100", "USD", "$12.31"), ("12.3180", "USD", "$12.3180"),
        ("1284", "USD", "$1,284.00"), ("-0.5000", "USD", "-$0.50"), ("500.0000", "JPY", "¥500"),
        ("500", "JPY", "¥500"), ("0.5000", "JPY", "¥0.50"), ("12.3450", "KWD", "KWD12.345"),
        ("12.0000", "KWD", "KWD12.000"), ("garbage", "USD", "garbage USD"),
    ],
)  # fmt: skip
def test_plain_money_is_exact_and_has_no_zeros_finer_than_its_currency(
    amount: str, currency: str, written: str
) -> None:
    assert plain(write_plain_money(amount, reader(), currency)) == written


@pytest.mark.parametrize(
    ("value", "locale", "written"),
    [(48219, "en", "48,219"), ("1234.50", "de", "1.234,5"), (0, "en", "0"), (-3, "en", "-3")],
)
def test_numbers(value: Any, locale: str, written: str) -> None:
    assert plain(write_number(value, reader(locale))) == written


def test_percents() -> None:
    assert write_percent(0.9821, reader()) == "98.2%"
    assert write_percent("1", reader()) == "100%"
    assert plain(write_percent(0.5, reader("de"))) == "50 %"
    assert write_percent(0.12346, reader(), 2) == "12.35%"


@pytest.mark.parametrize(
    "value",
    [None, "", "garbage", "<b>", "1e999999", "NaN", "9" * 50, "2026-99-99", "9999-12-31T23:59:59Z", 3.5, [], {}],
)
def test_nothing_that_comes_is_an_error(value: Any) -> None:
    for write in (write_when, write_day, write_number, write_percent):
        assert isinstance(write(value, reader("en", "Asia/Tokyo")), str)
    assert "<b>" not in write_ago(value, reader("en", "Asia/Tokyo"))
    assert isinstance(write_money(value, reader(), "USD"), str)
    assert isinstance(write_money(value, reader()), str)
    assert isinstance(write_money(Money(str(value), str(value)), reader()), str)


def request(cookie: str = "", language: str = "") -> Request:
    headers = [(b"cookie", cookie.encode("latin-1")), (b"accept-language", language.encode("latin-1"))]
    return Request({"type": "http", "headers": headers})


@pytest.mark.parametrize(
    ("cookie", "language", "claims", "expected"),
    [
        ("", "", (None, None), ("en", "UTC")),
        ("ghasi_zone=Asia/Kabul", "de-AT,de;q=0.9,en;q=0.5", (None, None), ("de_AT", "Asia/Kabul")),
        ("ghasi_zone=Asia%2FKabul", "en;q=0.1, fr;q=0.8", (None, ""), ("fr", "Asia/Kabul")),
        ("ghasi_zone=Asia/Kabul", "de", ("en-GB", "Europe/Berlin"), ("en_GB", "Europe/Berlin")),
        ("ghasi_zone=Asia/Kabul", "de", ("xx-garbage", "No/Where"), ("de", "Asia/Kabul")),
        ("ghasi_zone=../../etc/passwd", "*, ;q=, x;q=9, de;q=0", (None, None), ("en", "UTC")),
        ("ghasi_zone=Europe", "é" * 300, (None, "/etc/localtime"), ("en", "UTC")),
        ("ghasi_zone=" + "A" * 3000, "zz-ZZ," * 100, ("\x00", "\x00"), ("en", "UTC")),
    ],
)
def test_who_reads(
    cookie: str, language: str, claims: tuple[str | None, str | None], expected: tuple[str, str]
) -> None:
    found = reader_of(request(cookie, language), *claims)
    assert (str(found.locale), found.zone.key) == expected
