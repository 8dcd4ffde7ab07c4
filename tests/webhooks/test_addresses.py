"""No URL and no name leads a webhook into the operator's own network."""

import socket
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from ghasi.contract.errors import Problem
from ghasi.settings import Settings
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from ghasi.webhooks.delivering.addresses import (
    AddressRefusedError,
    GuardedResolver,
    guarded_sockets,
    parse_url,
    refusal,
)
from tests.webhooks.conftest import QUICK, Customer, Receiver, publish, until, working

PUBLIC = (
    "8.8.8.8", "1.1.1.1", "100.128.0.1", "172.32.0.1", "192.169.0.1", "99.255.255.255",
    "2606:4700::1111", "2a00:1450:4001::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1",
)  # fmt: skip
PRIVATE = (
    "127.0.0.1", "127.255.0.1", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1",
    "100.127.255.255", "100.100.100.201", "198.18.0.1", "::1", "fc00::1", "fd12:3456::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:0:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1",
    "2002:7f00:1::", "2002:a00:1::1", "2606:4700::5efe:10.0.0.1", "2606:4700::200:5efe:10.0.0.1",
)  # fmt: skip
NEVER = (
    "0.0.0.0",  # noqa: S104 - nothing binds to it here
    "169.254.169.254", "169.254.0.1", "100.100.100.200", "0.1.2.3", "224.0.0.1", "239.255.255.255",
    "240.0.0.1", "255.255.255.255", "192.0.0.192", "192.0.2.1", "198.51.100.1", "203.0.113.1",
    "::", "::0.0.0.0", "fe80::1", "febf::1", "fec0::1", "ff02::1", "fd00:ec2::254", "fd20:ce::254", "100::1",
    "2001:db8::1",    "3fff::1", "2001::1", "4000::1", "64:ff9b:1::a9fe:a9fe",
    "::ffff:169.254.169.254", "::ffff:0:169.254.169.254", "::169.254.169.254", "::ffff:0.0.0.0", "::ffff:224.0.0.1",
    "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "fe80::5efe:169.254.169.254", "2606:4700::5efe:169.254.169.254",
    "::ffff:100.100.100.200", "64:ff9b::6464:64c8", "2002:6464:64c8::",
)  # fmt: skip


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_allowed(text: str) -> None:
    assert refusal(ip_address(text), private_allowed=False) is None


@pytest.mark.parametrize("text", PRIVATE)
def test_private_addresses_are_for_dev(text: str) -> None:
    assert refusal(ip_address(text), private_allowed=False)
    assert refusal(ip_address(text), private_allowed=True) is None


@pytest.mark.parametrize("text", NEVER)
def test_some_addresses_are_never_allowed(text: str) -> None:
    for private_allowed in (False, True):
        assert refusal(ip_address(text), private_allowed=private_allowed)
    host = f"[{text}]" if ":" in text else text
    with pytest.raises(Problem) as refused:
        parse_url(f"https://{host}/", dev=True)
    assert (refused.value.code, refused.value.errors[0].field) == ("invalid_url", "url")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com", "https://example.com/a?b=c", "https://example.com:443/", "https://example.com:8443/",
        "https://example.com:1024/", "https://sub.example.com.:65535/", "HTTPS://EXAMPLE.COM/", "https://8.8.8.8/",
        "https://[2606:4700::1111]:8443/", "https://bücher.example/", "https://xn--bcher-kva.example/",
        f"https://{'a' * 63}.com/", "https://" + ".".join(["a" * 62] * 4) + ".",
    ],
)  # fmt: skip
def test_good_urls(url: str) -> None:
    parse_url(url, dev=False)
    parse_url(url, dev=True)


@pytest.mark.parametrize(
    "url",
    [
        "", "example.com", "//example.com/", "https://", "https:///x", "ftp://example.com/", "file:///etc/passwd",
        "javascript:alert(1)", "https://user@example.com/", "https://user:pass@example.com/", "https://@example.com/",
        "https://example.com/#x", "https://example.com/#", "https://example.com:0/", "https://example.com:65536/",
        "https://example.com:x/", "https://exa mple.com/", "https://example.com/\n", "https://example.com\\@8.8.8.8/",
        "https://a..b/", "https://.a/", "https://127.1/", "https://2130706433/", "https://0x7f000001/",
        "https://0177.0.0.1/", "https://127.0.0.1.0x1/", "https://8.8.8.8.8/", "https://[::1/", "https://[fe80::1%25lo]/",
        "https://[::ffff:169.254.169.254]/", "https://[2606:4700::1%25lo]/", "https://169.254.169.254./",
        "https://xn--a/", "https://xn--a-/", "https://]\n%:[@",
        "https://xn--/", "https://a.xn--0.com/", f"https://{'a' * 64}.com/", f"https://{'b' * 64}/",
        f"https://{'ü' * 63}.com/", "https://" + ".".join(["a" * 60] * 5) + "/",
    ],
)  # fmt: skip
@pytest.mark.parametrize("dev", [False, True])
def test_bad_urls(url: str, dev: bool) -> None:
    with pytest.raises(Problem) as refused:
        parse_url(url, dev=dev)
    assert refused.value.code == "invalid_url"
    assert refused.value.errors[0].field == "url"


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/", "https://example.com:80/", "https://example.com:22/", "https://localhost/",
        "https://api.localhost:8443/", "https://127.0.0.1/", "https://10.1.2.3:8443/", "https://[::1]/",
        "https://[fd00::1]/", "http://127.0.0.1:3000/hook",
    ],
)  # fmt: skip
def test_what_dev_allows(url: str) -> None:
    parse_url(url, dev=True)
    with pytest.raises(Problem):
        parse_url(url, dev=False)


