"""Invitations: made by owners, shown once, taken up once by whom they name, and of no use to anybody else."""

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from ghasi.auth import service
from ghasi.auth.model import MOST_INVITATIONS
from ghasi.auth.service import Authority
from ghasi.contract.errors import Problem
from ghasi.contract.serving import Caller
from ghasi.contract.values import new_id, rfc3339
from ghasi.storage import audit
from ghasi.storage.pool import Pool
from tests.asgi import Answer
from tests.auth.conftest import Client, caller_of, identity, invite, join
from tests.auth.identity_provider import MISSING

DAY = timedelta(days=1)
S = timedelta(seconds=1)
TWO = "two@example.com"


@pytest.fixture
async def owner(client: Client) -> Caller:
    return caller_of(await client.sign_in(sub="one@example.com", email="one@example.com"))


async def create(client: Client, caller: Caller, email: str = TWO, **fields: Any) -> Answer:
    return await client.call(caller, "POST", "/v1/invitations", json={"email": email} | fields)


async def listed(client: Client, caller: Caller, query: str = "") -> Any:
    answer = await client.call(caller, "GET", f"/v1/invitations{query}")
    assert answer.status == 200, answer.body
    return answer.json


def refused(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.json["code"]) == (status, code), answer.body


async def counts(pool: Pool) -> tuple[int, ...]:
    tables = ("accounts", "users", "outbox", "refresh_families", "refresh_tokens")
    return tuple([await pool.fetchval(f"SELECT count(*) FROM auth.{table}") for table in tables])


# making them


async def test_an_invitation_is_made_listed_and_taken_back(client: Client, owner: Caller, pool: Pool) -> None:
    member = await join(client, owner, "member@example.com")
    before = datetime.now(UTC)
    made = await create(client, owner, role="owner")
    assert made.status == 201
    assert made.header("cache-control") == "no-store"
    shown = dict(made.json)
    token = shown.pop("token")
    assert token.startswith("ghi_")
    assert len(token) == 4 + 43
    assert (shown["email"], shown["role"]) == (TWO, "owner")
    assert rfc3339(before + 7 * DAY) <= shown["expires_at"] <= rfc3339(datetime.now(UTC) + 7 * DAY)
    for caller in (owner, member):
        assert await listed(client, caller) == {"data": [shown], "next_cursor": None}
    row = await pool.fetchrow("SELECT hash, invitations::text AS text FROM auth.invitations WHERE taken_at IS NULL")
    assert row is not None
    assert row["hash"] == hashlib.sha256(token.encode()).digest()
    assert token not in row["text"]
    path = f"/v1/invitations/{shown['id']}"
    assert (await client.call(owner, "DELETE", path)).status == 204
    refused(await client.call(owner, "DELETE", path), 404, "not_found")
    assert (await listed(client, owner))["data"] == []
    refused(await client.sign_in(sub=TWO, email=TWO, invitation=token), 422, "invalid_invitation")
    entries = await audit.list_entries(pool, account_id=owner.account_id)
    assert [(entry.action, entry.actor, entry.subject) for entry in entries[:2]] == [
        ("user.invitation_revoked", f"user:{owner.user_id}", shown["id"]),
        ("user.invited", f"user:{owner.user_id}", shown["id"]),
    ]
    assert msgspec.json.decode(entries[1].detail) == {"email": TWO, "role": "owner"}
    assert token not in "".join(entry.detail for entry in entries)


async def test_only_owners_invite_and_take_back(client: Client, owner: Caller) -> None:
    member = await join(client, owner, "member@example.com")
    made = (await create(client, owner)).json
    refused(await create(client, member, "three@example.com"), 403, "owner_required")
    refused(await client.call(member, "DELETE", f"/v1/invitations/{made['id']}"), 403, "owner_required")
    key = Caller(owner.account_id, owner.user_id, True, "key")
    refused(await create(client, key, "three@example.com"), 403, "user_required")
    refused(await client.call(key, "GET", "/v1/invitations"), 403, "user_required")
    refused(await client.call(key, "DELETE", f"/v1/invitations/{made['id']}"), 403, "user_required")
    assert [one["id"] for one in (await listed(client, owner))["data"]] == [made["id"]]


async def test_another_accounts_invitations_are_not_there(client: Client, owner: Caller) -> None:
    made = (await create(client, owner)).json
    stranger = caller_of(await client.sign_in(sub="another", email="another@example.com"))
    assert (await listed(client, stranger))["data"] == []
    for invitation_id in (made["id"], str(new_id()), "no-id"):
        refused(await client.call(stranger, "DELETE", f"/v1/invitations/{invitation_id}"), 404, "not_found")
    assert (await create(client, stranger)).status == 201, "an address may be invited by many"
    assert [one["id"] for one in (await listed(client, owner))["data"]] == [made["id"]]


