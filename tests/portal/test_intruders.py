"""Every path of the portal, asked by other sites and with cookies that somebody has made up."""

import asyncio
import base64
import json
import re
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.routing import Route
from yarl import URL

from ghasi.contract.table import ROWS
from ghasi.portal.app import portal_app
from ghasi.settings import Settings
from tests.client.fake_api import ID, PUBLIC_KEY, FakeApi, Given
from tests.portal.conftest import Browser, token
from tests.portal.test_rendering import MANIFEST
from tests.portal.test_sessions import DEEP

OPEN = {
    "/sign-in": 200,
    "/sign-up": 200,
    "/reset-password": 200,
    "/join": 200,
    "/healthz": 200,
    "/favicon.ico": 307,
    "/assets/x": 404,
}
"""What anybody may ask for; /sign-out leads on."""


def paths(method: str) -> list[str]:
    """All paths of the portal that take a method, with an id for each parameter; of assets one that is not there."""
    routes = [route for route in portal_app(Settings(firebase_api_key="web key")).routes if isinstance(route, Route)]
    found = [route.path.replace("/assets/{name}", "/assets/x") for route in routes if method in (route.methods or ())]
    return sorted({re.sub(r"{\w+}", ID, path) for path in found})


def packed(payload: bytes) -> str:
    return f"eyJhbGciOiJub25lIn0.{base64.urlsafe_b64encode(payload).rstrip(b'=').decode()}.x"


GARBAGE = {
    "empty": "",
    "no-token": "garbage",
    "no-base64": "a.b.c",
    "no-json": packed(b"\xff\xfe"),
    "no-object": packed(b"[1]"),
    "deep": DEEP,
    "surrogate": packed(b'{"sub":"\\ud800","account_id":"a","email":"e","roles":["customer"],"exp":9e9}'),
    "no-roles": packed(json.dumps({"sub": "x", "account_id": "a", "email": "e", "exp": 9e9, "roles": None}).encode()),
    "exp-as-text": packed(b'{"sub":"x","account_id":"a","email":"e","roles":["customer"],"exp":"9e9"}'),
    "exp-too-large": packed(b'{"sub":"x","account_id":"a","email":"e","roles":["customer"],"exp":1e999}'),
    "ended": token(-1),
}
ODD = {
    "odd-locale": {"locale": "../../etc", "zoneinfo": "../../../etc/passwd"},
    "odd-zone": {"zoneinfo": "Asia/Kabul\x00", "locale": "xx-YY-zz"},
    "odd-name": {"name": "\x00<script>alert(1)</script>", "account_name": "\u202e" * 2000, "email": ""},
    "for-ever": {"exp": 1e308},
}
CLAIMS = {"sub": "u", "account_id": "a", "email": "e@example.com", "roles": ["customer"], "exp": time.time() + 900}
STRANGER = rsa.generate_private_key(65537, 2048)
FORGED = {
    "another's-key-of-our-name": jwt.encode(CLAIMS, STRANGER, "RS256", headers={"kid": "k1"}),
    "a-key-of-nobody": jwt.encode(CLAIMS, STRANGER, "RS256", headers={"kid": "k2"}),
    "no-key": jwt.encode(CLAIMS, STRANGER, "RS256"),
    "not-signed": jwt.encode(CLAIMS, None, "none", headers={"kid": "k1"}) + "x",
    "our-public-key-as-secret": jwt.encode(CLAIMS, PUBLIC_KEY["n"], "HS256", headers={"kid": "k1"}),
    "changed": ".".join([*token().split(".")[:1], *token(sub="v").split(".")[1:2], *token().split(".")[2:]]),
}


def test_there_is_a_form_on_each_page_that_changes_something() -> None:
    assert {"/sign-in", "/sign-out", "/messages/new", "/api-keys", "/webhooks/new", f"/webhooks/{ID}/delete"} <= set(
        paths("POST")
    )
    assert len(paths("GET")) > 30


@pytest.mark.parametrize(
    "origin",
    [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}],
    ids=["cross-site", "same-site", "origin"],
)
async def test_no_form_of_another_site_does_anything(browser: Browser, api: FakeApi, origin: dict[str, str]) -> None:
    browser.set(ghasi_access=token(), ghasi_refresh="grt_0")
    form = {"name": "x", "to": "+93701234567", "body": "x", "url": "https://evil.example", "email": "e@example.com"}
    for path in paths("POST"):
        for script in ({}, {"HX-Request": "true"}):
            shown = await browser.post(path, form, **origin, **script)
            assert shown.status == 403, path
            assert "set-cookie" not in shown.headers, path
    assert api.seen == []


