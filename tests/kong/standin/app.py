"""The stand-in as an ASGI app, and on a socket."""

import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

from multidict import CIMultiDict

from tests.kong.standin import tokens
from tests.kong.standin.limiting import Limiter
from tests.kong.standin.loading import PRIORITIES, Entity, applying, load
from tests.kong.standin.lua import Exit, Lua, Seen
from tests.kong.standin.proxying import HOP_BY_HOP, Failed, Proxy
from tests.kong.standin.routing import Router, normalized
from tests.live import live

SERVER = "kong/3.9.3"
SIZES = {"bytes": 1, "kilobytes": 2**10, "megabytes": 2**20}
Send = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass
class Exchange:
    """One request on its way through the plugins."""

    scope: dict[str, Any]
    seen: Seen
    body: bytes
    headers: CIMultiDict[str] = field(default_factory=CIMultiDict)
    plugins: dict[str, Entity] = field(default_factory=dict)
    preflight: bool = False
    correlation: str = ""
    began: float = field(default_factory=time.perf_counter)

    @property
    def request_id(self) -> str:
        return str(self.seen.vars["kong_request_id"])

    def first(self, name: str) -> str | None:
        """A header as nginx's variable has it: dashes and underscores are the same."""
        spelled = name.lower().replace("-", "_")
        return next((value for key, value in self.seen.headers if key.lower().replace("-", "_") == spelled), None)


