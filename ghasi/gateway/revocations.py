"""Which API keys and users are known to be gone before auth-service is asked: what gateways tell each other at once.

Owns the channel `ghasi:revoked`. It makes revocation quicker, never possible: a gateway that was not told learns of a
key by its next question, and of a user by its next poll, as one without Redis does.
"""

import asyncio
from typing import TYPE_CHECKING

import structlog

from ghasi.contract.row import Row
from ghasi.gateway.patience import patience

if TYPE_CHECKING:
    from redis.asyncio import Redis

CHANNEL = "ghasi:revoked"
MAX_KNOWN = 10_000
REVOKED_BY = {"revoke_api_key": "keyId", "remove_user": "userId"}
"""The operations whose success is a revocation, and the parameter of their path that says whose."""
_ID_LENGTH = 36
_QUIET_S, _RETRY_S = 1.0, 1.0
log = structlog.get_logger("ghasi.gateway")


class Revocations:
    """Ids of keys that were revoked and users that were removed, the last MAX_KNOWN of them.

    None comes back to life, so that there is no need to forget one early. Without Redis it knows what this gateway did.
    """

    def __init__(self, redis: "Redis | None") -> None:
        self._redis = redis
        self._known: dict[str, None] = {}
        self._listening: asyncio.Task[None] | None = None

    def __contains__(self, identifier: str) -> bool:
        return identifier in self._known

    async def start(self) -> None:
        """Begin to listen; never fails."""
        if self._redis is not None:
            self._listening = asyncio.create_task(self._listen(self._redis))

    async def close(self) -> None:
        """Listen no longer."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)

    async def note(self, row: Row, parameters: dict[str, str]) -> None:
        """Where an operation that succeeded is a revocation, hold it here and tell the other gateways, or try to."""
        parameter = REVOKED_BY.get(row.operation)
        if parameter is None:
            return
        identifier = parameters[parameter]
        self._hold(identifier)
        if self._redis is not None:
            try:
                async with patience():
                    await self._redis.publish(CHANNEL, identifier)
            except Exception as error:  # noqa: BLE001 - the others hear of it within a second then
                log.warning("revocation_not_told", error=type(error).__name__)

    def _hold(self, identifier: str) -> None:
        self._known[identifier] = None
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]

    async def _listen(self, redis: "Redis") -> None:
        while True:
            try:
                await self._hear(redis)
            except Exception as error:  # noqa: BLE001 - what ails it, the windows say
                log.debug("revocations_not_heard", error=type(error).__name__)
            await asyncio.sleep(_RETRY_S)

    async def _hear(self, redis: "Redis") -> None:
        """Take what is told until the connection ends, or says nothing for two seconds although it was asked to."""
        async with redis.pubsub() as channel:
            async with patience():
                await channel.subscribe(CHANNEL)
            asked = False
            while True:
                message = await channel.get_message(timeout=_QUIET_S)
                if message is None:
                    if asked:
                        return
                    await channel.ping()
                asked = message is None
                if message is not None and message["type"] == "message" and len(message["data"]) == _ID_LENGTH:
                    self._hold(message["data"].decode("latin-1"))
