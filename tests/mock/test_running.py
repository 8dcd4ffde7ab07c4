"""`ghasi contract mock` as a process, and who may call it from a browser."""

import signal
import urllib.request
from collections.abc import Iterator

import pytest

from ghasi.commands.application import run
from ghasi.contract.emit.openapi import DEFAULTS
from ghasi.gateway.mock.app import Mock
from tests.asgi import request
from tests.mock.conftest import World
from tests.processes.running import Place, place


@pytest.fixture
def here() -> Iterator[Place]:
    with place() as here:
        yield here


def test_it_runs_without_anything_and_leaves_nothing(here: Place) -> None:
    # whatever is set for real processes changes nothing
    settings = {"GHASI_REDIS_URL": "redis://127.0.0.1:1", "GHASI_DATABASE_URL": "postgresql://127.0.0.1:1/none"}
    mock = here.start("contract", "mock", "--port", "0", "--limit", "reads=7", **settings).wait_until_ready()
    url, key = mock.addresses["API"], mock.addresses["key"]
    question = urllib.request.Request(f"{url}/v1/messages", headers={"Authorization": f"Bearer {key}"})  # noqa: S310
    with urllib.request.urlopen(question, timeout=5) as answer:  # noqa: S310
        assert answer.headers["RateLimit-Limit"] == "7"
    assert mock.stop(signal.SIGTERM, 5) == 0
    assert mock.errors.read_text() == ""
    assert not here.data.exists()


@pytest.mark.parametrize("limit", ["nothing=3", "reads", "reads=0", "reads=many"])
def test_a_limit_that_is_none_is_refused(limit: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["contract", "mock", "--limit", limit]) == 2
    assert "sends=1000" in capsys.readouterr().err


async def test_any_page_may_read_unless_one_is_named(world: World) -> None:
    preflight = {"origin": "http://localhost:5173", "access-control-request-method": "POST"}
    answer = await request(world.mock, "OPTIONS", "/v1/messages", headers=preflight)
    assert answer.header("access-control-allow-origin") == "http://localhost:5173"
    assert "Prefer" in (answer.header("access-control-allow-headers") or "")
    forced = await request(
        world.mock, "GET", "/v1/messages", headers={"origin": "http://localhost:5173", "prefer": "code=429"}
    )
    assert forced.header("access-control-allow-origin") == "http://localhost:5173"
    assert "Preference-Applied" in (forced.header("access-control-expose-headers") or "")
    named = Mock(DEFAULTS, origins=["https://a.example/"])
    await named.start()
    try:
        for origin, allowed in (("https://a.example", "https://a.example"), ("https://b.example", None)):
            answer = await request(named, "OPTIONS", "/v1/messages", headers=preflight | {"origin": origin})
            assert answer.header("access-control-allow-origin") == allowed
            assert (answer.header("access-control-allow-methods") is None) == (allowed is None)
            answer = await request(named, "GET", "/v1/messages", headers={"origin": origin})
            assert answer.header("access-control-allow-origin") == allowed
    finally:
        await named.close()
