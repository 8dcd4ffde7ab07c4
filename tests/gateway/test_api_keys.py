"""API keys: what they may do, and how soon a revoked one may not."""

import asyncio
import time

import pytest

from ghasi.contract.keys import checksum_valid, key_hash, key_prefix, new_key
from ghasi.contract.row import Auth, Row
from ghasi.contract.shapes import SCOPES
from ghasi.contract.table import ROWS
from ghasi.gateway.app import Gateway
from tests.asgi import request
from tests.gateway.services import ACCOUNT_ID, USER_ID, AuthService, Recorder, bearer, running

INVALID = 'Bearer error="invalid_token"'
BEARER_ROWS = [row for row in ROWS if row.auth is Auth.BEARER]


def as_target(path: str) -> str:
    return path.replace("{", "0190-").replace("}", "")


def test_a_new_key_has_its_checksum_and_any_other_character_breaks_it() -> None:
    key = new_key()
    assert len(key) == 40
    assert key.startswith("ghk_")
    assert checksum_valid(key)
    for position in range(4, 40):
        other = "a" if key[position] != "a" else "b"
        assert not checksum_valid(key[:position] + other + key[position + 1 :])
    assert new_key() != key
    assert key_prefix(key) == key[:12]
    assert len(key_hash(key)) == 64


@pytest.mark.parametrize("text", ["", "ghk_", "ghk_" + "0" * 36, "é" * 40, "ghk_" + "é" * 36, "xhk_" + "0" * 36])
def test_what_is_no_key_has_no_valid_checksum(text: str) -> None:
    assert not checksum_valid(text)


async def test_a_key_is_its_account_its_creator_and_ghasi_key(
    auth: AuthService, gateway: Gateway, upstream: Recorder
) -> None:
    key, grant = auth.add_key()
    answer = await request(gateway, "GET", "/v1/messages", headers=bearer(key))
    assert (answer.status, answer.json) == (200, {"from": "upstream"})
    assert upstream.last.all("x-account-id") == [ACCOUNT_ID]
    assert upstream.last.all("x-user-id") == [USER_ID]
    assert upstream.last.all("x-consumer-username") == ["ghasi-key"]
    assert upstream.last.all("x-credential-identifier") == [grant.id]


@pytest.mark.parametrize("row", BEARER_ROWS, ids=lambda row: row.operation)
async def test_each_row_takes_a_key_of_its_scope_and_no_other(
    auth: AuthService, gateway: Gateway, upstream: Recorder, row: Row
) -> None:
    able, _ = auth.add_key(scopes=[row.scope] if row.scope else list(SCOPES))
    unable, _ = auth.add_key(scopes=[scope for scope in SCOPES if scope != row.scope])
    answer = await request(gateway, row.method, as_target(row.path), headers=bearer(able))
    refused = await request(gateway, row.method, as_target(row.path), headers=bearer(unable))
    assert refused.status == 403
    assert refused.header("content-type") == "application/problem+json"
    assert refused.json["code"] == ("insufficient_scope" if row.scope else "user_required")
    assert refused.json["request_id"] == refused.header("x-kong-request-id")
    assert refused.header("ratelimit-limit"), "a 403 is counted"
    if row.scope is None:
        assert answer.json["code"] == "user_required"
        assert not upstream.received
    else:
        assert answer.status == 200
        assert row.scope in refused.json["detail"]
        assert len(upstream.received) == 1


async def test_malformed_keys_are_refused_without_asking_anyone(auth: AuthService, gateway: Gateway) -> None:
    key, _ = auth.add_key()
    for bad in ("ghk_", "ghk_short", key[:-1] + ("0" if key[-1] != "0" else "1"), key + "x", "ghk_" + "é" * 36):
        answer = await request(gateway, "GET", "/v1/messages", headers=bearer(bad))
        assert (answer.status, answer.json) == (401, {"message": "Unauthorized"})
        assert answer.all("www-authenticate") == [INVALID]
        assert not answer.header("ratelimit-limit")
    assert auth.key_lookups == 0


async def test_an_unknown_key_is_refused_and_that_is_remembered_a_moment(auth: AuthService, gateway: Gateway) -> None:
    key = new_key()
    for _ in range(5):
        answer = await request(gateway, "GET", "/v1/messages", headers=bearer(key))
        assert (answer.status, answer.json) == (401, {"message": "Unauthorized"})
        assert answer.header("www-authenticate") == INVALID
    assert auth.key_lookups == 1


