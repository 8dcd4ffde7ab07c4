"""Billing in the browser: a month's usage, rates, the invoices, one of them with its documents, and a credit note."""

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from playwright.async_api import Page, expect

from tests.browser.conftest import Console, audit, settled
from tests.browser.test_dashboard import drawn, sent
from tests.end_to_end.customer import Customer


async def test_an_account_that_sent_nothing(portal: Page, customer: Customer) -> None:
    await portal.goto(customer.deployment.portal + "/billing")
    await expect(portal.get_by_role("heading", name="Nothing was sent in")).to_be_visible()
    await expect(portal.get_by_role("heading", name="No invoices yet")).to_be_visible()
    await expect(portal.get_by_role("tablist")).to_be_hidden()
    await audit(portal)
    await portal.get_by_role("link", name="so far").click()
    await expect(portal.get_by_text("There are no lines yet.")).to_be_visible()
    await audit(portal)
    await portal.go_back()
    await portal.get_by_label("Usage of").select_option(index=1)
    await expect(portal).to_have_url(re.compile(r"\?month=\d{4}-\d{2}$"))
    await portal.get_by_label("Status", exact=True).select_option("paid")
    await expect(portal).to_have_url(re.compile(r"\?month=\d{4}-\d{2}&status=paid$"))
    await expect(portal.get_by_text("No invoice is paid.")).to_be_visible()
    await expect(portal.get_by_label("Usage of")).not_to_have_value(f"{datetime.now(ZoneInfo('Asia/Kabul')):%Y-%m}")


async def test_usage_by_day_and_by_what_else_there_is(portal: Page, customer: Customer) -> None:
    await sent(customer, "+93701234567", "+93701234568", "+493012345678")
    usage = await customer.good("GET", "/v1/billing/usage")
    amount = f"US${usage['totals']['amount']}"

    await portal.goto(customer.deployment.portal + "/billing")
    part = portal.get_by_role("region", name="Figures of the month")
    await expect(part.get_by_text(amount).first).to_be_visible()
    chart = part.get_by_role("img", name=re.compile("Usage by day, .*: 3 messages"))
    await drawn(chart, 2)
    await expect(portal.get_by_role("region", name="Usage by day").get_by_role("row")).to_have_count(3)
    asked: list[str] = []
    portal.on("request", lambda request: asked.append(request.url))
    await portal.get_by_role("tab", name="By day").focus()
    await portal.keyboard.press("ArrowRight")
    table = portal.get_by_role("region", name="Usage by country")
    await expect(table.get_by_role("row").filter(has_text="Afghanistan")).to_contain_text("2")
    await expect(table.get_by_role("row").filter(has_text="Germany")).to_contain_text("1")
    await expect(table.get_by_role("row").filter(has_text="Total")).to_contain_text(amount)
    await portal.keyboard.press("ArrowLeft")
    await portal.keyboard.press("ArrowRight")
    await expect(table).to_be_visible()
    assert len([url for url in asked if "/by-country?" in url]) == 1
    await audit(portal)


