"""Documents on paper: nothing is cut, each letter has a glyph, right-to-left pages are mirrored, names are text."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import msgspec
import pytest
import typst
from PIL import Image

from ghasi.billing.documents.content import describe, text_of
from ghasi.billing.documents.document import Document, DocumentLine, Party, PaymentLine, TaxLine
from ghasi.billing.documents.printer import TEMPLATE, Printer, inputs_of, open_printer
from tests.billing.documents.pdf import Line, is_within_margins, lines_of, missing_glyphs, on_paper, pictures_of
from tests.billing.documents.samples import (
    CUSTOMERS,
    DRAFT,
    EVERY,
    FULL,
    ISSUED,
    OPEN,
    PAID,
    USAGE,
    VOID,
    in_locale,
)  # fmt: skip

MARGIN, PAGE = 20 * 72 / 25.4, 210 * 72 / 25.4
LOCALES = ["en", "de", "fr", "es", "tr", "ar", "ar-EG", "fa", "fa-AF", "ps", "ur", "ckb", "hi", "th", "ja"]
HOSTILE = [
    "#panic()", "*b* _i_ $x^2$ `c` <l> @r // c", '"); #read("/etc/passwd"); ("', "\\u{41} \\", "= Heading", "- item",
    "<script>alert(1)</script>", "]] }}", "{amount}", "a\nb\u2028c\td\x07e", "\u202eevil", "سلام شرکت", "新宿", "🦊",
    "W" * 100, "word " * 19, "a\u0301" * 40, " ",
]  # fmt: skip
MIXED = "شرکت مخابراتی افغانستان Afghan Wireless (Pvt.) Ltd. 🦊 *bold* #panic() ټلویزیون "
LONG = ["W" * 300, "ب" * 300, (MIXED * 5)[:300], "word " * 60]


@pytest.fixture
async def printer() -> AsyncIterator[Printer]:
    async with open_printer() as printer:
        yield printer


def huge(name: str) -> Document:
    """All that a name may be in is it; and amounts beyond any bill."""
    party = Party(name, (name, "12"), name[:100], f"{name[:100]}@example.com")
    return replace(
        FULL, seller=party, customer=party, total_micros=10**19, amount_due_micros=10**19,
        lines=(
            *FULL.lines, DocumentLine(kind="discount", detail=name, amount_micros=-1),
            replace(USAGE, messages=10**12, segments=10**13, unit_micros=999_999_999_999, amount_micros=10**19),
        ),
        taxes=(TaxLine(name, "9.975", 10**19, 10**19),), payments=(PaymentLine(ISSUED, 10**19, name),),
    )  # fmt: skip


async def test_the_same_document_is_the_same_file(printer: Printer) -> None:
    first = await printer.print(OPEN)
    assert first.startswith(b"%PDF-1.7")
    assert b"/Title(Invoice GH-2026-000001)" in first
    assert b"/CreationDate(D:20261101000500Z)" in first  # when it was issued
    others = await asyncio.gather(*(printer.print(one) for one in (VOID, OPEN, OPEN)))
    assert [other == first for other in others] == [False, True, True]
    dari = in_locale(FULL, "fa-AF")
    async with open_printer() as another:
        assert await another.print(OPEN) == first
        assert await another.print(dari) == await printer.print(dari)


@pytest.mark.parametrize(
    "locale",
    ["es-419", "en-001", "ar-001", "tlh", "aaaaaaaa", "en-US-posix", "zh-cmn-Hans-CN", "ar-u-nu-abcd", "en-ZZ", "x-y"],
)
async def test_any_language_tag_is_printed(printer: Printer, locale: str) -> None:
    assert (await printer.print(replace(OPEN, locale=locale))).startswith(b"%PDF-")


async def test_no_glyph_is_missing(printer: Printer) -> None:
    """In any language, nor in a name in another's letters."""
    for locale in LOCALES:
        for customer in CUSTOMERS.values():
            pdf = await printer.print(replace(FULL, locale=locale, customer=customer))
            assert missing_glyphs(pdf) == 0, (locale, customer.name)
    everybody = "ټډړږښګڼېۍیکگپچژڅځٹڈڑںےۓہھۂئءآأؤإةىي نमस्ते שלום ไทย Ελλάδα Київ Đặng ქართული አማርኛ 🦊 ؋€₹₺₨﷼"
    for locale in ("en", "fa-AF"):
        pdf = await printer.print(replace(OPEN, locale=locale, customer=Party(everybody)))
        assert missing_glyphs(pdf) == 0
    assert missing_glyphs(await printer.print(replace(OPEN, customer=Party("新宿")))) == 2  # no font has these


