"""Endpoints and their deliveries by hand, with receivers on real sockets."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import Console, audit, settled
from tests.end_to_end.customer import Customer, Receiver, receiving
from tests.end_to_end.deployment import until

HOSTILE = "</pre><script>alert(1)</script>\x1b[31m سلام دنیا"


@dataclass
class Failing:
    """A receiver that fails until it is told otherwise; what comes of the types in `takes` it takes all along."""

    url: str = ""
    status: int = 500
    takes: frozenset[str] = frozenset()
    came: list[str] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        event = await request.json()
        self.came.append(request.headers["webhook-id"])
        status = 200 if event["type"] in self.takes else self.status
        return web.Response(status=status, text=HOSTILE if status >= 400 else "thank you")


@asynccontextmanager
async def failing() -> AsyncIterator[Failing]:
    receiver = Failing()
    app = web.Application()
    app.router.add_post("/hook", receiver.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()


async def open_page(page: Page, customer: Customer, path: str) -> None:
    await page.goto(customer.deployment.portal + path)
    await settled(page)


async def secret_of(page: Page) -> str:
    return await page.get_by_text(re.compile(r"^whsec_\S+$")).inner_text()


async def expect_forgotten(page: Page, secret: str) -> None:
    """The page holds the secret no more; a dialog's close event comes just behind its closing."""

    async def is_forgotten() -> bool:
        return secret not in await page.content()

    await until(is_forgotten)


async def retried(customer: Customer, webhook_id: str) -> None:
    """Wait until the first retry, 5 s after the first attempt, is over: the next comes long after the test."""

    async def is_over() -> bool:
        (delivery,) = (await customer.good("GET", f"/v1/webhooks/{webhook_id}/deliveries"))["data"]
        return bool(delivery["attempt_count"] == 2)

    await until(is_over)


def rows(page: Page) -> Locator:
    return page.get_by_role("region", name="Log of deliveries").locator("tbody").get_by_role("row")


async def send_test(page: Page, event: str = "message.delivered") -> None:
    await page.get_by_role("button", name="Send test event").click()
    dialog = page.get_by_role("dialog", name="Send a test event")
    await dialog.get_by_label("Event").select_option(event)
    await dialog.get_by_role("button", name="Send test event").click()
    await expect(page.get_by_text("Test event sent")).to_be_visible()


async def came(receiver: Receiver, count: int) -> None:
    async def enough() -> bool:
        return len(receiver.events) >= count

    await until(enough)


