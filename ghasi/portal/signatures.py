"""Tells a forged access token from one that the API signed, by the keys that the API publishes.

Owns those keys, fetched when a token names one that is not known. It never has the last word: while the keys can't be
had, a token passes, as the API checks each one that is used.
"""

import asyncio
import hashlib
import time

import jwt
import msgspec
import structlog

from ghasi.client.api import Ghasi
from ghasi.client.errors import GhasiError

WAIT_S = 0.5
"""How long a page waits for the keys at most."""
REFETCH_S, RETRY_S = 10.0, 1.0
MOST_REMEMBERED = 10_000
log = structlog.get_logger("ghasi.portal")


class Signatures:
    """The API's keys by their kid, and the tokens that were found to be signed with them."""

    def __init__(self) -> None:
        self._keys: dict[str, jwt.PyJWK] = {}
        self._good: dict[bytes, None] = {}
        self._fetching: asyncio.Task[None] | None = None
        self._fetch_again_at = 0.0
        self._current = False

    async def is_forged(self, api: Ghasi, token: str) -> bool:
        """Say whether a token is certainly none of the API's: its signature is wrong, or its key is not published."""
        digest = hashlib.sha256(token.encode()).digest()
        if digest in self._good:
            return False
        try:
            kid = jwt.get_unverified_header(token).get("kid", "")
        except jwt.InvalidTokenError:
            kid = ""
        if kid not in self._keys:
            await self._fetch(api)
            if kid not in self._keys:
                return self._current
        try:
            # when it ends and whom it is for is read elsewhere
            jwt.decode(token, self._keys[kid], ["RS256"], options={"verify_exp": False, "verify_aud": False})
        except jwt.InvalidTokenError:
            return True
        if len(self._good) >= MOST_REMEMBERED:
            self._good.clear()
        self._good[digest] = None
        return False

    async def _fetch(self, api: Ghasi) -> None:
        """Ask for the keys, once for all who wait and not again for a while; give up waiting before they would."""
        if self._fetching is None and time.monotonic() >= self._fetch_again_at:
            self._fetching = asyncio.create_task(self._ask(api))
        if self._fetching is not None:
            await asyncio.wait({self._fetching}, timeout=WAIT_S)

    async def _ask(self, api: Ghasi) -> None:
        self._current = False
        try:
            self._keys = {key.kid: jwt.PyJWK(msgspec.to_builtins(key)) for key in (await api.get_json_web_keys()).keys}
            self._current = True
        except (GhasiError, jwt.PyJWTError) as error:
            log.warning("json_web_keys_not_fetched", error=type(error).__name__)
        finally:
            self._fetch_again_at = time.monotonic() + (REFETCH_S if self._current else RETRY_S)
            self._fetching = None

    async def close(self) -> None:
        """End what is under way."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)
