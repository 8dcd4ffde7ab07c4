"""The account's name and the people's preferences: who may change them, what is refused, and who hears of it."""

from typing import Any
from uuid import UUID
from zoneinfo import available_timezones

import msgspec
import pytest

from ghasi.contract.serving import Caller
from ghasi.contract.values import new_id
from ghasi.storage import audit
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from tests.asgi import Answer
from tests.auth.conftest import Client, caller_of, join


@pytest.fixture
async def owner(client: Client) -> Caller:
    return caller_of(await client.sign_in())


def refused(answer: Answer, status: int, code: str, *fields: str) -> None:
    assert (answer.status, answer.json["code"]) == (status, code), answer.body
    assert [error["field"] for error in answer.json["errors"]] == list(fields)


async def test_an_account_is_shown_with_the_callers_role(client: Client, owner: Caller, pool: Pool) -> None:
    shown = (await client.call(owner, "GET", "/v1/account")).json
    assert shown == {
        "id": str(owner.account_id), "name": "Ada Lovelace", "status": "active", "role": "owner",
        "created_at": shown["created_at"],
    }  # fmt: skip
    member = await join(client, owner, "two@example.com")
    await pool.execute("UPDATE auth.accounts SET status = 'suspended'")
    assert (await client.call(member, "GET", "/v1/account")).json == shown | {"role": "member", "status": "suspended"}


async def test_a_new_name_is_told_to_the_other_services_and_audited(
    client: Client, owner: Caller, pool: Pool, resources: Resources
) -> None:
    rung = resources.bells.event("auth")
    rung.clear()
    renamed = await client.call(owner, "PUT", "/v1/account", json={"name": "  Bakery & <b>Sons</b> "})
    assert (renamed.status, renamed.json["name"]) == (200, "Bakery & <b>Sons</b>")
    assert rung.is_set()
    assert (await client.call(owner, "GET", "/v1/account")).json == renamed.json
    rows = await pool.fetch(
        "SELECT sequence, data::text AS data FROM auth.outbox WHERE type = 'account.updated' ORDER BY sequence"
    )
    states: list[Any] = [msgspec.json.decode(row["data"]) for row in rows]
    assert [(row["sequence"], state["name"]) for row, state in zip(rows, states, strict=True)] == [
        (1, "Ada Lovelace"), (2, "Bakery & <b>Sons</b>"),
    ]  # fmt: skip
    assert states[1] == states[0] | {"name": "Bakery & <b>Sons</b>"}
    entry, *_ = await audit.list_entries(pool, account_id=owner.account_id)
    assert (entry.action, entry.actor, entry.subject) == (
        "account.renamed", f"user:{owner.user_id}", str(owner.account_id),
    )  # fmt: skip
    assert msgspec.json.decode(entry.detail) == {"before": "Ada Lovelace", "after": "Bakery & <b>Sons</b>"}


async def test_a_name_that_nobody_could_read_is_refused(client: Client, owner: Caller) -> None:
    for name in ("", " ", "\u200b", "a\nb", "a\u202eb", "\x7f", "x" * 101):
        refused(await client.call(owner, "PUT", "/v1/account", json={"name": name}), 422, "invalid_request", "name")
    for name in ("نان‌وایی", "👩‍🍳 Bakery", "x" * 100):
        assert (await client.call(owner, "PUT", "/v1/account", json={"name": name})).json["name"] == name


async def test_a_member_may_not_rename(client: Client, owner: Caller, pool: Pool) -> None:
    member = await join(client, owner, "two@example.com")
    refused(await client.call(member, "PUT", "/v1/account", json={"name": "Mine"}), 403, "owner_required")
    assert await pool.fetchval("SELECT name FROM auth.accounts") == "Ada Lovelace"
    assert await pool.fetchval("SELECT count(*) FROM auth.outbox WHERE type = 'account.updated'") == 1


async def test_preferences_are_the_callers_own(client: Client, owner: Caller) -> None:
    member = await join(client, owner, "two@example.com")
    nothing = {"time_zone": None, "locale": None}
    assert (await client.call(member, "GET", "/v1/preferences")).json == nothing
    for chosen in ({"time_zone": "Asia/Kabul", "locale": "fa-AF"}, {"time_zone": "UTC", "locale": None}):
        answer = await client.call(member, "PUT", "/v1/preferences", json=chosen)
        assert (answer.status, answer.json) == (200, chosen)
        assert (await client.call(member, "GET", "/v1/preferences")).json == chosen
    assert (await client.call(owner, "GET", "/v1/preferences")).json == nothing


async def test_every_zone_of_the_database_is_known_and_nothing_else(client: Client, owner: Caller) -> None:
    async def put(time_zone: str) -> Answer:
        return await client.call(owner, "PUT", "/v1/preferences", json={"time_zone": time_zone, "locale": None})

    assert {"UTC", "Asia/Kabul", "America/Argentina/ComodRivadavia"} <= available_timezones()
    for zone in ("UTC", "Asia/Kabul", "America/Argentina/ComodRivadavia", "Etc/GMT+5"):
        assert (await put(zone)).status == 200, zone
    for zone in (
        "Mars/Olympus", "asia/kabul", "Asia", "Asia/Kabul ", "../../etc/passwd", "/etc/localtime", "localtime",
        "Factory", "posix/UTC", "+04:30", "", "x" * 65,
    ):  # fmt: skip
        refused(await put(zone), 422, "invalid_request", "time_zone")


async def test_a_locale_has_the_form_of_a_language_tag(client: Client, owner: Caller) -> None:
    async def put(locale: str) -> Answer:
        return await client.call(owner, "PUT", "/v1/preferences", json={"time_zone": None, "locale": locale})

    for locale in (
        "en", "en-GB", "fa-AF", "zh-Hant-TW", "es-419", "sr-Latn-RS", "de-DE-1996", "ps", "en-u-hc-h23", "zh-yue-HK",
        "sl-rozaj-biske", "en-x-private",
    ):  # fmt: skip
        assert (await put(locale)).json["locale"] == locale
    for locale in (
        "e", "en_GB", "en-", "-en", "en--GB", "en GB", "en-u", "123", "x", "<script>", "en-GB\n", "\u0667\u0667", "fré",
        "en-x", "a" * 36, "C.UTF-8", "\u212an", "en-\u017fe",
    ):  # fmt: skip
        refused(await put(locale), 422, "invalid_request", "locale")


async def test_strangers_and_keys_see_and_change_nothing(client: Client, owner: Caller, pool: Pool) -> None:
    calls: tuple[tuple[str, str, Any], ...] = (
        ("GET", "/v1/account", None), ("PUT", "/v1/account", {"name": "Mine"}), ("GET", "/v1/preferences", None),
        ("PUT", "/v1/preferences", {"time_zone": None, "locale": "en"}),
    )  # fmt: skip
    other = caller_of(await client.sign_in(sub="another"))
    before = await pool.fetch("SELECT accounts::text FROM auth.accounts UNION SELECT users::text FROM auth.users")
    for method, path, body in calls:
        key = Caller(owner.account_id, owner.user_id, True, "key")
        refused(await client.call(key, method, path, json=body), 403, "user_required")
        for account_id, user_id in (
            (owner.account_id, new_id()), (owner.account_id, other.user_id), (new_id(), owner.user_id),
            (UUID(int=0), UUID(int=0)),
        ):  # fmt: skip
            stranger = Caller(account_id, user_id, False, "")
            refused(await client.call(stranger, method, path, json=body), 401, "user_not_found")
    assert before == await pool.fetch(
        "SELECT accounts::text FROM auth.accounts UNION SELECT users::text FROM auth.users"
    )
