"""Messages in the browser: sent by hand, watched until delivered, found again, and what stays when the API fails."""

import re
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from babel.dates import format_datetime
from playwright.async_api import Page, Request, Route, expect

from ghasi.portal.failures import RATE_LIMITED, UNREACHABLE
from tests.browser.conftest import Console, audit, reach_limit, settled, stop_the_clock
from tests.end_to_end.customer import Customer, receiving
from tests.end_to_end.deployment import until

TO = "+93701234567"
REFUSED = "+93701230003"
UCS2 = "It\u2019s 5\u20136 o\u2019clock \u201cnow\u201d \U0001f600"
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"


async def sent(customer: Customer, body: str = "Hello", to: str = TO, status: str = "delivered", **more: Any) -> str:
    """Send a message by the API and wait until it has ended so."""
    message = await customer.good("POST", "/v1/messages", {"to": to, "body": body, **more})

    async def has_ended() -> bool:
        return bool((await customer.good("GET", f"/v1/messages/{message['id']}"))["status"] == status)

    await until(has_ended)
    return str(message["id"])


def toast(page: Page) -> Any:
    return page.locator("#toasts")


async def written(page: Page, customer: Customer, to: str = TO, text: str = "Hello from the form") -> None:
    await page.goto(customer.deployment.portal + "/messages/new")
    await page.get_by_label("To", exact=True).fill(to)
    await page.get_by_label("Text", exact=True).fill(text)


async def test_a_message_is_sent_and_watched_until_it_is_delivered(portal: Page, customer: Customer) -> None:
    await portal.goto(customer.deployment.portal + "/messages")
    await expect(portal.get_by_role("heading", name="No messages yet")).to_be_visible()
    await audit(portal)
    await portal.get_by_role("link", name="Send your first message").click()
    # the number whose carrier says `throttled` twice takes three seconds: nothing is over before the page is there
    await portal.get_by_label("To", exact=True).fill("+93 70 123 0004")
    await portal.get_by_label("Text", exact=True).fill("Hello")
    await expect(portal.get_by_text("1 of 10 segments", exact=True)).to_be_visible()
    await expect(portal.get_by_text("Afghanistan")).to_be_visible()
    await portal.get_by_label("Text", exact=True).press("Control+Enter")
    await expect(portal.get_by_text("Message accepted")).to_be_visible()
    await expect(portal.get_by_role("heading", name="+93701230004")).to_be_visible()
    loads: list[str] = []
    portal.on("framenavigated", lambda frame: loads.append(frame.url))
    await expect(portal.locator("#message .badge")).to_have_text("delivered", timeout=20_000)
    await expect(portal.get_by_role("listitem").filter(has_text="delivered")).to_be_visible()
    assert loads == []


async def test_a_list_follows_what_happens_without_losing_the_focus(portal: Page, customer: Customer) -> None:
    first = await sent(customer, "The first one")
    await portal.clock.install()
    await portal.goto(customer.deployment.portal + "/messages")
    link = portal.get_by_role("link", name=TO).first
    await link.focus()
    await sent(customer, HOSTILE, "+93701234568")
    await portal.clock.fast_forward(7000)
    await expect(portal.get_by_role("row").nth(1)).to_contain_text(HOSTILE)
    await portal.clock.run_for(1000)
    await expect(portal.locator(f"#message-{first}")).to_be_focused()
    await portal.keyboard.press("Enter")
    await expect(portal).to_have_url(re.compile(f"/messages/{first}$"))


def counted(page: Page, path: str) -> list[Request]:
    found: list[Request] = []

    def count(request: Request) -> None:
        if path in request.url:
            found.append(request)

    page.on("request", count)
    return found


