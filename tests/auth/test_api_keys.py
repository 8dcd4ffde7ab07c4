"""API keys: shown once, found while they live, revoked for good, and made by people alone."""

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ghasi.auth import api_keys
from ghasi.auth.api_keys import LastUses
from ghasi.contract.errors import Problem
from ghasi.contract.keys import checksum_valid, new_key
from ghasi.contract.serving import Caller
from ghasi.contract.shapes import SCOPES, NewApiKey, PageQuery
from ghasi.contract.values import new_id, rfc3339
from ghasi.storage import audit
from ghasi.storage.pool import Pool
from tests.asgi import Answer, request
from tests.auth.conftest import Client, SignIn, caller_of

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
S = timedelta(seconds=1)


@pytest.fixture
async def caller(client: Client) -> Caller:
    return caller_of(await client.sign_in())


async def create(client: Client, caller: Caller, idempotency_key: str | None = None, **body: Any) -> Answer:
    headers = {"idempotency-key": idempotency_key} if idempotency_key is not None else {}
    return await client.call(caller, "POST", "/v1/api-keys", json={"name": "server"} | body, headers=headers)


async def find(client: Client, key: str) -> Answer:
    body = {"hash": hashlib.sha256(key.encode()).hexdigest()}
    return await request(client.app, "POST", "/internal/api-keys/find", json=body)


async def test_a_key_is_made_listed_found_and_revoked(client: Client, caller: Caller, pool: Pool) -> None:
    made = await create(client, caller)
    assert made.status == 201
    assert made.header("cache-control") == "no-store"
    key = made.json["key"]
    assert checksum_valid(key)
    assert made.json["prefix"] == key[:12]
    assert made.json["scopes"] == list(SCOPES)
    assert made.json["expires_at"] is made.json["last_used_at"] is None
    listed = (await client.call(caller, "GET", "/v1/api-keys")).json
    assert listed == {
        "data": [{name: value for name, value in made.json.items() if name != "key"}], "next_cursor": None,
    }  # fmt: skip
    grant = await find(client, key)
    assert grant.status == 200
    assert grant.json == {
        "id": made.json["id"], "account_id": str(caller.account_id), "user_id": str(caller.user_id),
        "scopes": list(SCOPES), "expires_at": None,
    }  # fmt: skip
    path = f"/v1/api-keys/{made.json['id']}"
    assert (await client.call(caller, "DELETE", path)).status == 204
    assert (await client.call(caller, "DELETE", path)).json["code"] == "not_found"
    assert (await find(client, key)).status == 404
    assert (await client.call(caller, "GET", "/v1/api-keys")).json["data"] == []
    entries = await audit.list_entries(pool, account_id=caller.account_id)
    assert [(entry.action, entry.actor, entry.subject, entry.request_id) for entry in entries[:2]] == [
        ("api_key.revoked", f"user:{caller.user_id}", made.json["id"], "request-1"),
        ("api_key.created", f"user:{caller.user_id}", made.json["id"], "request-1"),
    ]
    assert key not in "".join(entry.detail for entry in entries)


async def test_scopes_and_expiry_are_kept(client: Client, caller: Caller) -> None:
    expires_at = datetime.now(UTC) + DAY
    scopes = ["billing:read", "messages:send", "billing:read"]
    made = (await create(client, caller, scopes=scopes, expires_at=expires_at.isoformat())).json
    assert made["scopes"] == ["messages:send", "billing:read"]
    assert made["expires_at"] == rfc3339(expires_at)
    grant = (await find(client, made["key"])).json
    assert grant["scopes"] == made["scopes"]
    assert grant["expires_at"] == pytest.approx(expires_at.timestamp())


