"""Which messages this worker claims, and which of them lie aside until somebody can take them.

Owns what is fetched and where it goes: to a carrier here, aside in the queue because its carriers take no more, or to
the worker that has its carrier bound, by way of the same piles. It submits nothing.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ghasi.contract.values import first_id
from ghasi.messages.dispatch import queries
from ghasi.messages.dispatch.choosing import Chooser, Pile
from ghasi.messages.dispatch.ends import Ends
from ghasi.messages.dispatch.flights import Choice, Crew, Tally
from ghasi.messages.dispatch.ledger import Ending, Submitted
from ghasi.messages.dispatch.lifecycle import Part
from ghasi.messages.dispatch.queries import Claim
from ghasi.storage.bells import Bells
from ghasi.storage.pool import Pool

LEASE_S = 30.0
SUBMIT_WITHIN_S = 15.0
"""After a claim; a submit may take 10 s to be answered, and the lease must outlast both."""
MOST_CLAIMED = 500
FEWEST_CLAIMED = 32
OTHERS_FIRST_S = 0.25
"""What another worker should have is claimed only if nobody has for so long."""
MOSTLY, LEARNT_FROM = 0.9, 64
"""A worker leaves the first go at new messages to others while so many of the last ones it claimed were theirs."""


@dataclass(frozen=True, slots=True)
class _Turn:
    """Where claims come from: the pile, and whether others had a go at them."""

    held_for: str | None
    late: bool


class Claimer:
    """Fetches messages for the carriers bound here.

    `waiting` says how many claimed messages wait for each carrier, `queue` takes those to be submitted here, with the
    time until when they may be.
    """

    def __init__(
        self,
        pool: Pool,
        claimers: Pool,
        bells: Bells,
        chooser: Chooser,
        ends: Ends,
        *,
        tallies: defaultdict[str, Tally],
        waiting: Callable[[], dict[str, int]],
        queue: Callable[[Claim, Choice, float], None],
    ) -> None:
        self._pool = pool
        self._claimers = claimers
        self._bells = bells
        self._chooser = chooser
        self._fleet = chooser.fleet
        self._ends = ends
        self._tallies = tallies
        self._waiting = waiting
        self._queue = queue
        self._aside: set[str] = set()
        self._here: frozenset[str] = frozenset()
        self._others = 0.0

    async def learn(self) -> bool:
        """Read for which carriers messages lie aside: other processes put some there too; return whether any do."""
        self._aside = set(await queries.list_held(self._pool))
        return bool(self._aside)

    async def fetch(self) -> int:
        """Claim what the carriers bound here have room for, and say where it goes; return how many were claimed."""
        lacking = self._lacking()
        if not lacking:
            return 0
        submit_until = time.monotonic() + SUBMIT_WITHIN_S  # before the claim: the lease runs from its statement
        fetched = await self._fetch_aside(lacking, submit_until)
        if lacking:
            most, late = min(MOST_CLAIMED, sum(lacking.values())), self._others > MOSTLY
            lag = timedelta(seconds=OTHERS_FIRST_S if late else 0.0)
            claims = await queries.claim(self._claimers, most, _lease(), self._fleet.sole, lag)
            fetched += len(claims)
            await self.take(claims, submit_until, late=late)
        return fetched

    async def _fetch_aside(self, lacking: dict[str, int], submit_until: float) -> int:
        """Claim what lies aside for carriers that lack some, and take it off what they lack."""
        fetched = 0
        for held_for in sorted(self._aside):
            name, late = self._chooser.find_taker(held_for, lacking)
            if name is None and any(name in self._fleet.members for name in Pile.read(held_for).names):
                continue
            most = lacking[name] if name is not None else FEWEST_CLAIMED  # nobody's any more: to be decided anew
            before = first_id(datetime.now(UTC) - timedelta(seconds=OTHERS_FIRST_S)) if late else None
            claims = await queries.claim_held(self._claimers, held_for, most, _lease(), self._fleet.sole, before=before)
            if len(claims) < most:
                self._aside.discard(held_for)
            if name is not None:
                lacking[name] -= len(claims)
                if lacking[name] <= 0:
                    del lacking[name]
            fetched += len(claims)
            await self.take(claims, submit_until, held_for, late=late)
        return fetched

    def _lacking(self) -> dict[str, int]:
        """Return how many messages more should be claimed for each carrier: what it may take in about a second.

        Nothing while no carrier has room, and nothing for one of which more than half of that is here, or that is not
        bound here: who claims nothing leaves it to the others.
        """
        waiting = self._waiting()
        lacking: dict[str, int] = {}
        here: set[str] = set()
        any_room = False
        for name, member in self._fleet.members.items():
            if not member.usable:
                continue
            here.add(name)
            free = member.carrier.capacity()
            any_room |= free > 0
            ahead = min(MOST_CLAIMED, max(free, self._tallies[name].rate, FEWEST_CLAIMED))
            ready = waiting.get(name, 0)
            if ready * 2 <= ahead and (free or self._fleet.sole is None):
                lacking[name] = ahead - ready
        if here != self._here:
            self._here, self._others = frozenset(here), 0.0
        return lacking if any_room else {}

    async def take(
        self, claims: Sequence[Claim], submit_until: float, held_for: str | None = None, *, late: bool = False
    ) -> None:
        """Queue claims, or put them aside; what carriers have settled of a message does not go again."""
        again = [claim.message.id for claim in claims if claim.claims > 1]
        try:
            settled = await queries.list_parts(self._pool, again) if again else {}
        except BaseException:
            for claim in claims:  # nothing of them was submitted, and there is no doubt about it
                self._ends.give_back(claim)
            raise
        chosen = [
            (claim, choice) for claim in claims
            if (choice := self._choose(claim, settled.get(claim.message.id, ()), held_for)) is not None
        ]  # fmt: skip
        if held_for is None and chosen and self._fleet.shared:
            others = sum(self._chooser.is_elsewhere(choice.candidates) for _, choice in chosen) / len(chosen)
            self._others += (others - self._others) * min(1.0, len(chosen) / LEARNT_FROM)
        waiting = self._waiting() if self._fleet.sole is None else {}
        turn = _Turn(held_for, late)
        aside: list[tuple[Claim, str]] = []
        for claim, choice in chosen:
            if self._is_for_here(choice, waiting, turn):
                self._queue(claim, choice, submit_until)
            else:
                aside.append((claim, Pile(choice.candidates, choice.overflow).held_for))
        if aside:
            await self.put_aside(aside)

    def _choose(self, claim: Claim, parts: Sequence[Part], held_for: str | None) -> Choice | None:
        """Return who may take a message; None where it has ended, or another claim of it has not."""
        if not self._ends.take(claim):
            return None
        message = claim.message
        if message.status != "accepted":  # a receipt told of its end before its submit's result was committed
            self._ends.put(Submitted(message.id))
            return None
        if claim.expires_at <= datetime.now(UTC) or message.body is None:
            self._ends.put(Submitted(message.id, ending=overdue(in_doubt=claim.in_doubt)))
            return None
        choice = self._chooser.choose(claim, parts, held_for)
        if isinstance(choice, Ending):
            self._ends.put(Submitted(message.id, ending=choice))
            return None
        return choice

    def _is_for_here(self, choice: Choice, waiting: dict[str, int], turn: _Turn) -> bool:
        """Whether a message waits for carriers that are here, and not aside so that others pass.

        Aside are those whose carriers are bound elsewhere, are away, or have enough of them here; what comes later than
        those that lie aside queues behind them. A carrier alone holds up nobody. What any of its carriers may take, and
        others had their go at, is for those that are here.
        """
        if self._fleet.sole is not None and choice.candidates == (self._fleet.sole,):
            return not self._chooser.is_elsewhere(choice.candidates)
        names = Pile(choice.candidates, choice.overflow).held_for
        if names in self._aside and names != turn.held_for:
            return False
        for name in choice.candidates:
            member = self._fleet.members.get(name)
            if member is None:
                continue
            if not member.usable:
                if member.up and not (choice.overflow and turn.late):
                    return False
            elif waiting.get(name, 0) < self._most_waiting(member):
                waiting[name] = waiting.get(name, 0) + 1
                return True
            elif not choice.overflow:
                break
        return False

    def _most_waiting(self, member: Crew) -> int:
        return min(MOST_CLAIMED, max(FEWEST_CLAIMED, self._tallies[member.name].rate, member.room())) * 2

    async def put_aside(self, aside: Sequence[tuple[Claim, str]]) -> None:
        """Write down what lies aside, and tell other workers; when that fails its leases are given back."""
        rows = [(claim.message.id, claim.claims, names, claim.in_doubt) for claim, names in aside]
        try:
            await queries.put_aside(self._pool, rows)
        except BaseException:
            for claim, _ in aside:
                self._ends.give_back(claim)
            raise
        self._aside.update(names for _, names in aside)
        for claim, _ in aside:
            self._ends.forget(claim)
        if self._fleet.shared:
            self._bells.ring("aside")


def _lease() -> timedelta:
    return timedelta(seconds=LEASE_S)


def overdue(*, in_doubt: bool) -> Ending:
    """Return how a message ends whose validity is over; one in doubt may have arrived."""
    return Ending("unknown", "no_answer") if in_doubt else Ending("expired", "expired")
