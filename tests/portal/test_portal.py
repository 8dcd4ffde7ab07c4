"""The portal's door as a browser sees it, over real sockets."""

import asyncio
import base64
import dataclasses
import re
import socket
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path

import aiohttp
import pytest

from ghasi.contract import shapes, table
from ghasi.identity.app import identity_app
from ghasi.portal.app import portal_app
from ghasi.portal.failures import RATE_LIMITED
from ghasi.portal.sessions import read_claims
from ghasi.settings import Settings
from ghasi.storage.resources import Resources
from tests.client.fake_api import FakeApi, Given, Seen, message
from tests.live import live
from tests.portal.conftest import SECRET, Browser, FakeIdentity, Place, session, token

FORM = {"email": "ann@example.com", "password": "correct horse"}
_NESTED = b'{"x":%s1%s}' % (b"[" * 2500, b"]" * 2500)
DEEP = f"a.{base64.urlsafe_b64encode(_NESTED).decode().rstrip('=')}.c"
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
LIMITED = Given(429, {"message": "API rate limit exceeded", "request_id": "r1"}, {"Retry-After": "17"})


async def test_without_a_session_one_redirect_leads_to_the_forms(browser: Browser, api: FakeApi) -> None:
    home = await browser.get("/")
    assert (home.status, home.headers["location"]) == (303, "/sign-in")
    shown = await browser.get("/sign-in")
    assert shown.status == 200
    assert shown.headers["cache-control"] == "no-store"
    forms = [attributes for tag, attributes in shown.tags if tag == "form"]
    assert [(form["method"], form["action"]) for form in forms] == [("post", "/sign-in"), ("post", "/sign-up")]
    assert shown.input("sign-in-password")["autocomplete"] == "current-password"
    assert shown.input("sign-up-password")["autocomplete"] == "new-password"
    assert api.seen == []


async def test_sign_in_sets_both_cookies_and_opens_the_messages(
    browser: Browser, api: FakeApi, identity: FakeIdentity
) -> None:
    access = token(900)
    api.answers["sign_in_with_firebase"] = session(access)
    done = await browser.post("/sign-in", {**FORM, "email": " ann@example.com "})
    assert (done.status, done.headers["location"]) == (303, "/")
    assert identity.seen == [
        (
            "/identitytoolkit.googleapis.com/v1/accounts:signInWithPassword?key=web+key",
            {**FORM, "returnSecureToken": True},
        )
    ]
    (call,) = api.calls("sign_in_with_firebase")
    assert call.body.id_token == "an id token"
    assert (call.header("x-ghasi-portal-secret"), call.header("x-forwarded-for")) == (SECRET, "127.0.0.1")
    own, relayed = done.headers.getall("set-cookie")
    assert relayed == "ghasi_refresh=grt_1; Max-Age=2592000; Path=/; HttpOnly; SameSite=Lax"
    assert own.startswith(f"ghasi_access={access}; ")
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(own.split("; "))
    expires = re.search(r"Expires=([^;]+)", own)
    assert expires is not None
    assert abs(parsedate_to_datetime(expires[1]).timestamp() - time.time() - 900) < 5

    api.answers["list_messages"] = Given(200, shapes.Page([message()], None))
    shown = await browser.get("/")
    assert shown.status == 200
    for text in ("+93701234567", "Your verification code is 482913", "delivered", "22 Nov 2026, 18:00", "0.0265 USD"):
        assert text in shown.text
    (listed,) = api.calls("list_messages")
    assert listed.header("authorization") == f"Bearer {access}"
    assert (await browser.get("/sign-in")).headers["location"] == "/"


async def test_sign_up(browser: Browser, api: FakeApi, identity: FakeIdentity) -> None:
    done = await browser.post("/sign-up", {**FORM, "name": "Ann"})
    assert (done.status, done.headers["location"]) == (303, "/")
    path, body = identity.seen[0]
    assert path.startswith("/identitytoolkit.googleapis.com/v1/accounts:signUp?")
    assert body == {**FORM, "displayName": "Ann", "returnSecureToken": True}
    assert set(browser.cookies) == {"ghasi_access", "ghasi_refresh"}