async def test_an_english_page_begins_at_the_left(printer: Printer) -> None:
    lines = lines_of(await printer.print(FULL))
    assert line_with(lines, "Invoicenumber").left == pytest.approx(MARGIN, abs=1)
    assert line_with(lines, "SMStoAfghanistan27,434,84227,434,8420.045001,234,567.89").right == pytest.approx(
        PAGE - MARGIN, abs=2
    )
    due = line_with(lines, "Amountdue$500,000.00")
    assert due.left > PAGE / 3
    assert due.right == pytest.approx(PAGE - MARGIN, abs=2)


@pytest.mark.parametrize(
    ("locale", "number", "row", "due"),
    [
        ("fa-AF", "شمار", "۱٬۲۳۴٬۵۶۷٫۸۹" "۰٫۰۴۵۰۰" "۲۷٬۴۳۴٬۸۴۲" "۲۷٬۴۳۴٬۸۴۲" + on_paper("پیامک به افغانستان"),
         "$۵۰۰٬۰۰۰٫۰۰" + on_paper("مبلغ قابل پرداخت")),
        ("ps", "شمېره", "۱٬۲۳۴٬۵۶۷٫۸۹" "۰٫۰۴۵۰۰" "۲۷٬۴۳۴٬۸۴۲" "۲۷٬۴۳۴٬۸۴۲" + on_paper("افغانستان ته پیغامونه"),
         "$۵۰۰٬۰۰۰٫۰۰" + on_paper("د تادیې وړ پیسې")),
        ("ur", "بل", "1,234,567.89" "0.04500" "27,434,842" "27,434,842" + "SMS" + on_paper("افغانستان کو"),
         "$500,000.00" + on_paper("واجب الادا رقم")),
    ],
)  # fmt: skip
async def test_a_right_to_left_page_is_mirrored(printer: Printer, locale: str, number: str, row: str, due: str) -> None:
    """Read off the paper from the left to the right: numbers as they are, Arabic letters turned around."""
    lines = lines_of(await printer.print(in_locale(FULL, locale)))
    fact = next(line for line in lines if "GH-2026-000001" in line.text and on_paper(number) in line.text)
    assert fact.text.index("GH-2026-000001") < fact.text.index(on_paper(number))
    assert fact.right == pytest.approx(PAGE - MARGIN, abs=2)
    assert line_with(lines, row).right == pytest.approx(PAGE - MARGIN, abs=2)
    owed = line_with(lines, due)
    assert owed.left < MARGIN + 10
    assert owed.right < 2 * PAGE / 3
    assert any("ap@pharmacy.example" in line.text for line in lines)
    assert line_with(lines, "GhasiTelecom").left == pytest.approx(MARGIN, abs=1)


async def test_what_is_foreign_on_a_page_keeps_its_order(printer: Printer) -> None:
    arabic = f"۴۲({on_paper('کابل')}({on_paper('شرکت دوا')}"
    for locale in ("en", "fa-AF"):
        name = Party("شرکت دوا (کابل) ۴۲")
        lines = lines_of(await printer.print(replace(OPEN, locale=locale, customer=name)))
        # a parenthesis is read as what is shown or as what it stands for: either is right
        assert any(arabic in line.text.replace(")", "(") for line in lines), locale
    lines = lines_of(await printer.print(replace(OPEN, locale="fa-AF", customer=Party("A.B. (Pvt.) Ltd!"))))
    assert any(line.text.startswith("A.B.(Pvt.)Ltd!") for line in lines)


async def test_amounts_below_zero_have_their_sign_at_the_left(printer: Printer) -> None:
    for locale, credited in (("fa-AF", "$-۵۰۰٬۰۰۰٫۰۰"), ("ar", "US$-500,000.00"), ("ar-EG", "US$-٥٠٠٬٠٠٠٫٠٠")):
        lines = lines_of(await printer.print(in_locale(FULL, locale)))
        assert any(line.text.startswith(credited) for line in lines), locale


