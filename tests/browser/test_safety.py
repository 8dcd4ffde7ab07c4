"""Hostile text, other accounts' ids, other hosts, and hands without a mouse."""

import re
from typing import Any
from urllib.parse import unquote, urlsplit

from playwright.async_api import Page, Request, expect
from starlette.routing import Route

from ghasi.portal.app import portal_app
from ghasi.settings import Settings
from tests.browser.conftest import let_in, settled
from tests.end_to_end.customer import Customer, receiving, signed_up
from tests.end_to_end.deployment import Deployment, until

HOSTILE = "<script>window.pwned=1</script><img src=x onerror=window.pwned=1>\"'{{7*7}}<!--"
TO = "+93781112233"
PAGES = {
    "Dashboard": "/", "Messages": "/messages", "Senders": "/senders", "API keys": "/api-keys", "Webhooks": "/webhooks",
    "Billing": "/billing", "Settings": "/settings", "API reference": "/reference",
}  # fmt: skip


async def furnished(customer: Customer, text: str) -> dict[str, str]:
    """Give the account one of each, called `text` wherever a customer may write; return their ids."""
    await customer.good("PUT", "/v1/account", {"name": text})
    async with customer.http.post(customer.deployment.api + "/v1/auth/refresh") as response:
        customer.token = (await response.json())["access_token"]
    key = await customer.good("POST", "/v1/api-keys", {"name": text})
    async with receiving() as receiver:
        hook = {"url": f"{receiver.url}?{text[:6]}", "events": ["message.*"], "description": text}
        webhook = await customer.good("POST", "/v1/webhooks", {**hook, "headers": {"X-Text": text}})
        receiver.secret = webhook["secret"]
        sent = {"to": TO, "body": text, "reference": text, "from": "Ghasi"}
        message = await customer.good("POST", "/v1/messages", sent)

        async def delivered() -> Any:
            """Accepted, sent and delivered: what is still on its way would fail when the receiver goes."""
            log = (await customer.good("GET", f"/v1/webhooks/{webhook['id']}/deliveries?status=succeeded"))["data"]
            return next(one for one in log if one["event_type"] == "message.delivered") if len(log) == 3 else None

        delivery = await until(delivered)
    invitation = await customer.good("POST", "/v1/invitations", {"email": "omid@example.com", "role": "member"})
    customer.deployment.run("admin", "senders", "add", customer.session["account"]["id"], "Ghasi")
    (sender,) = (await customer.good("GET", "/v1/senders"))["data"]
    opt_out = await customer.good("POST", "/v1/opt-outs", {"to": TO})
    return {
        "message_id": message["id"], "key_id": key["id"], "webhook_id": webhook["id"], "delivery_id": delivery["id"],
        "invitation_id": invitation["id"], "user_id": customer.session["user"]["id"], "sender_id": sender["id"],
        "opt_out_id": opt_out["id"],
    }  # fmt: skip


async def test_what_customers_write_is_text(page: Page, deployment: Deployment) -> None:
    ran: list[str] = []
    page.on("dialog", lambda dialog: ran.append(dialog.message))
    async with signed_up(deployment) as customer:
        ids = await furnished(customer, HOSTILE)
        await let_in(page.context, customer)
        shown = {
            "/": 3, "/messages": 2, f"/messages/{ids['message_id']}": 3, "/api-keys": 2, "/webhooks": 2,
            f"/webhooks/{ids['webhook_id']}": 2, f"/webhooks/{ids['webhook_id']}/edit": 1,
            f"/webhooks/{ids['webhook_id']}/deliveries/{ids['delivery_id']}": 1, "/settings": 1, "/settings/people": 1,
            f"/messages/new?again={ids['message_id']}": 1, "/billing": 1,
        }  # fmt: skip
        for path, times in shown.items():
            await page.goto(deployment.portal + path)
            await settled(page)
            # the account's name is in each page's sidebar
            assert (await page.locator("body").inner_text()).count(HOSTILE) >= min(times, 2), path
            if path.startswith(("/messages/new", "/settings")) and path != "/settings/people":
                values = await page.evaluate(
                    "[...document.querySelectorAll('input:not([type=hidden]), textarea')].map((one) => one.value)"
                )
                assert HOSTILE in values, path
            assert await page.evaluate("window.pwned") is None, path
            assert await page.locator("main img, main script, .sidebar script").count() == 0, path
    assert ran == []


def paths_with_ids(method: str) -> list[str]:
    app = portal_app(Settings(firebase_api_key="web key"))
    routes = [one for one in app.routes if isinstance(one, Route) and method in (one.methods or ())]
    return sorted(route.path for route in routes if "{" in route.path and not route.path.startswith("/assets/"))


