"""What a document says."""

from dataclasses import replace

import pytest

from ghasi.billing.documents.content import describe, text_of
from ghasi.billing.documents.document import DocumentLine, Party
from tests.billing.documents.samples import (
    CREDIT_NOTE,
    DRAFT,
    EVERY,
    FULL,
    OPEN,
    OVERDUE,
    PAID,
    UNCOLLECTIBLE,
    USAGE,
    VOID,
    in_locale,
)  # fmt: skip


def sums_of(document: object) -> list[tuple[str, str]]:
    return [(each["name"], each["amount"]) for each in describe(document)["sums"]]  # type: ignore[arg-type]


def test_an_open_invoice() -> None:
    said = describe(OPEN)
    assert (said["title"], said["heading"], said["mark"]) == ("Invoice GH-2026-000001", "Invoice", None)
    assert said["seller"] == {
        "label": "From", "name": "Ghasi Telecom",
        "lines": ["Street 12", "10115 Berlin", "Germany", "Tax ID: DE123456789", "billing@ghasi.example"],
    }  # fmt: skip
    assert said["customer"]["label"] == "Bill to"
    assert said["facts"] == [
        ("Invoice number", "GH-2026-000001"), ("Date of issue", "November 1, 2026"), ("Date due", "November 15, 2026"),
        ("Period (UTC)", "Oct 1\u2009–\u200931, 2026"), ("Currency", "USD"),
    ]  # fmt: skip
    assert said["headline"] == "$1,234,567.94 due November 15, 2026"
    assert said["footer"] == "GH-2026-000001 · $1,234,567.94 due November 15, 2026"
    assert said["lines"] == [
        {"description": "SMS to Afghanistan", "detail": "", "messages": "27,434,842", "segments": "27,434,842",
         "unit_price": "0.04500", "amount": "1,234,567.89"},
        {"description": "SMS to numbers of no country", "detail": "", "messages": "1", "segments": "1",
         "unit_price": "0.04625", "amount": "0.05"},
    ]  # fmt: skip
    assert sums_of(OPEN) == [
        ("Subtotal", "$1,234,567.94"), ("Total", "$1,234,567.94"), ("Amount due", "$1,234,567.94"),
    ]  # fmt: skip
    assert [each["strong"] for each in said["sums"]] == [False, False, True]


def test_states() -> None:
    said = {name: describe(document) for name, document in EVERY.items()}
    assert {name: each["mark"] and each["mark"]["text"] for name, each in said.items()} == {
        "draft": "Draft", "open": None, "overdue": "Overdue", "void": "Void", "uncollectible": "Uncollectible",
        "paid": "Paid", "full": None, "credit-note": None,
    }  # fmt: skip
    assert said["draft"]["headline"] == "$1,234,567.94 so far"
    assert said["draft"]["title"] == "Invoice (Draft)"
    assert said["overdue"]["headline"] == "$1,234,567.94 overdue since November 15, 2026"
    assert said["void"]["headline"] == "Void: nothing is to be paid"
    assert said["uncollectible"]["headline"] == "$1,234,567.94 written off as uncollectible"
    assert said["paid"]["headline"] == "$1,234,567.94 paid on November 5, 2026"
    assert ("Date paid", "November 5, 2026") in said["paid"]["facts"]
    assert said["full"]["headline"] == "$500,000.00 due November 15, 2026"


def test_overdue_is_said_of_open_invoices_alone() -> None:
    for document in (replace(PAID, overdue=True), replace(VOID, overdue=True), UNCOLLECTIBLE):
        assert describe(document)["mark"]["text"] != "Overdue"
    assert describe(OVERDUE)["mark"]["look"] == "bad"


def test_lines_of_every_kind() -> None:
    lines = describe(FULL)["lines"]
    assert [(line["description"], line["detail"], line["amount"]) for line in lines[3:]] == [
        ("SMS to numbers of no country", "", "0.05"), ("Base fee", "Business", "49.00"),
        ("Included in the plan", "Business", "-22.50"), ("Top-up to the minimum charge", "", "10.00"),
        ("Discount", "Welcome 10%", "-10.18"), ("Adjustment", "SMS to Afghanistan · September 2026", "0.54"),
    ]  # fmt: skip
    assert [lines[4][column] for column in ("messages", "segments", "unit_price")] == ["", "", ""]
    assert {line["unit_price"] for line in lines} == {"", "0.04500", "0.00790", "0.03125", "0.04625"}
    german = describe(in_locale(FULL, "de"))["lines"]
    assert (german[0]["description"], german[-1]["detail"]) == ("SMS: Afghanistan", "SMS: Afghanistan · September 2026")