@pytest.mark.parametrize("cookie", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_for_a_cookie_leads_to_sign_in(browser: Browser, api: FakeApi, cookie: str) -> None:
    for path in paths("GET"):
        shown = await browser.get(path, Cookie=f"ghasi_access={cookie}; ghasi_theme=x; ghasi_flash=%; ghasi_zone=%ff")
        if path == "/sign-out":
            assert (shown.status, shown.headers["location"]) == (303, "/")
        elif path in OPEN:
            assert shown.status == OPEN[path], path
        else:
            assert (shown.status, shown.headers["location"].partition("?")[0]) == (303, "/sign-in"), path
            part = await browser.get(path, Cookie=f"ghasi_access={cookie}", HX_Request="true")
            assert (part.status, part.headers["x-ghasi-sign-in"], part.raw) == (401, "/sign-in", ""), path
    assert api.seen == []


@pytest.mark.parametrize("name", FORGED)
async def test_a_forged_token_is_no_session(browser: Browser, api: FakeApi, name: str) -> None:
    api.answers["refresh_session"] = Given(401, {"code": "invalid_refresh_token"})
    cookie = {"Cookie": f"ghasi_access={FORGED[name]}; ghasi_refresh=grt_forged"}

    async def look(path: str) -> None:
        shown = await browser.get(path, **cookie)
        assert (shown.status, shown.headers["location"].partition("?")[0]) == (303, "/sign-in"), path
        assert "ghasi_access=; Max-Age=0" in shown.headers["set-cookie"], path
        part = await browser.get(path, HX_Request="true", **cookie)
        assert (part.status, part.raw) == (401, ""), path

    async def act(path: str) -> None:
        posted = await browser.post(path, {}, HX_Request="true", **cookie)
        assert posted.status == 401, path

    await asyncio.gather(*(look(path) for path in set(paths("GET")) - OPEN.keys() - {"/sign-out"}))
    await asyncio.gather(*(act(path) for path in set(paths("POST")) - OPEN.keys() - {"/sign-out"}))
    assert {seen.row.operation for seen in api.seen} <= {"refresh_session", "get_json_web_keys"}


@pytest.mark.parametrize("claims", ODD.values(), ids=ODD)
async def test_odd_claims_harm_no_page(browser: Browser, api: FakeApi, claims: dict[str, Any]) -> None:
    for row in ROWS:
        api.answers[row.operation] = Given(401, {"message": "Unauthorized"})
    cookie = {"Cookie": f"ghasi_access={token(**claims)}; ghasi_refresh=grt_0"}
    for path in sorted(set(paths("GET")) - OPEN.keys() - {"/sign-out"}):
        before = len(api.seen)
        shown = await browser.get(path, **cookie)
        # the keys are asked for now and then, for whichever page is the next
        asked = any(seen.row.operation != "get_json_web_keys" for seen in api.seen[before:])
        assert shown.status == (303 if asked else 200), path
        assert not asked or shown.headers["location"].startswith("/sign-in"), path
        assert "<script>alert" not in shown.raw, path


@pytest.mark.parametrize(
    "odd", ["..", ".", "%2e%2e", "%252e%252e", "x%3fy", "x%23y", "..%2fx", "%00", ID.upper(), "x" * 9000]
)
async def test_nothing_but_an_id_gets_into_a_path_of_the_api(browser: Browser, api: FakeApi, odd: str) -> None:
    browser.set(ghasi_access=token())
    statuses = {(await browser.get(f"/messages/new/form?again={odd}", HX_Request="true")).status}
    for method in ("GET", "POST"):
        for path in {path.replace(ID, odd) for path in paths(method) if ID in path}:
            url = URL(browser.url + path, encoded=True)  # as it stands, its dots too
            headers = {"HX-Request": "true", "Sec-Fetch-Site": "same-origin"}
            async with browser.http.request(method, url, headers=headers, allow_redirects=False) as answer:
                statuses.add(answer.status)
    assert 500 not in statuses
    assert [seen.row.operation for seen in api.seen if seen.path] == []
    assert api.unrouted == []


async def test_what_a_visitor_loads_is_under_90_kb_kept_for_ever_and_nothing_else_is_served(browser: Browser) -> None:
    """All scripts and styles that there are, without the reference page's."""
    sizes = {}
    for name, hashed in MANIFEST.items():
        async with browser.http.request(
            "GET", f"{browser.url}/assets/{hashed}", headers={"Accept-Encoding": "gzip"}, auto_decompress=False
        ) as asset:
            assert (asset.status, asset.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
            if name.endswith((".js", ".css")) and not name.startswith("reference"):
                assert asset.headers["content-encoding"] == "gzip"
                sizes[name] = len(await asset.read())
    assert sizes.keys() == {"portal.css", "portal.js", "chart.js", "send.js", "sign_in.js"}
    assert sum(sizes.values()) < 90_000, sizes
    for name in ("portal.js", "manifest.json", "icons.json", "..%2fsettings.py", "%2e%2e/app.py", f"{hashed}.gz", ""):
        async with browser.http.get(URL(f"{browser.url}/assets/{name}", encoded=True)) as asset:
            assert asset.status == 404, name
