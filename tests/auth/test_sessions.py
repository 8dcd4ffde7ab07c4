"""Signing in and staying signed in: one account however many come at once, and refresh tokens that are used once."""

import asyncio
import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import jwt
import pytest

from ghasi.auth import service
from ghasi.auth.routes import serve
from ghasi.auth.service import Authority
from ghasi.contract.claims import CLAIMS, EXTRA_CLAIMS
from ghasi.contract.errors import Problem
from ghasi.contract.serving import Caller, ServiceApp
from ghasi.contract.values import new_id
from ghasi.storage import audit
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from ghasi.storage.sealing import Sealer, new_secret_key
from tests.asgi import request
from tests.auth.conftest import PORTAL, Client, Configure, SignIn, caller_of, cookie_of, identity, make_authority
from tests.auth.identity_provider import IdentityProvider, id_token, unsigned_token

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
S = timedelta(seconds=1)
DAY = timedelta(days=1)


async def refused(authority: Authority, token: str, now: datetime) -> None:
    with pytest.raises(Problem) as caught:
        await service.refresh(authority, token, now=now)
    assert caught.value.code == "invalid_refresh_token"
    assert caught.value.status == 401


# signing in


async def test_a_first_sign_in_makes_account_and_user(client: Client, pool: Pool) -> None:
    answer = await client.sign_in()
    assert answer.status == 200
    session = answer.json
    assert session["token_type"] == "Bearer"
    assert session["expires_in"] == 900
    assert session["user"] == {
        "id": session["user"]["id"], "email": "ada@example.com", "name": "Ada Lovelace", "roles": ["customer"],
    }  # fmt: skip
    assert session["account"]["name"] == "Ada Lovelace"
    assert answer.header("cache-control") == "no-store"
    event = await pool.fetchrow(
        "SELECT type, account_id, subject_id, sequence, data::text FROM auth.outbox WHERE type = 'account.updated'"
    )
    assert event is not None
    account_id = UUID(session["account"]["id"])
    assert tuple(event)[:4] == ("account.updated", account_id, account_id, 1)
    assert event["data"] == (
        f'{{"id":"{account_id}","name":"Ada Lovelace","status":"active","countries":null,"daily_cap":null}}'
    )
    [entry] = await audit.list_entries(pool, account_id=account_id)
    assert (entry.action, entry.actor) == ("account.created", f"user:{session['user']['id']}")


async def test_a_later_sign_in_updates_the_person_and_makes_nothing(client: Client, pool: Pool) -> None:
    first = (await client.sign_in()).json
    second = (await client.sign_in(email="countess@example.com", name="Countess of Lovelace")).json
    assert second["user"] | {"email": "", "name": ""} == first["user"] | {"email": "", "name": ""}
    assert (second["user"]["email"], second["user"]["name"]) == ("countess@example.com", "Countess of Lovelace")
    assert second["account"] == first["account"]  # the account's name is its own
    assert await pool.fetchval("SELECT count(*) FROM auth.outbox") == 2


async def test_people_are_told_apart_by_subject_and_never_by_email(client: Client) -> None:
    first, second = (await client.sign_in(sub="one")).json, (await client.sign_in(sub="two")).json
    assert first["user"]["email"] == second["user"]["email"]
    assert first["account"]["id"] != second["account"]["id"]


async def test_an_account_is_named_as_well_as_can_be(client: Client) -> None:
    for subject, changed, name in (
        ("1", {"name": None}, "ada"), ("2", {"name": " "}, "ada"), ("3", {"name": None, "email": None}, "Customer"),
    ):  # fmt: skip
        assert (await client.sign_in(sub=subject, **changed)).json["account"]["name"] == name


async def test_first_sign_ins_at_once_make_one_account(resources: Resources, pool: Pool) -> None:
    processes = [make_authority(resources) for _ in range(2)]
    sessions = await asyncio.gather(
        *(
            service.sign_in(processes[index % 2], identity(), now=NOW, request_id=f"request-{index}")
            for index in range(16)
        )
    )
    assert len({(one.session.account.id, one.session.user.id) for one in sessions}) == 1
    assert len({one.refresh_token for one in sessions}) == 16
    for table, made in (("accounts", 1), ("users", 1), ("outbox", 2), ("signing_keys", 1)):
        assert await pool.fetchval(f"SELECT count(*) FROM auth.{table}") == made, table


