"""Several gateways before one Redis: what they share, what they tell each other, and that its faults cost nothing."""

import asyncio
import re
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from redis.exceptions import BusyLoadingError
from structlog.testing import capture_logs

from ghasi.contract.row import Upstream
from ghasi.gateway.app import Gateway
from ghasi.gateway.state import GatewayExists
from ghasi.gateway.upstreams import InProcessUpstream
from ghasi.settings import Settings
from tests.asgi import Answer, request
from tests.clock import room_in_the_minute
from tests.engines import Engine
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

SHARED_MINUTE_S = 10
AT_ONCE_S = 0.05
"""Far less than asking Redis in vain takes."""


def metric(name: str) -> float:
    return REGISTRY.get_sample_value(name) or 0.0


async def send(gateway: Gateway) -> Answer:
    return await request(gateway, "POST", "/v1/messages", headers=bearer(), json={})


def limits_of(gateway: Gateway) -> Callable[[], Any]:
    async def ask() -> Any:
        return (await request(gateway, "GET", "/healthz")).json["limits"]

    return ask


async def until(wanted: str, ask: Callable[[], Any], within_s: float) -> float:
    """Wait until the limits are so, and return how long it took."""
    began = time.monotonic()
    while await ask() != wanted:
        assert time.monotonic() - began < within_s, f"not {wanted} within {within_s} s"
        await asyncio.sleep(0.01)
    return time.monotonic() - began


async def pass_uncounted(gateway: Gateway, times: int) -> None:
    """Requests pass at once, without the limits' headers, and operators see it."""
    before = metric("ghasi_gateway_limits_uncounted_total")
    began = time.monotonic()
    for _ in range(times):
        answer = await send(gateway)
        assert answer.status == 200
        assert not [name for name, _ in answer.headers if "ratelimit" in name or name == "retry-after"]
    assert (time.monotonic() - began) / times < AT_ONCE_S
    assert metric("ghasi_gateway_limits_uncounted_total") == before + times
    assert metric("ghasi_gateway_limits_failing") == 1
    health = await request(gateway, "GET", "/healthz")
    assert (health.status, health.json) == (200, {"status": "ok", "gateway": "ok", "limits": "failing"})


async def counted_again(gateway: Gateway) -> None:
    await until("ok", limits_of(gateway), 1.2)
    assert metric("ghasi_gateway_limits_failing") == 0
    assert (await send(gateway)).header("ratelimit-limit") == "60"


# what gateways share


async def test_two_gateways_let_exactly_the_limit_pass_over_real_sockets(
    auth: AuthService, engine: Engine, redis: Redis
) -> None:
    await room_in_the_minute(SHARED_MINUTE_S)
    async with AsyncExitStack() as stack:
        urls = [
            await stack.enter_async_context(live(await stack.enter_async_context(
                running(auth, Recorder(), instance=f"instance-{number}", redis_url=engine.url)
            ), server_header=False))
            for number in (1, 2)
        ]  # fmt: skip
        client = await stack.enter_async_context(aiohttp.ClientSession(headers=bearer()))

        async def ask(number: int) -> tuple[int, str]:
            async with client.post(f"{urls[number % 2]}/v1/messages", json={}) as answer:
                return answer.status, answer.headers["ratelimit-remaining"]

        answers = await asyncio.gather(*(ask(number) for number in range(90)))
        assert sorted(status for status, _ in answers) == [200] * 60 + [429] * 30
        assert sorted(int(remaining) for status, remaining in answers if status == 200) == list(range(60))


