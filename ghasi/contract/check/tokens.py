"""Reads tokens and makes such as nobody should believe; their form is right, so that each is refused for one reason."""

import base64
import hmac
import json
from functools import cache
from hashlib import sha256
from typing import Any
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from ghasi.contract.check.promises import Broken

Json = dict[str, Any]


def read(token: str) -> tuple[Json, Json]:
    """Return a token's header and claims, unverified; raises Broken where it is no JWT."""
    parts = token.split(".")
    try:
        header, claims = (json.loads(_decode(part)) for part in parts[:2])
    except ValueError:
        raise Broken("a JWT", "something else") from None
    if len(parts) != 3 or not isinstance(header, dict) or not isinstance(claims, dict):  # noqa: PLR2004 - RFC 7515
        raise Broken("a JWT", "something else")
    return header, claims


def signed_part(token: str) -> tuple[bytes, bytes]:
    """Return what a token's signature is of, and the signature."""
    signed, _, signature = token.rpartition(".")
    return signed.encode(), _decode(signature)


def forged(kid: str | None, claims: Json, algorithm: str = "RS256") -> str:
    """Make a token that no key of the deployment has signed.

    By RS256 it is signed with a key of our own, by HS256 with a text, by `none` with nothing. Without a kid it
    has none; the empty one is one.
    """
    header: Json = {"typ": "JWT", "alg": algorithm} | ({} if kid is None else {"kid": kid})
    signed = f"{_encode(_json(header))}.{_encode(_json(claims))}"
    if algorithm == "RS256":
        signature = _own_key().sign(signed.encode(), padding.PKCS1v15(), SHA256())
    elif algorithm == "HS256":
        signature = hmac.digest(b"anything", signed.encode(), sha256)
    else:
        signature = b""
    return f"{signed}.{_encode(signature)}"


def usual_claims(issuer: str, now: float) -> Json:
    """Return claims such as a user's token has, of nobody."""
    return {
        "sub": str(uuid4()), "account_id": str(uuid4()), "email": "nobody@example.com", "roles": ["customer"],
        "iss": issuer, "exp": int(now) + 600,
    }  # fmt: skip


def with_claims(token: str, **changed: Any) -> str:
    """Return a token with other claims under its old signature."""
    header, claims, signature = token.split(".")
    content = json.loads(_decode(claims)) | changed
    return f"{header}.{_encode(_json(content))}.{signature}"


def with_bad_signature(token: str) -> str:
    """Return a token of which one bit of the signature is another."""
    signed, _, signature = token.rpartition(".")
    raw = bytearray(_decode(signature))
    raw[len(raw) // 2] ^= 1
    return f"{signed}.{_encode(bytes(raw))}"


@cache
def _own_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _json(value: Json) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