async def test_bad_and_unverifiable_tokens_have_their_own_answers(client: Client, provider: IdentityProvider) -> None:
    expired = await client.sign_in(exp=1)
    assert (expired.status, expired.json["code"]) == (401, "invalid_id_token")
    assert "exp" in expired.json["detail"]
    assert (await client.sign_in("garbage")).json["code"] == "invalid_id_token"
    for body in ({}, {"id_token": ""}, {"id_token": 7}, {"id_token": "x" * 16385}, {"id_token": "x", "more": 1}):
        answer = await request(client.app, "POST", "/v1/auth/firebase", json=body)
        assert (answer.status, answer.json["code"]) == (422, "invalid_request"), body


async def test_without_certificates_or_project_it_is_unavailable(
    configure: Configure, provider: IdentityProvider
) -> None:
    async with serve(configure(firebase_project_id=None)) as handlers:
        answer = await Client(ServiceApp(handlers)).sign_in()
        assert (answer.status, answer.json["code"]) == (503, "identity_unavailable")
    await provider.stop()
    async with serve(configure()) as handlers:
        answer = await Client(ServiceApp(handlers)).sign_in()
        assert (answer.status, answer.json["code"]) == (503, "identity_unavailable")


async def test_the_emulators_tokens_need_three_settings(configure: Configure) -> None:
    for dev, allowed, host, status in (
        (True, True, "127.0.0.1:9099", 200), (False, True, "127.0.0.1:9099", 401),
        (True, False, "127.0.0.1:9099", 401), (True, True, None, 401),
    ):  # fmt: skip
        settings = {"dev": dev, "allow_unsigned_emulator": allowed, "firebase_auth_emulator_host": host}
        async with serve(configure(**settings)) as handlers:
            emulated = Client(ServiceApp(handlers))
            assert (await emulated.sign_in(unsigned_token())).status == status, settings
            assert (await emulated.sign_in(unsigned_token(exp=1))).status == 401
            assert (await emulated.sign_in(id_token())).status == 200


# the access token


async def test_the_access_token_has_the_contracts_claims_and_verifies_by_the_key_set(client: Client) -> None:
    session = (await client.sign_in()).json
    answer = await request(client.app, "GET", "/.well-known/jwks.json")
    assert answer.status == 200
    assert answer.header("cache-control") == "public, max-age=5"
    [key] = jwt.PyJWKSet.from_dict(answer.json).keys
    header = jwt.get_unverified_header(session["access_token"])
    assert (header["kid"], header["alg"]) == (key.key_id, "RS256")
    claims = jwt.decode(session["access_token"], key, algorithms=["RS256"], issuer="https://api.ghasi.io")
    described = {claim.name for claim in (*CLAIMS, *EXTRA_CLAIMS)}
    assert set(claims) == described - {"locale", "zoneinfo"}, "those are the browser's until they are set"
    assert (claims["name"], claims["account_name"]) == ("Ada Lovelace", "Ada Lovelace")
    assert claims["sub"] == session["user"]["id"]
    assert claims["account_id"] == session["account"]["id"]
    assert (claims["email"], claims["roles"]) == ("ada@example.com", ["customer"])
    assert claims["exp"] - claims["iat"] == 900
    assert "d" not in answer.json["keys"][0]


