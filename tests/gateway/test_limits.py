"""Exactly as many requests as the contract says pass in a minute, and every counted answer says where it stands."""

import asyncio
import time

import pytest

from ghasi.contract.row import (
    API_KEY_LIMIT,
    AUTH_LIMIT,
    LIMIT_GROUPS,
    READ_LIMIT,
    SEND_LIMIT,
    WRITE_LIMIT,
    LimitGroup,
    Row,
)
from ghasi.contract.table import ROWS
from ghasi.gateway.app import Gateway
from ghasi.settings import Settings
from tests.asgi import Answer, request
from tests.clock import room_in_the_minute
from tests.gateway.services import ACCOUNT_ID, USER_ID, AuthService, Recorder, bearer, running

COUNTED = ("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "x-ratelimit-limit-minute",
           "x-ratelimit-remaining-minute")  # fmt: skip
ENOUGH_S = 10
LIMITED_ROWS = [row for row in ROWS if row.limit is not None]


def as_target(path: str) -> str:
    return path.replace("{", "0190-").replace("}", "")


def rows_of(group: LimitGroup) -> list[Row]:
    return [row for row in ROWS if row.limit is group]


def stand(answer: Answer) -> tuple[str | None, str | None]:
    assert answer.header("x-ratelimit-limit-minute") == answer.header("ratelimit-limit")
    assert answer.header("x-ratelimit-remaining-minute") == answer.header("ratelimit-remaining")
    assert 1 <= int(answer.header("ratelimit-reset") or 0) <= 60
    return answer.header("ratelimit-limit"), answer.header("ratelimit-remaining")


@pytest.mark.parametrize(
    ("group", "limit"),
    [(AUTH_LIMIT, 10), (API_KEY_LIMIT, 5), (SEND_LIMIT, 60), (READ_LIMIT, 120), (WRITE_LIMIT, 60)],
    ids=lambda value: getattr(value, "name", value),
)
async def test_exactly_the_contracts_number_passes_over_all_rows_of_a_group(
    gateway: Gateway, upstream: Recorder, group: LimitGroup, limit: int
) -> None:
    await room_in_the_minute(ENOUGH_S)
    rows, headers = rows_of(group), bearer()
    for number in range(limit):
        row = rows[number % len(rows)]
        answer = await request(gateway, row.method, as_target(row.path), headers=headers)
        assert answer.status == 200
        assert stand(answer) == (str(limit), str(limit - number - 1))
        assert answer.header("retry-after") is None
    for row in rows:
        answer = await request(gateway, row.method, as_target(row.path), headers=headers)
        assert answer.status == 429
        assert answer.json == {
            "message": "API rate limit exceeded",
            "request_id": answer.header("x-kong-request-id"),
        }
        assert stand(answer) == (str(limit), "0")
        assert answer.header("retry-after") == answer.header("ratelimit-reset")
    assert len(upstream.received) == limit


async def test_at_once_exactly_the_limit_passes_too(gateway: Gateway, upstream: Recorder) -> None:
    await room_in_the_minute(ENOUGH_S)
    headers = bearer()
    answers = await asyncio.gather(
        *(request(gateway, "POST", "/v1/messages", headers=headers, json={}) for _ in range(80))
    )
    assert sorted(answer.status for answer in answers) == [200] * 60 + [429] * 20
    assert len(upstream.received) == 60


async def test_groups_and_accounts_have_windows_of_their_own(gateway: Gateway) -> None:
    await room_in_the_minute(ENOUGH_S)
    for _ in range(6):
        answer = await request(gateway, "POST", "/v1/api-keys", headers=bearer())
    assert answer.status == 429
    assert stand(await request(gateway, "GET", "/v1/api-keys", headers=bearer())) == ("120", "119")
    assert stand(await request(gateway, "DELETE", "/v1/api-keys/x", headers=bearer())) == ("60", "59")
    other = bearer(account_id=USER_ID)
    assert stand(await request(gateway, "POST", "/v1/api-keys", headers=other)) == ("5", "4")