async def test_another_accounts_ids_are_not_found_and_nothing_is_done(deployment: Deployment) -> None:
    text = "Nobody else may read this"
    async with signed_up(deployment) as owner, signed_up(deployment) as other:
        ids = await furnished(owner, text)
        ids["invoice_id"] = ids["note_id"] = ids["message_id"]  # no month has been closed here
        cookies = {"Cookie": f"ghasi_access={other.token}"}
        refused: dict[str, str] = {}

        async def ask(method: str, path: str, form: dict[str, str] | None = None, **headers: str) -> None:
            request = other.http.request(
                method, deployment.portal + path, data=form, headers=cookies | headers, allow_redirects=False
            )
            async with request as response:
                flash = response.cookies.get("ghasi_flash")
                said = response.headers.get("HX-Trigger", "") + (flash.value if flash else "")
                refused[f"{method} {path} {len(headers)}"] = f"{response.status} {unquote(said)}".strip()
                shown = await response.text()
            assert text not in shown, path
            assert TO not in shown, path
            assert response.status < 500, path

        script = {"HX-Request": "true"}
        for path in paths_with_ids("GET"):
            concrete = path.format_map(ids)
            await ask("GET", concrete)
            await ask("GET", concrete, **script)
        forms = {
            "url": "https://evil.example",
            "events": "message.*",
            "event_type": "message.delivered",
            "role": "owner",
        }
        forms |= {
            "since": "24",
            "about": "default",
            "default": "on",
            "event": "message.delivered",
            "choice": "all",
            "enabled": "off",
        }
        for path in paths_with_ids("POST"):
            await ask("POST", path.format_map(ids), forms, **script, **{"Sec-Fetch-Site": "same-origin"})
        await ask("GET", f"/messages/new/form?again={ids['message_id']}", **script)
        # what a message that is not there has caused is an empty list, and a form to send it again is an empty form
        empty = {f"/messages/{ids['message_id']}/deliveries", f"/messages/new/form?again={ids['message_id']}"}
        missing = {what: said for what, said in refused.items() if what.split()[1] not in empty}
        done = {
            what: said for what, said in missing.items() if not re.match("404|20[04] .*(not exist|already|gone)", said)
        }
        assert list(done.items()) == []

        # the owner has all of it still, as it was
        for path in (
            "/v1/api-keys",
            "/v1/webhooks",
            "/v1/users",
            "/v1/invitations",
            "/v1/messages",
            "/v1/senders",
            "/v1/opt-outs",
        ):
            assert len((await owner.good("GET", path))["data"]) == 1, path
        (sender,) = (await owner.good("GET", "/v1/senders"))["data"]
        assert not sender["default"]
        assert (await owner.good("GET", f"/v1/messages/{ids['message_id']}"))["body"] == text
        webhook = (await owner.good("GET", "/v1/webhooks"))["data"][0]
        assert (webhook["enabled"], webhook["description"]) == (True, text)
        assert "evil" not in webhook["url"]
        log = (await owner.good("GET", f"/v1/webhooks/{webhook['id']}/deliveries"))["data"]
        assert all(one["attempt_count"] == 1 and one["message_id"] == ids["message_id"] for one in log)


async def test_nothing_is_asked_of_other_hosts(page: Page, customer: Customer, deployment: Deployment) -> None:
    asked: list[str] = []

    def take(request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in {"data", "blob"}:
            asked.append(f"{parts.scheme}://{parts.netloc}")

    page.context.on("request", take)
    for path in ("/sign-in", "/sign-up", "/reset-password"):
        await page.goto(deployment.portal + path)
        await settled(page)
    await let_in(page.context, customer)
    for path in [
        *PAGES.values(),
        "/messages/new",
        "/webhooks/new",
        "/senders/opt-outs",
        "/settings/people",
        "/settings/preferences",
    ]:
        await page.goto(deployment.portal + path)
        await settled(page)
    identity = f"http://127.0.0.1:{deployment.ports['identity']}"
    assert set(asked) - {identity} == {deployment.portal}
    assert asked.count(deployment.portal) > 40


# in a date field the browser marks the button of its picker itself
FOCUS = """() => {
    const at = document.activeElement;
    if (!at || at === document.body) return null;
    const style = getComputedStyle(at), box = at.getBoundingClientRect();
    return {
        name: (at.getAttribute("aria-label") ?? at.innerText ?? at.name ?? "").trim() || at.id || at.tagName,
        isMarked: (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0) ||
            style.boxShadow !== "none" || (/^date/.test(at.type) && !at.matches(":focus-visible")),
        isSeen: box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight && box.right > 0,
    };
}"""


async def tab_through(page: Page, most: int = 26) -> list[dict[str, Any]]:
    """Press Tab from the page's beginning, and say where the focus was."""
    stops: list[dict[str, Any]] = []
    for _ in range(most):
        await page.keyboard.press("Tab")
        found = await page.evaluate(FOCUS)
        if found is None:
            break
        stops.append(found)
    return stops


async def test_all_pages_are_reached_and_used_by_keyboard(portal: Page, customer: Customer) -> None:
    await portal.emulate_media(reduced_motion="reduce")
    await portal.goto(customer.deployment.portal + "/")
    for name, path in PAGES.items():
        await settled(portal)
        await portal.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
        for _ in range(30):
            await portal.keyboard.press("Tab")
            found = await portal.evaluate(FOCUS)
            if found and found["name"] == name:
                break
        assert found is not None
        assert found["name"] == name
        await portal.keyboard.press("Enter")
        await expect(portal).to_have_url(customer.deployment.portal + path)
        await settled(portal)
        stops = await tab_through(portal)
        assert stops[0]["name"] == "Skip to the content"
        assert {"Dashboard", "Sign out", "Dark theme"} <= {stop["name"] for stop in stops}
        assert [stop["name"] for stop in stops if not stop["isMarked"]] == [], path
        assert [stop["name"] for stop in stops if not stop["isSeen"]] == [], path

        await portal.get_by_role("link", name="Skip to the content").focus()
        await portal.keyboard.press("Enter")
        await expect(portal.get_by_role("main")).to_be_focused()
        await portal.keyboard.press("Tab")
        assert await portal.evaluate("document.activeElement.closest('main') !== null"), path