@pytest.mark.parametrize(
    ("path", "message", "field", "text"),
    [
        ("sign-up", "EMAIL_EXISTS", "email", "already an account"),
        ("sign-up", "WEAK_PASSWORD : Password should be at least 6 characters", "password", "at least 6 characters"),
        ("sign-in", "INVALID_LOGIN_CREDENTIALS", "password", "do not belong together"),
        ("sign-in", "INVALID_EMAIL", "email", "Enter an e-mail address"),
    ],
)
async def test_refusals_stand_beside_their_field(
    browser: Browser, api: FakeApi, identity: FakeIdentity, *, path: str, message: str, field: str, text: str
) -> None:
    identity.refuse(message)
    shown = await browser.post(f"/{path}", {"email": HOSTILE, "name": HOSTILE, "password": "secret word"})
    assert shown.status == 422
    assert shown.input(f"{path}-email")["value"] == HOSTILE.strip()
    assert "secret word" not in shown.raw
    assert shown.input(f"{path}-{field}")["aria-invalid"] == "true"
    described = shown.input(f"{path}-{field}")["aria-describedby"]
    assert shown.input(str(described))["class"] == "error"
    assert text in shown.text
    other = "sign-in" if path == "sign-up" else "sign-up"
    assert "value" not in shown.input(f"{other}-email")
    assert browser.cookies == {}


@pytest.mark.parametrize(
    ("given", "status", "text"),
    [
        ("TOO_MANY_ATTEMPTS_TRY_LATER : later", 422, "Too many attempts."),
        ("USER_DISABLED", 422, "This user is disabled."),
        ("SOMETHING_NEW", 503, "sign-in service cannot be reached"),
        (Given(429, {"error": {"message": "QUOTA_EXCEEDED"}}), 429, RATE_LIMITED),
        (Given(502, b"<html>"), 503, "sign-in service cannot be reached"),
        (Given(200, b"{}"), 503, "sign-in service cannot be reached"),
        (Given(400, {"error": "text"}), 503, "sign-in service cannot be reached"),
    ],
    ids=str,
)
async def test_refusals_of_the_whole_form(
    browser: Browser, api: FakeApi, identity: FakeIdentity, *, given: str | Given, status: int, text: str
) -> None:
    if isinstance(given, Given):
        identity.given = given
    else:
        identity.refuse(given)
    shown = await browser.post("/sign-in", FORM)
    assert shown.status == status
    assert text in shown.text
    assert shown.input("sign-in-email")["value"] == FORM["email"]
    assert api.seen == []


@pytest.mark.parametrize(
    ("given", "status", "text"),
    [
        (LIMITED, 429, RATE_LIMITED),
        (Given(504, b"The upstream server is timing out"), 503, "Ghasi cannot be reached right now."),
        (Given(403, {"code": "account_suspended", "detail": "Ask the operator."}), 403, "Ask the operator."),
        (Given(401, {"code": "invalid_id_token", "detail": "x"}), 502, "an answer that was not expected"),
        (session("no.token"), 502, "an answer that was not expected"),
    ],
    ids=lambda given: str(given)[:30],
)
async def test_an_api_that_refuses_a_sign_in(
    browser: Browser, api: FakeApi, identity: FakeIdentity, *, given: Given, status: int, text: str
) -> None:
    api.answers["sign_in_with_firebase"] = given
    shown = await browser.post("/sign-in", FORM)
    assert (shown.status, shown.input("sign-in-email")["value"]) == (status, FORM["email"])
    assert text in shown.text
    created = await browser.post("/sign-up", FORM)
    # the user exists now, so the page goes on with signing in
    assert (created.status, created.input("sign-in-email")["value"]) == (status, FORM["email"])
    assert "Your account is created." in created.text
    assert browser.cookies == {}


async def test_an_empty_list_shows_how_to_send(browser: Browser, api: FakeApi) -> None:
    browser.set(ghasi_access=token())
    api.answers["list_messages"] = Given(200, shapes.Page([], None))
    shown = await browser.get("/")
    assert "No messages yet" in shown.text
    assert "curl https://api.example.com/v1/messages" in shown.text


