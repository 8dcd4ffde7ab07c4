"""Invoices on paper: what they say, that nothing is cut, and that nobody's name is more than a name."""

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
import typst

from ghasi.billing.accounts import customers
from ghasi.billing.invoice_pdf import TEMPLATE, Document, Printer, Seller, describe, open_printer
from ghasi.billing.invoices import admin as invoice_admin
from ghasi.billing.model import Invoice, Line
from ghasi.contract.serving import ServiceApp
from ghasi.contract.values import new_id
from ghasi.storage import outbox
from ghasi.storage.outbox import Event
from ghasi.storage.pool import Pool
from tests.billing.conftest import ACCOUNT, Messages, Sms, get

WHO = "operator:ann"
PIXELS_PER_INCH, PAPER = 20, b"\xff\xff\xff\xff"
SELLER = Seller("Ghasi Telecom", "Street 12\n10115 Berlin\nGermany")
ISSUED = datetime(2026, 11, 1, 0, 5, tzinfo=UTC)
OPEN = Invoice(
    id=new_id(), account_id=ACCOUNT, number="GH-2026-000001", status="open", currency="USD",
    period_start=datetime(2026, 10, 1, tzinfo=UTC), period_end=datetime(2026, 11, 1, tzinfo=UTC),
    subtotal_micros=1_234_567_890_000, tax_micros=0, total_micros=1_234_567_890_000, issued_at=ISSUED,
    due_at=ISSUED + timedelta(days=14), paid_at=None,
)  # fmt: skip
PAID = replace(OPEN, status="paid", paid_at=datetime(2026, 11, 5, tzinfo=UTC))
DRAFT = replace(OPEN, number=None, status="draft", issued_at=None, due_at=None)
VOID = replace(OPEN, status="void")
LINES = [
    Line("SMS to AF", "AF", 27_434_842, 27_434_842, 45000, 1_234_567_890_000),
    Line("SMS to numbers of no country", None, 1, 1, 46250, 50000),
]
HOSTILE = [
    "#panic()", "*b* _i_ $x^2$ `c` <l> @r // c", '"); #read("/etc/passwd"); ("', "\\u{41} \\", "= Heading", "- item",
    "<script>alert(1)</script>", "]] }}", "a\nb\u2028c\td\x07e", "\u202eevil", "سلام شرکت", "新宿", "🦊", "W" * 100,
    "word " * 19, "a\u0301" * 40, " ",
]  # fmt: skip


@pytest.fixture
async def printer() -> AsyncIterator[Printer]:
    async with open_printer(SELLER) as printer:
        yield printer


def given(document: Document) -> dict[str, str]:
    return {"invoice": msgspec.json.encode(describe(document, SELLER)).decode()}


def pages_of(document: Document) -> list[bytes]:
    """The pages as small pictures."""
    compiler = typst.Compiler(ignore_system_fonts=True)
    pages = compiler.compile(TEMPLATE.read_bytes(), format="png", ppi=PIXELS_PER_INCH, sys_inputs=given(document))
    assert pages is not None
    return pages if isinstance(pages, list) else [pages]


def query(document: Document, selector: str) -> list[dict[str, Any]]:
    compiler = typst.Compiler(TEMPLATE.read_bytes(), ignore_system_fonts=True, sys_inputs=given(document))
    found: list[dict[str, Any]] = msgspec.json.decode(compiler.query(selector))
    return found


