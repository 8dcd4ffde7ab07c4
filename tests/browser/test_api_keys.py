"""API keys by hand: made, shown once, used and revoked."""

import re

from playwright.async_api import Locator, Page, Route, expect

from tests.browser.conftest import Console, audit, settled
from tests.end_to_end.customer import Customer
from tests.end_to_end.deployment import until

HOSTILE = "<script>alert(1)</script> & سلام"


async def open_keys(page: Page, customer: Customer) -> None:
    await page.goto(customer.deployment.portal + "/api-keys")
    await settled(page)


def row(page: Page, name: str) -> Locator:
    return page.get_by_role("row").filter(has_text=name)


async def secret_of(page: Page) -> str:
    shown = await page.get_by_role("dialog").get_by_text(re.compile(r"^ghk_\w+$")).inner_text()
    assert re.fullmatch(r"ghk_[0-9A-Za-z]{36}", shown)
    return shown


async def expect_forgotten(page: Page, secret: str) -> None:
    """The page, and the browser's storage for it, hold the secret no more; a dialog's close event comes just behind."""

    async def is_forgotten() -> bool:
        return secret not in await everything_kept(page)

    await until(is_forgotten)


async def everything_kept(page: Page) -> str:
    stored = "JSON.stringify([{...sessionStorage}, {...localStorage}, history.state, location.href, document.cookie])"
    return await page.content() + await page.evaluate(stored)


async def test_a_key_is_shown_once_works_and_is_revoked(portal: Page, customer: Customer) -> None:
    await open_keys(portal, customer)
    await expect(portal.get_by_text("No API keys yet")).to_be_visible()
    await audit(portal)
    await portal.get_by_role("button", name="Create your first key").click()
    dialog = portal.get_by_role("dialog", name="Create API key")
    await audit(portal)
    await dialog.get_by_label("Name").fill(HOSTILE)
    for scope in ("messages:send", "webhooks:read", "webhooks:write", "billing:read"):
        await dialog.get_by_label(scope).uncheck()
    await dialog.get_by_label("Expires").select_option("In 90 days")
    await dialog.get_by_role("button", name="Create key").click()
    secret = await secret_of(portal)
    await audit(portal)
    assert (await customer.call("GET", "/v1/messages", token=secret)).status == 200
    assert (await customer.call("GET", "/v1/webhooks", token=secret)).status == 403
    await dialog.get_by_role("button", name="Copy API key").click()
    # a click beside it does not take the secret away
    await portal.mouse.click(5, 5)
    await expect(dialog).to_be_visible()
    await dialog.get_by_role("button", name="I have copied it").click()
    await expect(dialog).to_be_hidden()
    await expect(portal.get_by_text(secret)).to_have_count(0)  # the dialog's closing is told a moment after it
    await expect_forgotten(portal, secret)
    await expect(row(portal, HOSTILE)).to_contain_text(f"{secret[:12]}…")
    await expect(row(portal, HOSTILE)).to_contain_text("messages:read")
    await expect(row(portal, HOSTILE)).not_to_contain_text("messages:send")

    await portal.get_by_role("button", name="Create key").click()
    await expect(dialog.get_by_label("Name")).to_have_value("")
    await portal.keyboard.press("Escape")
    await portal.goto(customer.deployment.portal + "/messages")
    await portal.go_back()
    await settled(portal)
    await expect_forgotten(portal, secret)
    await audit(portal)

    async def is_used() -> bool:
        (key,) = (await customer.good("GET", "/v1/api-keys"))["data"]
        return key["last_used_at"] is not None

    await until(is_used)
    await portal.reload()
    await expect(row(portal, HOSTILE)).to_contain_text(re.compile(r"ago|now|in 0 sec"))
    await row(portal, HOSTILE).get_by_role("button", name="Revoke").click()
    asking = portal.get_by_role("dialog", name="Revoke this API key?")
    await expect(asking).to_contain_text(HOSTILE)
    await audit(portal)
    await asking.get_by_role("button", name="Revoke key").click()
    await expect(portal.get_by_text("API key revoked")).to_be_visible()
    await expect(portal.get_by_text("No API keys yet")).to_be_visible()
    assert (await customer.call("GET", "/v1/messages", token=secret)).status == 401


