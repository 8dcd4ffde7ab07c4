"""What people expect to be remembered is, and what becomes of messages follows the clock."""

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest

from ghasi.contract.emit.examples import EXAMPLES
from ghasi.gateway.mock import memory, services
from ghasi.gateway.mock.people import read_claims
from tests.asgi import request
from tests.mock.conftest import NOW, World

TO, EXAMPLE = "+93701234567", EXAMPLES["Message"]["id"]


async def sent(world: World, to: str = TO, **more: Any) -> str:
    answer = await world.call("POST", "/v1/messages", json={"to": to, "body": "a"} | more)
    assert answer.status == 202, answer.body
    return str(answer.json["id"])


async def status_of(world: World, message: str) -> str:
    return str((await world.call("GET", f"/v1/messages/{message}")).json["status"])


@pytest.mark.parametrize(
    ("to", "course"),
    [
        (TO, ["accepted", "sent", "sent", "delivered"]),
        ("+93701230001", ["accepted", "sent", "sent", "undelivered"]),
        ("+93701230002", ["accepted", "sent", "sent", "expired"]),
        ("+93701230003", ["accepted", "failed", "failed", "failed"]),
        ("+93701230004", ["accepted", "accepted", "accepted", "accepted", "sent", "sent", "delivered"]),
        ("+93701230005", ["accepted", "sent"] + ["sent"] * 28 + ["delivered"]),
        ("+93701230006", ["accepted", "sent"] + ["sent"] * 60),
    ],
)
async def test_a_message_goes_its_way(world: World, to: str, course: list[str]) -> None:
    message = await sent(world, to)
    seen = []
    for second in range(len(course)):
        world.now[0] = NOW + second
        listed = (await world.call("GET", "/v1/messages?limit=1")).json["data"][0]
        shown = (await world.call("GET", f"/v1/messages/{message}")).json
        assert {name: shown[name] for name in listed} == listed
        assert [one["status"] for one in shown["events"]] == list(dict.fromkeys(course[: second + 1]))
        assert (shown["error"] is None) == (shown["status"] in {"accepted", "sent", "delivered"})
        assert (shown["sent_at"] is None) == (shown["price"] is None)
        seen.append(shown["status"])
    assert seen == course


async def test_a_scheduled_message_waits_and_may_be_canceled(world: World) -> None:
    at = {"send_at": "2027-01-15T09:00:00.000Z"}  # an hour from then
    first, second = await sent(world, **at), await sent(world, **at)
    assert await status_of(world, first) == "scheduled"
    assert (await world.call("POST", f"/v1/messages/{second}/cancel")).json["status"] == "canceled"
    world.now[0] = NOW + 3601.5
    assert [await status_of(world, one) for one in (first, second)] == ["sent", "canceled"]
    answer = await world.call("POST", f"/v1/messages/{first}/cancel")
    assert (answer.status, answer.json["code"]) == (409, "not_cancelable")
    assert (await world.call("POST", f"/v1/messages/{first}/redact")).json["code"] == "not_redactable"
    world.now[0] += 10
    assert (await world.call("POST", f"/v1/messages/{first}/redact")).json["body"] is None


async def test_lists_are_paged_and_filtered(world: World) -> None:
    made = [await sent(world, reference=f"order-{number}") for number in range(5)][::-1]
    pages, cursor = [], ""
    while True:
        page = (await world.call("GET", f"/v1/messages?limit=2{cursor}")).json
        pages.append([one["id"] for one in page["data"]])
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert pages == [made[:2], made[2:4], [made[4], EXAMPLE]]

    async def found(query: str) -> list[str]:
        return [one["id"] for one in (await world.call("GET", f"/v1/messages?{query}")).json["data"]]

    assert await found("reference=order-3") == [made[1]]
    assert await found("status=accepted") == made
    assert await found(f"to={TO}&from=Bakery") == [EXAMPLE]
    assert await found(f"to={quote(TO)}") == [*made, EXAMPLE]
    assert await found("created_after=2027-01-01T00:00:00Z") == made
    assert await found("created_before=2027-01-01T00:00:00Z") == [EXAMPLE]


async def test_a_batch_is_kept_by_its_messages(world: World) -> None:
    body = {"messages": [{"to": TO, "body": "سلام"}, {"to": "+1", "body": "a"}, {"to": TO}]}
    answer = (await world.call("POST", "/v1/messages/batch", json=body)).json
    assert (answer["accepted"], answer["refused"]) == (1, 2)
    assert [one["error"] and one["error"]["code"] for one in answer["data"]] == [
        None, "invalid_number", "invalid_request",
    ]  # fmt: skip
    listed = (await world.call("GET", "/v1/messages?limit=1")).json["data"][0]
    assert listed["id"] == answer["data"][0]["message"]["id"]
    assert listed["encoding"] == "ucs2"
    body = {"body": "Dear {{name}}", "recipients": [{"to": TO, "variables": {"name": "Laila"}}]}
    answer = (await world.call("POST", "/v1/messages/batch", json=body)).json
    assert answer["data"][0]["message"]["body"] == "Dear Laila"


