"""Whose address a request comes from: the peer's, unless a proxy that is trusted speaks for another.

Owns which X-Forwarded-* is believed. Knows nothing of limits.
"""

import hmac
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from ghasi.contract.serving import RawHeaders, Scope
from ghasi.gateway.headers import Incoming

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(slots=True)
class Origin:
    """Where a request came from, as upstreams are told."""

    client_ip: str
    forwarded: RawHeaders


class Addresses:
    """Reads a request's origin; raises ValueError when made with networks that are none."""

    def __init__(self, trusted_proxies: str, portal_secret: str | None) -> None:
        self._trusted = [_network(text.strip()) for text in trusted_proxies.split(",") if text.strip()]
        self._portal_secret = portal_secret.encode() if portal_secret else None

    def origin(self, scope: Scope, incoming: Incoming) -> Origin:
        """Return the client's address and the X-Forwarded-* headers that say so."""
        client = scope.get("client")
        peer = _plain(client[0]) if client else "127.0.0.1"
        proto, host, port = str(scope.get("scheme") or "http").encode(), incoming.host, _port(scope)
        client_ip = peer
        if self._trusted and self._is_trusted(_parse(peer)):
            client_ip = self._speaks_for(incoming.forwarded_for, peer)
            proto = incoming.forwarded_proto or proto
            host = incoming.forwarded_host or host
            port = incoming.forwarded_port or port
        elif incoming.portal_secret is not None and self._is_portal(incoming.portal_secret):
            client_ip = self._speaks_for(incoming.forwarded_for, peer)
        forwarded = [
            (b"x-forwarded-for", client_ip.encode()),
            (b"x-forwarded-proto", proto),
            (b"x-forwarded-host", host),
            (b"x-forwarded-port", port),
        ]
        return Origin(client_ip, forwarded)

    def _is_portal(self, proof: bytes) -> bool:
        return self._portal_secret is not None and hmac.compare_digest(proof, self._portal_secret)

    def _is_trusted(self, address: IPv4Address | IPv6Address | None) -> bool:
        return address is not None and any(address in network for network in self._trusted)

    def _speaks_for(self, forwarded_for: list[bytes], peer: str) -> str:
        """Walk X-Forwarded-For from the right to the first address that is not a trusted proxy's."""
        entries = b",".join(forwarded_for).decode("latin-1").split(",") if forwarded_for else []
        nearest = peer
        for entry in reversed(entries):
            address = _parse(_without_port(entry.strip()))
            if address is None:
                break  # beyond what is no address nothing can be believed
            nearest = str(address)
            if not self._is_trusted(address):
                break
        return nearest


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text, strict=False)
    except ValueError as error:
        raise ValueError(f"GHASI_TRUSTED_PROXIES: {text!r} is no network, such as 10.0.0.0/8") from error


def _plain(address: str) -> str:
    """Return an IPv4 address that came over an IPv6 socket as what it is."""
    return address[7:] if address.startswith("::ffff:") and "." in address else address


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(_plain(text))
    except ValueError:
        return None


def _without_port(entry: str) -> str:
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry


def _port(scope: Scope) -> bytes:
    server = scope.get("server")
    port = server[1] if server else None
    return b"%d" % (port or _DEFAULT_PORTS.get(str(scope.get("scheme")), 80))