@pytest.mark.parametrize("is_detail", [False, True], ids=["list", "detail"])
async def test_watching_takes_at_most_12_requests_a_minute_and_none_while_hidden(
    portal: Page, customer: Customer, is_detail: bool
) -> None:
    message_id = (await customer.good("POST", "/v1/messages", {"to": "+93701230006", "body": "no receipt"}))["id"]
    await portal.clock.install()
    await portal.goto(customer.deployment.portal + (f"/messages/{message_id}" if is_detail else "/messages"))
    await settled(portal)
    await stop_the_clock(portal)
    requests = counted(portal, "/messages/")
    for _ in range(60):
        await portal.clock.run_for(1000)
        await portal.evaluate("fetch('/healthz')")  # requests of the page's own have gone out before
    assert 5 <= len(requests) <= 12, requests
    for request in requests:  # the page counts from an answer until it asks again, and two minutes are over at once
        response = await request.response()
        assert response is not None
        await response.finished()
    await portal.evaluate(
        "Object.defineProperty(document, 'visibilityState', {get: () => 'hidden', configurable: true})"
    )
    requests.clear()
    await portal.clock.run_for(120_000)
    await portal.evaluate("fetch('/healthz')")
    assert requests == []
    await portal.evaluate("delete document.visibilityState")
    async with portal.expect_request("**/messages/**"):
        await portal.clock.run_for(2000)


async def test_filters_are_in_the_address_and_survive_reload_and_back(portal: Page, customer: Customer) -> None:
    await sent(customer, "An order", reference="order-1")
    await sent(customer, "Another", reference="order-2")
    await portal.goto(customer.deployment.portal + "/messages")
    await portal.get_by_label("Reference").fill("order-1")
    await portal.get_by_label("Status").select_option("delivered")
    await portal.get_by_label("Status").press("Tab")
    await portal.get_by_role("button", name="Filter").click()
    await expect(portal).to_have_url(customer.deployment.portal + "/messages?status=delivered&reference=order-1")
    rows = portal.get_by_role("row")
    for again in ("", "reload", "back"):
        if again == "reload":
            await portal.reload()
        elif again == "back":
            await portal.get_by_role("link", name=TO).click()
            await expect(portal.get_by_text("order-1")).to_be_visible()
            await portal.go_back()
        await expect(rows).to_have_count(2)
        await expect(rows.nth(1)).to_contain_text("An order")
        await expect(portal.get_by_label("Reference")).to_have_value("order-1")
        await expect(portal.get_by_label("Status")).to_have_value("delivered")
    await audit(portal)
    await portal.get_by_role("link", name="Clear").click()
    await expect(rows).to_have_count(3)
    await portal.get_by_label("To", exact=True).fill("+4930")
    await portal.get_by_label("To", exact=True).press("Enter")
    await expect(portal.get_by_role("heading", name="No messages match")).to_be_visible()
    async with portal.expect_download() as download:
        await portal.get_by_role("link", name="Export CSV").click()
    assert re.fullmatch(r"messages-\d{4}-\d\d-\d\d\.csv", (await download.value).suggested_filename)


async def test_a_failed_message_says_why_and_can_be_sent_again(portal: Page, customer: Customer) -> None:
    message_id = await sent(customer, HOSTILE, REFUSED, "failed", reference="order-3")
    async with receiving() as receiver:
        hook = await customer.good("POST", "/v1/webhooks", {"url": receiver.url, "events": ["message.*"]})
        receiver.secret = hook["secret"]
        later = await sent(customer, "With a webhook")
        await until(lambda: delivered(receiver.of("message.delivered"), later))
        await portal.goto(f"{customer.deployment.portal}/messages/{later}")
        table = portal.get_by_role("region", name="Deliveries of this message")
        await expect(table.get_by_text(receiver.url).first).to_be_visible()
        await audit(portal)
    await portal.goto(f"{customer.deployment.portal}/messages/{message_id}")
    for text in ("Likely cause", "What to do", "Sending again", HOSTILE):
        await expect(portal.get_by_text(text, exact=True)).to_be_visible()
    await audit(portal)
    await portal.get_by_role("link", name="Send again").click()
    await expect(portal.get_by_label("To", exact=True)).to_have_value(REFUSED)
    await expect(portal.get_by_label("Text", exact=True)).to_have_value(HOSTILE)
    await expect(portal.get_by_label("Reference")).to_have_value("order-3")
    await expect(portal.get_by_text("1 of 10 segments", exact=True)).to_be_visible()


