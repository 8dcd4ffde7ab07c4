"""One deployment for all tests of a process."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from ghasi.contract.check import timeouts
from ghasi.contract.row import Row
from tests.conftest import named, run
from tests.contract_check.standing import MARGIN_S, QUICKER, Standing, stand


@pytest.fixture(scope="session")
async def standing(server_url: str, template: str) -> AsyncIterator[Standing]:
    name = f"check_{uuid4().hex}"
    await run(server_url, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    async with stand(named(server_url, name)) as standing:
        yield standing
    await run(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def quicker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time-outs of the gateway end as much sooner as the run's clock goes faster, with room for a busy machine."""
    monkeypatch.setattr(Row, "upstream_timeout_s", property(lambda row: (row.timeout_s - MARGIN_S) / QUICKER))
    monkeypatch.setattr(timeouts, "LATE_S", 2 * MARGIN_S)
