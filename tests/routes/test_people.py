"""People of one account through the gateway: what a removal ends, how soon, and what it leaves."""

import asyncio
import time

from tests.asgi import Answer
from tests.routes.world import MESSAGE, Customer, World


async def until_refused(person: Customer) -> Answer:
    """Ask until the access token is refused, for 2 s; any other answer must be a success."""
    deadline = time.monotonic() + 2
    while True:
        asked_at = time.monotonic()
        answer = await person.call("GET", "/v1/messages")
        if answer.status != 200:
            return answer
        assert asked_at < deadline, "the token still works"
        await asyncio.sleep(0.02)


async def test_who_is_removed_is_out_within_2_seconds_and_their_keys_work_on(roomy: World) -> None:
    owner = await roomy.sign_in()
    person = await owner.add_person()
    key = await person.create_key("messages:send")
    assert (await owner.call("DELETE", f"/v1/users/{person.user_id}")).status == 204
    refused = await until_refused(person)
    assert (refused.status, refused.json) == (401, {"message": "Unauthorized"})
    assert refused.header("www-authenticate") == 'Bearer error="invalid_token"'
    refresh = await roomy.call("POST", "/v1/auth/refresh", headers={"cookie": f"ghasi_refresh={person.cookie}"})
    assert (refresh.status, refresh.json["code"]) == (401, "invalid_refresh_token")
    sent = await person.call("POST", "/v1/messages", MESSAGE, authorization=f"Bearer {key['key']}")
    assert sent.status == 202
    assert (await owner.call("GET", f"/v1/messages/{sent.json['id']}")).status == 200
    assert (await owner.call("DELETE", f"/v1/api-keys/{key['id']}")).status == 204


async def test_who_was_removed_and_invited_again_is_in_at_once(roomy: World) -> None:
    owner = await roomy.sign_in()
    subject = "removed and invited again"
    before = await owner.invite()
    person = await roomy.sign_in(subject, email=before["email"], invitation=before["token"])
    assert (await person.call("DELETE", f"/v1/users/{person.user_id}")).status == 204
    await until_refused(person)
    again = await owner.invite(email=before["email"])
    returned = await roomy.sign_in(subject, email=before["email"], invitation=again["token"])
    assert returned.account_id == owner.account_id
    assert returned.user_id != person.user_id
    assert (await returned.call("GET", "/v1/messages")).status == 200


async def test_a_spoofed_header_makes_nobody_an_owner(roomy: World) -> None:
    owner = await roomy.sign_in()
    person = await owner.add_person()
    spoofed = {"x_user_id": str(owner.user_id), "X_User_Id": str(owner.user_id), "x_consumer_username": "ghasi-user"}
    answer = await person.call("PUT", "/v1/account", {"name": "Mine"}, **spoofed)
    assert (answer.status, answer.json["code"]) == (403, "owner_required")
    assert (await owner.call("GET", "/v1/account")).json["name"] != "Mine"
