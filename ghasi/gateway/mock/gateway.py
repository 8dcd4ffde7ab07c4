"""The gateway of the mock: the real one, which besides gives the answer that a client wishes for (RFC 7240).

A forced answer needs no token, is counted against no limit, and has the headers that the gateway gives such an answer;
its limit is that of a window that begins.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from ghasi.contract.cross_origin import ALLOWED_HEADERS, EXPOSED_HEADERS, MAX_AGE_S
from ghasi.contract.row import LIMIT_GROUPS, Row, Upstream
from ghasi.contract.serving import RawHeaders, Send
from ghasi.gateway.app import Gateway
from ghasi.gateway.cors import Cors
from ghasi.gateway.exchange import Exchange
from ghasi.gateway.limits import Allowance
from ghasi.gateway.mock import answers
from ghasi.gateway.mock.preferences import NOTHING, read_wish
from ghasi.gateway.upstreams import InProcessUpstream
from ghasi.gateway.windows import WINDOW_S
from ghasi.settings import Settings

_OVER_LIMIT = 429
_VARY = (b"vary", b"Origin")
Sleep = Callable[[float], Awaitable[object]]


class MockGateway(Gateway):
    """A gateway before the stand-in; `origins` are those that may read it from a browser, none means all."""

    def __init__(
        self, settings: Settings, upstream: InProcessUpstream, origins: tuple[str, ...], sleep: Sleep = asyncio.sleep
    ) -> None:
        super().__init__(settings, dict.fromkeys(Upstream, upstream), instance="mock-gateway", health=_healthy)
        self._cors = MockCors(origins)
        self._limit_of: Mapping[str, int] = {group.name: getattr(settings, group.setting) for group in LIMIT_GROUPS}
        self._sleep = sleep

    async def handle(self, exchange: Exchange) -> None:
        """Take a request through the gateway's steps, or give the answer that is wished for; raises Refusal."""
        found = self._matcher.find(exchange.scope["method"], exchange.scope["path"])
        wish = NOTHING if found is None else read_wish(exchange.scope["headers"], found[0])
        if wish.applied:
            exchange.send = _telling(exchange.send, wish.applied.encode())
        if found is None or wish.status is None:
            await super().handle(exchange)
            return
        row = found[0]
        exchange.operation = row.operation
        # whoever waits longer than the route's time-out would be gone
        exchange.upstream_s = min(wish.wait_s, row.upstream_timeout_s)
        await self._sleep(exchange.upstream_s)
        exchange.limit_headers = self._limit_headers(row, wish.status, wish.name)
        if (refusal := answers.refusal(row, wish.status, wish.name)) is not None:
            raise refusal
        request_id = exchange.request_id.decode()
        await self._pass_on(exchange, answers.example_answer(row, wish.status, wish.name, request_id))

    def _limit_headers(self, row: Row, status: int, name: str | None) -> RawHeaders:
        if row.limit is None or (status in answers.UNCOUNTED and answers.refusal(row, status, name) is not None):
            return []
        limit, passed = self._limit_of[row.limit.name], status != _OVER_LIMIT
        reset_s = max(1, math.ceil(WINDOW_S - time.time() % WINDOW_S))
        return Allowance(passed, limit, limit - 1 if passed else 0, reset_s).headers()


class MockCors(Cors):
    """Lets pages of any origin read the API, or of those named, and send and read preferences too."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._origins = frozenset(origin.rstrip("/").encode() for origin in origins)

    def headers(self, origin: bytes) -> RawHeaders:
        """Return what an answer to a request with this Origin carries."""
        if self._origins and origin not in self._origins:
            return [_VARY]
        return [
            _VARY,
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-expose-headers", ", ".join((*EXPOSED_HEADERS, "Preference-Applied")).encode()),
        ]

    def preflight(self, origin: bytes, methods: tuple[str, ...]) -> RawHeaders:
        """Return what the answer to a preflight with this Origin carries."""
        shown = [header for header in self.headers(origin) if header[0] != b"access-control-expose-headers"]
        if len(shown) == 1:
            return shown
        return [
            *shown,
            (b"access-control-allow-methods", ", ".join(methods).encode()),
            (b"access-control-allow-headers", ", ".join((*ALLOWED_HEADERS, "Prefer")).encode()),
            (b"access-control-max-age", b"%d" % MAX_AGE_S),
        ]


def _telling(send: Send, applied: bytes) -> Send:
    """Return a send that says which preferences were applied (RFC 7240, section 3)."""

    async def tell(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], (b"preference-applied", applied)]}
        await send(message)

    return tell


async def _healthy() -> dict[str, Any]:
    return {"status": "ok"}
