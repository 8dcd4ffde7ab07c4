"""Settings in the browser: a new name, an own time zone and format, and people who come, change and go."""

import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

import aiohttp
import pytest
from playwright.async_api import Browser, BrowserContext, Page, Route, expect
from playwright.async_api import TimeoutError as TooLate

from tests.browser.conftest import DESKTOP, WITHIN_MS, Console, audit, let_in
from tests.end_to_end.customer import Customer
from tests.end_to_end.deployment import Deployment

PASSWORD = "correct horse"
UNAUTHORIZED = "status of 401|Error Code 401"
INVALID = "status of 422"


def address() -> str:
    return f"omid-{uuid4().hex[:12]}@example.com"


@pytest.fixture
async def other_browser(browser: Browser) -> AsyncIterator[BrowserContext]:
    """Somebody else's browser, whose console is watched too; it is in another zone than the customer's."""
    context = await browser.new_context(viewport=DESKTOP, locale="en-GB", timezone_id="UTC")  # type: ignore[arg-type] # a viewport
    context.set_default_timeout(WITHIN_MS)
    console = Console([], [UNAUTHORIZED])
    context.on("console", console.take)
    yield context
    await context.close()
    assert console.unexpected == []


@asynccontextmanager
async def joined(owner: Customer) -> AsyncIterator[Customer]:
    """A member of the owner's account, by the API."""
    deployment, email = owner.deployment, address()
    invitation = await owner.good("POST", "/v1/invitations", {"email": email})
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True), timeout=timeout) as http:
        body = {"email": email, "password": PASSWORD, "returnSecureToken": True}
        async with http.post(f"{deployment.identity}/accounts:signUp?key=local", json=body) as response:
            id_token = (await response.json())["idToken"]
        body = {"id_token": id_token, "invitation": invitation["token"]}
        async with http.post(f"{deployment.api}/v1/auth/firebase", json=body) as response:
            assert response.status == 200, await response.text()
            session = await response.json()
        yield Customer(deployment, http, session["access_token"], session)


# ---- general


async def test_a_new_name_shows_in_the_sidebar(portal: Page, customer: Customer, console: Console) -> None:
    console.expect(INVALID)
    await portal.goto(customer.deployment.portal + "/settings")
    await audit(portal)
    name = portal.get_by_label("Name", exact=True)
    await name.fill("")
    await name.press("Enter")
    await expect(portal.get_by_text("Enter a name.")).to_be_visible()
    await expect(name).to_be_focused()
    await name.fill("کابل & <b>Sons</b>")
    await name.press("Enter")
    await expect(portal.get_by_role("status").get_by_text("The account is renamed.")).to_be_visible()
    await expect(portal.get_by_role("complementary").get_by_text("کابل & <b>Sons</b>")).to_be_visible()
    await expect(name).to_have_value("کابل & <b>Sons</b>")
    await expect(portal).to_have_url(customer.deployment.portal + "/settings")


async def test_the_account_id_is_copied(portal: Page, customer: Customer) -> None:
    await portal.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await portal.goto(customer.deployment.portal + "/settings")
    await portal.get_by_role("button", name="Copy account ID").press("Enter")
    await expect(portal.get_by_role("status").get_by_text("Copied")).to_be_attached()
    copied = await portal.evaluate("navigator.clipboard.readText()")
    assert copied == customer.session["account"]["id"]


# ---- preferences


async def test_a_choice_changes_dates_and_money_on_every_page(portal: Page, customer: Customer) -> None:
    key = await customer.good("POST", "/v1/api-keys", {"name": "ci"})
    assert key["created_at"].endswith("Z")
    await portal.goto(customer.deployment.portal + "/settings/preferences")
    await expect(portal.get_by_text("As the browser: Asia/Kabul")).to_be_attached()
    await audit(portal)
    await portal.get_by_label("Time zone", exact=True).select_option("Pacific/Kiritimati")
    await portal.get_by_label("Dates, numbers and money").select_option(label="Deutsch (German)")
    example = portal.get_by_role("region", name="As it will look")
    await expect(example.get_by_text("1.284,60\N{NO-BREAK SPACE}$")).to_be_visible()
    await portal.get_by_role("button", name="Save preferences").click()
    await expect(portal.get_by_role("status").get_by_text("Your preferences are saved.")).to_be_visible()
    await expect(portal.get_by_label("Time zone", exact=True)).to_have_value("Pacific/Kiritimati")
    await expect(portal.get_by_label("Dates, numbers and money")).to_have_value("de")
    await portal.goto(customer.deployment.portal + "/settings")
    created = (await customer.good("GET", "/v1/account"))["created_at"]
    shown = await portal.evaluate(
        """(at) => new Intl.DateTimeFormat("de", {
            timeZone: "Pacific/Kiritimati", day: "2-digit", month: "2-digit", year: "numeric", hour: "2-digit",
            minute: "2-digit" }).format(new Date(at))""",
        created,
    )
    await expect(portal.get_by_text(shown)).to_be_visible()
    await portal.goto(customer.deployment.portal + "/")
    await expect(portal.get_by_text("0,00\N{NO-BREAK SPACE}$").first).to_be_visible()
    # back to the browser's own
    await portal.goto(customer.deployment.portal + "/settings/preferences")
    await portal.get_by_label("Time zone", exact=True).select_option("")
    await portal.get_by_label("Dates, numbers and money").select_option("")
    await portal.get_by_role("button", name="Save preferences").press("Enter")
    await expect(portal.get_by_role("status").get_by_text("Your preferences are saved.")).to_be_visible()
    await portal.goto(customer.deployment.portal + "/")
    await expect(portal.get_by_text("US$0.00").first).to_be_visible()


