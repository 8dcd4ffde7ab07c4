"""The pages before signing in, as the server makes them, and the exchange of an ID token for a session."""

import asyncio
import dataclasses
import json
import re
import time
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ghasi.contract import table
from ghasi.identity.app import ACCOUNTS, identity_app
from ghasi.portal.app import portal_app
from ghasi.portal.failures import RATE_LIMITED
from ghasi.portal.pages.sign_in import IdentityProvider
from ghasi.settings import Settings
from ghasi.storage.resources import Resources
from tests.client.fake_api import FakeApi, Given
from tests.live import live
from tests.portal.conftest import SECRET, Browser, Shown, session, token

ID_TOKEN = "eyJhbGciOiJSUzI1NiJ9.the-id-token.signature"
EMULATOR = "http://127.0.0.1:9099"
FIREBASE = "connect-src 'self' https://identitytoolkit.googleapis.com https://securetoken.googleapis.com"
PAGES = ("/sign-in", "/sign-up", "/reset-password", "/join")


class Answered:
    def __init__(self, status: int, headers: Any, raw: str) -> None:
        self.status, self.headers, self.raw = status, headers, raw

    @property
    def body(self) -> Any:
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.raw)


async def exchange(browser: Browser, body: Any = None, **headers: str) -> Answered:
    """Post an ID token as the page's script does."""
    raw = body if isinstance(body, bytes) else json.dumps(body if body is not None else {"id_token": ID_TOKEN}).encode()
    named = {"Content-Type": "application/json", "Sec-Fetch-Site": "same-origin"}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    async with browser.http.post(f"{browser.url}/sign-in", data=raw, headers=named, allow_redirects=False) as response:
        assert response.headers["cache-control"] == "no-store"
        return Answered(response.status, response.headers, await response.text())


def provider_of(shown: Shown) -> Any:
    return json.loads(next(str(found["data-identity"]) for _, found in shown.tags if "data-identity" in found))


def form_of(shown: Shown) -> dict[str, str | None]:
    (form,) = [attributes for tag, attributes in shown.tags if tag == "form"]
    return form


# ---- the pages


@pytest.mark.parametrize(
    ("path", "does", "action", "fields", "button"),
    [
        ("/sign-in", "sign-in", "/sign-in", {"email": "username", "password": "current-password"}, "Sign in"),
        (
            "/sign-up", "sign-up", "/sign-up", {"name": "name", "email": "username", "password": "new-password"},
            "Create account",
        ),
        ("/reset-password", "send-link", "/reset-password", {"email": "username"}, "Send reset link"),
        (
            "/reset-password?mode=resetPassword&oobCode=wJxDRhca1HM", "set-password", "/reset-password",
            {"email": "username", "password": "new-password"}, "Set new password",
        ),
    ],
)  # fmt: skip
async def test_a_form_sends_nothing_by_itself(
    browser: Browser, api: FakeApi, *, path: str, does: str, action: str, fields: dict[str, str], button: str
) -> None:
    shown = await browser.get(path)
    assert (shown.status, shown.headers["cache-control"]) == (200, "no-store")
    form = form_of(shown)
    assert (form["method"], form["action"], form["data-does"]) == ("post", action, does)
    inputs = {str(found["name"]): found["autocomplete"] for tag, found in shown.tags if tag == "input"}
    assert inputs == fields
    assert button in shown.text
    # without the script no password leaves the page, and the page says why
    doors = [found for tag, found in shown.tags if tag == "button" and "data-door" in found]
    assert doors
    assert all("disabled" in door for door in doors)
    assert "Signing in needs JavaScript." in shown.text
    for name in fields:
        assert f"{name}-error" in str(shown.input(name)["aria-describedby"]).split()
    assert "wJxDRhca1HM" not in shown.raw
    assert api.seen == []


