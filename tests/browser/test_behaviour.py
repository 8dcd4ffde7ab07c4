"""What the portal does when all is not well: an API that hangs, a service that stops, a limit that is reached."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

import aiohttp
import msgspec
import pytest
from playwright.async_api import BrowserContext, Locator, Page, expect
from playwright.async_api import TimeoutError as TooLate

from ghasi.contract.table import ROWS
from ghasi.portal.app import portal_app
from ghasi.portal.failures import RATE_LIMITED, UNREACHABLE
from ghasi.settings import Settings
from tests.browser.conftest import PLENTY, Console, let_in, reach_limit, settled, stop_the_clock
from tests.client.fake_api import DETAIL, ID, FakeApi, Given, Seen
from tests.clock import room_in_the_minute
from tests.end_to_end.customer import Customer, signed_up
from tests.end_to_end.deployment import Deployment, together
from tests.live import live
from tests.portal.conftest import token
from tests.ports import reserved_ports

OURS = {"Sec-Fetch-Site": "same-origin"}
AT_ONCE_MS = 4000
"""Less than the least of the time-outs, on a machine that has other things to do."""
MOST_WATCHING = 12
BILLING_PARTS = 5
"""What its page asks billing-service for: the balance, the month's figures and its days, what is running, invoices."""
ENOUGH_S, LOOKING_S = 15, 30
"""For a form or a page to be sent and answered, and for a list to look by itself for a minute of its own clock."""


@asynccontextmanager
async def before(api: FakeApi, context: BrowserContext) -> AsyncIterator[str]:
    """The address of a portal before this API, to which the browser is signed in."""
    async with live(api) as api_url, live(portal_app(Settings(api_internal_url=api_url))) as url:
        await context.add_cookies([{"name": "ghasi_access", "value": token(), "url": url}])
        yield url


def toasts(page: Page) -> Locator:
    return page.locator("#toasts")


def again(place: Page | Locator) -> Locator:
    return place.get_by_role("button", name="Try again")


async def test_before_a_hanging_api_a_page_is_there_at_once_and_each_part_says_what_is_wrong(
    context: BrowserContext, page: Page, console: Console
) -> None:
    console.expect("503")
    api = FakeApi()
    for row in ROWS:
        api.answers[row.operation] = api.hang

    async def opened(path: str, heading: str, parts: int) -> Page:
        # each tab has a portal of its own: a browser holds six connections to one
        url = await stack.enter_async_context(before(api, context))
        tab = await context.new_page()
        await tab.goto(url + path)
        await expect(tab.get_by_role("heading", name=heading).first).to_be_visible(timeout=AT_ONCE_MS)
        await expect(tab.get_by_role("main").locator("[aria-busy=true]")).to_have_count(parts)
        return tab

    async def look(tab: Page, parts: int) -> None:
        main = tab.get_by_role("main")
        await expect(again(main)).to_have_count(parts, timeout=12_000)
        await expect(toasts(tab).get_by_text(UNREACHABLE, exact=True)).to_be_visible()
        await expect(again(toasts(tab))).to_be_visible()
        await answering.wait()
        for _ in range(parts):
            if await again(main).count():
                with suppress(TooLate):  # a part that looks by itself may be there meanwhile
                    await again(main).first.click(timeout=1500)
        await expect(again(main)).to_have_count(0)
        await tab.close()

    async def send() -> None:
        url = await stack.enter_async_context(before(api, context))
        await page.goto(f"{url}/messages/new")
        await page.get_by_label("To", exact=True).fill("+93701234567")
        await page.get_by_label("Text", exact=True).fill("Typed once")
        await page.get_by_role("main").get_by_role("button", name="Send").click()
        retry = toasts(page).filter(has_text=UNREACHABLE).get_by_role("button", name="Try again")
        await expect(retry).to_be_visible(timeout=14_000)
        await expect(page.get_by_label("Text", exact=True)).to_have_value("Typed once")
        await expect(page.get_by_label("To", exact=True)).to_have_value("+93701234567")
        api.answers.clear()
        api.released.set()  # nothing is tried again before what hangs has ended
        answering.set()
        await retry.click()
        await expect(page).to_have_url(f"{url}/messages/{ID}")

    answering = asyncio.Event()
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as looking:
        # opened one after the other: on a busy machine all at once would be there when the first parts have failed
        for path, heading, parts in (
            ("/", "Good ", 3), ("/messages", "Messages", 1), (f"/messages/{ID}", "Message", 2),
            ("/webhooks", "Webhooks", 1),
        ):  # fmt: skip
            looking.create_task(look(await opened(path, heading, parts), parts))
        await send()
    first, second = api.calls("send_message")
    assert first.header("idempotency-key") == second.header("idempotency-key") is not None