def test_names_are_text() -> None:
    for name in HOSTILE:
        document = replace(DRAFT, customer=Party(name), lines=(DocumentLine("discount", 0, detail=name),))
        assert [item["body"]["text"] for item in query(document, "heading")] == ["Invoice"]
        said = describe(document)
        shown = [said["customer"]["name"], said["lines"][0]["detail"]]
        assert [text.strip("\u2068\u2069") for text in shown] == [text_of(name)] * 2


async def test_hostile_names_are_shown_as_they_are(printer: Printer) -> None:
    for name in HOSTILE[:9]:
        lines = lines_of(await printer.print(replace(OPEN, customer=Party(name))))
        assert any("".join(name.split()) in line.text for line in lines), name


async def test_nothing_is_cut(printer: Printer) -> None:
    for locale in LOCALES:
        for status, document in EVERY.items():
            pictures = pictures_of(await printer.print(in_locale(document, locale)))
            assert len(pictures) == 1, (locale, status)
            assert all(map(is_within_margins, pictures)), (locale, status)


@pytest.mark.parametrize("locale", ["en", "fa-AF", "ar"])
async def test_nothing_is_cut_of_long_names(printer: Printer, locale: str) -> None:
    for name in LONG:
        pdf = await printer.print(replace(huge(name), locale=locale))
        assert all(map(is_within_margins, pictures_of(pdf))), name[:10]
        if name[0] in "Wب":
            shown = sum(line.text.count(name[0]) for line in lines_of(pdf))
            assert shown >= 2 * (300 + 300 + 100 + 100) + 300 + 300 + 300 + 300  # parties; head, detail, tax, method


async def test_long_arabic_words_stay_joined(printer: Printer) -> None:
    """Where a word may break, but does not, its letters are one stroke of ink."""
    (page,) = pictures_of(await printer.print(replace(OPEN, locale="fa", customer=Party("ب" * 160))))
    per_millimetre = page.width // 210
    above_the_table = page.crop((0, 0, page.width, 100 * per_millimetre))
    strokes = (len(stroke) for row in rows_of(above_the_table) for stroke in "".join(row).split(" "))
    assert max(strokes) > 70 * per_millimetre


async def test_the_tables_head_is_on_every_page_and_the_sums_are_whole(printer: Printer) -> None:
    countries = ["AF", "US", "GB", "CD", "VC", "ZZ"]
    for count in range(60, 100, 3):
        usage = tuple(replace(USAGE, country=countries[n % 6], messages=n) for n in range(count))
        pdf = await printer.print(replace(FULL, lines=usage))
        lines = lines_of(pdf)
        pages = len(pictures_of(pdf))
        assert pages in (3, 4)
        sums = [line for line in lines if line.text.startswith(("Subtotal", "Amountdue"))]
        assert sums[0].top < sums[1].top  # on one page
        heads = [n for n, line in enumerate(lines) if line.text == "DescriptionMessagesSegmentsUnitpriceAmount"]
        last = next(n for n, line in enumerate(lines) if line.text.startswith("Subtotal"))
        assert len(heads) in (pages - 1, pages)
        assert all(head < last for head in heads)
        assert f"Page1of{pages}" in "".join(line.text for line in lines)


async def test_many_payments_go_on_on_the_next_page(printer: Printer) -> None:
    payments = tuple(PaymentLine(ISSUED, 10_000 * n, f"Transfer {n}") for n in range(80))
    pdf = await printer.print(replace(PAID, payments=payments))
    lines = lines_of(pdf)
    assert sum(line.text.startswith("PaymentonNovember1,2026(Transfer") for line in lines) == 80
    assert all(map(is_within_margins, pictures_of(pdf)))


def query(document: Document, selector: str) -> list[dict[str, dict[str, str]]]:
    compiler = typst.Compiler(TEMPLATE.read_bytes(), ignore_system_fonts=True, sys_inputs=inputs_of(document))
    found: list[dict[str, dict[str, str]]] = msgspec.json.decode(compiler.query(selector))
    return found


def rows_of(picture: Image.Image) -> Iterator[list[str]]:
    """The picture's rows, ink as # and paper as a space."""
    data = picture.tobytes()
    for start in range(0, len(data), picture.width):
        yield ["#" if grey < 128 else " " for grey in data[start : start + picture.width]]


def line_with(lines: list[Line], text: str) -> Line:
    found = [line for line in lines if text in line.text]
    assert found, (text, [line.text for line in lines])
    return found[0]
