"""A gateway before an auth-service with real keys and an upstream that records what it receives."""

from collections.abc import AsyncIterator

import pytest

from ghasi.gateway.app import Gateway
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
