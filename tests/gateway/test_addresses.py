"""Whose X-Forwarded-For is believed."""

import pytest

from ghasi.gateway.addresses import Addresses
from ghasi.gateway.headers import read_headers
from tests.asgi import request
from tests.gateway.services import AuthService, Recorder, running

SECRET = "the-portals-secret"
PROXIES = "10.0.0.0/8, 192.168.1.7,fd00::/8"


def client_ip(peer: str, *forwarded_for: str, proof: str | None = None, proxies: str = PROXIES) -> str:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded_for]
    if proof is not None:
        headers.append((b"x-ghasi-portal-secret", proof.encode()))
    scope = {"type": "http", "client": (peer, 50000), "server": ("127.0.0.1", 8000), "scheme": "http"}
    origin = Addresses(proxies, SECRET).origin(scope, read_headers(headers))
    assert origin.forwarded[0] == (b"x-forwarded-for", origin.client_ip.encode())
    return origin.client_ip


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "expected"),
    [
        ("203.0.113.9", (), "203.0.113.9"),
        ("203.0.113.9", ("198.51.100.1",), "203.0.113.9"),
        ("203.0.113.9", ("10.1.1.1",), "203.0.113.9"),
        ("10.1.1.1", (), "10.1.1.1"),
        ("10.1.1.1", ("198.51.100.1",), "198.51.100.1"),
        ("10.1.1.1", ("1.1.1.1, 198.51.100.1",), "198.51.100.1"),
        ("10.1.1.1", ("1.1.1.1, 198.51.100.1, 10.2.2.2",), "198.51.100.1"),
        ("10.1.1.1", ("1.1.1.1", "198.51.100.1, 192.168.1.7"), "198.51.100.1"),
        ("10.1.1.1", ("10.3.3.3, 10.2.2.2",), "10.3.3.3"),
        ("10.1.1.1", ("198.51.100.1, garbage, 10.2.2.2",), "10.2.2.2"),
        ("10.1.1.1", ("garbage",), "10.1.1.1"),
        ("10.1.1.1", ("",), "10.1.1.1"),
        ("10.1.1.1", ("198.51.100.1:4711",), "198.51.100.1"),
        ("10.1.1.1", ("[2001:db8::1]:4711",), "2001:db8::1"),
        ("10.1.1.1", ("2001:DB8::0:1",), "2001:db8::1"),
        ("fd00::1", ("198.51.100.1",), "198.51.100.1"),
        ("::ffff:10.1.1.1", ("::ffff:198.51.100.1",), "198.51.100.1"),
        ("::ffff:203.0.113.9", ("198.51.100.1",), "203.0.113.9"),
        ("192.168.1.8", ("198.51.100.1",), "192.168.1.8"),
    ],
)
def test_the_rightmost_untrusted_address_counts(peer: str, forwarded_for: tuple[str, ...], expected: str) -> None:
    assert client_ip(peer, *forwarded_for) == expected


@pytest.mark.parametrize(
    ("proof", "expected"),
    [(SECRET, "198.51.100.1"), ("wrong", "203.0.113.9"), ("", "203.0.113.9"), (None, "203.0.113.9")],
)
def test_the_portal_speaks_for_its_visitors_by_its_secret(proof: str | None, expected: str) -> None:
    assert client_ip("203.0.113.9", "198.51.100.1", proof=proof, proxies="") == expected


def test_without_trusted_proxies_and_secrets_nobody_is_believed() -> None:
    scope = {"type": "http", "client": ("203.0.113.9", 1), "server": None, "scheme": "https"}
    incoming = read_headers([(b"x-forwarded-for", b"198.51.100.1"), (b"x-ghasi-portal-secret", b"")])
    origin = Addresses("", None).origin(scope, incoming)
    assert origin.client_ip == "203.0.113.9"
    assert dict(origin.forwarded)[b"x-forwarded-port"] == b"443"


def test_a_trusted_proxy_tells_how_it_was_asked_and_nobody_else() -> None:
    headers = [(b"host", b"inside:8000"), (b"x-forwarded-for", b"198.51.100.1"), (b"x-forwarded-proto", b"https"),
               (b"x-forwarded-host", b"api.ghasi.io"), (b"x-forwarded-port", b"443")]  # fmt: skip
    addresses = Addresses(PROXIES, SECRET)
    scope = {"type": "http", "client": ("10.1.1.1", 1), "server": ("127.0.0.1", 8000), "scheme": "http"}
    assert addresses.origin(scope, read_headers(headers)).forwarded[1:] == headers[2:]
    scope["client"] = ("203.0.113.9", 1)
    assert addresses.origin(scope, read_headers(headers)).forwarded[1:] == [
        (b"x-forwarded-proto", b"http"), (b"x-forwarded-host", b"inside:8000"), (b"x-forwarded-port", b"8000")
    ]  # fmt: skip


def test_a_network_that_is_none_stops_the_start() -> None:
    with pytest.raises(ValueError, match=r"GHASI_TRUSTED_PROXIES: '10\.0\.0\.0/99'"):
        Addresses("127.0.0.1, 10.0.0.0/99", None)


async def test_the_portals_visitors_have_budgets_of_their_own_and_its_secret_goes_nowhere(auth: AuthService) -> None:
    upstream = Recorder()
    async with running(auth, upstream, portal_secret=SECRET, limit_auth=1) as gateway:

        async def sign_in(visitor: str, proof: str) -> int:
            headers = {"x-ghasi-portal-secret": proof, "x-forwarded-for": visitor}
            return (await request(gateway, "POST", "/v1/auth/firebase", headers=headers, json={})).status

        assert [await sign_in("198.51.100.1", SECRET), await sign_in("198.51.100.1", SECRET)] == [200, 429]
        assert await sign_in("198.51.100.2", SECRET) == 200
        assert upstream.last.all("x-forwarded-for") == ["198.51.100.2"]
        assert [await sign_in("198.51.100.3", "guess"), await sign_in("198.51.100.4", "guess")] == [200, 429]
    assert SECRET not in str(upstream.received)