async def test_leaving_the_page_takes_the_secret_along(portal: Page, customer: Customer) -> None:
    await open_keys(portal, customer)
    await portal.get_by_role("button", name="Create key").click()
    await portal.get_by_label("Name").fill("left")
    await portal.get_by_role("dialog").get_by_role("button", name="Create key").click()
    secret = await secret_of(portal)
    await portal.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
    await expect_forgotten(portal, secret)
    await portal.goto(customer.deployment.portal + "/messages")
    await portal.go_back()
    await settled(portal)
    await expect(row(portal, "left")).to_be_visible()
    await expect_forgotten(portal, secret)


async def test_by_keyboard_alone(portal: Page, customer: Customer) -> None:
    await open_keys(portal, customer)
    await portal.get_by_role("button", name="Create key", exact=True).focus()
    await portal.keyboard.press("Enter")
    dialog = portal.get_by_role("dialog", name="Create API key")
    await expect(dialog.get_by_label("Name")).to_be_focused()
    await portal.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    await expect(portal.get_by_role("button", name="Create key", exact=True)).to_be_focused()
    await portal.keyboard.press("Enter")
    await expect(dialog.get_by_label("Name")).to_be_focused()
    await portal.keyboard.type("By keyboard")
    await portal.keyboard.press("Tab")
    await expect(dialog.get_by_label("messages:send")).to_be_focused()
    await portal.keyboard.press("Space")
    await expect(dialog.get_by_label("messages:send")).not_to_be_checked()
    for _ in range(5):
        await portal.keyboard.press("Tab")
    await expect(dialog.get_by_label("Expires")).to_be_focused()
    await portal.keyboard.type("In 30")
    await portal.keyboard.press("Tab")
    await portal.keyboard.press("Tab")
    await expect(dialog.get_by_role("button", name="Create key")).to_be_focused()
    await portal.keyboard.press("Enter")
    secret = await secret_of(portal)
    await expect(dialog.locator(":focus")).to_contain_text("Copy the key")
    await portal.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    await portal.keyboard.press("Tab")
    await expect(dialog.get_by_role("button", name="Copy API key")).to_be_focused()
    await portal.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    await expect(row(portal, "By keyboard")).to_be_visible()
    await expect_forgotten(portal, secret)


async def test_what_is_wrong_stands_beside_its_field(portal: Page, customer: Customer, console: Console) -> None:
    console.expect("422")
    await open_keys(portal, customer)
    await portal.get_by_role("button", name="Create key", exact=True).click()
    dialog = portal.get_by_role("dialog", name="Create API key")
    await dialog.get_by_label("Expires").select_option("On a chosen day")
    await dialog.get_by_label("Last day").fill("2020-01-31")
    await dialog.get_by_role("button", name="Create key").click()
    await expect(dialog.get_by_text("Give the key a name.")).to_be_visible()
    await expect(dialog.get_by_text("This day is over.")).to_be_visible()
    await expect(dialog.get_by_label("Name")).to_be_focused()
    await expect(dialog.get_by_label("Last day")).to_have_value("2020-01-31")
    await audit(portal)


async def test_a_key_whose_answer_was_lost_is_explained(portal: Page, customer: Customer, console: Console) -> None:
    """The same request again, with the same Idempotency-Key: it makes no second key."""
    console.expect("ERR_FAILED|422|htmx:")
    await open_keys(portal, customer)
    lost = []

    async def lose(route: Route) -> None:
        if route.request.method == "POST" and not lost:
            lost.append(await route.fetch())
            await route.abort()
        else:
            await route.continue_()

    await portal.route("**/api-keys", lose)
    await portal.get_by_role("button", name="Create key", exact=True).click()
    dialog = portal.get_by_role("dialog", name="Create API key")
    await dialog.get_by_label("Name").fill("lost")
    await dialog.get_by_role("button", name="Create key").click()
    await portal.get_by_role("button", name="Try again").click()
    await expect(dialog.get_by_text("its secret cannot be shown again")).to_be_visible()
    await expect(dialog.get_by_label("Name")).to_have_value("lost")
    assert len((await customer.good("GET", "/v1/api-keys"))["data"]) == 1
    await dialog.get_by_role("button", name="Create key").click()
    await secret_of(portal)
    assert len((await customer.good("GET", "/v1/api-keys"))["data"]) == 2
