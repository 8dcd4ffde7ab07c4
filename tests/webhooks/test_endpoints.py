"""Endpoints through the API: each operation with each status, and nothing readable in the tables."""

import asyncio
from dataclasses import replace
from typing import Any

from ghasi.contract.serving import ServiceApp
from ghasi.contract.shapes import EVENT_TYPES
from ghasi.contract.values import new_id
from ghasi.settings import Settings
from ghasi.storage import audit
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from ghasi.webhooks.model import MAX_ENDPOINTS
from ghasi.webhooks.routes import serve
from tests.webhooks.conftest import Customer

URL = "https://example.com/hooks?token=1"
RESOURCE = {
    "id", "url", "events", "description", "enabled", "created_at", "updated_at", "disabled_reason", "header_names",
    "filter", "metadata", "rate_per_s", "fifo", "failing_since",
}  # fmt: skip


async def test_create_get_list_and_delete(customer: Customer) -> None:
    created = await customer.create(URL, ["message.delivered", "message.failed"], description="prod")
    assert created.keys() == RESOURCE | {"secret"}
    assert created["secret"].startswith("whsec_")
    assert (created["url"], created["events"], created["description"]) == (
        URL,
        ["message.delivered", "message.failed"],
        "prod",
    )
    assert (created["enabled"], created["disabled_reason"]) == (True, None)
    path = f"/v1/webhooks/{created['id']}"
    shown = await customer.call("GET", path)
    assert shown.status == 200
    assert shown.json == {name: created[name] for name in RESOURCE}
    listed = await customer.call("GET", "/v1/webhooks")
    assert (listed.status, listed.json) == (200, {"data": [shown.json], "next_cursor": None})
    deleted = await customer.call("DELETE", path)
    assert (deleted.status, deleted.body) == (204, b"")
    assert (await customer.call("DELETE", path)).status == 404
    assert (await customer.call("GET", path)).status == 404
    assert (await customer.call("GET", "/v1/webhooks")).json["data"] == []


async def test_put_keeps_what_it_omits(customer: Customer, pool: Pool) -> None:
    created = await customer.create(URL, description="old", headers={"X-A": "1"}, enabled=False)
    path = f"/v1/webhooks/{created['id']}"
    sealed = await pool.fetchval("SELECT headers FROM webhooks.endpoints")
    kept = await customer.call("PUT", path, {"url": "https://example.org/", "events": ["message.*"]})
    assert kept.status == 200
    assert kept.json == {
        **{name: created[name] for name in RESOURCE},
        "url": "https://example.org/",
        "events": ["message.*"],
        "updated_at": kept.json["updated_at"],
    }
    assert await pool.fetchval("SELECT headers FROM webhooks.endpoints") == sealed
    body = {"url": URL, "events": ["*"], "description": None, "headers": None, "enabled": True}
    cleared = (await customer.call("PUT", path, body)).json
    assert (cleared["description"], cleared["enabled"]) == (None, True)
    assert await pool.fetchval("SELECT headers FROM webhooks.endpoints") is None
    assert (await customer.call("GET", path)).json == cleared


async def test_rotation_gives_a_new_secret_once(customer: Customer) -> None:
    created = await customer.create(URL)
    rotated = await customer.call("POST", f"/v1/webhooks/{created['id']}/rotate")
    assert rotated.status == 200
    assert rotated.json.keys() == RESOURCE | {"secret"}
    assert rotated.json["secret"] != created["secret"]
    assert "secret" not in (await customer.call("GET", f"/v1/webhooks/{created['id']}")).json


async def test_lists_page_newest_first(customer: Customer) -> None:
    ids = [(await customer.create(URL))["id"] for _ in range(5)]
    seen: list[str] = []
    cursor = ""
    for size in (2, 2, 1):
        page = (await customer.call("GET", f"/v1/webhooks?limit=2{cursor}")).json
        assert len(page["data"]) == size
        seen += [one["id"] for one in page["data"]]
        cursor = f"&cursor={page['next_cursor']}"
    assert page["next_cursor"] is None
    assert seen == ids[::-1]
    for query, code in (
        ("cursor=nonsense", "invalid_cursor"),
        ("limit=0", "invalid_request"),
        ("x=1", "invalid_request"),
    ):
        answer = await customer.call("GET", f"/v1/webhooks?{query}")
        assert (answer.status, answer.json["code"]) == (422, code)


async def test_other_accounts_endpoints_do_not_exist(customer: Customer, app: ServiceApp, pool: Pool) -> None:
    created = await customer.create(URL)
    stranger = Customer(app)
    path = f"/v1/webhooks/{created['id']}"
    for method, target, body in (
        ("GET", path, None),
        ("PUT", path, {"url": URL, "events": ["*"]}),
        ("DELETE", path, None),
        ("POST", f"{path}/rotate", None),
        ("GET", f"/v1/webhooks/{new_id()}", None),
        ("GET", "/v1/webhooks/1", None),
        ("DELETE", "/v1/webhooks/not-an-id", None),
    ):
        answer = await stranger.call(method, target, body)
        assert (answer.status, answer.json["code"]) == (404, "not_found")
    assert (await stranger.call("GET", "/v1/webhooks")).json["data"] == []
    assert (await customer.call("GET", path)).json["url"] == URL
    assert [entry.action for entry in await audit.list_entries(pool)] == ["webhook.created"]


