"""Holds requests to the contract's limits: fixed windows aligned to the UTC minute, as Kong's.

Owns which limit holds for a request and where it stands. Where it is counted is the windows' business; what a refused
one is answered with is decided elsewhere.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ghasi.contract.row import LIMIT_GROUPS, LimitGroup
from ghasi.contract.serving import RawHeaders
from ghasi.gateway import metrics
from ghasi.gateway.windows import WINDOW_S, Windows
from ghasi.settings import Settings

AccountLimits = Mapping[str, Mapping[str, int]]


@dataclass(slots=True)
class Allowance:
    """Where a counted request stands in its window."""

    passed: bool
    limit: int
    remaining: int
    reset_s: int

    def headers(self) -> RawHeaders:
        """Kong's headers; a refused request is told when to come back."""
        limit, remaining, reset_s = b"%d" % self.limit, b"%d" % self.remaining, b"%d" % self.reset_s
        headers = [
            (b"ratelimit-limit", limit),
            (b"ratelimit-remaining", remaining),
            (b"ratelimit-reset", reset_s),
            (b"x-ratelimit-limit-minute", limit),
            (b"x-ratelimit-remaining-minute", remaining),
        ]
        if not self.passed:
            headers.append((b"retry-after", reset_s))
        return headers


class Limits:
    """Exactly as many requests as the limit pass in a minute, over all gateways that share the windows."""

    def __init__(self, settings: Settings, windows: Windows, clock: Callable[[], float] = time.time) -> None:
        self._defaults: dict[str, int] = {group.name: getattr(settings, group.setting) for group in LIMIT_GROUPS}
        self._windows = windows
        self._clock = clock

    async def count(self, group: LimitGroup, key: str, accounts: AccountLimits) -> Allowance | None:
        """Count one request of `key` and say whether it passes; None, and it passes, where it can't be counted.

        `key` is an account's id or a client's address; `accounts` holds the accounts' own limits, by id and group.
        """
        now = self._clock()
        minute = int(now // WINDOW_S)
        own = accounts.get(key)
        limit = own.get(group.name, self._defaults[group.name]) if own else self._defaults[group.name]
        before = await self._windows.take(minute, f"{group.name}:{key}", limit)
        if before is None:
            metrics.uncounted()
            return None
        reset_s = max(1, math.ceil((minute + 1) * WINDOW_S - now))
        return Allowance(before < limit, limit, max(0, limit - before - 1), reset_s)