async def test_the_script_is_told_where_the_identity_provider_is(browser: Browser, api: FakeApi) -> None:
    for path in PAGES:
        shown = await browser.get(path)
        assert provider_of(shown) == {
            "apiKey": "web key", "projectId": "", "authDomain": ".firebaseapp.com", "emulator": EMULATOR,
        }  # fmt: skip
        policy = shown.headers["content-security-policy"].split("; ")
        assert f"connect-src 'self' {EMULATOR}" in policy
        assert "script-src 'self'" in policy
        assert "Continue with Google" not in shown.text
        scripts = [str(found["src"]) for tag, found in shown.tags if tag == "script"]
        assert [re.sub(r"\.\w{16}\.", ".", script) for script in scripts] == ["/assets/sign_in.js"]


async def test_before_firebase_itself(api: FakeApi) -> None:
    own = Settings(firebase_project_id="acme", firebase_api_key="<key'\">", portal_url="https://portal.example.com")
    async with live(portal_app(own)) as url, Browser(url) as browser:
        shown = await browser.get("/sign-in")
        assert provider_of(shown) == {
            "apiKey": "<key'\">", "projectId": "acme", "authDomain": "acme.firebaseapp.com", "emulator": None,
        }  # fmt: skip
        assert FIREBASE in shown.headers["content-security-policy"].split("; ")
        assert shown.headers["cross-origin-opener-policy"] == "same-origin"
        assert "oobCodes" not in (await browser.get("/reset-password")).raw


async def test_google_is_offered_where_it_is_configured(api: FakeApi) -> None:
    own = Settings(firebase_project_id="acme", firebase_google=True, firebase_auth_domain="auth.acme.example")
    async with live(portal_app(own)) as url, Browser(url) as browser:
        for path in ("/sign-in", "/sign-up"):
            shown = await browser.get(path)
            assert "Continue with Google" in shown.text
            assert [tag for tag, found in shown.tags if "data-google" in found] == ["button"]
            policy = shown.headers["content-security-policy"].split("; ")
            assert {FIREBASE, "script-src 'self' https://apis.google.com", "frame-src https://auth.acme.example"} <= {
                *policy
            }
            # the pop-up tells this page who has signed in
            assert shown.headers["cross-origin-opener-policy"] == "same-origin-allow-popups"
        # only before signing in
        assert "apis.google.com" not in (await browser.get("/nowhere")).headers["content-security-policy"]


@pytest.mark.parametrize(
    ("url", "emulator"),
    [
        ("http://127.0.0.1:9099/identitytoolkit.googleapis.com", "http://127.0.0.1:9099"),
        ("http://127.0.0.1:9099/identitytoolkit.googleapis.com/", "http://127.0.0.1:9099"),
        ("https://sign-in.example.com/identitytoolkit.googleapis.com", "https://sign-in.example.com"),
        ("https://identitytoolkit.googleapis.com", None),
        ("https://identitytoolkit.googleapis.com/", None),
    ],
)
def test_an_emulator_is_known_by_its_path(url: str, emulator: str | None) -> None:
    provider = IdentityProvider.of(Settings(firebase_auth_url=url, firebase_google=True))
    assert (provider.emulator, provider.api_key) == (emulator, "local" if emulator else "")
    assert provider.has_google is (emulator is None)


async def test_the_link_of_a_mail(browser: Browser, api: FakeApi) -> None:
    asked = await browser.get("/reset-password?mode=verifyEmail&oobCode=wJxDRhca1HM")
    assert "Verify your email" in asked.text
    assert "wJxDRhca1HM" not in asked.raw
    # the script moves the code to the fragment, and the page can be loaded again
    assert form_of(await browser.get("/reset-password?mode=resetPassword"))["data-does"] == "set-password"
    assert form_of(await browser.get("/reset-password?oobCode=wJxDRhca1HM"))["data-does"] == "set-password"
    assert (await browser.get("/reset-password?mode=recoverEmail&oobCode=x")).status == 404
    sent = await browser.get("/reset-password")
    assert f'href="{EMULATOR}/emulator/v1/projects//oobCodes"' in sent.raw
    assert "password_reset_link" in sent.text


