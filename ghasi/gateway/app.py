"""The embedded gateway: match the contract's row, authenticate, count the limit, read, inject, forward, answer.

Owns the order of these steps and every answer's headers, as Kong 3.9 has them. It knows no service's rules, keeps no
body and logs none.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from ghasi.contract.errors import Problem
from ghasi.contract.keys import require_scope
from ghasi.contract.row import Auth, Row, Upstream
from ghasi.contract.serving import JSON, ClientLeft, RawHeaders, Receive, Scope, Send, run_while_present
from ghasi.contract.table import ROWS, Matcher
from ghasi.gateway import answers, metrics
from ghasi.gateway.addresses import Addresses
from ghasi.gateway.answers import ProblemRefusal, Refusal
from ghasi.gateway.api_keys import ApiKeys, looks_like_api_key
from ghasi.gateway.auth_service import AuthService, AuthServiceAway
from ghasi.gateway.cors import Cors
from ghasi.gateway.deadlines import Deadlines
from ghasi.gateway.exchange import KONG_REQUEST_ID, Exchange, count, forwarded_headers, read_body, send_piece
from ghasi.gateway.headers import Incoming, bearer_tokens, read_headers, returned_headers
from ghasi.gateway.limits import Limits
from ghasi.gateway.revocations import Revocations
from ghasi.gateway.state import State
from ghasi.gateway.tokens import Identity, Tokens
from ghasi.gateway.upstreams import (
    NameNotResolved,
    UpstreamAnswer,
    UpstreamClient,
    UpstreamError,
    UpstreamRequest,
    UpstreamStream,
)
from ghasi.gateway.windows import MemoryWindows, Windows
from ghasi.settings import Settings

if TYPE_CHECKING:
    from redis.asyncio import Redis

T = TypeVar("T")
_CLIENT_GONE = 499
_WITHOUT_LENGTH = frozenset({204, 304})
log = structlog.get_logger("ghasi.gateway")
Health = Callable[[], Awaitable[dict[str, Any]]]


class Gateway:
    """The ASGI app of the API's address.

    `upstreams` are closed with it. `instance` names this process to auth-service and outlives its restarts. `health`
    says how the rest of the process fares: a JSON object whose `status` is "ok" when all is well.
    """

    def __init__(
        self, settings: Settings, upstreams: Mapping[Upstream, UpstreamClient], *, instance: str, health: Health
    ) -> None:
        auth_service = AuthService(upstreams[Upstream.AUTH])
        self._upstreams = dict(upstreams)
        self._health = health
        self._matcher = Matcher(ROWS)
        self._redis: Redis | None = None
        self._windows: Windows = MemoryWindows()
        if settings.redis_url:
            from ghasi.gateway.redis_client import open_redis  # noqa: PLC0415 - most gateways have none
            from ghasi.gateway.redis_windows import RedisWindows  # noqa: PLC0415 - most gateways have none

            self._redis = open_redis(settings.redis_url)
            self._windows = RedisWindows(self._redis)
        self._revocations = Revocations(self._redis)
        self._state = State(auth_service, instance, shares_limits=self._redis is not None)
        self._tokens = Tokens(auth_service, settings.issuer)
        self._api_keys = ApiKeys(auth_service)
        self._limits = Limits(settings, self._windows)
        self._addresses = Addresses(settings.trusted_proxies, settings.portal_secret)
        self._deadlines = Deadlines()
        self._cors = Cors(settings.public_portal_url)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def ready(self) -> bool:
        """Whether the keys were had and the lease is held."""
        return self._tokens.keys.known and self._state.held

    async def start(self) -> None:
        """Take the lease, fetch the keys and keep both; raises GatewayExists when another gateway runs.

        Returns, not ready, while auth-service is away; what Redis does changes nothing.
        """
        await self._state.start()
        await self._windows.start()
        await self._revocations.start()
        await self._tokens.keys.refresh()
        self._tasks = [asyncio.create_task(self._state.keep()), asyncio.create_task(self._tokens.keys.keep_fresh())]

    async def lease_lost(self) -> None:
        """Wait, mostly for ever; raises GatewayExists when another gateway took the lease after start."""
        await asyncio.shield(self._tasks[0])

    async def close(self) -> None:
        """End the tasks and close the upstreams."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._tokens.keys.close()
        await self._api_keys.close()
        await self._revocations.close()
        await self._windows.close()
        if self._redis is not None:
            await self._redis.aclose()
        for client in set(self._upstreams.values()):
            await client.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; see the module."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close"})
            return
        exchange = Exchange(
            scope, receive, send, read_headers(scope["headers"]), time.perf_counter(), os.urandom(16).hex().encode()
        )
        try:
            await self.handle(exchange)
        except Refusal as refusal:
            await self._refuse(exchange, refusal)
        except ClientLeft:
            if exchange.answering:
                metrics.broken_off(exchange.operation, "client")
            else:
                metrics.answered(exchange.operation, _CLIENT_GONE, time.perf_counter() - exchange.started_at)
        except Exception:
            log.exception("unexpected_error", request_id=exchange.request_id.decode(), operation=exchange.operation)
            if not exchange.answering:
                await self._refuse(exchange, answers.unexpected_error())

    async def handle(self, exchange: Exchange) -> None:
        """Take a request through the gateway's steps; raises Refusal, ClientLeft."""
        scope, incoming = exchange.scope, exchange.incoming
        found = self._matcher.find(scope["method"], scope["path"])
        if found is None:
            await self._handle_unmatched(exchange)
            return
        row, parameters = found
        exchange.operation = row.operation
        identity = await self._authenticate(incoming) if row.auth is Auth.BEARER else None
        if incoming.content_length > row.max_body_bytes:  # Kong's plugin for it comes before the one that counts
            raise answers.body_too_large()
        origin = self._addresses.origin(scope, incoming)
        if row.limit is not None:
            key = origin.client_ip if identity is None or row.limit.per == "ip" else identity.account_id
            allowance = await self._limits.count(row.limit, key, self._state.limits)
            if allowance is not None:
                exchange.limit_headers = allowance.headers()
                if not allowance.passed:
                    raise answers.over_limit()
        headers = incoming.kept
        headers += origin.forwarded
        headers.append((KONG_REQUEST_ID, exchange.request_id))
        if identity is not None:
            _check_scope(row, identity)
            headers += identity.headers
        body = await read_body(exchange, row.max_body_bytes, self._deadlines) if incoming.has_body else b""
        request = UpstreamRequest(row.method, scope["path"], scope["query_string"], headers, body)
        if row.streams:
            await run_while_present(exchange.receive, self._stream(exchange, row, request))
            return
        answer = await self._forward(exchange, row, lambda upstream: upstream.send(request))
        if answer.status == row.success:
            await self._revocations.note(row, parameters)
        await self._pass_on(exchange, answer)

    async def _handle_unmatched(self, exchange: Exchange) -> None:
        method, path, incoming = exchange.scope["method"], exchange.scope["path"], exchange.incoming
        if method == "GET" and path == "/healthz":
            await self._answer_health(exchange)
            return
        if method == "OPTIONS" and incoming.origin is not None and incoming.requested_method is not None:
            methods = self._matcher.methods(path)
            if methods:
                exchange.operation = "preflight"
                headers = [*self._own_headers(exchange), *self._cors.preflight(incoming.origin, methods)]
                await self._send(exchange, 200, headers, b"")
                return
        raise answers.no_route()

    async def _answer_health(self, exchange: Exchange) -> None:
        exchange.operation = "health"
        try:
            report = await self._health()
        except Exception as error:  # noqa: BLE001 - whatever ails it, the answer is that it is not healthy
            log.warning("health_unknown", error=type(error).__name__)
            report = {"status": "unavailable"}
        healthy = self.ready and report.get("status") == "ok"
        if not healthy:
            report = {**report, "status": "unavailable"}
        report = {**report, "gateway": "ok" if self.ready else "not ready"}
        if self._redis is not None:  # requests pass without it: an alarm, and no reason to send none
            report["limits"] = "failing" if self._windows.failing else "ok"
        headers = [*self._own_headers(exchange), (b"content-type", JSON)]
        await self._send(exchange, 200 if healthy else 503, headers, answers.encode(report))

    async def _authenticate(self, incoming: Incoming) -> Identity:
        tokens = bearer_tokens(incoming.authorizations)
        if not tokens:
            raise answers.no_token()
        if len(tokens) > 1:
            raise answers.bad_token("Multiple tokens provided")
        try:
            if looks_like_api_key(tokens[0]):
                identity = await self._api_keys.verify(tokens[0])
                gone = identity.credential in self._revocations
            else:
                identity = await self._tokens.verify(tokens[0])
                gone = identity.user_id in self._state.removed_users or identity.user_id in self._revocations
        except AuthServiceAway as error:
            log.warning("caller_unverifiable", detail=str(error))
            raise answers.bad_gateway() from error
        if gone:
            raise answers.unknown_caller()
        return identity

    async def _stream(self, exchange: Exchange, row: Row, request: UpstreamRequest) -> None:
        """Pass an answer of any size on as it comes; the row's time runs to its head and again between its pieces.

        What breaks off then breaks the client's connection off too: its status was sent. What is no success is an
        answer like any other.
        """
        async with AsyncExitStack() as stack:

            async def begin(upstream: UpstreamClient) -> UpstreamStream | UpstreamAnswer:
                stream = await stack.enter_async_context(upstream.stream(request))
                return stream if stream.status == row.success else await stream.read()

            answer = await self._forward(exchange, row, begin)
            if isinstance(answer, UpstreamAnswer):
                await self._pass_on(exchange, answer)
                return
            headers = self._passed_headers(exchange, answer.headers)
            count(exchange, answer.status, headers)
            await exchange.send({"type": "http.response.start", "status": answer.status, "headers": headers})
            while piece := await _next_piece(exchange, row, answer):
                await send_piece(exchange, piece)
            if piece is not None:
                await send_piece(exchange, b"")

    async def _forward(self, exchange: Exchange, row: Row, ask: Callable[[UpstreamClient], Awaitable[T]]) -> T:
        """Ask the row's upstreams, in order, within what is left of the row's time; raises Refusal."""
        forwarded_at = time.perf_counter()
        left_s = row.upstream_timeout_s - (forwarded_at - exchange.started_at - exchange.reading_s)
        try:
            with self._deadlines.within(left_s):
                for upstream in row.upstreams[:-1]:
                    try:
                        return await ask(self._upstreams[upstream])
                    except UpstreamError as error:
                        if error.answered:
                            raise
                        log.warning("upstream_skipped", upstream=upstream.value, detail=str(error))
                return await ask(self._upstreams[row.upstreams[-1]])
        except TimeoutError:
            raise answers.upstream_too_slow() from None
        except NameNotResolved:
            raise answers.name_not_resolved() from None
        except UpstreamError as error:
            log.warning("upstream_broken", operation=row.operation, detail=str(error))
            raise answers.bad_gateway() from None
        finally:
            exchange.upstream_s = time.perf_counter() - forwarded_at

    async def _pass_on(self, exchange: Exchange, answer: UpstreamAnswer) -> None:
        await self._send(exchange, answer.status, self._passed_headers(exchange, answer.headers), answer.body)

    def _passed_headers(self, exchange: Exchange, upstreams: RawHeaders) -> RawHeaders:
        headers = returned_headers(upstreams)
        if not any(header[0] == b"server" for header in headers):
            headers.append((b"server", answers.SERVER))
        headers += forwarded_headers(exchange)
        return [*headers, *self._common_headers(exchange)]

    async def _refuse(self, exchange: Exchange, refusal: Refusal) -> None:
        metrics.rejected(refusal.reason)
        if refusal.forwarded:
            headers = [(b"server", answers.SERVER), *forwarded_headers(exchange), *self._common_headers(exchange)]
        else:
            headers = [*self._own_headers(exchange), *self._common_headers(exchange)]
        headers += refusal.headers
        headers.append((b"content-type", refusal.content_type))
        await self._send(exchange, refusal.status, headers, refusal.content(exchange.request_id.decode()))

    @staticmethod
    def _own_headers(exchange: Exchange) -> RawHeaders:
        """Return what an answer of the gateway's own making carries."""
        latency_ms = int((time.perf_counter() - exchange.started_at) * 1000)
        return [(b"server", answers.SERVER), (b"x-kong-response-latency", b"%d" % latency_ms)]

    def _common_headers(self, exchange: Exchange) -> RawHeaders:
        origin = exchange.incoming.origin
        return exchange.limit_headers if origin is None else [*exchange.limit_headers, *self._cors.headers(origin)]

    @staticmethod
    async def _send(exchange: Exchange, status: int, headers: RawHeaders, body: bytes) -> None:
        if status not in _WITHOUT_LENGTH:
            headers.append((b"content-length", b"%d" % len(body)))
        count(exchange, status, headers)
        await exchange.send({"type": "http.response.start", "status": status, "headers": headers})
        await exchange.send({"type": "http.response.body", "body": body})


async def _next_piece(exchange: Exchange, row: Row, answer: UpstreamStream) -> bytes | None:
    """Return the next piece of a stream, b"" for its end, and None where it broke off or stalled."""
    try:
        async with asyncio.timeout(row.upstream_timeout_s):
            return await anext(answer.pieces, b"")
    except (UpstreamError, TimeoutError) as error:
        metrics.broken_off(row.operation, "upstream")
        log.warning(
            "stream_broken_off", operation=row.operation, detail=str(error) or type(error).__name__,
            request_id=exchange.request_id.decode(), elapsed_s=round(time.perf_counter() - exchange.started_at, 1),
        )  # fmt: skip
        return None


def _check_scope(row: Row, identity: Identity) -> None:
    if identity.scopes is None:
        return
    try:
        require_scope(row.scope, identity.scopes)
    except Problem as problem:
        raise ProblemRefusal(problem) from None
