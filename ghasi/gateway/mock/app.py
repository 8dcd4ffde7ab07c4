"""Puts the mock together: the gateway, what stands in for the services, and the sign-in beside it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from ghasi.contract.serving import Receive, Scope, Send
from ghasi.gateway.mock.gateway import MockGateway
from ghasi.gateway.mock.people import API_KEY, READY_LIFETIME_S
from ghasi.gateway.mock.services import Services
from ghasi.gateway.mock.sign_in import IDENTITY, TOKENS, sign_in_app
from ghasi.gateway.upstreams import InProcessUpstream
from ghasi.settings import Settings


class Mock:
    """The mock's ASGI app; `clock` (Unix seconds) moves messages on, `sleep` takes the seconds of Prefer: wait."""

    def __init__(
        self,
        settings: Settings,
        *,
        origins: Sequence[str] = (),
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._services = Services(settings, clock=clock, sleep=sleep)
        self._sign_in = sign_in_app(self._services.people)
        self._gateway = MockGateway(settings, InProcessUpstream(self._services), tuple(origins), sleep)

    async def start(self) -> None:
        """Fetch the keys, as a gateway does."""
        await self._gateway.start()

    async def close(self) -> None:
        """End what was started."""
        await self._gateway.close()

    @property
    def access_token(self) -> str:
        """A token of the person, good for a day."""
        return self._services.people.access_token(READY_LIFETIME_S)

    @property
    def api_key(self) -> str:
        """An API key with every scope, the same at each start."""
        return API_KEY

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["path"].startswith((f"{IDENTITY}/", f"{TOKENS}/")):
            await self._sign_in(scope, receive, send)
        else:
            await self._gateway(scope, receive, send)
