"""Finds out what a presented API key stands for, asking auth-service at most twice a second for a key.

Owns the cache of answers, short enough that a revoked key stops working within a second, and drops what is malformed
before anyone is asked. The key itself is kept nowhere.
"""

import asyncio
import time
from collections import OrderedDict
from uuid import UUID

from ghasi.contract.keys import PREFIX, checksum_valid, key_hash
from ghasi.gateway.answers import unknown_caller
from ghasi.gateway.auth_service import AuthService, AuthServiceAway
from ghasi.gateway.tokens import API_KEY, Identity, make_identity

BELIEVED_S = 0.5
MAX_CACHED = 10_000
_NEVER = float("inf")
_PREFIX = PREFIX.encode()


def looks_like_api_key(token: bytes) -> bool:
    """Say whether a bearer token means to be an API key."""
    return token.startswith(_PREFIX)


class ApiKeys:
    """Verifies API keys; unknown, expired and revoked ones are refused alike."""

    def __init__(self, auth_service: AuthService) -> None:
        self._auth_service = auth_service
        self._answers: OrderedDict[str, tuple[float, Identity | None]] = OrderedDict()
        self._asking: dict[str, asyncio.Task[Identity | None]] = {}

    async def verify(self, token: bytes) -> Identity:
        """Return whom a key stands for; raises Refusal, or AuthServiceAway when it cannot be asked."""
        key = token.decode("latin-1")
        if not checksum_valid(key):
            raise unknown_caller()
        digest = key_hash(key)
        answer = self._answers.get(digest)
        if answer is not None and answer[0] > time.monotonic():
            identity = answer[1]
        else:
            identity = await self._ask(digest)
        if identity is None or identity.expires_at <= time.time():
            raise unknown_caller()
        return identity

    async def close(self) -> None:
        """Drop questions that are on their way."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def _ask(self, digest: str) -> Identity | None:
        task = self._asking.get(digest)
        if task is None:
            task = self._asking[digest] = asyncio.create_task(self._find(digest))
            task.add_done_callback(lambda _: self._asking.pop(digest, None))
        return await asyncio.shield(task)

    async def _find(self, digest: str) -> Identity | None:
        # the answer is as old as the question: revocation counts from there
        believed_until = time.monotonic() + BELIEVED_S
        grant = await self._auth_service.find_api_key(digest)
        identity = None
        if grant is not None:
            try:
                account_id, user_id = str(UUID(grant.account_id)), str(UUID(grant.user_id))
            except ValueError as error:
                raise AuthServiceAway("the grant's ids are no UUIDs") from error
            expires_at = _NEVER if grant.expires_at is None else grant.expires_at
            scopes = frozenset(grant.scopes)
            identity = make_identity(
                account_id, user_id, API_KEY, credential=grant.id, expires_at=expires_at, scopes=scopes
            )
        self._answers[digest] = believed_until, identity
        self._answers.move_to_end(digest)
        if len(self._answers) > MAX_CACHED:
            self._answers.popitem(last=False)
        return identity
