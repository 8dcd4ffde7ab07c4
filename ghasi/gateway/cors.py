"""Lets the portal's pages, and no other site's, read the API from a browser (the CORS protocol of the Fetch standard).

Owns the Access-Control-* headers. A request from elsewhere is served all the same; browsers
keep its answer to themselves.
"""

from urllib.parse import urlsplit

from ghasi.contract.serving import RawHeaders

_DEFAULT_PORTS = {"http": 80, "https": 443}
_EXPOSED = (
    b"RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, X-RateLimit-Limit-Minute, "
    b"X-RateLimit-Remaining-Minute, Retry-After, X-Kong-Request-Id"
)
_ALLOWED = b"Authorization, Content-Type, Idempotency-Key"
_MAX_AGE_S = b"3600"
_VARY = (b"vary", b"Origin")


class Cors:
    """The headers for the portal's origin, with credentials."""

    def __init__(self, portal_url: str) -> None:
        self.origin = origin_of(portal_url).encode()
        self._allowed = [
            (b"access-control-allow-origin", self.origin),
            (b"access-control-allow-credentials", b"true"),
        ]
        self._exposed = [_VARY, *self._allowed, (b"access-control-expose-headers", _EXPOSED)]

    def headers(self, origin: bytes) -> RawHeaders:
        """Return what an answer to a request with this Origin carries."""
        return self._exposed if origin == self.origin else [_VARY]

    def preflight(self, origin: bytes, methods: tuple[str, ...]) -> RawHeaders:
        """Return what the answer to a preflight with this Origin carries."""
        if origin != self.origin:
            return [_VARY]
        return [
            _VARY,
            *self._allowed,
            (b"access-control-allow-methods", ", ".join(methods).encode()),
            (b"access-control-allow-headers", _ALLOWED),
            (b"access-control-max-age", _MAX_AGE_S),
        ]


def origin_of(url: str) -> str:
    """Return a URL's origin as browsers write it: scheme, host, and the port unless it is the scheme's own."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port in {None, _DEFAULT_PORTS.get(parts.scheme)} else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"