def test_taxes_payments_and_credits() -> None:
    assert sums_of(FULL) == [
        ("Subtotal", "$1,234,660.14"), ("VAT (19% of $1,234,597.64)", "$234,573.55"),
        ("Digital services (7.5% of $62.50)", "$4.69"), ("Total", "$1,469,238.38"),
        ("Credit note CN-2026-000001, November 7, 2026", "-$500,000.00"),
        ("Payment on November 5, 2026 (Bank transfer)", "-$400,000.00"),
        ("Payment on November 9, 2026", "-$69,238.38"), ("Amount due", "$500,000.00"),
    ]  # fmt: skip
    assert sums_of(replace(FULL, payments=(), credits=()))[4:] == [
        ("Credited", "-$500,000.00"), ("Paid", "-$469,238.38"), ("Amount due", "$500,000.00"),
    ]  # fmt: skip


def test_a_credit_note() -> None:
    said = describe(CREDIT_NOTE)
    assert (said["title"], said["heading"]) == ("Credit note CN-2026-000001", "Credit note")
    assert said["facts"][:2] == [("Credit note number", "CN-2026-000001"), ("Invoice number", "GH-2026-000001")]
    assert said["facts"][-1] == ("Reason", "Messages of 14 October were sent twice")
    assert said["headline"] == "$53.55 credited on November 1, 2026"
    assert said["customer"]["label"] == "Customer"
    assert sums_of(CREDIT_NOTE) == [
        ("Subtotal", "$45.00"),
        ("VAT (19% of $45.00)", "$8.55"),
        ("Total credit", "$53.55"),
    ]
    assert describe(replace(CREDIT_NOTE, status="void"))["headline"] == "Void: nothing is credited"


@pytest.mark.parametrize(
    ("locale", "headline"),
    [
        ("de", "500.000,00\xa0$ fällig am 15. November 2026"),
        ("fa-AF", "\u2068\u200e$\xa0\u2066۵۰۰٬۰۰۰٫۰۰\u2069\u2069 قابل پرداخت تا ۱۵ نومبر ۲۰۲۶"),
        ("ps", "\u2068$\xa0\u2066۵۰۰٬۰۰۰٫۰۰\u2069\u2069 تر ۱۵ نومبر ۲۰۲۶ پورې د تادیې وړ"),
        ("ar", "\u2068\u200f\u2066500,000.00\u2069\xa0\u2068US$\u2069\u2069 مستحقة الدفع في 15 نوفمبر 2026"),
        ("nl", "US$\xa0500.000,00 due 15 november 2026"),
    ],
)
def test_in_the_customers_language(locale: str, headline: str) -> None:
    assert describe(in_locale(FULL, locale))["headline"] == headline


def test_every_document_in_every_language_says_all() -> None:
    for locale in ("en", "de", "fr", "es", "tr", "ar", "fa", "fa-AF", "ps", "ur"):
        for name, document in EVERY.items():
            said = describe(in_locale(document, locale))
            assert "{" not in str({**said, "page": ""}).replace("{'", ""), (locale, name)
            assert (said["direction"] == "rtl") is (locale in {"ar", "fa", "fa-AF", "ps", "ur"})


def test_names_are_one_line_and_turn_nothing() -> None:
    assert text_of("a\nb\u2028c\td\x07e \u202eevil\u202c \u2066x\u2069\u2069") == "a b c d e evil x"
    assert text_of("می\u200cخواهم") == "می\u200cخواهم"
    said = describe(replace(OPEN, customer=Party("x\u2069\u202e\n", (" ", "\u202e"), "{amount}", None)))
    assert said["customer"] == {"label": "Bill to", "name": "x", "lines": ["Tax ID: {amount}"]}


def test_files_are_called_by_number_or_month() -> None:
    assert [one.file_name for one in (OPEN, DRAFT, CREDIT_NOTE)] == [
        "GH-2026-000001.pdf", "draft-2026-10.pdf", "CN-2026-000001.pdf",
    ]  # fmt: skip


def test_prices_have_as_many_decimals_as_the_finest_of_them() -> None:
    lines = [replace(USAGE, unit_micros=unit) for unit in (1_000_000, 20_000, 7_900)]
    said = describe(replace(OPEN, lines=(*lines, DocumentLine(kind="base_fee", amount_micros=0))))
    assert [line["unit_price"] for line in said["lines"]] == ["1.0000", "0.0200", "0.0079", ""]
