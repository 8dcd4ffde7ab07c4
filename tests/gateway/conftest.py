"""A gateway before an auth-service with real keys and an upstream that records what it receives."""

from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from ghasi.gateway.app import Gateway
from ghasi.gateway.redis_client import open_redis
from tests.engines import Engine, redis_server
from tests.gateway.services import AuthService, Recorder, running


@pytest.fixture
def auth() -> AuthService:
    return AuthService()


@pytest.fixture
def upstream() -> Recorder:
    return Recorder()


@pytest.fixture
async def gateway(auth: AuthService, upstream: Recorder) -> AsyncIterator[Gateway]:
    async with running(auth, upstream, portal_url="https://portal.ghasi.io") as gateway:
        yield gateway


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with redis_server() as engine:
        yield engine


@pytest.fixture
async def redis(engine: Engine) -> AsyncIterator[Redis]:
    """A client of an empty Redis, started again where a test ended it."""
    if engine.process is None:
        engine.start()
    client = open_redis(engine.url)
    await client.flushall()
    yield client
    await client.aclose()
