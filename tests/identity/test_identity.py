"""The local identity server over a real socket and a real database."""

import asyncio
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import aiohttp
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from ghasi.identity.app import ACCOUNTS, TOKEN, identity_app
from ghasi.identity.keys import open_keys
from ghasi.identity.passwords import ADDRESSES_WATCHED, ATTEMPTS, ATTEMPTS_WINDOW_S, Attempts, Passwords
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from ghasi.storage.sealing import Sealer, SealError, new_secret_key
from tests.identity.conftest import EMAIL, PASSWORD, Identity, credentials, refresh
from tests.live import live

DEEP = b'{"x":%s1%s}' % (b"[" * 5000, b"]" * 5000)


async def test_sign_up_gives_firebases_answer_and_a_verifiable_token(identity: Identity) -> None:
    before = int(time.time())
    answer = await identity.sign_up("Ann@Example.com", displayName="Ann")
    assert set(answer) == {"kind", "localId", "email", "displayName", "idToken", "refreshToken", "expiresIn"}
    assert answer["kind"] == "identitytoolkit#SignupNewUserResponse"
    assert (answer["email"], answer["displayName"], answer["expiresIn"]) == (EMAIL, "Ann", "3600")
    claims = await identity.claims(answer["idToken"])
    assert before <= claims["iat"] == claims["auth_time"] <= time.time()
    assert claims["exp"] == claims["iat"] + 3600
    assert claims["sub"] == claims["user_id"] == answer["localId"]
    assert {name: claims[name] for name in ("email", "email_verified", "name", "firebase")} == {
        "email": EMAIL,
        "email_verified": False,
        "name": "Ann",
        "firebase": {"identities": {"email": [EMAIL]}, "sign_in_provider": "password"},
    }


async def test_sign_in_compares_addresses_without_case(identity: Identity) -> None:
    created = await identity.sign_up()
    status, answer = await identity.post(
        "signInWithPassword", {"email": "ANN@example.COM", "password": PASSWORD, "clientType": "CLIENT_TYPE_WEB"}
    )
    assert status == 200
    assert answer["kind"] == "identitytoolkit#VerifyPasswordResponse"
    assert answer["registered"] is True
    assert (answer["localId"], answer["email"], answer["displayName"]) == (created["localId"], EMAIL, "")
    assert answer["refreshToken"] != created["refreshToken"]
    claims = await identity.claims(answer["idToken"])
    assert claims["sub"] == created["localId"]
    assert "name" not in claims


async def test_lookup(identity: Identity) -> None:
    created = await identity.sign_up(displayName="Ann")
    status, answer = await identity.post("lookup", {"idToken": created["idToken"]})
    assert status == 200
    assert answer["kind"] == "identitytoolkit#GetAccountInfoResponse"
    (user,) = answer["users"]
    assert (user["localId"], user["email"], user["displayName"]) == (created["localId"], EMAIL, "Ann")
    assert (user["emailVerified"], user["disabled"]) == (False, False)
    assert user["providerUserInfo"][0]["providerId"] == "password"
    assert abs(int(user["createdAt"]) / 1000 - time.time()) < 60
    assert not {"passwordHash", "salt"} & set(user)


async def test_update_changes_the_name(identity: Identity) -> None:
    created = await identity.sign_up()
    update = {"idToken": created["idToken"], "displayName": "Ann Rahimi", "returnSecureToken": True}
    status, answer = await identity.post("update", update)
    assert (status, answer["displayName"]) == (200, "Ann Rahimi")
    assert (await identity.claims(answer["idToken"]))["name"] == "Ann Rahimi"
    assert (await identity.post("token", refresh(created)))[0] == 200
    status, answer = await identity.post("update", {"idToken": created["idToken"], "deleteAttribute": ["DISPLAY_NAME"]})
    assert status == 200
    assert not {"displayName", "idToken", "refreshToken"} & set(answer)


async def test_a_new_password_ends_earlier_sign_ins(identity: Identity) -> None:
    created = await identity.sign_up()
    status, answer = await identity.post("update", {"idToken": created["idToken"], "password": "another horse"})
    assert status == 200
    assert await identity.refused("token", refresh(created)) == "TOKEN_EXPIRED"
    assert (await identity.post("token", refresh(answer)))[0] == 200
    assert await identity.refused("signInWithPassword", credentials()) == "INVALID_LOGIN_CREDENTIALS"
    assert (await identity.post("signInWithPassword", credentials(password="another horse")))[0] == 200