async def test_an_invoice_its_documents_and_a_credit_note(portal: Page, customer: Customer) -> None:
    deployment, account = customer.deployment, customer.session["account"]["id"]
    await sent(customer, "+93701234567", "+93701234568", "+493012345678")
    deployment.run("admin", "accounts", "taxes", "set", account, "VAT=19")
    await portal.goto(deployment.portal + "/billing")
    await portal.get_by_role("link", name="so far").click()
    await expect(portal.get_by_role("heading", name="so far")).to_be_visible()
    await expect(portal.get_by_role("row").filter(has_text="Afghanistan")).to_be_visible()
    await expect(portal.get_by_role("term").filter(has_text="VAT 19%")).to_be_visible()
    await audit(portal)

    deployment.run("admin", "invoices", "close", "--period", datetime.now(UTC).strftime("%Y-%m"), "--early")
    (invoice,) = (await customer.good("GET", "/v1/billing/invoices"))["data"]
    await portal.goto(deployment.portal + "/billing")
    row = portal.get_by_role("row").filter(has_text=invoice["number"])
    await expect(row).to_contain_text("open")
    await expect(row).to_contain_text(f"US${invoice['total']}")
    await portal.get_by_role("link", name=invoice["number"]).click()
    await expect(portal.get_by_role("heading", name=f"Invoice {invoice['number']}")).to_be_visible()
    await expect(portal.get_by_role("row").filter(has_text="Afghanistan")).to_be_visible()
    await expect(portal.get_by_role("definition").filter(has_text=f"US${invoice['amount_due']}").first).to_be_visible()
    for link, suffix, head in (("Open PDF", "pdf", b"%PDF-"), ("Download CSV", "csv", b"")):
        path = await portal.get_by_role("link", name=link).get_attribute("href")
        answer = await portal.request.get(f"{deployment.portal}{path}")
        assert (answer.status, (await answer.body())[: len(head)]) == (200, head)
        assert f'filename="{invoice["number"]}.{suffix}"' in answer.headers["content-disposition"]
        assert answer.headers["cache-control"] == "no-store"

    deployment.run(
        "admin", "invoices", "credit", invoice["number"], "--line", "0=0.01", "--reason", "Sent <b>twice</b>"
    )
    deployment.run("admin", "invoices", "pay", invoice["number"], "--reference", "bank 1041")
    await portal.reload()
    await expect(portal.get_by_role("heading", name=f"Invoice {invoice['number']}")).to_contain_text("paid")
    await expect(portal.get_by_role("region", name="List of payments").get_by_role("row").nth(1)).to_contain_text(
        "bank 1041"
    )
    await audit(portal)
    (note,) = (await customer.good("GET", "/v1/billing/credit-notes"))["data"]
    await portal.get_by_role("link", name=note["number"]).click()
    await expect(portal.get_by_role("heading", name=f"Credit note {note['number']}")).to_be_visible()
    await expect(portal.get_by_text("Sent <b>twice</b>")).to_be_visible()
    await audit(portal)
    path = await portal.get_by_role("link", name="Open PDF").get_attribute("href")
    answer = await portal.request.get(f"{deployment.portal}{path}")
    assert (answer.status, (await answer.body())[:5]) == (200, b"%PDF-")
    await portal.get_by_role("link", name="Credit notes").click()
    await expect(portal.get_by_role("row").filter(has_text=note["number"])).to_contain_text(f"US${note['total']}")
    await audit(portal)


async def test_rates_are_found_by_number_and_country(portal: Page, customer: Customer, console: Console) -> None:
    console.expect("status of 422")
    file = customer.deployment.folder / "rates.csv"
    file.write_text("country,prefix,amount,currency\nAF,9370,0.0421,USD\nSE,,0.0513,USD\n")
    customer.deployment.run("admin", "rates", "import", str(file))
    await portal.goto(customer.deployment.portal + "/billing")
    await portal.get_by_role("navigation", name="Billing").get_by_role("link", name="Rates").click()
    table = portal.get_by_role("region", name="List of rates")
    await expect(table.get_by_role("row").filter(has_text="Sweden")).to_contain_text("US$0.0513")
    await audit(portal)
    number = portal.get_by_label("Number", exact=True)
    await number.fill("+93 70 123 45 67")
    await number.press("Enter")
    await expect(table.get_by_role("row").filter(has_text="+9370")).to_contain_text("US$0.0421")
    await expect(table.get_by_role("row").filter(has_text="Sweden")).to_have_count(0)
    await portal.get_by_role("link", name="Clear").click()
    await portal.get_by_label("Country").select_option("SE")
    await portal.get_by_role("button", name="Filter").press("Enter")
    await expect(portal).to_have_url(re.compile(r"/billing/rates\?country=SE$"))
    await expect(table.get_by_role("row").filter(has_text="Sweden")).to_have_count(1)
    await portal.get_by_label("Number", exact=True).fill("ten")
    await portal.keyboard.press("Enter")
    await expect(portal.get_by_text("Enter a number, or its first 6 digits")).to_be_visible()
    await audit(portal)


async def test_an_invoice_that_is_not_there_is_a_page(portal: Page, customer: Customer) -> None:
    path = "/billing/invoices/0199f3a0-0000-7000-8000-000000000001"
    for suffix in ("", ".pdf"):
        answer = await portal.request.get(f"{customer.deployment.portal}{path}{suffix}")
        assert answer.status == 404
        assert "Page not found" in await answer.text()
    await portal.goto(customer.deployment.portal + "/billing")
    await settled(portal)