def answering(*addresses: str) -> Any:
    def lookup(_: str, port: int) -> list[tuple[Any, ...]]:
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in addresses
        ]

    return lookup


async def failure_of(resources: Resources, pool: Pool, url: str, lookup: Any) -> tuple[int | None, str]:
    """The one attempt to an endpoint that is in the table already, however it came there."""
    async with working(resources, replace(QUICK, schedule_s=(1000.0,)), lookup):
        row = await until(lambda: pool.fetchrow("SELECT status_code, error FROM webhooks.attempts"))
    return row["status_code"], row["error"]


async def test_a_name_of_a_metadata_service_is_a_failed_attempt_even_in_dev(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    bad = ("169.254.169.254", "::ffff:169.254.169.254", "fe80::1%eth0", "fd00:ec2::254", "64:ff9b::a9fe:a9fe")
    port = receiver.url.rpartition(":")[2]
    for number in range(len(bad)):
        await customer.create(f"http://innocent{number}.example:{port}")

    def lookup(host: str, port: int) -> list[tuple[Any, ...]]:
        number = int(host.removeprefix("innocent").removesuffix(".example"))
        return answering("127.0.0.1", bad[number])(host, port)  # one bad address is enough

    await publish(pool, customer.account_id)
    async with working(resources, replace(QUICK, schedule_s=(1000.0,)), lookup):
        await until(lambda: pool.fetchval("SELECT count(*) = $1 FROM webhooks.attempts", len(bad)))
    rows = await pool.fetch("SELECT status_code, error FROM webhooks.attempts ORDER BY endpoint_id")
    for row, address in zip(rows, bad, strict=True):
        assert row["status_code"] is None
        assert row["error"].startswith(f"address_refused: webhooks are not sent to {address} is ")
    assert not receiver.got


async def test_a_name_of_loopback_is_refused_without_dev_and_delivered_to_with_it(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    port = receiver.url.rpartition(":")[2]
    await customer.create(f"http://innocent.example:{port}")
    await publish(pool, customer.account_id)
    public = replace(resources, settings=Settings(dev=False))
    status, error = await failure_of(public, pool, receiver.url, answering("127.0.0.1"))
    assert (status, error) == (None, "address_refused: webhooks are not sent to 127.0.0.1 is loopback")
    assert not receiver.got
    async with working(resources, lookup=answering("127.0.0.1")):
        await publish(pool, customer.account_id)
        await until(lambda: receiver.got)
    assert receiver.got[0].headers["host"] == f"innocent.example:{port.partition('/')[0]}"


async def test_a_stored_literal_is_judged_again_when_connecting(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    await customer.create(receiver.url)  # in --dev; then the operator turns it off
    await publish(pool, customer.account_id)
    public = replace(resources, settings=Settings(dev=False))
    _, error = await failure_of(public, pool, receiver.url, answering())
    assert error.startswith("address_refused: ")
    assert not receiver.got


async def test_a_name_that_does_not_resolve_is_a_failed_attempt(
    resources: Resources, pool: Pool, customer: Customer
) -> None:
    def unknown(host: str, port: int) -> list[tuple[Any, ...]]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    await customer.create("http://nowhere.example/")
    await publish(pool, customer.account_id)
    _, error = await failure_of(resources, pool, "", unknown)
    assert error == "name: the host name does not resolve (Name or service not known)"


def test_the_address_that_is_connected_to_is_judged_whatever_was_resolved() -> None:
    """The last gate: a socket is not even made for an address that is refused."""
    make_socket = guarded_sockets(private_allowed=True)
    with pytest.raises(AddressRefusedError):
        make_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 80)))
    make_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))).close()


async def test_a_failed_lookup_is_not_repeated_at_once() -> None:
    asked = 0

    def fail(host: str, port: int) -> list[tuple[Any, ...]]:
        nonlocal asked
        asked += 1
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure")

    resolver = GuardedResolver(private_allowed=False, lookup=fail)
    for _ in range(3):
        with pytest.raises(OSError, match="Temporary failure"):
            await resolver.resolve("slow.example")
    assert asked == 1
    await resolver.close()
