"""All five upstreams of real Ghasi on sockets of their own, and the committed configuration with their addresses."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
import yaml

from ghasi.contract.kong.keys import credentials_of
from ghasi.contract.row import Upstream
from ghasi.contract.shapes import JsonWebKeySet
from ghasi.contract.values import new_id
from ghasi.processes.hosting import Host
from ghasi.settings import Settings
from ghasi.storage.sealing import new_secret_key
from tests.auth.identity_provider import PROJECT, id_token
from tests.live import live

FILE = Path(__file__).parents[2] / "deploy" / "kong.yaml"
UPSTREAM_SECRET, PORTAL_SECRET = "the gateway's proof", "the portal's proof"


@dataclass
class Answer:
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def remaining(self) -> str | None:
        return self.headers.get("X-RateLimit-Remaining-Minute")


@dataclass
class Services:
    """Where each upstream is, and the keys that auth-service publishes."""

    urls: dict[str, str]
    keys: JsonWebKeySet

    def configuration(self, text: str | None = None, **moved: str) -> str:
        """The committed file with hosts and keys of here, and nothing else changed; `moved` are other hosts."""
        document = yaml.load(text or FILE.read_text(encoding="utf-8"), yaml.CSafeLoader)
        urls = self.urls | {name.replace("_", "-"): url for name, url in moved.items()}
        for service in document["services"]:
            if service["host"] in urls:
                parts = urlsplit(urls[service["host"]])
                service["host"], service["port"] = parts.hostname, parts.port
        for upstream in document["upstreams"]:
            for target in upstream["targets"]:
                target["target"] = urlsplit(urls[target["target"].partition(":")[0]]).netloc
        document["consumers"][0]["jwt_secrets"] = credentials_of(self.keys)
        return yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False)


@contextlib.asynccontextmanager
async def running_services(database_url: str, certificates_url: str, **changed: Any) -> AsyncIterator[Services]:
    given: dict[str, Any] = {
        "database_url": database_url, "secret_key": new_secret_key(), "database_pool_size": 5,
        "firebase_project_id": PROJECT, "firebase_certs_url": certificates_url,
    }  # fmt: skip
    async with contextlib.AsyncExitStack() as stack:
        host = await stack.enter_async_context(Host(Settings(**(given | changed)), asyncio.Event()))
        urls = {}
        for upstream in Upstream:
            app = await host.open_services([upstream], upstream_secret=UPSTREAM_SECRET)
            urls[upstream.value] = await stack.enter_async_context(live(app))
        proof = {"x-ghasi-upstream-secret": UPSTREAM_SECRET}
        http = await stack.enter_async_context(aiohttp.ClientSession(headers=proof))
        async with http.get(f"{urls['auth-service']}/.well-known/jwks.json") as answer:
            keys = msgspec.json.decode(await answer.read(), type=JsonWebKeySet)
        yield Services(urls, keys)


@dataclass
class Customer:
    """Calls a gateway at `url` with what it was given at sign-in."""

    http: aiohttp.ClientSession
    url: str
    session: dict[str, Any]

    @property
    def account_id(self) -> str:
        return str(self.session["account"]["id"])

    async def call(
        self, method: str, target: str, json: Any = None, *, token: str | None = None, **headers: str
    ) -> Answer:
        spelled = {name.replace("_", "-"): value for name, value in headers.items()}
        bearer = {"authorization": f"Bearer {token or self.session['access_token']}"}
        return await call(self.http, self.url, method, target, json=json, headers=bearer | spelled)

    async def create_key(self, *scopes: str) -> dict[str, Any]:
        answer = await self.call("POST", "/v1/api-keys", {"name": "a key", "scopes": list(scopes)})
        assert answer.status == 201, answer.body
        return dict(answer.json)


async def call(
    http: aiohttp.ClientSession,
    url: str,
    method: str,
    target: str,
    *,
    json: Any = None,
    headers: Any = None,
    data: bytes | None = None,
) -> Answer:
    content = data if data is not None else None if json is None else msgspec.json.encode(json)
    body = None if content is None else io.BytesIO(content)
    async with http.request(method, url + target, data=body, headers=headers, allow_redirects=False) as answer:
        return Answer(answer.status, answer.headers, await answer.read())


async def signed_in(http: aiohttp.ClientSession, url: str, address: str) -> Customer:
    """A new customer, at the portal, whose visitor is at an address of their own."""
    visitor = {"X-Ghasi-Portal-Secret": PORTAL_SECRET, "X-Forwarded-For": address}
    token = {"id_token": id_token(sub=str(new_id()))}
    answer = await call(http, url, "POST", "/v1/auth/firebase", json=token, headers=visitor)
    assert answer.status == 200, answer.body
    return Customer(http, url, answer.json)
