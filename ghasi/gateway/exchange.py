"""One request between its client and this process: what is known of it, its body, and its answer's way out.

Owns how long a client is waited for, and that each answer is counted once. What the answer is, the gateway decides.
"""

import asyncio
import time
from dataclasses import dataclass, field

import structlog

from ghasi.contract.serving import ClientLeft, RawHeaders, Receive, Scope, Send
from ghasi.gateway import answers, metrics
from ghasi.gateway.deadlines import Deadlines
from ghasi.gateway.headers import Incoming

BODY_TIMEOUT_S = 60.0
"""What a client has for sending its body, as in Kong."""
CLIENT_TIMEOUT_S = 60.0
"""What a client has for taking a piece of a streamed answer, as in Kong."""
KONG_REQUEST_ID = b"x-kong-request-id"
_BAD_REQUEST, _SERVER_ERROR = 400, 500
log = structlog.get_logger("ghasi.gateway")


@dataclass(slots=True)
class Exchange:
    """One request and what is known of it so far. Times are of time.perf_counter."""

    scope: Scope
    receive: Receive
    send: Send
    incoming: Incoming
    started_at: float
    request_id: bytes
    operation: str = "none"
    limit_headers: RawHeaders = field(default_factory=list)
    reading_s: float = 0.0
    upstream_s: float = 0.0
    answering: bool = False


async def read_body(exchange: Exchange, most: int, deadlines: Deadlines) -> bytes:
    """Read a request's body; what it takes is not the upstream's time. Raises Refusal, ClientLeft."""
    began_at = time.perf_counter()
    chunks: list[bytes] = []
    size = 0
    try:
        with deadlines.within(BODY_TIMEOUT_S):
            while True:
                message = await exchange.receive()
                if message["type"] == "http.disconnect":
                    raise ClientLeft
                chunk: bytes = message.get("body", b"")
                size += len(chunk)
                if size > most:
                    raise answers.body_too_large()
                chunks.append(chunk)
                if not message.get("more_body", False):
                    break
    except TimeoutError:
        raise answers.body_too_slow() from None
    exchange.reading_s = time.perf_counter() - began_at
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def count(exchange: Exchange, status: int, headers: RawHeaders) -> None:
    """Count an answer that is about to be sent, name its request in its headers, and log it where it is an error."""
    headers.append((KONG_REQUEST_ID, exchange.request_id))
    elapsed_s = time.perf_counter() - exchange.started_at
    metrics.answered(exchange.operation, status, elapsed_s)
    if status >= _BAD_REQUEST:
        (log.warning if status >= _SERVER_ERROR else log.debug)(
            "request_failed",
            status=status,
            operation=exchange.operation,
            request_id=exchange.request_id.decode(),
            elapsed_ms=int(elapsed_s * 1000),
        )
    exchange.answering = True


async def send_piece(exchange: Exchange, piece: bytes) -> None:
    """Send a piece, or by b"" the end, once the client has room for it; raises ClientLeft where it takes nothing."""
    try:
        async with asyncio.timeout(CLIENT_TIMEOUT_S):
            await exchange.send({"type": "http.response.body", "body": piece, "more_body": bool(piece)})
    except TimeoutError:
        raise ClientLeft from None


def forwarded_headers(exchange: Exchange) -> RawHeaders:
    """Return what an answer carries for which an upstream was asked."""
    upstream_s = exchange.upstream_s
    proxy_ms = int((time.perf_counter() - exchange.started_at - upstream_s) * 1000)
    return [
        (b"via", answers.VIA),
        (b"x-kong-upstream-latency", b"%d" % int(upstream_s * 1000)),
        (b"x-kong-proxy-latency", b"%d" % proxy_ms),
    ]
