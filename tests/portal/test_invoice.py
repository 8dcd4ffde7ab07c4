"""One invoice, that of the running month and credit notes as a browser gets them."""

from typing import Any

import pytest

from ghasi.contract import shapes
from ghasi.portal.failures import RATE_LIMITED
from ghasi.portal.pages import opening
from tests.client.fake_api import AT, CREDIT_NOTE, ID, INVOICE_DETAIL, SAMPLES, FakeApi, Given
from tests.portal.conftest import Browser, token
from tests.portal.test_billing import OTHER, links, replaced
from tests.portal.test_dashboard import HOSTILE, parts
from tests.portal.test_sessions import LIMITED

NOTE = SAMPLES["get_credit_note"]


@pytest.fixture
async def visitor(browser: Browser, api: FakeApi) -> Browser:
    browser.set(ghasi_access=token(), ghasi_zone="Asia/Kabul")
    return browser


async def test_an_invoice_has_its_lines_and_sums(visitor: Browser, api: FakeApi) -> None:
    lines = [
        shapes.InvoiceLine("SMS to AF", "AF", 20000, 20011, "0.0265", "530.29", "usage", None, "outbound", None),
        shapes.InvoiceLine(HOSTILE, None, 1, 1, "0.074", "0.07", "usage", None, "outbound", None),
        shapes.InvoiceLine("SMS to DE, included", "DE", 5, 5, "0.0000", "0.00", "included", None, "outbound", None),
        shapes.InvoiceLine("SMS to DE", "DE", -1, -1, "0.074", "-0.07", "adjustment", None, "outbound", "2026-09"),
        shapes.InvoiceLine("Base fee of the plan bakery", None, 0, 0, "9.0000", "9.00", "base_fee", None, None, None),
        shapes.InvoiceLine("Loyalty", None, 0, 0, "-1.0000", "-1.00", "discount", None, None, None),
    ]
    taxes = [shapes.TaxLine("VAT", "19", "538.29", "102.28"), shapes.TaxLine(HOSTILE, "0.975", "538.29", "5.25")]
    payments = [
        shapes.InvoicePayment(ID, "100.00", "balance", None, AT),
        shapes.InvoicePayment(ID, "1.00", "credit_card", HOSTILE, AT),
    ]
    note = replaced(CREDIT_NOTE, number="CN-2026-000001", reason=HOSTILE, total="7.00")
    customer = shapes.Party(HOSTILE, [HOSTILE, "Kabul"], "AF-1041", "accounts@example.com")
    found = replaced(
        INVOICE_DETAIL, number="GH-2026-000007", subtotal="538.29", tax="107.53", total="645.82", paid="101.00",
        credited="7.00", amount_due="537.82", overdue=True, plan="bakery", line_items=lines, taxes=taxes,
        payments=payments, credit_notes=[note], customer=customer,
    )  # fmt: skip
    api.answers["get_invoice"] = Given(200, found)
    shown = await visitor.get(f"/billing/invoices/{ID}", Accept_Language="en")
    assert shown.status == 200
    for text in (
        "Invoice GH-2026-000007", "overdue", "Afghanistan", "$0.0265", "$0.074", "Germany · Included in the plan",
        "Germany · Adjustment · September 2026", "-$0.07", "Base fee", "Discount", "Subtotal$538.29", "VAT 19%$102.28",
        "0.975%$5.25", "Total$645.82", "Paid-$101.00", "Credited-$7.00", "Amount due$537.82", "CN-2026-000001",
        "From the balance", "Credit card", "Planbakery", "Tax ID AF-1041", "accounts@example.com",
    ):  # fmt: skip
        assert text in shown.text, text
    assert (HOSTILE in shown.text, "<script>alert" in shown.raw) == (True, False)
    assert {f"/billing/invoices/{ID}.pdf", f"/billing/invoices/{ID}.csv"} < set(links(shown))
    assert f"/billing/credit-notes/{ID}" in links(shown)
    (current,) = [found["href"] for _, found in shown.tags if found.get("aria-current") == "page"]
    assert current == "/billing"


async def test_what_is_nothing_is_not_said(visitor: Browser, api: FakeApi) -> None:
    found = replaced(INVOICE_DETAIL, taxes=[], payments=[], credit_notes=[], line_items=[], tax="0")
    api.answers["get_invoice"] = Given(200, found)
    shown = await visitor.get(f"/billing/invoices/{ID}", Accept_Language="en")
    assert "This invoice has no lines." in shown.text
    assert "Tax$0.00" in shown.text
    for words in ("Payments", "Credited", "Credit notes"):
        assert words not in shown.text


