"""A visitor's session over real sockets: kept in cookies, renewed once, ended at both ends."""

import asyncio
import base64
import time

import aiohttp
import pytest

from ghasi.contract import shapes
from ghasi.portal.sessions import read_claims
from ghasi.settings import Settings
from tests.client.fake_api import FakeApi, Given, Seen
from tests.live import live
from tests.portal.conftest import SECRET, Browser, Place, portal_with_probes, session, token, until

_NESTED = b'{"x":%s1%s}' % (b"[" * 2500, b"]" * 2500)
DEEP = f"a.{base64.urlsafe_b64encode(_NESTED).decode().rstrip('=')}.c"
LIMITED = Given(429, {"message": "API rate limit exceeded", "request_id": "r1"}, {"Retry-After": "17"})


async def test_without_a_session_a_page_leads_to_sign_in_and_back(browser: Browser, api: FakeApi) -> None:
    home = await browser.get("/")
    assert (home.status, home.headers["location"]) == (303, "/sign-in")
    deep = await browser.get("/probe?status=failed&to=%2B93")
    assert deep.headers["location"] == "/sign-in?next=%2Fprobe%3Fstatus%3Dfailed%26to%3D%252B93"
    posted = await browser.post("/probe")
    assert (posted.status, posted.headers["location"]) == (303, "/sign-in")
    assert api.seen == []


async def test_the_script_is_told_where_to_sign_in(browser: Browser, api: FakeApi) -> None:
    for asked in (await browser.get("/probe", HX_Request="true"), await browser.post("/probe", HX_Request="true")):
        assert (asked.status, asked.headers["x-ghasi-sign-in"], asked.raw) == (401, "/sign-in", "")


async def test_a_page_needs_no_call_of_the_api(browser: Browser, api: FakeApi) -> None:
    browser.set(ghasi_access=token(name="Ann Rahimi", account_name="Acme Ltd"))
    shown = await browser.get("/")
    assert shown.status == 200
    assert api.seen == []
    for text in ("Acme Ltd", "AR", "ann@example.com"):
        assert text in shown.text


@pytest.mark.parametrize(
    ("claims", "initials"),
    [
        ({}, "A"),
        ({"name": "Ann"}, "A"),
        ({"name": "ann maria rahimi"}, "AR"),
        ({"name": "  ", "email": "ann.rahimi@example.com"}, "AR"),
        ({"name": "", "email": "ann.rahimi@example.com"}, "AR"),
        ({"email": ""}, "?"),
    ],
)
def test_initials(claims: dict[str, str], initials: str) -> None:
    found = read_claims(token(**claims))
    assert found is not None
    assert found.initials == initials


async def test_without_the_role_a_page_says_so(browser: Browser, api: FakeApi) -> None:
    browser.set(ghasi_access=token(roles=("operator",)))
    for path in ("/", "/probe"):
        shown = await browser.get(path)
        assert shown.status == 403
        assert "does not have the role customer" in shown.text
        assert "Send message" not in shown.text
    assert api.seen == []


async def test_an_ended_access_token_is_renewed_and_both_cookies_are_replaced(browser: Browser, api: FakeApi) -> None:
    fresh = token()
    browser.set(ghasi_access=token(-1), ghasi_refresh="grt_0")
    api.answers["refresh_session"] = session(fresh, "grt_1")
    assert (await browser.get("/probe")).status == 200
    (renewal,) = api.calls("refresh_session")
    assert renewal.header("cookie") == "__Host-ghasi_refresh=grt_0"
    assert (renewal.header("x-ghasi-portal-secret"), renewal.header("x-forwarded-for")) == (SECRET, "127.0.0.1")
    assert browser.cookies == {"ghasi_access": fresh, "ghasi_refresh": "grt_1"}
    assert api.calls("list_messages")[0].header("authorization") == f"Bearer {fresh}"


async def test_a_token_that_is_about_to_end_is_renewed_before_it_does(browser: Browser, api: FakeApi) -> None:
    fresh = token()
    api.answers["refresh_session"] = session(fresh, "grt_1")
    browser.set(ghasi_access=token(40), ghasi_refresh="grt_0")
    assert (await browser.get("/probe")).status == 200
    assert len(api.calls("refresh_session")) == 1
    assert api.calls("list_messages")[0].header("authorization") == f"Bearer {fresh}"
    assert browser.cookies == {"ghasi_access": fresh, "ghasi_refresh": "grt_1"}


@pytest.mark.parametrize("refused", [Given(401, {"message": "Unauthorized"}), Given(503, {"message": "x"}), LIMITED])
async def test_while_a_token_is_good_nobody_is_sent_away(browser: Browser, api: FakeApi, refused: Given) -> None:
    ending = token(40)
    api.answers["refresh_session"] = refused
    browser.set(ghasi_access=ending, ghasi_refresh="grt_0")
    assert (await browser.get("/probe")).status == 200
    assert len(api.calls("refresh_session")) == 1
    assert api.calls("list_messages")[0].header("authorization") == f"Bearer {ending}"
    assert browser.cookies == {"ghasi_access": ending, "ghasi_refresh": "grt_0"}


async def test_a_token_is_not_renewed_over_and_over(browser: Browser, api: FakeApi) -> None:
    browser.set(ghasi_access=token(40))
    assert (await browser.get("/probe")).status == 200  # nothing to renew it by
    for lasting in (token(90), token(40, iat=time.time())):
        browser.set(ghasi_access=lasting, ghasi_refresh="grt_0")
        assert (await browser.get("/probe")).status == 200
    assert api.calls("refresh_session") == []


