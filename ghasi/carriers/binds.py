"""What the binds of a carrier that one process has may do, and until when.

A carrier's binds are numbered from 1; each belongs to one process at a time. Owns their parts of what all may do
together, and the moment after which nothing may be written any more. Who has which is decided elsewhere.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass

LET_GO_S = 1.0
"""So long before its lease ends a carrier submits nothing more: answers still come, and the SMSC hears an unbind."""


@dataclass(slots=True)
class Lease:
    """Until when (time.monotonic) a carrier's binds may be used here; whoever holds them moves it on.

    Not by the event loop's clock, which uvloop reads once a turn: a process that was stopped has to notice at once.
    """

    until: float = math.inf

    @property
    def submits_until(self) -> float:
        """When the last submit may be made."""
        return self.until - LET_GO_S


def part_of(total: int, binds: int, held: Collection[int]) -> float:
    """Return how much of `total` the held ones of a carrier's binds may do.

    Whole numbers, which add up to the total however the binds are spread; where there are more binds than that, a bind
    has its fraction.
    """
    if total < binds:
        return total * len(held) / binds
    return float(sum(total * number // binds - total * (number - 1) // binds for number in held))
