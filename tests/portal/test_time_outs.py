"""A portal before an API that never answers, and one whose API has two addresses: what leaves, where to, how long."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from ghasi.contract.serving import Receive, Scope, Send, read_body
from ghasi.contract.shapes import Page
from ghasi.contract.table import Matcher
from ghasi.portal.app import portal_app
from ghasi.settings import Settings
from tests.client.fake_api import ID, FakeApi, Given
from tests.live import live
from tests.portal.conftest import Browser, Shown, token, until

AUTH_S, SEND_S, READS_S, BILLING_S, WEBHOOKS_S = 5.0, 10.0, 8.0, 8.0, 5.0
AT_ONCE_S = 0.8
"""A page that is about one thing waits so long for it; then its part asks again."""
SHELL_S = 2.5
EARLY_S, LATE_S = 0.1, 1.5
PAGES = (
    "/", "/messages", f"/messages/{ID}", "/messages/new", f"/messages/new?again={ID}", "/api-keys", "/webhooks",
    f"/webhooks/{ID}", f"/webhooks/{ID}/deliveries/{ID}", "/billing", f"/billing/invoices/{ID}", "/settings",
    "/settings/people", "/settings/preferences", "/reference", "/senders", "/senders/opt-outs", "/billing/balance",
    "/billing/rates", "/billing/invoices/running", "/billing/credit-notes", f"/billing/credit-notes/{ID}",
    "/settings/billing",
)  # fmt: skip
FORMS = {
    "/messages/new": {"to": "+93701234567", "body": "Hello", "idempotency_key": ID},
    "/messages/preview": {"to": "+93701234567", "body": "Hello"},
    "/webhooks/new": {"url": "https://example.com/hook", "events": "message.*"},
    f"/webhooks/{ID}/test": {"event_type": "message.delivered"},
    "/api-keys": {"name": "ci", "scopes": "messages:send", "expiry": "never"},
    f"/api-keys/{ID}/revoke": {},
    f"/messages/{ID}/cancel": {},
    f"/messages/{ID}/redact": {},
    f"/senders/{ID}": {"about": "default", "default": "on"},
    "/senders/opt-outs": {"to": "+93701234567"},
    f"/senders/opt-outs/{ID}/remove": {},
    "/billing/balance/limit": {"limit": "250.00"},
    "/settings/billing/profile": {"legal_name": "Acme Ltd"},
}
DOWNLOADS = (
    "/messages/export.csv", f"/billing/invoices/{ID}.pdf", f"/billing/invoices/{ID}.csv",
    f"/billing/credit-notes/{ID}.pdf",
)  # fmt: skip
QUIET = {"/messages/new/senders", "/billing/balance/refusal"}
"""What pages say besides: nobody is told when it does not come."""
ENDS_AFTER_S = {
    "refresh_session": AUTH_S, "list_api_keys": AUTH_S, "create_api_key": AUTH_S, "revoke_api_key": AUTH_S,
    "list_users": AUTH_S, "list_invitations": AUTH_S, "get_account": AUTH_S, "get_preferences": AUTH_S,
    "send_message": SEND_S, "preview_message": SEND_S, "list_messages": READS_S, "get_message": READS_S,
    "get_summary": BILLING_S, "get_usage": BILLING_S, "list_invoices": BILLING_S, "get_invoice": BILLING_S,
    "list_webhooks": WEBHOOKS_S, "get_webhook": WEBHOOKS_S, "list_deliveries": WEBHOOKS_S, "get_delivery": WEBHOOKS_S,
    "list_message_deliveries": WEBHOOKS_S, "create_webhook": WEBHOOKS_S, "send_test_event": WEBHOOKS_S,
    "cancel_message": SEND_S, "redact_message": SEND_S, "list_senders": READS_S, "update_sender": READS_S,
    "list_opt_outs": READS_S, "create_opt_out": READS_S, "delete_opt_out": READS_S,
    "get_balance": BILLING_S, "list_balance_transactions": BILLING_S, "set_spending_limit": BILLING_S,
    "list_rates": BILLING_S, "preview_invoice": BILLING_S, "list_credit_notes": BILLING_S,
    "get_credit_note": BILLING_S, "get_billing_profile": BILLING_S, "update_billing_profile": BILLING_S,
}  # fmt: skip
"""When the portal lets go of a call."""


@asynccontextmanager
async def watching_lateness() -> AsyncIterator[list[float]]:
    """How late the loop, which API and portal share, ran what was due, in seconds: by so much a wait looks shorter."""
    lateness = [0.0]

    async def watch() -> None:
        while True:
            due = time.monotonic() + 0.01
            await asyncio.sleep(0.01)
            lateness.append(time.monotonic() - due)

    watching = asyncio.create_task(watch())
    try:
        yield lateness
    finally:
        watching.cancel()


@dataclass
class HangingApi:
    """An API that takes every request and answers none; `held_s` says how long each caller waited, by operation."""

    held_s: dict[str, list[float]] = field(default_factory=dict)
    held_now: int = 0
    _matcher: Matcher = field(default_factory=Matcher)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        began = time.monotonic()
        found = self._matcher.find(scope["method"], scope["path"])
        await read_body(receive)
        self.held_now += 1
        while (await receive())["type"] != "http.disconnect":
            pass
        self.held_now -= 1
        operation = found[0].operation if found else scope["path"]
        self.held_s.setdefault(operation, []).append(time.monotonic() - began)


@asynccontextmanager
async def portal_before(api: object, **settings: str) -> AsyncIterator[tuple[Browser, str]]:
    """A signed-in browser at a portal whose internal API this is, and the API's address."""
    async with live(api) as api_url:
        app = portal_app(Settings(api_internal_url=api_url, firebase_api_key="web key", **settings))
        async with live(app) as url, Browser(url) as browser:
            browser.set(ghasi_access=token())
            yield browser, api_url


