"""Billing in the browser: a month's usage, the invoices, one of them and its PDF."""

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from playwright.async_api import Page, expect

from tests.browser.conftest import audit, settled
from tests.browser.test_dashboard import drawn, sent
from tests.end_to_end.customer import Customer


async def test_an_account_that_sent_nothing(portal: Page, customer: Customer) -> None:
    await portal.goto(customer.deployment.portal + "/billing")
    await expect(portal.get_by_role("heading", name="Nothing was sent in")).to_be_visible()
    await expect(portal.get_by_role("heading", name="No invoices yet")).to_be_visible()
    await audit(portal)
    await portal.get_by_label("Usage of").select_option(index=1)
    await expect(portal).to_have_url(re.compile(r"\?month=\d{4}-\d{2}$"))
    await portal.get_by_label("Status").select_option("paid")
    await expect(portal).to_have_url(re.compile(r"\?month=\d{4}-\d{2}&status=paid$"))
    await expect(portal.get_by_text("No invoice is paid.")).to_be_visible()
    await expect(portal.get_by_label("Usage of")).not_to_have_value(f"{datetime.now(ZoneInfo('Asia/Kabul')):%Y-%m}")


async def test_usage_invoice_and_pdf(portal: Page, customer: Customer) -> None:
    await sent(customer, "+93701234567", "+93701234568", "+493012345678")
    period = datetime.now(UTC).strftime("%Y-%m")
    customer.deployment.run("admin", "invoices", "close", "--period", period, "--early")
    usage = await customer.good("GET", "/v1/billing/usage")
    amount = f"US${usage['totals']['amount']}"

    await portal.goto(customer.deployment.portal + "/billing")
    part = portal.get_by_role("region", name="Figures of the month")
    await expect(part.get_by_text(amount).first).to_be_visible()
    chart = part.get_by_role("img", name=re.compile("Usage by day, .*: 3 messages"))
    await drawn(chart, 2)
    await expect(part.get_by_role("region", name="Usage by day").get_by_role("row")).to_have_count(3)
    await portal.get_by_role("tab", name="By day").focus()
    await portal.keyboard.press("ArrowRight")
    table = part.get_by_role("region", name="Usage by country")
    await expect(table.get_by_role("row").filter(has_text="Afghanistan")).to_contain_text("2")
    await expect(table.get_by_role("row").filter(has_text="Germany")).to_contain_text("1")
    await audit(portal)

    (invoice,) = (await customer.good("GET", "/v1/billing/invoices"))["data"]
    row = portal.get_by_role("row").filter(has_text=invoice["number"])
    await expect(row).to_contain_text("open")
    await expect(row).to_contain_text(f"US${invoice['total']}")
    await portal.get_by_role("link", name=invoice["number"]).click()
    await expect(portal.get_by_role("heading", name=f"Invoice {invoice['number']}")).to_be_visible()
    await expect(portal.get_by_role("row").filter(has_text="Afghanistan")).to_be_visible()
    await expect(portal.get_by_role("definition").filter(has_text=f"US${invoice['amount_due']}").first).to_be_visible()
    await audit(portal)

    link = portal.get_by_role("link", name="Open PDF")
    path = await link.get_attribute("href")
    answer = await portal.request.get(f"{customer.deployment.portal}{path}")
    assert (answer.status, (await answer.body())[:5]) == (200, b"%PDF-")
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["content-disposition"] == f'inline; filename="{invoice["number"]}.pdf"'
    assert answer.headers["cache-control"] == "no-store"


async def test_an_invoice_that_is_not_there_is_a_page(portal: Page, customer: Customer) -> None:
    path = "/billing/invoices/0199f3a0-0000-7000-8000-000000000001"
    for suffix in ("", ".pdf"):
        answer = await portal.request.get(f"{customer.deployment.portal}{path}{suffix}")
        assert answer.status == 404
        assert "Page not found" in await answer.text()
    await portal.goto(customer.deployment.portal + "/billing")
    await settled(portal)