async def test_from_a_new_endpoint_to_its_end(portal: Page, customer: Customer, console: Console) -> None:
    console.expect("422")
    async with receiving() as receiver:
        await open_page(portal, customer, "/webhooks")
        await expect(portal.get_by_text("No endpoints yet")).to_be_visible()
        await audit(portal)
        await portal.get_by_role("link", name="Add your first endpoint").click()
        await audit(portal)

        # what is wrong stands beside its field, and nothing typed is lost
        await portal.get_by_label("URL").fill("javascript:alert(1)")
        await portal.get_by_label("Name of header 1", exact=True).fill("X-Token")
        await portal.get_by_label("Value of header 1", exact=True).fill("hush")
        await expect(portal.get_by_label("Name of header 3", exact=True)).to_be_hidden()
        await portal.get_by_role("button", name="Add endpoint").click()
        await expect(portal.get_by_label("URL")).to_have_accessible_description(re.compile("Must begin with https://"))
        await expect(portal.get_by_label("URL")).to_be_focused()
        await audit(portal)
        await portal.get_by_label("URL").fill(receiver.url)
        await portal.get_by_label("Only some").check()
        await portal.get_by_role("button", name="Add endpoint").click()
        await expect(portal.get_by_text("Choose at least one event.")).to_be_visible()
        await portal.get_by_label("message.delivered").check()
        await portal.get_by_label("message.failed").check()
        await expect(portal.get_by_label("Value of header 1", exact=True)).to_have_value("hush")
        await portal.get_by_label("Name of header 2", exact=True).fill("Host")
        await portal.get_by_role("button", name="Add endpoint").click()
        await expect(portal.get_by_text("Host: is set by Ghasi and cannot be set.")).to_be_focused()
        await portal.get_by_label("Name of header 2", exact=True).fill("")
        await portal.get_by_role("button", name="Add endpoint").click()

        # the secret, this once
        await expect(portal.get_by_role("heading", name="Endpoint added")).to_be_focused()
        receiver.secret = await secret_of(portal)
        await audit(portal)
        await portal.get_by_role("tab", name="JavaScript", exact=True).click()
        await expect(portal.get_by_text("import { createHmac, timingSafeEqual }")).to_be_visible()
        await portal.get_by_role("link", name="Go to the endpoint").click()
        await expect(portal.get_by_text("Nothing delivered yet")).to_be_visible()
        assert not re.search(r"whsec_[A-Za-z0-9+/]{16}", await portal.content())
        (endpoint,) = (await customer.good("GET", "/v1/webhooks"))["data"]
        assert endpoint["events"] == ["message.delivered", "message.failed"]

        # a test arrives and is seen to, without loading the page again
        await portal.evaluate("window.mark = 'the same page'")
        await send_test(portal, "message.failed")
        await came(receiver, 1)
        assert (receiver.forged, receiver.events[0]["type"]) == (0, "message.failed")
        await expect(rows(portal)).to_have_count(1)
        await expect(rows(portal)).to_contain_text(re.compile(r"message\.failed\s*succeeded\s*204"))
        assert await portal.evaluate("window.mark") == "the same page"

        # another secret: the one before signs along
        await portal.get_by_role("button", name="Rotate").click()
        dialog = portal.get_by_role("dialog", name="Rotate the signing secret?")
        await dialog.get_by_role("button", name="Rotate secret").click()
        before, receiver.secret = receiver.secret, await secret_of(portal)
        assert receiver.secret != before
        await audit(portal)
        await portal.keyboard.press("Escape")
        await expect(dialog).to_be_hidden()
        await expect_forgotten(portal, receiver.secret)
        await send_test(portal)
        await came(receiver, 2)
        await expect(rows(portal)).to_have_count(2)
        receiver.secret = before
        await send_test(portal)
        await came(receiver, 3)
        assert receiver.forged == 0

        # off and on again
        await portal.get_by_role("switch", name="Enabled").click()
        asking = portal.get_by_role("dialog", name="Disable this endpoint?")
        await expect(asking).to_contain_text(receiver.url)
        await audit(portal)
        await asking.get_by_role("button", name="Disable").click()
        await expect(portal.get_by_role("switch", name="Enabled")).not_to_be_checked()
        await expect(portal.get_by_role("button", name="Send test event")).to_be_disabled()
        await portal.get_by_role("switch", name="Enabled").click()
        await expect(portal.get_by_role("switch", name="Enabled")).to_be_checked()

        await portal.get_by_role("link", name="Edit").click()
        await expect(portal.get_by_label("message.failed")).to_be_checked()
        await portal.get_by_label("Description").fill("Shop <b>")
        await audit(portal)
        await portal.get_by_role("button", name="Save").click()
        await expect(portal.get_by_text("Endpoint saved")).to_be_visible()
        await expect(portal.get_by_text("Shop <b>")).to_be_visible()

        await portal.get_by_role("button", name="Delete").click()
        asking = portal.get_by_role("dialog", name="Delete this endpoint?")
        await audit(portal)
        await asking.get_by_role("button", name="Delete endpoint").click()
        await expect(portal.get_by_text("Endpoint deleted")).to_be_visible()
        await expect(portal.get_by_text("No endpoints yet")).to_be_visible()
        assert (await customer.good("GET", "/v1/webhooks"))["data"] == []


async def test_a_receiver_that_fails(portal: Page, customer: Customer) -> None:
    async with failing() as receiver:
        endpoint = await customer.good("POST", "/v1/webhooks", {"url": receiver.url, "events": ["message.*"]})
        await open_page(portal, customer, "/webhooks")
        await audit(portal)
        await portal.get_by_role("link", name=receiver.url).click()
        await portal.get_by_role("button", name="Send test event").click()
        await audit(portal)
        await portal.keyboard.press("Escape")
        await send_test(portal)
        await expect(rows(portal)).to_contain_text(re.compile(r"pending\s*500"))
        await audit(portal)
        await rows(portal).get_by_role("link", name="message.delivered").click()
        await expect(portal.get_by_text("status: the endpoint answered 500").first).to_be_visible()
        answer = portal.get_by_role("region", name="Response to attempt 1")
        await expect(answer).to_contain_text("</pre><script>alert(1)</script>⟨U+001B⟩[31m سلام دنیا")
        await expect(portal.get_by_role("region", name="Request line and headers")).to_contain_text(receiver.came[0])
        await expect(portal.get_by_role("region", name="Body")).to_contain_text('"type": "message.delivered"')
        await audit(portal)

        # sent again once it works, and followed to its end without loading the page again
        await retried(customer, endpoint["id"])
        receiver.status = 200
        await portal.evaluate("window.mark = 'the same page'")
        await portal.get_by_role("button", name="Resend").click()
        await expect(portal.get_by_text("Delivery is sent again")).to_be_visible()
        await expect(portal.get_by_text("The endpoint has taken it.")).to_be_visible()
        await expect(portal.get_by_text("thank you")).to_be_visible()
        assert await portal.evaluate("window.mark") == "the same page"
        assert len(set(receiver.came)) == 1

        # filters stay in the address
        await portal.get_by_role("link", name="Endpoint", exact=True).click()
        await portal.get_by_label("Status").select_option("Failed")
        await portal.get_by_role("button", name="Filter").click()
        await expect(portal.get_by_text("No deliveries match")).to_be_visible()
        await expect(portal).to_have_url(
            re.compile(f"/webhooks/{endpoint['id']}\\?status=failed&event=&response=#deliveries-title$")
        )
        await portal.get_by_label("Status").select_option("Succeeded")
        await portal.get_by_role("button", name="Filter").click()
        await expect(rows(portal)).to_have_count(1)


