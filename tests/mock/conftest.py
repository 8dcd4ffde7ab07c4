"""A mock with limits that no test reaches, and a clock and delays that no test waits for."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from ghasi.contract.emit.openapi import DEFAULTS
from ghasi.contract.row import LIMIT_GROUPS
from ghasi.gateway.mock.app import Mock
from tests.asgi import Answer, request

PLENTY = {group.setting: 100_000 for group in LIMIT_GROUPS}
NOW = 1_800_000_000.0


@dataclass
class World:
    """The mock, and what a test says of time."""

    mock: Mock
    now: list[float]
    slept: list[float] = field(default_factory=list)

    async def call(
        self, method: str, target: str, *, key: str | None = None, token: bool = False, **more: Any
    ) -> Answer:
        """Call with an API key (the ready one), with the person's token, or by `headers` alone."""
        headers = dict(more.pop("headers", {}))
        if token or key != "":
            headers["authorization"] = f"Bearer {self.mock.access_token if token else key or self.mock.api_key}"
        return await request(self.mock, method, target, headers=headers, **more)


async def _opened(**settings: Any) -> World:
    now, slept = [NOW], []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    mock = Mock(
        DEFAULTS.model_copy(update=settings), clock=lambda: now[0], sleep=sleep, origins=settings.pop("origins", ())
    )
    await mock.start()
    return World(mock, now, slept)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = await _opened(**PLENTY)
    yield world
    await world.mock.close()


@pytest.fixture
async def limited() -> AsyncIterator[World]:
    """With the contract's own limits."""
    world = await _opened()
    yield world
    await world.mock.close()