async def test_the_running_month_is_an_invoice_without_documents(visitor: Browser, api: FakeApi) -> None:
    month = {"period_start": "2026-11-01T00:00:00.000Z", "period_end": "2026-12-01T00:00:00.000Z"}
    api.answers["preview_invoice"] = Given(200, replaced(INVOICE_DETAIL, number=None, status="draft", **month))
    for path in ("/billing/invoices/running", "/billing/invoices/running/detail"):
        shown = await visitor.get(path, Accept_Language="en")
        assert "November 2026 so far" in shown.text
        assert "Amount due" not in shown.text
        assert not [to for to in links(shown) if to.endswith((".pdf", ".csv"))]
    api.answers["preview_invoice"] = Given(502, b"")
    shown = await visitor.get("/billing/invoices/running")
    assert (shown.status, list(parts(shown))) == (200, ["/billing/invoices/running/detail"])


@pytest.mark.parametrize("suffix", ["", ".pdf", ".csv", "/detail"])
@pytest.mark.parametrize("identifier", [OTHER, "x", ID.upper(), "..%2f..%2fmessages", "%00"])
async def test_unknown_invoices_are_404_in_the_shell(
    visitor: Browser, api: FakeApi, identifier: str, suffix: str
) -> None:
    unknown = Given(404, {"code": "not_found", "title": "There is no such resource", "detail": "no"})
    api.answers |= dict.fromkeys(("get_invoice", "get_invoice_pdf", "get_invoice_csv"), unknown)
    shown = await visitor.get(f"/billing/invoices/{identifier}{suffix}")
    assert (shown.status, "Page not found" in shown.text, "Sign out" in shown.text) == (404, True, True)
    assert shown.headers["content-type"].startswith("text/html")


async def test_a_slow_invoice_loads_into_its_page(
    visitor: Browser, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "AT_ONCE_S", 0.05)
    api.answers["get_invoice"] = api.hang
    shown = await visitor.get(f"/billing/invoices/{ID}")
    assert (shown.status, list(parts(shown))) == (200, [f"/billing/invoices/{ID}/detail"])
    del api.answers["get_invoice"]
    assert "INV-1" in (await visitor.get(f"/billing/invoices/{ID}/detail", HX_Request="true")).text
    api.answers["get_invoice"] = Given(502, b"")
    failed = await visitor.get(f"/billing/invoices/{ID}/detail", HX_Request="true")
    assert (failed.status, "Try again" in failed.text) == (503, True)


@pytest.mark.parametrize(
    ("number", "name"),
    [
        ("GH-2026-000007", "GH-2026-000007.pdf"),
        (None, "draft.pdf"),
        ('x"; filename="evil.html\r\nX: y', "x-filename-evil.html-X-y.pdf"),
        ("../../etc", "etc.pdf"),
        ("فاکتور", "invoice.pdf"),
    ],
)
async def test_the_pdf_is_the_apis(visitor: Browser, api: FakeApi, number: str | None, name: str) -> None:
    content = b"%PDF-1.7\n" + bytes(range(256)) * 100
    api.answers["get_invoice_pdf"] = Given(200, content)
    api.answers["get_invoice"] = Given(200, replaced(INVOICE_DETAIL, number=number))
    async with visitor.http.get(f"{visitor.url}/billing/invoices/{ID}.pdf") as response:
        assert (response.status, await response.read()) == (200, content)
    assert response.headers["content-type"] == "application/pdf"
    assert response.headers["content-disposition"] == f'inline; filename="{name}"'
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-security-policy"].startswith("default-src 'none'")
    assert response.headers["x-content-type-options"] == "nosniff"


async def test_the_csv_is_the_apis(visitor: Browser, api: FakeApi) -> None:
    api.answers["get_invoice_csv"] = Given(200, b"line,amount\r\n")
    async with visitor.http.get(f"{visitor.url}/billing/invoices/{ID}.csv") as response:
        assert (response.status, await response.read()) == (200, b"line,amount\r\n")
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"] == 'attachment; filename="INV-1.csv"'
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("operation", ["get_invoice", "get_invoice_pdf"])
@pytest.mark.parametrize(
    ("given", "status", "text"),
    [(LIMITED, 429, RATE_LIMITED), (Given(504, b""), 503, "Ghasi cannot be reached"), (Given(502, b""), 503, "Try")],
    ids=["429", "504", "502"],
)
async def test_a_pdf_that_fails_is_a_page(
    visitor: Browser, api: FakeApi, operation: str, *, given: Given, status: int, text: str
) -> None:
    api.answers[operation] = given
    shown = await visitor.get(f"/billing/invoices/{ID}.pdf")
    assert (shown.status, text in shown.text, "Sign out" in shown.text) == (status, True, True)
    assert "content-disposition" not in shown.headers


