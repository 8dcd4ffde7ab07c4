"""Who visits: the address that the portal hands on to the API, so that each visitor has a budget of requests.

Owns which proxies are believed. Decides nothing about who may do what.
"""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from starlette.requests import Request

Network = IPv4Network | IPv6Network


def parse_networks(trusted_proxies: str) -> tuple[Network, ...]:
    """Read the setting trusted_proxies; raises ValueError when it is no list of networks."""
    return tuple(ip_network(text.strip(), strict=False) for text in trusted_proxies.split(",") if text.strip())


def find_address(request: Request, trusted: Sequence[Network]) -> str | None:
    """Return the peer's address or, behind trusted proxies, the rightmost untrusted one in X-Forwarded-For."""
    if request.client is None:
        return None
    forwarded = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
    address = request.client.host
    try:
        while forwarded and any(ip_address(address) in network for network in trusted):
            address = str(ip_address(forwarded.pop().strip()))
    except ValueError:  # what stands left of something that is no address proves nothing
        return address
    return address
