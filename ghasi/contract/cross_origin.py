"""What pages of the portal's origin may send to the API and read of its answers (CORS), for every gateway alike."""

from urllib.parse import urlsplit

ALLOWED_HEADERS = ("Authorization", "Content-Type", "Idempotency-Key")
EXPOSED_HEADERS = (
    "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "X-RateLimit-Limit-Minute",
    "X-RateLimit-Remaining-Minute", "Retry-After", "X-Kong-Request-Id",
)  # fmt: skip
MAX_AGE_S = 3600
DEFAULT_PORTS = {"http": 80, "https": 443}


def origin_of(url: str) -> str:
    """Return a URL's origin as browsers write it: scheme, host, and the port unless it is the scheme's own."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port in {None, DEFAULT_PORTS.get(parts.scheme)} else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"
