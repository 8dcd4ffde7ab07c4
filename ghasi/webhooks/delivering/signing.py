"""Secrets of endpoints and the signatures made with them, as Standard Webhooks has them.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md: the signed content is
`{webhook-id}.{webhook-timestamp}.{body}`, the signature HMAC-SHA256 in base64 behind `v1,`, several are separated by
spaces. Never keeps a secret.
"""

import base64
import secrets
from collections.abc import Iterable
from hmac import digest

PREFIX = "whsec_"
SECRET_BYTES = 24


def new_secret() -> str:
    """Make a secret as the customer sees it: `whsec_` and 24 random bytes in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def key_of(secret: str) -> bytes:
    """Return the bytes that sign."""
    return base64.b64decode(secret.removeprefix(PREFIX), validate=True)


def sign(keys: Iterable[bytes], webhook_id: str, timestamp: int, body: bytes) -> str:
    """Return the webhook-signature header: one signature for each key; `timestamp` is in Unix seconds."""
    content = b"%b.%d.%b" % (webhook_id.encode(), timestamp, body)
    return " ".join("v1," + base64.b64encode(digest(key, content, "sha256")).decode() for key in keys)
