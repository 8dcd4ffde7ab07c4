"""Real services behind the stand-in of Kong, with the committed configuration; shared, for each customer is alone."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import uuid4

import aiohttp
import pytest

from tests.auth.identity_provider import IdentityProvider
from tests.conftest import named, run
from tests.kong.services import PORTAL_SECRET, UPSTREAM_SECRET, Customer, Services, running_services, signed_in
from tests.kong.standin import Kong, running

ENVIRONMENT = {"GHASI_UPSTREAM_SECRET": UPSTREAM_SECRET, "GHASI_PORTAL_SECRET": PORTAL_SECRET}
SignIn = Callable[[], Awaitable[Customer]]


@pytest.fixture(scope="session")
async def services(server_url: str, template: str) -> AsyncIterator[Services]:
    database = f"kong_{uuid4().hex}"
    await run(server_url, f"CREATE DATABASE {database} TEMPLATE {template} STRATEGY file_copy")
    provider = IdentityProvider()
    await provider.start()
    async with running_services(named(server_url, database), provider.url) as services:
        yield services
    await provider.stop()
    await run(server_url, f"DROP DATABASE {database} WITH (FORCE)")


@pytest.fixture(scope="session")
async def node(services: Services) -> AsyncIterator[tuple[str, Kong]]:
    async with running(services.configuration(), environment=ENVIRONMENT) as node:
        yield node


@pytest.fixture(scope="session")
def url(node: tuple[str, Kong]) -> str:
    return node[0]


@pytest.fixture(scope="session")
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


@pytest.fixture(scope="session")
def sign_in(http: aiohttp.ClientSession, url: str) -> SignIn:
    numbers = itertools.count(1)

    async def new_customer() -> Customer:
        return await signed_in(http, url, f"198.51.100.{next(numbers)}")

    return new_customer


@pytest.fixture
async def customer(sign_in: SignIn) -> Customer:
    return await sign_in()
