"""What operators change is audited and told to the other services; the gateway's lease; clearing away; no secrets."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from ghasi.auth import admin, service, worker
from ghasi.auth.model import CUSTOMER_ROLE
from ghasi.auth.service import Authority
from ghasi.contract.errors import Problem
from ghasi.contract.values import new_id
from ghasi.storage import audit
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from tests.asgi import request
from tests.auth.conftest import Client, SignIn, caller_of, cookie_of, join

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
S = timedelta(seconds=1)


@pytest.fixture
async def account_id(signed_in: SignIn) -> UUID:
    return caller_of(await signed_in()).account_id


async def states(pool: Pool) -> list[tuple[int, Any]]:
    rows = await pool.fetch(
        "SELECT sequence, data::text AS data FROM auth.outbox WHERE type = 'account.updated' ORDER BY sequence"
    )
    return [(row["sequence"], msgspec.json.decode(row["data"])) for row in rows]


async def test_each_change_of_an_account_is_its_whole_state_in_order(
    resources: Resources, pool: Pool, account_id: UUID
) -> None:
    rung = resources.bells.event("auth")
    await admin.set_status(resources, account_id, "suspended", operator="root")
    assert rung.is_set()
    await admin.set_countries(resources, account_id, ["pk", "AF", "AF"], operator="root")
    await admin.set_daily_cap(resources, account_id, 500, operator="root")
    account = await admin.set_status(resources, account_id, "active", operator="root")
    assert (account.status, account.countries, account.daily_cap, account.sequence) == ("active", ["AF", "PK"], 500, 5)
    await admin.set_countries(resources, account_id, None, operator="root")
    await admin.set_daily_cap(resources, account_id, None, operator="root")
    seen = await states(pool)
    assert [sequence for sequence, _ in seen] == [1, 2, 3, 4, 5, 6, 7]
    assert [(data["status"], data["countries"], data["daily_cap"]) for _, data in seen] == [
        ("active", None, None), ("suspended", None, None), ("suspended", ["AF", "PK"], None),
        ("suspended", ["AF", "PK"], 500), ("active", ["AF", "PK"], 500), ("active", None, 500), ("active", None, None),
    ]  # fmt: skip
    assert {data["id"] for _, data in seen} == {str(account_id)}
    entries = await audit.list_entries(pool, account_id=account_id)
    assert [entry.action for entry in reversed(entries)] == [
        "account.created", "account.suspended", "account.countries_set", "account.daily_cap_set", "account.activated",
        "account.countries_set", "account.daily_cap_set",
    ]  # fmt: skip
    assert {entry.actor for entry in entries[:-1]} == {"operator:root"}
    assert msgspec.json.decode(entries[3].detail) == {"daily_cap": 500}


async def test_changes_at_once_count_up_without_gaps(resources: Resources, pool: Pool, account_id: UUID) -> None:
    await asyncio.gather(*(admin.set_daily_cap(resources, account_id, cap, operator="root") for cap in range(10)))
    assert [sequence for sequence, _ in await states(pool)] == list(range(1, 12))


async def test_what_cannot_be_is_refused_and_leaves_no_trace(
    resources: Resources, pool: Pool, account_id: UUID
) -> None:
    attempts = [
        (admin.set_countries(resources, account_id, ["AF", "XX"], operator="root"), "invalid_request"),
        (admin.set_countries(resources, account_id, [], operator="root"), "invalid_request"),
        (admin.set_daily_cap(resources, account_id, -1, operator="root"), "invalid_request"),
        (admin.set_daily_cap(resources, account_id, 2**31, operator="root"), "invalid_request"),
        (admin.set_limit(resources, account_id, "auth", 5, operator="root"), "invalid_request"),
        (admin.set_limit(resources, account_id, "everything", 5, operator="root"), "invalid_request"),
        (admin.set_limit(resources, account_id, "sends", 0, operator="root"), "invalid_request"),
        (admin.set_limit(resources, new_id(), "sends", 5, operator="root"), "not_found"),
        (admin.set_status(resources, new_id(), "suspended", operator="root"), "not_found"),
        (admin.set_roles(resources, new_id(), add=["support"], operator="root"), "not_found"),
        (admin.set_roles(resources, new_id(), add=["No Role"], operator="root"), "invalid_request"),
    ]
    for attempt, code in attempts:
        with pytest.raises(Problem) as caught:
            await attempt
        assert caught.value.code == code
    assert len(await states(pool)) == 1
    assert len(await audit.list_entries(pool)) == 1


async def test_accounts_and_users_are_listed_newest_first(resources: Resources, pool: Pool, signed_in: SignIn) -> None:
    callers = [caller_of(await signed_in(subject)) for subject in ("one", "two", "three")]
    await admin.set_limit(resources, callers[0].account_id, "sends", 600, operator="root")
    accounts = await admin.list_accounts(pool)
    assert [entry.account.id for entry in accounts] == [caller.account_id for caller in reversed(callers)]
    assert [entry.limits for entry in accounts] == [{}, {}, {"sends": 600}]
    [oldest] = await admin.list_accounts(pool, before=callers[1].account_id)
    assert oldest.account.id == callers[0].account_id
    users = await admin.list_users(pool, email="ADA@example.com", limit=2)
    assert [entry.user.id for entry in users] == [callers[2].user_id, callers[1].user_id]
    [user] = await admin.list_users(pool, account_id=callers[0].account_id)
    assert user.user.account_name == "Ada Lovelace"
    assert await admin.list_users(pool, email="nobody@example.com") == []


async def test_roles_reach_the_next_token(
    resources: Resources, authority: Authority, pool: Pool, signed_in: SignIn
) -> None:
    session = await signed_in(now=NOW)
    user_id = caller_of(session).user_id
    assert await admin.set_roles(resources, user_id, add=["support", CUSTOMER_ROLE], operator="root") == [
        "customer",
        "support",
    ]
    renewed = await service.refresh(authority, session.refresh_token, now=NOW + S)
    assert renewed.session.user.roles == ["customer", "support"]
    assert await admin.set_roles(resources, user_id, remove=["customer"], operator="root") == ["support"]
    entry, *_ = await audit.list_entries(pool)
    assert (entry.action, entry.subject) == ("user.roles_set", str(user_id))
    assert msgspec.json.decode(entry.detail) == {"before": ["customer", "support"], "after": ["support"]}


async def test_an_operator_sets_who_owns_an_account(
    resources: Resources, pool: Pool, client: Client, signed_in: SignIn
) -> None:
    owner = caller_of(await signed_in())
    other = await join(client, owner, "two@example.com")
    with pytest.raises(Problem, match="last_owner"):
        await admin.set_role(resources, owner.user_id, "member", operator="root")
    await admin.set_role(resources, other.user_id, "owner", operator="root")
    await admin.set_role(resources, owner.user_id, "member", operator="root")
    await admin.set_role(resources, owner.user_id, "member", operator="root")
    entries = await audit.list_entries(pool, account_id=owner.account_id)
    assert [(entry.action, entry.actor, entry.subject) for entry in entries[:2]] == [
        ("user.role_changed", "operator:root", str(owner.user_id)),
        ("user.role_changed", "operator:root", str(other.user_id)),
    ]
    assert msgspec.json.decode(entries[0].detail) == {"before": "owner", "after": "member"}
    assert (await client.call(other, "DELETE", f"/v1/users/{owner.user_id}")).status == 204
    listed = await admin.list_users(pool, account_id=owner.account_id)
    assert [(entry.user.id, entry.user.role, entry.removed_at is None) for entry in listed] == [
        (other.user_id, "owner", True), (owner.user_id, "member", False),
    ]  # fmt: skip
    for gone in (owner.user_id, new_id()):
        with pytest.raises(Problem, match="not_found"):
            await admin.set_role(resources, gone, "owner", operator="root")
        with pytest.raises(Problem, match="not_found"):
            await admin.set_roles(resources, gone, add=["support"], operator="root")
    with pytest.raises(Problem, match="invalid_request"):
        await admin.set_role(resources, other.user_id, "king", operator="root")


# the gateway's lease


async def test_the_gateway_hears_who_was_removed_while_their_tokens_may_live(
    client: Client, pool: Pool, signed_in: SignIn
) -> None:
    owner = caller_of(await signed_in())
    gone = await join(client, owner, "two@example.com")
    before = datetime.now(UTC)
    assert (await client.call(owner, "DELETE", f"/v1/users/{gone.user_id}")).status == 204

    async def removed(now: datetime) -> list[str]:
        return (await service.hold_gateway_lease(pool, "gateway-one", now=now)).removed_users

    assert await removed(before) == [str(gone.user_id)]
    assert await removed(before + service.ACCESS_LIFETIME + 50 * S) == [str(gone.user_id)]
    assert await removed(datetime.now(UTC) + service.ACCESS_LIFETIME + 60 * S) == []


async def test_one_gateway_holds_the_lease_and_learns_the_limits(
    client: Client, resources: Resources, signed_in: SignIn
) -> None:
    async def hold(instance: str) -> Any:
        return await request(client.app, "POST", "/internal/gateway-lease", json={"instance": instance})

    assert (await hold("gateway-one")).json == {"limits": {}, "removed_users": []}
    caller = caller_of(await signed_in())
    await admin.set_limit(resources, caller.account_id, "sends", 600, operator="root")
    await admin.set_limit(resources, caller.account_id, "reads", 700, operator="root")
    await admin.set_limit(resources, caller.account_id, "reads", 800, operator="root")
    assert (await hold("gateway-one")).json["limits"] == {str(caller.account_id): {"sends": 600, "reads": 800}}
    other = await hold("gateway-two")
    assert (other.status, other.json["code"]) == (409, "gateway_exists")
    await admin.set_limit(resources, caller.account_id, "sends", None, operator="root")
    assert (await hold("gateway-one")).json["limits"] == {str(caller.account_id): {"reads": 800}}
    assert (await hold("short")).status == 422


async def test_a_lease_that_ran_out_is_taken_over_by_one(pool: Pool) -> None:
    await service.hold_gateway_lease(pool, "gateway-one", now=NOW, lifetime_s=0.2)
    with pytest.raises(Problem, match="gateway_exists"):
        await service.hold_gateway_lease(pool, "gateway-two", now=NOW)

    async def take(instance: str) -> bool:
        try:
            await service.hold_gateway_lease(pool, instance, now=NOW)
        except Problem:
            return False
        return True

    async with asyncio.timeout(10):
        while True:
            taken = await asyncio.gather(take("gateway-two"), take("gateway-three"))
            if any(taken):
                break
            await asyncio.sleep(0.02)
    assert sorted(taken) == [False, True]
    with pytest.raises(Problem, match="gateway_exists"):
        await service.hold_gateway_lease(pool, "gateway-one", now=NOW)


async def test_gateways_that_share_their_limits_hold_the_lease_together_and_with_no_other(pool: Pool) -> None:
    async def takes(instance: str, *, shares_limits: bool, lifetime_s: float = 5.0) -> bool:
        try:
            await service.hold_gateway_lease(
                pool, instance, now=NOW, shares_limits=shares_limits, lifetime_s=lifetime_s
            )
        except Problem:
            return False
        return True

    assert await takes("gateway-one", shares_limits=False)
    assert not await takes("gateway-two", shares_limits=True)
    assert await takes("gateway-one", shares_limits=True), "it was the only one, and may begin to share"
    assert await takes("gateway-two", shares_limits=True)
    for instance in ("gateway-one", "gateway-two", "gateway-three"):
        assert not await takes(instance, shares_limits=False), "one that shared waits as any other"
    assert await takes("gateway-one", shares_limits=True, lifetime_s=0.05)
    async with asyncio.timeout(10):
        while not await takes("gateway-two", shares_limits=False):
            await asyncio.sleep(0.02)
    assert not await takes("gateway-one", shares_limits=True)


# clearing away


async def test_what_has_ended_is_cleared_away_in_batches(authority: Authority, pool: Pool, signed_in: SignIn) -> None:
    for _ in range(5):
        await signed_in(now=NOW)
    late = (await signed_in(now=NOW + 70 * DAY)).refresh_token
    user = caller_of(await signed_in(now=NOW + 70 * DAY))
    await pool.execute(
        """
        INSERT INTO auth.idempotency_keys
        SELECT $1, 'create_api_key', 'key ' || n, '', gen_random_uuid(), $2::timestamptz - n * interval '1 hour'
        FROM generate_series(1, 30) AS n
        """,
        user.account_id,
        NOW + 90 * DAY,
    )
    await pool.execute(
        """
        INSERT INTO auth.invitations
        SELECT gen_random_uuid(), $1, n || '@example.com', n || '@example.com', 'member', int4send(n), $2,
            $2::timestamptz - n * interval '1 day', CASE WHEN n % 2 = 0 THEN $2::timestamptz END
        FROM generate_series(27, 32) AS n
        """,
        user.account_id,
        NOW + 90 * DAY,
    )
    stopping = asyncio.Event()
    deleted = await worker.clear_away(pool, NOW + 90 * DAY, stopping, batch=2)
    assert deleted == {
        "refresh_tokens": 5, "refresh_families": 5, "invitations": 3, "idempotency_keys": 7, "signing_keys": 0,
    }  # fmt: skip
    assert await pool.fetchval("SELECT count(*) FROM auth.invitations") == 3
    assert await pool.fetchval("SELECT count(*) FROM auth.idempotency_keys") == 23
    # what still lives was left alone
    assert (await service.refresh(authority, late, now=NOW + 90 * DAY)).session.expires_in == 900
    stopping.set()
    assert (await worker.clear_away(pool, NOW + 365 * DAY, stopping, batch=2))["idempotency_keys"] == 2


async def test_the_worker_clears_away_at_once_and_ends_when_told(
    resources: Resources, pool: Pool, signed_in: SignIn
) -> None:
    await signed_in(now=NOW - 365 * DAY)
    own = replace(resources, stopping=asyncio.Event())
    working = asyncio.create_task(worker.work(own))
    async with asyncio.timeout(10):
        while await pool.fetchval("SELECT count(*) FROM auth.refresh_families"):
            await asyncio.sleep(0.01)
    own.stopping.set()
    async with asyncio.timeout(5):
        await working


# secrets


async def test_no_secret_is_readable_in_the_database(client: Client, pool: Pool) -> None:
    first = await client.sign_in()
    second = await client.refresh(cookie_of(first))
    caller = caller_of(first)
    made = await client.call(
        caller, "POST", "/v1/api-keys", json={"name": "server"}, headers={"idempotency-key": "one"}
    )
    await client.call(caller, "DELETE", f"/v1/api-keys/{made.json['id']}")
    invited = await client.call(caller, "POST", "/v1/invitations", json={"email": "two@example.com"})
    tables = await pool.fetch(
        "SELECT schemaname || '.' || tablename AS name FROM pg_tables WHERE schemaname IN ('auth', 'storage')"
    )
    text = ""
    for table in tables:
        rows = await pool.fetch(f"SELECT t::text FROM {table['name']} AS t")
        text += "\n".join(row["t"] for row in rows)
    # what is looked for would be found: the prefix is there, and so is each hash
    assert made.json["prefix"] in text
    for secret in (
        made.json["key"], invited.json["token"], cookie_of(first), cookie_of(second),
        first.json["access_token"], second.json["access_token"],
    ):  # fmt: skip
        assert secret not in text
        assert secret.encode().hex() not in text
    assert "PRIVATE KEY" not in text