async def test_hostile_texts_are_text(browser: Browser, api: FakeApi) -> None:
    browser.set(ghasi_access=token(email=HOSTILE))
    hostile = message(
        body=HOSTILE, to=HOSTILE, price=shapes.Money(HOSTILE, HOSTILE), status="failed",
        error=shapes.MessageError("x", HOSTILE),
    )  # fmt: skip
    api.answers["list_messages"] = Given(200, shapes.Page([hostile, message(body=None, price=None)], "more"))
    shown = await browser.get("/")
    assert shown.status == 200
    assert shown.text.count(HOSTILE) >= 3
    assert "<script" not in shown.raw
    assert "The 2 newest messages" in shown.text


async def test_without_the_role_a_page_says_so(browser: Browser, api: FakeApi) -> None:
    browser.set(ghasi_access=token(roles=("operator",)))
    shown = await browser.get("/")
    assert shown.status == 403
    assert "does not have the role customer" in shown.text
    assert api.seen == []


async def test_an_ended_access_token_is_renewed_and_both_cookies_are_replaced(browser: Browser, api: FakeApi) -> None:
    fresh = token()
    browser.set(ghasi_access=token(-1), ghasi_refresh="grt_0")
    api.answers["refresh_session"] = session(fresh, "grt_1")
    assert (await browser.get("/")).status == 200
    (renewal,) = api.calls("refresh_session")
    assert renewal.header("cookie") == "ghasi_refresh=grt_0"
    assert (renewal.header("x-ghasi-portal-secret"), renewal.header("x-forwarded-for")) == (SECRET, "127.0.0.1")
    assert browser.cookies == {"ghasi_access": fresh, "ghasi_refresh": "grt_1"}
    assert api.calls("list_messages")[0].header("authorization") == f"Bearer {fresh}"


async def test_requests_side_by_side_renew_once(place: Place, browser: Browser, api: FakeApi) -> None:
    go_on = asyncio.Event()
    fresh = token()

    async def slowly(_: Seen) -> Given:
        await go_on.wait()
        return session(fresh, "grt_1")

    api.answers["refresh_session"] = slowly
    browser.set(ghasi_refresh="grt_0")
    async with Browser(place.url) as other:
        other.set(ghasi_refresh="grt_other")
        before = place.counted.requests
        pages = [asyncio.create_task(one.get("/")) for one in [browser] * 20 + [other]]
        await until(lambda: place.counted.requests == before + 21 and len(api.calls("refresh_session")) == 2)
        # a tab that is closed meanwhile does not take the others with it
        pages[0].cancel()
        await asyncio.gather(pages[0], return_exceptions=True)
        go_on.set()
        shown = await asyncio.gather(*pages[1:])
    assert {page.status for page in shown} == {200}
    assert all(len(page.headers.getall("set-cookie")) == 2 for page in shown)
    presented = sorted(str(call.header("cookie")) for call in api.calls("refresh_session"))
    assert presented == ["ghasi_refresh=grt_0", "ghasi_refresh=grt_other"]


async def test_a_token_that_the_api_refuses_is_renewed_once(browser: Browser, api: FakeApi) -> None:
    refused, fresh = token(), token(800)
    expired = Given(401, {"exp": "token expired"})
    accepted = Given(200, shapes.Page([], None))
    api.answers["list_messages"] = lambda seen: accepted if fresh in str(seen.header("authorization")) else expired
    api.answers["refresh_session"] = session(fresh)
    browser.set(ghasi_access=refused, ghasi_refresh="grt_0")
    assert (await browser.get("/")).status == 200
    assert browser.cookies["ghasi_access"] == fresh

    api.answers["list_messages"] = expired
    home = await browser.get("/")
    assert (home.status, home.headers["location"]) == (303, "/sign-in")
    assert "ghasi_access" not in browser.cookies
    assert (await browser.get("/sign-in")).status == 200
    assert len(api.calls("refresh_session")) == 2


async def test_a_forged_token_without_a_refresh_cookie_ends_at_the_forms(browser: Browser, api: FakeApi) -> None:
    api.answers["list_messages"] = Given(401, {"message": "Invalid signature"})
    browser.set(ghasi_access=token())
    assert (await browser.get("/")).headers["location"] == "/sign-in"
    assert browser.cookies == {}


