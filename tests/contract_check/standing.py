"""All of the API in this process on real sockets, two customers, and a clock that a run may turn on."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from jwt.algorithms import RSAAlgorithm

from ghasi.auth.signing_keys import KeyRing, signing_key
from ghasi.billing.invoices import admin as billing_admin
from ghasi.contract.check import Options, Report, check
from ghasi.contract.check.asking import Http
from ghasi.contract.check.bench import Bench
from ghasi.contract.check.options import Clock, Played
from ghasi.contract.row import Upstream
from ghasi.gateway.app import Gateway
from ghasi.gateway.limits import Limits
from ghasi.gateway.upstreams import HttpUpstream, InProcessUpstream
from ghasi.gateway.windows import MemoryWindows
from ghasi.identity.app import CERTIFICATES, identity_app
from ghasi.processes.hosting import Host
from ghasi.settings import Settings
from ghasi.storage.sealing import new_secret_key
from tests.billing.conftest import LAST_MONTH, Messages, Sms
from tests.contract_check.spoiling import Changes, Spoiler, Way, led
from tests.live import live
from tests.ports import reserved_ports

PORTAL = "https://portal.ghasi.example"
OTHER_ISSUER = "https://elsewhere.example"
QUICKER = 5.0
"""How much sooner time-outs end where they are waited for."""
MARGIN_S = 1.0
"""How much less the gateway then gives an upstream, before it is quicker."""


class TurningClock(Clock):
    """Waiting for a window turns it on; durations and time-outs may be `quicker` than the machine's."""

    def __init__(self, quicker: float = 1.0) -> None:
        self.ahead_s = 0.0
        self._quicker = quicker

    def time(self) -> float:
        return time.time() + self.ahead_s

    def monotonic(self) -> float:
        return time.monotonic() * self._quicker

    async def sleep(self, seconds: float) -> None:
        self.ahead_s += seconds

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._quicker)

    def deadline(self, seconds: float) -> asyncio.Timeout:
        return asyncio.timeout(seconds / self._quicker)


@dataclass
class Standing:
    """What runs, and what a run is told of it."""

    spoiler: Spoiler
    gateway: Gateway
    ways: dict[Upstream, Way]
    services: str
    options: dict[str, Any]
    key: Any
    kid: str

    def sign(self, *, alg: str = "RS256", without: str | None = None, **claims: Any) -> str:
        """A token of account A with other claims, by the deployment's own key and RS256, whatever it says."""
        content = jwt.decode(self.options["token"], options={"verify_signature": False}) | claims
        content = {name: value for name, value in content.items() if name != without}
        parts = [json.dumps(part).encode() for part in ({"typ": "JWT", "alg": alg, "kid": self.kid}, content)]
        signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
        signature = RSAAlgorithm(RSAAlgorithm.SHA256).sign(signed, self.key)
        return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()

    async def check(self, *only: str, changes: Changes | None = None, played: bool = False, **more: Any) -> Report:
        """Run the checker, with changes on the way; upstreams that it plays pass all else on to the services."""
        self.spoiler.clock = clock = TurningClock(QUICKER if played else 1.0)
        async with AsyncExitStack() as stack:
            options = self.options | {"only": only} | more
            if played:
                ports = stack.enter_context(reserved_ports(len(Upstream)))
                options["upstreams"] = {
                    upstream: Played("127.0.0.1", port, self.services)
                    for upstream, port in zip(Upstream, ports, strict=True)
                }
                clients = {
                    upstream: HttpUpstream(f"http://127.0.0.1:{port}")
                    for upstream, port in zip(Upstream, ports, strict=True)
                }
                await stack.enter_async_context(led(self.ways, dict(clients)))
            stack.enter_context(self.spoiler.changing(changes or Changes()))
            return await check(Options(**options), clock=clock)


@asynccontextmanager
async def stand(database_url: str) -> AsyncIterator[Standing]:
    """Open the identity server, the services and the gateway."""
    given: dict[str, Any] = {
        "dev": True, "database_url": database_url, "secret_key": new_secret_key(), "database_pool_size": 5,
        "portal_url": PORTAL, "firebase_project_id": "demo-ghasi",
    }  # fmt: skip
    async with AsyncExitStack() as stack:
        home = await stack.enter_async_context(Host(Settings(**given), asyncio.Event()))
        identity = await stack.enter_async_context(live(identity_app(await home.open_resources("auth"))))
        settings = Settings(**given, firebase_certs_url=identity + CERTIFICATES)
        host = await stack.enter_async_context(Host(settings, asyncio.Event()))
        services = await host.open_services(Upstream)
        client = InProcessUpstream(services)
        spoiler = Spoiler(services, TurningClock())
        ways = {upstream: Way(client, spoiler) for upstream in Upstream}
        gateway = spoiler.app = Gateway(settings, dict(ways), instance="instance-1", health=_healthy)
        resources = await host.open_resources("auth")
        standing = Standing(spoiler, gateway, ways, "", {}, None, "")
        set_limits(standing)
        await gateway.start()
        stack.push_async_callback(gateway.close)
        standing.services = await stack.enter_async_context(live(services, server_header=False))
        url = await stack.enter_async_context(live(spoiler, server_header=False, date_header=False))
        standing.options = {
            "url": url, "origin": PORTAL, "extensions": True,
            "identity": identity + "/identitytoolkit.googleapis.com/v1",
        }  # fmt: skip
        ring = KeyRing(resources.pool, resources.sealer)
        key = signing_key(await ring._current(datetime.now(UTC)), datetime.now(UTC))
        standing.key, standing.kid = ring._open(key), key.kid
        await _sign_two_in(standing)
        account_id = jwt.decode(standing.options["token"], options={"verify_signature": False})["account_id"]
        await Messages(resources.pool).happen(Sms(account_id=account_id, at=LAST_MONTH))
        await billing_admin.close_period(resources.pool, resources.events, f"{LAST_MONTH:%Y-%m}", actor="operator:ann")
        past = datetime.now(UTC) - timedelta(hours=1)
        standing.options["expired_token"] = standing.sign(exp=int(past.timestamp()))
        standing.options["other_issuer_token"] = standing.sign(iss=OTHER_ISSUER)
        yield standing


def set_limits(standing: Standing, **limits: int) -> None:
    """Let the gateway count anew, by the clock of the run, to the contract's limits or to others."""
    standing.gateway._limits = Limits(Settings(**limits), MemoryWindows(), standing.spoiler.now)


async def _sign_two_in(standing: Standing) -> None:
    options = Options(**standing.options)
    async with Http(options.base, standing.spoiler.clock) as http:
        bench = Bench(options, http, standing.spoiler.clock)
        standing.options["token"] = (await bench.candidate("A", None)).token
        standing.options["other_token"] = (await bench.candidate("B", None)).token


async def _healthy() -> dict[str, Any]:
    return {"status": "ok"}
