"""Fixtures of the carriers' tests; most of what they hand out is described in smsc.py."""

from collections.abc import Iterator

import pytest

from tests.carriers.smsc import peer, start_client, start_simulator
from tests.ports import reserved_ports

__all__ = ["peer", "start_client", "start_simulator"]


@pytest.fixture
def reserved_port() -> Iterator[int]:
    """A port where nothing listens until the test does."""
    with reserved_ports(1) as (port,):
        yield port
