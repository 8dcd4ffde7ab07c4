"""Senders and opt-outs in the browser: a default is chosen, a phone writes, STOP is seen and undone."""

from playwright.async_api import Page, expect

from tests.browser.conftest import Console, audit
from tests.end_to_end.customer import Customer
from tests.end_to_end.deployment import until

PHONE_NUMBER = "+93701239876"


def number_of(customer: Customer) -> str:
    """A number that no other account has."""
    return f"+9370{int(customer.session['account']['id'][-7:], 16) % 10**7:07}"


async def test_a_sender_becomes_the_default_and_from_offers_it(portal: Page, customer: Customer) -> None:
    admin, account = customer.deployment.run, customer.session["account"]["id"]
    await portal.goto(customer.deployment.portal + "/senders")
    await expect(portal.get_by_role("heading", name="No senders yet")).to_be_visible()
    await audit(portal)
    number = number_of(customer)
    admin("admin", "senders", "add", account, number)
    admin("admin", "senders", "add", account, "Bakery", "--countries", "AF,DE")
    await portal.reload()
    row = portal.get_by_role("row").filter(has_text=number)
    await row.get_by_role("button", name="Make default").click()
    await expect(portal.get_by_text("Sender is the default now")).to_be_visible()
    await expect(row.get_by_text("default", exact=True)).to_be_visible()
    await row.get_by_role("button", name="Add to pool").click()
    await expect(row.get_by_text("pool", exact=True)).to_be_visible()
    await expect(row.get_by_text("default", exact=True)).to_be_visible()
    await expect(portal.get_by_role("row").filter(has_text="Bakery").get_by_role("button")).to_have_count(1)
    await audit(portal)
    await portal.goto(customer.deployment.portal + "/messages/new")
    await expect(portal.get_by_text(f"Empty: your default, {number}.")).to_be_visible()
    await expect(portal.locator("#senders option")).to_have_count(2)


async def test_a_phone_answers_is_answered_and_stops(portal: Page, customer: Customer, console: Console) -> None:
    console.expect("422")
    account = customer.session["account"]["id"]
    number = number_of(customer)
    customer.deployment.run("admin", "senders", "add", account, number, "--default")

    async def came(count: int) -> bool:
        return len((await customer.good("GET", "/v1/messages?direction=inbound"))["data"]) == count

    for count, text in enumerate(("Yes please", "STOP"), 1):
        customer.deployment.run("simulator", "send", text, "--from", PHONE_NUMBER, "--to", number)
        await until(lambda count=count: came(count))
    await portal.goto(customer.deployment.portal + "/messages")
    await portal.get_by_label("Direction").select_option("inbound")
    await portal.get_by_role("button", name="Filter").click()
    await expect(portal).to_have_url(customer.deployment.portal + "/messages?direction=inbound")
    row = portal.get_by_role("row").filter(has_text="Yes please")
    await expect(row.get_by_text("Inbound")).to_be_visible()
    await row.get_by_role("link", name=PHONE_NUMBER).click()
    await expect(portal.get_by_role("heading", name=f"From {PHONE_NUMBER}")).to_be_visible()
    await audit(portal)
    await portal.get_by_role("link", name="Reply").click()
    await expect(portal.get_by_label("To", exact=True)).to_have_value(PHONE_NUMBER)
    await expect(portal.locator("#from")).to_have_value(number)
    await portal.get_by_label("Text", exact=True).fill("We bake them")
    await portal.get_by_role("button", name="Send message").click()
    await expect(portal.get_by_text("The recipient asked for no more messages.").first).to_be_visible()
    # the list of those who asked for no more: one by STOP, one by hand
    await portal.goto(customer.deployment.portal + "/senders/opt-outs")
    rows = portal.get_by_role("row")
    await expect(rows.filter(has_text="Answered STOP")).to_have_count(1)
    await portal.get_by_role("button", name="Add number").first.click()
    dialog = portal.get_by_role("dialog", name="Add a number")
    await dialog.get_by_label("Number").fill("12")
    await dialog.get_by_role("button", name="Add number").click()
    await expect(dialog.get_by_text("Must be a valid phone number")).to_be_visible()
    await audit(portal)
    await dialog.get_by_label("Number").fill("+93 70 123 4567")
    await dialog.get_by_role("button", name="Add number").click()
    await expect(rows.filter(has_text="Added by you")).to_have_count(1)
    await expect(dialog).to_be_hidden()
    await portal.get_by_role("button", name=f"Remove {PHONE_NUMBER}").click()
    await portal.get_by_role("dialog", name="Remove this opt-out?").get_by_role("button", name="Remove opt-out").click()
    await expect(rows.filter(has_text="Answered STOP")).to_have_count(0)
    await portal.get_by_label("Number", exact=True).first.fill(PHONE_NUMBER)
    await portal.get_by_role("button", name="Filter").click()
    await expect(portal.get_by_role("heading", name="Not opted out")).to_be_visible()
    await audit(portal)
