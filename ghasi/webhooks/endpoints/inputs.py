"""What a customer may ask of an endpoint beside its URL: which events, and which headers of their own.

Raises problems that name the field; keeps and changes nothing.
"""

import re
from collections.abc import Sequence

from ghasi.contract.errors import invalid
from ghasi.webhooks.model import PATTERNS

MOST_HEADERS = 20
LONGEST_NAME = 100
LONGEST_VALUE = 1000

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_VALUE = re.compile(r"[\x20-\x7e]*")
_OURS = frozenset({"content-type", "content-length", "content-encoding", "host", "user-agent", "expect"})
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)  # fmt: skip - RFC 9110, section 7.6.1


def check_events(events: Sequence[str]) -> list[str]:
    """Return the patterns without duplicates, in their order; raises Problem invalid_request naming `events[i]`."""
    for index, pattern in enumerate(events):
        if pattern not in PATTERNS:
            raise invalid(f"events[{index}]", f"{pattern!r} is not an event type, all of a kind as `message.*`, or `*`")
    return list(dict.fromkeys(events))


def check_headers(headers: dict[str, str]) -> dict[str, str]:
    """Return the headers as they are; raises Problem invalid_request naming `headers` or the header."""
    if len(headers) > MOST_HEADERS:
        raise invalid("headers", f"must be at most {MOST_HEADERS}")
    seen: set[str] = set()
    for name, value in headers.items():
        field = f"headers.{name[:LONGEST_NAME]}"
        lower = name.lower()
        if not _TOKEN.fullmatch(name) or len(name) > LONGEST_NAME:
            raise invalid(field, f"a header's name is a token of at most {LONGEST_NAME} characters")
        if lower in _HOP_BY_HOP:
            raise invalid(field, "belongs to the connection and cannot be set")
        if lower in _OURS or lower.startswith("webhook-"):
            raise invalid(field, "is set by Ghasi and cannot be set")
        if lower in seen:
            raise invalid(field, "is there twice: names do not differ by case")
        seen.add(lower)
        if len(value) > LONGEST_VALUE or not _VALUE.fullmatch(value):
            raise invalid(field, f"a header's value is at most {LONGEST_VALUE} printable ASCII characters")
    return headers
