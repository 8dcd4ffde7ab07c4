"""The API reference in the browser: an operation open, deep links, the keyboard, and a document that does not come."""

from playwright.async_api import Page, Route, expect

from tests.browser.conftest import Console, audit
from tests.end_to_end.customer import Customer


async def test_an_operation_with_its_fields_is_for_everybody(portal: Page, customer: Customer) -> None:
    await portal.goto(customer.deployment.portal + "/reference#send_message")
    opened = portal.locator(".opblock.is-open")
    await expect(opened.get_by_role("button", name="/v1/messages Send a message")).to_be_focused()
    await expect(opened.locator(".opblock-summary")).to_be_in_viewport()
    await expect(opened.locator("pre").first).to_contain_text("curl -X POST http")
    await opened.get_by_text("Fields", exact=True).nth(1).click()
    await expect(opened.get_by_text("completed_at", exact=True)).to_be_visible()
    await audit(portal)


async def test_an_operation_has_an_address_and_is_reached_by_keys(portal: Page, customer: Customer) -> None:
    await portal.goto(customer.deployment.portal + "/reference")
    link = portal.get_by_role("navigation", name="Operations").get_by_role("link", name="Create an API key")
    await link.focus()
    await portal.keyboard.press("Enter")
    summary = portal.get_by_role("button", name="/v1/api-keys Create an API key")
    await expect(summary).to_be_focused()
    await expect(summary).to_have_attribute("aria-expanded", "true")
    await expect(link).to_have_attribute("aria-current", "true")
    await portal.keyboard.press("Enter")
    await expect(summary).to_have_attribute("aria-expanded", "false")
    await expect(portal).to_have_url(customer.deployment.portal + "/reference")
    await portal.keyboard.press("Enter")
    await expect(portal).to_have_url(customer.deployment.portal + "/reference#create_api_key")
    await audit(portal)


async def test_what_endpoints_are_sent_is_described(portal: Page, customer: Customer) -> None:
    await portal.goto(customer.deployment.portal + "/reference")
    summary = portal.get_by_role("button", name="webhook.exhausted The last retry of a delivery to another endpoint")
    await summary.press("Enter")
    opened = portal.locator(".opblock.is-open")
    await expect(opened.get_by_text("webhook-signature")).to_be_visible()
    await expect(opened.locator("pre").first).to_contain_text('"error": "status: the endpoint answered 503"')
    await audit(portal)


async def test_a_document_that_does_not_come_is_asked_for_again(
    portal: Page, customer: Customer, console: Console
) -> None:
    console.expect("openapi.json")

    async def break_off(route: Route) -> None:
        await route.abort()

    await portal.route("**/reference/openapi.json", break_off)
    await portal.goto(customer.deployment.portal + "/reference")
    await expect(portal.get_by_role("heading", name="This could not be loaded")).to_be_visible()
    await portal.unroute("**/reference/openapi.json")
    await portal.get_by_role("button", name="Try again").click()
    await expect(portal.get_by_role("button", name="/v1/messages Send a message")).to_be_visible()
    await expect(portal.get_by_role("heading", name="This could not be loaded")).to_be_hidden()
