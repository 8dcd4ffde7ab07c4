"""Codes that Firebase would send by e-mail: new passwords and verified addresses."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import aiohttp
import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ghasi.contract.serving import Receive, Scope, Send
from ghasi.identity.app import ACCOUNTS, identity_app
from ghasi.identity.passwords import ATTEMPTS, Passwords
from ghasi.settings import Settings
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from tests.identity.conftest import EMAIL, PASSWORD, Identity, credentials, refresh
from tests.live import live

NEW = "another horse"
LISTED = "/emulator/v1/projects/demo-ghasi/oobCodes"
RESET = {"requestType": "PASSWORD_RESET", "email": EMAIL}


@pytest.fixture
async def identity(resources: Resources) -> AsyncIterator[Identity]:
    settings = Settings(portal_url="https://portal.example.com/")
    app = identity_app(replace(resources, settings=settings))
    async with live(app) as url, aiohttp.ClientSession() as http:
        yield Identity(url, http)


async def listed(identity: Identity) -> list[dict[str, str]]:
    async with identity.http.get(identity.url + LISTED) as answer:
        assert answer.status == 200
        body = await answer.json()
    assert set(body) == {"oobCodes"}
    return body["oobCodes"]


async def send(identity: Identity, email: str = EMAIL) -> str:
    """Ask for a link as the SDK does, and return the newest code."""
    body = {**RESET, "email": email, "clientType": "CLIENT_TYPE_WEB"}
    status, answer = await identity.post("sendOobCode", body)
    kind = "identitytoolkit#GetOobConfirmationCodeResponse"
    assert (status, answer) == (200, {"kind": kind, "email": email.lower()})
    return (await listed(identity))[-1]["oobCode"]


async def test_a_new_password_by_link(identity: Identity) -> None:
    created = await identity.sign_up(displayName="Ann")
    code = await send(identity, "Ann@Example.com")
    expected = {"kind": "identitytoolkit#ResetPasswordResponse", "email": EMAIL, "requestType": "PASSWORD_RESET"}
    for _ in range(2):  # asking what a code is for does not use it
        assert await identity.post("resetPassword", {"oobCode": code}) == (200, expected)
    weak = await identity.refused("resetPassword", {"oobCode": code, "newPassword": "short"})
    assert weak == "WEAK_PASSWORD : Password should be at least 6 characters"
    assert await identity.refused("resetPassword", {"oobCode": code, "newPassword": ""}) == "MISSING_PASSWORD"
    assert await identity.post("resetPassword", {"oobCode": code, "newPassword": NEW}) == (200, expected)

    assert await identity.refused("signInWithPassword", credentials()) == "INVALID_LOGIN_CREDENTIALS"
    status, signed_in = await identity.post("signInWithPassword", credentials(password=NEW))
    assert (status, signed_in["displayName"]) == (200, "Ann")
    # Firebase revokes what was given before, and takes the address for verified
    assert await identity.refused("token", refresh(created)) == "TOKEN_EXPIRED"
    assert (await identity.claims(signed_in["idToken"]))["email_verified"] is True
    assert (await identity.claims(created["idToken"]))["email_verified"] is False
    assert (await identity.post("lookup", {"idToken": signed_in["idToken"]}))[1]["users"][0]["emailVerified"] is True

    for body in ({"oobCode": code}, {"oobCode": code, "newPassword": "third horse"}):
        assert await identity.refused("resetPassword", body) == "INVALID_OOB_CODE"
    assert await listed(identity) == []


async def test_links_are_listed_and_logged(identity: Identity) -> None:
    await asyncio.gather(identity.sign_up(), identity.sign_up("bob@example.com"))
    with structlog.testing.capture_logs() as logs:
        codes = [await send(identity), await send(identity, "bob@example.com")]
    entries = await listed(identity)
    assert [set(entry) for entry in entries] == [{"email", "requestType", "oobCode", "oobLink"}] * 2
    assert [entry["email"] for entry in entries] == [EMAIL, "bob@example.com"]
    assert [entry["oobCode"] for entry in entries] == codes
    for entry, logged in zip(entries, logs, strict=True):
        link = urlsplit(entry["oobLink"])
        assert f"{link.scheme}://{link.netloc}{link.path}" == "https://portal.example.com/reset-password"
        assert parse_qs(link.query) == {"mode": ["resetPassword"], "oobCode": [entry["oobCode"]]}
        assert (logged["event"], logged["log_level"]) == ("password_reset_link", "info")
        assert (logged["email"], logged["link"]) == (entry["email"], entry["oobLink"])
    async with identity.http.get(f"{identity.url}{LISTED.replace('demo', 'other')}") as answer:
        assert answer.status == 404


async def test_the_scripts_of_other_pages_read_no_codes(identity: Identity) -> None:
    await identity.sign_up()
    code = await send(identity)
    async with identity.http.get(identity.url + LISTED, headers={"Origin": "https://evil.example"}) as answer:
        assert (answer.status, code in await answer.text()) == (403, False)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:9099", "127.0.0.1.evil.example", "192.0.2.1:9099", ""])
async def test_a_name_that_was_made_to_lead_here_reads_no_codes(identity: Identity, host: str) -> None:
    await identity.sign_up()
    code = await send(identity)
    async with identity.http.get(identity.url + LISTED, headers={"Host": host}) as answer:
        assert (answer.status, code in await answer.text()) == (403, False)


@pytest.mark.parametrize(
    ("peer", "status"), [("127.0.0.2", 200), ("::1", 200), ("::ffff:127.0.0.1", 200), ("192.0.2.1", 403), ("", 403)]
)
async def test_another_machine_reads_no_codes(resources: Resources, peer: str, status: int) -> None:
    app = identity_app(resources)

    async def from_there(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "client": (peer, 1) if peer else None}, receive, send)

    async with live(from_there) as url, aiohttp.ClientSession() as http:
        for host in ("localhost", "LOCALHOST:9099", "[::1]", "[::1]:9099", "127.0.0.1"):
            async with http.get(url + LISTED, headers={"Host": host}) as answer:
                assert answer.status == status, host


async def test_an_unknown_address_gets_the_same_answer_and_no_code(identity: Identity) -> None:
    with structlog.testing.capture_logs() as logs:
        status, answer = await identity.post("sendOobCode", {**RESET, "email": "Nobody@example.com"})
    assert (status, answer["email"]) == (200, "nobody@example.com")
    assert (await listed(identity), logs) == ([], [])


async def test_a_code_ends_after_an_hour(identity: Identity, pool: Pool) -> None:
    await identity.sign_up()
    code = await send(identity)
    life = "SELECT extract(epoch FROM expires_at - created_at) FROM identity.oob_codes"
    assert abs(float(await pool.fetchval(life)) - 3600) < 60
    await pool.execute("UPDATE identity.oob_codes SET expires_at = now()")
    for body in ({"oobCode": code}, {"oobCode": code, "newPassword": NEW}):
        assert await identity.refused("resetPassword", body) == "EXPIRED_OOB_CODE"
    assert await listed(identity) == []
    await pool.execute("UPDATE identity.oob_codes SET expires_at = now() - interval '25 hours'")
    await send(identity)
    assert await pool.fetchval("SELECT count(*) FROM identity.oob_codes") == 1


async def test_a_code_serves_one_of_those_who_come_at_once(identity: Identity) -> None:
    await identity.sign_up()
    body = {"oobCode": await send(identity)}
    passwords = [f"horse number {number}" for number in range(5)]
    answers = await asyncio.gather(
        *(identity.post("resetPassword", {**body, "newPassword": password}) for password in passwords)
    )
    assert sorted(status for status, _ in answers) == [200, 400, 400, 400, 400]
    winner = passwords[[status for status, _ in answers].index(200)]
    assert (await identity.post("signInWithPassword", credentials(password=winner)))[0] == 200


async def test_a_reset_ends_the_other_links_of_its_user_alone(identity: Identity) -> None:
    await asyncio.gather(identity.sign_up(), identity.sign_up("bob@example.com"))
    first, second, of_bob = [await send(identity), await send(identity), await send(identity, "bob@example.com")]
    assert (await identity.post("resetPassword", {"oobCode": second, "newPassword": NEW}))[0] == 200
    assert await identity.refused("resetPassword", {"oobCode": first, "newPassword": NEW}) == "INVALID_OOB_CODE"
    assert [entry["oobCode"] for entry in await listed(identity)] == [of_bob]


async def test_a_reset_lets_who_failed_too_often_in_again(identity: Identity) -> None:
    await identity.sign_up()
    for _ in range(ATTEMPTS):
        await identity.refused("signInWithPassword", credentials(password="wrong one"))
    assert (await identity.refused("signInWithPassword", credentials())).startswith("TOO_MANY_ATTEMPTS_TRY_LATER")
    await identity.post("resetPassword", {"oobCode": await send(identity), "newPassword": NEW})
    assert (await identity.post("signInWithPassword", credentials(password=NEW)))[0] == 200


async def test_links_are_limited_per_address(identity: Identity) -> None:
    for _ in range(ATTEMPTS):
        assert (await identity.post("sendOobCode", RESET))[0] == 200
    assert (await identity.refused("sendOobCode", RESET)).startswith("RESET_PASSWORD_EXCEED_LIMIT : ")
    assert (await identity.post("sendOobCode", {**RESET, "email": "bob@example.com"}))[0] == 200


async def test_an_address_is_verified(identity: Identity) -> None:
    created = await identity.sign_up()
    body = {"requestType": "VERIFY_EMAIL", "idToken": created["idToken"], "email": "ignored@example.com"}
    with structlog.testing.capture_logs() as logs:
        status, answer = await identity.post("sendOobCode", body)
    assert (status, answer["email"]) == (200, EMAIL)
    (entry,) = await listed(identity)
    assert entry["requestType"] == "VERIFY_EMAIL"
    assert "?mode=verifyEmail&" in entry["oobLink"]
    assert [(logged["event"], logged["link"]) for logged in logs] == [("verify_email_link", entry["oobLink"])]
    code = {"oobCode": entry["oobCode"]}
    assert (await identity.post("resetPassword", code))[1]["requestType"] == "VERIFY_EMAIL"
    assert await identity.refused("resetPassword", {**code, "newPassword": NEW}) == "INVALID_OOB_CODE"

    status, answer = await identity.post("update", code)
    assert (status, answer["email"], answer["emailVerified"]) == (200, EMAIL, True)
    assert "idToken" not in answer
    assert await identity.refused("update", code) == "INVALID_OOB_CODE"
    assert (await identity.post("token", refresh(created)))[0] == 200
    signed_in = (await identity.post("signInWithPassword", credentials()))[1]
    assert (await identity.claims(signed_in["idToken"]))["email_verified"] is True
    assert await identity.refused("update", {"oobCode": await send(identity)}) == "INVALID_OOB_CODE"


ERRORS: list[tuple[str, Any, str]] = [
    ("sendOobCode", {}, "MISSING_REQ_TYPE"),
    (
        "sendOobCode",
        {"requestType": "EMAIL_SIGNIN", "email": EMAIL},
        "INVALID_REQ_TYPE : This server knows PASSWORD_RESET and VERIFY_EMAIL alone",
    ),
    (
        "sendOobCode",
        {**RESET, "returnOobLink": True},
        "INSUFFICIENT_PERMISSION : Links are given to administrators alone",
    ),
    ("sendOobCode", {"requestType": "PASSWORD_RESET"}, "MISSING_EMAIL"),
    ("sendOobCode", {**RESET, "email": "ann"}, "INVALID_EMAIL"),
    ("sendOobCode", {**RESET, "email": 5}, "INVALID_ARGUMENT : Expected `str | null`, got `int` - at `$.email`"),
    ("sendOobCode", {"requestType": "VERIFY_EMAIL"}, "INVALID_ID_TOKEN"),
    ("sendOobCode", {"requestType": "VERIFY_EMAIL", "idToken": "a.b.c"}, "INVALID_ID_TOKEN"),
    ("resetPassword", {}, "MISSING_OOB_CODE"),
    ("resetPassword", {"newPassword": NEW}, "MISSING_OOB_CODE"),
    ("resetPassword", {"oobCode": "guess\0", "newPassword": NEW}, "INVALID_OOB_CODE"),
    ("update", {"oobCode": "guess"}, "INVALID_OOB_CODE"),
    ("update", {"oobCode": ""}, "MISSING_OOB_CODE"),
]


async def test_errors(identity: Identity) -> None:
    await identity.sign_up()
    for action, body, message in ERRORS:
        assert await identity.refused(action, body) == message
    assert await listed(identity) == []


async def test_a_disabled_user_can_not_reset(identity: Identity, pool: Pool) -> None:
    await identity.sign_up()
    code = await send(identity)
    await pool.execute("UPDATE identity.users SET disabled = true")
    for body in ({"oobCode": code}, {"oobCode": code, "newPassword": NEW}):
        assert await identity.refused("resetPassword", body) == "USER_DISABLED"


async def test_no_code_lies_in_clear(identity: Identity, pool: Pool) -> None:
    await identity.sign_up()
    code = await send(identity)
    stored = await pool.fetchval("SELECT row_to_json(t)::text FROM identity.oob_codes t")
    assert code not in stored
    assert code.encode().hex() not in stored
    assert re.fullmatch(r"[\w-]{43}", code)


async def test_codes_outlive_a_restart(resources: Resources) -> None:
    async with aiohttp.ClientSession() as http:
        async with live(identity_app(resources)) as url:
            before = Identity(url, http)
            await before.sign_up()
            code = await send(before)
        async with live(identity_app(resources)) as url:
            after = Identity(url, http)
            assert [entry["oobCode"] for entry in await listed(after)] == [code]
            assert (await after.post("resetPassword", {"oobCode": code, "newPassword": NEW}))[0] == 200


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash as nobody should: what is tested is not the hash."""

    async def hashed(_: Passwords, password: str) -> str:
        return f"$argon2id${password}"

    async def verified(_: Passwords, password_hash: str | None, password: str) -> bool:
        return password_hash == f"$argon2id${password}"

    monkeypatch.setattr(Passwords, "hash", hashed)
    monkeypatch.setattr(Passwords, "verify", verified)


