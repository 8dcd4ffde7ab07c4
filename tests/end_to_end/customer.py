"""A customer of a running Ghasi: plain HTTP requests, nothing of Ghasi's own client."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import aiohttp
from aiohttp import web

from tests.end_to_end.deployment import Deployment


@dataclass
class Answer:
    status: int
    headers: Any
    json: Any


@dataclass
class Customer:
    """A signed-up user with a JWT; `http` keeps the refresh cookie as a browser does."""

    deployment: Deployment
    http: aiohttp.ClientSession
    token: str
    session: dict[str, Any]

    async def call(self, method: str, path: str, json: Any = None, token: str | None = None, **headers: str) -> Answer:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        headers = {"Authorization": f"Bearer {token or self.token}"} | headers
        async with self.http.request(method, self.deployment.api + path, json=json, headers=headers) as response:
            content = await response.read()
            is_json = "json" in response.headers.get("Content-Type", "")
            return Answer(response.status, response.headers, _decode(content) if is_json else content)

    async def good(self, method: str, path: str, json: Any = None, **rest: Any) -> Any:
        answer = await self.call(method, path, json, **rest)
        assert 200 <= answer.status < 300, (answer.status, answer.json)
        return answer.json


def _decode(content: bytes) -> Any:
    return json.loads(content) if content else None


@asynccontextmanager
async def signed_up(deployment: Deployment) -> AsyncIterator[Customer]:
    """Sign up at the identity server and exchange the ID token, as the quick start does."""
    jar = aiohttp.CookieJar(unsafe=True)  # cookies for an address without a name
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(cookie_jar=jar, timeout=timeout) as http:
        email = f"ann-{uuid4().hex[:12]}@example.com"
        body = {"email": email, "password": "correct horse", "returnSecureToken": True}
        async with http.post(f"{deployment.identity}/accounts:signUp?key=local", json=body) as response:
            assert response.status == 200, await response.text()
            id_token = (await response.json())["idToken"]
        async with http.post(f"{deployment.api}/v1/auth/firebase", json={"id_token": id_token}) as response:
            assert response.status == 200, await response.text()
            session = await response.json()
        yield Customer(deployment, http, session["access_token"], session)


@dataclass
class Receiver:
    """A customer's own web server that takes webhooks."""

    url: str
    secret: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    forged: int = 0

    def of(self, event_type: str) -> set[str]:
        """Ids of the messages for which an event came."""
        return {event["data"]["id"] for event in self.events if event["type"] == event_type}

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        identifier, at = request.headers["webhook-id"], request.headers["webhook-timestamp"]
        key = base64.b64decode(self.secret.removeprefix("whsec_"))
        signed = hmac.digest(key, f"{identifier}.{at}.".encode() + body, hashlib.sha256)
        if f"v1,{base64.b64encode(signed).decode()}" not in request.headers["webhook-signature"].split():
            self.forged += 1
            return web.Response(status=400)
        if identifier not in self.ids:
            self.events.append(json.loads(body))
        self.ids.append(identifier)
        return web.Response(status=204)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver on loopback."""
    receiver = Receiver("")
    app = web.Application()
    app.router.add_post("/hook", receiver.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()