async def test_a_revoked_key_stops_working_within_a_second(auth: AuthService, gateway: Gateway) -> None:
    key, _ = auth.add_key()
    assert (await request(gateway, "GET", "/v1/billing/usage", headers=bearer(key))).status == 200
    auth.revoke(key)
    revoked_at = asked_at = time.monotonic()
    while (answer := await request(gateway, "GET", "/v1/auth/me", headers=bearer(key))).status != 401:
        assert asked_at - revoked_at < 1.0, "who asks a second later is refused"
        await asyncio.sleep(0.01)
        asked_at = time.monotonic()
    assert answer.json == {"message": "Unauthorized"}


async def test_a_new_key_works_within_a_second_though_it_was_unknown(auth: AuthService, gateway: Gateway) -> None:
    key, grant = auth.add_key()
    auth.revoke(key)
    assert (await request(gateway, "GET", "/v1/messages", headers=bearer(key))).status == 401
    auth.grants[key_hash(key)] = grant
    made_at = asked_at = time.monotonic()
    while (await request(gateway, "GET", "/v1/messages", headers=bearer(key))).status != 200:
        assert asked_at - made_at < 1.0, "who asks a second later is let in"
        await asyncio.sleep(0.01)
        asked_at = time.monotonic()


async def test_an_expired_key_is_refused_to_the_moment(auth: AuthService, gateway: Gateway) -> None:
    past, _ = auth.add_key(expires_at=time.time() - 1)
    assert (await request(gateway, "GET", "/v1/messages", headers=bearer(past))).status == 401
    soon, grant = auth.add_key(expires_at=time.time() + 1)
    expires_at = grant.expires_at or 0
    assert (await request(gateway, "GET", "/v1/messages", headers=bearer(soon))).status == 200
    asked_at = time.time()
    while (await request(gateway, "GET", "/v1/messages", headers=bearer(soon))).status != 401:
        assert asked_at < expires_at, "who asks when it has expired is refused"
        await asyncio.sleep(0.005)
        asked_at = time.time()
    assert time.time() >= expires_at


async def test_one_question_serves_all_who_present_a_key_at_once(auth: AuthService, gateway: Gateway) -> None:
    key, _ = auth.add_key()
    asked, answer_now = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        asked.set()
        await answer_now.wait()

    auth.entered = hold
    requests = [asyncio.create_task(request(gateway, "GET", "/v1/messages", headers=bearer(key))) for _ in range(20)]
    await asyncio.wait_for(asked.wait(), 5)
    answer_now.set()
    assert {answer.status for answer in await asyncio.gather(*requests)} == {200}
    assert auth.key_lookups == 1


async def test_a_client_that_goes_away_does_not_spoil_the_question_for_others(
    auth: AuthService, gateway: Gateway
) -> None:
    key, _ = auth.add_key()
    asked, answer_now = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        asked.set()
        await answer_now.wait()

    auth.entered = hold
    first = asyncio.create_task(request(gateway, "GET", "/v1/messages", headers=bearer(key)))
    await asyncio.wait_for(asked.wait(), 5)
    second = asyncio.create_task(request(gateway, "GET", "/v1/messages", headers=bearer(key)))
    await asyncio.sleep(0)
    first.cancel()
    answer_now.set()
    assert (await second).status == 200
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_when_auth_service_is_away_nobody_is_told_that_a_key_is_bad(auth: AuthService) -> None:
    key, _ = auth.add_key()
    upstream = Recorder()
    async with running(auth, upstream) as gateway:
        auth.away = True
        answer = await request(gateway, "GET", "/v1/messages", headers=bearer(key))
        assert answer.status == 502
        assert answer.json == {
            "message": "An invalid response was received from the upstream server",
            "request_id": answer.header("x-kong-request-id"),
        }
        auth.away = False
        assert (await request(gateway, "GET", "/v1/messages", headers=bearer(key))).status == 200
        assert len(upstream.received) == 1


async def test_answers_about_keys_are_kept_in_bounds(
    auth: AuthService, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghasi.gateway.api_keys.MAX_CACHED", 3)
    for _ in range(6):
        assert (await request(gateway, "GET", "/v1/messages", headers=bearer(new_key()))).status == 401
    assert len(gateway._api_keys._answers) == 3
