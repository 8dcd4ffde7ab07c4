"""Whether a steady load leaves everything flat: the last third of a soak held against its first."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

BOUNDS: dict[str, tuple[str, float, float]] = {
    "rss_mib": ("memory of all our processes, MiB", 1.1, 0.0),
    "queues_mib": ("queue tables and their indexes, MiB", 1.5, 8.0),
    "dead_tuples": ("dead tuples", 2.0, 20_000.0),
    "queue_age_s": ("oldest due row, s", 2.0, 1.0),
    "post_p99_ms": ("POST answered, p99 ms", 2.0, 10.0),
    "webhook_p99_ms": ("receipt to webhook, p99 ms", 2.0, 10.0),
}
"""By figure: what it is, and how much its last third may be: so many times the first, and so much more.

Queues are at their size after autovacuum's first few turns, ten seconds apart at the least, and dead tuples go up and
down with it.
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One figure's medians, and the bound of the last."""

    name: str
    first: float
    last: float
    bound: float

    @property
    def is_flat(self) -> bool:
        """Whether it stayed within its bound."""
        return self.last <= self.bound

    def figures(self) -> dict[str, Any]:
        """Return it for keeping."""
        return asdict(self) | {"is_flat": self.is_flat}


def judge(rows: Sequence[Mapping[str, float]]) -> list[Verdict]:
    """Return a verdict for each figure; raises ValueError for fewer than three rows."""
    third = len(rows) // 3
    if not third:
        raise ValueError("a soak needs three rows at the least")
    verdicts = []
    for name, (words, times, more) in BOUNDS.items():
        first, last = (statistics.median(row[name] for row in part) for part in (rows[:third], rows[-third:]))
        verdicts.append(Verdict(words, first, last, first * times + more))
    return verdicts