async def test_id_tokens_from_before_a_new_password_are_refused(identity: Identity, pool: Pool) -> None:
    created = await identity.sign_up()
    await pool.execute("UPDATE identity.users SET valid_since = now() + interval '1 minute'")
    assert await identity.refused("lookup", {"idToken": created["idToken"]}) == "TOKEN_EXPIRED"


async def test_refresh_gives_a_new_token_of_the_same_sign_in(identity: Identity, pool: Pool) -> None:
    created = await identity.sign_up()
    await pool.execute("UPDATE identity.refresh_tokens SET auth_time = auth_time - interval '2 hours'")
    fields = refresh(created)
    camel = {"grantType": fields["grant_type"], "refreshToken": fields["refresh_token"]}
    for body in ({"json": fields}, {"json": camel}, {"json": None, "data": fields}):
        status, answer = await identity.post("token", None, **body)
        assert status == 200
        assert set(answer) == {
            "access_token", "expires_in", "token_type", "refresh_token", "id_token", "user_id", "project_id",
        }  # fmt: skip
        assert (answer["expires_in"], answer["token_type"], answer["project_id"]) == ("3600", "Bearer", "demo-ghasi")
        assert (answer["user_id"], answer["refresh_token"]) == (created["localId"], created["refreshToken"])
        claims = await identity.claims(answer["id_token"])
        assert claims["iat"] - claims["auth_time"] >= 7200


async def test_keys_users_and_tokens_outlive_a_restart(resources: Resources, pool: Pool) -> None:
    async with aiohttp.ClientSession() as http:
        async with live(identity_app(resources)) as url:
            before = Identity(url, http)
            created, certificates = await before.sign_up(), await before.certificates()
        async with live(identity_app(resources)) as url:
            after = Identity(url, http)
            assert await after.certificates() == certificates
            assert (await after.claims(created["idToken"]))["email"] == EMAIL
            assert (await after.post("signInWithPassword", credentials()))[0] == 200
            assert (await after.post("token", refresh(created)))[0] == 200
    assert await pool.fetchval("SELECT count(*) FROM identity.signing_keys") == 1
    with pytest.raises(SealError):
        async with identity_app(replace(resources, sealer=Sealer(new_secret_key()))).router.lifespan_context(
            SimpleNamespace(state=SimpleNamespace())
        ):
            pass


async def test_two_starts_at_once_make_one_key(resources: Resources, pool: Pool) -> None:
    first, second = await asyncio.gather(*(open_keys(pool, resources.sealer, "demo-ghasi") for _ in range(2)))
    assert first.certificates == second.certificates
    assert await pool.fetchval("SELECT count(*) FROM identity.signing_keys") == 1


ERRORS: list[tuple[str, Any, str]] = [
    ("signUp", {"email": "ann", "password": PASSWORD}, "INVALID_EMAIL"),
    ("signUp", {"email": "a b@example.com", "password": PASSWORD}, "INVALID_EMAIL"),
    ("signUp", {"email": "a\0@example.com", "password": PASSWORD}, "INVALID_EMAIL"),
    ("signUp", {"email": f"{'a' * 300}@example.com", "password": PASSWORD}, "INVALID_EMAIL"),
    ("signUp", {"password": PASSWORD}, "MISSING_EMAIL"),
    ("signUp", {"email": "new@example.com"}, "MISSING_PASSWORD"),
    ("signUp", {}, "OPERATION_NOT_ALLOWED : Anonymous sign-in is not supported"),
    (
        "signUp",
        {"email": "new@example.com", "password": "short"},
        "WEAK_PASSWORD : Password should be at least 6 characters",
    ),
    (
        "signUp",
        {"email": "new@example.com", "password": "x" * 5000},
        "PASSWORD_DOES_NOT_MEET_REQUIREMENTS : At most 4096 characters",
    ),
    (
        "signUp",
        {"email": "new@example.com", "password": PASSWORD, "displayName": "A\0"},
        "INVALID_DISPLAY_NAME : At most 256 characters, none of them NUL",
    ),
    ("signUp", {"email": "ANN@example.com", "password": "yet another"}, "EMAIL_EXISTS"),
    ("signUp", {"email": 5}, "INVALID_ARGUMENT : Expected `str | null`, got `int` - at `$.email`"),
    ("signInWithPassword", {"password": PASSWORD}, "MISSING_EMAIL"),
    ("signInWithPassword", {"email": EMAIL}, "MISSING_PASSWORD"),
    ("signInWithPassword", {"email": "@", "password": PASSWORD}, "INVALID_EMAIL"),
    ("signInWithPassword", {"email": EMAIL, "password": "wrong one"}, "INVALID_LOGIN_CREDENTIALS"),
    ("signInWithPassword", {"email": "no@example.com", "password": PASSWORD}, "INVALID_LOGIN_CREDENTIALS"),
    ("lookup", {}, "INVALID_ID_TOKEN"),
    ("lookup", {"idToken": "a.b.c"}, "INVALID_ID_TOKEN"),
    ("update", {"idToken": "garbage", "displayName": "x"}, "INVALID_ID_TOKEN"),
    ("token", {}, "INVALID_GRANT_TYPE"),
    ("token", {"grant_type": "password"}, "INVALID_GRANT_TYPE"),
    ("token", {"grant_type": "refresh_token"}, "MISSING_REFRESH_TOKEN"),
    ("token", {"grant_type": "refresh_token", "refresh_token": "guess\0"}, "INVALID_REFRESH_TOKEN"),
]


