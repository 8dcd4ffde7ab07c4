"""The dispatcher: submits claimed messages to the carriers that their routing allows, and says how that ended.

Owns which carrier has a message, and the hand-over to another one that never sends twice: the carrier is written down
before the submit, so that after a crash what is in doubt goes to that carrier again or to nobody. What is claimed, and
what lies aside, is claiming.py's. It knows no HTTP and no SQL.
"""

import asyncio
import contextlib
import time
from collections import defaultdict, deque
from datetime import UTC, datetime
from functools import partial

import structlog
from prometheus_client import Counter, Gauge

from ghasi.carriers.carrier import Outcome, Segment, SubmitResult
from ghasi.messages.dispatch import queries
from ghasi.messages.dispatch.choosing import Chooser, Pile
from ghasi.messages.dispatch.claiming import FEWEST_CLAIMED, Claimer
from ghasi.messages.dispatch.ends import Ends
from ghasi.messages.dispatch.flights import Choice, Crew, Flight, Lane, Tally, conclude, validity_left_s
from ghasi.messages.dispatch.ledger import Ending, Ledger, Retry, Submitted
from ghasi.messages.dispatch.queries import Claim
from ghasi.storage.pool import UNAVAILABLE, Pool

POLL_S = 0.25
SHORTEST_POLL_S = 0.005
CLAIMS_APART_S = 0.01
"""A claim costs the same however few it finds: while messages keep coming, whoever rings, there are so many."""
DRAIN_S = 3.5
EXPECTED_BACK_S, ASKED_AGAIN_S = 60.0, 10.0
"""A message that some carriers refused waits for one that is away no longer than this, and asks so often."""

log = structlog.get_logger("ghasi.dispatch")
_submits = Counter("ghasi_submits_total", "Segments by what became of them", ["carrier", "outcome"])
_resubmitted = Counter("ghasi_messages_resubmitted_total", "Messages that may have been submitted twice", ["carrier"])
_handed_over = Counter("ghasi_messages_handed_over_total", "Messages that another carrier got next", ["carrier"])
_waiting = Gauge("ghasi_dispatch_waiting", "Messages claimed and not yet submitted", multiprocess_mode="livesum")


