"""auth-service over a database of the test's own and an identity provider on loopback."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from ghasi.auth.model import Identity
from ghasi.auth.routes import serve
from ghasi.auth.service import Authority, SignedIn, sign_in
from ghasi.auth.signing_keys import KeyRing
from ghasi.contract.serving import Caller, ServiceApp
from ghasi.settings import Settings
from ghasi.storage.pool import UNAVAILABLE
from ghasi.storage.resources import Resources
from tests.asgi import Answer, request
from tests.auth.identity_provider import ISSUER, PROJECT, IdentityProvider, id_token

PORTAL = "http://127.0.0.1:3000"
Configure = Callable[..., Resources]


@pytest.fixture
async def provider() -> AsyncIterator[IdentityProvider]:
    provider = IdentityProvider()
    await provider.start()
    yield provider
    await provider.stop()


@pytest.fixture
def configure(resources: Resources, provider: IdentityProvider) -> Configure:
    """Resources with settings that trust the provider, and some changed."""

    def configured(**changed: Any) -> Resources:
        settings: dict[str, Any] = {
            "dev": True,
            "firebase_project_id": PROJECT,
            "firebase_certs_url": provider.url,
        } | changed
        return replace(resources, settings=Settings(**settings))

    return configured


@dataclass
class Client:
    """Talks to auth-service as the gateway does."""

    app: ServiceApp

    async def sign_in(self, token: str | None = None, *, invitation: str | None = None, **changed: Any) -> Answer:
        body = {"id_token": token or id_token(**changed)} | ({"invitation": invitation} if invitation else {})
        return await request(self.app, "POST", "/v1/auth/firebase", json=body)

    async def refresh(self, cookie: str | None, *, name: str = "ghasi_refresh", origin: str | None = None) -> Answer:
        return await self._with_cookie("/v1/auth/refresh", cookie, name, origin)

    async def sign_out(self, cookie: str | None, *, name: str = "ghasi_refresh", origin: str | None = None) -> Answer:
        return await self._with_cookie("/v1/auth/logout", cookie, name, origin)

    async def _with_cookie(self, path: str, cookie: str | None, name: str, origin: str | None) -> Answer:
        headers = {"cookie": f"theme=dark; {name}={cookie}"} if cookie is not None else {}
        if origin is not None:
            headers["origin"] = origin
        return await request(self.app, "POST", path, headers=headers)

    async def call(self, caller: Caller, method: str, target: str, **more: Any) -> Answer:
        headers = injected(caller) | more.pop("headers", {})
        return await request(self.app, method, target, headers=headers, **more)


def injected(caller: Caller) -> dict[str, str]:
    return {
        "x-account-id": str(caller.account_id),
        "x-user-id": str(caller.user_id),
        "x-consumer-username": "ghasi-key" if caller.is_api_key else "ghasi-user",
        "x-credential-identifier": caller.credential,
        "x-kong-request-id": "request-1",
    }


def caller_of(answer: Answer | SignedIn) -> Caller:
    if isinstance(answer, SignedIn):
        return Caller(UUID(answer.session.account.id), UUID(answer.session.user.id), False, "kid")
    return Caller(UUID(answer.json["account"]["id"]), UUID(answer.json["user"]["id"]), False, "kid")


def cookie_of(answer: Answer) -> str:
    header = answer.header("set-cookie")
    assert header is not None
    return header.partition(";")[0].partition("=")[2]


@pytest.fixture
async def client(configure: Configure) -> AsyncIterator[Client]:
    async with serve(configure()) as handlers:
        yield Client(ServiceApp(handlers, unavailable=UNAVAILABLE))


@pytest.fixture
def authority(resources: Resources) -> Authority:
    return make_authority(resources)


def make_authority(resources: Resources) -> Authority:
    return Authority(
        resources.pool,
        KeyRing(resources.pool, resources.sealer),
        resources.sealer.derive("refresh-token"),
        "https://api.ghasi.io",
        lambda: None,
    )


def identity(subject: str = "person-1", email: str = "ada@example.com", name: str = "Ada Lovelace") -> Identity:
    return Identity(ISSUER, subject, email, name)


async def invite(client: Client, owner: Caller, email: str, role: str = "member") -> str:
    """An invitation's token."""
    answer = await client.call(owner, "POST", "/v1/invitations", json={"email": email, "role": role})
    assert answer.status == 201, answer.body
    token: str = answer.json["token"]
    return token


async def join(client: Client, owner: Caller, email: str, role: str = "member") -> Caller:
    """A person, whose subject is their e-mail, who was invited into the owner's account and came."""
    answer = await client.sign_in(sub=email, email=email, invitation=await invite(client, owner, email, role))
    assert answer.status == 200, answer.body
    assert answer.json["account"]["id"] == str(owner.account_id)
    return caller_of(answer)


SignIn = Callable[..., Awaitable[SignedIn]]


@pytest.fixture
def signed_in(authority: Authority) -> SignIn:
    async def enter(subject: str = "person-1", now: datetime | None = None) -> SignedIn:
        return await sign_in(authority, identity(subject), now=now or datetime.now(UTC), request_id="request-1")

    return enter
