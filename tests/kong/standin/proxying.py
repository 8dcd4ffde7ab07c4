"""Sends a request on: the balancer's choice among targets, retries, time-outs, and what goes up and comes back."""

import io
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from multidict import CIMultiDict
from yarl import URL

Entity = dict[str, Any]
HOP_BY_HOP = {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "upgrade",
              "transfer-encoding", "proxy-connection"}  # fmt: skip


@dataclass
class Failed(Exception):  # noqa: N818 - an answer
    """No upstream answered: 502, 503 or 504, and what Kong says then."""

    status: int
    message: str
    forwarded: bool = True


@dataclass
class Target:
    host: str
    port: int
    weight: int
    open: int = 0
    failures: int = 0
    healthy: bool = True


@dataclass
class Balancer:
    """least-connections, which asks a target that failed for this request last; passive health checks."""

    targets: list[Target]
    tcp_failures: int

    def pick(self, failed: list[Target]) -> Target | None:
        healthy = [target for target in self.targets if target.healthy]
        fresh = [target for target in healthy if target not in failed] or healthy
        return min(fresh, key=lambda target: (target.open + 1) / target.weight, default=None)

    def report(self, target: Target) -> None:
        target.failures += 1
        if self.tcp_failures and target.failures >= self.tcp_failures:
            target.healthy = False


@dataclass
class Proxy:
    """`next_upstream` is nginx's proxy_next_upstream: what another target is tried after."""

    upstreams: dict[str, Entity]
    next_upstream: frozenset[str] = frozenset({"error", "timeout"})
    balancers: dict[str, Balancer] = field(default_factory=dict)
    session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        self.session = aiohttp.ClientSession(
            auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=None)
        )
        for name, upstream in self.upstreams.items():
            assert upstream["algorithm"] == "least-connections", "others may try the same target again"
            targets = [
                Target(found[1], int(found[2]), target["weight"])
                for target in upstream["targets"]
                if (found := re.fullmatch(r"(.+):(\d+)", target["target"]))
            ]
            passive = upstream["healthchecks"].get("passive", {}).get("unhealthy", {})
            self.balancers[name] = Balancer(targets, passive.get("tcp_failures", 0))

    async def close(self) -> None:
        assert self.session is not None
        await self.session.close()

    async def check_actively(self) -> None:
        """One round of active health checks over http."""
        assert self.session is not None
        for name, balancer in self.balancers.items():
            active = self.upstreams[name]["healthchecks"]["active"]
            for target in balancer.targets:
                url = f"http://{target.host}:{target.port}{active['http_path']}"
                try:
                    async with self.session.get(url, timeout=aiohttp.ClientTimeout(total=active["timeout"])) as answer:
                        if answer.status in active["healthy"]["http_statuses"]:
                            target.healthy, target.failures = True, 0
                except (aiohttp.ClientError, TimeoutError):
                    target.healthy = False

    @asynccontextmanager
    async def ask(
        self, service: Entity, method: str, target: str, *, headers: CIMultiDict[str], body: bytes
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The upstream's answer; raises Failed."""
        balancer = self.balancers.get(service["host"])
        failed: list[Target] = []
        for attempt in range(service["retries"] + 1):
            chosen = balancer.pick(failed) if balancer else Target(service["host"], service["port"], 1)
            if chosen is None:
                raise Failed(503, "failure to get a peer from the ring-balancer", forwarded=False)
            chosen.open += 1
            try:
                async with self._ask(service, chosen, method, target, headers=headers, body=body) as answer:
                    yield answer
                    return
            except Failed as failure:
                failed.append(chosen)
                kind = "timeout" if failure.status == 504 else "error"
                if balancer and kind == "error":
                    balancer.report(chosen)
                if attempt == service["retries"] or kind not in self.next_upstream or failure.status == 503:
                    raise
            finally:
                chosen.open -= 1

    @asynccontextmanager
    async def _ask(
        self, service: Entity, chosen: Target, method: str, target: str, *, headers: CIMultiDict[str], body: bytes
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        assert self.session is not None
        url = URL(f"{service['protocol']}://{chosen.host}:{chosen.port}{service['path'] or ''}{target}", encoded=True)
        headers = CIMultiDict(headers)
        headers["Host"] = f"{chosen.host}:{chosen.port}"
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=service["connect_timeout"] / 1000, sock_read=service["read_timeout"] / 1000
        )
        try:
            data = io.BytesIO(body) if body else None
            answer = await self.session.request(
                method, url, headers=headers, data=data, allow_redirects=False, timeout=timeout,
                skip_auto_headers=("User-Agent", "Content-Type", "Accept", "Accept-Encoding"),
            )  # fmt: skip
        except aiohttp.ClientConnectorDNSError:
            raise Failed(503, "name resolution failed", forwarded=False) from None
        except (TimeoutError, aiohttp.ServerTimeoutError):
            raise Failed(504, "The upstream server is timing out") from None
        except aiohttp.ClientError:
            raise Failed(502, "An invalid response was received from the upstream server") from None
        try:
            yield answer
        finally:
            answer.close()
