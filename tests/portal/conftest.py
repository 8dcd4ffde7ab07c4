"""A portal on a real socket, before an API that answers as a test says, and a browser."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any, Self

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ghasi.contract import shapes
from ghasi.contract.serving import Asgi, Receive, Scope, Send
from ghasi.portal.access import signed_in
from ghasi.portal.app import portal_app
from ghasi.portal.forms import read_form
from ghasi.portal.rendering import page
from ghasi.portal.sessions import Visit
from ghasi.settings import Settings
from tests.client.fake_api import ACCOUNT, USER, FakeApi, Given, sign
from tests.live import live

SECRET = "the portal's proof"


def token(life_s: float = 900, roles: tuple[str, ...] = ("customer",), **more: Any) -> str:
    claims = {"sub": "u", "account_id": "a", "email": "ann@example.com", "roles": roles, "exp": time.time() + life_s}
    return sign({**claims, **more})


def session(access_token: str | None = None, refresh: str = "grt_1") -> Given:
    cookie = f"__Host-ghasi_refresh={refresh}; Max-Age=2592000; Path=/; HttpOnly; SameSite=Lax; Secure"
    body = shapes.Session(access_token or token(), "Bearer", 900, USER, ACCOUNT)
    return Given(200, body, {"Set-Cookie": cookie})


class PageParser(HTMLParser):
    """Collects what the tests ask of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@dataclass
class Shown:
    status: int
    headers: Any
    raw: str
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""

    def input(self, identifier: str) -> dict[str, str | None]:
        return next(attributes for _, attributes in self.tags if attributes.get("id") == identifier)


class Browser:
    """A browser's cookies and headers, without following redirects."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.close()

    @property
    def cookies(self) -> dict[str, str]:
        return {cookie.key: cookie.value for cookie in self.http.cookie_jar}

    def set(self, **cookies: str) -> None:
        self.http.cookie_jar.update_cookies(cookies, aiohttp.client.URL(self.url))

    async def get(self, path: str = "/", **headers: str) -> Shown:
        return await self._request("GET", path, headers)

    async def post(self, path: str, form: dict[str, str] | None = None, **headers: str) -> Shown:
        given = {name.lower().replace("_", "-") for name in headers}
        own = {} if given & {"origin", "sec-fetch-site"} else {"Sec-Fetch-Site": "same-origin"}
        return await self._request("POST", path, own | headers, form)

    async def _request(
        self, method: str, path: str, headers: dict[str, str], form: dict[str, str] | None = None
    ) -> Shown:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.request(
            method, self.url + path, headers=named, data=form, allow_redirects=False
        ) as response:
            shown = Shown(response.status, response.headers, await response.text())
        parser = PageParser()
        parser.feed(shown.raw)
        shown.tags, shown.text = parser.tags, " ".join("".join(parser.text).split())
        check_page(shown)
        return shown


def check_page(shown: Shown) -> None:
    """Whatever a page shows: the policy is there and the page needs nothing that the policy forbids."""
    policy = shown.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'")
    assert "style-src 'self';" in policy
    assert "unsafe" not in policy
    assert shown.headers["x-content-type-options"] == "nosniff"
    assert shown.headers["referrer-policy"] == "same-origin"
    assert "cache-control" in shown.headers
    for tag, attributes in shown.tags:
        assert tag not in {"style", "iframe", "object", "base"}
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith(("on", "hx-on"))]
        if tag in {"img", "link", "script"}:
            assert (attributes.get("src") or attributes.get("href") or "").startswith("/assets/")
        if tag == "form":
            assert str(attributes.get("action") or attributes.get("hx-post") or "/").startswith("/")
    fields = [
        attributes
        for tag, attributes in shown.tags
        if tag in {"input", "select", "textarea"} and attributes.get("type") != "hidden"
    ]
    labels = {attributes.get("for") for tag, attributes in shown.tags if tag == "label"}
    assert {attributes["id"] for attributes in fields} <= labels


@dataclass
class Place:
    url: str
    api: FakeApi
    counted: "Counted"


class Counted:
    """Counts the requests that have come in."""

    def __init__(self, app: Asgi) -> None:
        self.app, self.requests = app, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.requests += scope["type"] == "http"
        await self.app(scope, receive, send)


async def _probe(_: Request, visit: Visit) -> Response:
    """A page as pages are: it asks the API with the visitor's token."""
    listed = await visit.ask(lambda api: api.list_messages(limit=1))
    text = f"{len(listed.data)} messages"
    return page("failure.html", visit=visit, title="Probe", text=text, reference=None, retry=False)


async def _break(_: Request, visit: Visit) -> Response:
    raise ZeroDivisionError


async def _fill(request: Request, _: Visit) -> Response:
    form = await read_form(request)
    return Response(str(form.multi_items()))


def portal_with_probes(settings: Settings) -> Starlette:
    """The portal, and pages of the tests' own: /probe asks the API, /broken breaks, /form reads a form."""
    app = portal_app(settings)
    app.router.routes += [
        Route("/probe", signed_in(_probe), methods=["GET", "POST"]),
        Route("/broken", signed_in(_break)),
        Route("/form", signed_in(_fill), methods=["POST"]),
    ]
    return app


@pytest.fixture(scope="module")
async def place() -> AsyncIterator[Place]:
    api = FakeApi()
    async with live(api) as api_url:
        settings = Settings(
            api_internal_url=api_url,
            api_url="https://api.example.com",
            portal_url="http://portal.example.com",
            portal_secret=SECRET,
            trusted_proxies="10.0.0.0/8",
            firebase_auth_url="http://127.0.0.1:9099/identitytoolkit.googleapis.com",
            firebase_api_key="web key",
        )
        counted = Counted(portal_with_probes(settings))
        async with live(counted) as url:
            async with Browser(url) as browser:  # from here on the API's keys are known
                browser.set(ghasi_access=token())
                await browser.get("/messages/new")
            api.reset()
            yield Place(url, api, counted)


@pytest.fixture
async def api(place: Place) -> AsyncIterator[FakeApi]:
    place.api.answers["sign_in_with_firebase"] = lambda _: session()
    yield place.api
    place.api.released.set()
    place.api.reset()


@pytest.fixture
async def browser(place: Place) -> AsyncIterator[Browser]:
    async with Browser(place.url) as browser:
        yield browser


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)
