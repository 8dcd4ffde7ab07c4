"""An identity provider on loopback: real keys and certificates, fetches counted, able to go away and come back."""

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import jwt
import msgspec
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

PROJECT = "demo-ghasi"
ISSUER = f"https://securetoken.google.com/{PROJECT}"
MISSING = object()


@cache
def private_key(name: str) -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


@cache
def certificate(name: str) -> str:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(subject, subject, private_key(name).public_key(), 1, now, now + timedelta(days=1))
    return builder.sign(private_key(name), SHA256()).public_bytes(Encoding.PEM).decode()


def claims(now: datetime | None = None, **changed: Any) -> dict[str, Any]:
    """A good ID token's claims with some changed, or left out by MISSING."""
    at = int((now or datetime.now(UTC)).timestamp())
    good = {
        "iss": ISSUER, "aud": PROJECT, "sub": "person-1", "iat": at - 1, "auth_time": at - 2, "exp": at + 3600,
        "email": "ada@example.com", "name": "Ada Lovelace",
    }  # fmt: skip
    return {name: value for name, value in (good | changed).items() if value is not MISSING}


def id_token(
    payload: dict[str, Any] | None = None, *, kid: Any = "first", signed_by: str = "first", **changed: Any
) -> str:
    body = payload if payload is not None else claims(**changed)
    # PyJWT refuses to make some of the bad tokens, so they are put together by hand
    header: dict[str, Any] = {"alg": "RS256", "typ": "JWT"} | ({} if kid is MISSING else {"kid": kid})
    return sign(header, msgspec.json.encode(body), private_key(signed_by))


def sign(header: dict[str, Any], payload: bytes, key: RSAPrivateKey) -> str:
    signing_input = f"{base64url(msgspec.json.encode(header))}.{base64url(payload)}"
    signature = jwt.get_algorithm_by_name("RS256").sign(signing_input.encode(), key)
    return f"{signing_input}.{base64url(signature)}"


def unsigned_token(**changed: Any) -> str:
    header = base64url(b'{"alg":"none","typ":"JWT"}')
    return f"{header}.{base64url(msgspec.json.encode(claims(**changed)))}."


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class IdentityProvider:
    def __init__(self) -> None:
        self.kids = ["first"]
        self.cache_control = "public, max-age=600"
        self.headers: dict[str, str] = {}
        self.status = 200
        self.body: bytes | None = None
        self.fetches = 0
        self.hold: asyncio.Event | None = None
        self._port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/certificates"

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/certificates", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.Response:
        self.fetches += 1
        if self.hold is not None:
            await self.hold.wait()
        body = self.body or msgspec.json.encode({kid: certificate(kid) for kid in self.kids})
        headers = {"Cache-Control": self.cache_control} | self.headers
        return web.Response(body=body, status=self.status, content_type="application/json", headers=headers)
