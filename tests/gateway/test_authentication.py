"""Every token that must not be believed, and what Kong 3.9.3 says to it."""

import asyncio
import json
import time

import aiohttp
import pytest

from ghasi import __version__
from ghasi.gateway.app import Gateway
from ghasi.gateway.json_web_keys import MIN_BETWEEN_FETCHES_S
from tests.asgi import request
from tests.gateway.services import (
    ACCOUNT_ID,
    ISSUER,
    USER_ID,
    AuthService,
    Recorder,
    base64url,
    bearer,
    foreign_token,
    make_token,
    public_jwk,
    running,
)
from tests.live import live

INVALID = 'Bearer error="invalid_token"'


def with_payload(payload: bytes, header: bytes = b'{"typ":"JWT","alg":"RS256","kid":"first"}') -> str:
    return f"{base64url(header)}.{base64url(payload)}.{base64url(b'x' * 256)}"


def tampered() -> str:
    head, _, signature = make_token().split(".")
    claims = json.dumps({"sub": USER_ID, "account_id": USER_ID, "iss": ISSUER, "exp": time.time() + 900})
    return f"{head}.{base64url(claims.encode())}.{signature}"


@pytest.fixture
def quick_fetches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown kids need not wait for the second in which the keys were fetched at start."""
    monkeypatch.setattr("ghasi.gateway.json_web_keys.MIN_BETWEEN_FETCHES_S", 0.01)


BAD_TOKENS = {
    "bad signature": (lambda: make_token(key="other", header={"alg": "RS256", "kid": "first"}), "Invalid signature"),
    "tampered claims": (tampered, "Invalid signature"),
    "no signature": (lambda: make_token().rpartition(".")[0] + ".", "Invalid signature"),
    "undecodable signature": (lambda: make_token() + "!", "Bad token; invalid signature"),
    "four parts": (lambda: make_token() + ".x", "Bad token; invalid signature"),
    "unknown kid": (lambda: make_token(header={"alg": "RS256", "kid": "gone"}), "No credentials found for given 'kid'"),
    "kid of a number": (lambda: make_token(header={"alg": "RS256", "kid": 7}), "No credentials found for given 'kid'"),
    "kid in claims comes first": (lambda: make_token(kid="gone"), "No credentials found for given 'kid'"),
    "no kid": (lambda: make_token(header={"alg": "RS256"}), "No mandatory 'kid' in claims"),
    "empty kid": (lambda: make_token(header={"alg": "RS256", "kid": ""}), "Invalid 'kid' in claims"),
    "empty kid in claims": (lambda: make_token(kid=""), "Invalid 'kid' in claims"),
    "alg none": (lambda: make_token(header={"alg": "none", "kid": "first"}), "Bad token; invalid alg"),
    "alg None": (lambda: make_token(header={"alg": "None", "kid": "first"}), "Bad token; invalid alg"),
    "no alg": (lambda: make_token(header={"kid": "first"}), "Bad token; invalid alg"),
    "alg of a list": (lambda: make_token(header={"alg": ["RS256"], "kid": "first"}), "Bad token; invalid alg"),
    "another alg": (foreign_token, "Invalid algorithm"),
    "another RSA alg": (lambda: make_token(header={"alg": "RS512", "kid": "first"}), "Invalid algorithm"),
    "another typ": (lambda: make_token(header={"typ": "JWE", "alg": "RS256"}), "Bad token; invalid typ"),
    "typ of a number": (lambda: make_token(header={"typ": 1, "alg": "RS256"}), "Bad token; invalid typ"),
    "garbage": (lambda: "garbage", "Bad token; invalid JSON"),
    "two parts": (lambda: make_token().rpartition(".")[0], "Bad token; invalid JSON"),
    "dots": (lambda: "..", "Bad token; invalid JSON"),
    "not base64": (lambda: "!!.!!.!!", "Bad token; invalid JSON"),
    "claims not JSON": (lambda: with_payload(b"{"), "Bad token; invalid JSON"),
    "claims not UTF-8": (lambda: with_payload(b'{"a":"\xff"}'), "Bad token; invalid JSON"),
    "claims nested deep": (lambda: with_payload(b"[" * 3000 + b"]" * 3000), "Bad token; invalid JSON"),
    "claims a list": (lambda: with_payload(b"[]"), "Bad token; invalid JSON"),
    "claims null": (lambda: with_payload(b"null"), "Bad token; invalid JSON"),
    "header a string": (lambda: with_payload(b"{}", header=b'"JWT"'), "Bad token; invalid JSON"),
    "exp NaN": (lambda: make_token(exp=float("nan")), "Bad token; invalid JSON"),
    "wrong iss": (lambda: make_token(iss="https://evil.example"), "Unauthorized"),
    "iss of a list": (lambda: make_token(iss=[ISSUER]), "Unauthorized"),
    "no iss": (lambda: make_token(without=("iss",)), "Unauthorized"),
    "no account": (lambda: make_token(without=("account_id",)), "Unauthorized"),
    "account no UUID": (lambda: make_token(account_id="1\r\nX-User-Id: 2"), "Unauthorized"),
    "account of braces": (lambda: make_token(account_id=f"{{{ACCOUNT_ID}}}"), "Unauthorized"),
    "account without hyphens": (lambda: make_token(account_id=ACCOUNT_ID.replace("-", "")), "Unauthorized"),
    "no sub": (lambda: make_token(without=("sub",)), "Unauthorized"),
    "sub a number": (lambda: make_token(sub=5), "Unauthorized"),
}


@pytest.mark.parametrize("case", BAD_TOKENS)
@pytest.mark.usefixtures("quick_fetches")
async def test_a_bad_token_is_refused_in_kongs_words(gateway: Gateway, upstream: Recorder, case: str) -> None:
    make, message = BAD_TOKENS[case]
    answer = await request(gateway, "GET", "/v1/messages", headers=bearer(make()))
    assert (answer.status, answer.json) == (401, {"message": message})
    assert answer.all("www-authenticate") == [INVALID]
    assert not answer.all("ratelimit-limit"), "a 401 uses no quota"
    assert not upstream.received


@pytest.mark.parametrize(
    ("claims", "fault"),
    [
        ({"exp": 1}, "token expired"),
        ({"exp": -5.5}, "token expired"),
        ({"exp": "9999999999"}, "must be a number"),
        ({"exp": True}, "must be a number"),
        ({"exp": None}, "must be a number"),
        ({"without": ("exp",)}, "must be a number"),
    ],
)
async def test_exp_is_named_and_has_no_message(gateway: Gateway, claims: dict[str, object], fault: str) -> None:
    answer = await request(gateway, "GET", "/v1/messages", headers=bearer(**claims))
    assert (answer.status, answer.json) == (401, {"exp": fault})
    assert answer.header("www-authenticate") == INVALID


async def test_exp_now_is_expired_even_for_a_token_already_believed(gateway: Gateway) -> None:
    expires_at = time.time() + 1
    headers = bearer(exp=expires_at)
    assert (await request(gateway, "GET", "/v1/messages", headers=headers)).status == 200
    asked_at = time.time()
    while (answer := await request(gateway, "GET", "/v1/messages", headers=headers)).status == 200:
        assert asked_at < expires_at
        await asyncio.sleep(0.02)
        asked_at = time.time()
    assert answer.json == {"exp": "token expired"}


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("authorization", "Basic dXNlcjpwYXNz")],
        [("authorization", "")],
        [("authorization", "Bearer")],
        [("authorization", "BEARER {token}")],
        [("authorization", "{token}")],
        [("cookie", "jwt={token}; authorization=Bearer {token}")],
        [("x-authorization", "Bearer {token}")],
    ],
)
async def test_without_a_bearer_token_there_is_no_error_in_the_challenge(
    gateway: Gateway, headers: list[tuple[str, str]]
) -> None:
    token = make_token()
    filled = [(name, value.format(token=token)) for name, value in headers]
    answer = await request(gateway, "GET", "/v1/messages", headers=filled)
    assert (answer.status, answer.json) == (401, {"message": "Unauthorized"})
    assert answer.all("www-authenticate") == ["Bearer"]


async def test_a_token_in_the_query_is_never_believed(gateway: Gateway, upstream: Recorder) -> None:
    answer = await request(gateway, "GET", f"/v1/messages?jwt={make_token()}")
    assert (answer.status, answer.json) == (401, {"message": "Unauthorized"})
    answer = await request(gateway, "GET", f"/v1/messages?jwt={make_token()}", headers=bearer("garbage"))
    assert answer.json == {"message": "Bad token; invalid JSON"}
    assert not upstream.received


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "  Bearer \t "])
async def test_the_scheme_is_written_as_kong_takes_it(gateway: Gateway, scheme: str) -> None:
    answer = await request(gateway, "GET", "/v1/messages", headers={"authorization": scheme + make_token()})
    assert answer.status == 200


async def test_two_different_tokens_are_refused_and_one_twice_is_one(gateway: Gateway) -> None:
    token = make_token()
    one = ("authorization", f"Bearer {token}")
    other = ("authorization", f"Bearer {make_token(exp=time.time() + 5)}")
    answer = await request(gateway, "GET", "/v1/messages", headers=[one, other])
    assert (answer.status, answer.json) == (401, {"message": "Multiple tokens provided"})
    assert answer.header("www-authenticate") == INVALID
    assert (await request(gateway, "GET", "/v1/messages", headers=[one, one])).status == 200


@pytest.mark.parametrize("header", [{"alg": "RS256", "kid": "first"}, {"typ": "jwt", "alg": "RS256", "kid": "first"}])
async def test_typ_may_be_missing_and_is_read_in_any_case(gateway: Gateway, header: dict[str, str]) -> None:
    assert (await request(gateway, "GET", "/v1/messages", headers=bearer(header=header))).status == 200


async def test_the_kid_may_stand_in_the_claims(gateway: Gateway) -> None:
    headers = bearer(header={"alg": "RS256"}, kid="first")
    assert (await request(gateway, "GET", "/v1/messages", headers=headers)).status == 200


async def test_a_401_over_a_socket_carries_kongs_headers(gateway: Gateway) -> None:
    async with (
        live(gateway, server_header=False) as url,
        aiohttp.ClientSession() as client,
        client.get(f"{url}/v1/messages", headers=bearer("garbage")) as answer,
    ):
        assert answer.status == 401
        assert await answer.json() == {"message": "Bad token; invalid JSON"}
        assert answer.headers.getall("server") == [f"ghasi/{__version__}"]
        assert len(bytes.fromhex(answer.headers["x-kong-request-id"])) == 16
        assert int(answer.headers["x-kong-response-latency"]) >= 0
        assert "via" not in answer.headers
        assert answer.headers["content-type"] == "application/json; charset=utf-8"


async def test_a_new_keys_token_is_believed_at_once_by_one_fetch_for_all(auth: AuthService, gateway: Gateway) -> None:
    fetches = auth.key_fetches
    auth.keys.append(public_jwk("second"))
    answers = await asyncio.gather(
        *(request(gateway, "GET", "/v1/messages", headers=bearer(key="second")) for _ in range(20))
    )
    assert {answer.status for answer in answers} == {200}
    assert auth.key_fetches == fetches + 1


async def test_tokens_of_unknown_keys_fetch_at_most_once_a_second(auth: AuthService, gateway: Gateway) -> None:
    started_at, fetches = time.monotonic(), auth.key_fetches
    for _ in range(2):
        tokens = [make_token(header={"alg": "RS256", "kid": f"made-up-{number}"}) for number in range(20)]
        answers = await asyncio.gather(*(request(gateway, "GET", "/v1/messages", headers=bearer(t)) for t in tokens))
        assert {answer.status for answer in answers} == {401}
    assert auth.key_fetches - fetches <= (time.monotonic() - started_at) / MIN_BETWEEN_FETCHES_S + 1


@pytest.mark.usefixtures("quick_fetches")
async def test_a_key_no_longer_published_stops_working_even_for_tokens_believed(
    auth: AuthService, gateway: Gateway
) -> None:
    headers = bearer()
    assert (await request(gateway, "GET", "/v1/messages", headers=headers)).status == 200
    auth.keys = [public_jwk("second")]
    await gateway._tokens.keys.refresh()
    answer = await request(gateway, "GET", "/v1/messages", headers=headers)
    assert answer.json == {"message": "No credentials found for given 'kid'"}


@pytest.mark.usefixtures("quick_fetches")
async def test_a_kid_whose_key_changed_is_believed_by_the_new_key_alone(auth: AuthService, gateway: Gateway) -> None:
    headers = bearer()
    assert (await request(gateway, "GET", "/v1/messages", headers=headers)).status == 200
    auth.keys = [public_jwk("first", "other")]
    await gateway._tokens.keys.refresh()
    assert (await request(gateway, "GET", "/v1/messages", headers=headers)).json == {"message": "Invalid signature"}
    renewed = bearer(make_token(key="other", header={"alg": "RS256", "kid": "first"}))
    assert (await request(gateway, "GET", "/v1/messages", headers=renewed)).status == 200


async def test_published_keys_are_looked_at_again_without_being_asked_for(
    auth: AuthService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghasi.gateway.json_web_keys.REFRESH_S", 0.05)
    monkeypatch.setattr("ghasi.gateway.json_web_keys.MIN_BETWEEN_FETCHES_S", 0.01)
    headers = bearer()
    async with running(auth, Recorder()) as quick:
        assert (await request(quick, "GET", "/v1/messages", headers=headers)).status == 200
        auth.keys = []
        deadline = time.monotonic() + 5
        while (await request(quick, "GET", "/v1/messages", headers=headers)).status == 200:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


@pytest.mark.usefixtures("quick_fetches")
async def test_known_keys_serve_on_while_auth_service_is_away(auth: AuthService, gateway: Gateway) -> None:
    auth.away = True
    assert not await gateway._tokens.keys.refresh()
    assert (await request(gateway, "GET", "/v1/messages", headers=bearer())).status == 200
    answer = await request(gateway, "GET", "/v1/messages", headers=bearer(key="second"))
    assert (answer.status, answer.json) == (401, {"message": "No credentials found for given 'kid'"})


@pytest.mark.usefixtures("quick_fetches")
async def test_without_any_key_ever_had_nobody_is_told_that_a_token_is_bad(auth: AuthService) -> None:
    auth.away = True
    async with running(auth, Recorder()) as gateway:
        assert not gateway.ready
        answer = await request(gateway, "GET", "/v1/messages", headers=bearer())
        assert answer.status == 502
        assert answer.json["message"] == "An invalid response was received from the upstream server"
        auth.away = False
        answer = await request(gateway, "GET", "/v1/messages", headers=bearer())
        assert answer.status == 200


async def test_a_key_that_cannot_be_read_does_not_spoil_the_others(auth: AuthService) -> None:
    broken = public_jwk("broken")
    auth.keys.insert(0, type(broken)(kty="RSA", use="sig", alg="RS256", kid="broken", n="", e="!"))
    async with running(auth, Recorder()) as gateway:
        assert (await request(gateway, "GET", "/v1/messages", headers=bearer())).status == 200


async def test_verified_tokens_are_remembered_in_bounds(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ghasi.gateway.tokens.MAX_CACHED", 3)
    for number in range(5):
        headers = bearer(exp=int(time.time()) + 60 + number)
        assert (await request(gateway, "GET", "/v1/messages", headers=headers)).status == 200
    assert len(gateway._tokens._verified) == 3