async def test_a_hundred_endpoints_are_enough(customer: Customer, app: ServiceApp) -> None:
    await asyncio.gather(*(customer.create(URL) for _ in range(MAX_ENDPOINTS - 1)))
    answers = await asyncio.gather(
        *(customer.call("POST", "/v1/webhooks", {"url": URL, "events": ["*"]}) for _ in range(3))
    )
    assert sorted(answer.status for answer in answers) == [201, 409, 409]
    assert {answer.json["code"] for answer in answers if answer.status == 409} == {"too_many_webhooks"}
    await Customer(app).create(URL)  # each account has its own hundred


class TestIdempotencyKey:
    async def test_a_repeated_key_creates_nothing(self, customer: Customer, app: ServiceApp) -> None:
        body = {"url": URL, "events": ["*"], "headers": {"A": "1", "B": "2"}}
        again = {"headers": {"B": "2", "A": "1"}, "events": ["*"], "url": URL}
        created = await customer.call("POST", "/v1/webhooks", body, Idempotency_Key="k1")
        repeated = await customer.call("POST", "/v1/webhooks", again, Idempotency_Key="k1")
        assert (repeated.status, repeated.json["code"]) == (409, "already_created")
        assert created.json["id"] in repeated.json["detail"]
        assert "whsec_" not in repeated.body.decode()
        other = await customer.call("POST", "/v1/webhooks", {**body, "events": ["message.*"]}, Idempotency_Key="k1")
        assert (other.status, other.json["code"]) == (409, "idempotency_key_reused")
        assert len((await customer.call("GET", "/v1/webhooks")).json["data"]) == 1
        assert (await Customer(app).call("POST", "/v1/webhooks", body, Idempotency_Key="k1")).status == 201

    async def test_of_many_at_once_one_creates(self, customer: Customer) -> None:
        body = {"url": URL, "events": ["*"]}
        answers = await asyncio.gather(
            *(customer.call("POST", "/v1/webhooks", body, Idempotency_Key="k") for _ in range(8))
        )
        assert sorted(answer.status for answer in answers) == [201] + [409] * 7

    async def test_a_refused_request_uses_no_key_up(self, customer: Customer) -> None:
        refused = await customer.call("POST", "/v1/webhooks", {"url": "ftp://x", "events": ["*"]}, Idempotency_Key="k")
        assert refused.status == 422
        accepted = await customer.call("POST", "/v1/webhooks", {"url": URL, "events": ["*"]}, Idempotency_Key="k")
        assert accepted.status == 201

    async def test_a_key_is_free_again_after_a_day(self, customer: Customer, pool: Pool) -> None:
        body = {"url": URL, "events": ["*"]}
        await customer.call("POST", "/v1/webhooks", body, Idempotency_Key="k")
        await pool.execute("UPDATE webhooks.idempotency_keys SET created_at = now() - interval '24 hours 1 second'")
        assert (await customer.call("POST", "/v1/webhooks", body, Idempotency_Key="k")).status == 201

    async def test_a_malformed_key(self, customer: Customer) -> None:
        answer = await customer.call("POST", "/v1/webhooks", {"url": URL, "events": ["*"]}, Idempotency_Key="k" * 256)
        assert (answer.status, answer.json["code"]) == (422, "invalid_idempotency_key")


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"events": ["message.*", "message.read"]}, "invalid_request", "events[1]"),
    ({"events": ["order.*"]}, "invalid_request", "events[0]"),
    ({"events": ["message.deliver*"]}, "invalid_request", "events[0]"),
    ({"events": []}, "invalid_request", "events"),
    ({"events": "*"}, "invalid_request", "events"),
    ({"url": "http://169.254.169.254/latest"}, "invalid_url", "url"),
    ({"url": "https://[fe80::1]/"}, "invalid_url", "url"),
    ({"url": "not a url"}, "invalid_url", "url"),
    ({"url": 1}, "invalid_request", "url"),
    ({"url": "https://example.com/" + "a" * 2000}, "invalid_request", "url"),
    ({"secret": "whsec_mine"}, "invalid_request", "secret"),
    ({"enabled": None}, "invalid_request", "enabled"),
    ({"description": "d" * 501}, "invalid_request", "description"),
    ({"description": "a\0b"}, "invalid_request", "description"),
    ({"headers": {"X-A": "a\nb"}}, "invalid_request", "headers.X-A"),
    ({"headers": {"X-A": "é"}}, "invalid_request", "headers.X-A"),
    ({"headers": {"X-A": "v" * 1001}}, "invalid_request", "headers.X-A"),
    ({"headers": {"X A": "v"}}, "invalid_request", "headers.X A"),
    ({"headers": {"": "v"}}, "invalid_request", "headers."),
    ({"headers": {"Host": "v"}}, "invalid_request", "headers.Host"),
    ({"headers": {"content-LENGTH": "0"}}, "invalid_request", "headers.content-LENGTH"),
    ({"headers": {"Content-Type": "text/plain"}}, "invalid_request", "headers.Content-Type"),
    ({"headers": {"User-Agent": "me"}}, "invalid_request", "headers.User-Agent"),
    ({"headers": {"Webhook-Id": "1"}}, "invalid_request", "headers.Webhook-Id"),
    ({"headers": {"Transfer-Encoding": "chunked"}}, "invalid_request", "headers.Transfer-Encoding"),
    ({"headers": {"X-A": "1", "x-a": "2"}}, "invalid_request", "headers.x-a"),
    ({"headers": {f"X-{number}": "1" for number in range(21)}}, "invalid_request", "headers"),
    ({"headers": {"X-A": 1}}, "invalid_request", "headers[]"),
]