async def test_a_bad_key_is_refused_by_field(client: Client, caller: Caller) -> None:
    for body, field in (
        ({"name": ""}, "name"), ({"name": "x" * 101}, "name"), ({"name": "a\0b"}, "name"),
        ({"scopes": []}, "scopes"), ({"scopes": ["admin"]}, "scopes[0]"), ({"owner": "me"}, "owner"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"), ({"expires_at": "2030-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": "tomorrow"}, "expires_at"),
    ):  # fmt: skip
        answer = await create(client, caller, **body)
        assert (answer.status, answer.json["code"]) == (422, "invalid_request"), body
        assert [error["field"] for error in answer.json["errors"]] == [field], body
    assert (await client.call(caller, "GET", "/v1/api-keys")).json["data"] == []


async def test_keys_never_touch_keys(client: Client, caller: Caller) -> None:
    made = (await create(client, caller)).json
    key = Caller(caller.account_id, caller.user_id, True, made["id"])
    answers = [
        await create(client, key),
        await client.call(key, "GET", "/v1/api-keys"),
        await client.call(key, "DELETE", f"/v1/api-keys/{made['id']}"),
    ]
    assert [(answer.status, answer.json["code"]) for answer in answers] == [(403, "user_required")] * 3
    assert (await find(client, made["key"])).status == 200


async def test_another_accounts_keys_are_not_there(client: Client, caller: Caller) -> None:
    made = (await create(client, caller)).json
    other = caller_of(await client.sign_in(sub="another"))
    assert (await client.call(other, "GET", "/v1/api-keys")).json["data"] == []
    for key_id in (made["id"], str(new_id()), "no-id", made["id"].upper() + "x"):
        answer = await client.call(other, "DELETE", f"/v1/api-keys/{key_id}")
        assert (answer.status, answer.json["code"]) == (404, "not_found")
    assert (await find(client, made["key"])).status == 200


async def test_pages_go_from_the_newest_to_the_oldest(client: Client, caller: Caller) -> None:
    for index in range(5):
        await create(client, caller, name=f"key {index}")
    names, cursor = [], ""
    while True:
        page = (await client.call(caller, "GET", f"/v1/api-keys?limit=2{cursor}")).json
        assert len(page["data"]) <= 2
        names += [key["name"] for key in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert names == [f"key {index}" for index in (4, 3, 2, 1, 0)]
    for query, code in (
        ("limit=0", "invalid_request"), ("limit=101", "invalid_request"), ("cursor=x", "invalid_cursor"),
        ("cursor=W10", "invalid_cursor"), ("more=1", "invalid_request"),
    ):  # fmt: skip
        answer = await client.call(caller, "GET", f"/v1/api-keys?{query}")
        assert (answer.status, answer.json["code"]) == (422, code), query


async def test_an_idempotency_key_makes_one_key(client: Client, caller: Caller) -> None:
    answers = await asyncio.gather(*(create(client, caller, "one") for _ in range(5)))
    assert sorted(answer.status for answer in answers) == [201, 409, 409, 409, 409]
    [made] = [answer.json for answer in answers if answer.status == 201]
    for answer in answers:
        if answer.status == 409:
            assert answer.json["code"] == "already_created"
            assert made["id"] in answer.json["detail"]
            assert made["key"] not in answer.body.decode()
    assert (await create(client, caller, "one", name="another")).json["code"] == "idempotency_key_reused"
    assert (await create(client, caller, "two")).status == 201
    other = caller_of(await client.sign_in(sub="another"))
    assert (await create(client, other, "one")).status == 201
    assert (await create(client, caller, "x" * 256)).json["code"] == "invalid_idempotency_key"
    assert len((await client.call(caller, "GET", "/v1/api-keys")).json["data"]) == 2


async def test_a_refused_body_does_not_spend_the_idempotency_key(client: Client, caller: Caller) -> None:
    assert (await create(client, caller, "one", expires_at="2020-01-01T00:00:00Z")).status == 422
    assert (await create(client, caller, "one")).status == 201


async def make(pool: Pool, caller: Caller, now: datetime, key: str | None = None, **body: Any) -> str:
    made = await api_keys.create_api_key(
        pool, caller, NewApiKey(name="server", **body), idempotency_key=key, now=now, request_id="request-1"
    )
    return made.key


async def test_an_idempotency_key_is_forgotten_after_24_hours(pool: Pool, signed_in: SignIn) -> None:
    caller = caller_of(await signed_in(now=NOW))
    await make(pool, caller, NOW, "one")
    with pytest.raises(Problem, match="already_created"):
        await make(pool, caller, NOW + DAY - S, "one")
    await make(pool, caller, NOW + DAY, "one")
    with pytest.raises(Problem, match="already_created"):
        await make(pool, caller, NOW + DAY, "one")


async def test_a_replay_is_told_so_even_when_the_key_has_expired_since(pool: Pool, signed_in: SignIn) -> None:
    caller = caller_of(await signed_in(now=NOW))
    await make(pool, caller, NOW, "one", expires_at=NOW + S)
    with pytest.raises(Problem, match="already_created"):
        await make(pool, caller, NOW + 2 * S, "one", expires_at=NOW + S)


async def test_an_expired_key_is_listed_but_stands_for_nothing(pool: Pool, signed_in: SignIn) -> None:
    caller = caller_of(await signed_in(now=NOW))
    key = await make(pool, caller, NOW, expires_at=NOW + DAY)
    key_hash = hashlib.sha256(key.encode()).hexdigest()
    assert (await api_keys.get_grant(pool, key_hash, now=NOW + DAY - S)).expires_at == (NOW + DAY).timestamp()
    with pytest.raises(Problem, match="not_found"):
        await api_keys.get_grant(pool, key_hash, now=NOW + DAY)
    page = await api_keys.list_api_keys(pool, caller, PageQuery())
    assert len(page.data) == 1


async def test_an_account_has_at_most_100_live_keys(pool: Pool, signed_in: SignIn) -> None:
    caller = caller_of(await signed_in(now=NOW))
    await make(pool, caller, NOW, expires_at=NOW + DAY)
    for _ in range(97):
        await make(pool, caller, NOW)
    results = await asyncio.gather(*(make(pool, caller, NOW) for _ in range(5)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, Problem)]
    assert [problem.code for problem in refused] == ["too_many_api_keys"] * 3
    assert await pool.fetchval("SELECT count(*) FROM auth.api_keys") == 100
    await make(pool, caller, NOW + DAY)  # the first has expired and makes room


async def test_a_suspended_account_makes_no_keys_but_may_revoke_them(pool: Pool, signed_in: SignIn) -> None:
    caller = caller_of(await signed_in(now=NOW))
    key = await make(pool, caller, NOW)
    await pool.execute("UPDATE auth.accounts SET status = 'suspended'")
    with pytest.raises(Problem, match="account_suspended"):
        await make(pool, caller, NOW)
    grant = await api_keys.get_grant(pool, hashlib.sha256(key.encode()).hexdigest(), now=NOW)
    assert grant.account_id == str(caller.account_id)
    key_id = await pool.fetchval("SELECT id FROM auth.api_keys")
    await api_keys.revoke_api_key(pool, caller, key_id, now=NOW, request_id="request-1")


async def test_a_look_up_takes_only_a_hash(client: Client) -> None:
    for body in ({}, {"hash": "0" * 63}, {"hash": "G" * 64}, {"hash": "A" * 64}):
        assert (await request(client.app, "POST", "/internal/api-keys/find", json=body)).status == 422, body
    assert (await find(client, "ghk_nobody")).json["code"] == "not_found"


async def test_another_gateway_may_ask_what_a_key_may_do(client: Client, caller: Caller, pool: Pool) -> None:
    made = (await create(client, caller, scopes=["messages:read"])).json

    async def authorize(key: str, scope: str | None = "messages:read") -> Answer:
        query = f"?scope={scope}" if scope is not None else ""
        headers = {"authorization": f"Bearer {key}", "x-kong-request-id": "request-1"}
        return await request(client.app, "GET", f"/internal/authorize{query}", headers=headers)

    allowed = await authorize(made["key"])
    assert (allowed.status, allowed.body) == (204, b"")
    assert allowed.header("x-account-id") == str(caller.account_id)
    assert allowed.header("x-user-id") == str(caller.user_id)
    assert allowed.header("x-credential-identifier") == made["id"]
    wrong = await authorize(made["key"], "messages:send")
    assert (wrong.status, wrong.json["code"], wrong.json["request_id"]) == (403, "insufficient_scope", "request-1")
    assert wrong.json["detail"] == "This operation needs the scope messages:send."
    assert (await authorize(made["key"], None)).json["code"] == "user_required"
    assert (await authorize(made["key"], "everything")).status == 422
    others = ("", "garbage", "ghk_nobody", made["key"][:-1] + "!", new_key())
    assert {(await authorize(key)).status for key in others} == {401}
    assert (await request(client.app, "GET", "/internal/authorize")).json["code"] == "invalid_api_key"
    await client.call(caller, "DELETE", f"/v1/api-keys/{made['id']}")
    assert (await authorize(made["key"])).json["code"] == "invalid_api_key"


async def test_last_uses_are_written_together_and_only_forwards(pool: Pool, signed_in: SignIn) -> None:
    caller = caller_of(await signed_in(now=NOW))
    for _ in range(2):
        await make(pool, caller, NOW)
    first, second = [row["id"] for row in await pool.fetch("SELECT id FROM auth.api_keys ORDER BY id")]
    uses = LastUses(pool)
    uses.note(first, NOW)
    uses.note(first, NOW + S)
    uses.note(second, NOW)
    uses.note(new_id(), NOW)  # its key is gone
    assert await pool.fetchval("SELECT count(last_used_at) FROM auth.api_keys") == 0
    await uses.write()
    written = "SELECT last_used_at FROM auth.api_keys WHERE id = $1"
    assert await pool.fetchval(written, first) == NOW + S
    assert await pool.fetchval(written, second) == NOW
    uses.note(first, NOW)
    await uses.write()
    assert await pool.fetchval(written, first) == NOW + S


async def test_a_use_is_kept_while_the_database_is_away_and_written_at_the_end(pool: Pool, signed_in: SignIn) -> None:
    caller = caller_of(await signed_in(now=NOW))
    await make(pool, caller, NOW)
    key_id = await pool.fetchval("SELECT id FROM auth.api_keys")
    uses = LastUses(pool, interval_s=0.01)
    await pool.execute("ALTER TABLE auth.api_keys RENAME TO away")
    uses.note(key_id, NOW)
    writing = asyncio.create_task(uses.run())
    with pytest.raises(Exception, match="does not exist"):
        await uses.write()
    await pool.execute("ALTER TABLE auth.away RENAME TO api_keys")
    writing.cancel()
    await asyncio.wait([writing])
    assert await pool.fetchval("SELECT last_used_at FROM auth.api_keys") == NOW


async def test_a_found_key_shows_its_last_use_within_seconds(client: Client, caller: Caller) -> None:
    made = (await create(client, caller)).json
    await find(client, made["key"])
    async with asyncio.timeout(10):
        while (await client.call(caller, "GET", "/v1/api-keys")).json["data"][0]["last_used_at"] is None:
            await asyncio.sleep(0.05)
