"""The RS256 keys that sign access tokens: made, published, used and withdrawn by the times in their rows.

Owns the access token's form. A new key is published before it signs, so that whoever verifies knows it in time; an old
one stays published until its last token has expired. Private keys lie sealed in the database and never leave here.
"""

import asyncio
import base64
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from ghasi.auth import queries
from ghasi.auth.model import ACCESS_LIFETIME, KeyState, SigningKey, User
from ghasi.contract.shapes import JsonWebKey, JsonWebKeySet
from ghasi.storage.pool import Connection, Pool
from ghasi.storage.sealing import Sealer

PUBLICATION_LEAD = timedelta(seconds=15)
"""How long a key is published before it signs: gateways read the key set every 5 s, and processes here cache it 1 s."""
WITHDRAWAL_MARGIN = timedelta(seconds=60)
CACHE_S = 1.0
_BITS = 2048
_MOST_NAME_CHARS = 100
_jws = jwt.PyJWS(algorithms=["RS256"])


class KeyRing:
    """The signing keys as one process sees them, at most `cache_s` old; makes the first key when there is none."""

    def __init__(self, pool: Pool, sealer: Sealer, *, cache_s: float = CACHE_S) -> None:
        self._pool = pool
        self._sealer = sealer
        self._cache_s = cache_s
        self._keys: list[SigningKey] = []
        self._read_at = float("-inf")
        self._private: dict[str, RSAPrivateKey] = {}
        self._reading = asyncio.Lock()

    async def get_key_set(self, now: datetime) -> JsonWebKeySet:
        """Return the public keys that are published at a time, newest first."""
        keys = [key for key in await self._current(now) if key.published_until is None or key.published_until > now]
        return JsonWebKeySet(
            [JsonWebKey(kty="RSA", use="sig", alg="RS256", kid=key.kid, n=key.modulus, e=key.exponent) for key in keys]
        )

    async def issue_access_token(self, user: User, *, issuer: str, now: datetime) -> str:
        """Sign the contract's claims (section 3) and the extra ones, good for 900 s.

        The portal keeps the token in a cookie, of which browsers take 4096 bytes: names are cut to 100 characters.
        Raises SealError under another GHASI_SECRET_KEY.
        """
        key = signing_key(await self._current(now), now)
        claims = {
            "iss": issuer,
            "sub": str(user.id),
            "account_id": str(user.account_id),
            "email": user.email,
            "roles": user.roles,
            "iat": int(now.timestamp()),
            "exp": int((now + ACCESS_LIFETIME).timestamp()),
            "name": user.name[:_MOST_NAME_CHARS],
            "account_name": user.account_name[:_MOST_NAME_CHARS],
        }
        claims |= {"locale": user.locale} if user.locale is not None else {}
        claims |= {"zoneinfo": user.time_zone} if user.time_zone is not None else {}
        # plain UTF-8, where jwt.encode would write a letter beyond ASCII as six or twelve bytes
        return _jws.encode(msgspec.json.encode(claims), self._open(key), algorithm="RS256", headers={"kid": key.kid})

    def _open(self, key: SigningKey) -> RSAPrivateKey:
        private_key = self._private.get(key.kid)
        if private_key is None:
            loaded = load_der_private_key(self._sealer.open(key.sealed_private_key), password=None)
            if not isinstance(loaded, RSAPrivateKey):
                raise TypeError("a signing key must be an RSA key")
            private_key = self._private[key.kid] = loaded
        return private_key

    async def _current(self, now: datetime) -> list[SigningKey]:
        if time.monotonic() < self._read_at + self._cache_s:
            return self._keys
        async with self._reading:
            started_at = time.monotonic()
            if started_at < self._read_at + self._cache_s:
                return self._keys
            keys = await queries.list_signing_keys(self._pool) or await self._make_first(now)
            self._keys, self._read_at = keys, started_at
            known = {key.kid for key in keys}
            self._private = {kid: key for kid, key in self._private.items() if kid in known}
            return keys

    async def _make_first(self, now: datetime) -> list[SigningKey]:
        async with self._pool.acquire() as connection, connection.transaction():
            await queries.lock_key_rotation(connection)
            if not await queries.list_signing_keys(connection):
                # nobody can have verified with another key, so it need not wait
                await queries.insert_signing_key(connection, await make_key(self._sealer, now=now, signs_from=now))
            return await queries.list_signing_keys(connection)


async def make_key(sealer: Sealer, *, now: datetime, signs_from: datetime) -> SigningKey:
    """Make an RSA key of 2048 bits, its kid the thumbprint of RFC 7638; in a thread, for it takes a while."""
    private_key = await asyncio.to_thread(generate_private_key, 65537, _BITS)
    numbers = private_key.public_key().public_numbers()
    modulus, exponent = _base64url_integer(numbers.n), _base64url_integer(numbers.e)
    thumbprint = sha256(msgspec.json.encode({"e": exponent, "kty": "RSA", "n": modulus})).digest()
    der = private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return SigningKey(_base64url(thumbprint), modulus, exponent, sealer.seal(der), now, signs_from, None)


async def rotate(
    connection: Connection, sealer: Sealer, *, now: datetime, lead: timedelta = PUBLICATION_LEAD
) -> SigningKey:
    """Publish a new key that signs after `lead`, and set the end of the others' publication, within a transaction."""
    await queries.lock_key_rotation(connection)
    keys = await queries.list_signing_keys(connection)
    # after one that is still waiting for its turn, or that one would take over again
    signs_from = max([now + lead, *(key.signs_from + timedelta.resolution for key in keys)])
    key = await make_key(sealer, now=now, signs_from=signs_from)
    await queries.retire_signing_keys(connection, signs_from + ACCESS_LIFETIME + WITHDRAWAL_MARGIN)
    await queries.insert_signing_key(connection, key)
    return key


def signing_key(keys: Sequence[SigningKey], now: datetime) -> SigningKey:
    """Return the key that signs at a time: of those whose turn has come the last, or else the first there is."""
    due = [key for key in keys if key.signs_from <= now]
    if due:
        return max(due, key=lambda key: key.signs_from)
    return min(keys, key=lambda key: key.signs_from)  # made by a process whose clock is ahead


def key_state(key: SigningKey, keys: Sequence[SigningKey], now: datetime) -> KeyState:
    """Return whether a key waits for its turn, signs, or is kept only for tokens that it has signed."""
    if key == signing_key(keys, now):
        return "signing"
    return "published" if key.signs_from > now else "retired"


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _base64url_integer(value: int) -> str:
    return _base64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))
