"""The doors in the browser: signing up, in and out, a new password, who may not come in, and sessions that end."""

import asyncio
import json
import re
from contextlib import suppress
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import aiohttp
import pytest
from playwright.async_api import Browser, BrowserContext, Page, Route, expect
from playwright.async_api import TimeoutError as TooLate
from starlette.routing import Route as PortalRoute

from ghasi.portal.app import portal_app
from ghasi.settings import Settings
from tests.browser.conftest import Console, audit, let_in
from tests.end_to_end.customer import Customer
from tests.end_to_end.deployment import Deployment
from tests.live import live

PASSWORD = "correct horse"  # what a customer signs up with
REFUSED = "status of 400"
ANDROID = (
    "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Mobile Safari/537.36"
)
UNAUTHORIZED = "status of 401|Error Code 401"
ID = "0199f3a0-0000-7000-8000-000000000001"
OPEN = {"/sign-in", "/sign-up", "/reset-password", "/join", "/sign-out", "/healthz", "/favicon.ico", "/assets/{name}"}
"""What is there for everybody."""


async def fill_in(page: Page, email: str, password: str = PASSWORD) -> None:
    await page.get_by_label("Email").fill(email)
    await page.get_by_label("Password").fill(password)
    await page.get_by_label("Password").press("Enter")


def email_of(customer: Customer) -> str:
    return str(customer.session["user"]["email"])


async def cookies(context: BrowserContext) -> dict[str, Any]:
    return {str(cookie["name"]): cookie for cookie in await context.cookies()}


# ---- up, in and out


async def test_the_doors_are_accessible(page: Page, deployment: Deployment) -> None:
    for path in ("/sign-in", "/sign-up", "/reset-password", "/join", "/join#ghi_an-invitation"):
        await page.goto(deployment.portal + path)
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        await audit(page)


async def test_signing_up_leads_to_the_dashboard_and_leaves_no_token_in_the_page(
    page: Page, deployment: Deployment
) -> None:
    email = f"ann-{uuid4().hex[:12]}@example.com"
    await page.goto(deployment.portal + "/")
    await expect(page).to_have_url(deployment.portal + "/sign-in")
    await page.get_by_role("link", name="Create an account").click()
    await page.get_by_label("Name").fill("Ann <b>Rahimi</b>")
    await fill_in(page, email)
    await expect(page).to_have_url(deployment.portal + "/")
    await expect(page.get_by_role("complementary").get_by_text(email)).to_be_visible()
    await expect(page.get_by_role("heading", level=1)).to_be_visible()

    found = await cookies(page.context)
    tokens = {name: found[name] for name in ("ghasi_access", "ghasi_refresh")}
    for cookie in tokens.values():
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Lax", "/")
    kept = await page.evaluate("[location.href, document.cookie, {...localStorage}, {...sessionStorage}]")
    shown = json.dumps(kept) + await page.content()
    for cookie in tokens.values():
        assert cookie["value"] not in shown
    assert "eyJ" not in shown  # how every JWT begins
    assert PASSWORD not in shown


async def test_signing_out_ends_the_session_for_copies_of_it_too(
    portal: Page, customer: Customer, console: Console
) -> None:
    base = customer.deployment.portal
    await portal.goto(base + "/settings")
    before = await cookies(portal.context)
    await portal.get_by_role("button", name="Sign out").click()
    await expect(portal).to_have_url(base + "/sign-in")
    assert {"ghasi_access", "ghasi_refresh"}.isdisjoint(await cookies(portal.context))
    # somebody has kept a copy
    await portal.context.add_cookies([before["ghasi_refresh"]])
    await portal.goto(base + "/settings")
    await expect(portal).to_have_url(base + "/sign-in?next=%2Fsettings")
    refresh = {"Cookie": f"ghasi_refresh={before['ghasi_refresh']['value']}"}
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
        http.post(f"{customer.deployment.api}/v1/auth/refresh", headers=refresh) as response,
    ):
        assert response.status == 401
    assert console.errors == []


async def test_a_wrong_password_is_said_beside_it(
    page: Page, customer: Customer, console: Console, deployment: Deployment
) -> None:
    console.expect(REFUSED)
    await page.goto(deployment.portal + "/sign-in")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_label("Email")).to_have_attribute("aria-invalid", "true")
    await fill_in(page, email_of(customer), "wrong horse")
    password = page.get_by_label("Password")
    await expect(password).to_have_attribute("aria-invalid", "true")
    await expect(password).to_have_accessible_description("That email and password do not belong together.")
    await expect(page.get_by_label("Email")).to_have_value(email_of(customer))
    await audit(page)
    await password.fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page).to_have_url(deployment.portal + "/")


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        ("/messages/new", "/messages/new"),
        ("/settings/people", "/settings/people"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example/", "/"),
    ],
)
async def test_signing_in_leads_where_the_visitor_was_going_and_never_elsewhere(
    page: Page, customer: Customer, wanted: str, path: str
) -> None:
    base = customer.deployment.portal
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.goto(f"{base}/sign-in?next={quote(wanted, safe='')}")
    await fill_in(page, email_of(customer))
    await expect(page).to_have_url(base + path)
    await page.goto(f"{base}/sign-in?next={quote(wanted, safe='')}")  # signed in already
    await expect(page).to_have_url(base + path)
    assert not [url for url in asked if not url.startswith("http://127.0.0.1:")]