async def test_where_the_visitor_was_going_is_kept_among_the_pages(browser: Browser, api: FakeApi) -> None:
    for path in ("/sign-in", "/sign-up", "/reset-password"):
        for wanted, kept in (
            ("%2Fmessages%2Fnew%3Fto%3D%252B93", "?next=%2Fmessages%2Fnew%3Fto%3D%252B93"),
            ("https%3A%2F%2Fevil.example", ""),
            ("%2F%2Fevil.example", ""),
            ("%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E", ""),
        ):
            shown = await browser.get(f"{path}?next={wanted}")
            doors = {"/sign-in", "/sign-up", "/reset-password"} - {path}
            links = [str(found["href"]) for tag, found in shown.tags if tag == "a"]
            assert f"/sign-in{kept}" in links
            assert {link.partition("?")[0] for link in links} & doors
            assert all(link.partition("?")[2] == kept.lstrip("?") for link in links if link.startswith(tuple(doors)))
            assert "evil" not in shown.raw
            assert "<script>alert" not in shown.raw


async def test_who_is_signed_in_is_led_on(browser: Browser, api: FakeApi) -> None:
    browser.set(ghasi_access=token())
    for path in ("/sign-in", "/sign-up"):
        assert (await browser.get(path)).headers["location"] == "/"
        assert (await browser.get(f"{path}?next=%2Fmessages")).headers["location"] == "/messages"
        assert (await browser.get(f"{path}?next=%2F%2Fevil.example")).headers["location"] == "/"
    assert (await browser.get("/reset-password")).status == 200
    assert (await browser.get("/sign-out")).headers["location"] == "/"


async def test_notices_are_ours_alone(browser: Browser, api: FakeApi) -> None:
    assert "Your new password is set." in (await browser.get("/sign-in?notice=new-password")).text
    assert "You won" not in (await browser.get("/sign-in?notice=You%20won")).raw


async def test_who_was_invited_is_greeted(browser: Browser, api: FakeApi) -> None:
    shown = await browser.get("/join")
    assert "You have been invited" in shown.text
    assert [found["href"] for tag, found in shown.tags if tag == "a" and "btn" in str(found.get("class"))] == [
        "/sign-up",
        "/sign-in",
    ]
    browser.set(ghasi_access=token(email="<b>@example.com"))
    shown = await browser.get("/join")
    assert "You are signed in as <b>@example.com." in shown.text
    assert form_of(shown)["action"] == "/sign-out"


# ---- the exchange


async def test_an_id_token_becomes_a_session(browser: Browser, api: FakeApi) -> None:
    access = token(900)
    api.answers["sign_in_with_firebase"] = session(access)
    with structlog.testing.capture_logs() as logs:
        done = await exchange(browser, {"id_token": ID_TOKEN, "invitation": None, "next": "/messages?status=failed"})
    assert (done.status, done.body) == (200, {"next": "/messages?status=failed"})
    (call,) = api.calls("sign_in_with_firebase")
    assert (call.body.id_token, call.body.invitation) == (ID_TOKEN, None)
    assert (call.header("x-ghasi-portal-secret"), call.header("x-forwarded-for")) == (SECRET, "127.0.0.1")
    own, relayed = done.headers.getall("set-cookie")
    assert relayed == "ghasi_refresh=grt_1; Max-Age=2592000; Path=/; HttpOnly; SameSite=Lax"
    assert own.startswith(f"ghasi_access={access}; ")
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(own.split("; "))
    expires = re.search(r"Expires=([^;]+)", own)
    assert expires is not None
    assert abs(parsedate_to_datetime(expires[1]).timestamp() - time.time() - 900) < 5
    assert (await browser.get("/sign-in")).headers["location"] == "/"
    assert ID_TOKEN not in str(logs)


