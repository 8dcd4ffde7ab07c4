"""Protects every page: a strict Content-Security-Policy, no caching, and no forms from other sites.

Sets the cookies, too, that a request's handling has collected (`request.state.set_cookies`), whatever it ends in.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ghasi.portal.failures import foreign_page

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    # not no-referrer: with it browsers send `Origin: null` with our own forms
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def protect(response: Response) -> Response:
    """Add the headers to an answer that is made outside the middleware."""
    for name, value in {**SECURITY_HEADERS, "Cache-Control": "no-store"}.items():
        response.headers.setdefault(name, value)
    return response


def is_foreign(method: str, headers: Headers, portal_url: str) -> bool:
    """Say whether a request that changes something comes from a page of another site.

    Browsers say so in Sec-Fetch-Site (on https and loopback) or else in Origin, which is then ours or names the host
    that was asked. A request with neither comes from no browser, and carries no cookies that are not its sender's own.
    """
    if method in SAFE_METHODS:
        return False
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in {"same-origin", "none"}
    origin = headers.get("origin")
    if origin is None:
        return False
    return origin != portal_url and (origin == "null" or urlsplit(origin).netloc != headers.get("host"))


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
        scope.setdefault("state", {})["set_cookies"] = set_cookies

        async def send_protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in {**SECURITY_HEADERS, "Cache-Control": "no-store"}.items():
                    headers.setdefault(name, value)
                for cookie in set_cookies:
                    headers.append("Set-Cookie", cookie)
            await send(message)

        foreign = is_foreign(scope["method"], Headers(scope=scope), self._portal_origin)
        await (foreign_page() if foreign else self._app)(scope, receive, send_protected)
