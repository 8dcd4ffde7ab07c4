"""Published keys (a JWKS) as the jwt plugin's credentials, one for each kid."""

import asyncio
import base64
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ghasi.contract.kong import KongError
from ghasi.contract.row import Upstream
from ghasi.contract.shapes import JsonWebKey, JsonWebKeySet
from ghasi.contract.table import BY_OPERATION
from ghasi.settings import Settings

DEFAULT_PORT = 8000
TIMEOUT_S = 10.0
_OK = 200
_decode = msgspec.json.Decoder(JsonWebKeySet).decode


def auth_service_url(settings: Settings) -> str:
    """Return where auth-service is, without a trailing slash; by default under its own name."""
    return (settings.auth_service_url or f"http://{Upstream.AUTH.value}:{DEFAULT_PORT}").rstrip("/")


def key_set_url(settings: Settings) -> str:
    """Return where auth-service publishes its keys."""
    return f"{auth_service_url(settings)}{BY_OPERATION['get_json_web_keys'].path}"


def credentials_of(keys: JsonWebKeySet) -> list[dict[str, str]]:
    """Return the jwt_secrets of a key set, in the order of their kids; raises KongError for what is no RSA key."""
    return [{"key": kid, "algorithm": "RS256", "rsa_public_key": pem} for kid, pem in sorted(public_keys(keys).items())]


def public_keys(keys: JsonWebKeySet) -> Mapping[str, str]:
    """Return each key's PEM by its kid; raises KongError for a key that is no RSA key."""
    return {key.kid: _pem(key) for key in keys.keys}


async def read_keys(source: str, settings: Settings) -> JsonWebKeySet:
    """Return the key set at a URL or in a file; raises KongError when it can't be had or is none, or is empty.

    auth-service gets the gateway's proof, which it asks for even there; nobody else does.
    """
    proof = {}
    if settings.upstream_secret is not None and source.startswith(f"{auth_service_url(settings)}/"):
        proof["X-Ghasi-Upstream-Secret"] = settings.upstream_secret
    try:
        content = await _fetch(source, proof) if "://" in source else await asyncio.to_thread(Path(source).read_bytes)
        keys = _decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise KongError(f"{source} is no JWKS: {error}") from error
    if not keys.keys:
        raise KongError(f"{source} has no keys")
    return keys


async def _fetch(url: str, headers: Mapping[str, str]) -> bytes:
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            if answer.status != _OK:
                raise KongError(f"{url} answers {answer.status}")
            return await answer.read()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise KongError(f"{url} can't be had: {str(error) or type(error).__name__}") from error


def _pem(key: JsonWebKey) -> str:
    if key.kty != "RSA":
        raise KongError(f"the key {key.kid} is no RSA key")
    try:
        numbers = RSAPublicNumbers(e=_number(key.e), n=_number(key.n))
        public = numbers.public_key()
    except ValueError as error:
        raise KongError(f"the key {key.kid} is no RSA key: {error}") from error
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _number(text: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")