async def test_a_new_password_is_set_by_the_link_of_a_mail(
    page: Page, customer: Customer, console: Console, deployment: Deployment
) -> None:
    console.expect(REFUSED)
    await page.goto(deployment.portal + "/sign-in")
    await page.get_by_role("link", name="Forgot password?").click()
    await page.get_by_label("Email").fill(email_of(customer))
    await page.get_by_role("button", name="Send reset link").click()
    await expect(page.get_by_role("heading", name="Look in your mail")).to_be_focused()
    await audit(page)
    await page.goto(await reset_link(deployment, email_of(customer)))
    await expect(page.get_by_label("Email")).to_have_value(email_of(customer))
    await expect(page).not_to_have_url(re.compile("^[^#]*oobCode"))
    await audit(page)
    await page.get_by_label("Password").fill("battery staple")
    await page.get_by_role("button", name="Set new password").click()
    await expect(page.get_by_text("Your new password is set. Sign in with it.")).to_be_visible()
    await fill_in(page, email_of(customer), PASSWORD)
    await expect(page.get_by_text("That email and password do not belong together.")).to_be_visible()
    await fill_in(page, email_of(customer), "battery staple")
    await expect(page).to_have_url(deployment.portal + "/")


@pytest.mark.parametrize("has_google", [True, False])
async def test_google_is_asked_only_where_it_is_offered_on_a_phone_too(
    browser: Browser, page: Page, console: Console, has_google: bool
) -> None:
    """The SDK is the real one; what it asks Google for is held back here."""
    own = Settings(firebase_project_id="acme", firebase_api_key="key", firebase_google=has_google)
    elsewhere: list[str] = []

    async def hold_back(route: Route) -> None:
        elsewhere.append(route.request.url.partition("?")[0])
        await route.abort()

    async with live(portal_app(own)) as url:
        phone = await browser.new_context(user_agent=ANDROID, viewport={"width": 360, "height": 740})
        phone.on("console", console.take)
        for tab in (page, await phone.new_page()):
            await tab.route(lambda asked: not asked.startswith(url), hold_back)
            await tab.goto(url + "/sign-in")
            await expect(tab.get_by_role("button", name="Sign in", exact=True)).to_be_enabled()
            if has_google:
                console.expect("ERR_FAILED")
                await tab.get_by_role("button", name="Continue with Google").click()
                await expect(tab.get_by_role("alert")).to_contain_text("cannot be reached right now")
            await tab.wait_for_load_state("networkidle")
        await phone.close()
    assert set(elsewhere) == ({"https://apis.google.com/js/api.js"} if has_google else set())


async def reset_link(deployment: Deployment, email: str) -> str:
    """What a mail would hold: the identity server of a development machine lists it."""
    origin = deployment.identity.partition("/identitytoolkit")[0]
    async with aiohttp.ClientSession() as http, http.get(f"{origin}/emulator/v1/projects/demo-ghasi/oobCodes") as got:
        listed = (await got.json())["oobCodes"]
    return next(str(code["oobLink"]) for code in listed if code["email"] == email)


# ---- who is no customer


async def test_without_the_role_there_is_no_way_in(page: Page, customer: Customer, console: Console) -> None:
    console.expect("status of 403")
    deployment = customer.deployment
    deployment.admin("users", "roles", customer.session["user"]["id"], "--remove", "customer")
    await page.goto(deployment.portal + "/sign-in")
    await fill_in(page, email_of(customer))
    await expect(page.get_by_role("heading", name="No access to the portal")).to_be_visible()
    await audit(page)

    routes = [route for route in portal_app(Settings()).routes if isinstance(route, PortalRoute)]
    guarded = [(method, route) for route in routes for method in route.methods or () if route.path not in OPEN]
    assert len(guarded) > 40
    for method, route in guarded:
        path = route.path.format(**dict.fromkeys(route.param_convertors, ID))
        for headers in ({}, {"HX-Request": "true"}):
            answer = await page.context.request.fetch(
                deployment.portal + path, method=method, headers={"Sec-Fetch-Site": "same-origin", **headers}
            )
            assert answer.status == 403, (method, path)
            text = await answer.text()
            assert method == "HEAD" or "No access to the portal" in text, (method, path)
            assert 'aria-label="Pages"' not in text

    await page.get_by_role("button", name="Sign out").click()
    await expect(page).to_have_url(deployment.portal + "/sign-in")


# ---- sessions that end


