"""What protects every page: the policy, and no forms from other sites."""

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ghasi.portal.protection import Protection, allow, allow_popups, local_path
from ghasi.settings import Settings
from tests.client.fake_api import ID, FakeApi, Given
from tests.live import live
from tests.portal.conftest import Browser, portal_with_probes, session, token

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


async def test_every_answer_has_the_policy(browser: Browser, api: FakeApi) -> None:
    browser.set(ghasi_access=token())
    for path, status in (("/", 200), ("/nowhere", 404), ("/broken", 500), ("/healthz", 200)):
        shown = await browser.get(path)
        assert (shown.status, shown.headers["content-security-policy"]) == (status, POLICY)
        assert shown.headers["cross-origin-opener-policy"] == "same-origin"
        assert shown.headers["cache-control"] == "no-store"


async def test_a_page_may_add_origins_for_itself_alone() -> None:
    async def reaching(request: Request) -> Response:
        allow(request, "connect-src", "https://identitytoolkit.googleapis.com/v1", "http://127.0.0.1:9099/x")
        allow(request, "frame-src", "https://demo.firebaseapp.com")
        allow_popups(request)
        return PlainTextResponse("reaching")

    async def odd(request: Request) -> Response:
        for url in ("https://a.example;script-src *", "javascript:x", "https://user@a.example", "https://"):
            with pytest.raises(ValueError, match="has no origin"):
                allow(request, "connect-src", url)
        return PlainTextResponse("odd")

    app = Starlette(
        routes=[Route("/reaching", reaching), Route("/odd", odd)],
        middleware=[Middleware(Protection, portal_url="http://portal.example.com")],
    )
    async with live(app) as url, Browser(url) as browser:
        headers = (await browser.get("/reaching")).headers
        assert (
            headers["content-security-policy"]
            == POLICY.replace(
                "connect-src 'self'", "connect-src 'self' https://identitytoolkit.googleapis.com http://127.0.0.1:9099"
            )
            + "; frame-src https://demo.firebaseapp.com"
        )
        assert headers["cross-origin-opener-policy"] == "same-origin-allow-popups"
        shown = await browser.get("/odd")
        assert (shown.raw, shown.headers["content-security-policy"]) == ("odd", POLICY)
        assert shown.headers["cross-origin-opener-policy"] == "same-origin"


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://portal.example.com"}, False),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://["}, False),
        ({"Origin": "http://[", "Host": "["}, False),
        ({"Origin": "http://portal.example.com.evil.example"}, False),
        ({"Origin": "http://portal.example.com"}, True),
        ({"Origin": "http://asked.example:3000", "Host": "asked.example:3000"}, True),
        ({"Origin": "http://asked.example", "Host": "asked.example:3000"}, False),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"X-Other": "from no browser"}, True),
    ],
)
@pytest.mark.parametrize("by_script", [False, True])
async def test_forms_of_other_sites_are_refused(
    browser: Browser, api: FakeApi, headers: dict[str, str], *, allowed: bool, by_script: bool
) -> None:
    browser.set(ghasi_access=token(), ghasi_refresh="grt_0")
    script = {"HX-Request": "true"} if by_script else {}
    assert (await browser.post("/probe", {"x": "y"}, **headers, **script)).status == (200 if allowed else 403)
    assert bool(api.calls("list_messages")) is allowed
    assert (await browser.post("/sign-out", **headers, **script)).status == (303 if allowed else 403)
    assert bool(api.calls("sign_out")) is allowed


@pytest.mark.parametrize("path", ["/sign-in/", "/healthz/", "//"])
async def test_a_slash_more_leads_to_no_other_host(browser: Browser, path: str) -> None:
    shown = await browser.get(path, Host="evil.example")
    assert (shown.status, shown.headers.get("location")) == (404, None)


@pytest.mark.parametrize("path", ["/messages", "/messages?status=failed&to=%2B93", "/messages/1#x", "/"])
def test_a_path_of_the_portal_is_gone_on_with(path: str) -> None:
    assert local_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        None, "", "messages", "https://evil.example/", "//evil.example", "/\\evil.example", "/\t/evil.example",
        "/x\r\nSet-Cookie: a=b", "/x\\y", "/é", "javascript:alert(1)", "/sign-in?next=/", "/sign-out", "/" + "x" * 1001,
    ],
)  # fmt: skip
def test_any_other_place_is_not(path: str | None) -> None:
    assert local_path(path) == "/"


async def test_over_https_the_cookies_are_bound_to_the_host(api: FakeApi) -> None:
    async with live(api) as api_url:
        settings = Settings(api_internal_url=api_url, portal_url="https://portal.example.com/")
        host_bound = "__Host-ghasi_refresh=grt_1; Path=/; HttpOnly; SameSite=Lax; Secure"
        api.answers["refresh_session"] = Given(200, session().body, {"Set-Cookie": host_bound})
        async with live(portal_with_probes(settings)) as url, Browser(url) as browser:
            cookie = {"Cookie": "__Host-ghasi_refresh=grt_0"}
            async with browser.http.get(f"{url}/probe", headers=cookie, allow_redirects=False) as shown:
                own, relayed = shown.headers.getall("set-cookie")
            assert own.startswith("__Host-ghasi_access=")
            assert own.endswith("; Secure")
            assert relayed == host_bound
            mine = {"Cookie": f"__Host-ghasi_access={token()}"}
            mine |= (ours := {"Sec-Fetch-Site": "same-origin"})
            async with browser.http.post(f"{url}/webhooks/{ID}/delete", headers=mine, allow_redirects=False) as gone:
                (flash,) = gone.headers.getall("set-cookie")
            async with browser.http.post(f"{url}/sign-out", headers=cookie | ours, allow_redirects=False) as out:
                cleared = out.headers.getall("set-cookie")
    assert "__Host-ghasi_refresh=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax; Secure" in cleared
    assert flash.startswith("ghasi_flash=")
    assert flash.endswith("; SameSite=Lax; Secure")
    assert api.calls("sign_out")[0].header("x-ghasi-portal-secret") is None
