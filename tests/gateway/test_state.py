"""The lease that makes a gateway the only one, its readiness, and what it tells operators."""

import asyncio
import time
from typing import Any

import aiohttp
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from ghasi.contract.row import Upstream
from ghasi.gateway.app import Gateway
from ghasi.gateway.state import REFUSED_AFTER_S, GatewayExists
from ghasi.gateway.upstreams import InProcessUpstream
from ghasi.settings import Settings
from tests.asgi import Answer, request
from tests.gateway.services import (
    ACCOUNT_ID,
    USER_ID,
    AuthService,
    Recorder,
    bearer,
    healthy,
    make_token,
    running,
    serving,
)
from tests.live import live


async def until(condition: Any, timeout_s: float = 5) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_a_second_gateway_refuses_to_start_and_a_restarted_one_does_not(
    auth: AuthService, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert REFUSED_AFTER_S == 6
    monkeypatch.setattr("ghasi.gateway.state.REFUSED_AFTER_S", 1)
    async with running(auth, Recorder(), instance="instance-1") as first:
        assert first.ready
        upstreams = dict.fromkeys(Upstream, InProcessUpstream(serving(auth, Recorder())))
        second = Gateway(Settings(), upstreams, instance="instance-2", health=healthy)
        started_at = time.monotonic()
        with pytest.raises(GatewayExists, match="another gateway process is running"):
            await second.start()
        assert 1 <= time.monotonic() - started_at < 2.5
        assert not second.ready
        await second.close()
        async with running(auth, Recorder(), instance="instance-1") as restarted:
            assert restarted.ready


async def test_a_start_waits_for_a_dead_gateways_lease_to_end(auth: AuthService) -> None:
    auth.lease_holder = "dead-instance"

    async def end_lease() -> None:
        await until(lambda: auth.lease_polls >= 2)
        auth.lease_holder = None

    ending = asyncio.create_task(end_lease())
    async with running(auth, Recorder()) as gateway:
        assert gateway.ready
    await ending


async def test_a_lease_lost_later_is_told(auth: AuthService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ghasi.gateway.state.REFUSED_AFTER_S", 0.1)
    monkeypatch.setattr("ghasi.gateway.state.POLL_S", 0.05)
    async with running(auth, Recorder()) as gateway:
        assert gateway.ready
        auth.lease_holder = "another-instance"
        with pytest.raises(GatewayExists):
            await asyncio.wait_for(gateway.lease_lost(), 5)
        assert not gateway.ready


async def test_the_last_known_state_serves_on_while_auth_service_is_away(
    auth: AuthService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghasi.gateway.state.POLL_S", 0.02)
    auth.limits = {ACCOUNT_ID: {"reads": 7}}
    async with running(auth, Recorder()) as gateway:
        with capture_logs() as logs:
            auth.away = True
            await until(lambda: any(entry["event"] == "auth_service_away" for entry in logs))
            answer = await request(gateway, "GET", "/v1/messages", headers=bearer())
            assert (answer.status, answer.header("ratelimit-limit")) == (200, "7")
            assert gateway.ready
            auth.away = False
            await until(lambda: any(entry["event"] == "auth_service_back" for entry in logs))
        assert sum(entry["event"] == "auth_service_away" for entry in logs) == 1


async def test_who_was_removed_is_refused_and_their_keys_are_not(
    auth: AuthService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghasi.gateway.state.POLL_S", 0.02)
    other = "0190a0a0-0000-7000-8000-000000000003"
    key, _ = auth.add_key(user_id=USER_ID)
    token = make_token()
    async with running(auth, Recorder()) as gateway:

        async def ask(presented: str) -> Answer:
            return await request(gateway, "GET", "/v1/messages", headers=bearer(presented))

        assert (await ask(token)).status == 200
        auth.removed_users = [USER_ID]
        polls = auth.lease_polls
        await until(lambda: auth.lease_polls >= polls + 2)
        for refused in (await ask(token), await ask(make_token(exp=int(time.time()) + 60))):
            assert (refused.status, refused.json) == (401, {"message": "Unauthorized"})
            assert refused.header("www-authenticate") == 'Bearer error="invalid_token"'
        assert (await ask(make_token(sub=other))).status == 200
        assert (await ask(key)).status == 200, "a key is its account's"
        auth.away = True
        assert (await ask(token)).status == 401, "what is known stays known while auth-service is away"


async def test_a_gateway_becomes_ready_when_auth_service_comes(
    auth: AuthService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghasi.gateway.state.POLL_S", 0.02)
    monkeypatch.setattr("ghasi.gateway.json_web_keys.MIN_BETWEEN_FETCHES_S", 0.02)
    auth.away = True
    async with running(auth, Recorder()) as gateway:
        answer = await request(gateway, "GET", "/healthz")
        assert (answer.status, answer.json) == (503, {"status": "unavailable", "gateway": "not ready"})
        auth.away = False
        await until(lambda: gateway.ready)
        answer = await request(gateway, "GET", "/healthz")
        assert (answer.status, answer.json) == (200, {"status": "ok", "gateway": "ok"})


@pytest.mark.parametrize("fault", ["reported", "raised"])
async def test_health_is_200_only_when_all_is_well(auth: AuthService, fault: str) -> None:
    async def unwell() -> dict[str, Any]:
        if fault == "raised":
            raise ConnectionError("no database")
        return {"status": "unavailable", "database": "away"}

    upstreams = dict.fromkeys(Upstream, InProcessUpstream(serving(auth, Recorder())))
    gateway = Gateway(Settings(), upstreams, instance="instance-1", health=unwell)
    await gateway.start()
    answer = await request(gateway, "GET", "/healthz")
    await gateway.close()
    assert answer.status == 503
    assert answer.json["status"] == "unavailable"
    assert answer.json["gateway"] == "ok"
    assert answer.json.get("database") == ("away" if fault == "reported" else None)


async def test_operators_see_counts_by_operation_status_and_reason(gateway: Gateway) -> None:
    def value(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, labels) or 0.0

    before = (
        value("ghasi_gateway_requests_total", operation="list_invoices", status="200"),
        value("ghasi_gateway_request_seconds_count", operation="list_invoices"),
        value("ghasi_gateway_rejected_total", reason="no_token"),
    )
    await request(gateway, "GET", "/v1/billing/invoices", headers=bearer())
    await request(gateway, "GET", "/v1/billing/invoices")
    assert value("ghasi_gateway_requests_total", operation="list_invoices", status="200") == before[0] + 1
    assert value("ghasi_gateway_request_seconds_count", operation="list_invoices") == before[1] + 2
    assert value("ghasi_gateway_rejected_total", reason="no_token") == before[2] + 1


async def test_logs_name_the_request_and_nothing_secret(gateway: Gateway, upstream: Recorder) -> None:
    upstream.status = 500
    token = make_token()
    with capture_logs() as logs:
        answer = await request(
            gateway, "POST", "/v1/messages?secret=1", headers=bearer(token), json={"body": "the text itself"}
        )
        await request(
            gateway, "POST", "/v1/messages", headers=bearer("ghk_malformed"), json={"body": "the text itself"}
        )
    failed = [entry for entry in logs if entry["event"] == "request_failed"]
    assert [(entry["log_level"], entry["status"]) for entry in failed] == [("warning", 500), ("debug", 401)]
    assert failed[0]["request_id"] == answer.header("x-kong-request-id")
    assert failed[0]["operation"] == "send_message"
    for secret in (token, "the text itself", "ghk_malformed", "secret=1"):
        assert secret not in str(logs)


async def test_what_breaks_inside_is_a_500_in_kongs_words(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway._limits, "count", lambda *_: 1 / 0)
    with capture_logs():
        answer = await request(gateway, "GET", "/v1/messages", headers=bearer())
    assert answer.status == 500
    assert answer.json == {
        "message": "An unexpected error occurred",
        "request_id": answer.header("x-kong-request-id"),
    }


async def test_a_websocket_is_closed_and_the_server_keeps_serving(gateway: Gateway) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    await gateway({"type": "websocket", "path": "/v1/messages", "headers": []}, receive, send)
    assert sent == [{"type": "websocket.close"}]
    async with (
        live(gateway, server_header=False) as url,
        aiohttp.ClientSession() as client,
        client.get(f"{url}/healthz") as answer,
    ):
        assert answer.status == 200