async def test_an_endpoint_that_fails_is_noted_and_enabled_again_where_ghasi_disabled_it(
    portal: Page, customer: Customer
) -> None:
    async with failing() as receiver:
        endpoint = await customer.good("POST", "/v1/webhooks", {"url": receiver.url, "events": ["message.*"]})
        await open_page(portal, customer, f"/webhooks/{endpoint['id']}")
        await send_test(portal)
        await expect(rows(portal)).to_contain_text(re.compile(r"pending\s*500"))
        for path in (f"/webhooks/{endpoint['id']}", "/webhooks"):
            await open_page(portal, customer, path)
            await expect(portal.get_by_text("Every attempt has failed since")).to_be_visible()
            await audit(portal)

        await retried(customer, endpoint["id"])
        receiver.status = 410
        for path in (f"/webhooks/{endpoint['id']}", "/webhooks"):
            await customer.good("POST", f"/v1/webhooks/{endpoint['id']}/test", {})

            async def is_disabled() -> bool:
                return not (await customer.good("GET", f"/v1/webhooks/{endpoint['id']}"))["enabled"]

            await until(is_disabled)
            await open_page(portal, customer, path)
            await expect(portal.get_by_text("It answered 410 Gone")).to_be_visible()
            await audit(portal)
            await portal.get_by_role("button", name="Enable again").press("Enter")
            await expect(portal.get_by_text("Endpoint enabled")).to_be_visible()
            await expect(portal.get_by_text("It answered 410 Gone")).to_be_hidden()
        shown = await customer.good("GET", f"/v1/webhooks/{endpoint['id']}")
        assert (shown["enabled"], shown["disabled_reason"], shown["failing_since"]) == (True, None, None)


async def test_recovering_by_keyboard(portal: Page, customer: Customer, console: Console) -> None:
    console.expect("422")
    async with failing() as receiver:
        endpoint = await customer.good("POST", "/v1/webhooks", {"url": receiver.url, "events": ["message.*"]})
        await open_page(portal, customer, f"/webhooks/{endpoint['id']}")
        await portal.get_by_role("button", name="Recover failed").focus()
        await portal.keyboard.press("Enter")
        dialog = portal.get_by_role("dialog", name="Recover failed deliveries")
        await expect(dialog).to_be_visible()
        await portal.keyboard.press("Tab")
        await expect(dialog.get_by_label("Events of")).to_be_focused()
        await portal.keyboard.type("Since")
        await expect(dialog.get_by_label("Since", exact=True)).to_be_visible()
        await dialog.get_by_role("button", name="Send again").press("Enter")
        await expect(dialog.get_by_text("Choose a day and a time.")).to_be_visible()
        await expect(dialog.get_by_text("Asia/Kabul")).to_be_visible()
        await audit(portal)
        await dialog.get_by_label("Since", exact=True).fill("2026-01-01T00:00")
        await portal.keyboard.press("Enter")
        await expect(portal.get_by_text("No delivery has failed since then")).to_be_visible()
        await expect(dialog).to_be_hidden()
        await portal.get_by_role("button", name="Recover failed").press("Enter")
        await expect(dialog).to_be_visible()
        await portal.keyboard.press("Escape")
        await expect(dialog).to_be_hidden()


async def test_what_is_not_there(portal: Page, customer: Customer, console: Console) -> None:
    console.expect("404")
    for path in ("/webhooks/0199f3a0-0000-7000-8000-000000000001", "/webhooks/x/deliveries/y"):
        await open_page(portal, customer, path)
        await expect(portal.get_by_role("heading", name="Page not found")).to_be_visible()
        await expect(portal.get_by_role("link", name="Webhooks")).to_be_visible()
    await audit(portal)


async def test_an_api_that_is_away_leaves_the_page(portal: Page, customer: Customer, console: Console) -> None:
    console.expect("ERR_FAILED|htmx:")
    endpoint = await customer.good("POST", "/v1/webhooks", {"url": "https://example.com/x", "events": ["*"]})

    words = "Ghasi cannot be reached right now. Please try again in a moment."
    await portal.route(re.compile(r"/(log|test)$"), lambda route: route.abort())
    await open_page(portal, customer, f"/webhooks/{endpoint['id']}")
    await expect(portal.get_by_role("heading", name="https://example.com/x")).to_be_visible()
    await expect(portal.get_by_role("group", name="Error")).to_be_visible()
    await portal.get_by_role("button", name="Send test event").click()
    dialog = portal.get_by_role("dialog", name="Send a test event")
    await dialog.get_by_label("Event").select_option("message.expired")
    await dialog.get_by_role("button", name="Send test event").click()
    await expect(dialog.get_by_text(words)).to_be_visible()
    await expect(dialog.get_by_label("Event")).to_have_value("message.expired")
    await portal.unroute_all()
    await dialog.get_by_role("button", name="Try again").click()
    await expect(portal.get_by_text("Test event sent")).to_be_visible()
    await expect(rows(portal)).to_contain_text("message.expired")
