"""Balances and limits in the browser: what there is, what moved it, an own limit, and messages that are refused."""

from typing import Any

from playwright.async_api import Page, expect

from tests.browser.conftest import Console, audit
from tests.browser.test_dashboard import sent
from tests.end_to_end.customer import Customer
from tests.end_to_end.deployment import until

USED_UP = "The balance is used up: messages are refused."
REACHED = "The spending limit is reached: messages are refused."


async def told(customer: Customer, **wanted: Any) -> None:
    """Wait until the balance says so."""

    async def is_so() -> bool:
        balance = await customer.good("GET", "/v1/billing/balance")
        return {name: balance[name] for name in wanted} == wanted

    await until(is_so)


async def refused(customer: Customer, status: int) -> None:
    """Wait until messages has heard of it, by a preview, since what is sent before is taken; then be answered so."""
    body = {"to": "+93701234567", "body": "Hello"}

    async def is_heard() -> bool:
        preview = await customer.good("POST", "/v1/messages/preview", body)
        return any(error["field"] == "account" for error in preview["errors"])

    await until(is_heard)
    assert (await customer.call("POST", "/v1/messages", body)).status == status


async def test_who_pays_ahead_sends_while_the_balance_lasts(portal: Page, customer: Customer, console: Console) -> None:
    console.expect("status of 422")
    deployment, account = customer.deployment, customer.session["account"]["id"]
    deployment.run("admin", "plans", "set", "ahead", "--payment", "prepaid")
    deployment.run("admin", "accounts", "plan", account, "ahead")
    await told(customer, payment="prepaid", status="insufficient_balance")
    await refused(customer, 402)

    for path in ("/", "/messages/new", "/billing", "/billing/balance"):
        await portal.goto(deployment.portal + path)
        await expect(portal.get_by_text(USED_UP)).to_be_visible()
        await audit(portal)
    await portal.goto(deployment.portal + "/messages/new")
    await portal.get_by_label("To", exact=True).fill("+93701234567")
    await portal.get_by_label("Text", exact=True).fill("Your bread is ready")
    await portal.get_by_role("button", name="Send message").press("Enter")
    await expect(portal.get_by_role("alert")).to_contain_text("The account's prepaid balance is used up.")
    await expect(portal.get_by_role("alert")).to_be_focused()
    await expect(portal.get_by_label("Text", exact=True)).to_have_value("Your bread is ready")
    await audit(portal)

    deployment.run(
        "admin", "accounts", "top-up", account, "20", "--reference", f"bank {account}", "--note", "<b>Cash</b>"
    )
    await told(customer, status="ok", balance="20.0000")
    await portal.get_by_role("link", name="Your balance").click()
    await expect(portal.get_by_role("definition").filter(has_text="US$20.00")).to_have_count(2)
    await expect(portal.get_by_text(USED_UP)).to_have_count(0)
    row = portal.get_by_role("row").filter(has_text="Top-up")
    await expect(row).to_contain_text("<b>Cash</b>")
    await expect(row).to_contain_text("+US$20.00")
    await audit(portal)
    await portal.get_by_label("Kind").select_option("usage")
    await expect(portal.get_by_text("None is of this kind.")).to_be_visible()


async def test_an_owner_limits_what_is_spent(portal: Page, customer: Customer, console: Console) -> None:
    console.expect("status of 422")
    deployment = customer.deployment
    await sent(customer, "+93701234567")
    await portal.goto(deployment.portal + "/billing/balance")
    limit = portal.get_by_label("Limit for a month")
    await limit.fill("much")
    await limit.press("Enter")
    await expect(portal.get_by_text("Enter an amount such as 250.00, or nothing.")).to_be_visible()
    await expect(limit).to_be_focused()
    await limit.fill("250")
    await limit.press("Enter")
    await expect(portal.get_by_role("status").get_by_text("Your limit is saved")).to_be_visible()
    await expect(portal.get_by_role("meter", name="Spent of the limit")).to_be_visible()
    await expect(limit).to_have_value("250.00")
    await audit(portal)
    await limit.fill("0")
    await limit.press("Enter")
    await expect(portal.get_by_text(REACHED)).to_be_visible()
    await expect(portal.get_by_text("when you raise your limit")).to_be_visible()
    await refused(customer, 402)
    await audit(portal)
    await limit.fill("")
    await limit.press("Enter")
    await expect(portal.get_by_role("status").get_by_text("Your limit is taken away")).to_be_visible()
    await expect(portal.get_by_text(REACHED)).to_have_count(0)
    await expect(portal.get_by_role("meter")).to_have_count(0)


async def test_what_invoices_call_the_account(portal: Page, customer: Customer, console: Console) -> None:
    console.expect("status of 422")
    await portal.goto(customer.deployment.portal + "/settings/billing")
    await audit(portal)
    email = portal.get_by_label("Email for invoices")
    await portal.get_by_label("Legal name").fill("کابل & <b>Sons</b>")
    await portal.get_by_label("Address").fill("Street 12\nKabul")
    await email.fill("nobody")
    await email.press("Enter")
    await expect(portal.get_by_text("Enter an email address, like accounts@example.com.")).to_be_visible()
    await expect(email).to_be_focused()
    await email.fill("accounts@example.com")
    await email.press("Enter")
    await expect(portal.get_by_role("status").get_by_text("Billing details saved")).to_be_visible()
    await portal.goto(customer.deployment.portal + "/billing/invoices/running")
    await expect(portal.get_by_text("کابل & <b>Sons</b>")).to_be_visible()
    await expect(portal.get_by_text("Street 12")).to_be_visible()
    await audit(portal)