async def test_errors(identity: Identity) -> None:
    await identity.sign_up()
    for action, body, message in ERRORS:
        assert await identity.refused(action, body) == message


async def test_errors_of_a_token_that_was_good_once(identity: Identity, pool: Pool) -> None:
    created = await identity.sign_up()
    for change, message in (
        ({"email": "new@example.com"}, "OPERATION_NOT_ALLOWED : This server changes the name and the password alone"),
        ({"password": "short"}, "WEAK_PASSWORD : Password should be at least 6 characters"),
    ):
        assert await identity.refused("update", {"idToken": created["idToken"], **change}) == message

    await pool.execute("UPDATE identity.refresh_tokens SET auth_time = auth_time - interval '10 minutes'")
    await pool.execute("UPDATE identity.users SET valid_since = valid_since - interval '1 hour'")
    old = (await identity.post("token", refresh(created)))[1]["id_token"]
    change = {"idToken": old, "password": "another horse"}
    assert await identity.refused("update", change) == "CREDENTIAL_TOO_OLD_LOGIN_AGAIN"

    claims, header = jwt.decode(old, options={"verify_signature": False}), jwt.get_unverified_header(old)
    other_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    for forged in (
        jwt.encode(claims, other_key, algorithm="RS256", headers=header),
        jwt.encode(claims, None, algorithm="none", headers={"kid": header["kid"]}),
        jwt.encode(claims, other_key, algorithm="RS256", headers={"kid": "unknown"}),
    ):
        assert await identity.refused("lookup", {"idToken": forged}) == "INVALID_ID_TOKEN"

    await pool.execute("UPDATE identity.users SET disabled = true")
    for action, body in (
        ("lookup", {"idToken": old}),
        ("update", {"idToken": old, "displayName": "x"}),
        ("token", refresh(created)),
        ("signInWithPassword", credentials()),
    ):
        assert await identity.refused(action, body) == "USER_DISABLED"
    assert await identity.refused("signInWithPassword", credentials(password="wrong one")) == (
        "INVALID_LOGIN_CREDENTIALS"
    )
    await pool.execute("DELETE FROM identity.users")
    assert await identity.refused("lookup", {"idToken": old}) == "USER_NOT_FOUND"
    assert await identity.refused("token", refresh(created)) == "INVALID_REFRESH_TOKEN"


