"""Protects every page: a strict Content-Security-Policy, no caching, and no forms from other sites.

Sets the cookies, too, that a request's handling has collected (`request.state.set_cookies`), whatever it ends in.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ghasi.portal.failures import foreign_page

POLICY: dict[str, str] = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
}
"""The Content-Security-Policy of every page; a page may add origins by `allow`."""
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    # not no-referrer: with it browsers send `Origin: null` with our own forms
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
_HOST = re.compile(r"[A-Za-z0-9.-]+(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?", re.ASCII)
# a browser takes // and /\ for another host, and drops tabs and line breaks
_LOCAL = re.compile(r"/(?![/\\])[!-\[\]-~]{0,1000}", re.ASCII)
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def allow(request: Request, directive: str, *urls: str) -> None:
    """Let this answer's page reach other origins too: `allow(request, "connect-src", settings.firebase_auth_url)`."""
    sources: dict[str, list[str]] = request.state.content_sources
    sources.setdefault(directive, []).extend(map(_origin, urls))


def allow_popups(request: Request) -> None:
    """Let this answer's page speak with windows that it opens, as a sign-in at another site needs."""
    request.state.opener_policy = "same-origin-allow-popups"


def _origin(url: str) -> str:
    """Return an address's origin; raises ValueError for what cannot stand in the policy."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not _HOST.fullmatch(parts.netloc):
        raise ValueError(f"{url!r} has no origin")
    return f"{parts.scheme}://{parts.netloc}"


def content_security_policy(added: Mapping[str, Sequence[str]]) -> str:
    """Write the policy with what a page adds."""
    policy = {**POLICY, **{name: POLICY.get(name, "") for name in added}}
    return "; ".join(" ".join([name, value, *added.get(name, ())]).replace("  ", " ") for name, value in policy.items())


def protect(response: Response) -> Response:
    """Add the headers to an answer that is made outside the middleware."""
    _add_headers(response.headers, {})
    return response


def _add_headers(headers: MutableHeaders, state: Mapping[str, Any]) -> None:
    headers.setdefault("Content-Security-Policy", content_security_policy(state.get("content_sources", {})))
    if "opener_policy" in state:
        headers["Cross-Origin-Opener-Policy"] = state["opener_policy"]
    for name, value in SECURITY_HEADERS.items():
        headers.setdefault(name, value)


def local_path(text: str | None) -> str:
    """Return the path of this portal that a `next` asks for, "/" when it leads anywhere else."""
    if not text or not _LOCAL.fullmatch(text) or text.startswith(("/sign-in", "/sign-out", "/sign-up")):
        return "/"
    return text


def is_foreign(method: str, headers: Headers, portal_url: str) -> bool:
    """Say whether a request that changes something does not prove that it comes from a page of ours.

    Browsers say so in Sec-Fetch-Site (on https and loopback) or else in Origin, which is then ours or names the host
    that was asked. A request with neither proves nothing.
    """
    if method in SAFE_METHODS:
        return False
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in {"same-origin", "none"}
    origin = headers.get("origin")
    if origin is None:
        return True
    if origin == portal_url:
        return False
    try:
        return origin == "null" or urlsplit(origin).netloc != headers.get("host")
    except ValueError:  # no browser's: brackets without an address in them
        return True


class Protection:
    """The middleware around every page."""

    def __init__(self, app: ASGIApp, portal_url: str) -> None:
        self._app = app
        parts = urlsplit(portal_url)
        self._portal_origin = f"{parts.scheme}://{parts.netloc}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        set_cookies: list[str] = []
        state = scope.setdefault("state", {})
        state["set_cookies"] = set_cookies
        state["content_sources"] = {}

        async def send_protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                _add_headers(headers, state)
                for cookie in set_cookies:
                    headers.append("Set-Cookie", cookie)
            await send(message)

        foreign = is_foreign(scope["method"], Headers(scope=scope), self._portal_origin)
        await (foreign_page() if foreign else self._app)(scope, receive, send_protected)