def parts_of(shown: Shown) -> set[str]:
    """The paths that a page loads by itself."""
    return {
        str(attributes["hx-get"])
        for _, attributes in shown.tags
        if attributes.get("hx-get") and "load" in str(attributes.get("hx-trigger"))
    }


async def timed(asked: Awaitable[Shown]) -> tuple[Shown, float]:
    began = time.monotonic()
    return await asked, time.monotonic() - began


async def test_a_hanging_api_is_let_go_of_after_the_contracts_time_and_no_page_waits_for_it() -> None:
    api = HangingApi()
    async with portal_before(api) as (browser, _):
        shells = dict(zip(PAGES, await asyncio.gather(*(timed(browser.get(path)) for path in PAGES)), strict=True))
        for path, (shell, took_s) in shells.items():
            assert shell.status == 200, path
            assert took_s < SHELL_S, (path, took_s)
            assert "Sign out" in shell.text, path
        await until(lambda: api.held_now == 0)
        keys_held_s = api.held_s.pop("get_json_web_keys")  # pages do not wait for them to the end
        assert all(held < AUTH_S + LATE_S for held in keys_held_s), keys_held_s
        hasty = {operation: waits.copy() for operation, waits in api.held_s.items()}
        assert all(held < AT_ONCE_S + LATE_S for waits in hasty.values() for held in waits), hasty
        api.held_s.clear()

        parts = sorted(set().union(*(parts_of(shell) for shell, _ in shells.values())))
        assert {"/messages/list", "/api-keys/list"} <= set(parts)
        async with Browser(browser.url) as outsider, watching_lateness() as lateness:
            outsider.set(ghasi_refresh="grt_0")
            renewal, *answers = await asyncio.gather(
                outsider.get("/messages"),
                *(browser.get(path, HX_Request="true") for path in parts),
                *(browser.post(path, form, HX_Request="true") for path, form in FORMS.items()),
            )
            await until(lambda: api.held_now == 0)
    assert renewal.status == 503
    for path, answer in zip([*parts, *FORMS], answers, strict=True):
        if path in QUIET:
            assert (answer.status, "hx-trigger" in answer.headers) == (200, False)
            continue
        assert answer.status == 503, path
        assert "Try again" in answer.text or answer.headers["hx-reswap"] == "none", path
        assert '"retry": true' in answer.headers["hx-trigger"] or path == "/messages/preview", path
    api.held_s.pop("get_json_web_keys", None)
    strange = {
        operation: waits
        for operation, waits in api.held_s.items()
        for held in waits
        if not ENDS_AFTER_S[operation] - EARLY_S - max(lateness) < held < ENDS_AFTER_S[operation] + LATE_S
    }
    assert strange == {}
    assert ENDS_AFTER_S.keys() - api.held_s.keys() == set(), "these were not asked"


async def test_the_server_asks_the_internal_address_alone_and_pages_show_the_public_one() -> None:
    internal, public = FakeApi(), FakeApi()
    internal.answers["list_messages"] = Given(200, Page([], None))  # there are first steps to show
    async with (
        live(public) as public_url,
        portal_before(internal, api_url=public_url) as (browser, internal_url),
    ):
        shells = {path: await browser.get(path) for path in PAGES}
        parts = sorted(set().union(*map(parts_of, shells.values())))
        shown = {path: await browser.get(path, HX_Request="true") for path in [*parts, "/reference/openapi.json"]}
        posted = {path: await browser.post(path, form, HX_Request="true") for path, form in FORMS.items()}
        downloads = {path: await browser.get(path) for path in DOWNLOADS}
        await browser.post("/sign-out")
        everything = shells | shown | {f"POST {path}": answer for path, answer in posted.items()} | downloads
    assert {path: answer.status for path, answer in everything.items() if answer.status >= 400} == {}
    assert (public.seen, public.unrouted) == ([], [])
    asked = {seen.row.operation for seen in internal.seen}
    downloaded = {"export_messages", "get_invoice_pdf", "get_invoice_csv", "get_credit_note_pdf"}
    assert asked >= ENDS_AFTER_S.keys() - {"refresh_session"} | downloaded
    showing = {path for path, answer in everything.items() if public_url in answer.raw}
    assert showing >= {"/dashboard/steps", "/reference/openapi.json", "POST /api-keys"}
    assert [path for path, answer in everything.items() if internal_url in answer.raw] == []