async def test_no_address_is_refused_by_its_field(client: Client, owner: Caller) -> None:
    for email in ("", "x", "@", "a@", "@b", "a b@c", "a@b@c", "a@b\n", "a\x01@b", "a\u202e@b", "a@" + "b" * 253):
        answer = await create(client, owner, email)
        refused(answer, 422, "invalid_request")
        assert [error["field"] for error in answer.json["errors"]] == ["email"]
    refused(await create(client, owner, role="king"), 422, "invalid_request")
    assert (await listed(client, owner))["data"] == []


async def test_another_to_the_same_address_takes_its_place(client: Client, owner: Caller) -> None:
    first = (await create(client, owner)).json
    second = (await create(client, owner, TWO.upper(), role="owner")).json
    assert second["token"] != first["token"]
    [only] = (await listed(client, owner))["data"]
    assert (only["id"], only["email"], only["role"]) == (second["id"], TWO.upper(), "owner")
    refused(await client.sign_in(sub=TWO, email=TWO, invitation=first["token"]), 422, "invalid_invitation")
    joined = await client.sign_in(sub=TWO, email=TWO, invitation=second["token"])
    assert joined.json["account"]["id"] == str(owner.account_id)
    made = await asyncio.gather(*(create(client, owner, "three@example.com") for _ in range(10)))
    assert [answer.status for answer in made] == [201] * 10
    assert len((await listed(client, owner))["data"]) == 1


async def test_who_is_in_the_account_is_not_invited(client: Client, owner: Caller) -> None:
    member = await join(client, owner, TWO)
    for email in (TWO, "Two@Example.COM", "ONE@example.com"):
        refused(await create(client, owner, email), 409, "already_member")
    assert (await client.call(owner, "DELETE", f"/v1/users/{member.user_id}")).status == 204
    assert (await create(client, owner)).status == 201
    stranger = caller_of(await client.sign_in(sub="another", email="another@example.com"))
    assert (await create(client, stranger, "one@example.com")).status == 201, "who is in another account may be"


async def test_an_account_has_so_many_open_invitations(client: Client, owner: Caller, pool: Pool) -> None:
    now = datetime.now(UTC)
    await pool.execute(
        """
        INSERT INTO auth.invitations
        SELECT gen_random_uuid(), $1, n || '@example.com', n || '@example.com', 'member', int4send(n), $2,
            CASE WHEN n > $3 THEN $2::timestamptz - interval '1 day' ELSE $2::timestamptz + interval '1 day' END,
            CASE WHEN n > $3 + 1 THEN $2::timestamptz END
        FROM generate_series(1, $3 + 2) AS n
        """,
        owner.account_id,
        now,
        MOST_INVITATIONS,
    )
    refused(await create(client, owner), 409, "too_many_invitations")
    assert (await create(client, owner, "7@example.com")).status == 201, "in the place of another"
    first = await listed(client, owner, "?limit=100")
    second = await listed(client, owner, f"?limit=100&cursor={first['next_cursor']}")
    seen = [one["id"] for one in first["data"] + second["data"]]
    assert len(seen) == len(set(seen)) == MOST_INVITATIONS + 1, "one that ran out is shown, one taken up is not"
    assert seen == sorted(seen, reverse=True)
    assert second["next_cursor"] is None
    assert (await client.call(owner, "DELETE", f"/v1/invitations/{seen[-1]}")).status == 204


# taking them up


async def test_a_newcomer_joins_with_the_invitations_role(client: Client, owner: Caller, pool: Pool) -> None:
    before = await counts(pool)
    token = await invite(client, owner, "Two@Example.com", "owner")
    answer = await client.sign_in(sub=TWO, email="TWO@example.com", email_verified=False, invitation=token)
    assert answer.status == 200
    assert answer.json["account"]["id"] == str(owner.account_id)
    assert answer.json["user"]["roles"] == ["customer"]
    assert answer.header("set-cookie") is not None
    joined = caller_of(answer)
    assert (await client.call(joined, "GET", "/v1/account")).json["role"] == "owner"
    after = await counts(pool)
    assert [later - earlier for later, earlier in zip(after, before, strict=True)] == [0, 1, 1, 1, 1]
    assert (await listed(client, owner))["data"] == []
    entry, *_ = await audit.list_entries(pool, account_id=owner.account_id)
    assert (entry.action, entry.actor, entry.subject) == (
        "user.joined", f"user:{joined.user_id}", str(joined.user_id),
    )  # fmt: skip
    assert msgspec.json.decode(entry.detail)["role"] == "owner"


async def test_ten_sign_ins_with_one_invitation_make_one_user(client: Client, owner: Caller, pool: Pool) -> None:
    token = await invite(client, owner, TWO)
    answers = await asyncio.gather(*(client.sign_in(sub=TWO, email=TWO, invitation=token) for _ in range(10)))
    assert [answer.status for answer in answers] == [200] * 10
    assert len({caller_of(answer) for answer in answers}) == 1
    assert await pool.fetchval("SELECT count(*) FROM auth.users") == 2
    assert await pool.fetchval("SELECT count(*) FROM auth.accounts") == 1