async def test_a_preview_measures_the_text(world: World) -> None:
    body = {"body": "a" * 161, "to": TO}
    answer = (await world.call("POST", "/v1/messages/preview", json=body)).json
    assert (answer["segments"], answer["country"], answer["price"]["amount"]) == (2, "AF", "0.0900")
    answer = (await world.call("POST", "/v1/messages/preview", json={"body": "\u2019", "to": "1"})).json
    assert (answer["forcing"][0]["character"], answer["price"]) == ("\u2019", None)
    assert answer["errors"][0]["field"] == "to"


async def test_an_api_key_works_until_it_is_deleted(world: World) -> None:
    listed = (await world.call("GET", "/v1/api-keys", token=True)).json["data"]
    assert [one["name"] for one in listed] == ["Ready"]
    made = [
        (await world.call("POST", "/v1/api-keys", token=True, json={"name": "a", "scopes": ["messages:read"]})).json
        for _ in range(2)
    ]
    assert (await world.call("GET", "/v1/messages", key=made[0]["key"])).status == 200
    assert (await world.call("POST", "/v1/messages", key=made[0]["key"], json={})).json["code"] == "insufficient_scope"
    assert (await world.call("GET", "/v1/api-keys", key=made[0]["key"])).json["code"] == "user_required"
    assert (await world.call("DELETE", f"/v1/api-keys/{made[1]['id']}", token=True)).status == 204
    assert (await world.call("GET", "/v1/messages", key=made[1]["key"])).status == 401
    listed = (await world.call("GET", "/v1/api-keys", token=True)).json["data"]
    assert [one["id"] for one in listed][:1] == [made[0]["id"]]
    assert len(listed) == 2
    assert "key" not in listed[0]


async def test_an_endpoint_is_kept_as_it_was_asked_for(world: World) -> None:
    body = {"url": "http://127.0.0.1:9/hook", "events": ["message.*"], "headers": {"X-Key": "a"}}
    made = (await world.call("POST", "/v1/webhooks", json=body)).json
    assert made["secret"].startswith("whsec_")
    assert (made["url"], made["header_names"], made["description"], made["filter"]) == (
        body["url"],
        ["X-Key"],
        None,
        None,
    )
    place = f"/v1/webhooks/{made['id']}"
    changed = {"url": "https://a.example", "events": ["message.sent"], "enabled": False, "metadata": None}
    shown = (await world.call("PUT", place, json=changed)).json
    assert (shown["url"], shown["enabled"], shown["header_names"], shown["metadata"]) == (
        "https://a.example", False, ["X-Key"], {},
    )  # fmt: skip
    assert (await world.call("GET", place)).json == shown
    rotated = (await world.call("POST", f"{place}/rotate")).json
    assert rotated.pop("secret") != made["secret"]
    assert rotated == shown
    assert len((await world.call("GET", "/v1/webhooks")).json["data"]) == 2
    assert (await world.call("DELETE", place)).status == 204
    assert (await world.call("GET", place)).status == 404
    assert (await world.call("DELETE", place)).status == 404


async def test_an_account_keeps_an_owner(world: World) -> None:
    people = (await world.call("GET", "/v1/users", token=True)).json["data"]
    member, owner = (f"/v1/users/{one['id']}" for one in people)
    for method, body in (("DELETE", None), ("PUT", {"role": "member"})):
        refused = await world.call(method, owner, token=True, json=body)
        assert (refused.status, refused.json["code"]) == (409, "last_owner")
    assert (await world.call("PUT", member, token=True, json={"role": "owner"})).json["role"] == "owner"
    assert (await world.call("DELETE", member, token=True)).status == 204
    assert len((await world.call("GET", "/v1/users", token=True)).json["data"]) == 1


async def test_documents_keep_what_is_put(world: World) -> None:
    await world.call("PUT", "/v1/account", token=True, json={"name": "Herat Bakery"})
    assert (await world.call("GET", "/v1/account", token=True)).json["name"] == "Herat Bakery"
    assert (await world.call("GET", "/v1/auth/me", token=True)).json["account"]["name"] == "Herat Bakery"
    await world.call("PUT", "/v1/preferences", token=True, json={"time_zone": None, "locale": "fa-AF"})
    assert (await world.call("GET", "/v1/preferences", token=True)).json == {"time_zone": None, "locale": "fa-AF"}
    await world.call("PUT", "/v1/billing/spending-limit", token=True, json={"spending_limit": "7.00"})
    assert (await world.call("GET", "/v1/billing/balance", token=True)).json["own_spending_limit"] == "7.00"
    assert EXAMPLES["AccountDetail"]["name"] == "Kabul Bakery"