@pytest.mark.parametrize(
    ("wanted", "led"),
    [
        (None, "/"), ("", "/"), ("/messages", "/messages"), ("/a?to=%2B93#top", "/a?to=%2B93#top"),
        ("//evil.example", "/"), ("/\\evil.example", "/"), ("https://evil.example", "/"), ("javascript:alert(1)", "/"),
        ("/\t/evil.example", "/"), ("/\n/evil.example", "/"), ("messages", "/"), ("/sign-in", "/"), ("/é", "/"),
    ],
)  # fmt: skip
async def test_next_leads_nowhere_else(browser: Browser, api: FakeApi, wanted: str | None, led: str) -> None:
    assert (await exchange(browser, {"id_token": ID_TOKEN, "next": wanted})).body == {"next": led}


@pytest.mark.parametrize(
    ("given_answer", "status", "code", "text"),
    [
        (
            Given(429, {"message": "API rate limit exceeded"}, {"Retry-After": "17"}), 429, "rate_limited",
            RATE_LIMITED,
        ),
        (Given(502, b"An invalid response"), 503, "bad_gateway", "Ghasi cannot be reached right now."),
        (Given(504, {"message": "x"}), 503, "upstream_timeout", "Ghasi cannot be reached right now."),
        (Given(500, {"code": "internal_error", "detail": "x"}), 503, "internal_error", "Ghasi cannot be reached"),
        (Given(401, {"code": "invalid_id_token", "detail": "aud"}), 401, "invalid_id_token", "did not accept"),
        (Given(403, {"code": "account_suspended", "detail": "It is suspended."}), 403, "account_suspended", "It is"),
        (Given(422, {"code": "invalid_invitation", "detail": "x"}), 422, "invalid_invitation", "This invitation is"),
        (Given(409, {"code": "already_in_account", "detail": "x"}), 409, "already_in_account", "in another account"),
        (Given(200, b"not JSON"), 502, "invalid_answer", "not expected"),
        (Given(200, session("no.claims.here").body), 502, "invalid_answer", "not expected"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
async def test_refusals_are_told_in_words(
    browser: Browser, api: FakeApi, *, given_answer: Given, status: int, code: str, text: str
) -> None:
    api.answers["sign_in_with_firebase"] = given_answer
    with structlog.testing.capture_logs() as logs:
        done = await exchange(browser, {"id_token": ID_TOKEN, "invitation": "an-invitation"})
    assert (done.status, done.body["code"]) == (status, code)
    assert text in done.body["message"]
    assert set(done.body) == {"code", "message"}
    assert done.headers.get("retry-after") == ("17" if status == 429 else None)
    assert browser.cookies == {}
    assert api.calls("sign_in_with_firebase")[0].body.invitation == "an-invitation"
    assert ID_TOKEN not in done.raw + str(logs)
    assert "an-invitation" not in done.raw + str(logs)


async def test_an_api_that_hangs_or_is_away(browser: Browser, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    row = dataclasses.replace(table.BY_OPERATION["sign_in_with_firebase"], timeout_s=0.1)
    monkeypatch.setitem(table.BY_OPERATION, "sign_in_with_firebase", row)
    api.answers["sign_in_with_firebase"] = api.hang
    done = await exchange(browser)
    assert (done.status, done.body["code"]) == (503, "unreachable")
    assert "Ghasi cannot be reached right now." in done.body["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b'"x"', b"{}", b'{"id_token":""}', b'{"id_token":5}', b'{"id_token":"\xff"}',
        b'{"id_token":"x","invitation":""}', b'{"id_token":"x","password":"secret word"}', b'{"x":%s1}' % (b"[" * 5000),
        b'{"id_token":"%s"}' % (b"x" * 16385), b'{"id_token":"x","invitation":"%s"}' % (b"x" * 101),
    ],
    ids=lambda body: str(body)[:40],
)  # fmt: skip
async def test_bodies_that_are_none(browser: Browser, api: FakeApi, body: bytes) -> None:
    done = await exchange(browser, body)
    assert (done.status, done.body["code"]) == (422, "invalid_request")
    assert "secret word" not in done.raw
    assert api.seen == []


async def test_a_body_that_is_too_large_or_stops(
    browser: Browser, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await exchange(browser, b'{"id_token":"%s"}' % (b"x" * 30_000))).status == 413
    monkeypatch.setattr("ghasi.portal.forms.FORM_S", 0.1)
    host, port = browser.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /sign-in HTTP/1.1\r\nHost: x\r\nSec-Fetch-Site: same-origin\r\nContent-Type: application/json\r\n"
        b"Content-Length: 9\r\n\r\n{"
    )
    async with asyncio.timeout(5):
        came = await reader.read()  # to the end: the connection is closed
    writer.close()
    assert came.startswith(b"HTTP/1.1 408 ")
    assert api.seen == []


@pytest.mark.parametrize("path", ["/sign-in", "/sign-up", "/reset-password"])
async def test_a_form_without_the_script_is_refused_unread(browser: Browser, api: FakeApi, path: str) -> None:
    with structlog.testing.capture_logs() as logs:
        shown = await browser.post(path, {"email": "ann@example.com", "password": "secret word"})
    assert shown.status == 415
    assert "needs JavaScript" in shown.text
    assert "secret word" not in shown.raw + str(logs)
    assert (api.seen, browser.cookies) == ([], {})


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://portal.example.com"}, False),
        ({"Sec-Fetch-Site": "same-origin"}, True),
    ],
)
async def test_no_other_site_signs_its_visitors_in(
    browser: Browser, api: FakeApi, headers: dict[str, str], *, allowed: bool
) -> None:
    assert (await exchange(browser, **headers)).status == (200 if allowed else 403)
    assert bool(api.seen) is allowed


