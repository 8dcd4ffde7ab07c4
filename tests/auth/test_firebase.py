"""ID tokens: each rule refuses its kind of bad token, and the certificates are cached as their publisher asks."""

import asyncio
import hmac
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ghasi.auth.firebase import Certificates, verify_id_token
from ghasi.auth.model import Identity
from ghasi.contract.errors import Problem
from tests.auth.identity_provider import (
    ISSUER,
    MISSING,
    PROJECT,
    IdentityProvider,
    base64url,
    certificate,
    claims,
    id_token,
    private_key,
    sign,
    unsigned_token,
)

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
AT = int(NOW.timestamp())


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def certificates(provider: IdentityProvider, clock: Clock) -> AsyncIterator[Certificates]:
    async with aiohttp.ClientSession() as session:
        certificates = Certificates(session, provider.url, clock=clock)
        yield certificates
        await certificates.close()


async def verify(certificates: Certificates, token: str, *, allow_unsigned: bool = False) -> Identity:
    return await verify_id_token(
        token, project_id=PROJECT, certificates=certificates, now=NOW, allow_unsigned=allow_unsigned
    )


async def refusal(certificates: Certificates, token: str, **options: Any) -> str:
    with pytest.raises(Problem) as caught:
        await verify(certificates, token, **options)
    assert caught.value.code == "invalid_id_token"
    assert caught.value.status == 401
    assert token not in caught.value.detail
    return caught.value.detail


def good(**changed: Any) -> str:
    return id_token(claims(NOW, **changed))


async def test_a_good_token_says_who_it_is(certificates: Certificates) -> None:
    assert await verify(certificates, good()) == Identity(ISSUER, "person-1", "ada@example.com", "Ada Lovelace")


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"aud": MISSING}, "aud"),
        ({"aud": "another-project"}, "aud"),
        ({"aud": [PROJECT]}, "aud"),
        ({"iss": MISSING}, "iss"),
        ({"iss": "https://securetoken.google.com/another-project"}, "iss"),
        ({"iss": PROJECT}, "iss"),
        ({"iss": None}, "iss"),
        ({"sub": MISSING}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": "x" * 129}, "sub"),
        ({"sub": 7}, "sub"),
        ({"sub": "a\0b"}, "sub"),
        ({"exp": MISSING}, "exp"),
        ({"exp": AT}, "exp"),
        ({"exp": AT - 1}, "exp"),
        ({"exp": str(AT + 3600)}, "exp"),
        ({"exp": True}, "exp"),
        ({"exp": AT + 3600.5}, "exp"),
        ({"iat": MISSING}, "iat"),
        ({"iat": AT + 11}, "iat"),
        ({"iat": str(AT)}, "iat"),
        ({"auth_time": MISSING}, "auth_time"),
        ({"auth_time": AT + 11}, "auth_time"),
        ({"auth_time": None}, "auth_time"),
    ],
)
async def test_a_claim_that_breaks_its_rule_is_refused_by_name(
    certificates: Certificates, changed: dict[str, Any], rule: str
) -> None:
    assert f": {rule} " in await refusal(certificates, good(**changed))
    # the emulator's tokens are unsigned, but none of this is forgiven
    unsigned = unsigned_token(**(claims(NOW) | {"name": MISSING} | changed))
    assert f": {rule} " in await refusal(certificates, unsigned, allow_unsigned=True)


async def test_clocks_may_differ_a_little_and_a_subject_may_be_long(certificates: Certificates) -> None:
    found = await verify(certificates, good(iat=AT + 10, auth_time=AT + 10, exp=AT + 1, sub="x" * 128))
    assert found.subject == "x" * 128


