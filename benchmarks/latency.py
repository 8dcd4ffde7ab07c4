"""Latencies of an open loop: when each request is due, and what percentiles its delays come to.

A closed loop sends its next request when the last one is answered, so a server that stalls is asked less while it
does, and most of the stall is never measured ("coordinated omission"). Here every request has a moment at which it is
due, whatever became of those before it, and its latency counts from then.
"""

from collections.abc import Iterable

SHARES = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "p999_ms": 0.999, "max_ms": 1.0}


class Pacer:
    """The moments at which requests are due: evenly, so many a second, from `began` for `seconds`."""

    def __init__(self, rate: float, began: float, seconds: float) -> None:
        self.rate, self.began = rate, began
        self.count = int(rate * seconds)
        self.given = 0

    @property
    def next_due(self) -> float | None:
        """When the next request is due; None when all were given."""
        return self.began + self.given / self.rate if self.given < self.count else None

    def due(self, now: float) -> list[float]:
        """Give the moments that have come by now and were not given before, however late it is."""
        moments = []
        while (at := self.next_due) is not None and at <= now:
            moments.append(at)
            self.given += 1
        return moments


def quantile(ordered: list[float], share: float) -> float:
    """Return the value that this share of the ordered values does not exceed."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def percentiles(latencies_s: Iterable[float]) -> dict[str, float]:
    """Return the percentiles of latencies in milliseconds, by name; nothing where there are none."""
    ordered = sorted(latencies_s)
    return {name: quantile(ordered, share) * 1000 for name, share in SHARES.items()} if ordered else {}
