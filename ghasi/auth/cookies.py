"""The refresh cookie and which origins may use it.

The name and Secure follow the API's public URL: on https it is a `__Host-` cookie, which no other host can set
(RFC 6265bis, section 4.1.3.2). SameSite=Lax and the Origin check keep foreign pages from spending it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from ghasi.contract.errors import Problem
from ghasi.settings import Settings

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class RefreshCookie:
    """How the refresh token travels."""

    name: str
    secure: bool
    origins: frozenset[str]

    @classmethod
    def of(cls, settings: Settings) -> "RefreshCookie":
        """Describe the cookie of an installation: its own origins are the portal's and the API's."""
        secure = settings.public_api_url.lower().startswith("https://")
        own = (_origin(settings.public_api_url), _origin(settings.public_portal_url))
        return cls(
            "__Host-ghasi_refresh" if secure else "ghasi_refresh",
            secure,
            frozenset(origin for origin in own if origin is not None),
        )

    def set(self, token: str, until: datetime, now: datetime) -> tuple[bytes, bytes]:
        """Make the header that gives the browser a token."""
        return self._header(token, max(0, int((until - now).total_seconds())))

    def clear(self) -> tuple[bytes, bytes]:
        """Make the header that takes the token away."""
        return self._header("", 0)

    def find(self, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        """Return the token that a request presents; HTTP/2 may split Cookie into several headers."""
        for name, value in headers:
            if name != b"cookie":
                continue
            for pair in value.decode("latin-1").split(";"):
                key, _, token = pair.strip().partition("=")
                if key == self.name and token:
                    return token
        return None

    def require_own_origin(self, origin: bytes | None) -> None:
        """Raise Problem foreign_origin unless a request comes from our own pages or from no page at all."""
        if origin is not None and _origin(origin.decode("latin-1")) not in self.origins:
            raise Problem("foreign_origin")

    def _header(self, token: str, max_age_s: int) -> tuple[bytes, bytes]:
        secure = "; Secure" if self.secure else ""
        cookie = f"{self.name}={token}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Lax{secure}"
        return b"set-cookie", cookie.encode("ascii")


def _origin(url: str) -> str | None:
    """Write an origin as browsers do, the default port left out; None where it is none, as "null"."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port not in (None, _DEFAULT_PORTS[parts.scheme]) else "")