def ended(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


async def test_watching_takes_few_requests_of_a_visible_tab_and_none_of_a_hidden_one(
    context: BrowserContext, page: Page
) -> None:
    """Counted at the API, where they are taken from what the customer has."""
    passed_s = 0

    def on_its_way(_: Seen) -> Given:
        return Given(200, msgspec.structs.replace(DETAIL, status="sent", completed_at=None, created_at=ended(passed_s)))

    watched = ("/", "/messages", f"/messages/{ID}", "/webhooks", f"/webhooks/{ID}", "/billing")
    tabs: dict[str, tuple[Page, FakeApi]] = {}
    await context.clock.install()
    async with AsyncExitStack() as stack:
        for path in watched:
            api = FakeApi()
            api.answers["get_message"] = on_its_way
            url = await stack.enter_async_context(before(api, context))
            tab = await context.new_page()
            await tab.goto(url + path)
            await settled(tab)
            tabs[path] = tab, api
        await stop_the_clock(tab)
        for _, api in tabs.values():
            api.seen.clear()

        async def run(times: int, step_s: int) -> None:
            nonlocal passed_s
            for _ in range(times):
                passed_s += step_s
                await context.clock.run_for(step_s * 1000)
                await asyncio.gather(*(tab.evaluate("fetch('/healthz')") for tab, _ in tabs.values()))

        await run(30, 2)
        taken = {path: len(api.seen) for path, (_, api) in tabs.items()}
        assert all(count <= MOST_WATCHING for count in taken.values()), taken
        assert all(taken[path] > 4 for path in ("/", "/messages", f"/messages/{ID}")), taken
        hide = "Object.defineProperty(document, 'visibilityState', {get: () => 'hidden', configurable: true})"
        for tab, api in tabs.values():
            await tab.evaluate(hide)
            api.seen.clear()
        await run(3, 20)
        assert {path: len(api.seen) for path, (_, api) in tabs.items()} == dict.fromkeys(watched, 0)


def serve_billing(deployment: Deployment) -> None:
    port = deployment.environment["GHASI_BILLING_SERVICE_URL"].rpartition(":")[2]
    deployment.start("billing-service", "serve", "billing-service", "--port", port, GHASI_METRICS_PORT="0")


@pytest.fixture(scope="module")
def frail() -> Iterator[Deployment]:
    """A Ghasi whose billing-service is a process of its own, and whose limits for signing in are the contract's."""
    settings = {f"GHASI_LIMIT_{name}": PLENTY for name in ("SENDS", "READS", "WRITES", "PREVIEWS")}
    with reserved_ports(1) as (port,):
        settings |= {"GHASI_BILLING_SERVICE_URL": f"http://127.0.0.1:{port}", "GHASI_UPSTREAM_SECRET": "the gateway's"}
        with together(**settings) as deployment:
            serve_billing(deployment)
            yield deployment


async def test_while_billing_is_away_all_else_goes_on(
    frail: Deployment, context: BrowserContext, page: Page, console: Console
) -> None:
    console.expect("503")
    async with signed_up(frail) as customer:
        await let_in(context, customer)
        await customer.good("POST", "/v1/messages", {"to": "+93701234567", "body": "Your bread is ready"})
        figures = page.get_by_role("region", name="Figures")
        billing = frail.processes["billing-service"]

        billing.send_signal(signal.SIGSTOP)  # it takes requests and answers none
        try:
            await page.goto(frail.portal)
            await expect(page.get_by_text("Your bread is ready")).to_be_visible(timeout=AT_ONCE_MS)
            await expect(page.get_by_role("heading", name="Get started")).to_be_visible(timeout=AT_ONCE_MS)
            await expect(figures.get_by_role("button", name="Try again")).to_be_visible(timeout=9500)
            await expect(toasts(page).get_by_text(UNREACHABLE, exact=True)).to_be_visible()
            await expect(page.get_by_text("Your bread is ready")).to_be_visible()
        finally:
            billing.send_signal(signal.SIGCONT)
        await again(figures).click()
        await expect(figures.get_by_text("Messages sent")).to_be_visible()

        frail.stop("billing-service")  # nothing takes them any more
        await page.get_by_role("link", name="Billing").click()
        main = page.get_by_role("main")
        await expect(again(main)).to_have_count(BILLING_PARTS)
        await page.get_by_role("link", name="Messages", exact=True).click()
        await expect(page.get_by_text("Your bread is ready")).to_be_visible()
        await page.get_by_role("link", name="+93701234567").click()
        await expect(page.get_by_role("heading", name="+93701234567")).to_be_visible()
        await page.get_by_role("link", name="Billing").click()
        await expect(again(main)).to_have_count(BILLING_PARTS)
        serve_billing(frail)
        await again(page.locator("#invoices")).click()
        await expect(page.get_by_text("No invoices yet")).to_be_visible()
        # those that look by themselves may have done so meanwhile
        await page.evaluate("document.querySelectorAll('main [data-retry]').forEach((one) => one.click())")
        await expect(again(main)).to_have_count(0)


async def test_a_limit_is_said_in_the_contracts_words_and_nothing_is_lost(
    portal: Page, customer: Customer, console: Console
) -> None:
    console.expect("429")
    body = {"to": "+93701234567", "body": "Your bread is ready"}
    await customer.good("POST", "/v1/messages", body)
    said = toasts(portal).get_by_text(RATE_LIMITED, exact=True)

    await portal.goto(customer.deployment.portal + "/messages/new")
    await portal.get_by_label("To", exact=True).fill("+93701230001")
    await portal.get_by_label("Text", exact=True).fill("Typed once")
    await portal.get_by_label("Reference").fill("order-1")
    await reach_limit(customer, "sends", lambda: customer.call("POST", "/v1/messages", body), ENOUGH_S)
    send = portal.get_by_role("main").get_by_role("button", name="Send")
    await send.click()
    await expect(said).to_be_visible()
    assert RATE_LIMITED == "Rate limit exceeded — please try again shortly."
    for label, typed in (("To", "+93701230001"), ("Text", "Typed once")):
        await expect(portal.get_by_label(label, exact=True)).to_have_value(typed)
    await expect(portal.get_by_label("Reference")).to_have_value("order-1")
    await expect(send).to_be_enabled()

    await portal.clock.install()
    await portal.goto(customer.deployment.portal + "/messages")
    row = portal.get_by_text("Your bread is ready").first
    await expect(row).to_be_visible()
    await stop_the_clock(portal)  # before there is a limit, or the first refusals come to pass uncounted
    await reach_limit(customer, "reads", lambda: customer.call("GET", "/v1/messages"), LOOKING_S)
    refused: list[int] = []
    portal.on("response", lambda response: refused.append(response.status))
    shown = []
    for _ in range(36):
        await portal.clock.run_for(2000)
        await portal.evaluate("fetch('/healthz')")
        shown.append(await said.count())
    assert refused.count(429) >= 3, "it goes on looking, less and less often"
    assert "".join(map(str, shown)).strip("0").strip("1") == "", "a list that looks by itself says so once"
    assert 0 < sum(shown) < 10
    await expect(row).to_be_visible()

    await portal.clock.resume()
    # another minute may have begun
    await reach_limit(customer, "reads", lambda: customer.call("GET", "/v1/messages"), ENOUGH_S)
    await portal.reload()
    await expect(said).to_be_visible()
    await expect(portal.get_by_role("main").get_by_text(RATE_LIMITED)).to_be_visible()
    await expect(again(portal.get_by_role("main"))).to_be_visible()


async def test_visitors_are_counted_by_their_own_address(frail: Deployment) -> None:
    async def sign_in(address: str) -> tuple[int, str]:
        connector = aiohttp.TCPConnector(local_addr=(address, 0))
        async with (
            aiohttp.ClientSession(connector=connector) as http,
            http.post(frail.portal + "/sign-in", json={"id_token": "no token"}, headers=OURS) as response,
        ):
            return response.status, (await response.json())["message"]

    await room_in_the_minute(ENOUGH_S)
    answers = [await sign_in("127.0.0.2") for _ in range(12)]
    assert [status for status, _ in answers] == [401] * 10 + [429] * 2
    assert answers[-1][1] == RATE_LIMITED
    assert (await sign_in("127.0.0.3"))[0] == 401
