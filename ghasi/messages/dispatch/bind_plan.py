"""Which worker should have which bind: fair, and with as few moves as that takes.

A pure function that every worker asks with the same answer. Owns no lease and starts nothing.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping

Bind = tuple[str, int]
"""A carrier's name and one of its numbers, from 1."""
Wishes = Mapping[str, Mapping[str, int]]
"""By worker: the carriers that it would connect to, and how many binds each has by its carriers.toml."""

Load = tuple[int, int]
"""How many of a carrier's binds a worker has, and how many in all."""


def plan(holders: Mapping[Bind, str | None], wishes: Wishes, settled: Collection[str]) -> dict[Bind, str]:
    """Return who should have each bind that somebody wants.

    Of each carrier's binds, and of all binds, no settled worker has two more than another who wants them, unless their
    wishes differ. A bind whose holder lives and wants it moves only where that takes it; what is free goes to whoever
    has least. Others than settled workers get what is free alone.
    """
    held = _Holding(wishes)
    known = {(carrier, number) for wish in wishes.values() for carrier, most in wish.items()
             for number in range(1, most + 1)}  # fmt: skip
    free = []
    for bind in sorted(known):
        holder = holders.get(bind)
        if holder is not None and held.may_have(holder, bind):
            held.give(bind, holder)
        else:
            free.append(bind)
    for bind in free:
        takers = [worker for worker in sorted(wishes) if held.may_have(worker, bind)]
        held.give(bind, min(takers, key=lambda worker: held.load(worker, bind[0])))
    workers = [worker for worker in sorted(wishes) if worker in settled]
    carriers = sorted({carrier for carrier, _ in known})
    for carrier in carriers:
        while held.even_out(carrier, workers, lambda load: load):
            pass
    # of a carrier of which the giver has more, so that each carrier stays even
    while any(held.even_out(carrier, workers, lambda load: load[::-1]) for carrier in carriers):
        pass
    return held.owner


class _Holding:
    """A plan in the making: who has each bind, and how many each has."""

    def __init__(self, wishes: Wishes) -> None:
        self.owner: dict[Bind, str] = {}
        self._wishes = wishes
        self._of: Counter[tuple[str, str]] = Counter()
        self._all: Counter[str] = Counter()

    def may_have(self, worker: str, bind: Bind) -> bool:
        return self._wishes.get(worker, {}).get(bind[0], 0) >= bind[1]

    def load(self, worker: str, carrier: str) -> Load:
        return self._of[worker, carrier], self._all[worker]

    def give(self, bind: Bind, worker: str) -> None:
        before = self.owner.get(bind)
        if before is not None:
            self._of[before, bind[0]] -= 1
            self._all[before] -= 1
        self.owner[bind] = worker
        self._of[worker, bind[0]] += 1
        self._all[worker] += 1

    def even_out(self, carrier: str, workers: Iterable[str], rank: Callable[[Load], Load]) -> bool:
        """Move a bind from who ranks two above another, and has more of the carrier; return whether one moved."""
        sharing = [
            (rank(self.load(worker, carrier)), worker) for worker in workers if self._wishes[worker].get(carrier)
        ]
        sharing.sort()
        for most, giver in reversed(sharing):
            for fewest, taker in sharing:
                if most[0] - fewest[0] < 2:  # noqa: PLR2004 - one more may be what can't be divided
                    break
                if self._of[giver, carrier] > self._of[taker, carrier] and self._move(carrier, giver, taker):
                    return True
        return False

    def _move(self, carrier: str, giver: str, taker: str) -> bool:
        moving = [
            bind for bind, owner in self.owner.items()
            if owner == giver and bind[0] == carrier and self.may_have(taker, bind)
        ]  # fmt: skip
        if not moving:
            return False
        self.give(max(moving), taker)
        return True
