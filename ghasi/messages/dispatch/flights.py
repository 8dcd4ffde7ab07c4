"""A claimed message under way: to which carriers it may go, what is submitted of it, and how its claim ends.

Owns the summing up of a carrier's answers. It submits nothing and writes nothing.
"""

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ghasi.carriers.carrier import Outcome, Segment, SubmitResult
from ghasi.carriers.fleet import Member
from ghasi.messages.dispatch.ledger import Ending, Retry, Submitted
from ghasi.messages.dispatch.lifecycle import Part
from ghasi.messages.dispatch.queries import Claim

FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 1.0, 60.0
Crew = Member[Any]
_NONE: Mapping[int, Part] = {}


class Choice(NamedTuple):
    """Which carriers may take a message, best first.

    `pinned`: it stays with the one named, which has a part of it or may have it. `done` are the parts that are settled,
    by number, `of` how many there are then.
    """

    candidates: tuple[str, ...]
    overflow: bool = False
    pinned: bool = False
    done: Mapping[int, Part] = _NONE
    of: int = 0


class Lane(NamedTuple):
    """What messages wait for that wait in one row: their carriers, or the one that has begun them."""

    candidates: tuple[str, ...]
    overflow: bool
    crew: Crew | None = None


@dataclass(slots=True, eq=False)
class Flight:
    """A claimed message: its parts still to submit, how many are unanswered, and what came back.

    `recorded` is the carrier that the queue says has it; `tried` are those that did not take it.
    """

    claim: Claim
    number: int
    submit_until: float
    choice: Choice
    recorded: str | None
    lane: Lane
    crew: Crew | None = None
    of: int = 0
    segments: deque[Segment] = field(default_factory=deque)
    unanswered: int = 0
    answers: list[tuple[Segment, SubmitResult]] = field(default_factory=list)
    given_back: bool = False
    tried: set[str] = field(default_factory=set)
    unsent: set[str] = field(default_factory=set)
    refusal: tuple[str, int, int, SubmitResult] | None = None

    def may_be_handed_over(self) -> bool:
        """Whether the carrier has surely nothing of the message, and will have nothing of it."""
        if self.choice.pinned or not self.answers:
            return False
        outcomes = {result.outcome for _, result in self.answers}
        if outcomes & {Outcome.ACCEPTED, Outcome.UNANSWERED}:
            return False
        return Outcome.REFUSED in outcomes or outcomes == {Outcome.UNSENT}

    def note_refusal(self) -> None:
        """Remember that this carrier did not take the message, and why; the last refusal is the one that is told."""
        if self.crew is None:
            return
        self.tried.add(self.crew.name)
        for part, result in self.answers:
            if result.outcome is Outcome.REFUSED:
                self.refusal = (self.crew.name, part.part, self.of, result)
                return
        self.unsent.add(self.crew.name)


@dataclass(slots=True)
class Tally:
    """What this process did with a carrier since it was last written down, and how much it does in a second."""

    submitted: int = 0
    resubmitted: int = 0
    refused: int = 0
    receipts: int = 0
    rate: int = 0
    """Submits of the last whole second: what may sensibly be claimed ahead."""
    _began: float = 0.0
    _count: int = 0

    def count_submit(self) -> None:
        """Count a submit."""
        self.submitted += 1
        now = time.monotonic()
        if now - self._began >= 1.0:
            self.rate = self._count if now - self._began < 2.0 else 0  # noqa: PLR2004 - a second was idle
            self._began, self._count = now, 1
        else:
            self._count += 1


def validity_left_s(claim: Claim, now: datetime) -> int | None:
    """Return what is left of the validity a customer asked for, in whole seconds."""
    return None if claim.message.validity_s is None else max(1, int((claim.expires_at - now).total_seconds()))


def conclude(flight: Flight) -> Submitted:
    """Sum up the answers of the carrier that had a message last; with none, a refusal before counts."""
    now = datetime.now(UTC)
    parts: list[tuple[Part, str | None]] = []
    outcomes = {Outcome.UNSENT} if flight.given_back else set()
    name = flight.crew.name if flight.crew is not None else ""
    for segment, result in flight.answers:
        outcomes.add(result.outcome)
        if result.outcome is Outcome.ACCEPTED:
            parts.append((Part(segment.part, "accepted", name, now, of=flight.of), result.carrier_message_id))
        elif result.outcome is Outcome.REFUSED:
            parts.append((_refused(name, segment.part, flight.of, result, now), None))
    if flight.refusal is not None and outcomes <= {Outcome.UNSENT}:
        outcomes = {Outcome.REFUSED}
        parts = [(_refused(*flight.refusal, now), None)]
    claim, retry, ending = flight.claim, None, None
    if Outcome.UNANSWERED in outcomes:
        resend = flight.crew is None or flight.crew.carrier.on_unknown_submit == "resend"
        backoff_s = min(FIRST_BACKOFF_S * 2 ** min(claim.claims - 1, 10), LONGEST_BACKOFF_S)
        retry = Retry(claim.claims, backoff_s, in_doubt=True) if resend else None
        ending = None if resend else Ending("unknown", "no_answer")
    elif Outcome.THROTTLED in outcomes:
        backoff_s = min(FIRST_BACKOFF_S * 2 ** min(claim.throttles, 10), LONGEST_BACKOFF_S)
        # what an earlier claim submitted may have been taken all the same
        retry = Retry(claim.claims, backoff_s, throttled=True, in_doubt=claim.in_doubt)
    elif Outcome.UNSENT in outcomes:
        retry = Retry(claim.claims, 0.1, in_doubt=claim.in_doubt)
    return Submitted(claim.message.id, parts, claim.in_doubt and flight.crew is not None, retry, ending)


def _refused(carrier: str, part: int, of: int, result: SubmitResult, now: datetime) -> Part:
    return Part(part, "refused", carrier, now, result.error_code, result.detail, of)