async def test_over_https_the_cookies_are_bound_to_the_host(api: FakeApi) -> None:
    host_bound = "__Host-ghasi_refresh=grt_1; Path=/; HttpOnly; SameSite=Lax; Secure"
    api.answers["sign_in_with_firebase"] = Given(200, session().body, {"Set-Cookie": host_bound})
    async with live(api) as api_url:
        own = Settings(api_internal_url=api_url, portal_url="https://portal.example.com/")
        async with live(portal_app(own)) as url, Browser(url) as browser:
            done = await exchange(browser, **{"Sec-Fetch-Site": "same-origin", "Origin": "https://portal.example.com"})
            cookie, relayed = done.headers.getall("set-cookie")
    assert cookie.startswith("__Host-ghasi_access=")
    assert cookie.endswith("; Secure")
    assert relayed == host_bound


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.dictionaries(
        st.sampled_from(["id_token", "invitation", "next", "email"]),
        st.none() | st.booleans() | st.integers() | st.text(max_size=50) | st.lists(st.text(max_size=3), max_size=2),
    )
)
async def test_no_body_is_a_5xx_or_leads_elsewhere(browser: Browser, api: FakeApi, body: dict[str, Any]) -> None:
    api.answers["sign_in_with_firebase"] = session()
    done = await exchange(browser, body)
    assert done.status in {200, 422}
    if done.status == 200:
        assert re.fullmatch(r"/(?![/\\])[!-\[\]-~]*", done.body["next"])


async def test_with_the_real_identity_server(resources: Resources, api: FakeApi) -> None:
    """What the SDK does in a browser, by hand: an ID token of the server's own is exchanged as it is."""
    async with live(identity_app(resources)) as identity_url, live(api) as api_url:
        own = Settings(api_internal_url=api_url, firebase_auth_url=f"{identity_url}/identitytoolkit.googleapis.com")
        async with live(portal_app(own)) as url, Browser(url) as browser:
            emulator = provider_of(await browser.get("/sign-up"))["emulator"]
            assert emulator == identity_url
            person = {"email": "ann@example.com", "password": "correct horse"}
            headers = {"Origin": url, "X-Client-Version": "WebWorker/JsCore/1.13.9/FirebaseCore-web"}
            path = f"{emulator}{ACCOUNTS}:signUp?key=local"
            async with browser.http.post(path, json=person, headers=headers) as response:
                assert response.headers["access-control-allow-origin"] == "*"
                id_token = (await response.json())["idToken"]
            done = await exchange(browser, {"id_token": id_token})
            assert (done.status, done.body) == (200, {"next": "/"})
            assert api.calls("sign_in_with_firebase")[0].body.id_token == id_token