async def delivered(messages: set[str], message_id: str) -> bool:
    return message_id in messages


async def test_a_text_is_sent_later_with_plain_characters_and_canceled(
    portal: Page, customer: Customer, console: Console
) -> None:
    console.expect("422")
    await portal.goto(customer.deployment.portal + "/messages")  # from here on its zone is known
    await written(portal, customer, text=UCS2)
    smart = portal.get_by_label("Replace typographic characters")
    await expect(portal.get_by_text("UCS-2", exact=True)).to_be_visible()
    await expect(portal.get_by_text("grinning face")).to_be_visible()
    await expect(smart).to_be_hidden()  # nothing stands for the face
    text = portal.get_by_label("Text", exact=True)
    await text.fill(UCS2[:-2])
    await smart.check()
    preview = portal.get_by_role("region", name="Preview")
    await expect(preview.get_by_text("It's 5-6 o'clock \"now\"", exact=True)).to_be_visible()
    await expect(preview.get_by_text("GSM-7", exact=True)).to_be_visible()
    await expect(smart).to_be_focused()
    await portal.get_by_label("Send later").check()
    at = portal.get_by_label("Day and time")
    now = datetime.now(ZoneInfo("Asia/Kabul"))
    await at.fill(f"{now - timedelta(days=1):%Y-%m-%dT%H:%M}")
    await audit(portal)
    await portal.get_by_role("button", name="Send message").click()
    await expect(portal.get_by_text("Must be 5 minutes to 30 days from now.")).to_be_visible()
    await expect(at).to_be_focused()
    await expect(smart).to_be_checked()
    due = now + timedelta(days=2)
    await at.fill(f"{due:%Y-%m-%dT%H:%M}")
    await portal.get_by_role("button", name="Send message").click()
    await expect(portal.get_by_text("Message scheduled")).to_be_visible()
    await expect(portal.locator("#message .badge")).to_have_text("scheduled")
    shown = format_datetime(due, "d MMM y, HH:mm", locale="en_GB")
    await expect(portal.get_by_text(shown).first).to_be_visible()
    await expect(portal.locator("#message-text")).to_have_text("It's 5-6 o'clock \"now\"")
    await portal.get_by_role("button", name="Cancel message").click()
    dialog = portal.get_by_role("dialog", name="Cancel this message?")
    await audit(portal)
    await dialog.get_by_role("button", name="Cancel message").click()
    await expect(toast(portal).get_by_text("Message canceled")).to_be_visible()
    await expect(dialog).to_have_count(0)
    await expect(portal.locator("#message .badge")).to_have_text("canceled")
    await portal.get_by_role("button", name="Delete text").click()
    dialog = portal.get_by_role("dialog", name="Delete the text of this message?")
    await dialog.get_by_role("button", name="Delete text").click()
    await expect(portal.get_by_text("The text was deleted")).to_be_visible()


async def test_a_fault_is_said_once_the_field_was_left(portal: Page, customer: Customer, console: Console) -> None:
    console.expect("422")
    await portal.goto(customer.deployment.portal + "/messages/new")
    to = portal.get_by_label("To", exact=True)
    async with portal.expect_response("**/messages/preview"):
        await to.press_sequentially("+9370")
    await expect(to).not_to_have_attribute("aria-invalid", "true")
    await to.press("Tab")
    await expect(to).to_have_attribute("aria-invalid", "true")
    await expect(
        portal.get_by_role("region", name="Message").get_by_text("Must be a valid phone number")
    ).to_be_visible()
    await to.fill(TO)
    await expect(to).not_to_have_attribute("aria-invalid", "true")
    await portal.get_by_role("button", name="Send message").click()
    text = portal.get_by_label("Text", exact=True)
    await expect(text).to_be_focused()
    await expect(portal.get_by_text("Write the text of the message.")).to_be_visible()
    await expect(to).to_have_value(TO)
    await audit(portal)


