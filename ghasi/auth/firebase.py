"""Verifies Firebase ID tokens by every rule that Firebase publishes for verifying them without its SDK.

Owns the certificates' cache and the rules. Never logs a token, never looks at accounts.
https://firebase.google.com/docs/auth/admin/verify-id-tokens lists the rules.
"""

import asyncio
import base64
import binascii
import contextlib
import re
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import aiohttp
import msgspec
import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import RSAAlgorithm

from ghasi.auth.model import Identity
from ghasi.contract.errors import Problem

FETCH_TIMEOUT_S = 3.0
RETRY_S = 5.0
DEFAULT_LIFETIME_S = 60.0
LEEWAY_S = 10
MOST_SUBJECT_CHARS = 128
_MOST_CERTIFICATE_BYTES = 1_000_000
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=\"?(\d{1,9})", re.IGNORECASE)
_ALGORITHM = RSAAlgorithm(RSAAlgorithm.SHA256)
log = structlog.get_logger("ghasi.auth")


class Certificates:
    """The keys that sign ID tokens, fetched from where the identity provider publishes them.

    They are kept for the answer's max-age, fetched again for an unknown kid (at most once in `retry_s`), by one request
    at a time, and go on serving while the provider cannot be reached.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        *,
        retry_s: float = RETRY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._url = url
        self._retry_s = retry_s
        self._clock = clock
        self._keys: dict[str, RSAPublicKey] = {}
        self._fresh_until = 0.0
        self._tried_at = 0.0
        self._failed = False
        self._fetching: asyncio.Task[None] | None = None

    async def find_key(self, kid: str) -> RSAPublicKey | None:
        """Return the key of a kid; raises Problem identity_unavailable when no keys are to be had at all."""
        now = self._clock()
        stale = now >= self._fresh_until
        if not self._keys or stale or kid not in self._keys:
            just_tried = now < self._tried_at + self._retry_s
            # an unknown kid may be an attacker's: it must not become a request to the provider each time
            spare = just_tried and (self._failed if stale else True)
            if self._fetching is not None or not self._keys or not spare:
                await self._fetch_once()
        if not self._keys:
            raise Problem("identity_unavailable")
        return self._keys.get(kid)

    async def close(self) -> None:
        """End a request under way."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])

    async def _fetch_once(self) -> None:
        if self._fetching is None:
            self._tried_at = self._clock()
            self._fetching = asyncio.create_task(self._fetch())
        await asyncio.shield(self._fetching)  # others wait for it too, so a cancelled request leaves it running

    async def _fetch(self) -> None:
        try:
            self._keys, lifetime_s = await self._get()
            self._fresh_until = self._clock() + lifetime_s
            self._failed = False
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, RecursionError) as error:
            self._failed = True
            log.warning("certificates_unreachable", url=self._url, error=repr(error), cached=len(self._keys))
        finally:
            self._fetching = None

    async def _get(self) -> tuple[dict[str, RSAPublicKey], float]:
        timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT_S)
        async with self._session.get(self._url, timeout=timeout, allow_redirects=False) as response:
            if response.status != 200:  # noqa: PLR2004 - OK, nothing else carries certificates
                raise ValueError(f"status {response.status}")
            raw = bytearray()
            async for chunk in response.content.iter_any():
                raw += chunk
                if len(raw) > _MOST_CERTIFICATE_BYTES:
                    raise ValueError("far too long for certificates")
            return _read_certificates(bytes(raw)), _lifetime_s(response)


def _lifetime_s(response: aiohttp.ClientResponse) -> float:
    max_age = _MAX_AGE.search(", ".join(response.headers.getall("Cache-Control", [])))
    age = response.headers.get("Age", "0")
    return max(0.0, (float(max_age[1]) if max_age else DEFAULT_LIFETIME_S) - float(age if age.isdecimal() else 0))


def _read_certificates(raw: bytes) -> dict[str, RSAPublicKey]:
    keys = {}
    for kid, pem in msgspec.json.decode(raw, type=dict[str, str]).items():
        with contextlib.suppress(ValueError, UnsupportedAlgorithm):  # one that is odd must not spoil the others
            key = x509.load_pem_x509_certificate(pem.encode()).public_key()
            if isinstance(key, RSAPublicKey):
                keys[kid] = key
    if not keys:
        raise ValueError("no RSA certificate")
    return keys


async def verify_id_token(
    token: str, *, project_id: str, certificates: Certificates, now: datetime, allow_unsigned: bool = False
) -> Identity:
    """Return whom an ID token is about.

    Raises Problem invalid_id_token, its detail naming the rule that was broken, or identity_unavailable.
    `allow_unsigned` takes the tokens of Google's emulator (alg none); all rules on claims hold for them too.
    """
    parts = token.split(".")
    if len(parts) != 3:  # noqa: PLR2004 - header, payload, signature: RFC 7515, section 3.1
        raise _refused("it is not a JWT")
    header, signature = _read_object(parts[0], "header"), _read_segment(parts[2], "signature")
    if "crit" in header:
        raise _refused("its header has critical extensions")  # RFC 7515, section 4.1.11
    algorithm = header.get("alg")
    if not (allow_unsigned and algorithm == "none" and not signature):
        if algorithm != "RS256":
            raise _refused("alg must be RS256")
        kid = header.get("kid")
        if not isinstance(kid, str) or not kid:
            raise _refused("kid must name a certificate")
        key = await certificates.find_key(kid)
        if key is None:
            raise _refused("kid is unknown")
        if not _ALGORITHM.verify(f"{parts[0]}.{parts[1]}".encode(), key, signature):
            raise _refused("the signature is wrong")
    return _check_claims(_read_object(parts[1], "payload"), project_id, now.timestamp())


def _check_claims(claims: dict[str, Any], project_id: str, now_s: float) -> Identity:
    issuer = f"https://securetoken.google.com/{project_id}"
    if claims.get("aud") != project_id:
        raise _refused("aud must be the Firebase project's id")
    if claims.get("iss") != issuer:
        raise _refused("iss must be the Firebase project's issuer")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MOST_SUBJECT_CHARS or "\0" in subject:
        raise _refused(f"sub must be 1 to {MOST_SUBJECT_CHARS} characters")
    if _seconds(claims, "exp") <= now_s:
        raise _refused("exp has passed")
    for name in ("iat", "auth_time"):
        if _seconds(claims, name) > now_s + LEEWAY_S:
            raise _refused(f"{name} is in the future")
    return Identity(issuer, subject, _text(claims.get("email"), 320), _text(claims.get("name"), 100))


def _seconds(claims: dict[str, Any], name: str) -> int:
    value = claims.get(name)
    if type(value) is not int:  # bool is an int to isinstance
        raise _refused(f"{name} must be a whole number of seconds")
    return value


def _text(value: object, most_chars: int) -> str:
    """Return what a person typed at the identity provider without what no display name needs, NUL above all."""
    if not isinstance(value, str):
        return ""
    return "".join(char for char in value if char.isprintable()).strip()[:most_chars]


def _read_segment(segment: str, name: str) -> bytes:
    try:
        return base64.b64decode(segment + "=" * (-len(segment) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _refused(f"its {name} is not base64url") from None


def _read_object(segment: str, name: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(_read_segment(segment, name), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _refused(f"its {name} is not a JSON object") from None


def _refused(rule: str) -> Problem:
    return Problem("invalid_id_token", f"The ID token was refused: {rule}.")
