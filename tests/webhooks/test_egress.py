"""Webhooks through the operator's proxy, and TLS on both ways: a real proxy, real servers, a real authority."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

import ghasi
from ghasi.contract.serving import ServiceApp
from ghasi.settings import Settings
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from tests.webhooks.certificates import DAY, Authority, self_signed
from tests.webhooks.conftest import QUICK, Customer, Receiver, attempts_of, publish, receiving, until, working
from tests.webhooks.proxies import Proxy, answering, babble, hang, proxying, reset
from tests.webhooks.test_addresses import answering as resolving

SHOP = "shop.example"


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with proxying() as one:
        yield one


@pytest.fixture
def through(resources: Resources, proxy: Proxy) -> Resources:
    """What a worker has whose webhooks go through the proxy."""
    settings = Settings(dev=True, webhook_proxy=f"http://ghasi:p%40ss%3Aword@{proxy.address}")
    return replace(resources, settings=settings)


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """An authority that is trusted here."""
    made = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.file))
    return made


@dataclass
class Case:
    """One endpoint, one event, one attempt."""

    pool: Pool
    customer: Customer

    async def attempt(self, resources: Resources, url: str, lookup: Any, **pace: Any) -> tuple[int | None, str]:
        endpoint = await self.customer.create(url)
        async with working(resources, replace(QUICK, schedule_s=(1000.0,), **pace), lookup):
            await publish(self.pool, self.customer.account_id)
            (attempt,) = await until(lambda: attempts_of(self.pool, endpoint["id"]))
        return attempt["status_code"], attempt["error"]


@pytest.fixture
def case(pool: Pool, customer: Customer) -> Case:
    return Case(pool, customer)


def port_of(url: str) -> str:
    return url.split(":")[2].partition("/")[0]


# ---- what goes through it


async def test_http_by_absolute_uri_of_the_judged_address(
    through: Resources, pool: Pool, customer: Customer, proxy: Proxy, receiver: Receiver
) -> None:
    port = port_of(receiver.url)
    endpoint = await customer.create(f"http://{SHOP}:{port}/hook?a=b%20c", headers={"Authorization": "Bearer t0ken"})
    async with working(through, lookup=resolving("127.0.0.1")):
        await publish(pool, customer.account_id)
        await until(lambda: receiver.got)
    (asked,) = proxy.asked
    assert (asked.method, asked.target) == ("POST", f"http://127.0.0.1:{port}/hook?a=b%20c")
    assert asked.headers["proxy-authorization"] == "Basic " + base64.b64encode(b"ghasi:p@ss:word").decode()
    (got,) = receiver.got
    assert got.headers["host"] == f"{SHOP}:{port}"
    assert got.headers["authorization"] == "Bearer t0ken"
    assert got.headers["user-agent"] == f"Ghasi-Webhooks/{ghasi.__version__}"
    assert Webhook(endpoint["secret"]).verify(got.body, got.headers)


async def test_https_by_connect_to_the_judged_address_with_the_names_certificate(
    through: Resources, pool: Pool, customer: Customer, proxy: Proxy, authority: Authority
) -> None:
    names: list[str | None] = []
    context = authority.server(SHOP)
    context.sni_callback = lambda _, name, __: names.append(name)
    async with receiving(context) as receiver:
        port = port_of(receiver.url)
        endpoint = await customer.create(f"https://{SHOP}.:{port}/hook")
        async with working(through, lookup=resolving("127.0.0.1")):
            await publish(pool, customer.account_id)
            await until(lambda: receiver.got)
            await publish(pool, customer.account_id)
            await until(lambda: len(receiver.got) == 2)
    (asked,) = proxy.asked  # the tunnel is used again
    assert (asked.method, asked.target) == ("CONNECT", f"127.0.0.1:{port}")
    assert asked.headers["proxy-authorization"] == "Basic " + base64.b64encode(b"ghasi:p@ss:word").decode()
    assert asked.headers["user-agent"] == f"Ghasi-Webhooks/{ghasi.__version__}"
    assert names == [SHOP]
    for got in receiver.got:
        assert got.headers["host"] == f"{SHOP}:{port}"
        assert not [name for name in got.headers if name.startswith("proxy-")]
        assert Webhook(endpoint["secret"]).verify(got.body, got.headers)


async def test_two_names_of_one_address_share_no_tunnel(
    through: Resources, pool: Pool, customer: Customer, proxy: Proxy, authority: Authority
) -> None:
    async with receiving(authority.server(SHOP)) as receiver:
        port = port_of(receiver.url)
        await customer.create(f"https://{SHOP}:{port}/hook")
        async with working(through, replace(QUICK, schedule_s=(1000.0,)), resolving("127.0.0.1")):
            await publish(pool, customer.account_id)
            await until(lambda: receiver.got)
            other = await customer.create(f"https://other.example:{port}/hook")
            await publish(pool, customer.account_id)
            (attempt,) = await until(lambda: attempts_of(pool, other["id"]))
            await until(lambda: len(receiver.got) == 2)
    assert attempt["error"].startswith("tls: ")
    assert {got.headers["host"] for got in receiver.got} == {f"{SHOP}:{port}"}


async def test_the_next_address_is_asked_for_where_the_proxy_does_not_reach_the_first(
    through: Resources, pool: Pool, customer: Customer, proxy: Proxy, authority: Authority
) -> None:
    async def one_only(asked: Any, writer: asyncio.StreamWriter) -> bool:
        if asked.target.startswith("127.0.0.1:"):
            return False
        return await answering("503 Service Unavailable")(asked, writer)

    proxy.refuse = one_only
    async with receiving(authority.server(SHOP)) as receiver:
        port = port_of(receiver.url)
        await customer.create(f"https://{SHOP}:{port}/hook")
        async with working(through, lookup=resolving("::1", "127.0.0.9", "127.0.0.1")):
            await publish(pool, customer.account_id)
            await until(lambda: receiver.got)
    assert [asked.target for asked in proxy.asked] == [f"127.0.0.9:{port}", f"127.0.0.1:{port}"]  # IPv4 first
    assert len(receiver.got) == 1


# ---- the rules of addresses hold


@pytest.mark.parametrize(
    ("host", "addresses", "dev", "refused"),
    [
        (SHOP, ["169.254.169.254"], True, "169.254.169.254 is link-local"),
        (SHOP, ["127.0.0.1", "fd00:ec2::254"], True, "fd00:ec2::254 is a metadata service"),
        (SHOP, ["::ffff:10.0.0.1"], False, "::ffff:10.0.0.1 is private"),
        (SHOP, ["64:ff9b::a9fe:a9fe"], False, "64:ff9b::a9fe:a9fe is link-local"),
        ("127.0.0.1", [], False, "127.0.0.1 is loopback"),
        ("[::1]", [], False, "::1 is loopback"),
    ],
)
async def test_what_is_refused_is_not_asked_for(
    *, through: Resources, case: Case, proxy: Proxy, host: str, addresses: list[str], dev: bool, refused: str
) -> None:
    settings = through.settings.model_copy(update={"dev": dev})
    outcome = await case.attempt(replace(through, settings=settings), f"https://{host}:9443/", resolving(*addresses))
    assert outcome == (None, f"address_refused: webhooks are not sent to {refused}")
    assert not proxy.connections


async def test_what_a_name_comes_to_mean_later_does_not_matter(
    through: Resources, pool: Pool, customer: Customer, proxy: Proxy, receiver: Receiver
) -> None:
    lookups = 0

    def rebinding(host: str, port: int) -> list[tuple[Any, ...]]:
        nonlocal lookups
        lookups += 1
        return resolving("127.0.0.1" if lookups == 1 else "169.254.169.254")(host, port)

    await customer.create(f"http://{SHOP}:{port_of(receiver.url)}/hook")
    async with working(through, lookup=rebinding):
        await publish(pool, customer.account_id, 20)
        await until(lambda: len(receiver.got) == 20)
    assert lookups == 1
    assert {asked.target.partition("/hook")[0] for asked in proxy.asked} == {
        f"http://127.0.0.1:{port_of(receiver.url)}"
    }


async def test_a_name_that_does_not_resolve_here_is_not_asked_for(through: Resources, case: Case, proxy: Proxy) -> None:
    def unknown(host: str, port: int) -> list[tuple[Any, ...]]:
        raise OSError(-2, "Name or service not known")

    outcome = await case.attempt(through, f"https://{SHOP}/", unknown)
    assert outcome == (None, "name: the host name does not resolve (Name or service not known)")
    assert not proxy.connections


# ---- a proxy that does not do


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_is_down(resources: Resources, case: Case, scheme: str) -> None:
    async with proxying() as gone:
        settings = Settings(dev=True, webhook_proxy=f"http://{gone.address}")
    outcome = await case.attempt(
        replace(resources, settings=settings), f"{scheme}://{SHOP}:9443/", resolving("127.0.0.1")
    )
    # its address is the operator's own
    assert outcome == (None, "proxy: the sender's proxy cannot be reached (Connection refused)")


async def test_a_proxy_whose_name_does_not_resolve(resources: Resources, case: Case) -> None:
    settings = Settings(dev=True, webhook_proxy="http://proxy.invalid:3128")
    outcome = await case.attempt(replace(resources, settings=settings), f"https://{SHOP}/", resolving("127.0.0.1"))
    assert outcome == (None, "proxy: the sender's proxy has a name that does not resolve")


@pytest.mark.parametrize(
    ("refuse", "said"),
    [
        (answering("403 Forbidden"), "tunnel: the sender's proxy answered 403"),
        (answering("407 Proxy Authentication Required"), "proxy: the sender's proxy answered 407"),
        (answering("502 Bad Gateway"), "tunnel: the sender's proxy answered 502"),
        (answering("302 Found\r\nLocation: http://169.254.169.254/"), "tunnel: the sender's proxy answered 302"),
        (hang, "tunnel: the sender's proxy opened no connection in time"),
        (reset, "proxy: the sender's proxy broke the connection off"),
        (babble, "proxy: the sender's proxy broke the connection off"),
    ],
)
async def test_a_proxy_that_opens_no_tunnel(
    through: Resources, case: Case, proxy: Proxy, refuse: Any, said: str
) -> None:
    proxy.refuse = refuse
    outcome = await case.attempt(through, f"https://{SHOP}:9443/", resolving("127.0.0.1"), timeout_s=1.0)
    assert outcome == (None, said)


async def test_a_proxy_that_wants_another_password_for_plain_http(through: Resources, case: Case, proxy: Proxy) -> None:
    proxy.refuse = answering("407 Proxy Authentication Required")
    outcome = await case.attempt(through, f"http://{SHOP}:9080/", resolving("127.0.0.1"))
    assert outcome == (None, "proxy: the sender's proxy answered 407")


async def test_where_the_proxy_hangs_for_one_endpoint_no_other_waits(
    *, through: Resources, pool: Pool, customer: Customer, proxy: Proxy, receiver: Receiver, app: ServiceApp
) -> None:
    async def hang_for_one(asked: Any, writer: asyncio.StreamWriter) -> bool:
        return asked.method == "CONNECT" and await hang(asked, writer)

    proxy.refuse = hang_for_one
    other = Customer(app)
    await customer.create(f"https://{SHOP}/")
    await other.create(f"http://{SHOP}:{port_of(receiver.url)}/hook")
    async with working(through, replace(QUICK, timeout_s=20.0, drain_s=0.1), resolving("127.0.0.1")):
        await publish(pool, customer.account_id, 100)
        await until(lambda: any(asked.method == "CONNECT" for asked in proxy.asked))
        began = asyncio.get_running_loop().time()
        events = await publish(pool, other.account_id, 50)
        await until(lambda: len(receiver.ids) == len(events))
        assert asyncio.get_running_loop().time() - began < 5


async def test_the_endpoints_faults_stay_its_own(
    through: Resources, case: Case, proxy: Proxy, receiver: Receiver, authority: Authority
) -> None:
    async def slow(_: Any) -> Any:
        await asyncio.sleep(30)

    receiver.answer = slow
    outcome = await case.attempt(
        through, f"http://{SHOP}:{port_of(receiver.url)}/hook", resolving("127.0.0.1"), timeout_s=0.5
    )
    assert outcome == (None, "timeout: no complete answer in time")


# ---- none but the one that is set


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_no_proxy_of_the_environment_is_used(
    *, resources: Resources, pool: Pool, customer: Customer, proxy: Proxy, authority: Authority,
    monkeypatch: pytest.MonkeyPatch, scheme: str,
) -> None:  # fmt: skip
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://{proxy.address}")
        monkeypatch.setenv(name.lower(), f"http://{proxy.address}")
    async with receiving(authority.server(SHOP) if scheme == "https" else None) as receiver:
        await customer.create(f"{scheme}://{SHOP}:{port_of(receiver.url)}/hook")
        async with working(resources, lookup=resolving("127.0.0.1")):
            await publish(pool, customer.account_id)
            await until(lambda: receiver.got)
    assert not proxy.connections


# ---- certificates, on both ways

Context = Callable[[Authority, Path], ssl.SSLContext]


@pytest.mark.parametrize("proxied", [False, True], ids=["straight", "proxied"])
@pytest.mark.parametrize(
    ("context", "said"),
    [
        (lambda _, folder: self_signed(folder), "self-signed certificate"),
        (lambda authority, _: authority.server("other.example"), "Hostname mismatch"),
        (lambda authority, _: authority.server("127.0.0.1"), "Hostname mismatch"),
        (lambda authority, _: authority.server(SHOP, since=-2 * DAY, until=-timedelta(minutes=1)), "has expired"),
        (lambda authority, _: authority.server(SHOP, since=timedelta(hours=1)), "not yet valid"),
    ],
    ids=["self-signed", "wrong name", "its address alone", "expired", "not yet valid"],
)
async def test_a_certificate_is_verified(
    *, resources: Resources, through: Resources, case: Case, authority: Authority, tmp_path: Path, context: Context,
    said: str, proxied: bool,
) -> None:  # fmt: skip
    async with receiving(context(authority, tmp_path)) as receiver:
        url = f"https://{SHOP}:{port_of(receiver.url)}/hook"
        status, error = await case.attempt(through if proxied else resources, url, resolving("127.0.0.1"))
        assert status is None
        assert error.startswith("tls: the certificate was refused (")
        assert said in error
        assert not receiver.got


async def test_an_authority_that_nobody_named_is_not_trusted(resources: Resources, case: Case, tmp_path: Path) -> None:
    async with receiving(Authority(tmp_path).server(SHOP)) as receiver:
        url = f"https://{SHOP}:{port_of(receiver.url)}/hook"
        _, error = await case.attempt(resources, url, resolving("127.0.0.1"))
        assert error.startswith("tls: the certificate was refused (")
        assert not receiver.got
