"""Dates, numbers and money as CLDR has them, and what is foreign on a right-to-left page kept apart."""

from datetime import UTC, date, datetime

import pytest

from ghasi.billing.documents.formats import Formats, find_formats, isolate

FIRST, LAST = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)


def left_to_right(text: str) -> str:
    return f"\u2066{text}\u2069"


def apart(text: str) -> str:
    return f"\u2068{text}\u2069"


def written(formats: Formats) -> list[str]:
    return [
        formats.count(12345),
        formats.percent("9.975"),
        formats.day(datetime(2026, 11, 15, 23, 59, tzinfo=UTC)),
        formats.month(date(2026, 10, 1)),
        formats.period(FIRST, LAST),
    ]


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("en", ["$1,234.50", "12,345", "9.975%", "November 15, 2026", "October 2026", "Oct 1\u2009–\u200931, 2026"]),
        ("en-GB", ["US$1,234.50", "12,345", "9.975%", "15 November 2026", "October 2026", "1\u2009–\u200931 Oct 2026"]),
        ("de", ["1.234,50\xa0$", "12.345", "9,975\xa0%", "15. November 2026", "Oktober 2026", "1.–31. Okt. 2026"]),
        ("fr", ["1\u202f234,50\xa0$US", "12\u202f345", "9,975\xa0%", "15 novembre 2026", "octobre 2026",
                "1–31 oct. 2026"]),
        ("tr", ["$1.234,50", "12.345", "%9,975", "15 Kasım 2026", "Ekim 2026", "1–31 Eki 2026"]),
        ("nl", ["US$\xa01.234,50", "12.345", "9,975%", "15 november 2026", "oktober 2026", "1–31 okt 2026"]),
    ],
)  # fmt: skip
def test_left_to_right(tag: str, expected: list[str]) -> None:
    formats = find_formats(tag)
    assert not formats.right_to_left
    assert [formats.money(1_234_500_000, "USD"), *written(formats)] == expected


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("fa-AF", ["۱۲٬۳۴۵", "۹٫۹۷۵%", "۱۵ نومبر ۲۰۲۶", "اکتوبر ۲۰۲۶", "۱ تا ۳۱ اکتوبر ۲۰۲۶"]),
        ("fa", ["۱۲٬۳۴۵", "۹٫۹۷۵%", "۱۵ نوامبر ۲۰۲۶", "اکتبر ۲۰۲۶", "۱ تا ۳۱ اکتبر ۲۰۲۶"]),
        ("ps", ["۱۲٬۳۴۵", "۹٫۹۷۵%", "۱۵ نومبر ۲۰۲۶", "۲۰۲۶ اکتوبر", "۲۰۲۶ اکتوبر ۱–۳۱"]),
        ("ar", ["12,345", "9.975%", "15 نوفمبر 2026", "أكتوبر 2026", "1–31 أكتوبر 2026"]),
        ("ar-EG", ["١٢٬٣٤٥", "٩٫٩٧٥%", "١٥ نوفمبر ٢٠٢٦", "أكتوبر ٢٠٢٦", "١–٣١ أكتوبر ٢٠٢٦"]),
        ("ur", ["12,345", "9.975%", "15 نومبر، 2026", "اکتوبر 2026", "1–31 اکتوبر 2026"]),
    ],
)
def test_right_to_left(tag: str, expected: list[str]) -> None:
    formats = find_formats(tag)
    assert formats.right_to_left
    assert written(formats) == [*map(left_to_right, expected[:2]), *expected[2:]]


def test_money_on_a_right_to_left_page_keeps_its_sign_at_the_number() -> None:
    owed = -12_500_000
    assert find_formats("fa-AF").money(owed, "AFN") == apart(f"\u200e؋\xa0{left_to_right('-۱۲٫۵۰')}")
    assert find_formats("ar").money(owed, "USD") == apart(f"\u200f{left_to_right('-12.50')}\xa0{apart('US$')}")
    assert find_formats("ps").money(owed, "EUR") == apart(f"€\xa0{left_to_right('-۱۲٫۵۰')}")
    assert find_formats("ur").money(owed, "AFN") == apart(f"{apart('AFN')}\xa0{left_to_right('-12.50')}")
    assert find_formats("de").money(owed, "USD") == "-12,50\xa0$"
    assert find_formats("en").money(owed, "AFN") == "-AFN\xa012.50"
    assert find_formats("he").money(owed, "USD") == "-12.50\xa0$"


def test_decimals_are_the_currencys() -> None:
    english = find_formats("en")
    assert [english.money(1_234_000_000, currency) for currency in ("JPY", "EUR", "KWD")] == [
        "¥1,234", "€1,234.00", "KWD\xa01,234.000",
    ]  # fmt: skip
    assert [english.amount(1_234_000_000, currency) for currency in ("JPY", "EUR", "KWD")] == [
        "1,234", "1,234.00", "1,234.000",
    ]  # fmt: skip
    assert english.price(46250, 2) == "0.04625"
    assert english.price(46250, 6) == "0.046250"
    assert english.amount(10**19, "USD") == "10,000,000,000,000.00"
    assert english.amount(-(10**34) - 10_000, "USD") == f"-{10**28:,}.01"


@pytest.mark.parametrize(
    ("tag", "locale", "language"),
    [
        ("prs", "fa_AF", "fa"), ("prs-AF", "fa_AF", "fa"), ("FA-af", "fa_AF", "fa"), ("fa_AF", "fa_AF", "fa"),
        ("ar-u-nu-arab", "ar", "ar"), ("de-XX", "de", "de"), ("nl-BE", "nl_BE", "en"), ("he", "he", "en"),
        ("zh-Hant-TW", "en", "en"), ("ja", "en", "en"), ("dz", "en", "en"), ("nonsense", "en", "en"), ("", "en", "en"),
        ("../../etc", "en", "en"), ("x" * 300, "en", "en"), ("٣", "en", "en"),
    ],
)  # fmt: skip
def test_what_a_tag_means(tag: str, locale: str, language: str) -> None:
    formats = find_formats(tag)
    assert (str(formats.locale), formats.language) == (locale, language)


def test_english_words_have_their_languages_formats_and_direction() -> None:
    dutch, kurdish = find_formats("nl"), find_formats("ckb")
    assert dutch.money(1_234_500_000, "EUR") == "€\xa01.234,50"
    assert (kurdish.right_to_left, kurdish.count(12)) == (False, "١٢")
    assert kurdish.day(FIRST) == apart("١ی تشرینی یەکەمی ٢٠٢٦")
    assert kurdish.country("DE") == "Germany"


def test_countries() -> None:
    assert find_formats("de").country("US") == "Vereinigte Staaten"
    assert find_formats("fa-AF").country("US") == "ایالات متحده"
    assert find_formats("en").country("QQ") == "QQ"
    assert find_formats("en").country("ZZ") is find_formats("en").country(None) is None


def test_a_piece_is_isolated_only_where_it_would_turn() -> None:
    assert isolate("Kabul (Ltd.)", right_to_left=False) == "Kabul (Ltd.)"
    assert isolate("Kabul (Ltd.)", right_to_left=True) == apart("Kabul (Ltd.)")
    assert isolate("12", right_to_left=True) == apart("12")
    assert isolate("کابل (۱)", right_to_left=False) == apart("کابل (۱)")
    assert isolate("کابل", right_to_left=True) == "کابل"
