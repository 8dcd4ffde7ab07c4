"""Holds the lease of gateways: one process, or all that share their limits; learns with it what they must know.

Owns the polling. The lease and what comes with it are auth-service's; while it is away the last known state serves on.
"""

import asyncio

import structlog

from ghasi.gateway.auth_service import AuthService, AuthServiceAway, LeaseHeldElsewhere
from ghasi.gateway.limits import AccountLimits

POLL_S = 1.0
REFUSED_AFTER_S = 6.0
"""Longer than a dead process's lease lasts, so that a restart waits and a second gateway does not."""
_EXISTS = {
    False: "another gateway process is running; run one, or give all of them the same GHASI_REDIS_URL",
    True: "a gateway process without GHASI_REDIS_URL is running; stop it, or give it the same one",
}
log = structlog.get_logger("ghasi.gateway")


class GatewayExists(Exception):  # noqa: N818 - says what is the matter
    """A gateway process holds the lease that counts elsewhere: only those that share their limits run together."""


class State:
    """What this gateway knows by its lease: `limits` by account and group, and whether the lease is `held`.

    `removed_users` are the ids of people who were removed while access tokens of theirs may still live.
    """

    def __init__(self, auth_service: AuthService, instance: str, *, shares_limits: bool) -> None:
        self._auth_service = auth_service
        self._instance = instance
        self._shares_limits = shares_limits
        self._refused_since: float | None = None
        self._away = False
        self.limits: AccountLimits = {}
        self.removed_users: frozenset[str] = frozenset()
        self.held = False

    async def start(self) -> None:
        """Take the lease; raises GatewayExists when another holds it for 6 s. Returns if auth-service is away."""
        while True:
            await self.poll()
            if self._refused_since is None or self._away:
                return
            await asyncio.sleep(POLL_S / 2)

    async def keep(self) -> None:
        """Hold the lease for ever; raises GatewayExists when another has held it for 6 s."""
        while True:
            await asyncio.sleep(POLL_S)
            await self.poll()

    async def poll(self) -> None:
        """Ask for the lease once; raises GatewayExists when it has been refused for 6 s."""
        now = asyncio.get_running_loop().time()
        try:
            state = await self._auth_service.hold_lease(self._instance, shares_limits=self._shares_limits)
        except LeaseHeldElsewhere:
            self.held = False
            self._refused_since = self._refused_since if self._refused_since is not None else now
            log.warning("gateway_lease_refused", refused_for_s=round(now - self._refused_since, 1))
            if now - self._refused_since >= REFUSED_AFTER_S:
                raise GatewayExists(_EXISTS[self._shares_limits]) from None
        except AuthServiceAway as error:
            if not self._away:
                log.warning("auth_service_away", detail=str(error))
            self._away = True
        else:
            if self._away:
                log.info("auth_service_back")
            self._away = False
            self.limits = state.limits
            self.removed_users = frozenset(state.removed_users)
            self.held = True
            self._refused_since = None
