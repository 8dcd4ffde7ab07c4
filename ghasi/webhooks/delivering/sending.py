"""One attempt: a signed POST to an endpoint, and what came of it.

Redirects are not followed, certificates are verified, compressed answers stay compressed, and no more than 64 KiB of an
answer's body is read. Decides nothing about retries.
"""

import ssl
import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from msgspec import Struct

from ghasi.webhooks.delivering.addresses import AddressRefusedError
from ghasi.webhooks.delivering.connections import BrokenAnswerError, EndlessAnswerError
from ghasi.webhooks.delivering.egress import Egress
from ghasi.webhooks.delivering.names import UnresolvedError
from ghasi.webhooks.delivering.opening import ConnectError
from ghasi.webhooks.delivering.proxying import ProxyError, TunnelError
from ghasi.webhooks.delivering.signing import sign
from ghasi.webhooks.delivering.targets import Target
from ghasi.webhooks.model import OUR_FAULT

KEPT_BYTES = 4 * 1024
_LONGEST_ERROR = 300
_LONGEST_WAIT = timedelta(days=1)
_FAILURES: dict[type[BaseException], str] = {
    AddressRefusedError: "address_refused: webhooks are not sent to {}",
    ProxyError: f"{OUR_FAULT} the sender's proxy {{}}",
    TunnelError: "tunnel: the sender's proxy {}",
    UnresolvedError: "name: the host name does not resolve ({})",
    TimeoutError: "timeout: no complete answer in time",
    ssl.SSLCertVerificationError: "tls: the certificate was refused ({})",
    ssl.SSLError: "tls: {}",
    ConnectError: "connect: {}",
    ConnectionError: "connection: closed before the answer was complete",
    EndlessAnswerError: "answer: without an end",
    BrokenAnswerError: "answer: not valid HTTP ({})",
    OSError: "connection: {}",
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


async def post(egress: Egress, target: Target, webhook_id: str, body: bytes) -> Answer:
    """Make one attempt; every failure that an endpoint can cause is an Answer, none an exception."""
    at = datetime.now(UTC)
    timestamp = int(at.timestamp())
    signature = sign(target.keys(), webhook_id, timestamp, body)
    fields = (
        f"webhook-id: {webhook_id}\r\nwebhook-timestamp: {timestamp}\r\nwebhook-signature: {signature}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    began = time.perf_counter()
    status = response = error = retry_after_s = None
    try:
        reply = await egress.post(target.destination, fields, body)
    except (OSError, ValueError) as failure:  # ValueError: a name that is none
        error = describe(failure)[:_LONGEST_ERROR]
    else:
        status, response = reply.status, _text(reply.body)
        if not 200 <= status < 300:  # noqa: PLR2004 - RFC 9110, section 15.3: successful
            error = _status_error(status)
            if status in (429, 503):
                retry_after_s = _retry_after_s(reply.retry_after, at)
    return Answer(at, round((time.perf_counter() - began) * 1000), status, error, response, retry_after_s)


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
    for kind, text in _FAILURES.items():  # from the particular to the general
        if isinstance(failure, kind):
            return text.format(getattr(failure, "strerror", None) or failure)
    return "url: cannot be used"


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