def rows_of(png: bytes) -> Iterator[list[bytes]]:
    """A PNG's rows of pixels (RGBA, 8 bits each)."""
    width, _, depth, kind = struct.unpack(">IIBB", png[16:26])
    assert (depth, kind) == (8, 6)
    data, position = b"", 8
    while position < len(png):
        length, name = struct.unpack(">I4s", png[position : position + 8])
        data += png[position + 8 : position + 8 + length] if name == b"IDAT" else b""
        position += length + 12
    raw, stride = zlib.decompress(data), width * 4
    above = bytearray(stride)
    for start in range(0, len(raw), stride + 1):
        filtering, row = raw[start], bytearray(raw[start + 1 : start + 1 + stride])
        for n in range(stride):
            left, up, corner = (row[n - 4], above[n], above[n - 4]) if n >= 4 else (0, above[n], 0)
            row[n] = row[n] + (0, left, up, (left + up) // 2, paeth(left, up, corner))[filtering] & 255
        yield [bytes(row[n : n + 4]) for n in range(0, stride, 4)]
        above = row


def paeth(left: int, up: int, corner: int) -> int:
    """PNG (third edition), 9.4."""
    estimate = left + up - corner
    return min((left, up, corner), key=lambda one: abs(estimate - one))


def pixels(millimetres: float) -> int:
    return int(millimetres / 25.4 * PIXELS_PER_INCH)


def is_within_margins(png: bytes) -> bool:
    """Nothing but paper in the outer 15 mm at the sides; and something between them."""
    margin, rows = pixels(15), list(rows_of(png))
    sides = {pixel for row in rows for pixel in (*row[:margin], *row[-margin:])}
    return sides == {PAPER} and any(pixel != PAPER for row in rows for pixel in row)


def test_what_an_invoice_says() -> None:
    said = describe(Document(OPEN, LINES, "Kabul Pharmacy"), SELLER)
    assert said["title"] == "Invoice GH-2026-000001"
    assert said["mark"] is None
    assert said["seller"] == {"name": "Ghasi Telecom", "address": ["Street 12", "10115 Berlin", "Germany"]}
    assert said["customer"] == "Kabul Pharmacy"
    assert said["facts"] == [
        ("Invoice number", "GH-2026-000001"), ("Date of issue", "1 November 2026"), ("Date due", "15 November 2026"),
        ("Period (UTC)", "1 to 31 October 2026"),
    ]  # fmt: skip
    assert said["headline"] == "USD 1,234,567.89 due 15 November 2026"
    assert said["footer"] == "GH-2026-000001 · USD 1,234,567.89 due"
    assert said["lines"] == [
        {"description": "SMS to AF", "country": "AF", "messages": "27,434,842", "segments": "27,434,842",
         "unit_price": "0.04500", "amount": "1,234,567.89"},
        {"description": "SMS to numbers of no country", "country": "", "messages": "1", "segments": "1",
         "unit_price": "0.04625", "amount": "0.05"},
    ]  # fmt: skip
    assert said["sums"] == [
        ("Subtotal", "1,234,567.89"), ("Tax", "0.00"), ("Total", "1,234,567.89"), ("Amount due", "USD 1,234,567.89"),
    ]  # fmt: skip


def test_marks_of_what_is_not_open() -> None:
    paid, void, draft = (describe(Document(one, LINES, "A"), SELLER) for one in (PAID, VOID, DRAFT))
    assert (paid["mark"], void["mark"], draft["mark"]) == ("PAID", "VOID", "DRAFT")
    assert paid["headline"] == "USD 1,234,567.89 paid on 5 November 2026"
    assert ("Date paid", "5 November 2026") in paid["facts"]
    assert void["headline"] == "USD 1,234,567.89 written off: nothing is to be paid"
    assert paid["sums"][-1] == void["sums"][-1] == ("Amount due", "USD 0.00")
    assert void["footer"] == "GH-2026-000001 · VOID · USD 0.00 due"
    assert draft["headline"] == "USD 1,234,567.89 so far"
    assert draft["facts"] == [("Period (UTC)", "1 to 31 October 2026")]
    assert [Document(one, [], "").file_name for one in (OPEN, DRAFT)] == ["GH-2026-000001.pdf", "draft-2026-10.pdf"]


def test_currencies_have_their_own_decimals() -> None:
    yen = replace(OPEN, currency="JPY", subtotal_micros=1_234_000_000, total_micros=1_234_000_000)
    assert describe(Document(yen, [], "A"), SELLER)["sums"][-1] == ("Amount due", "JPY 1,234")


async def test_the_same_invoice_is_the_same_file(printer: Printer) -> None:
    document = Document(OPEN, LINES, "Kabul Pharmacy")
    first = await printer.print(document)
    assert first.startswith(b"%PDF-1.7")
    assert b"/Title(Invoice GH-2026-000001)" in first
    assert b"/CreationDate(D:20261101000500Z)" in first  # when it was issued
    others = await asyncio.gather(*(printer.print(one) for one in (Document(VOID, LINES, "B"), document, document)))
    assert [other == first for other in others] == [False, True, True]
    async with open_printer(SELLER) as another:
        assert await another.print(document) == first


def test_names_are_text() -> None:
    for name in HOSTILE:
        document = Document(DRAFT, [replace(LINES[0], description=name)], name)
        said = describe(document, SELLER)["customer"]
        shown = [item["body"].get("text", "") for item in query(document, "strong")]
        assert [text.replace("\u200b", "") for text in shown][1] == said
        assert [item["body"]["text"] for item in query(document, "heading")] == ["Invoice"]


def test_nothing_is_cut() -> None:
    """Long names, large amounts, every status."""
    widest = Line("W" * 200, "AF", 10**12, 10**13, 999_999_999_999, 10**19)
    huge = replace(OPEN, subtotal_micros=10**19, total_micros=10**19)
    seller = "S" * 200
    for invoice in (huge, replace(huge, status="paid", paid_at=ISSUED), DRAFT, VOID):
        for name in ("W" * 100, "Kabul Pharmacy", "شرکت " * 20):
            (page,) = pages_of(Document(invoice, [widest, *LINES], name))
            assert is_within_margins(page), (invoice.status, name)
    assert describe(Document(huge, [], "A"), Seller(seller, None))["seller"] == {"name": seller, "address": []}


def test_200_lines_have_their_head_on_every_page() -> None:
    lines = [replace(LINES[0], description=f"SMS to {'W' * (n % 20)}", messages=n) for n in range(200)]
    document = Document(OPEN, lines, "Kabul Pharmacy")
    pages = pages_of(document)
    assert len(pages) == 6
    assert all(map(is_within_margins, pages))
    (table,) = query(document, "table")
    assert sum(child["func"] == "cell" for child in table["children"]) == 200 * 6
    # at the top of each page but the first is the same: the head, and not a line, of which none is like another
    heads = [list(rows_of(page))[: pixels(24)] for page in pages[1:]]
    assert all(head == heads[0] for head in heads)
    assert any(pixel != PAPER for row in heads[0] for pixel in row)


async def named(pool: Pool, account_id: UUID, *names: tuple[int, str]) -> None:
    """What auth-service says of an account, by sequence; and billing listening."""
    events = [
        Event(
            new_id(), "account.updated", account_id, account_id, sequence, datetime.now(UTC),
            outbox.to_json({"id": str(account_id), "name": name, "status": "active", "countries": None,
                            "daily_cap": None}),
        )
        for sequence, name in names
    ]  # fmt: skip
    async with pool.acquire() as connection, connection.transaction():
        await outbox.append(connection, "auth", events)
    idle = 0
    while idle < 2:  # the first look at an outbox only makes the position
        idle = idle + 1 if await outbox.consume(pool, "auth", "billing", customers.apply) == 0 else 0


async def test_the_newest_name_is_kept(pool: Pool) -> None:
    await named(pool, ACCOUNT, (2, "Second"), (1, "First"))
    await named(pool, ACCOUNT, (1, "First"))
    other = new_id()
    await named(pool, other, (1, "Other"), (3, "Another"), (2, "Else"))
    rows = await pool.fetch("SELECT account_id, name, sequence FROM billing.customers ORDER BY name")
    assert [tuple(row) for row in rows] == [(other, "Another", 3), (ACCOUNT, "Second", 2)]


async def test_an_invoice_keeps_the_name_it_was_opened_with(pool: Pool, messages: Messages, app: ServiceApp) -> None:
    await messages.happen(Sms())
    await named(pool, ACCOUNT, (1, "Kabul Pharmacy"))
    (made,) = (await invoice_admin.close_period(pool, "2026-10", actor=WHO)).made
    first = await get(app, f"invoices/{made.id}/pdf")
    assert (first.status, first.header("content-type")) == (200, "application/pdf")
    assert first.header("content-disposition") == f'inline; filename="{made.number}.pdf"'
    assert first.body.startswith(b"%PDF-")
    await named(pool, ACCOUNT, (2, "Herat Pharmacy"))
    assert (await get(app, f"invoices/{made.id}/pdf")).body == first.body
    await invoice_admin.pay_invoice(pool, str(made.number), WHO)
    assert (await get(app, f"invoices/{made.id}/pdf")).body != first.body


async def test_a_draft_has_the_name_of_now(pool: Pool, app: ServiceApp) -> None:
    draft = new_id()
    await pool.execute(
        "INSERT INTO billing.invoices (id, account_id, currency, period_start, period_end, subtotal_micros, "
        "total_micros) VALUES ($1, $2, 'USD', '2026-10-01Z', '2026-11-01Z', 0, 0)", draft, ACCOUNT,
    )  # fmt: skip
    nameless = await get(app, f"invoices/{draft}/pdf")
    assert nameless.header("content-disposition") == 'inline; filename="draft-2026-10.pdf"'
    await named(pool, ACCOUNT, (1, "Kabul Pharmacy"))
    with_name = await get(app, f"invoices/{draft}/pdf")
    assert (with_name.status, with_name.body != nameless.body) == (200, True)


async def test_another_accounts_pdf_is_not_found(pool: Pool, messages: Messages, app: ServiceApp) -> None:
    await messages.happen(Sms())
    (made,) = (await invoice_admin.close_period(pool, "2026-10", actor=WHO)).made
    for target, who in ((f"invoices/{made.id}/pdf", new_id()), (f"invoices/{new_id()}/pdf", ACCOUNT),
                        (f"invoices/{made.number}/pdf", ACCOUNT)):  # fmt: skip
        answer = await get(app, target, who)
        assert (answer.status, answer.json["code"]) == (404, "not_found")