# ---- credit notes


async def test_credit_notes_are_listed(visitor: Browser, api: FakeApi) -> None:
    page = await visitor.get("/billing/credit-notes?cursor=abc")
    assert (list(parts(page)), api.seen) == (["/billing/credit-notes/list?cursor=abc"], [])
    api.answers["list_credit_notes"] = Given(200, shapes.Page([replaced(CREDIT_NOTE, reason=HOSTILE)], "next"))
    shown = await visitor.get("/billing/credit-notes/list", HX_Request="true", Accept_Language="en")
    assert (HOSTILE in shown.text, "<script>" in shown.raw, "$0.50" in shown.text) == (True, False, True)
    assert links(shown) == [
        f"/billing/credit-notes/{ID}", f"/billing/invoices/{ID}", "/billing/credit-notes?cursor=next#credit-notes",
    ]  # fmt: skip


@pytest.mark.parametrize(("query", "text"), [("", "No credit notes"), ("?cursor=a", "No older credit notes")])
async def test_empty_lists_say_so(visitor: Browser, api: FakeApi, query: str, text: str) -> None:
    api.answers["list_credit_notes"] = Given(200, shapes.Page([], None))
    assert text in (await visitor.get(f"/billing/credit-notes/list{query}", HX_Request="true")).text


async def test_a_cursor_that_is_none_is_no_fault(visitor: Browser, api: FakeApi) -> None:
    api.answers["list_credit_notes"] = Given(422, {"code": "invalid_cursor", "title": "x", "detail": "x"})
    shown = await visitor.get("/billing/credit-notes/list?cursor=x", HX_Request="true")
    assert (shown.status, "This page of the list does not exist" in shown.text) == (422, True)


async def test_a_credit_note_has_its_lines_and_sums(visitor: Browser, api: FakeApi) -> None:
    taxes = [shapes.TaxLine("VAT", "19", "5.00", "0.95")]
    changes: dict[str, Any] = {"reason": HOSTILE, "subtotal": "5.00", "tax": "0.95", "total": "5.95"}
    api.answers["get_credit_note"] = Given(200, replaced(NOTE, **changes, to_balance="2.00", taxes=taxes))
    shown = await visitor.get(f"/billing/credit-notes/{ID}", Accept_Language="en")
    for text in ("Credit note CN-1", "SMS to Afghanistan", "VAT 19%$0.95", "Total$5.95", "Of it to your balance$2.00"):
        assert text in shown.text
    assert (HOSTILE in shown.text, "<script>alert" in shown.raw) == (True, False)
    assert {f"/billing/credit-notes/{ID}.pdf", f"/billing/invoices/{ID}"} <= set(links(shown))


@pytest.mark.parametrize("suffix", ["", ".pdf", "/detail"])
@pytest.mark.parametrize("identifier", [OTHER, "x", ID.upper(), "%00"])
async def test_unknown_credit_notes_are_404_in_the_shell(
    visitor: Browser, api: FakeApi, identifier: str, suffix: str
) -> None:
    unknown = Given(404, {"code": "not_found", "title": "There is no such resource", "detail": "no"})
    api.answers |= dict.fromkeys(("get_credit_note", "get_credit_note_pdf"), unknown)
    shown = await visitor.get(f"/billing/credit-notes/{identifier}{suffix}")
    assert (shown.status, "Page not found" in shown.text, "Sign out" in shown.text) == (404, True, True)


async def test_a_credit_note_that_is_away_loads_into_its_page(visitor: Browser, api: FakeApi) -> None:
    api.answers["get_credit_note"] = Given(502, b"")
    shown = await visitor.get(f"/billing/credit-notes/{ID}")
    assert (shown.status, list(parts(shown))) == (200, [f"/billing/credit-notes/{ID}/detail"])
    assert (await visitor.get(f"/billing/credit-notes/{ID}/detail", HX_Request="true")).status == 503


async def test_a_credit_notes_pdf_is_the_apis(visitor: Browser, api: FakeApi) -> None:
    api.answers["get_credit_note_pdf"] = Given(200, b"%PDF-1.7 \xff")
    async with visitor.http.get(f"{visitor.url}/billing/credit-notes/{ID}.pdf") as response:
        assert (response.status, await response.read()) == (200, b"%PDF-1.7 \xff")
    assert response.headers["content-disposition"] == 'inline; filename="CN-1.pdf"'