async def test_a_refused_renewal_leads_to_the_forms(browser: Browser, api: FakeApi) -> None:
    api.answers["refresh_session"] = Given(401, {"code": "invalid_refresh_token", "detail": "Sign in again."})
    browser.set(ghasi_refresh="grt_0")
    assert (await browser.get("/")).headers["location"] == "/sign-in"
    assert (await browser.get("/sign-in")).status == 200


@pytest.mark.parametrize("operation", ["list_messages", "refresh_session"])
@pytest.mark.parametrize(
    ("given", "status", "text"),
    [
        (LIMITED, 429, RATE_LIMITED),
        (Given(502, b"An invalid response"), 503, "Ghasi cannot be reached right now."),
        (Given(500, {"code": "internal_error", "detail": "x", "request_id": "r7"}), 503, "Reference: r7"),
        (Given(200, b"not JSON"), 502, "an answer that was not expected"),
    ],
    ids=lambda given: str(given)[:30],
)
async def test_failures_of_the_api_have_a_page(
    browser: Browser, api: FakeApi, operation: str, *, given: Given, status: int, text: str
) -> None:
    browser.set(**({"ghasi_refresh": "grt_0"} if operation == "refresh_session" else {"ghasi_access": token()}))
    before = browser.cookies
    api.answers[operation] = given
    shown = await browser.get("/")
    assert shown.status == status
    assert text in shown.text
    assert "Try again" in shown.text
    assert shown.headers.get("retry-after") == ("17" if status == 429 else None)
    assert browser.cookies == before


async def test_new_cookies_are_kept_though_the_page_fails(browser: Browser, api: FakeApi) -> None:
    api.answers |= {"refresh_session": session(refresh="grt_1"), "list_messages": LIMITED}
    browser.set(ghasi_refresh="grt_0")
    assert (await browser.get("/")).status == 429
    assert browser.cookies["ghasi_refresh"] == "grt_1"


async def test_an_api_that_hangs(browser: Browser, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    row = table.BY_OPERATION["list_messages"]
    monkeypatch.setitem(table.BY_OPERATION, "list_messages", dataclasses.replace(row, timeout_s=0.1))
    api.answers["list_messages"] = api.hang
    browser.set(ghasi_access=token())
    shown = await browser.get("/")
    assert (shown.status, "Ghasi cannot be reached right now." in shown.text) == (503, True)


async def test_nobody_behind_the_portal() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nobody = f"http://127.0.0.1:{listener.getsockname()[1]}"
    settings = Settings(api_internal_url=nobody, firebase_auth_url=nobody)
    async with live(portal_app(settings)) as url, Browser(url) as browser:
        browser.set(ghasi_refresh="grt_0")
        assert (await browser.get("/")).status == 503
        signing_in = await browser.post("/sign-in", FORM)
        assert (signing_in.status, "sign-in service cannot be reached" in signing_in.text) == (503, True)
        assert (await browser.post("/sign-out")).headers["location"] == "/sign-in"
        assert browser.cookies == {}


async def test_sign_out_ends_both(browser: Browser, api: FakeApi) -> None:
    browser.set(ghasi_access=token(), ghasi_refresh="grt_0")
    done = await browser.post("/sign-out")
    assert (done.status, done.headers["location"]) == (303, "/sign-in")
    (call,) = api.calls("sign_out")
    assert call.header("cookie") == "ghasi_refresh=grt_0"
    assert browser.cookies == {}


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://portal.example.com"}, False),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://portal.example.com.evil.example"}, False),
        ({"Origin": "http://portal.example.com"}, True),
        ({"Origin": "http://asked.example:3000", "Host": "asked.example:3000"}, True),
        ({"Origin": "http://asked.example", "Host": "asked.example:3000"}, False),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"X-Other": "from no browser"}, True),
    ],
)
@pytest.mark.parametrize("path", ["/sign-in", "/sign-up", "/sign-out"])
async def test_forms_of_other_sites_are_refused(
    browser: Browser, api: FakeApi, identity: FakeIdentity, path: str, headers: dict[str, str], *, allowed: bool
) -> None:
    browser.set(ghasi_refresh="grt_0")
    shown = await browser.post(path, FORM, **headers)
    assert shown.status == (303 if allowed else 403)
    assert bool(api.seen) is allowed
    assert bool(identity.seen) is (allowed and path != "/sign-out")


