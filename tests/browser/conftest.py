"""A real Ghasi by `ghasi up --dev`, Debian's Chromium before it, and an eye on its console.

Every test fails for an error in the console and for a violation of the Content-Security-Policy, unless it says that it
provokes one.
"""

import os
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import BrowserContext, ConsoleMessage, Page, expect

from tests.clock import room_in_the_minute
from tests.end_to_end.customer import Answer, Customer, signed_up
from tests.end_to_end.deployment import Deployment, together, until

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PLENTY = "100000"
QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
PHONE = {"width": 360, "height": 740}
DESKTOP = {"width": 1280, "height": 860}
WITHIN_MS = 20_000
LEARNT_S = 5
"""In which a limit is set and learnt."""


@pytest.fixture(scope="session")
def base_url() -> None:
    """The plugin's own, which pytest is about to refuse, is not needed: each test names its deployment."""


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """Debian's Chromium, or the one that Playwright itself has downloaded."""
    if CHROMIUM is None:
        return browser_type_launch_args
    return {**browser_type_launch_args, "executable_path": CHROMIUM, "args": list(QUIET)}


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args: dict[str, Any]) -> dict[str, Any]:
    return {**browser_context_args, "viewport": DESKTOP, "locale": "en-GB", "timezone_id": "Asia/Kabul"}


@pytest.fixture(scope="session", autouse=True)
def a_browser() -> None:
    """Without any Chromium these tests are skipped, and they alone."""
    downloads = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH", Path.home() / ".cache/ms-playwright"))
    if CHROMIUM is None and not list(downloads.glob("chromium-*/INSTALLATION_COMPLETE")):
        pytest.skip("there is no Chromium: sudo apt-get install -y chromium")


@pytest.fixture(scope="session")
def deployment() -> Iterator[Deployment]:
    limits = {f"GHASI_LIMIT_{name}": PLENTY for name in ("AUTH", "API_KEYS", "SENDS", "READS", "WRITES", "PREVIEWS")}
    with together(**limits) as deployment:
        yield deployment


@dataclass
class Console:
    """What the console said; `expected` are patterns of errors that a test provokes."""

    errors: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def expect(self, pattern: str) -> None:
        self.expected.append(pattern)

    def take(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.errors.append(f"{message.type}: {message.text} ({message.location['url']})")

    @property
    def unexpected(self) -> list[str]:
        return [error for error in self.errors if not any(re.search(pattern, error) for pattern in self.expected)]


@pytest.fixture
async def console(context: BrowserContext) -> AsyncIterator[Console]:
    console = Console()
    context.on("console", console.take)
    context.on("weberror", lambda error: console.errors.append(f"uncaught: {error.error}"))
    yield console
    assert console.unexpected == []


@pytest.fixture
async def page(context: BrowserContext, console: Console) -> AsyncIterator[Page]:
    context.set_default_timeout(WITHIN_MS)
    expect.set_options(timeout=WITHIN_MS)
    page = await context.new_page()
    yield page
    await page.goto("about:blank")  # leaves as a person does: with parts still loading that is no error either
    await page.close()


@pytest.fixture
async def customer(deployment: Deployment) -> AsyncIterator[Customer]:
    """A new account of its own, by the API."""
    async with signed_up(deployment) as customer:
        yield customer


async def let_in(context: BrowserContext, customer: Customer) -> None:
    """Give a browser the cookies that signing in gives it."""
    refresh = next(cookie.value for cookie in customer.http.cookie_jar if cookie.key == "ghasi_refresh")
    await context.add_cookies(
        [
            {"name": name, "value": value, "url": customer.deployment.portal, "httpOnly": True, "sameSite": "Lax"}
            for name, value in (("ghasi_access", customer.token), ("ghasi_refresh", refresh))
        ]
    )


@pytest.fixture
async def portal(page: Page, customer: Customer) -> Page:
    """A page of the signed-in customer; `await portal.goto(customer.deployment.portal + PATH)`."""
    await let_in(page.context, customer)
    return page


async def stop_the_clock(page: Page) -> None:
    """Let time pass for a context's pages, by its installed clock, only when a test says so and however slow it is."""
    now_ms = await page.evaluate("Date.now()")
    await page.clock.pause_at(now_ms / 1000 + 10)  # a time that is still to come when the browser hears of it


async def reach_limit(customer: Customer, group: str, ask: Callable[[], Awaitable[Answer]], enough_s: float) -> None:
    """Give the account a limit of one a minute and use it up, with so much of the minute left for what follows."""
    await room_in_the_minute(enough_s + LEARNT_S)
    customer.deployment.admin("accounts", "limits", customer.session["account"]["id"], group, "1")

    async def is_reached() -> bool:
        return (await ask()).status == 429

    await until(is_reached, every_s=0.2)


async def settled(page: Page) -> None:
    """Wait until all parts of the page are there, and no transition runs: axe would measure colours half-way."""
    await page.wait_for_load_state("networkidle")
    await expect(page.locator("[aria-busy=true]")).to_have_count(0)
    await page.evaluate(
        """() => Promise.race([
            new Promise((go) => setTimeout(go, 3000)),  // a busy machine may draw no frame for a while
            Promise.all(document.getAnimations()
                .filter((one) => one.effect.getComputedTiming().endTime !== Infinity)  // what waits goes round for ever
                .map((one) => one.finished.catch(() => null))),
        ])"""
    )


async def audit(page: Page) -> None:
    """No violation of axe-core's rules in light and in dark, and nothing to scroll sideways on a phone."""
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type] # a literal
        await settled(page)
        results = await Axe().run(page)
        assert results.violations_count == 0, f"{scheme}: {results.generate_report()}"
    await page.emulate_media(color_scheme="light")
    await page.set_viewport_size(PHONE)  # type: ignore[arg-type] # a viewport
    await settled(page)
    wide = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"{wide} px too wide for a phone"
    results = await Axe().run(page)
    assert results.violations_count == 0, f"phone: {results.generate_report()}"
    await page.set_viewport_size(DESKTOP)  # type: ignore[arg-type] # a viewport
