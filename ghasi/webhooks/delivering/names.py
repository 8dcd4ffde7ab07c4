"""The addresses of endpoints' names: judged, looked up once for all who ask, and kept for some seconds."""

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass

from ghasi.webhooks.delivering.addresses import AddressRefusedError, GuardedResolver, Lookup, check, parse

_KEPT_S = 10.0
_MOST_KEPT = 10_000


class UnresolvedError(OSError):
    """An endpoint's name has no address."""


@dataclass(frozen=True, slots=True)
class _Known:
    until: float
    looking_up: asyncio.Task[list[str]]


class Names:
    """Judged addresses of names, of which one lookup at a time is made."""

    def __init__(self, *, private_allowed: bool, lookup: Lookup) -> None:
        self._private_allowed = private_allowed
        self._resolver = GuardedResolver(private_allowed=private_allowed, lookup=lookup)
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def addresses(self, host: str) -> list[str]:
        """Return the addresses of a name, or the one that `host` is.

        Raises AddressRefusedError when one is refused, UnresolvedError when there is none.
        """
        if parse(host) is not None:
            check(host, private_allowed=self._private_allowed)
            return [host]
        known, now = self._known.get(host), time.monotonic()
        if known is None or (known.looking_up.done() and known.until < now):
            known = _Known(now + _KEPT_S, asyncio.create_task(self._resolver.resolve(host)))
            known.looking_up.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._known[host] = known
            self._known.move_to_end(host)
            if len(self._known) > _MOST_KEPT:
                self._known.popitem(last=False)
        try:
            return await asyncio.shield(known.looking_up)
        except AddressRefusedError:
            raise
        except OSError as error:
            raise UnresolvedError(error.strerror or str(error)) from error

    async def close(self) -> None:
        """Let the lookups go."""
        for known in self._known.values():
            known.looking_up.cancel()
        await self._resolver.close()