async def test_a_request_that_is_tried_again_is_done_once(world: World) -> None:
    headers, body = {"idempotency-key": "order-1"}, {"to": TO, "body": "a"}
    first = await world.call("POST", "/v1/messages", headers=headers, json=body)
    again = await world.call("POST", "/v1/messages", headers=headers, json=body)
    assert (again.status, again.json, again.header("idempotent-replayed")) == (202, first.json, "true")
    other = await world.call("POST", "/v1/messages", headers=headers, json=body | {"body": "b"})
    assert (other.status, other.json["code"]) == (409, "idempotency_key_reused")
    made = await world.call("POST", "/v1/api-keys", token=True, headers=headers, json={"name": "a"})
    again = await world.call("POST", "/v1/api-keys", token=True, headers=headers, json={"name": "a"})
    assert (again.status, again.json["code"]) == (409, "already_created")
    assert made.json["id"] in again.json["detail"]


async def test_what_is_kept_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST", 3)
    monkeypatch.setattr(services, "MOST_ANSWERS", 2)
    made = []
    for number in range(5):
        headers = {"idempotency-key": str(number)}
        made.append(
            (await world.call("POST", "/v1/messages", headers=headers, json={"to": TO, "body": "a"})).json["id"]
        )
    assert [one["id"] for one in (await world.call("GET", "/v1/messages")).json["data"]] == made[:1:-1]
    assert (await world.call("GET", f"/v1/messages/{made[0]}")).status == 404
    again = await world.call("POST", "/v1/messages", headers={"idempotency-key": "0"}, json={"to": TO, "body": "b"})
    assert again.status == 202


# signing in


async def test_any_id_token_signs_in(world: World) -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"email": "omid@example.com", "name": "Omid"}).encode()).decode()
    for token in ("anything", f"a.{claims}.c", "a.b.c", "a.e30.c"):
        answer = await request(world.mock, "POST", "/v1/auth/firebase", json={"id_token": token})
        assert answer.status == 200
    assert (answer.json["user"]["email"], answer.json["user"]["name"]) == ("omid@example.com", "Omid")
    bearer = {"authorization": f"Bearer {answer.json['access_token']}"}
    assert (await request(world.mock, "GET", "/v1/auth/me", headers=bearer)).json["user"] == answer.json["user"]
    assert (await request(world.mock, "POST", "/v1/auth/firebase", json={"id_token": ""})).status == 422


async def test_the_refresh_cookie_goes_on_until_signing_out(world: World) -> None:
    signed_in = await request(world.mock, "POST", "/v1/auth/firebase", json={"id_token": "a"})
    cookie = (signed_in.header("set-cookie") or "").partition(";")[0]
    assert cookie.startswith("ghasi_refresh=")
    refreshed = await request(world.mock, "POST", "/v1/auth/refresh", headers={"cookie": cookie})
    assert refreshed.status == 200
    assert (refreshed.header("set-cookie") or "").partition(";")[0] != cookie
    assert (await request(world.mock, "POST", "/v1/auth/logout", headers={"cookie": cookie})).status == 204
    for headers, code in (({"cookie": cookie}, "invalid_refresh_token"), ({}, "refresh_token_missing")):
        refused = await request(world.mock, "POST", "/v1/auth/refresh", headers=headers)
        assert (refused.status, refused.json["code"]) == (401, code)


async def test_a_sign_in_page_finds_a_firebase(world: World) -> None:
    base = "/identitytoolkit.googleapis.com/v1/accounts"
    body = {"email": "omid@example.com", "password": "a", "returnSecureToken": True}
    for action in ("signUp", "signInWithPassword"):
        answer = (await request(world.mock, "POST", f"{base}:{action}?key=local", json=body)).json
        assert answer["email"] == "omid@example.com"
    found = await request(world.mock, "POST", f"{base}:lookup", json={"idToken": answer["idToken"]})
    assert found.json["users"][0]["localId"] == answer["localId"]
    session = await request(world.mock, "POST", "/v1/auth/firebase", json={"id_token": answer["idToken"]})
    assert session.json["user"]["email"] == "omid@example.com"
    for action, status in (("signUp", 400), ("delete", 404)):
        assert (await request(world.mock, "POST", f"{base}:{action}", json={})).status == status
    form = f"grant_type=refresh_token&refresh_token={answer['refreshToken']}".encode()
    exchanged = await request(world.mock, "POST", "/securetoken.googleapis.com/v1/token", body=form)
    assert read_claims(exchanged.json["id_token"])["email"] == "omid@example.com"