async def test_a_key_shares_its_accounts_window(auth: AuthService, gateway: Gateway) -> None:
    await room_in_the_minute(ENOUGH_S)
    key, _ = auth.add_key()
    assert stand(await request(gateway, "GET", "/v1/messages", headers=bearer())) == ("120", "119")
    assert stand(await request(gateway, "GET", "/v1/webhooks", headers=bearer(key))) == ("120", "118")


async def test_the_auth_group_counts_by_client_address_whoever_calls(gateway: Gateway) -> None:
    await room_in_the_minute(ENOUGH_S)
    for _ in range(11):
        answer = await request(gateway, "POST", "/v1/auth/refresh")
    assert answer.status == 429
    assert (await request(gateway, "GET", "/v1/auth/me", headers=bearer())).status == 429
    elsewhere = await request(gateway, "GET", "/v1/auth/me", headers=bearer(), client="127.0.0.9")
    assert stand(elsewhere) == ("10", "9")


async def test_what_is_refused_before_it_is_known_who_asks_uses_no_quota(gateway: Gateway) -> None:
    await room_in_the_minute(ENOUGH_S)
    for headers in ({}, bearer("garbage"), bearer(exp=1), bearer("ghk_bad")):
        for target in ("/v1/auth/me", "/v1/messages"):
            answer = await request(gateway, "GET", target, headers=headers)
            assert answer.status == 401
            assert not any(answer.header(name) for name in COUNTED)
    assert (await request(gateway, "PATCH", "/v1/messages", headers=bearer())).status == 404
    assert stand(await request(gateway, "GET", "/v1/auth/me", headers=bearer())) == ("10", "9")
    assert stand(await request(gateway, "GET", "/v1/messages", headers=bearer())) == ("120", "119")


@pytest.mark.parametrize("status", [200, 201, 204, 400, 403, 404, 409, 422, 500, 503])
async def test_every_counted_answer_says_where_it_stands(gateway: Gateway, upstream: Recorder, status: int) -> None:
    upstream.status = status
    answer = await request(gateway, "GET", "/v1/messages", headers=bearer())
    assert answer.status == status
    assert stand(answer)[0] == "120"


async def test_the_keys_are_not_limited(gateway: Gateway) -> None:
    answer = await request(gateway, "GET", "/.well-known/jwks.json")
    assert (answer.status, answer.json["keys"][0]["kid"]) == (200, "first")
    assert not any(answer.header(name) for name in COUNTED)


async def test_limits_are_settings_and_an_accounts_own_come_first(auth: AuthService) -> None:
    await room_in_the_minute(ENOUGH_S)
    auth.limits = {USER_ID: {"sends": 3, "auth": 1}}
    async with running(auth, Recorder(), limit_sends=2, limit_auth=4) as gateway:
        assert stand(await request(gateway, "POST", "/v1/messages", headers=bearer())) == ("2", "1")
        own = bearer(account_id=USER_ID)
        assert stand(await request(gateway, "POST", "/v1/messages", headers=own)) == ("3", "2")
        assert stand(await request(gateway, "GET", "/v1/messages", headers=own)) == ("120", "119")
        assert stand(await request(gateway, "GET", "/v1/auth/me", headers=own)) == ("4", "3"), "counted by address"
        auth.limits = {ACCOUNT_ID: {"sends": 7}}
        deadline = time.monotonic() + 3
        while stand(await request(gateway, "POST", "/v1/messages", headers=bearer()))[0] != "7":
            assert time.monotonic() < deadline, "a changed limit is learnt within seconds"
            await asyncio.sleep(0.05)


def test_every_limit_group_has_a_setting_and_a_row() -> None:
    settings = Settings()
    for group in LIMIT_GROUPS:
        assert getattr(settings, group.setting) == group.default
        assert rows_of(group)
