"""Verifies a user's JWT in the order in which Kong's jwt plugin does, and with its answers.

Owns the parsing, the claims and the cache of tokens already verified. Where keys come from is json_web_keys' business;
a token in the query string or a cookie is never looked at.
"""

import base64
import binascii
import time
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import UUID

import msgspec
from jwt.algorithms import RSAAlgorithm

from ghasi.contract.serving import RawHeaders
from ghasi.contract.shapes import Scope
from ghasi.gateway.answers import bad_expiry, bad_token, unknown_caller
from ghasi.gateway.auth_service import AuthService
from ghasi.gateway.json_web_keys import JsonWebKeys

MAX_CACHED = 10_000
USER, API_KEY = b"ghasi-user", b"ghasi-key"
_ALGORITHMS = frozenset(
    {
        "HS256",
        "HS384",
        "HS512",
        "RS256",
        "RS384",
        "RS512",
        "ES256",
        "ES384",
        "ES512",
        "PS256",
        "PS384",
        "PS512",
        "EdDSA",
    }
)
"""What Kong 3.9 can verify; another algorithm, none included, is a bad token rather than the wrong algorithm."""
_UUID_LENGTH = 36
_FROM_URL = bytes.maketrans(b"-_", b"+/")
_rs256 = RSAAlgorithm(RSAAlgorithm.SHA256)
_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class Identity:
    """A verified caller: whose requests are counted, what upstreams are told, what an API key's scopes allow.

    `scopes` is None for a user's JWT, which is bound by none. `expires_at` is a Unix time in seconds.
    """

    account_id: str
    user_id: str
    headers: RawHeaders
    scopes: frozenset[Scope] | None
    expires_at: float
    credential: str


def make_identity(
    account_id: str,
    user_id: str,
    username: bytes,
    *,
    credential: str,
    expires_at: float,
    scopes: frozenset[Scope] | None = None,
) -> Identity:
    """Make the identity of a verified caller, with the contract's three headers and the credential's."""
    headers = [
        (b"x-account-id", account_id.encode()),
        (b"x-user-id", user_id.encode()),
        (b"x-consumer-username", username),
        (b"x-credential-identifier", credential.encode()),
    ]
    return Identity(account_id, user_id, headers, scopes, expires_at, credential)


@dataclass(frozen=True, slots=True)
class _Token:
    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    signature: bytes


class Tokens:
    """Verifies tokens; each refusal is one of Kong's."""

    def __init__(self, auth_service: AuthService, issuer: str) -> None:
        self.keys = JsonWebKeys(auth_service, self._forget)
        self._issuer = issuer
        self._verified: OrderedDict[bytes, Identity] = OrderedDict()

    async def verify(self, token: bytes) -> Identity:
        """Return whom a token stands for; raises Refusal, or AuthServiceAway where no key was ever had."""
        digest = sha256(token).digest()
        identity = self._verified.get(digest)
        if identity is not None:
            if identity.expires_at > time.time():
                self._verified.move_to_end(digest)
                return identity
            del self._verified[digest]
        identity = await self._verify(_parse(token))
        self._verified[digest] = identity
        if len(self._verified) > MAX_CACHED:
            self._verified.popitem(last=False)
        return identity

    async def _verify(self, token: _Token) -> Identity:
        kid = token.claims.get("kid")
        if kid is None:
            kid = token.header.get("kid")
        if kid is None:
            raise bad_token("No mandatory 'kid' in claims")
        if kid == "":
            raise bad_token("Invalid 'kid' in claims")
        key = await self.keys.find(kid) if isinstance(kid, str) else None
        if not isinstance(kid, str) or key is None:
            raise bad_token("No credentials found for given 'kid'", "unknown_kid")
        if token.header["alg"] != "RS256":
            raise bad_token("Invalid algorithm")
        if not _rs256.verify(token.signed, key, token.signature):
            raise bad_token("Invalid signature", "invalid_signature")
        expires_at = token.claims.get("exp")
        if isinstance(expires_at, bool) or not isinstance(expires_at, int | float):
            raise bad_expiry("must be a number")
        if expires_at <= time.time():
            raise bad_expiry("token expired")
        account_id, user_id = _uuid(token.claims.get("account_id")), _uuid(token.claims.get("sub"))
        if token.claims.get("iss") != self._issuer or account_id is None or user_id is None:
            raise unknown_caller()
        return make_identity(account_id, user_id, USER, credential=kid, expires_at=expires_at)

    def _forget(self, kids: set[str]) -> None:
        for digest in [digest for digest, known in self._verified.items() if known.credential in kids]:
            del self._verified[digest]


def _parse(token: bytes) -> _Token:
    parts = token.split(b".", 2)
    try:
        header_64, claims_64, signature_64 = parts
        header, claims = _decode(_decode_base64(header_64)), _decode(_decode_base64(claims_64))
    except (ValueError, binascii.Error, msgspec.DecodeError, RecursionError):
        raise bad_token("Bad token; invalid JSON") from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise bad_token("Bad token; invalid JSON")
    kind = header.get("typ")
    if kind is not None and not (isinstance(kind, str) and kind.upper() == "JWT"):
        raise bad_token("Bad token; invalid typ")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in _ALGORITHMS:
        raise bad_token("Bad token; invalid alg")
    try:
        signature = _decode_base64(signature_64)
    except (ValueError, binascii.Error):
        raise bad_token("Bad token; invalid signature") from None
    return _Token(header, claims, header_64 + b"." + claims_64, signature)


def _decode_base64(text: bytes) -> bytes:
    """Decode base64 or base64url, padded or not, as Kong does."""
    return base64.b64decode(text.translate(_FROM_URL) + b"=" * (-len(text) % 4), validate=True)


def _uuid(value: object) -> str | None:
    if not isinstance(value, str) or len(value) != _UUID_LENGTH:
        return None
    try:
        return str(UUID(value))
    except ValueError:
        return None