# each example has a user of its own address, so that one server does for all
MANY = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
STEPS = st.lists(
    st.tuples(st.sampled_from(["send", "check", "reset", "reset_weak", "expire"]), st.integers(0, 5)),
    min_size=1,
    max_size=8,
)


@pytest.mark.usefixtures("quick")
@MANY
@given(steps=STEPS)
async def test_whatever_the_order_a_code_is_good_once_and_until_it_ends(
    identity: Identity, pool: Pool, steps: list[tuple[str, int]]
) -> None:
    """Against a model: every code made is outstanding, expired or spent, and one password is right."""
    email, password = f"{uuid4()}@example.com", PASSWORD
    await identity.sign_up(email)
    codes: list[str] = []
    state: dict[str, str] = {}
    for number, (step, which) in enumerate(steps):
        code = codes[which % len(codes)] if codes else "no code"
        refusal = {"expired": "EXPIRED_OOB_CODE", "good": None}.get(state.get(code, ""), "INVALID_OOB_CODE")
        if step == "send" and len(codes) < ATTEMPTS:
            codes.append(await send(identity, email))
            state[codes[-1]] = "good"
        elif step == "expire" and codes:
            await pool.execute(
                "UPDATE identity.oob_codes SET expires_at = now() WHERE hash = sha256($1)", code.encode()
            )
            if state[code] == "good":
                state[code] = "expired"
        elif step in {"check", "reset", "reset_weak"}:
            wanted = f"password {number}"
            new = {"check": {}, "reset": {"newPassword": wanted}, "reset_weak": {"newPassword": "weak"}}[step]
            status, answer = await identity.post("resetPassword", {"oobCode": code, **new})
            if refusal is not None:
                assert (status, answer["error"]["message"]) == (400, refusal)
            elif step == "reset_weak":
                assert (status, answer["error"]["message"].partition(" ")[0]) == (400, "WEAK_PASSWORD")
            else:
                assert (status, answer["email"]) == (200, email)
            if refusal is None and step == "reset":
                password = wanted
                state = dict.fromkeys(state, "spent")
    good = {code for code, what in state.items() if what == "good"}
    assert {entry["oobCode"] for entry in await listed(identity) if entry["email"] == email} == good
    assert (await identity.post("signInWithPassword", credentials(email, password)))[0] == 200


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.sampled_from(["PASSWORD_RESET", EMAIL])
BODIES = st.dictionaries(
    st.sampled_from(["requestType", "email", "idToken", "oobCode", "newPassword", "returnOobLink"]), VALUES
)


@MANY
@given(action=st.sampled_from(["sendOobCode", "resetPassword", "update"]), body=BODIES)
async def test_no_body_is_a_5xx(identity: Identity, action: str, body: dict[str, Any]) -> None:
    async with identity.http.post(f"{identity.url}{ACCOUNTS}:{action}", json=body) as answer:
        assert answer.status in {200, 400}