async def test_expired_tokens_are_refused(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ghasi.identity.keys.ID_TOKEN_LIFE_S", -1)
    created = await identity.sign_up()
    assert await identity.refused("lookup", {"idToken": created["idToken"]}) == "TOKEN_EXPIRED"


async def test_bodies_that_are_none(identity: Identity) -> None:
    for body, status, message in (
        (b"{", 400, "Invalid JSON payload received."),
        (b'{"email":"\xff"}', 400, "Invalid JSON payload received."),
        (b'{"email":"\\ud800"}', 400, "Invalid JSON payload received."),
        (DEEP, 400, "Invalid JSON payload received."),
        (b"[]", 400, "INVALID_ARGUMENT : Expected `object`, got `array`"),
        (b'{"email":"%s"}' % (b"a" * 70_000), 413, "REQUEST_TOO_LARGE : At most 65536 bytes"),
    ):
        async with identity.http.post(f"{identity.url}{ACCOUNTS}:signUp", data=body) as answer:
            assert (answer.status, (await answer.json())["error"]["message"]) == (status, message)


async def test_refresh_bodies_that_are_nested_deep(identity: Identity) -> None:
    headers = {"content-type": "application/json"}
    async with identity.http.post(identity.url + TOKEN, data=DEEP, headers=headers) as answer:
        assert (answer.status, (await answer.json())["error"]["message"]) == (400, "Invalid JSON payload received.")


async def test_a_body_that_stops_is_answered_408(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ghasi.identity.app.BODY_S", 0.1)
    host, port = identity.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST %s:signUp HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{" % ACCOUNTS.encode())
    async with asyncio.timeout(5):
        came = await reader.read()  # to the end: the connection is closed
    writer.close()
    assert came.startswith(b"HTTP/1.1 408 ")
    assert b"REQUEST_TIMEOUT" in came


async def test_a_slash_more_leads_nowhere(identity: Identity) -> None:
    async with identity.http.get(f"{identity.url}/healthz/", allow_redirects=False) as answer:
        assert answer.status == 404


async def test_other_paths_and_methods(identity: Identity) -> None:
    async with identity.http.get(f"{identity.url}/nowhere") as answer:
        assert (answer.status, (await answer.json())["error"]["message"]) == (404, "NOT_FOUND")
    async with identity.http.get(f"{identity.url}{ACCOUNTS}:signUp") as answer:
        assert (answer.status, (await answer.json())["error"]["message"]) == (405, "METHOD_NOT_ALLOWED")


async def test_failed_sign_ins_are_throttled_per_address(identity: Identity) -> None:
    await asyncio.gather(identity.sign_up(), identity.sign_up("bob@example.com"))
    wrong = credentials(password="wrong one")
    refusals = await asyncio.gather(*(identity.refused("signInWithPassword", wrong) for _ in range(ATTEMPTS + 3)))
    assert refusals.count("INVALID_LOGIN_CREDENTIALS") == ATTEMPTS
    assert sum(message.startswith("TOO_MANY_ATTEMPTS_TRY_LATER") for message in refusals) == 3
    shouted = credentials(email=EMAIL.upper())
    assert (await identity.refused("signInWithPassword", shouted)).startswith("TOO_MANY_ATTEMPTS_TRY_LATER")
    assert (await identity.post("signInWithPassword", credentials(email="bob@example.com")))[0] == 200


def test_attempts_are_forgotten_with_time_success_and_number() -> None:
    now = [0.0]
    attempts = Attempts(lambda: now[0])
    assert [attempts.take("a") for _ in range(ATTEMPTS + 1)] == [True] * ATTEMPTS + [False]
    now[0] = ATTEMPTS_WINDOW_S
    assert attempts.take("a")
    for _ in range(ATTEMPTS):
        attempts.take("b")
    attempts.forget("b")
    assert attempts.take("b")
    for number in range(ADDRESSES_WATCHED * 2):
        attempts.take(f"address {number}")
    assert len(attempts._counts) == ADDRESSES_WATCHED


async def test_an_unknown_address_costs_a_verification(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = Passwords()
    checked: list[str] = []
    monkeypatch.setattr("ghasi.identity.passwords._verify", lambda candidate, _: checked.append(candidate) or True)
    assert await passwords.verify(None, "x") is False
    assert checked[0].startswith("$argon2id$")
    passwords.close()


async def test_nothing_secret_lies_in_clear(identity: Identity, pool: Pool) -> None:
    created = await identity.sign_up()
    stored = "\n".join(
        [
            str(row["row"])
            for table in ("users", "refresh_tokens", "signing_keys")
            for row in await pool.fetch(f"SELECT row_to_json(t)::text AS row FROM identity.{table} t")
        ]
    )
    assert EMAIL in stored
    hashed = await pool.fetchval("SELECT password_hash FROM identity.users")
    assert hashed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    for secret in (PASSWORD, created["refreshToken"], created["idToken"], "PRIVATE KEY"):
        assert secret not in stored
        assert secret.encode().hex() not in stored
    sealed = await pool.fetchval("SELECT sealed_private_key FROM identity.signing_keys")
    assert sealed.startswith(b"gAAAA")  # a Fernet token


async def test_pages_of_any_origin_may_call(identity: Identity) -> None:
    asked = {
        "Origin": "http://127.0.0.1:3000",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-client-version,x-firebase-gmpid",
    }
    async with identity.http.options(f"{identity.url}{ACCOUNTS}:signUp", headers=asked) as answer:
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "x-client-version" in answer.headers["access-control-allow-headers"]
    async with identity.http.post(f"{identity.url}{TOKEN}", json={}, headers={"Origin": "http://x"}) as answer:
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (400, "*")


async def test_health_and_a_database_that_is_away(identity: Identity, pool: Pool) -> None:
    async with identity.http.get(f"{identity.url}/healthz") as answer:
        assert (answer.status, await answer.json()) == (200, {"status": "ok"})
    await pool.close()
    async with identity.http.get(f"{identity.url}/healthz") as answer:
        assert answer.status == 503
    status, answer = await identity.post("signUp", credentials())
    assert (status, answer["error"]["message"]) == (503, "UNAVAILABLE : Try again shortly")
