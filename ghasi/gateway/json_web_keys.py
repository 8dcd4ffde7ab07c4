"""Keeps the public keys that auth-service publishes, so that a token is verified without asking anyone.

Owns when they are fetched: every few seconds, and at once for a key it does not know yet. The last known ones serve
on while auth-service is away; a key that is no longer published is believed no longer.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import RSAAlgorithm
from jwt.exceptions import InvalidKeyError

from ghasi.contract.shapes import JsonWebKeySet
from ghasi.gateway.auth_service import AuthService, AuthServiceAway

REFRESH_S = 5.0
MIN_BETWEEN_FETCHES_S = 1.0
MAX_WAIT_S = 2.0
log = structlog.get_logger("ghasi.gateway")


class JsonWebKeys:
    """The keys by their kid. `changed` is called with the kids that are gone or have another key now."""

    def __init__(self, auth_service: AuthService, changed: Callable[[set[str]], None]) -> None:
        self._auth_service = auth_service
        self._changed = changed
        self._keys: dict[str, RSAPublicKey] = {}
        self._published: dict[str, Any] = {}
        self._fetch_started_at = float("-inf")
        self._fetched_as_of = float("-inf")
        self._fetching: asyncio.Task[bool] | None = None
        self.known = False

    async def find(self, kid: str) -> RSAPublicKey | None:
        """Return the key of a kid, or None when auth-service publishes none such.

        For an unknown kid the keys are fetched, at most once a second, by one request for all that wait; it is
        unknown when a fetch begun after this call does not bring it. Raises AuthServiceAway where there were never
        any keys.
        """
        key = self._keys.get(kid)
        if key is not None:
            return key
        try:
            async with asyncio.timeout(MAX_WAIT_S):
                asked_at = time.monotonic()
                while kid not in self._keys and self._fetched_as_of < asked_at:
                    if not await self.refresh():
                        break
        except TimeoutError:
            log.warning("json_web_keys_slow")
        if not self.known:
            raise AuthServiceAway("no keys were had yet")
        return self._keys.get(kid)

    async def refresh(self) -> bool:
        """Fetch the keys, or join a fetch that is on its way; say whether they were had."""
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._fetch())
        return await asyncio.shield(self._fetching)

    async def keep_fresh(self) -> None:
        """Fetch the keys every few seconds, for ever."""
        while True:
            await asyncio.sleep(REFRESH_S if await self.refresh() else MIN_BETWEEN_FETCHES_S)

    async def close(self) -> None:
        """Drop a fetch that is on its way."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    async def _fetch(self) -> bool:
        await asyncio.sleep(max(0.0, self._fetch_started_at + MIN_BETWEEN_FETCHES_S - time.monotonic()))
        self._fetch_started_at = started_at = time.monotonic()
        try:
            self._take(await self._auth_service.get_keys())
        except AuthServiceAway as error:
            log.warning("json_web_keys_not_fetched", detail=str(error), known=self.known)
            return False
        except Exception:
            log.exception("json_web_keys_unreadable")
            return False
        self._fetched_as_of = started_at
        return True

    def _take(self, published: JsonWebKeySet) -> None:
        now = {key.kid: msgspec.to_builtins(key) for key in published.keys}
        stale = {kid for kid, key in self._published.items() if now.get(kid) != key}
        for kid in stale:
            self._keys.pop(kid, None)
        for kid, key in now.items():
            if self._published.get(kid) == key:
                continue
            try:
                public_key = RSAAlgorithm.from_jwk(key)
            except (InvalidKeyError, ValueError) as error:
                log.warning("json_web_key_invalid", kid=kid, error=type(error).__name__)
                continue
            if isinstance(public_key, RSAPublicKey):
                self._keys[kid] = public_key
        self._published = now
        self.known = True
        if stale:
            self._changed(stale)
