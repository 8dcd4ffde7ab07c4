"""Which carriers may take a message: by routing, or because one of them has a part of it, or may have it.

Owns what routing looks at: which carriers are up, in whichever worker, and their quality as it was last read. Reads
nothing itself.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ghasi.carriers.fleet import Fleet
from ghasi.carriers.routing import Routes
from ghasi.carriers.routing_question import Asked, Quality
from ghasi.messages.dispatch.flights import Choice
from ghasi.messages.dispatch.ledger import Ending
from ghasi.messages.dispatch.lifecycle import Part
from ghasi.messages.dispatch.queries import Claim


class Pile(NamedTuple):
    """What messages that lie aside together wait for: their carriers, best first.

    `overflow`: any of them may take them, when those before it have enough. `alone`: no other may, since others have
    refused them.
    """

    names: tuple[str, ...]
    overflow: bool = False
    alone: bool = False

    @property
    def held_for(self) -> str:
        """What the queue calls it: the names, and marks for the rest."""
        return " ".join((*self.names, *(["+"] if self.overflow else []), *(["!"] if self.alone else [])))

    @classmethod
    def read(cls, held_for: str) -> "Pile":
        """Return the pile that the queue calls so."""
        words = held_for.split(" ")
        return cls(tuple(word for word in words if word not in ("+", "!")), "+" in words, "!" in words)


class Chooser:
    """Chooses carriers of a fleet by the routes of carriers.toml; a View of the fleet for routing."""

    def __init__(self, fleet: Fleet[Any], routes: Routes | None = None) -> None:
        self.fleet = fleet
        self.routes = routes
        """None where there are no rules: every carrier may take every message, in their order."""
        self.qualities: Mapping[tuple[str, str | None], Quality] = {}

    def use(self, routes: Routes | None) -> None:
        """Choose by these routes from now on."""
        self.routes = routes

    def usable(self, carrier: str) -> bool:
        """Return whether a carrier is up and takes new messages, here or in another worker."""
        return self.fleet.up(carrier)

    def quality(self, carrier: str, country: str | None) -> Quality | None:
        """Return how well a carrier did with a country over the last hours."""
        return self.qualities.get((carrier, country))

    def choose(self, claim: Claim, parts: Sequence[Part], held_for: str | None = None) -> Choice | Ending:
        """Return who may take a message, or how it ends because nobody may; `held_for` is the pile it comes from."""
        if parts:
            return self._stay(claim, parts[0].carrier, parts)
        if claim.in_doubt and claim.carrier:
            return self._stay(claim, claim.carrier, parts)
        if self.routes is None:
            candidates, overflow = tuple(self.fleet.members), True  # as Routes without rules decides
        else:
            message = claim.message
            decision = self.routes.decide(
                Asked(
                    message.recipient, message.country, message.sender, message.account_id, message.body or "",
                    message.segments, datetime.now(UTC), message.id,
                ),
                self,
            )  # fmt: skip
            if decision.rejected:
                return Ending("failed", "not_permitted")
            candidates, overflow = decision.candidates, decision.overflow
        if not candidates:
            return Ending("failed", "no_route")
        if claim.throttles and claim.carrier in candidates and self.usable(claim.carrier):
            # it was told to come again later, there
            candidates = (claim.carrier, *(name for name in candidates if name != claim.carrier))
        if held_for is not None and (pile := Pile.read(held_for)).alone:
            candidates = tuple(name for name in candidates if name in pile.names) or candidates
        return Choice(candidates, overflow)

    def _stay(self, claim: Claim, carrier: str, parts: Sequence[Part]) -> Choice | Ending:
        """Return that a message stays with a carrier; where that is no more, nobody can say or finish what it did."""
        member = self.fleet.members.get(carrier)
        if claim.in_doubt and (member is None or member.carrier.on_unknown_submit == "unknown"):
            return Ending("unknown", "no_answer")
        if member is None:
            return Ending("failed", "no_route")
        of = (parts[0].of or claim.message.segments) if parts else 0
        return Choice((carrier,), pinned=True, done={part.part: part for part in parts}, of=of)

    def first_usable(self, candidates: Sequence[str]) -> str | None:
        """Return the first carrier that is up here."""
        return next((name for name in candidates if self.fleet.usable(name)), None)

    def first_up(self, candidates: Sequence[str]) -> str | None:
        """Return the first carrier that is up, in whichever worker."""
        return next((name for name in candidates if self.fleet.up(name)), None)

    def is_elsewhere(self, candidates: Sequence[str]) -> bool:
        """Return whether the first carrier that is up is another worker's."""
        if not self.fleet.shared:
            return False
        first = self.first_up(candidates)
        return first is not None and not self.fleet.usable(first)

    def find_taker(self, held_for: str, wanted: Collection[str]) -> tuple[str | None, bool]:
        """Return the carrier for which messages that lie aside should be fetched now, if it is one of `wanted`.

        And whether only those that another worker has not taken, whose carrier is before that one.
        """
        pile = Pile.read(held_for)
        up = [name for name in pile.names if self.fleet.up(name)]
        taker = next((name for name in (up if pile.overflow else up[:1]) if name in wanted), None)
        return taker, taker is not None and self.is_elsewhere(pile.names)
