"""What the gateway reads from a client's headers, which of them go upstream, and which come back.

Owns the anti-spoofing rule: whatever only the gateway may say is dropped in every spelling before it says it itself.
"""

import re
from dataclasses import dataclass, field

from ghasi.contract.serving import RawHeaders

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    }
)
"""RFC 9110, section 7.6.1, and what older clients send in its place."""
_SAID_BY_GATEWAY = frozenset(
    {
        b"x-account-id",
        b"x-user-id",
        b"x-anonymous-consumer",
        b"x-real-ip",
        b"forwarded",
        b"host",
        b"content-length",
        b"expect",
    }
)
_SAID_BY_GATEWAY_PREFIXES = (b"x-consumer-", b"x-credential-", b"x-ghasi-", b"x-kong-", b"x-forwarded-")
_SET_BY_GATEWAY = frozenset(
    {b"content-length", b"date", b"via", b"x-kong-request-id", b"x-kong-upstream-latency", b"x-kong-proxy-latency"}
)
_KEEP, _DROP, _READ_AND_KEEP, _READ_AND_DROP = range(4)
_READ = {
    b"authorization": _READ_AND_KEEP,
    b"origin": _READ_AND_KEEP,
    b"access-control-request-method": _READ_AND_KEEP,
    b"host": _READ_AND_DROP,
    b"content-length": _READ_AND_DROP,
    b"transfer-encoding": _READ_AND_DROP,
    b"connection": _READ_AND_DROP,
    b"x-forwarded-for": _READ_AND_DROP,
    b"x-forwarded-proto": _READ_AND_DROP,
    b"x-forwarded-host": _READ_AND_DROP,
    b"x-forwarded-port": _READ_AND_DROP,
    b"x-ghasi-portal-secret": _READ_AND_DROP,
}
_ONCE = {
    b"origin": "origin",
    b"access-control-request-method": "requested_method",
    b"host": "host",
    b"x-forwarded-proto": "forwarded_proto",
    b"x-forwarded-host": "forwarded_host",
    b"x-forwarded-port": "forwarded_port",
    b"x-ghasi-portal-secret": "portal_secret",
}
_BEARER = re.compile(rb"\s*[Bb]earer\s+(.+)")
_MAX_DECISIONS = 1000
_decisions: dict[bytes, int] = dict(_READ)


@dataclass(slots=True)
class Incoming:
    """A client's headers, read once; `kept` are those that may go upstream."""

    kept: RawHeaders
    authorizations: list[bytes] = field(default_factory=list)
    content_length: int = 0
    has_body: bool = False
    forwarded_for: list[bytes] = field(default_factory=list)
    origin: bytes | None = None
    requested_method: bytes | None = None
    host: bytes = b""
    forwarded_proto: bytes | None = None
    forwarded_host: bytes | None = None
    forwarded_port: bytes | None = None
    portal_secret: bytes | None = None


def read_headers(headers: RawHeaders) -> Incoming:
    """Read a request's headers (names in lower case, as ASGI gives them) in one pass."""
    kept: RawHeaders = []
    incoming = Incoming(kept)
    named_by_connection: set[bytes] = set()
    for header in headers:
        name = header[0]
        decision = _decisions.get(name)
        if decision is None:
            decision = _decide(name)
        if decision == _KEEP:
            kept.append(header)
        elif decision != _DROP:
            if decision == _READ_AND_KEEP:
                kept.append(header)
            _read(incoming, name, header[1], named_by_connection)
    if named_by_connection:
        incoming.kept = [header for header in kept if header[0] not in named_by_connection]
    return incoming


def _read(incoming: Incoming, name: bytes, value: bytes, named_by_connection: set[bytes]) -> None:
    if name == b"authorization":
        incoming.authorizations.append(value)
    elif name == b"x-forwarded-for":
        incoming.forwarded_for.append(value)
    elif name == b"content-length":
        incoming.content_length = int(value) if value.isdigit() else 0
        incoming.has_body = incoming.content_length > 0
    elif name == b"transfer-encoding":
        incoming.has_body = True
    elif name == b"connection":
        named_by_connection.update(token.strip().lower() for token in value.split(b","))
    else:
        attribute = _ONCE[name]
        if not getattr(incoming, attribute):
            setattr(incoming, attribute, value)


def _decide(name: bytes) -> int:
    """Decide by the name with underscores as hyphens: some servers behind a proxy take them for the same."""
    spelled = name.lower().replace(b"_", b"-")
    dropped = spelled in HOP_BY_HOP or spelled in _SAID_BY_GATEWAY or spelled.startswith(_SAID_BY_GATEWAY_PREFIXES)
    decision = _DROP if dropped else _KEEP
    if len(_decisions) < _MAX_DECISIONS:  # names are the client's choice: remember a bounded number of them
        _decisions[name] = decision
    return decision


def returned_headers(headers: RawHeaders) -> RawHeaders:
    """Return an upstream's headers (names in lower case) without those of its connection and those set here."""
    named: set[bytes] = set()
    for name, value in headers:
        if name == b"connection":
            named.update(token.strip().lower() for token in value.split(b","))
    return [
        header
        for header in headers
        if header[0] not in HOP_BY_HOP and header[0] not in _SET_BY_GATEWAY and header[0] not in named
    ]


def bearer_tokens(authorizations: list[bytes]) -> list[bytes]:
    """Return the different bearer tokens of Authorization headers, found as Kong's jwt plugin finds them."""
    tokens: list[bytes] = []
    for value in authorizations:
        found = _BEARER.search(value)
        if found is not None and found[1] not in tokens:
            tokens.append(found[1])
    return tokens