class Dispatcher:
    """Submits claimed messages through the carriers of a fleet; one a process."""

    def __init__(
        self,
        pool: Pool,
        ledger: Ledger,
        chooser: Chooser,
        *,
        claimers: Pool,
        tallies: defaultdict[str, Tally],
        wake: asyncio.Event,
    ) -> None:
        """`claimers` are connections for claims alone, planned ALONG_INDEXES."""
        self._pool = pool
        self._ends = Ends(ledger)
        self._chooser = chooser
        self._fleet = chooser.fleet
        self._wake = wake
        self._lanes: dict[Lane, deque[Flight]] = {}
        self._assigning: list[tuple[Flight, Crew]] = []
        self._number = 0
        self._under_way = 0
        self._stopping = False
        self._claim_at = 0.0
        # refused here, to be put aside for another worker's carriers
        self._moving: list[tuple[Flight, Pile]] = []
        self._counters: dict[tuple[str, Outcome], Counter] = {}
        self.tallies = tallies
        self.claimer = Claimer(
            pool, claimers, ledger.bells, chooser, self._ends,
            tallies=tallies, waiting=self.count_waiting, queue=self._take,
        )  # fmt: skip

    async def claim_until(self, stopping: asyncio.Event) -> None:
        """Claim and submit until stopping."""
        while not stopping.is_set():
            self._wake.clear()
            try:
                wait_s = await self._step()
            except UNAVAILABLE as error:
                log.warning("claim_failed", error=type(error).__name__)
                await asyncio.sleep(POLL_S)
                wait_s = self._poll_s()
            if wait_s > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._wake.wait()

    async def drain(self) -> None:
        """Give back what was not submitted and wait for answers, DRAIN_S at most."""
        self._stopping = True
        for flight, _ in self._assigning:
            self._give_back(flight)
        self._assigning.clear()
        for flight, _ in self._moving:
            self._give_back(flight)
        self._moving.clear()
        for lane in self._lanes.values():
            while lane:
                self._give_back(lane.popleft())
        self._lanes.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while self._under_way or self._ends.untold:
                    await asyncio.sleep(0.02)

    async def learn_aside(self) -> None:
        """Read for which carriers messages lie aside, and fetch what can be taken here."""
        if await self.claimer.learn():
            self._wake.set()

    def count_waiting(self) -> dict[str, int]:
        """Return how many claimed messages wait for each carrier."""
        waiting: dict[str, int] = {}
        for lane, flights in self._lanes.items():
            name = lane.crew.name if lane.crew else self._chooser.first_usable(lane.candidates)
            if name is not None:
                waiting[name] = waiting.get(name, 0) + len(flights)
        return waiting

    def _poll_s(self) -> float:
        """Return how long to wait for something to happen; a carrier of so many a second takes the next by itself."""
        shortest = POLL_S
        for name in self.count_waiting() if self._lanes else ():
            member = self._fleet.members.get(name)
            rate = member.throughput_per_s if member is not None else None
            if rate:
                shortest = min(shortest, max(1 / rate, SHORTEST_POLL_S))
        return shortest

    async def _step(self) -> float:
        """Submit what is ready, and fetch more when it is time; return in how many seconds to look again."""
        await self._submit_ready()
        early_s = self._claim_at - time.monotonic()
        if early_s > 0:  # woken, perhaps by an answer, perhaps for what to claim
            return min(early_s, self._poll_s())
        self._claim_at = time.monotonic() + CLAIMS_APART_S
        fetched = await self.claimer.fetch()
        await self._submit_ready()
        if fetched >= FEWEST_CLAIMED:
            self._claim_at = 0.0
            return 0.0
        return min(CLAIMS_APART_S, self._poll_s()) if fetched else self._poll_s()

    # Submitting

    def _take(self, claim: Claim, choice: Choice, submit_until: float) -> None:
        """Queue a claim that is to be submitted here."""
        self._number += 1
        lane = Lane(choice.candidates, choice.overflow)
        self._queue(lane, Flight(claim, self._number, submit_until, choice, claim.carrier, lane))

    def _queue(self, lane: Lane, flight: Flight, *, first: bool = False) -> None:
        flights = self._lanes.get(lane)
        if flights is None:
            flights = self._lanes[lane] = deque()
        if first:
            flights.appendleft(flight)
        else:
            flights.append(flight)

    async def _submit_ready(self) -> None:
        """Submit while carriers have room, write down the carriers of those that need it, and submit them too."""
        if self._moving:
            moving, self._moving = self._moving, []
            await self.claimer.put_aside([(flight.claim, pile.held_for) for flight, pile in moving])
        self._fly()
        while self._assigning:
            rows = [(flight.claim.message.id, flight.claim.claims, crew.name) for flight, crew in self._assigning]
            try:
                held = await queries.assign(self._pool, rows)
            except UNAVAILABLE:
                for flight, _ in reversed(self._assigning):
                    self._queue(flight.lane, flight, first=True)
                self._assigning.clear()
                raise
            assigned, self._assigning = self._assigning, []
            for flight, crew in assigned:
                if flight.claim.message.id not in held:  # another claim has it by now
                    self._ends.forget(flight.claim)
                    continue
                flight.recorded = crew.name
                if time.monotonic() > flight.submit_until:
                    self._give_back(flight)
                elif crew.carrier.capacity() > 0:
                    self._submit(flight, crew)
                else:
                    self._queue(flight.lane, flight, first=True)
            self._fly()

    def _fly(self) -> None:
        """Submit while carriers have room, oldest claims first; what must be assigned first is noted for that."""
        if not self._lanes:
            return
        now = time.monotonic()
        room: dict[Crew, int] = {}
        is_shared = self._fleet.shared
        for lane, flights in self._lanes.items():
            while flights and (now > flights[0].submit_until or (is_shared and self._has_moved(lane))):
                self._give_back(flights.popleft())
        lanes = [lane for lane, flights in self._lanes.items() if flights]
        while lanes:
            lane = min(lanes, key=lambda lane: self._lanes[lane][0].number) if len(lanes) > 1 else lanes[0]
            flights = self._lanes[lane]
            crew = self._find_room(lane, room)
            if crew is None:
                lanes.remove(lane)
                continue
            flight = flights.popleft()
            flight.lane = lane
            if flight.recorded != crew.name:
                room[crew] -= 1
                self._assigning.append((flight, crew))
            else:
                room[crew] -= self._submit(flight, crew)
            if not flights:
                lanes.remove(lane)
        for lane in [lane for lane, flights in self._lanes.items() if not flights]:
            del self._lanes[lane]
        _waiting.set(sum(map(len, self._lanes.values())))

    def _has_moved(self, lane: Lane) -> bool:
        """Whether the carrier that a lane waits for is another worker's by now."""
        if lane.crew is not None:
            return lane.crew.elsewhere and not lane.crew.bound
        if not self._chooser.is_elsewhere(lane.candidates):
            return False
        return not (lane.overflow and self._chooser.first_usable(lane.candidates))

    def _find_room(self, lane: Lane, room: dict[Crew, int]) -> Crew | None:
        """Return the carrier that takes a lane's next message now."""
        if lane.crew is not None:  # begun there: to be finished, whatever became of the carrier's mode
            return lane.crew if self._room(lane.crew, room) > 0 else None
        for name in lane.candidates:
            member = self._fleet.members.get(name)
            if member is None:
                continue
            if self._room(member, room) > 0 and member.mode == "active":
                return member
            if not lane.overflow and member.usable:
                return None
        return None

    @staticmethod
    def _room(crew: Crew, room: dict[Crew, int]) -> int:
        left = room.get(crew)
        if left is None:
            left = room[crew] = crew.room()
        return left

    def _submit(self, flight: Flight, crew: Crew) -> int:
        """Submit a message's parts while there is room, the rest when there is some again; return how many."""
        if flight.crew is not crew and not self._begin(flight, crew):
            return 0
        submitted = 0
        tally = self.tallies[crew.name]
        while flight.segments:
            if submitted and crew.carrier.capacity() <= 0:
                self._queue(Lane((), overflow=False, crew=crew), flight, first=True)
                break
            part = flight.segments.popleft()
            submitted += 1
            flight.unanswered += 1
            tally.count_submit()
            crew.carrier.submit(part).add_done_callback(partial(self._answered, flight, part))
        return submitted

    def _begin(self, flight: Flight, crew: Crew) -> bool:
        """Make a message's segments for a carrier; return whether any is to be submitted."""
        claim, message = flight.claim, flight.claim.message
        try:
            split = crew.carrier.split(message.body or "")
        except ValueError:
            self._ends.put(Submitted(message.id, ending=Ending("failed", "invalid_message")))
            return False
        done = flight.choice.done
        if done and flight.choice.of != split.count:  # its carrier splits otherwise by now: no part fits the others
            self._ends.put(Submitted(message.id, ending=Ending("unknown", "no_answer")))
            return False
        validity_s = validity_left_s(claim, datetime.now(UTC))
        segments = deque(
            Segment(
                to=message.recipient, sender=message.sender, encoding=split.encoding, payload=payload, part=number,
                parts=split.count, udh_reference=message.id.int & 0xFF, validity_s=validity_s,
                message_id=str(message.id),
            )
            for number, payload in enumerate(split.parts, 1)
            if number not in done
        )  # fmt: skip
        if not segments:  # a crash came between the last segment's result and the message's
            self._ends.put(Submitted(message.id))
            return False
        if claim.in_doubt:
            if crew.carrier.on_unknown_submit == "unknown":
                self._ends.put(Submitted(message.id, ending=Ending("unknown", "no_answer")))
                return False
            self.tallies[crew.name].resubmitted += 1
            _resubmitted.labels(crew.name).inc()
            log.info("message_resubmitted", message_id=str(message.id), carrier=crew.name)
        flight.crew, flight.of, flight.segments = crew, split.count, segments
        crew.begun += 1
        self._under_way += 1
        return True

    # Answers

    def _answered(self, flight: Flight, part: Segment, answer: asyncio.Future[SubmitResult]) -> None:
        result = answer.result()
        crew = flight.crew
        if crew is None:  # never: a flight has its carrier before its first submit
            return
        self._counter(crew.name, result.outcome).inc()
        flight.unanswered -= 1
        flight.answers.append((part, result))
        if result.outcome is Outcome.REFUSED:
            self.tallies[crew.name].refused += 1
            flight.segments.clear()  # the message can't arrive whole any more; its lane finds nothing left to submit
        self._wake.set()
        if flight.unanswered == 0 and not flight.segments:
            self._leave_lane(flight)
            self._settle(flight)

    def _leave_lane(self, flight: Flight) -> None:
        """Take a message whose rest is not to be submitted out of its carrier's lane."""
        lane = Lane((), overflow=False, crew=flight.crew)
        flights = self._lanes.get(lane)
        if flights is not None and flight in flights:
            flights.remove(flight)

    def _counter(self, name: str, outcome: Outcome) -> Counter:
        counter = self._counters.get((name, outcome))
        if counter is None:
            counter = self._counters[name, outcome] = _submits.labels(name, outcome.value)
        return counter

    def _settle(self, flight: Flight) -> None:
        """All answers of a carrier are there: hand the message over to another one, or say how its claim ended."""
        crew = flight.crew
        if crew is not None:
            crew.begun -= 1
            self._under_way -= 1
        if not flight.may_be_handed_over():
            self._ends.put(conclude(flight))
            return
        flight.note_refusal()
        left = [name for name in flight.choice.candidates if name not in flight.tried]
        stays = self._stopping or flight.given_back
        next_up = None if stays else self._chooser.first_up(left)
        if next_up is not None:
            _handed_over.labels(next_up).inc()
            flight.crew = None
            flight.answers = []
            lane = Lane(tuple(left), flight.choice.overflow)
            if self._has_moved(lane):
                self._moving.append((flight, Pile(lane.candidates, lane.overflow, alone=True)))
            else:
                # what does not go to another carrier by then is given back, and decided anew
                self._queue(lane, flight, first=True)
        elif flight.refusal is None:  # never written to any carrier
            self._ends.put(conclude(flight))
        elif any(map(self._is_expected, (*left, *flight.unsent))):
            delay_s = 0.1 if stays else ASKED_AGAIN_S
            self._ends.put(Submitted(flight.claim.message.id, retry=Retry(flight.claim.claims, delay_s)))
        else:
            self._ends.put(conclude(flight))

    def _is_expected(self, name: str) -> bool:
        """Whether a carrier that is away may be back soon."""
        member = self._fleet.members.get(name)
        return member is not None and member.mode == "active" and member.away_s() < EXPECTED_BACK_S

    def _give_back(self, flight: Flight) -> None:
        """Leave the parts that are not submitted to a later claim."""
        flight.given_back = True
        flight.segments.clear()
        if flight.crew is None:  # no carrier has anything of it, whatever others have refused
            self._ends.give_back(flight.claim)
        elif flight.unanswered == 0:
            self._settle(flight)
