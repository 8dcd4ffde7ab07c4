"""Where webhooks may go: rules for URLs, and for every address at the moment a connection to it is opened.

Customers choose the URLs, so this is what stands between them and the operator's own network (server-side request
forgery). Three gates: a URL is judged when it is stored; a name's addresses are judged when it is resolved; and the
very address that a socket is made for is judged again, so that nothing can change in between (DNS rebinding). Knows
nothing of endpoints.
"""

import asyncio
import re
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from yarl import URL

from ghasi.contract.errors import Problem, invalid

Address = IPv4Address | IPv6Address
LOWEST_FREE_PORT = 1024
_LOOKUP_THREADS = 128
_MOST_ADDRESSES = 4
"""Of a family, of one name."""
_LONGEST_NAME, _LONGEST_LABEL = 253, 63  # RFC 1035, section 2.3.4, without the dot at the end
_FAILURE_KEPT_S = 10.0

# IANA's special-purpose registries (RFC 6890 and its updates), save blocks that are globally reachable
_NEVER_4 = {
    IPv4Network("0.0.0.0/8"): "unspecified",
    IPv4Network("169.254.0.0/16"): "link-local",
    IPv4Network("100.100.100.200/32"): "a metadata service",
    IPv4Network("168.63.129.16/32"): "a metadata service",
    IPv4Network("192.0.0.0/24"): "reserved",
    IPv4Network("192.0.2.0/24"): "reserved for documentation",
    IPv4Network("192.88.99.0/24"): "reserved",
    IPv4Network("198.51.100.0/24"): "reserved for documentation",
    IPv4Network("203.0.113.0/24"): "reserved for documentation",
    IPv4Network("224.0.0.0/4"): "multicast",
    IPv4Network("240.0.0.0/4"): "reserved",
}
_PRIVATE_4 = {
    IPv4Network("127.0.0.0/8"): "loopback",
    IPv4Network("10.0.0.0/8"): "private",
    IPv4Network("172.16.0.0/12"): "private",
    IPv4Network("192.168.0.0/16"): "private",
    IPv4Network("100.64.0.0/10"): "private",
    IPv4Network("198.18.0.0/15"): "private",
}
_NEVER_6 = {
    IPv6Network("::/128"): "unspecified",
    IPv6Network("fe80::/10"): "link-local",
    IPv6Network("fd00:ec2::254/128"): "a metadata service",
    IPv6Network("fd20:ce::254/128"): "a metadata service",
    IPv6Network("ff00::/8"): "multicast",
    IPv6Network("64:ff9b:1::/48"): "reserved",
    IPv6Network("2001::/23"): "reserved",
    IPv6Network("2001:db8::/32"): "reserved for documentation",
    IPv6Network("3fff::/20"): "reserved for documentation",
}
_PRIVATE_6 = {IPv6Network("::1/128"): "loopback", IPv6Network("fc00::/7"): "private"}
_GLOBAL_6 = IPv6Network("2000::/3")
_6TO4 = IPv6Network("2002::/16")
# forms whose last 32 bits are an IPv4 address: mapped, translated (RFC 2765), NAT64 (RFC 6052), compatible (RFC 4291)
_LAST_32_BITS = tuple(map(IPv6Network, ("::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "::/96")))
_ISATAP = 0x5EFE  # RFC 5214: an interface id of 0000:5efe or 0200:5efe and an IPv4 address

_NUMBER = re.compile(r"(\d+|0[xX][0-9a-fA-F]*)\Z")
_AFTER_AUTHORITY = re.compile(r"[/?#]")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f\\]")


class AddressRefusedError(OSError):
    """An address that webhooks are not sent to; the text says which and why."""


def refusal(address: Address, *, private_allowed: bool) -> str | None:
    """Return why webhooks may not go to an address, or None; IPv6 forms of an IPv4 address are judged as that."""
    never, private = (_NEVER_4, _PRIVATE_4) if isinstance(address, IPv4Address) else (_NEVER_6, _PRIVATE_6)
    for network, reason in never.items():
        if address in network:
            return reason
    for network, reason in private.items():
        if address in network:
            return None if private_allowed else reason
    if isinstance(address, IPv4Address):
        return None
    embedded = _embedded(address)
    if embedded is not None:
        return refusal(embedded, private_allowed=private_allowed)
    return None if address in _GLOBAL_6 else "reserved"


def _embedded(address: IPv6Address) -> IPv4Address | None:
    number = int(address)
    if any(address in network for network in _LAST_32_BITS) or (number >> 32) & 0xFDFFFFFF == _ISATAP:
        return IPv4Address(number & 0xFFFFFFFF)
    if address in _6TO4:
        return IPv4Address((number >> 80) & 0xFFFFFFFF)
    return None


def parse(text: str) -> Address | None:
    """Read an address in its canonical form; None for a name. A zone (`%eth0`) is read over."""
    try:
        return ip_address(text.partition("%")[0])
    except ValueError:
        return None


def check(text: str, *, private_allowed: bool) -> None:
    """Raise AddressRefusedError for an address that webhooks may not go to."""
    address = parse(text)
    reason = "no address" if address is None else refusal(address, private_allowed=private_allowed)
    if reason is not None:
        raise AddressRefusedError(f"{text} is {reason}")


def parse_url(text: str, *, dev: bool) -> URL:
    """Read an endpoint's URL; raises Problem invalid_url naming `url`.

    Outside --dev: https only, to port 443 or one from 1024 up, not to this machine. With --dev also http, any port and
    loopback or private addresses. Never userinfo, a fragment, or an address in any other spelling than the usual.
    """
    try:
        url = URL(text)
        host, port = url.host, url.port  # the host of an international name is decoded here
    except (ValueError, IndexError) as error:
        raise _refused("is not a URL") from error
    if _UNPRINTABLE.search(text):
        raise _refused("must not contain spaces, control characters or backslashes")
    if url.scheme not in (("https", "http") if dev else ("https",)):
        raise _refused("must begin with https://" + (" or http://" if dev else ""))
    if not host or not port:
        raise _refused("must have a host, and a port other than 0")
    if "@" in _AFTER_AUTHORITY.split(text.partition("//")[2], maxsplit=1)[0]:
        raise _refused("must not contain a user name or password; use `headers`")
    if "#" in text:
        raise _refused("must not have a fragment")
    if not dev and port != 443 and port < LOWEST_FREE_PORT:  # noqa: PLR2004 - https
        raise _refused(f"must go to port 443 or to one from {LOWEST_FREE_PORT} up")
    _check_host(host, dev=dev)
    _check_length(url.raw_host or "")
    return url


def _check_host(host: str, *, dev: bool) -> None:
    address = parse(host)
    if "%" in host:
        raise _refused("must not name a zone")
    if address is not None:
        reason = refusal(address, private_allowed=dev)
        if reason is not None:
            raise _refused(f"must not go to {address}: it is {reason}")
        return
    labels = host.rstrip(".").split(".")
    if not all(labels):
        raise _refused("has an empty label in its host")
    if _NUMBER.match(labels[-1]):  # libraries differ in what they make of 127.1 or 0x7f000001
        raise _refused("must write an IPv4 address as four decimal numbers")
    if not dev and labels[-1].lower() == "localhost":
        raise _refused("must not go to localhost")


def _check_length(host: str) -> None:
    """Refuse a name, as it is asked for, that no name server could have."""
    name = host.rstrip(".")
    if len(name) > _LONGEST_NAME or any(len(label) > _LONGEST_LABEL for label in name.split(".")):
        raise _refused(f"must have a host of at most {_LONGEST_NAME} characters, {_LONGEST_LABEL} between two dots")


def _refused(message: str) -> Problem:
    return invalid("url", message, "invalid_url")


AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]
"""Family, kind, protocol, canonical name and address of a socket, as socket.getaddrinfo gives it."""
Lookup = Callable[[str, int], list[tuple[Any, ...]]]


def look_up(host: str, port: int) -> list[tuple[Any, ...]]:
    """Ask the system; answers as socket.getaddrinfo does."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


class GuardedResolver:
    """Resolves names to addresses of which none is refused: one bad address refuses them all.

    Lookups run in threads of its own and failures are kept for 10 s, so that names whose servers never answer hold up
    no other name's lookup.
    """

    def __init__(self, *, private_allowed: bool, lookup: Lookup = look_up) -> None:
        self._private_allowed = private_allowed
        self._lookup = lookup
        self._threads = ThreadPoolExecutor(_LOOKUP_THREADS, "webhook-lookup")
        self._failed: dict[str, tuple[float, OSError]] = {}

    async def resolve(self, host: str) -> list[str]:
        """Return the first of a name's addresses of both families.

        Raises AddressRefusedError when any is refused, OSError when there are none.
        """
        now = time.monotonic()
        failed = self._failed.get(host)
        if failed is not None and failed[0] > now:
            raise OSError(*failed[1].args)
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, self._lookup, host, 0)
        except (OSError, UnicodeError) as error:
            self._forget(now)
            failure = error if isinstance(error, OSError) else OSError(f"{host!r} is not a name")
            # a name server that keeps silent holds a thread for long: it is asked the more seldom
            ended = time.monotonic()
            self._failed[host] = (ended + max(_FAILURE_KEPT_S, 10 * (ended - now)), failure)
            raise failure from error
        addresses = list(dict.fromkeys(address[0] for *_, address in found))
        for address in addresses:
            check(address, private_allowed=self._private_allowed)
        if not addresses:
            raise OSError("the name has no address")
        # a zone may name thousands, and each would be tried
        of_ipv4 = [address for address in addresses if ":" not in address][:_MOST_ADDRESSES]
        of_ipv6 = [address for address in addresses if ":" in address][:_MOST_ADDRESSES]
        return sorted(of_ipv4 + of_ipv6, key=addresses.index)

    def _forget(self, now: float) -> None:
        if len(self._failed) > 1000:  # noqa: PLR2004 - enough names to remember
            self._failed = {host: failed for host, failed in self._failed.items() if failed[0] > now}

    async def close(self) -> None:
        """Let the threads go; a lookup that hangs ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def guarded_sockets(*, private_allowed: bool) -> Callable[[AddressInfo], socket.socket]:
    """Return what makes the sockets for connections, to checked addresses alone, whether named or resolved."""

    def make_socket(info: AddressInfo) -> socket.socket:
        family, kind, protocol, _, address = info
        check(address[0], private_allowed=private_allowed)
        return socket.socket(family, kind, protocol)

    return make_socket
