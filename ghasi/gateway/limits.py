"""Counts requests against the contract's limits: fixed windows aligned to the UTC minute, in this process's memory.

Owns the count. Whose request it is and what a refused one is answered with is decided elsewhere.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ghasi.contract.row import LIMIT_GROUPS, LimitGroup
from ghasi.contract.serving import RawHeaders
from ghasi.settings import Settings

WINDOW_S = 60
AccountLimits = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
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
    """Exactly as many requests as the limit pass in a window; at a new minute all counts are dropped."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._defaults: dict[str, int] = {group.name: getattr(settings, group.setting) for group in LIMIT_GROUPS}
        self._clock = clock
        self._window = 0
        self._counts: dict[tuple[str, str], int] = {}

    def count(self, group: LimitGroup, key: str, accounts: AccountLimits) -> Allowance:
        """Count one request of `key` and say whether it passes.

        `key` is an account's id or a client's address; `accounts` holds the accounts' own limits, by id and group.
        """
        now = self._clock()
        window = int(now // WINDOW_S)
        if window != self._window:
            self._window, self._counts = window, {}
        own = accounts.get(key)
        limit = own.get(group.name, self._defaults[group.name]) if own else self._defaults[group.name]
        used = self._counts.get((group.name, key), 0)
        reset_s = max(1, math.ceil((window + 1) * WINDOW_S - now))
        if used >= limit:
            return Allowance(passed=False, limit=limit, remaining=0, reset_s=reset_s)
        self._counts[group.name, key] = used + 1
        return Allowance(passed=True, limit=limit, remaining=limit - used - 1, reset_s=reset_s)
