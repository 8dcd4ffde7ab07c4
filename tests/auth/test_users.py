"""The people in an account: roles, removal, and that one owner is left however many act at once."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from ghasi.auth import service
from ghasi.auth.service import Authority
from ghasi.contract.errors import Problem
from ghasi.contract.serving import Caller
from ghasi.contract.values import new_id
from ghasi.storage import audit
from ghasi.storage.pool import Pool
from tests.asgi import Answer
from tests.auth.conftest import Client, caller_of, cookie_of, identity, invite, join

S = timedelta(seconds=1)


@pytest.fixture
async def owner(client: Client) -> Caller:
    return caller_of(await client.sign_in(sub="one@example.com", email="one@example.com"))


async def put_role(client: Client, caller: Caller, user: Caller, role: str) -> Answer:
    return await client.call(caller, "PUT", f"/v1/users/{user.user_id}", json={"role": role})


async def remove(client: Client, caller: Caller, user: Caller) -> Answer:
    return await client.call(caller, "DELETE", f"/v1/users/{user.user_id}")


async def people(client: Client, caller: Caller) -> list[tuple[str, str]]:
    data: list[dict[str, Any]] = (await client.call(caller, "GET", "/v1/users")).json["data"]
    return [(one["email"], one["role"]) for one in data]


def refused(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.json["code"]) == (status, code), answer.body


async def test_everybody_in_the_account_sees_who_is_in_it_newest_first(client: Client, owner: Caller) -> None:
    member = await join(client, owner, "two@example.com")
    await client.sign_in(sub="another", email="another@example.com")
    for caller in (owner, member):
        assert await people(client, caller) == [("two@example.com", "member"), ("one@example.com", "owner")]
    first = (await client.call(owner, "GET", "/v1/users?limit=1")).json
    assert first["data"][0] | {"created_at": "", "signed_in_at": ""} == {
        "id": str(member.user_id), "email": "two@example.com", "name": "Ada Lovelace", "role": "member",
        "created_at": "", "signed_in_at": "",
    }  # fmt: skip
    second = (await client.call(owner, "GET", f"/v1/users?limit=1&cursor={first['next_cursor']}")).json
    assert [one["id"] for one in second["data"]] == [str(owner.user_id)]
    assert second["next_cursor"] is None
    refused(await client.call(owner, "GET", "/v1/users?cursor=nonsense"), 422, "invalid_cursor")


async def test_a_role_holds_at_once_whatever_the_token_says(client: Client, owner: Caller, pool: Pool) -> None:
    member = await join(client, owner, "two@example.com")
    refused(await put_role(client, member, member, "owner"), 403, "owner_required")
    changed = await put_role(client, owner, member, "owner")
    assert (changed.status, changed.json["role"], changed.json["id"]) == (200, "owner", str(member.user_id))
    assert (await put_role(client, member, owner, "member")).status == 200
    assert (await put_role(client, member, owner, "member")).status == 200
    refused(await put_role(client, owner, member, "member"), 403, "owner_required")
    assert await people(client, owner) == [("two@example.com", "owner"), ("one@example.com", "member")]
    entries = await audit.list_entries(pool, account_id=owner.account_id)
    assert [(entry.action, entry.actor, entry.subject) for entry in entries[:2]] == [
        ("user.role_changed", f"user:{member.user_id}", str(owner.user_id)),
        ("user.role_changed", f"user:{owner.user_id}", str(member.user_id)),
    ]
    assert msgspec.json.decode(entries[0].detail) == {"before": "owner", "after": "member"}
    assert entries[2].action == "user.joined", "to set what is set already is no change"


async def test_the_last_owner_stays_one_and_stays(client: Client, owner: Caller) -> None:
    member = await join(client, owner, "two@example.com")
    refused(await put_role(client, owner, owner, "member"), 409, "last_owner")
    refused(await remove(client, owner, owner), 409, "last_owner")
    assert (await put_role(client, owner, owner, "owner")).status == 200
    await put_role(client, owner, member, "owner")
    assert (await remove(client, owner, owner)).status == 204
    refused(await remove(client, member, member), 409, "last_owner")
    refused(await put_role(client, member, member, "member"), 409, "last_owner")


async def test_owners_remove_anybody_and_everybody_themselves(client: Client, owner: Caller, pool: Pool) -> None:
    members = [await join(client, owner, f"{number}@example.com") for number in range(3)]
    for target in (owner, members[1], Caller(owner.account_id, new_id(), False, "")):
        refused(await remove(client, members[0], target), 403, "owner_required")
    assert (await remove(client, members[0], members[0])).status == 204
    assert (await remove(client, owner, members[1])).status == 204
    refused(await remove(client, owner, members[1]), 404, "not_found")
    refused(await put_role(client, owner, members[1], "owner"), 404, "not_found")
    assert await people(client, owner) == [("2@example.com", "member"), ("one@example.com", "owner")]
    entries = await audit.list_entries(pool, account_id=owner.account_id)
    assert [(entry.action, entry.actor, entry.subject) for entry in entries[:2]] == [
        ("user.removed", f"user:{owner.user_id}", str(members[1].user_id)),
        ("user.removed", f"user:{members[0].user_id}", str(members[0].user_id)),
    ]


async def test_who_was_removed_is_out_of_everything_at_once(client: Client, owner: Caller) -> None:
    token = await invite(client, owner, "two@example.com", "owner")
    session = await client.sign_in(sub="two", email="two@example.com", invitation=token)
    elsewhere = await client.sign_in(sub="two", email="two@example.com")
    gone = caller_of(session)
    assert (await remove(client, owner, gone)).status == 204
    for cookie in (cookie_of(session), cookie_of(elsewhere)):
        refused(await client.refresh(cookie), 401, "invalid_refresh_token")
    person = f"/v1/users/{owner.user_id}"
    calls: tuple[tuple[str, str, Any], ...] = (
        ("GET", "/v1/auth/me", None), ("GET", "/v1/account", None), ("PUT", "/v1/account", {"name": "Mine"}),
        ("GET", "/v1/preferences", None), ("PUT", "/v1/preferences", {"time_zone": None, "locale": None}),
        ("GET", "/v1/users", None), ("PUT", person, {"role": "member"}), ("DELETE", person, None),
        ("DELETE", f"/v1/users/{gone.user_id}", None), ("GET", "/v1/invitations", None),
        ("POST", "/v1/invitations", {"email": "x@example.com"}), ("DELETE", f"/v1/invitations/{new_id()}", None),
        ("POST", "/v1/api-keys", {"name": "a foot in the door"}),
    )  # fmt: skip
    for method, path, body in calls:
        refused(await client.call(gone, method, path, json=body), 401, "user_not_found")


async def test_the_keys_of_who_was_removed_stay_the_accounts(client: Client, owner: Caller) -> None:
    member = await join(client, owner, "two@example.com")
    made = (await client.call(member, "POST", "/v1/api-keys", json={"name": "server"})).json
    assert (await remove(client, owner, member)).status == 204
    assert [key["id"] for key in (await client.call(owner, "GET", "/v1/api-keys")).json["data"]] == [made["id"]]
    assert (await client.call(owner, "DELETE", f"/v1/api-keys/{made['id']}")).status == 204


async def test_who_was_removed_comes_back_as_somebody_new(client: Client, owner: Caller) -> None:
    member = await join(client, owner, "two@example.com")
    await remove(client, owner, member)
    alone = caller_of(await client.sign_in(sub="two@example.com", email="two@example.com"))
    assert alone.account_id != owner.account_id
    assert await people(client, alone) == [("two@example.com", "owner")]
    other = await join(client, owner, "three@example.com")
    await remove(client, owner, other)
    again = await join(client, owner, "three@example.com", "owner")
    assert again.user_id not in {member.user_id, alone.user_id, other.user_id}
    assert await people(client, again) == [("three@example.com", "owner"), ("one@example.com", "owner")]


async def test_another_accounts_people_are_not_there(client: Client, owner: Caller) -> None:
    member = await join(client, owner, "two@example.com")
    stranger = caller_of(await client.sign_in(sub="another", email="another@example.com"))
    for target in (owner, member, Caller(owner.account_id, new_id(), False, "")):
        refused(await put_role(client, stranger, target, "member"), 404, "not_found")
        refused(await remove(client, stranger, target), 404, "not_found")
    refused(await client.call(stranger, "DELETE", "/v1/users/no-id"), 404, "not_found")
    assert await people(client, owner) == [("two@example.com", "member"), ("one@example.com", "owner")]
    assert await people(client, stranger) == [("another@example.com", "owner")]


async def test_keys_never_touch_people(client: Client, owner: Caller) -> None:
    member = await join(client, owner, "two@example.com")
    key = Caller(owner.account_id, owner.user_id, True, "key")
    answers = [
        await client.call(key, "GET", "/v1/users"), await put_role(client, key, member, "owner"),
        await remove(client, key, member),
    ]  # fmt: skip
    for answer in answers:
        refused(answer, 403, "user_required")
    assert await people(client, owner) == [("two@example.com", "member"), ("one@example.com", "owner")]


@pytest.mark.parametrize(
    ("how", "times"),
    [("removing each other", 20), ("removing themselves", 8), ("demoting each other", 8), ("mixed", 8)],
)
async def test_two_owners_who_act_at_once_always_leave_one(how: str, times: int, client: Client, pool: Pool) -> None:
    for number in range(times):
        one = caller_of(await client.sign_in(sub=f"one {number}", email=f"one-{number}@example.com"))
        two = await join(client, one, f"two-{number}@example.com", "owner")
        if how == "removing each other":
            acts = (remove(client, one, two), remove(client, two, one))
        elif how == "removing themselves":
            acts = (remove(client, one, one), remove(client, two, two))
        elif how == "demoting each other":
            acts = (put_role(client, one, two, "member"), put_role(client, two, one, "member"))
        else:
            acts = (remove(client, one, two), put_role(client, two, two, "member"))
        answers = await asyncio.gather(*acts)
        done = [answer for answer in answers if answer.status in {200, 204}]
        assert done
        for answer in answers:
            if answer not in done:
                assert (answer.status, answer.json["code"]) in {
                    (401, "user_not_found"), (403, "owner_required"), (409, "last_owner"),
                }  # fmt: skip
        owners = await pool.fetchval(
            "SELECT count(*) FROM auth.users WHERE account_id = $1 AND role = 'owner' AND removed_at IS NULL",
            one.account_id,
        )
        assert owners == 1, number


async def test_no_session_outlives_a_removal_that_comes_at_the_same_time(
    client: Client, owner: Caller, authority: Authority, pool: Pool
) -> None:
    """Whether a sign-in or a refresh comes before or after it: nothing into the account is left that can be used."""
    for number in range(10):
        email = f"{number}@example.com"
        member = await join(client, owner, email)
        now = datetime.now(UTC)
        known = await service.sign_in(authority, identity(email, email), now=now, request_id="")
        signed_in, refreshed, removed = await asyncio.gather(
            service.sign_in(authority, identity(email, email), now=now, request_id=""),
            service.refresh(authority, known.refresh_token, now=now),
            remove(client, owner, member),
            return_exceptions=True,
        )
        assert isinstance(removed, Answer)
        assert removed.status == 204
        for session in (signed_in, refreshed):
            if isinstance(session, service.SignedIn) and session.session.account.id == str(owner.account_id):
                with pytest.raises(Problem, match="invalid_refresh_token"):
                    await service.refresh(authority, session.refresh_token, now=now + S)
            else:
                assert isinstance(session, service.SignedIn) or "invalid_refresh_token" in str(session)
    left = await pool.fetchval(
        """
        SELECT count(*) FROM auth.refresh_families JOIN auth.users ON users.id = user_id
        WHERE removed_at IS NOT NULL AND revoked_at IS NULL
        """
    )
    assert left == 0
