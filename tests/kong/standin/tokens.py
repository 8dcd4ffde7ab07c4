"""The jwt plugin, in the order of its checks and with the answers that a real Kong 3.9.3 gave."""

import base64
import json
import re
import time
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

Entity = dict[str, Any]
ALGORITHMS = {f"{kind}{size}" for kind in ("HS", "RS", "ES", "PS") for size in (256, 384, 512)} | {"EdDSA"}


class NotAuthenticated(Exception):  # noqa: N818 - an answer
    def __init__(self, body: Entity, *, challenge: str = 'Bearer error="invalid_token"') -> None:
        self.body = body
        self.challenge = challenge


def _refuse(message: str) -> NotAuthenticated:
    return NotAuthenticated({"message": message})


def authenticate(
    config: Entity, query: dict[str, list[str]], authorization: list[str], secrets: dict[str, Entity]
) -> Entity:
    """The credential of a request; raises NotAuthenticated."""
    found = {token for name in config["uri_param_names"] for token in query.get(name, [])}
    for value in authorization[:1]:
        if bearer := re.search(r"\s*[Bb]earer\s+(.+)", value):
            found.add(bearer[1])
    if not found:
        raise NotAuthenticated({"message": "Unauthorized"}, challenge="Bearer")
    if len(found) > 1:
        raise _refuse("Multiple tokens provided")
    header, claims, signed, signature = _decode(found.pop())
    name = config["key_claim_name"]
    key = claims.get(name) or header.get(name)
    if key is None:
        raise _refuse(f"No mandatory '{name}' in claims")
    if key == "":
        raise _refuse(f"Invalid '{name}' in claims")
    secret = secrets.get(str(key))
    if secret is None:
        raise _refuse(f"No credentials found for given '{name}'")
    if header["alg"] != secret["algorithm"]:
        raise _refuse("Invalid algorithm")
    public = load_pem_public_key(secret["rsa_public_key"].encode())
    assert isinstance(public, RSAPublicKey)
    try:
        public.verify(signature, signed, PKCS1v15(), SHA256())
    except InvalidSignature:
        raise _refuse("Invalid signature") from None
    if "exp" in (config["claims_to_verify"] or []):
        expires_at = claims.get("exp")
        if isinstance(expires_at, bool) or not isinstance(expires_at, int | float):
            raise NotAuthenticated({"exp": "must be a number"})
        if expires_at <= time.time():
            raise NotAuthenticated({"exp": "token expired"})
    return secret


def _decode(token: str) -> tuple[Entity, Entity, bytes, bytes]:
    try:
        head, body, signature = token.split(".", 2)
        header, claims = json.loads(_base64(head)), json.loads(_base64(body))
    except ValueError:
        raise _refuse("Bad token; invalid JSON") from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise _refuse("Bad token; invalid JSON")
    if header.get("alg") not in ALGORITHMS:
        raise _refuse("Bad token; invalid alg")
    try:
        return header, claims, f"{head}.{body}".encode(), _base64(signature)
    except ValueError:
        raise _refuse("Bad token; invalid signature") from None


def _base64(text: str) -> bytes:
    return base64.b64decode(text.translate(str.maketrans("-_", "+/")) + "=" * (-len(text) % 4), validate=True)