@pytest.mark.parametrize(
    "garbage", ["x", "a.b.c", "a.e30.c", 'a.b.c"; x', "é.é.é", DEEP, token(-1), token(roles=("customer",), exp="soon")]
)
async def test_garbage_cookies_mean_signed_out(browser: Browser, api: FakeApi, garbage: str) -> None:
    for cookies in ({"ghasi_access": garbage}, {"ghasi_access": garbage, "ghasi_refresh": '"a\\015\\012b"'}):
        async with (
            aiohttp.ClientSession() as http,
            http.get(
                browser.url + "/",
                headers={"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())},
                allow_redirects=False,
            ) as response,
        ):
            assert (response.status, response.headers["location"]) == (303, "/sign-in")
    assert api.seen == []


async def test_addresses_are_believed_from_trusted_proxies_alone(browser: Browser, api: FakeApi) -> None:
    browser.set(ghasi_access=token())
    await browser.get("/", X_Forwarded_For="203.0.113.9")
    assert api.calls("list_messages")[0].header("x-forwarded-for") == "127.0.0.1"


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("198.51.100.7, 203.0.113.9, 10.1.2.3", "203.0.113.9"),
        ("2001:db8::1", "2001:db8::1"),
        ("10.9.9.9", "10.9.9.9"),
        ("garbage", "127.0.0.1"),
        ("203.0.113.9, garbage, 10.1.2.3", "10.1.2.3"),
        ("", "127.0.0.1"),
    ],
)
async def test_behind_a_proxy(api: FakeApi, place: Place, forwarded: str, address: str) -> None:
    async with live(api) as api_url:
        settings = Settings(api_internal_url=api_url, portal_secret=SECRET, trusted_proxies="10.0.0.0/8, 127.0.0.1")
        async with live(portal_app(settings)) as url, Browser(url) as browser:
            browser.set(ghasi_access=token())
            await browser.get("/", X_Forwarded_For=forwarded)
    assert api.calls("list_messages")[0].header("x-forwarded-for") == address


async def test_over_https_the_cookies_are_bound_to_the_host(api: FakeApi, identity: FakeIdentity, place: Place) -> None:
    async with live(api) as api_url, live(identity) as identity_url:
        settings = Settings(
            api_internal_url=api_url, firebase_auth_url=identity_url, portal_url="https://portal.example.com/"
        )
        host_bound = "__Host-ghasi_refresh=grt_1; Path=/; HttpOnly; Secure; SameSite=Lax"
        api.answers["sign_in_with_firebase"] = Given(200, session().body, {"Set-Cookie": host_bound})
        async with live(portal_app(settings)) as url, Browser(url) as browser:
            done = await browser.post("/sign-in", FORM, Origin="https://portal.example.com")
            own, relayed = done.headers.getall("set-cookie")
            assert own.startswith("__Host-ghasi_access=")
            assert own.endswith("; Secure")
            assert relayed == host_bound
            async with browser.http.post(
                f"{url}/sign-out", headers={"Cookie": "__Host-ghasi_refresh=grt_1"}, allow_redirects=False
            ) as out:
                cleared = out.headers.getall("set-cookie")
    assert "__Host-ghasi_refresh=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax; Secure" in cleared
    assert api.calls("sign_out")[0].header("x-ghasi-portal-secret") is None