async def test_requests_side_by_side_renew_once(place: Place, browser: Browser, api: FakeApi) -> None:
    go_on = asyncio.Event()
    fresh = token()

    async def slowly(_: Seen) -> Given:
        await go_on.wait()
        return session(fresh, "grt_1")

    api.answers["refresh_session"] = slowly
    browser.set(ghasi_access=token(40), ghasi_refresh="grt_0")
    async with Browser(place.url) as other:
        other.set(ghasi_refresh="grt_other")
        before = place.counted.requests
        pages = [asyncio.create_task(one.get("/probe")) for one in [browser] * 20 + [other]]
        await until(lambda: place.counted.requests == before + 21 and len(api.calls("refresh_session")) == 2)
        # a tab that is closed meanwhile does not take the others with it
        pages[0].cancel()
        await asyncio.gather(pages[0], return_exceptions=True)
        go_on.set()
        shown = await asyncio.gather(*pages[1:])
    assert {page.status for page in shown} == {200}
    assert all(len(page.headers.getall("set-cookie")) == 2 for page in shown)
    presented = sorted(str(call.header("cookie")) for call in api.calls("refresh_session"))
    assert presented == ["__Host-ghasi_refresh=grt_0", "__Host-ghasi_refresh=grt_other"]


async def test_a_token_that_the_api_refuses_is_renewed_once(browser: Browser, api: FakeApi) -> None:
    refused, fresh = token(), token(800)
    expired = Given(401, {"exp": "token expired"})
    accepted = Given(200, shapes.Page([], None))
    api.answers["list_messages"] = lambda seen: accepted if fresh in str(seen.header("authorization")) else expired
    api.answers["refresh_session"] = session(fresh)
    browser.set(ghasi_access=refused, ghasi_refresh="grt_0")
    assert (await browser.get("/probe")).status == 200
    assert browser.cookies["ghasi_access"] == fresh

    api.answers["list_messages"] = expired
    home = await browser.get("/probe")
    assert (home.status, home.headers["location"]) == (303, "/sign-in?next=%2Fprobe")
    assert "ghasi_access" not in browser.cookies
    assert (await browser.get("/sign-in")).status == 200
    assert len(api.calls("refresh_session")) == 2


async def test_a_forged_token_without_a_refresh_cookie_ends_at_the_forms(browser: Browser, api: FakeApi) -> None:
    api.answers["list_messages"] = Given(401, {"message": "Invalid signature"})
    browser.set(ghasi_access=token())
    assert (await browser.get("/probe")).headers["location"] == "/sign-in?next=%2Fprobe"
    assert browser.cookies == {}


async def test_a_refused_renewal_leads_to_the_forms(browser: Browser, api: FakeApi) -> None:
    api.answers["refresh_session"] = Given(401, {"code": "invalid_refresh_token", "detail": "Sign in again."})
    browser.set(ghasi_refresh="grt_0")
    assert (await browser.get("/probe")).headers["location"] == "/sign-in?next=%2Fprobe"
    assert (await browser.get("/sign-in")).status == 200


async def test_new_cookies_are_kept_though_the_page_fails(browser: Browser, api: FakeApi) -> None:
    api.answers |= {"refresh_session": session(refresh="grt_1"), "list_messages": LIMITED}
    browser.set(ghasi_refresh="grt_0")
    assert (await browser.get("/probe")).status == 429
    assert browser.cookies["ghasi_refresh"] == "grt_1"


async def test_sign_out_ends_both(browser: Browser, api: FakeApi) -> None:
    browser.set(ghasi_access=token(), ghasi_refresh="grt_0")
    done = await browser.post("/sign-out")
    assert (done.status, done.headers["location"]) == (303, "/sign-in")
    (call,) = api.calls("sign_out")
    assert call.header("cookie") == "__Host-ghasi_refresh=grt_0"
    assert browser.cookies == {}


@pytest.mark.parametrize(
    "garbage", ["x", "a.b.c", "a.e30.c", 'a.b.c"; x', "é.é.é", DEEP, token(-1), token(roles=("customer",), exp="soon")]
)
async def test_garbage_cookies_mean_signed_out(browser: Browser, api: FakeApi, garbage: str) -> None:
    for cookies in ({"ghasi_access": garbage}, {"ghasi_access": garbage, "ghasi_refresh": '"a\\015\\012b"'}):
        async with (
            aiohttp.ClientSession() as http,
            http.get(
                browser.url + "/probe",
                headers={"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())},
                allow_redirects=False,
            ) as response,
        ):
            assert (response.status, response.headers["location"]) == (303, "/sign-in?next=%2Fprobe")
    assert api.seen == []


async def test_addresses_are_believed_from_trusted_proxies_alone(browser: Browser, api: FakeApi) -> None:
    browser.set(ghasi_access=token())
    await browser.get("/probe", X_Forwarded_For="203.0.113.9")
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
        async with live(portal_with_probes(settings)) as url, Browser(url) as browser:
            browser.set(ghasi_access=token())
            await browser.get("/probe", X_Forwarded_For=forwarded)
    assert api.calls("list_messages")[0].header("x-forwarded-for") == address