async def test_the_access_token_carries_what_was_set_from_the_next_refresh_on(client: Client) -> None:
    session = await client.sign_in()
    caller = caller_of(session)
    assert (await client.call(caller, "PUT", "/v1/account", json={"name": "نان‌وایی کابل"})).status == 200
    preferences = {"time_zone": "Asia/Kabul", "locale": "fa-AF"}
    assert (await client.call(caller, "PUT", "/v1/preferences", json=preferences)).status == 200
    renewed = await client.refresh(cookie_of(session))
    claims = jwt.decode(renewed.json["access_token"], options={"verify_signature": False})
    assert (claims["account_name"], claims["locale"], claims["zoneinfo"]) == ("نان‌وایی کابل", "fa-AF", "Asia/Kabul")
    assert set(claims) == {claim.name for claim in (*CLAIMS, *EXTRA_CLAIMS)}
    preferences = {"time_zone": None, "locale": None}
    assert (await client.call(caller, "PUT", "/v1/preferences", json=preferences)).json == preferences
    claims = jwt.decode(
        (await client.refresh(cookie_of(renewed))).json["access_token"], options={"verify_signature": False}
    )
    assert not {"locale", "zoneinfo"} & set(claims)


async def test_the_longest_access_token_fits_into_a_cookie(client: Client, pool: Pool) -> None:
    session = await client.sign_in(email=f"{'a' * 308}@example.com", name="\U0001f35e" * 200)
    await pool.execute(
        "UPDATE auth.users SET name = $1, time_zone = 'America/Argentina/ComodRivadavia', locale = $2",
        "\U0001f35e" * 320,
        "x" * 35,
    )
    await pool.execute("UPDATE auth.accounts SET name = $1", "\U0001f35e" * 100)
    token = (await client.refresh(cookie_of(session))).json["access_token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["name"] == claims["account_name"] == "\U0001f35e" * 100
    assert len(claims["email"]) == 320
    assert len(token) < 3000


async def test_me_is_what_the_database_knows(client: Client, pool: Pool) -> None:
    first = await client.sign_in()
    caller = caller_of(first)
    await client.sign_in(name="Ada King")
    answer = await client.call(caller, "GET", "/v1/auth/me")
    assert answer.status == 200
    assert answer.json == {"user": first.json["user"] | {"name": "Ada King"}, "account": first.json["account"]}


async def test_me_is_refused_to_keys_and_to_users_that_are_gone(client: Client) -> None:
    caller = caller_of(await client.sign_in())
    key = Caller(caller.account_id, caller.user_id, True, "key")
    assert (await client.call(key, "GET", "/v1/auth/me")).json["code"] == "user_required"
    for gone in (Caller(caller.account_id, new_id(), False, ""), Caller(new_id(), caller.user_id, False, "")):
        answer = await client.call(gone, "GET", "/v1/auth/me")
        assert (answer.status, answer.json["code"]) == (401, "user_not_found")
    assert (await request(client.app, "GET", "/v1/auth/me")).json["code"] == "not_from_gateway"


# refreshing


async def test_a_refresh_gives_a_new_token_of_the_person_as_they_are_now(client: Client) -> None:
    first = await client.sign_in()
    await client.sign_in(name="Ada King")
    second = await client.refresh(cookie_of(first))
    assert second.status == 200
    assert second.json["user"]["name"] == "Ada King"
    assert (
        jwt.decode(second.json["access_token"], options={"verify_signature": False})["sub"] == first.json["user"]["id"]
    )
    assert cookie_of(second) != cookie_of(first)
    assert (await client.refresh(cookie_of(second))).status == 200


async def test_two_tabs_that_refresh_at_once_stay_signed_in(client: Client) -> None:
    cookie = cookie_of(await client.sign_in())
    for _ in range(100):
        one, two = await asyncio.gather(client.refresh(cookie), client.refresh(cookie))
        assert (one.status, two.status) == (200, 200)
        assert cookie_of(one) == cookie_of(two) != cookie
        cookie = cookie_of(one)


async def test_a_used_token_gives_its_successor_again_for_30_seconds(authority: Authority, signed_in: SignIn) -> None:
    token = (await signed_in(now=NOW)).refresh_token
    successor = await service.refresh(authority, token, now=NOW + 10 * S)
    again = await service.refresh(authority, token, now=NOW + 40 * S)
    assert again.refresh_token == successor.refresh_token
    assert again.refresh_until == successor.refresh_until
    assert (await service.refresh(authority, again.refresh_token, now=NOW + 40 * S)).refresh_token


async def test_a_replay_after_the_window_revokes_the_family(authority: Authority, signed_in: SignIn) -> None:
    token = (await signed_in(now=NOW)).refresh_token
    other = (await signed_in(now=NOW)).refresh_token
    successor = (await service.refresh(authority, token, now=NOW)).refresh_token
    await refused(authority, token, NOW + 31 * S)
    await refused(authority, successor, NOW + 32 * S)
    # another sign-in of the same person is another family
    await service.refresh(authority, other, now=NOW + 33 * S)


async def test_a_replay_after_the_successor_was_used_is_refused_and_no_more(
    authority: Authority, signed_in: SignIn
) -> None:
    first = (await signed_in(now=NOW)).refresh_token
    second = (await service.refresh(authority, first, now=NOW)).refresh_token
    third = (await service.refresh(authority, second, now=NOW + S)).refresh_token
    await refused(authority, first, NOW + 2 * S)
    fourth = (await service.refresh(authority, third, now=NOW + 3 * S)).refresh_token
    # the same token beyond its window takes all down
    await refused(authority, first, NOW + 31 * S)
    await refused(authority, fourth, NOW + 31 * S)


async def test_a_refresh_token_is_good_for_30_idle_days(authority: Authority, signed_in: SignIn) -> None:
    token = (await signed_in(now=NOW)).refresh_token
    await refused(authority, token, NOW + 30 * DAY)
    renewed = await service.refresh(authority, token, now=NOW + 30 * DAY - S)
    assert renewed.refresh_until == NOW + 60 * DAY - S
    await refused(authority, renewed.refresh_token, renewed.refresh_until)


async def test_a_sign_in_is_good_for_90_days_however_busy(authority: Authority, signed_in: SignIn) -> None:
    token, at, ends = (await signed_in(now=NOW)).refresh_token, NOW, NOW + 90 * DAY
    for _ in range(3):
        at += 29 * DAY
        renewed = await service.refresh(authority, token, now=at)
        token = renewed.refresh_token
    assert renewed.refresh_until == ends
    last = (await service.refresh(authority, token, now=ends - S)).refresh_token
    await refused(authority, last, ends)
    await refused(authority, token, ends)  # a replay within its window is over as well


async def test_a_token_that_nobody_issued_is_refused(client: Client) -> None:
    for cookie in ("made-up", "x" * 5000, "\u00e9"):
        answer = await client.refresh(cookie)
        assert (answer.status, answer.json["code"]) == (401, "invalid_refresh_token")
        assert answer.header("set-cookie") is None  # another tab may have just been given a good one
    for missing in (None, ""):
        assert (await client.refresh(missing)).json["code"] == "refresh_token_missing"


async def test_under_another_secret_key_a_replay_is_refused_and_no_more(
    authority: Authority, signed_in: SignIn, resources: Resources
) -> None:
    token = (await signed_in(now=NOW)).refresh_token
    successor = (await service.refresh(authority, token, now=NOW)).refresh_token
    other = Authority(
        resources.pool, authority.keys, Sealer(new_secret_key()).derive("refresh-token"), "iss", lambda: None
    )
    await refused(other, token, NOW + S)
    assert (await service.refresh(other, successor, now=NOW + S)).session.expires_in == 900


async def test_a_key_put_in_front_signs_nobody_out(
    authority: Authority, signed_in: SignIn, resources: Resources
) -> None:
    """An answer that was lost while the services restarted with a new key is given again, by old and new ones."""
    old, new = new_secret_key(), new_secret_key()
    one, behind, front, after = (
        replace(authority, successor_keys=Sealer(keys).derive("refresh-token"))
        for keys in (old, f"{old},{new}", f"{new},{old}", new)
    )
    token = (await signed_in(now=NOW)).refresh_token
    given = await service.refresh(one, token, now=NOW)
    for server in (behind, front):
        again = await service.refresh(server, token, now=NOW + S)
        assert (again.refresh_token, again.refresh_until) == (given.refresh_token, given.refresh_until)
    # what the new key makes, a server that seals with the old one still gives again
    made = await service.refresh(front, given.refresh_token, now=NOW + 2 * S)
    for server in (behind, front, after):
        assert (await service.refresh(server, given.refresh_token, now=NOW + 3 * S)).refresh_token == made.refresh_token
    # used up, it is refused under every key, and later ends the family
    await service.refresh(after, made.refresh_token, now=NOW + 4 * S)
    await refused(front, given.refresh_token, NOW + 5 * S)
    await refused(front, token, NOW + 60 * S)
    await refused(after, made.refresh_token, NOW + 61 * S)


async def test_suspension_does_not_sign_anyone_out(authority: Authority, signed_in: SignIn, pool: Pool) -> None:
    token = (await signed_in(now=NOW)).refresh_token
    await pool.execute("UPDATE auth.accounts SET status = 'suspended'")
    assert (await service.refresh(authority, token, now=NOW)).session.expires_in == 900
    assert (await signed_in(now=NOW)).session.expires_in == 900


# the cookie and origins


async def test_the_cookie_on_http(client: Client) -> None:
    header = (await client.sign_in()).header("set-cookie") or ""
    name, *attributes = header.split("; ")
    assert name.startswith("ghasi_refresh=")
    assert attributes == ["Path=/", "Max-Age=2592000", "HttpOnly", "SameSite=Lax"]


async def test_the_cookie_on_https(configure: Configure) -> None:
    settings = {"api_url": "https://api.ghasi.io", "portal_url": "https://portal.ghasi.io"}
    async with serve(configure(**settings)) as handlers:
        client, name = Client(ServiceApp(handlers)), "__Host-ghasi_refresh"
        answer = await client.sign_in()
        header = answer.header("set-cookie") or ""
        assert header.startswith(f"{name}=")
        assert header.endswith("; Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax; Secure")
        # a cookie that another host could have set does not count
        assert (await client.refresh(cookie_of(answer))).json["code"] == "refresh_token_missing"
        for origin in ("https://portal.ghasi.io", "https://api.ghasi.io:443", None):
            assert (await client.refresh(cookie_of(answer), name=name, origin=origin)).status == 200
        for origin in ("http://portal.ghasi.io", "https://ghasi.io", "https://portal.ghasi.io:8443"):
            assert (await client.refresh(cookie_of(answer), name=name, origin=origin)).status == 403


async def test_a_foreign_origin_neither_refreshes_nor_signs_out(client: Client) -> None:
    cookie = cookie_of(await client.sign_in())
    for origin in ("null", "", "https://evil.example", "http://127.0.0.1:3001", "http://[", "\u00e9"):
        for act in (client.refresh, client.sign_out):
            answer = await act(cookie, origin=origin)
            assert (answer.status, answer.json["code"]) == (403, "foreign_origin"), origin
            assert answer.header("set-cookie") is None
    assert (await client.refresh(cookie, origin=PORTAL)).status == 200


async def test_signing_out_ends_the_family_and_may_be_repeated(client: Client) -> None:
    old = cookie_of(await client.sign_in())
    new = cookie_of(await client.refresh(old))
    other = cookie_of(await client.sign_in())
    for cookie in (old, new, "made-up", None):
        answer = await client.sign_out(cookie, origin=PORTAL)
        assert answer.status == 204
        assert answer.body == b""
        assert answer.header("set-cookie") == "ghasi_refresh=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"
    for cookie in (old, new):
        assert (await client.refresh(cookie)).status == 401
    assert (await client.refresh(other)).status == 200


async def test_cookies_may_come_in_several_headers(client: Client) -> None:
    cookie = cookie_of(await client.sign_in())
    headers = [("cookie", "a=b"), ("cookie", f"c=d;ghasi_refresh={cookie};e")]
    assert (await request(client.app, "POST", "/v1/auth/refresh", headers=headers)).status == 200


async def test_refresh_tokens_are_kept_as_hashes(client: Client, pool: Pool) -> None:
    cookie = cookie_of(await client.sign_in())
    assert await pool.fetchval("SELECT hash FROM auth.refresh_tokens") == hashlib.sha256(cookie.encode()).digest()
