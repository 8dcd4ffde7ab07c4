"""Verifies that a webhook came from Ghasi, by Standard Webhooks; for the customer's own server.

The specification: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any


class VerificationError(Exception):
    """The request is not a webhook of ours, or it is too old; do not act on it."""


def verify(
    payload: bytes, headers: Mapping[str, str], secret: str | Sequence[str], tolerance_s: float = 300
) -> dict[str, Any]:
    """Return a webhook's body `{"type", "timestamp", "data"}` once its signature is proven.

    `payload` is the body exactly as received, `headers` in any case, `secret` the endpoint's `whsec_...` or several
    (while one is being replaced). One signature of the header under one secret is enough. `webhook-id` is the same when
    a delivery is repeated: keep it, to act once. Raises VerificationError; ValueError when a secret is malformed.
    """
    found = {name.lower(): value for name, value in headers.items()}
    try:
        identifier, timestamp = found["webhook-id"], found["webhook-timestamp"]
        signatures = found["webhook-signature"].split()
    except KeyError as error:
        raise VerificationError(f"the header {error.args[0]} is missing") from None
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= len("9999999999")):
        raise VerificationError("webhook-timestamp is not a Unix time in seconds")
    if abs(time.time() - int(timestamp)) > tolerance_s:
        raise VerificationError(f"webhook-timestamp is more than {tolerance_s:g} s away from now")
    signed = f"{identifier}.{timestamp}.".encode() + payload
    expected = [_sign(one, signed) for one in ([secret] if isinstance(secret, str) else secret)]
    given = [signature.removeprefix("v1,").encode() for signature in signatures if signature.startswith("v1,")]
    if not any([hmac.compare_digest(right, one) for right in expected for one in given]):  # noqa: C419 - all of them, in constant time
        raise VerificationError("no signature matches")
    try:
        body = json.loads(payload)
    except ValueError as error:
        raise VerificationError("the body is not JSON") from error
    if not isinstance(body, dict):
        raise VerificationError("the body is not a JSON object")
    return body


def _sign(secret: str, signed: bytes) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error as error:
        raise ValueError("a webhook secret is whsec_ and base64") from error
    return base64.b64encode(hmac.digest(key, signed, sha256))