async def test_the_limit_is_a_toast_and_what_was_typed_stays(
    portal: Page, customer: Customer, console: Console
) -> None:
    console.expect("429")
    message = {"to": TO, "body": "The one of this minute"}
    await written(portal, customer)
    await portal.get_by_label("Reference").fill("kept")
    await settled(portal)
    await reach_limit(customer, "sends", lambda: customer.call("POST", "/v1/messages", message), 15)
    await portal.get_by_role("button", name="Send message").click()
    await expect(toast(portal).get_by_text(RATE_LIMITED, exact=True)).to_be_visible()
    await expect(portal.get_by_label("To", exact=True)).to_have_value(TO)
    await expect(portal.get_by_label("Text", exact=True)).to_have_value("Hello from the form")
    await expect(portal.get_by_label("Reference")).to_have_value("kept")


async def test_a_lost_answer_is_asked_for_again_with_the_same_key(
    portal: Page, customer: Customer, console: Console
) -> None:
    console.expect("ERR_CONNECTION|Failed to load|sendError|htmx")
    await written(portal, customer)
    bodies: list[str | None] = []

    async def lose(route: Route) -> None:
        bodies.append(route.request.post_data)
        if len(bodies) == 1:
            await route.fetch(max_redirects=0)  # it is accepted, and nobody hears of it
            await route.abort("connectionreset")
        else:
            await route.continue_()

    await portal.route("**/messages/new", lose)
    await portal.get_by_role("button", name="Send message").click()
    await expect(toast(portal).get_by_text(UNREACHABLE)).to_be_visible()
    await expect(portal.get_by_label("Text", exact=True)).to_have_value("Hello from the form")
    await toast(portal).get_by_role("button", name="Try again").click()
    await expect(portal.get_by_text("Message accepted")).to_be_visible()
    assert len(bodies) == 2
    assert bodies[0] == bodies[1]
    assert len((await customer.good("GET", "/v1/messages"))["data"]) == 1


async def test_a_part_that_fails_can_be_tried_again(portal: Page, customer: Customer, console: Console) -> None:
    console.expect("Failed to load|htmx|503")
    message_id = await sent(customer)
    failing = True

    async def fail(route: Route) -> None:
        if failing:
            await route.abort("connectionrefused")
        else:
            await route.continue_()

    await portal.route(re.compile("/deliveries"), fail)
    await portal.goto(f"{customer.deployment.portal}/messages/{message_id}")
    await expect(portal.get_by_role("heading", name="This could not be loaded")).to_be_visible()
    await expect(portal.get_by_role("heading", name=TO)).to_be_visible()
    failing = False
    await portal.get_by_role("group", name="Error").get_by_role("button", name="Try again").click()
    await expect(portal.get_by_text("None so far.")).to_be_visible()


async def test_another_accounts_message_is_not_found(portal: Page, customer: Customer, console: Console) -> None:
    console.expect("404")
    await portal.goto(f"{customer.deployment.portal}/messages/0199f3a0-0000-7000-8000-000000000001")
    await expect(portal.get_by_role("heading", name="Page not found")).to_be_visible()
    await expect(portal.get_by_role("navigation", name="Pages")).to_be_visible()


async def test_a_form_comes_back_after_signing_in(portal: Page, customer: Customer, console: Console) -> None:
    console.expect("401|htmx")
    await written(portal, customer, text="Kept while signing in")
    await settled(portal)
    key = await portal.locator("[name=idempotency_key]").input_value()
    cookies = await portal.context.cookies()
    # or the preview that is still to come would lead to the door before the click does
    await portal.route("**/messages/preview", lambda route: route.fulfill(body=""))
    await portal.context.clear_cookies()
    await portal.get_by_role("button", name="Send message").click()
    await expect(portal).to_have_url(re.compile(r"/sign-in\?next=%2Fmessages%2Fnew"))
    await portal.context.add_cookies(cookies)  # type: ignore[arg-type] # as they were given
    await portal.unroute("**/messages/preview")
    await portal.goto(customer.deployment.portal + "/messages/new")
    await expect(portal.get_by_label("Text", exact=True)).to_have_value("Kept while signing in")
    await expect(portal.get_by_label("To", exact=True)).to_have_value(TO)
    await expect(portal.locator("[name=idempotency_key]")).to_have_value(key)