class Kong:
    """A Kong node that has loaded a file; `environment` is the process's own, `trusted_ips` KONG_TRUSTED_IPS."""

    def __init__(
        self,
        text: str,
        *,
        environment: dict[str, str] | None = None,
        trusted_ips: str = "",
        next_upstream: frozenset[str] = frozenset({"error", "timeout"}),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.loaded = load(text)
        self._trusted = [ip_network(network) for network in trusted_ips.split(",") if network]
        self._router = Router(self.loaded.routes)
        self.lua = Lua(self.loaded.services, environment or {}, self._is_trusted)
        self.limiter = Limiter(clock)
        self.proxy = Proxy(self.loaded.upstreams, next_upstream)

    def load(self, text: str) -> None:
        """Take another configuration, as POST /config does; counters stay."""
        self.loaded = load(text)
        self._router = Router(self.loaded.routes)

    async def open(self) -> None:
        await self.proxy.open()

    async def close(self) -> None:
        await self.proxy.close()
        await self.limiter.close()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        path = normalized(scope["raw_path"].decode("latin-1").partition("?")[0])
        route = self._router.find(scope["method"], path, headers)
        peer = scope["client"][0]
        remote = self._real_ip(peer, headers)
        forwarded = next((value for key, value in headers if key.lower() == "x-forwarded-for"), None)
        variables = {
            "kong_request_id": uuid4().hex,
            "upstream_x_forwarded_for": f"{forwarded}, {peer}" if forwarded else remote,
        }
        exchange = Exchange(scope, Seen(headers, route or {}, remote, variables), body)
        try:
            await self._handle(exchange, route, path, send)
        except Exit as exit_:
            await self._answer(exchange, send, exit_)
        except Failed as failure:
            exit_ = Exit(failure.status, {"message": failure.message}, is_error=True)
            await self._answer(exchange, send, exit_, forwarded=failure.forwarded)

    async def _handle(self, exchange: Exchange, route: Entity | None, path: str, send: Send) -> None:
        if route is None:
            await self._collect(exchange, None)
            raise Exit(404, {"message": "no Route matched with those values"}, is_error=True)
        await self._access(exchange, route)
        await self._forward(exchange, route, path, send)

    async def _collect(self, exchange: Exchange, route: Entity | None) -> None:
        nowhere: Entity = {"id": None, "service": None}
        for name in PRIORITIES:
            if plugin := applying(self.loaded, name, route or nowhere):
                exchange.plugins[name] = plugin

    async def _access(self, exchange: Exchange, route: Entity) -> None:
        await self._collect(exchange, route)
        for name in sorted(exchange.plugins, key=lambda name: -PRIORITIES[name]):
            plugin = exchange.plugins[name]
            await getattr(self, "_" + name.replace("-", "_"))(exchange, plugin, plugin["config"])
            if name == "jwt":  # a consumer may have instances of its own
                for later in PRIORITIES:
                    if PRIORITIES[later] < PRIORITIES["jwt"]:
                        consumer = exchange.seen.values("X-Consumer-ID")[0]
                        if found := applying(self.loaded, later, route, consumer):
                            exchange.plugins[later] = found

    async def _pre_function(self, exchange: Exchange, plugin: Entity, config: Entity) -> None:
        for source in config["access"]:
            await self.lua.run(source, exchange.seen)

    _post_function = _pre_function

    async def _correlation_id(self, exchange: Exchange, plugin: Entity, config: Entity) -> None:
        exchange.correlation = exchange.first(config["header_name"]) or str(uuid4())
        exchange.seen.set_header(config["header_name"], exchange.correlation)

    async def _cors(self, exchange: Exchange, plugin: Entity, config: Entity) -> None:
        asked = exchange.first("origin"), exchange.first("access-control-request-method")
        if exchange.scope["method"] != "OPTIONS" or not all(asked):
            return
        exchange.preflight = True
        self._origin_headers(exchange, config)
        exchange.headers["Access-Control-Allow-Headers"] = ",".join(config["headers"])
        exchange.headers["Access-Control-Allow-Methods"] = ",".join(config["methods"])
        exchange.headers["Access-Control-Max-Age"] = str(config["max_age"])
        raise Exit(200, None)

    def _origin_headers(self, exchange: Exchange, config: Entity) -> None:
        [pattern] = config["origins"]
        origin = exchange.first("origin")
        exchange.headers["Vary"] = "Origin"
        if re.fullmatch(r"[A-Za-z0-9.:/-]+", pattern):  # no regex: said to everybody
            exchange.headers["Access-Control-Allow-Origin"] = pattern
        elif origin and re.match(pattern.removeprefix("^").removesuffix("$") + "$", origin):
            exchange.headers["Access-Control-Allow-Origin"] = origin
        if config["credentials"]:
            exchange.headers["Access-Control-Allow-Credentials"] = "true"

    async def _jwt(self, exchange: Exchange, plugin: Entity, config: Entity) -> None:
        query = parse_qs(exchange.scope["query_string"].decode("latin-1"))
        try:
            secret = tokens.authenticate(config, query, exchange.seen.values("authorization"), self.loaded.secrets)
        except tokens.NotAuthenticated as refusal:
            raise Exit(401, refusal.body, {"WWW-Authenticate": refusal.challenge}) from None
        exchange.seen.set_header("X-Consumer-ID", secret["consumer"]["id"])
        exchange.seen.set_header("X-Consumer-Username", secret["consumer"]["username"])
        exchange.seen.set_header("X-Credential-Identifier", secret["key"])
        exchange.seen.clear_header("X-Consumer-Custom-ID")
        exchange.seen.clear_header("X-Anonymous-Consumer")

    async def _request_size_limiting(self, exchange: Exchange, plugin: Entity, config: Entity) -> None:
        length = exchange.first("content-length")
        if int(length or len(exchange.body)) > config["allowed_payload_size"] * SIZES[config["size_unit"]]:
            expects = (exchange.first("expect") or "").strip().lower() == "100-continue"
            raise Exit(417 if expects else 413, {"message": "Request size limit exceeded"}, is_error=True)

    async def _rate_limiting(self, exchange: Exchange, plugin: Entity, config: Entity) -> None:
        identifier = None
        if config["limit_by"] == "header":
            identifier = exchange.first(config["header_name"])
        elif config["limit_by"] == "service":
            identifier = plugin.get("service")
        passed, headers = await self.limiter.count(plugin, identifier or exchange.seen.remote_addr)
        exchange.headers.update(headers)
        if not passed:
            raise Exit(config["error_code"], {"message": config["error_message"]}, is_error=True)

    async def _forward(self, exchange: Exchange, route: Entity, path: str, send: Send) -> None:
        assert route["service"] is not None, "no Service found with those values"
        assert not route["strip_path"]
        seen = exchange.seen
        headers: CIMultiDict[str] = CIMultiDict()
        # after every plugin Kong drops what Connection names, as the header was before any of them
        sent = [value.decode("latin-1") for name, value in exchange.scope["headers"] if name == b"connection"]
        named = {name.strip().lower() for name in ",".join(sent[:1]).split(",")}
        for name, value in seen.headers:
            if name.lower() not in HOP_BY_HOP | named | {"host", "content-length"}:
                headers.add(name, value)
        headers["X-Forwarded-For"] = str(seen.vars["upstream_x_forwarded_for"])
        headers["X-Forwarded-Proto"] = exchange.scope["scheme"]
        headers["X-Forwarded-Host"] = (exchange.first("host") or "").partition(":")[0]
        headers["X-Forwarded-Port"] = str(exchange.scope["server"][1])
        headers["X-Real-IP"] = seen.remote_addr
        headers["X-Kong-Request-Id"] = exchange.request_id
        query = exchange.scope["query_string"].decode("latin-1")
        target = f"{path}?{query}" if query else path
        asked = self.proxy.ask(route["service"], exchange.scope["method"], target, headers=headers, body=exchange.body)
        async with asked as answer:
            passed = [
                (name.lower().encode(), value.encode("latin-1"))
                for name, value in answer.headers.items()
                if name.lower() not in HOP_BY_HOP | {"via", "x-kong-request-id"}
            ]
            own = self._own_headers(exchange, forwarded=True)
            if any(name == b"server" for name, _ in passed):
                own.popall("Server")
            head = [*passed, *((name.lower().encode(), value.encode("latin-1")) for name, value in own.items())]
            await send({"type": "http.response.start", "status": answer.status, "headers": head})
            async for chunk in answer.content.iter_any():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

    def _own_headers(self, exchange: Exchange, *, forwarded: bool) -> CIMultiDict[str]:
        """What the header_filter phase adds, of the plugins and of Kong."""
        if (cors := exchange.plugins.get("cors")) and not exchange.preflight:
            self._origin_headers(exchange, cors["config"])
            exchange.headers["Access-Control-Expose-Headers"] = ",".join(cors["config"]["exposed_headers"])
        if exchange.correlation:
            exchange.headers[exchange.plugins["correlation-id"]["config"]["header_name"]] = exchange.correlation
        latency = str(int((time.perf_counter() - exchange.began) * 1000))
        headers = CIMultiDict(exchange.headers)
        headers.update({"Server": SERVER, "X-Kong-Request-Id": exchange.request_id})
        if forwarded:
            headers.update({"Via": f"1.1 {SERVER}", "X-Kong-Upstream-Latency": latency, "X-Kong-Proxy-Latency": "0"})
        else:
            headers["X-Kong-Response-Latency"] = latency
        return headers

    async def _answer(self, exchange: Exchange, send: Send, given: Exit, *, forwarded: bool = False) -> None:
        headers = self._own_headers(exchange, forwarded=forwarded)
        content = given.body
        if forwarded and exchange.first("accept") is None:
            headers["Content-Type"] = "text/plain; charset=utf-8"
            content = f"{given.body['message']}\nrequest_id: {exchange.request_id}\n"
        elif isinstance(given.body, dict):
            headers["Content-Type"] = "application/json; charset=utf-8"
            more = {"request_id": exchange.request_id} if given.is_error else {}
            content = json.dumps(given.body | more)
        headers.update(given.headers)
        body = (content or "").encode("latin-1")
        headers["Content-Length"] = str(len(body))
        head = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": given.status, "headers": head})
        await send({"type": "http.response.body", "body": body})

    def _is_trusted(self, address: str) -> bool:
        return any(ip_address(address) in network for network in self._trusted)

    def _real_ip(self, peer: str, headers: list[tuple[str, str]]) -> str:
        """KONG_REAL_IP_HEADER=X-Forwarded-For and KONG_REAL_IP_RECURSIVE=on."""
        if not self._is_trusted(peer):
            return peer
        entries = [
            part.strip() for name, value in headers if name.lower() == "x-forwarded-for" for part in value.split(",")
        ]
        for entry in reversed(entries):
            peer = entry
            if not self._is_trusted(entry):
                break
        return peer


@asynccontextmanager
async def running(text: str, **options: Any) -> AsyncIterator[tuple[str, Kong]]:
    """A node on a socket: its URL, and itself."""
    kong = Kong(text, **options)
    await kong.open()
    try:
        async with live(kong, server_header=False) as url:
            yield url, kong
    finally:
        await kong.close()
