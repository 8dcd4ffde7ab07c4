"""One attempt: a signed POST to an endpoint, and what came of it.

Redirects are not followed, certificates are verified, compressed answers stay compressed, and no more than 64 KiB of an
answer is read. Decides nothing about retries.
"""

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import aiohttp
from msgspec import Struct

import ghasi
from ghasi.webhooks.delivering.addresses import AddressRefusedError, Lookup, look_up
from ghasi.webhooks.delivering.answers import EndlessAnswerError
from ghasi.webhooks.delivering.egress import Egress, ProxyError, TunnelError, UnresolvedError, open_egress
from ghasi.webhooks.delivering.signing import sign
from ghasi.webhooks.delivering.targets import Target
from ghasi.webhooks.model import OUR_FAULT

USER_AGENT = f"Ghasi-Webhooks/{ghasi.__version__}"
READ_BYTES = 64 * 1024
KEPT_BYTES = 4 * 1024
_LONGEST_ERROR = 300
_LONGEST_WAIT = timedelta(days=1)
_HEADERS = (("Content-Type", "application/json"), ("User-Agent", USER_AGENT))
_FAILURES: dict[type[BaseException], str] = {
    ProxyError: f"{OUR_FAULT} the sender's proxy {{}}",
    TunnelError: "tunnel: the sender's proxy {}",
    UnresolvedError: "name: the host name does not resolve ({})",
    TimeoutError: "timeout: no complete answer in time",
    aiohttp.ClientConnectorDNSError: "name: the host name does not resolve ({})",
    aiohttp.ClientConnectorCertificateError: "tls: the certificate was refused ({})",
    aiohttp.ClientSSLError: "tls: {}",
    aiohttp.InvalidURL: "url: cannot be used",
    aiohttp.ClientConnectorError: "connect: {}",
    aiohttp.ServerDisconnectedError: "connection: closed before the answer was complete",
    ConnectionError: "connection: closed before the answer was complete",
    aiohttp.ClientPayloadError: "connection: closed before the answer was complete",
    aiohttp.ClientOSError: "connection: {}",
    EndlessAnswerError: "answer: without an end",
}


class Answer(Struct, frozen=True):
    """What came of an attempt: a status, or an error with its stable code in front; `response` is the body's start.

    `retry_after_s` is the wait that a 429 or 503 asks for.
    """

    at: datetime
    duration_ms: int
    status_code: int | None
    error: str | None
    response: str | None
    retry_after_s: float | None = None


def open_session(
    *, private_allowed: bool, timeout_s: float, lookup: Lookup = look_up, proxy: str | None = None
) -> AbstractAsyncContextManager[Egress]:
    """Open the way out that all endpoints share."""
    return open_egress(
        private_allowed=private_allowed, timeout_s=timeout_s, lookup=lookup, proxy=proxy, read_bytes=READ_BYTES
    )


async def post(session: Egress, target: Target, webhook_id: str, body: bytes) -> Answer:
    """Make one attempt; every failure that an endpoint can cause is an Answer, none an exception."""
    at = datetime.now(UTC)
    timestamp = int(at.timestamp())
    headers = (
        *_HEADERS,
        ("webhook-id", webhook_id),
        ("webhook-timestamp", str(timestamp)),
        ("webhook-signature", sign(target.keys(), webhook_id, timestamp, body)),
        *target.headers,  # none of them is one of ours
    )
    began = time.perf_counter()
    status = response = error = retry_after_s = None
    try:
        async with session.post(target.url, data=body, headers=headers) as answer:
            status = answer.status
            response = _text(await _read(answer))
            if not 200 <= status < 300:  # noqa: PLR2004 - RFC 9110, section 15.3: successful
                error = _status_error(status)
                if status in (429, 503):
                    retry_after_s = _retry_after_s(answer.headers.get("Retry-After"), at)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError, asyncio.IncompleteReadError) as failure:
        error = describe(failure)[:_LONGEST_ERROR]
    return Answer(at, round((time.perf_counter() - began) * 1000), status, error, response, retry_after_s)


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    """Read an answer's beginning; what goes on beyond is cut off together with its connection."""
    content = answer.content
    chunk = await content.readany()
    if content.at_eof():
        return chunk
    chunks = [chunk]
    size = len(chunk)
    while size < READ_BYTES:
        chunk = await content.readany()
        if not chunk:
            break
        chunks.append(chunk)
        size += len(chunk)
    else:
        if not content.at_eof():
            answer.close()
    return b"".join(chunks)


def _text(body: bytes) -> str | None:
    if not body:
        return None
    return body[:KEPT_BYTES].decode("utf-8", "replace").replace("\0", "\ufffd")


def _status_error(status: int) -> str:
    if 300 <= status < 400:  # noqa: PLR2004 - RFC 9110, section 15.4: redirection
        return f"redirect: the endpoint answered {status}, and redirects are not followed"
    return f"status: the endpoint answered {status}"


def describe(failure: BaseException) -> str:
    """Say what went wrong, with a stable code in front."""
    cause = getattr(failure, "os_error", None) or failure
    if isinstance(cause, AddressRefusedError):
        return f"address_refused: webhooks are not sent to {cause}"
    for kind, text in _FAILURES.items():  # from the particular to the general
        if isinstance(failure, kind):
            return text.format(getattr(cause, "strerror", None) or cause)
    return f"answer: not valid HTTP ({type(failure).__name__})"


def _retry_after_s(value: str | None, now: datetime) -> float | None:
    """Read Retry-After, RFC 9110, section 10.2.3: seconds or a date."""
    if value is None:
        return None
    if value.isascii() and value.isdecimal():
        return min(float(value[:9]), _LONGEST_WAIT.total_seconds())
    try:
        wait = parsedate_to_datetime(value) - now
    except (ValueError, TypeError, OverflowError):  # TypeError: a date without a zone
        return None
    return max(0.0, min(wait, _LONGEST_WAIT).total_seconds())
