"""What stands behind the gateway in its tests: an auth-service with real keys, and an upstream that records."""

import base64
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from uuid import UUID, uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from ghasi.contract.errors import Problem
from ghasi.contract.keys import key_hash, new_key
from ghasi.contract.row import Upstream
from ghasi.contract.serving import Asgi, Call, RawHeaders, Receive, Reply, Scope, Send, ServiceApp
from ghasi.contract.shapes import SCOPES, ApiKeyGrant, GatewayState, JsonWebKey, JsonWebKeySet
from ghasi.gateway.app import Gateway
from ghasi.gateway.upstreams import InProcessUpstream, UpstreamClient
from ghasi.settings import Settings

ISSUER = "https://api.ghasi.io"
ACCOUNT_ID = str(UUID("0190a0a0-0000-7000-8000-000000000001"))
USER_ID = str(UUID("0190a0a0-0000-7000-8000-000000000002"))


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """A real key, made once for each name in a test process."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_jwk(kid: str, name: str | None = None) -> JsonWebKey:
    numbers = RSAAlgorithm.to_jwk(rsa_key(name or kid).public_key(), as_dict=True)
    return JsonWebKey(kty="RSA", use="sig", alg="RS256", kid=kid, n=numbers["n"], e=numbers["e"])


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def make_token(
    *,
    key: str = "first",
    header: dict[str, Any] | None = None,
    without: tuple[str, ...] = (),
    **claims: Any,
) -> str:
    """A token signed by RS256 with the named key, whatever its header says; claims given replace the usual ones."""
    content = {
        "sub": USER_ID, "account_id": ACCOUNT_ID, "email": "a@example.com", "roles": ["customer"], "iss": ISSUER,
        "exp": int(time.time()) + 900,
    } | claims  # fmt: skip
    content = {name: value for name, value in content.items() if name not in without}
    head = {"typ": "JWT", "alg": "RS256", "kid": key} if header is None else header
    signed = f"{base64url(json.dumps(head).encode())}.{base64url(json.dumps(content).encode())}"
    signature = RSAAlgorithm(RSAAlgorithm.SHA256).sign(signed.encode(), rsa_key(key))
    return f"{signed}.{base64url(signature)}"


def bearer(token: str | None = None, **claims: Any) -> dict[str, str]:
    return {"authorization": f"Bearer {token or make_token(**claims)}"}


class AuthService:
    """An auth-service that keeps everything in memory; `away` makes it break off."""

    def __init__(self) -> None:
        self.keys = [public_jwk("first")]
        self.grants: dict[str, ApiKeyGrant] = {}
        self.limits: dict[str, dict[str, int]] = {}
        self.removed_users: list[str] = []
        self.lease_holder: str | None = None
        self.lease_shared = False
        self.away = False
        self.key_fetches = self.key_lookups = self.lease_polls = 0
        self.entered: Callable[[], Awaitable[None]] | None = None
        self._service = ServiceApp(
            {
                "get_json_web_keys": self._get_keys,
                "find_api_key": self._find_api_key,
                "hold_gateway_lease": self._hold_lease,
            }
        )

    def add_key(self, **fields: Any) -> tuple[str, ApiKeyGrant]:
        """A new API key and what it stands for."""
        key = new_key()
        grant = ApiKeyGrant(
            **({"id": str(uuid4()), "account_id": ACCOUNT_ID, "user_id": USER_ID, "scopes": list(SCOPES),
                "expires_at": None} | fields)
        )  # fmt: skip
        self.grants[key_hash(key)] = grant
        return key, grant

    def revoke(self, key: str) -> None:
        del self.grants[key_hash(key)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.away:
            raise ConnectionResetError
        await self._service(scope, receive, send)

    async def _get_keys(self, call: Call) -> Reply:
        self.key_fetches += 1
        return Reply(JsonWebKeySet(keys=list(self.keys)))

    async def _find_api_key(self, call: Call) -> Reply:
        self.key_lookups += 1
        if self.entered is not None:
            await self.entered()
        grant = self.grants.get(call.body.hash)
        if grant is None:
            raise Problem("not_found")
        return Reply(grant)

    async def _hold_lease(self, call: Call) -> Reply:
        self.lease_polls += 1
        if self.lease_holder is not None and not (
            call.body.shares_limits if self.lease_shared else self.lease_holder == call.body.instance
        ):
            raise Problem("gateway_exists")
        self.lease_holder, self.lease_shared = call.body.instance, call.body.shares_limits
        return Reply(GatewayState(limits=self.limits, removed_users=self.removed_users))


@dataclass
class Recorded:
    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


@dataclass
class Recorder:
    """Keeps what it receives and answers what it is told."""

    status: int = 200
    body: bytes = b'{"from":"upstream"}'
    headers: RawHeaders = field(default_factory=lambda: [(b"content-type", b"application/json")])
    received: list[Recorded] = field(default_factory=list)

    @property
    def last(self) -> Recorded:
        return self.received[-1]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = [(name.decode(), value.decode("latin-1")) for name, value in scope["headers"]]
        path = scope["raw_path"].decode()
        self.received.append(Recorded(scope["method"], path, scope["query_string"].decode(), headers, body))
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


def serving(auth: Asgi, others: Asgi) -> Asgi:
    """One app of all upstreams: what the gateway asks for itself goes to `auth`."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        own = scope["path"].startswith(("/internal/", "/.well-known/"))
        await (auth if own else others)(scope, receive, send)

    return app


async def healthy() -> dict[str, Any]:
    return {"status": "ok"}


@asynccontextmanager
async def running(
    auth: AuthService, others: Asgi | dict[Upstream, UpstreamClient], *, instance: str = "instance-1", **settings: Any
) -> AsyncIterator[Gateway]:
    """A started gateway before `auth` and the other upstreams."""
    split = others if isinstance(others, dict) else {}
    app = serving(auth, Recorder() if isinstance(others, dict) else others)
    upstreams = dict.fromkeys(Upstream, InProcessUpstream(app)) | split
    gateway = Gateway(Settings(**settings), upstreams, instance=instance, health=healthy)
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.close()


def foreign_token() -> str:
    """A well-formed token of another issuer's making, by HMAC."""
    return jwt.encode({"sub": USER_ID, "exp": time.time() + 60, "kid": "first"}, "x" * 32, algorithm="HS256")