@pytest.mark.parametrize(
    ("token", "rule"),
    [
        (id_token(claims(NOW), kid=MISSING), "kid must"),
        (id_token(claims(NOW), kid=""), "kid must"),
        (id_token(claims(NOW), kid=7), "kid must"),
        (id_token(claims(NOW), kid="nobody"), "kid is unknown"),
        (id_token(claims(NOW), signed_by="second"), "signature"),
        (good()[:-8], "signature"),
        (good().rpartition(".")[0] + ".", "signature"),
        (unsigned_token(**claims(NOW)), "alg must be RS256"),
        (sign({"alg": "RS512", "kid": "first"}, b"{}", private_key("first")), "alg must be RS256"),
        (sign({"kid": "first"}, b"{}", private_key("first")), "alg must be RS256"),
        (sign({"alg": "RS256", "kid": "first", "crit": ["b64"]}, b"{}", private_key("first")), "critical"),
        (sign({"alg": "RS256", "kid": "first"}, b"[]", private_key("first")), "payload"),
        (sign({"alg": "RS256", "kid": "first"}, b"\xff", private_key("first")), "payload"),
        (sign({"alg": "RS256", "kid": "first"}, b"[" * 9000, private_key("first")), "payload"),
        ("garbage", "not a JWT"),
        ("a.b", "not a JWT"),
        ("a.b.c.d", "not a JWT"),
        ("..", "header"),
        ("\u00e9.b.c", "header"),
        (base64url(b"[" * 9000) + ".e30.e30", "header"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 30 else "token",
)
async def test_a_token_that_is_not_rightly_signed_is_refused(certificates: Certificates, token: str, rule: str) -> None:
    assert rule in await refusal(certificates, token)


async def test_the_public_key_is_no_shared_secret(certificates: Certificates) -> None:
    public = private_key("first").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header = base64url(b'{"alg":"HS256","kid":"first"}')
    signed = f"{header}.{base64url(msgspec.json.encode(claims(NOW)))}"
    forged = f"{signed}.{base64url(hmac.digest(public, signed.encode(), 'sha256'))}"
    assert "alg must be RS256" in await refusal(certificates, forged)


async def test_an_unsigned_token_is_taken_only_where_it_is_allowed(certificates: Certificates) -> None:
    token = unsigned_token(**claims(NOW))
    assert (await verify(certificates, token, allow_unsigned=True)).subject == "person-1"
    assert "alg" in await refusal(certificates, token)
    # one that carries a signature all the same is no emulator's
    assert "alg" in await refusal(certificates, token + base64url(b"x"), allow_unsigned=True)


async def test_what_people_call_themselves_cannot_break_the_database(certificates: Certificates) -> None:
    found = await verify(certificates, good(name=" A\0da\n" + "x" * 300, email=MISSING))
    assert found.name == "Ada" + "x" * 97
    assert found.email == ""
    assert (await verify(certificates, good(name=7, email=[]))).name == ""


async def test_certificates_are_kept_for_their_max_age(
    certificates: Certificates, provider: IdentityProvider, clock: Clock
) -> None:
    provider.headers = {"Age": "100"}
    for _ in range(3):
        await verify(certificates, good())
    assert provider.fetches == 1
    clock.now_s += 499
    await verify(certificates, good())
    assert provider.fetches == 1
    clock.now_s += 2
    await verify(certificates, good())
    assert provider.fetches == 2


async def test_a_withdrawn_certificate_is_refused_after_max_age(
    certificates: Certificates, provider: IdentityProvider, clock: Clock
) -> None:
    await verify(certificates, good())
    provider.kids = ["second"]
    clock.now_s += 601
    assert "kid is unknown" in await refusal(certificates, good())


async def test_an_unknown_kid_is_fetched_but_not_each_time(
    certificates: Certificates, provider: IdentityProvider, clock: Clock
) -> None:
    await verify(certificates, good())
    provider.kids = ["first", "second"]
    new = id_token(claims(NOW), kid="second", signed_by="second")
    clock.now_s += 5
    assert (await verify(certificates, new)).subject == "person-1"
    assert provider.fetches == 2
    for _ in range(5):
        assert "kid is unknown" in await refusal(certificates, id_token(claims(NOW), kid="made-up"))
    assert provider.fetches == 2
    clock.now_s += 5
    assert "kid is unknown" in await refusal(certificates, id_token(claims(NOW), kid="made-up"))
    assert provider.fetches == 3


async def test_many_at_once_fetch_once(certificates: Certificates, provider: IdentityProvider) -> None:
    provider.hold = asyncio.Event()
    waiting = [asyncio.create_task(verify(certificates, good())) for _ in range(20)]
    async with asyncio.timeout(5):
        while provider.fetches == 0:
            await asyncio.sleep(0.005)
    waiting[0].cancel()  # the one that began it goes away; the others must not notice
    await asyncio.wait([waiting[0]])
    provider.hold.set()
    found = await asyncio.gather(*waiting[1:])
    assert {one.subject for one in found} == {"person-1"}
    assert provider.fetches == 1


@pytest.mark.parametrize("failure", ["gone", "status", "nonsense", "no certificates"])
async def test_cached_certificates_serve_while_the_provider_is_away(
    certificates: Certificates, provider: IdentityProvider, clock: Clock, failure: str
) -> None:
    await verify(certificates, good())
    if failure == "gone":
        await provider.stop()
    elif failure == "status":
        provider.status = 500
    else:
        provider.body = b"<html>" if failure == "nonsense" else b'{"first":"no certificate"}'
    clock.now_s += 100_000
    for _ in range(3):
        assert (await verify(certificates, good())).subject == "person-1"
    if failure != "gone":
        assert provider.fetches == 2  # not asked again with each request
    # and it recovers
    await provider.stop()
    provider.status, provider.body, provider.kids = 200, None, ["second"]
    await provider.start()
    clock.now_s += 5
    assert (await verify(certificates, id_token(claims(NOW), kid="second", signed_by="second"))).subject == "person-1"


async def test_without_any_certificates_it_says_try_again(
    certificates: Certificates, provider: IdentityProvider
) -> None:
    await provider.stop()
    with pytest.raises(Problem) as caught:
        await verify(certificates, good())
    assert (caught.value.code, caught.value.status) == ("identity_unavailable", 503)
    await provider.start()
    assert (await verify(certificates, good())).subject == "person-1"


async def test_one_odd_certificate_does_not_spoil_the_others(
    certificates: Certificates, provider: IdentityProvider
) -> None:
    provider.body = msgspec.json.encode({"odd": "no certificate", "first": certificate("first")})
    assert (await verify(certificates, good())).subject == "person-1"
    assert "kid is unknown" in await refusal(certificates, id_token(claims(NOW), kid="odd"))


async def test_exp_counts_from_the_time_that_is_passed(certificates: Certificates) -> None:
    token = good(exp=AT + 60)
    await verify(certificates, token)
    with pytest.raises(Problem):
        await verify_id_token(token, project_id=PROJECT, certificates=certificates, now=NOW + timedelta(seconds=60))