# ---- people


async def test_a_person_is_invited_works_along_and_is_removed(
    portal: Page, customer: Customer, console: Console, other_browser: BrowserContext
) -> None:
    console.expect(INVALID)
    base, email = customer.deployment.portal, address()
    account = customer.session["account"]["name"]

    await portal.goto(base + "/settings/people")
    await expect(portal.get_by_role("heading", name="Nobody is invited")).to_be_visible()
    await portal.get_by_role("button", name="Invite").click()
    dialog = portal.get_by_role("dialog", name="Invite somebody")
    await expect(dialog.get_by_label("Email")).to_be_focused()
    await audit(portal)
    await dialog.get_by_label("Email").fill("nobody")
    await dialog.get_by_role("button", name="Create invitation").click()
    await expect(dialog.get_by_text("Enter an email address")).to_be_visible()
    await expect(dialog.get_by_label("Email")).to_have_value("nobody")
    await dialog.get_by_label("Email").fill(email)
    await dialog.get_by_label("Email").press("Enter")
    await expect(dialog.get_by_text("Ghasi sends no mail")).to_be_visible()
    await audit(portal)
    link = await dialog.locator("code").inner_text()
    assert link.startswith(f"{base}/join#ghi_")
    await dialog.get_by_role("button", name="Done").click()
    await expect(portal.get_by_text(link.partition("#")[2])).to_have_count(0)  # it is shown once
    await expect(portal.get_by_role("row", name=email)).to_be_visible()

    them = await other_browser.new_page()
    await them.goto(link)
    await expect(them.get_by_role("heading", name="You have been invited")).to_be_visible()
    await expect(them).not_to_have_url(re.compile("ghi_"))
    await them.get_by_role("link", name="Create an account").click()
    await expect(them.get_by_text("Use the email that the invitation was made for.")).to_be_visible()
    await them.get_by_label("Name").fill("Omid <i>Karimi</i>")
    await them.get_by_label("Email").fill(email)
    await them.get_by_label("Password").fill(PASSWORD)
    await them.get_by_role("button", name="Create account").click()
    await expect(them).to_have_url(base + "/")
    await expect(them.get_by_role("complementary").get_by_text(account)).to_be_visible()
    await them.goto(base + "/settings")
    await expect(them.get_by_text("Only owners can rename the account. You are a member.")).to_be_visible()
    await audit(them)
    await them.get_by_role("link", name="People").click()
    await expect(them.get_by_text("Only owners can change roles, invite and remove.")).to_be_visible()
    await expect(them.get_by_role("row")).to_have_count(3)
    await expect(them.get_by_role("button", name="Leave account")).to_have_count(1)
    await expect(them.get_by_role("button", name="Invite")).to_have_count(0)
    await expect(them.get_by_role("button", name="Remove")).to_have_count(0)
    await audit(them)

    await portal.reload()
    await expect(portal.get_by_role("row", name="Omid <i>Karimi</i>").get_by_text("member")).to_be_visible()
    await audit(portal)
    await portal.get_by_role("button", name=f"Make owner: {email}").click()
    await portal.get_by_role("dialog", name="Make an owner?").get_by_role("button", name="Make owner").click()
    await expect(portal.get_by_text(f"{email} is an owner now.")).to_be_visible()
    await them.reload()
    await expect(them.get_by_role("button", name="Invite")).to_be_visible()

    await portal.get_by_role("button", name=f"Remove: {email}").click()
    await audit(portal)
    await portal.get_by_role("dialog", name="Remove this person?").get_by_role("button", name="Remove").click()
    await expect(portal.get_by_role("row", name="Omid <i>Karimi</i>")).to_have_count(0)
    await signed_out(them)


