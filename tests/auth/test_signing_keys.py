"""Signing keys: published before they sign, kept while their tokens live, and never readable in the database."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import jwt
import pytest

from ghasi.auth import admin
from ghasi.auth.model import User
from ghasi.auth.signing_keys import KeyRing
from ghasi.auth.worker import clear_away
from ghasi.contract.values import new_id
from ghasi.storage import audit
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from ghasi.storage.sealing import Sealer, SealError, new_secret_key

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
S = timedelta(seconds=1)
USER = User(new_id(), new_id(), "Ada", "ada@example.com", "Ada", ["customer"], "owner", None, None)


@pytest.fixture
def ring(resources: Resources) -> KeyRing:
    """One that always looks, as another process would that has just started."""
    return KeyRing(resources.pool, resources.sealer, cache_s=0)


async def signs(ring: KeyRing, now: datetime) -> str:
    token = await ring.issue_access_token(USER, issuer="https://api.ghasi.io", now=now)
    return str(jwt.get_unverified_header(token)["kid"])


async def published(ring: KeyRing, now: datetime) -> set[str]:
    return {key.kid for key in (await ring.get_key_set(now)).keys}


async def test_the_first_key_is_made_once_and_signs_at_once(resources: Resources) -> None:
    rings = [KeyRing(resources.pool, resources.sealer) for _ in range(5)]
    # processes' clocks differ
    kids = await asyncio.gather(
        *(signs(ring, NOW + index * 50 * timedelta(milliseconds=1)) for index, ring in enumerate(rings))
    )
    assert len(set(kids)) == 1
    [entry] = await admin.list_keys(resources.pool, now=NOW)
    assert (entry.kid, entry.state, entry.published_until) == (kids[0], "signing", None)


async def test_a_rotation_publishes_before_it_signs_and_withdraws_after_the_last_token(
    resources: Resources, ring: KeyRing
) -> None:
    old = await signs(ring, NOW)
    token = await ring.issue_access_token(USER, issuer="https://api.ghasi.io", now=NOW + 14 * S)
    new = (await admin.rotate_keys(resources, operator="root", now=NOW)).kid
    assert new != old
    # published at once, signing only when every gateway has had time to read it
    assert await published(ring, NOW) == {old, new}
    assert await signs(ring, NOW + 14 * S) == old
    assert await signs(ring, NOW + 15 * S) == new
    states = [(key.kid, key.state) for key in await admin.list_keys(resources.pool, now=NOW + S)]
    assert states == [(new, "published"), (old, "signing")]
    states = [(key.kid, key.state) for key in await admin.list_keys(resources.pool, now=NOW + 15 * S)]
    assert states == [(new, "signing"), (old, "retired")]
    # the old key's last token lives 900 s from then
    key_set = jwt.PyJWKSet.from_dict(
        {
            "keys": [
                {name: getattr(key, name) for name in key.__struct_fields__}
                for key in (await ring.get_key_set(NOW + 914 * S)).keys
            ]
        }
    )
    claims = jwt.decode(token, key_set[old], algorithms=["RS256"], options={"verify_exp": False})
    assert claims["exp"] == int((NOW + 914 * S).timestamp())
    assert await published(ring, NOW + (15 + 900 + 59) * S) == {old, new}
    assert await published(ring, NOW + (15 + 900 + 60) * S) == {new}
    stopping = asyncio.Event()
    assert (await clear_away(resources.pool, NOW + 974 * S, stopping))["signing_keys"] == 0
    assert (await clear_away(resources.pool, NOW + 975 * S, stopping))["signing_keys"] == 1
    assert [key.kid for key in await admin.list_keys(resources.pool)] == [new]


async def test_rotations_in_a_hurry_keep_every_key_that_may_have_signed(resources: Resources, ring: KeyRing) -> None:
    first = await signs(ring, NOW)
    second = (await admin.rotate_keys(resources, operator="root", now=NOW)).kid
    third = (await admin.rotate_keys(resources, operator="root", now=NOW + 5 * S, lead=timedelta(0))).kid
    assert await signs(ring, NOW + 14 * S) == first
    # the third was not to be overtaken by the second
    assert await signs(ring, NOW + 16 * S) == third
    assert await signs(ring, NOW + 60 * S) == third
    assert await published(ring, NOW + 900 * S) == {first, second, third}
    assert await published(ring, NOW + 2000 * S) == {third}


async def test_another_process_learns_of_a_rotation_by_itself(resources: Resources) -> None:
    other = KeyRing(resources.pool, resources.sealer, cache_s=0.05)
    now = datetime.now(UTC)
    old = await signs(other, now)
    new = (await admin.rotate_keys(resources, operator="root", now=now, lead=timedelta(0))).kid
    async with asyncio.timeout(5):
        while await signs(other, now + S) != new:
            await asyncio.sleep(0.01)
    assert await published(other, now) == {old, new}


async def test_a_rotation_is_audited_and_the_key_is_sealed(resources: Resources, pool: Pool, ring: KeyRing) -> None:
    key = await admin.rotate_keys(resources, operator="grace", now=NOW)
    [entry] = await audit.list_entries(pool)
    assert (entry.actor, entry.action, entry.subject) == ("operator:grace", "signing_key.rotated", key.kid)
    sealed: bytes = await pool.fetchval("SELECT sealed_private_key FROM auth.signing_keys")
    assert resources.sealer.open(sealed)[:1] == b"\x30"  # DER
    assert b"\x30\x82" not in sealed
    stranger = replace(resources, sealer=Sealer(new_secret_key()))
    with pytest.raises(SealError):
        await signs(KeyRing(pool, stranger.sealer), NOW)