async def test_assets_are_kept_for_ever_under_their_hash(browser: Browser) -> None:
    shown = await browser.get("/sign-in")
    paths = [str(attributes.get("href")) for tag, attributes in shown.tags if tag == "link"]
    assert len(paths) == 2
    for path in paths:
        asset = await browser.get(path)
        assert (asset.status, asset.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
        assert asset.headers["content-type"].partition(";")[0] == (
            "text/css" if path.endswith(".css") else "image/svg+xml"
        )
        assert re.fullmatch(r"/assets/\w+\.[0-9a-f]{16}\.\w+", path)
    for path in ("/assets/portal.css", "/assets/..%2fapp.py", "/assets/portal.0000000000000000.css"):
        assert (await browser.get(path)).status == 404


def test_the_style_sheet_asks_for_nothing_elsewhere() -> None:
    style = (Path(__file__).parents[2] / "ghasi/portal/assets/portal.css").read_text()
    assert "url(" not in style
    assert "@import" not in style
    assert "prefers-color-scheme: dark" in style


async def test_other_paths_methods_and_sizes(browser: Browser, api: FakeApi, identity: FakeIdentity) -> None:
    assert "Page not found" in (await browser.get("/nowhere")).text
    refused = await browser.post("/")
    assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")
    assert (await browser.get("/sign-up")).headers["location"] == "/"
    assert (await browser.get("/sign-out")).headers["location"] == "/"
    assert (await browser.post("/sign-in", {"email": "x" * 20_000})).status == 413
    assert identity.seen == []
    identity.refuse("MISSING_PASSWORD")
    assert (await browser.post("/sign-in")).status == 422
    health = await browser.get("/healthz")
    assert (health.status, health.raw) == (200, '{"status":"ok"}')


async def test_an_identity_providers_answer_nested_deep_is_none(
    browser: Browser, api: FakeApi, identity: FakeIdentity
) -> None:
    identity.given = Given(200, _NESTED)
    assert (await browser.post("/sign-in", FORM)).status == 503
    assert api.seen == []


async def test_a_405_names_the_methods_of_all_routes_of_its_address(browser: Browser) -> None:
    async with browser.http.put(browser.url + "/sign-in") as response:
        assert (response.status, response.headers["allow"]) == (405, "GET, HEAD, POST")


@pytest.mark.parametrize("path", ["/sign-in/", "/healthz/", "//"])
async def test_a_slash_more_leads_to_no_other_host(browser: Browser, path: str) -> None:
    shown = await browser.get(path, Host="evil.example")
    assert (shown.status, shown.headers.get("location")) == (404, None)


async def test_a_form_that_stops_is_answered_408(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ghasi.portal.pages.sign_in.FORM_S", 0.1)
    host, port = browser.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /sign-in HTTP/1.1\r\nHost: x\r\nSec-Fetch-Site: same-origin\r\nContent-Length: 9\r\n\r\ne")
    async with asyncio.timeout(5):
        came = await reader.read()  # to the end: the connection is closed
    writer.close()
    assert came.startswith(b"HTTP/1.1 408 ")
    assert b"did not arrive whole" in came


async def test_a_fault_of_our_own_has_a_page_too(
    browser: Browser, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("ghasi.portal.pages.sign_in.find_claims", broken)
    shown = await browser.get("/sign-in")
    assert (shown.status, "Something broke" in shown.text) == (500, True)


async def test_with_the_real_identity_server(resources: Resources, api: FakeApi) -> None:
    async with live(identity_app(resources)) as identity_url, live(api) as api_url:
        settings = Settings(
            api_internal_url=api_url, firebase_auth_url=f"{identity_url}/identitytoolkit.googleapis.com"
        )
        async with live(portal_app(settings)) as url, Browser(url) as browser:
            assert (await browser.post("/sign-up", {**FORM, "name": "Ann"})).status == 303
            id_token = api.calls("sign_in_with_firebase")[0].body.id_token
            assert read_claims(id_token) is None  # it is no access token of ours
            again = await browser.post("/sign-up", FORM)
            assert (again.status, "already an account" in again.text) == (422, True)
            assert (await browser.post("/sign-out")).status == 303
            wrong = await browser.post("/sign-in", {**FORM, "password": "wrong one"})
            assert (wrong.status, "do not belong together" in wrong.text) == (422, True)
            weak = await browser.post("/sign-up", {"email": "bob@example.com", "password": "12345"})
            assert (weak.status, "at least 6 characters" in weak.text) == (422, True)
            assert (await browser.post("/sign-in", FORM)).headers["location"] == "/"
            assert (await browser.get("/")).status == 200


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)