async def test_bad_input_is_named(customer: Customer) -> None:
    created = await customer.create(URL)
    for fault, code, field in BAD:
        body = {"url": URL, "events": ["*"], **fault}
        for method, path in (("POST", "/v1/webhooks"), ("PUT", f"/v1/webhooks/{created['id']}")):
            answer = await customer.call(method, path, body)
            assert (answer.status, answer.json["code"]) == (422, code), answer.json
            assert [error["field"] for error in answer.json["errors"]] == [field]
    assert len((await customer.call("GET", "/v1/webhooks")).json["data"]) == 1


async def test_duplicates_collapse_and_every_type_is_known(customer: Customer) -> None:
    assert len(EVENT_TYPES) == 17
    events = list(EVENT_TYPES)
    assert (await customer.create(URL, [*events, *events[::-1]]))["events"] == events


async def test_without_dev_only_the_public_internet(resources: Resources) -> None:
    async with serve(replace(resources, settings=Settings(dev=False))) as handlers:
        customer = Customer(ServiceApp(handlers))
        for url in ("http://example.com/", "https://127.0.0.1/", "https://10.0.0.1:8443/", "https://example.com:22/"):
            answer = await customer.call("POST", "/v1/webhooks", {"url": url, "events": ["*"]})
            assert (answer.status, answer.json["code"]) == (422, "invalid_url")
        await customer.create("https://example.com:8443/")


async def test_nothing_secret_is_readable_in_the_tables(customer: Customer, pool: Pool) -> None:
    first = await customer.create(URL, headers={"Authorization": "Bearer hidden-value"})
    path = f"/v1/webhooks/{first['id']}"
    second = (await customer.call("POST", f"{path}/rotate")).json
    await customer.call("PUT", path, {"url": URL, "events": ["*"], "headers": {"X-Other": "hidden-value"}})
    await customer.call("POST", "/v1/webhooks", {"url": URL, "events": ["*"], "headers": {"X": "hidden-value"}},
                        Idempotency_Key="k")  # fmt: skip
    tables = await pool.fetch(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname IN ('webhooks', 'storage')"
    )
    assert len(tables) > 5
    for (table,) in tables:
        for row in await pool.fetch(f"SELECT t::text, t FROM {table} AS t"):
            text = row[0] + repr(tuple(row[1]))
            for secret in ("hidden-value", first["secret"], second["secret"], first["secret"][6:], "whsec_"):
                assert secret not in text, table
    listed = (await customer.call("GET", "/v1/webhooks")).body.decode()
    assert "hidden-value" not in listed
    assert "whsec_" not in listed
    await customer.call("DELETE", path)
    gone = await pool.fetchrow("SELECT * FROM webhooks.endpoints WHERE deleted_at IS NOT NULL")
    assert (gone["secret"], gone["previous_secret"], gone["headers"]) == (b"", None, None)


async def test_each_change_is_audited(customer: Customer, pool: Pool) -> None:
    created = await customer.create(URL)
    path = f"/v1/webhooks/{created['id']}"
    await customer.call("PUT", path, {"url": "https://example.org/?token=2", "events": ["*"]}, X_Kong_Request_Id="r1")
    await customer.call("POST", f"{path}/rotate")
    await customer.call("DELETE", path, x_consumer_username="ghasi-key", x_credential_identifier="the-key")
    entries = (await audit.list_entries(pool, account_id=customer.account_id))[::-1]
    assert [entry.action for entry in entries] == [
        "webhook.created", "webhook.updated", "webhook.secret_rotated", "webhook.deleted",
    ]  # fmt: skip
    assert [entry.actor for entry in entries] == [f"user:{customer.user_id}"] * 3 + ["key:the-key"]
    assert {entry.subject for entry in entries} == {created["id"]}
    assert (entries[1].request_id, entries[1].detail) == ("r1", '{"changed":["url"]}')


async def test_changes_at_once_do_not_undo_each_other(customer: Customer) -> None:
    created = await customer.create(URL)
    path = f"/v1/webhooks/{created['id']}"
    base = {"url": URL, "events": ["*"]}
    await asyncio.gather(
        *(customer.call("PUT", path, {**base, **more}) for more in ({"description": "d"}, {"enabled": False}) * 4)
    )
    shown = (await customer.call("GET", path)).json
    assert (shown["description"], shown["enabled"]) == ("d", False)
