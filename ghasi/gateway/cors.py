"""Lets the portal's pages, and no other site's, read the API from a browser (the CORS protocol of the Fetch standard).

Owns the Access-Control-* headers. A request from elsewhere is served all the same; browsers
keep its answer to themselves.
"""

from ghasi.contract.cross_origin import ALLOWED_HEADERS, EXPOSED_HEADERS, MAX_AGE_S, origin_of
from ghasi.contract.serving import RawHeaders

_EXPOSED = ", ".join(EXPOSED_HEADERS).encode()
_ALLOWED = ", ".join(ALLOWED_HEADERS).encode()
_MAX_AGE_S = b"%d" % MAX_AGE_S
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