async def renewals(deployment: Deployment) -> float:
    """How often the API was asked to renew a session."""
    async with aiohttp.ClientSession() as http, http.get(deployment.metrics) as response:
        lines = (await response.text()).splitlines()
    counted = [line for line in lines if line.startswith("ghasi_gateway_requests_total{") and "refresh_session" in line]
    return sum(float(line.rpartition(" ")[2]) for line in counted)


async def test_two_tabs_whose_token_has_ended_both_go_on(portal: Page, customer: Customer) -> None:
    base, context = customer.deployment.portal, portal.context
    other = await context.new_page()
    for tab in (portal, other):
        await tab.goto(base + "/settings")
        await tab.wait_for_load_state("networkidle")
    before = await renewals(customer.deployment)
    old = (await cookies(context))["ghasi_refresh"]["value"]
    await context.clear_cookies(name="ghasi_access")
    pages = portal.get_by_role("navigation", name="Pages"), other.get_by_role("navigation", name="Pages")
    await asyncio.gather(
        pages[0].get_by_role("link", name="Messages").click(), pages[1].get_by_role("link", name="Billing").click()
    )
    await expect(portal.get_by_role("heading", level=1, name="Messages")).to_be_visible()
    await expect(other.get_by_role("heading", level=1, name="Billing")).to_be_visible()
    # the second tab asks a second time at most, if it comes when the first is just done
    assert 1 <= await renewals(customer.deployment) - before <= 2
    assert (await cookies(context))["ghasi_refresh"]["value"] != old
    for tab in (portal, other):
        await tab.goto(base + "/settings/people")
        await expect(tab.get_by_role("row", name=email_of(customer))).to_be_visible()
    await other.close()


async def test_the_parts_of_a_page_renew_the_session_in_the_middle_of_work(portal: Page, customer: Customer) -> None:
    await portal.goto(customer.deployment.portal + "/settings")
    name = portal.get_by_label("Name", exact=True)
    await name.fill("Acme Group")
    await portal.context.clear_cookies(name="ghasi_access")
    await name.press("Enter")
    await expect(portal.get_by_role("complementary").get_by_text("Acme Group")).to_be_visible()


async def send_or_be_led_away(portal: Page) -> None:
    """Send the form of somebody whose session is over, unless its preview has led to the doors already."""
    with suppress(TooLate):
        await portal.get_by_role("main").get_by_role("button", name="Send message").click(timeout=6000)


async def test_a_form_is_as_it_was_after_signing_in_again(portal: Page, customer: Customer, console: Console) -> None:
    console.expect(UNAUTHORIZED)
    base, text = customer.deployment.portal, "Salam, your table is ready.\nAnn"
    await portal.goto(base + "/messages/new")
    await portal.get_by_label("To", exact=True).fill("+93701234567")
    await portal.get_by_label("Text", exact=True).fill(text)
    await portal.wait_for_load_state("networkidle")
    await portal.context.add_cookies(
        [{"name": name, "value": "forged", "url": base} for name in ("ghasi_access", "ghasi_refresh")]
    )
    await send_or_be_led_away(portal)
    await expect(portal).to_have_url(f"{base}/sign-in?next=%2Fmessages%2Fnew")
    await fill_in(portal, email_of(customer))
    await expect(portal).to_have_url(base + "/messages/new")
    await expect(portal.get_by_label("To", exact=True)).to_have_value("+93701234567")
    await expect(portal.get_by_label("Text", exact=True)).to_have_value(text)
    messages = await customer.good("GET", "/v1/messages")
    assert messages["data"] == []


async def test_nobody_else_gets_what_was_typed(portal: Page, customer: Customer, console: Console) -> None:
    """Another person signs in at the same browser: the form is empty."""
    console.expect(UNAUTHORIZED)
    base = customer.deployment.portal
    await portal.goto(base + "/messages/new")
    await portal.get_by_label("To", exact=True).fill("+93701234567")
    await portal.context.clear_cookies()
    await send_or_be_led_away(portal)
    await expect(portal.get_by_role("heading", name="Sign in to Ghasi")).to_be_visible()
    await portal.get_by_role("link", name="Create an account").click()
    await portal.get_by_label("Name").fill("Omid")
    await fill_in(portal, f"omid-{uuid4().hex[:12]}@example.com")
    await expect(portal).to_have_url(base + "/messages/new")
    await expect(portal.get_by_label("To", exact=True)).to_have_value("")


async def test_the_session_of_an_unknown_browser_begins_anew(page: Page, customer: Customer, console: Console) -> None:
    """Forged cookies are none."""
    base = customer.deployment.portal
    await let_in(page.context, customer)
    header, _, signature = customer.token.split(".")
    forged = f"{header}.eyJzdWIiOiIxIn0.{signature}"
    await page.context.clear_cookies()
    await page.context.add_cookies([{"name": "ghasi_access", "value": forged, "url": base}])
    await page.goto(base + "/settings")
    await expect(page).to_have_url(f"{base}/sign-in?next=%2Fsettings")
    assert console.errors == []