async def signed_out(page: Page) -> None:
    """Go on clicking, as one who was removed does, until it leads to the sign-in page."""
    deadline = time.monotonic() + 30
    while "/sign-in" not in page.url:
        assert time.monotonic() < deadline, page.url
        with suppress(TooLate):  # a part that looks by itself may have led away already
            await page.get_by_role("navigation", name="Pages").get_by_role("link", name="Messages").click(timeout=5000)
        await page.wait_for_load_state("networkidle")
    await expect(page.get_by_role("heading", name="Sign in to Ghasi")).to_be_visible()


async def test_the_only_owner_cannot_leave_and_is_told_why(portal: Page, customer: Customer, console: Console) -> None:
    console.expect(INVALID)
    await portal.goto(customer.deployment.portal + "/settings/people")
    await portal.get_by_role("button", name="Leave account").click()
    dialog = portal.get_by_role("dialog", name="Leave this account?")
    await dialog.get_by_role("button", name="Leave account").click()
    await expect(dialog.get_by_role("alert")).to_be_focused()
    await expect(dialog.get_by_role("alert")).to_contain_text("Make somebody else an owner first.")
    await audit(portal)
    await portal.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    await expect(portal.get_by_role("button", name="Leave account")).to_be_focused()


async def test_a_member_leaves_and_is_signed_out(
    portal: Page, customer: Customer, other_browser: BrowserContext
) -> None:
    base = customer.deployment.portal
    async with joined(customer) as member:
        await let_in(other_browser, member)
        them = await other_browser.new_page()
        await them.goto(base + "/settings/people")
        await them.get_by_role("button", name="Leave account").click()
        await them.get_by_role("dialog").get_by_role("button", name="Leave account").click()
        await expect(them.get_by_text("You have left the account and are signed out.")).to_be_visible()
        await audit(them)
        assert not [
            cookie for cookie in await other_browser.cookies() if "access" in str(cookie) or "refresh" in str(cookie)
        ]
        await them.goto(base + "/settings")
        await expect(them).to_have_url(f"{base}/sign-in?next=%2Fsettings")
    await portal.goto(base + "/settings/people")
    await expect(portal.get_by_role("row", name=customer.session["user"]["email"])).to_be_visible()
    await expect(portal.get_by_text(member.session["user"]["email"])).to_have_count(0)


async def test_an_invitation_is_revoked_by_keys_alone(portal: Page, customer: Customer) -> None:
    email = address()
    await customer.good("POST", "/v1/invitations", {"email": email, "role": "owner"})
    await portal.goto(customer.deployment.portal + "/settings/people")
    await portal.get_by_role("button", name=f"Revoke: {email}").press("Enter")
    revoke = portal.get_by_role("dialog", name="Revoke this invitation?").get_by_role("button", name="Revoke")
    await revoke.press("Enter")
    await expect(portal.get_by_role("status").get_by_text("The invitation is revoked")).to_be_visible()
    await expect(portal.get_by_role("heading", name="Nobody is invited")).to_be_visible()


async def test_a_list_that_does_not_come_leaves_the_other_alone(
    portal: Page, customer: Customer, console: Console
) -> None:
    console.expect("people/invitations|htmx:")

    async def break_off(route: Route) -> None:
        await route.abort()

    await portal.route("**/settings/people/invitations", break_off)
    await portal.goto(customer.deployment.portal + "/settings/people")
    await expect(portal.get_by_role("heading", name="This could not be loaded")).to_be_visible()
    await expect(portal.get_by_role("row", name=customer.session["user"]["email"])).to_be_visible()
    await audit(portal)
    await portal.unroute("**/settings/people/invitations")
    await portal.get_by_role("group", name="Error").get_by_role("button", name="Try again").click()
    await expect(portal.get_by_role("heading", name="Nobody is invited")).to_be_visible()


async def test_what_was_typed_comes_back_after_signing_in_again(
    portal: Page, customer: Customer, deployment: Deployment, console: Console
) -> None:
    """The dialog, too, is open again."""
    console.expect(UNAUTHORIZED)
    email = address()
    await portal.goto(deployment.portal + "/settings/people")
    await portal.get_by_role("button", name="Invite").click()
    dialog = portal.get_by_role("dialog", name="Invite somebody")
    await dialog.get_by_label("Email").fill(email)
    await dialog.get_by_label("Owner").check()
    await portal.context.clear_cookies()
    await dialog.get_by_role("button", name="Create invitation").click()
    await expect(portal.get_by_role("heading", name="Sign in to Ghasi")).to_be_visible()
    await let_in(portal.context, customer)
    await portal.goto(deployment.portal + "/settings/people")
    await expect(dialog.get_by_label("Email")).to_have_value(email)
    await expect(dialog.get_by_label("Owner")).to_be_checked()