async def test_gateways_with_and_without_redis_refuse_each_other(
    auth: AuthService, engine: Engine, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghasi.gateway.state.REFUSED_AFTER_S", 0.3)
    for holders, asking in (({"redis_url": engine.url}, {}), ({}, {"redis_url": engine.url})):
        auth.lease_holder = None
        async with running(auth, Recorder(), **holders):
            upstreams = dict.fromkeys(Upstream, InProcessUpstream(serving(auth, Recorder())))
            second = Gateway(Settings(**asking), upstreams, instance="instance-2", health=healthy)
            with pytest.raises(GatewayExists, match="GHASI_REDIS_URL"):
                await second.start()
            await second.close()


async def test_a_key_revoked_on_one_gateway_is_refused_on_all_at_once(
    auth: AuthService, engine: Engine, redis: Redis
) -> None:
    key, grant = auth.add_key()
    spared, _ = auth.add_key()
    async with (
        running(auth, Recorder(status=204), instance="instance-1", redis_url=engine.url) as here,
        running(auth, Recorder(), instance="instance-2", redis_url=engine.url) as there,
    ):
        await listened_by(redis, 2)
        for gateway in (here, there):
            assert (await request(gateway, "GET", "/v1/messages", headers=bearer(key))).status in {200, 204}
        removal = await request(here, "DELETE", f"/v1/api-keys/{grant.id}", headers=bearer())
        assert removal.status == 204
        answered = time.monotonic()
        for gateway in (here, there):
            while (answer := await request(gateway, "GET", "/v1/messages", headers=bearer(key))).status != 401:
                assert time.monotonic() - answered < 0.25, "auth-service still knows the key: only Redis can have told"
                await asyncio.sleep(0)
            assert answer.json == {"message": "Unauthorized"}
            assert (await request(gateway, "GET", "/v1/messages", headers=bearer(spared))).status in {200, 204}


async def test_a_user_removed_on_one_gateway_is_refused_on_all_at_once(
    auth: AuthService, engine: Engine, redis: Redis
) -> None:
    gone = "0190a0a0-0000-7000-8000-00000000000a"
    key, _ = auth.add_key(user_id=gone)
    token = make_token(sub=gone)
    async with (
        running(auth, Recorder(status=204), instance="instance-1", redis_url=engine.url) as here,
        running(auth, Recorder(), instance="instance-2", redis_url=engine.url) as there,
    ):
        await listened_by(redis, 2)
        assert (await request(there, "GET", "/v1/messages", headers=bearer(token))).status == 200
        assert (await request(here, "DELETE", f"/v1/users/{gone}", headers=bearer())).status == 204
        await asyncio.sleep(AT_ONCE_S)
        for gateway in (here, there):
            assert (await request(gateway, "GET", "/v1/messages", headers=bearer(token))).status == 401
        assert (await request(there, "GET", "/v1/messages", headers=bearer(key))).status == 200, (
            "a key is its account's"
        )
        assert (await request(there, "GET", "/v1/messages", headers=bearer())).status == 200


async def test_what_did_not_succeed_revokes_nothing(auth: AuthService, engine: Engine, redis: Redis) -> None:
    async with running(auth, Recorder(status=404), redis_url=engine.url) as gateway:
        await listened_by(redis, 1)
        assert (await request(gateway, "DELETE", f"/v1/users/{USER_ID}", headers=bearer())).status == 404
        assert (await request(gateway, "GET", "/v1/messages", headers=bearer())).status == 404


async def test_gateways_listen_again_after_redis_died(auth: AuthService, engine: Engine, redis: Redis) -> None:
    key, grant = auth.add_key()
    async with (
        running(auth, Recorder(status=204), instance="instance-1", redis_url=engine.url) as here,
        running(auth, Recorder(), instance="instance-2", redis_url=engine.url) as there,
    ):
        await listened_by(redis, 2)
        engine.kill()
        began = time.monotonic()
        assert (await request(here, "DELETE", f"/v1/api-keys/{ACCOUNT_ID}", headers=bearer())).status == 204
        assert time.monotonic() - began < 0.5
        engine.start()
        await listened_by(redis, 2)
        assert (await request(there, "GET", "/v1/messages", headers=bearer(key))).status == 200
        assert (await request(here, "DELETE", f"/v1/api-keys/{grant.id}", headers=bearer())).status == 204
        await asyncio.sleep(AT_ONCE_S)
        assert (await request(there, "GET", "/v1/messages", headers=bearer(key))).status == 401


async def listened_by(redis: Redis, gateways: int) -> None:
    deadline = time.monotonic() + 5
    while dict(await redis.pubsub_numsub("ghasi:revoked"))[b"ghasi:revoked"] != gateways:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


# what its faults cost


async def test_a_redis_that_hangs_is_waited_for_once(auth: AuthService, engine: Engine, redis: Redis) -> None:
    await room_in_the_minute(SHARED_MINUTE_S)
    async with running(auth, Recorder(), redis_url=engine.url) as gateway:
        assert (await send(gateway)).header("ratelimit-remaining") == "59"
        with capture_logs() as logs:
            engine.pause()
            try:
                began = time.monotonic()
                first = await asyncio.gather(*(send(gateway) for _ in range(50)))
                assert 0.05 < time.monotonic() - began < 1.0  # one after the other they would wait for 5 s
                assert {answer.status for answer in first} == {200}
                for _ in range(3):
                    await pass_uncounted(gateway, 50)
                    await asyncio.sleep(0.5)  # tries go by, in vain and unnoticed
            finally:
                engine.resume()
            await counted_again(gateway)
        events = [entry["event"] for entry in logs if entry["event"].startswith("limits_")]
        assert events == ["limits_failing", "limits_counted_again"], "one line a change, however many requests"


async def test_a_redis_that_dies_and_comes_back(auth: AuthService, engine: Engine, redis: Redis) -> None:
    await room_in_the_minute(SHARED_MINUTE_S)
    async with running(auth, Recorder(), redis_url=engine.url) as gateway:
        engine.kill()
        await until("failing", limits_of(gateway), 1.5)  # also where nobody asks for anything
        await pass_uncounted(gateway, 70)
        engine.start()
        await counted_again(gateway)
        engine.stop(signal.SIGTERM)
        engine.start()  # between two tries: connections are stale, and nobody is to notice
        assert (await send(gateway)).header("ratelimit-limit") == "60"


async def test_a_redis_that_is_full_or_a_replica_is_no_use(auth: AuthService, engine: Engine, redis: Redis) -> None:
    await room_in_the_minute(SHARED_MINUTE_S)
    async with running(auth, Recorder(), redis_url=engine.url) as gateway:
        for fail, mend in (
            (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
            (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
        ):
            await redis.execute_command(*fail)
            try:
                await send(gateway)
                await pass_uncounted(gateway, 20)
                await asyncio.sleep(1)
                await pass_uncounted(gateway, 20)
            finally:
                await redis.execute_command(*mend)
            await counted_again(gateway)


async def test_a_redis_that_is_still_loading_is_no_use_yet(auth: AuthService, engine: Engine, redis: Redis) -> None:
    async with redis.pipeline() as filling:
        for number in range(3000):
            filling.set(f"other:{number}", "x" * 100)
        await filling.execute()
    await redis.save()
    command = engine.command
    try:
        engine.stop(signal.SIGKILL)
        engine.command = [*command, "--key-load-delay", "400", "--loading-process-events-interval-bytes", "1024"]
        engine.start()
        async with running(auth, Recorder(), redis_url=engine.url) as gateway:
            with pytest.raises(BusyLoadingError):
                await redis.ping()
            await pass_uncounted(gateway, 20)
            await until("ok", limits_of(gateway), 10)
    finally:
        engine.command = command
        engine.kill()
        (engine.folder / "dump.rdb").unlink()
        engine.start()


async def test_a_wrong_password_is_an_alarm_and_never_in_the_log(
    auth: AuthService, engine: Engine, redis: Redis
) -> None:
    await redis.config_set("requirepass", "right-password")
    at = urlsplit(engine.url).netloc
    try:
        with capture_logs() as logs:
            async with running(auth, Recorder(), redis_url=f"redis://:wrong-password@{at}/0") as gateway:
                await pass_uncounted(gateway, 5)
        assert [entry["error"] for entry in logs if entry["event"] == "limits_failing"] == ["AuthenticationError"]
        assert "wrong-password" not in str(logs)
        auth.lease_holder = None
        async with running(auth, Recorder(), redis_url=f"redis://default:right-password@{at}/0") as gateway:
            assert (await send(gateway)).header("ratelimit-limit") == "60"
    finally:
        await redis.config_set("requirepass", "")


async def test_a_gateway_starts_while_redis_is_away_or_is_something_else(auth: AuthService, engine: Engine) -> None:
    engine.kill()
    async with running(auth, Recorder(), redis_url=engine.url) as gateway:
        assert gateway.ready
        await pass_uncounted(gateway, 5)
        engine.start()
        await counted_again(gateway)
    auth.lease_holder = None
    async with live(Recorder()) as web:
        with capture_logs():
            async with running(auth, Recorder(), redis_url=web.replace("http", "redis")) as gateway:
                assert gateway.ready
                await pass_uncounted(gateway, 5)


async def test_what_hung_while_it_signed_in_is_not_taken_for_an_answer(
    auth: AuthService, engine: Engine, redis: Redis
) -> None:
    await room_in_the_minute(SHARED_MINUTE_S)
    await redis.config_set("requirepass", "right-password")
    try:
        engine.pause()
        url = f"redis://:right-password@{urlsplit(engine.url).netloc}/3"
        async with running(auth, Recorder(), redis_url=url) as gateway:
            await pass_uncounted(gateway, 5)
            await asyncio.sleep(1)
            engine.resume()
            await until("ok", limits_of(gateway), 1.2)
            counted = [(await send(gateway)).header("ratelimit-remaining") for _ in range(20)]
            assert counted == [str(59 - number) for number in range(20)]
    finally:
        engine.resume()
        await redis.config_set("requirepass", "")


async def test_the_user_that_the_operators_page_names_is_enough(
    auth: AuthService, engine: Engine, redis: Redis
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "operating.md").read_text()
    rules = re.search(r"(?m)^user ghasi (.*)$", page)
    assert rules is not None
    await redis.execute_command("ACL", "SETUSER", "ghasi", *rules[1].split())
    try:
        url = f"redis://ghasi:PASSWORD@{urlsplit(engine.url).netloc}/1"
        async with running(auth, Recorder(status=204), redis_url=url) as gateway:
            await listened_by(redis, 1)
            assert (await send(gateway)).header("ratelimit-limit") == "60"
            with capture_logs() as logs:
                assert (await request(gateway, "DELETE", f"/v1/users/{USER_ID}", headers=bearer())).status == 204
                await asyncio.sleep(2.5)  # the listener asks whether Redis is there
                await listened_by(redis, 1)
            assert not [
                entry for entry in logs if entry["log_level"] in {"warning", "error"} or "heard" in entry["event"]
            ]
    finally:
        await redis.execute_command("ACL", "DELUSER", "ghasi")