async def test_of_ten_people_with_one_invitation_one_joins(client: Client, owner: Caller, pool: Pool) -> None:
    token = await invite(client, owner, TWO)
    answers = await asyncio.gather(
        *(client.sign_in(sub=f"person {number}", email=TWO, invitation=token) for number in range(10))
    )
    assert sorted(answer.status for answer in answers) == [200, *[422] * 9]
    assert await pool.fetchval("SELECT count(*) FROM auth.users") == 2
    assert await pool.fetchval("SELECT count(*) FROM auth.accounts") == 1


async def test_an_invitation_taken_back_at_the_same_time_is_taken_up_or_not(client: Client, owner: Caller) -> None:
    for number in range(10):
        email = f"{number}@example.com"
        made = (await create(client, owner, email)).json
        answer, revoked = await asyncio.gather(
            client.sign_in(sub=email, email=email, invitation=made["token"]),
            client.call(owner, "DELETE", f"/v1/invitations/{made['id']}"),
        )
        assert (answer.status, revoked.status) in {(200, 404), (422, 204)}


async def test_an_invitation_that_cannot_be_taken_up_makes_nothing(client: Client, owner: Caller, pool: Pool) -> None:
    good, used = await invite(client, owner, TWO), await invite(client, owner, "three@example.com")
    assert (await client.sign_in(sub="three", email="three@example.com", invitation=used)).status == 200
    before = await counts(pool)
    for email, token in (
        ("else@example.com", good), (MISSING, good), ("", good), (f"{TWO}.net", good), (TWO, used),
        ("three@example.com", used), (TWO, "ghi_"), (TWO, good + "x"), (TWO, good[:-1]), (TWO, good.upper()),
        (TWO, "é"), (TWO, "x" * 100),
    ):  # fmt: skip
        answer = await client.sign_in(sub="somebody", email=email, invitation=token)
        refused(answer, 422, "invalid_invitation")
        assert [error["field"] for error in answer.json["errors"]] == ["invitation"]
        assert answer.header("set-cookie") is None
    assert await counts(pool) == before
    assert (await client.sign_in(sub="somebody", email=TWO, invitation=good)).status == 200


async def test_an_invitation_is_good_for_7_days(
    client: Client, owner: Caller, authority: Authority, pool: Pool
) -> None:
    token = await invite(client, owner, TWO)
    expires_at = await pool.fetchval("SELECT expires_at FROM auth.invitations")

    async def take_up(now: datetime) -> service.SignedIn:
        return await service.sign_in(authority, identity(TWO, TWO), now=now, request_id="", invitation=token)

    with pytest.raises(Problem, match="invalid_invitation"):
        await take_up(expires_at)
    [shown] = (await listed(client, owner))["data"]
    assert shown["expires_at"] == rfc3339(expires_at)
    assert (await take_up(expires_at - S)).session.account.id == str(owner.account_id)


async def test_who_is_in_the_account_simply_signs_in(client: Client, owner: Caller) -> None:
    token = await invite(client, owner, TWO)
    as_owner = await client.sign_in(sub="one@example.com", email="one@example.com", invitation=token)
    assert caller_of(as_owner) == owner
    joined = caller_of(await client.sign_in(sub=TWO, email=TWO, invitation=token))
    again = await client.sign_in(sub=TWO, email=TWO, invitation=token)
    assert (again.status, caller_of(again)) == (200, joined)
    refused(await client.sign_in(sub=TWO, email=TWO, invitation="ghi_unknown"), 422, "invalid_invitation")


async def test_who_is_in_another_account_stays_there(client: Client, owner: Caller) -> None:
    elsewhere = caller_of(await client.sign_in(sub=TWO, email=TWO, name="Before"))
    token = await invite(client, owner, TWO)
    refused(await client.sign_in(sub=TWO, email=TWO, name="After", invitation=token), 409, "already_in_account")
    refused(await client.sign_in(sub=TWO, email="else@example.com", invitation=token), 422, "invalid_invitation")
    [person] = (await client.call(elsewhere, "GET", "/v1/users")).json["data"]
    assert (person["name"], person["email"]) == ("Before", TWO), "a refused sign-in changes nothing"
    assert len((await listed(client, owner))["data"]) == 1
    # once they have left it, the invitation is still good
    other = await join(client, elsewhere, "successor@example.com", "owner")
    assert (await client.call(other, "DELETE", f"/v1/users/{elsewhere.user_id}")).status == 204
    joined = await client.sign_in(sub=TWO, email=TWO, invitation=token)
    assert joined.json["account"]["id"] == str(owner.account_id)


async def test_who_left_the_account_needs_another_invitation(client: Client, owner: Caller) -> None:
    token = await invite(client, owner, TWO)
    member = caller_of(await client.sign_in(sub=TWO, email=TWO, invitation=token))
    assert (await client.call(member, "DELETE", f"/v1/users/{member.user_id}")).status == 204
    refused(await client.sign_in(sub=TWO, email=TWO, invitation=token), 422, "invalid_invitation")
