"""Verifies that a webhook came from Ghasi, by Standard Webhooks; for the customer's own server.

The specification: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any


class VerificationError(Exception):
    """The request is not a webhook of ours, or it is too old; do not act on it."""


def verify(
    payload: bytes | str, headers: Mapping[str, str], secret: str | Sequence[str], tolerance_s: float = 300
) -> dict[str, Any]:
    """Return a webhook's body `{"type", "timestamp", "data"}` once its signature is proven.

    `payload` is the body exactly as received (a str is taken as UTF-8), `headers` in any case, `secret` the endpoint's
    `whsec_...` or several. One signature of the header under one secret is enough: both sides may be replacing theirs.
    Signatures of versions other than v1 are passed over. `webhook-id` is the same when a delivery is repeated: keep it,
    to act once. Raises VerificationError; ValueError when a secret is malformed or empty.
    """
    keys = [_key(one) for one in ([secret] if isinstance(secret, str) else secret)]
    found = {name.lower(): value for name, value in headers.items()}
    try:
        identifier, timestamp = found["webhook-id"], found["webhook-timestamp"]
        signatures = found["webhook-signature"].split()
    except KeyError as error:
        raise VerificationError(f"the header {error.args[0]} is missing") from None
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= len("9999999999")):
        raise VerificationError("webhook-timestamp is not a Unix time in seconds")
    if not abs(time.time() - int(timestamp)) <= tolerance_s:  # nor when the tolerance is not a number
        raise VerificationError(f"webhook-timestamp is more than {tolerance_s:g} s away from now")
    body = _bytes(payload) if isinstance(payload, str) else bytes(payload)
    signed = _bytes(f"{identifier}.{timestamp}.") + body
    expected = [base64.b64encode(hmac.digest(key, signed, sha256)) for key in keys]
    given = [_bytes(signature.removeprefix("v1,")) for signature in signatures if signature.startswith("v1,")]
    if not any([hmac.compare_digest(right, one) for right in expected for one in given]):  # noqa: C419 - all of them, in constant time
        raise VerificationError("no signature matches")
    try:
        event = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise VerificationError("the body is not JSON") from error
    if not isinstance(event, dict):
        raise VerificationError("the body is not a JSON object")
    return event


def _bytes(text: str) -> bytes:
    """Encode text that may hold what a server made of bytes that it could not read: such matches nothing."""
    return text.encode("utf-8", "surrogatepass")


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError as error:
        raise ValueError("a webhook secret is whsec_ and base64") from error
    if not key:  # anybody can sign with nothing
        raise ValueError("a webhook secret is empty")
    return key
