"""The session of one carrier over HTTP, and what is read of its answers and failures.

Owns when a request counts as begun. Keeps no cookies, decompresses nothing and repeats nothing by itself.
"""

import ssl
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from types import SimpleNamespace
from typing import Any

import aiohttp

READ_BYTES = 64 * 1024
LONGEST_HOLD_S = 60.0
"""However long a Retry-After asks for: what waits longer may as well be asked again."""


@dataclass(slots=True)
class Sent:
    """Whether a request's connection was there, so that something of it may have been written."""

    begun: bool = False


class BrokenOffError(aiohttp.ClientError):
    """The connection broke after it was there: something of the request may have arrived."""


def open_session(context: ssl.SSLContext | None) -> aiohttp.ClientSession:
    """Open a session whose requests mark their Sent, given as `trace_request_ctx`."""
    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(_mark_begun)
    trace.on_connection_reuseconn.append(_mark_begun)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            ssl=True if context is None else context,
            limit=0,
            # shorter than servers keep idle connections, so that no request goes out on one that is just being closed
            keepalive_timeout=4,
        ),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("Accept-Encoding", "Content-Type"),
        read_bufsize=READ_BYTES,
        trace_configs=[trace],
        middlewares=(_send_once,),
    )


async def _send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep the session from repeating what RFC 9110, 9.2.2 calls idempotent: a GET would send its message twice."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise BrokenOffError from error


async def read_beginning(answer: aiohttp.ClientResponse) -> bytes:
    """Read an answer, or its first 64 KiB: what goes on beyond is cut off together with its connection."""
    chunks: list[bytes] = []
    size = 0
    while size <= READ_BYTES:
        chunk = await answer.content.readany()
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
        size += len(chunk)
    answer.close()
    return b"".join(chunks)[:READ_BYTES]


def describe(error: BaseException) -> str:
    """Say what went wrong, without a word of what was sent or answered."""
    cause = getattr(error, "os_error", None) or error
    if isinstance(error, TimeoutError):
        return "no complete answer in time"
    if isinstance(error, BrokenOffError):
        return "the connection broke off"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return type(error).__name__


def retry_after_s(value: str | None, now: datetime) -> float:
    """Read Retry-After, RFC 9110, section 10.2.3: seconds or a date; 0 where there is none."""
    if value is None:
        return 0.0
    if value.isascii() and value.isdecimal():
        return min(float(value[:9]), LONGEST_HOLD_S)
    try:
        wait_s = (parsedate_to_datetime(value) - now).total_seconds()
    except (ValueError, TypeError):  # TypeError: a date without a zone
        return 0.0
    return max(0.0, min(wait_s, LONGEST_HOLD_S))


async def _mark_begun(session: aiohttp.ClientSession, context: SimpleNamespace, parameters: Any) -> None:
    del session, parameters
    context.trace_request_ctx.begun = True
