"""The dispatcher: claims accepted messages, gives each to a carrier that its routing allows, and says how that ended.

Owns which carrier has a message, and the hand-over to another one that never sends twice: the carrier is written down
before the submit, so that after a crash what is in doubt goes to that carrier again or to nobody. What waits for a
carrier that takes no more lies aside in the queue and holds up no other. It knows no HTTP and no SQL.
"""

import asyncio
import contextlib
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import structlog
from prometheus_client import Counter, Gauge

from ghasi.carriers.carrier import Outcome, Segment, SubmitResult
from ghasi.messages.dispatch import queries
from ghasi.messages.dispatch.choosing import Chooser, held_name, parse_held
from ghasi.messages.dispatch.flights import Choice, Crew, Flight, Lane, Tally, conclude, validity_left_s
from ghasi.messages.dispatch.ledger import Ending, Ledger, Retry, Submitted
from ghasi.messages.dispatch.queries import Claim
from ghasi.storage.batch import QueueFullError
from ghasi.storage.pool import UNAVAILABLE, Pool

LEASE_S = 30.0
SUBMIT_WITHIN_S = 15.0
"""After a claim; a submit may take 10 s to be answered, and the lease must outlast both."""
POLL_S = 0.25
SHORTEST_POLL_S = 0.005
MOST_CLAIMED = 500
FEWEST_CLAIMED = 32
DRAIN_S = 3.5
HANDED_OVER_AGAIN_S = 0.5
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
        tallies: defaultdict[str, Tally],
        wake: asyncio.Event,
    ) -> None:
        self._pool = pool
        self._ledger = ledger
        self._chooser = chooser
        self._fleet = chooser.fleet
        self._wake = wake
        self._lanes: dict[Lane, deque[Flight]] = {}
        self._assigning: list[tuple[Flight, Crew]] = []
        self._number = 0
        self._under_way = 0
        self._stopping = False
        self._done: list[Submitted] = []
        # claimed here and the end of that claim not committed yet, with the newest claim
        self._held: dict[UUID, int] = {}
        self._aside: set[str] = set()
        self._counters: dict[tuple[str, Outcome], Counter] = {}
        self.tallies = tallies

    async def claim_until(self, stopping: asyncio.Event) -> None:
        """Claim and submit until stopping."""
        while not stopping.is_set():
            self._wake.clear()
            try:
                busy = await self._step()
            except UNAVAILABLE as error:
                log.warning("claim_failed", error=type(error).__name__)
                busy = False
                await asyncio.sleep(POLL_S)
            if not busy:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_s()):
                        await self._wake.wait()

    async def drain(self) -> None:
        """Give back what was not submitted and wait for answers, DRAIN_S at most."""
        self._stopping = True
        for flight, _ in self._assigning:
            self._give_back(flight)
        self._assigning.clear()
        for lane in self._lanes.values():
            while lane:
                self._give_back(lane.popleft())
        self._lanes.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while self._under_way or self._done:
                    await asyncio.sleep(0.02)

    async def learn_aside(self) -> None:
        """Read for which carriers messages lie aside: other processes put some there too."""
        self._aside = set(await queries.list_held(self._pool))

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

    # Claiming

    async def _step(self) -> bool:
        """Submit what is ready and fetch more; return whether there may be more to do at once."""
        await self._submit_ready()
        lacking = self._lacking()
        if not lacking:
            return False
        submit_until = time.monotonic() + SUBMIT_WITHIN_S  # before the claim: the lease runs from its statement
        lease, sole = timedelta(seconds=LEASE_S), self._fleet.sole
        fetched = 0
        for held_for in sorted(self._aside):
            name = self._chooser.find_taker(held_for, lacking)
            if name is None and any(name in self._fleet.members for name in parse_held(held_for)[0]):
                continue
            most = lacking[name] if name is not None else FEWEST_CLAIMED  # nobody's any more: to be decided anew
            claims = await queries.claim_held(self._pool, held_for, most, lease, sole)
            if len(claims) < most:
                self._aside.discard(held_for)
            if name is not None:
                lacking[name] -= len(claims)
                if lacking[name] <= 0:
                    del lacking[name]
            fetched += len(claims)
            await self._take(claims, submit_until, held_for)
        if lacking:
            most = min(MOST_CLAIMED, sum(lacking.values()))
            claims = await queries.claim(self._pool, most, lease, sole)
            fetched += len(claims)
            await self._take(claims, submit_until)
        await self._submit_ready()
        return bool(fetched)

    def _lacking(self) -> dict[str, int]:
        """Return how many messages more should be claimed for each carrier: what it may take in about a second.

        Nothing while no carrier has room, and nothing for one of which more than half of that is here.
        """
        waiting = self.count_waiting()
        lacking: dict[str, int] = {}
        any_room = False
        for name, member in self._fleet.members.items():
            if not member.usable:
                continue
            free = member.carrier.capacity()
            any_room |= free > 0
            rate = self.tallies[name].rate
            ahead = min(MOST_CLAIMED, max(free, rate, FEWEST_CLAIMED))
            here = waiting.get(name, 0)
            if here * 2 <= ahead and (free or self._fleet.sole is None):
                lacking[name] = ahead - here
        return lacking if any_room else {}

    async def _take(self, claims: list[Claim], submit_until: float, held_for: str | None = None) -> None:
        """Make flights of claims, or put them aside; what carriers have settled of a message does not go again."""
        again = [claim.message.id for claim in claims if claim.claims > 1]
        try:
            settled = await queries.list_parts(self._pool, again) if again else {}
        except BaseException:
            for claim in claims:  # nothing of them was submitted, and there is no doubt about it
                self._finish(Submitted(claim.message.id, retry=Retry(claim.claims, 0.1, in_doubt=claim.in_doubt)))
            raise
        now = datetime.now(UTC)
        waiting = self.count_waiting() if self._fleet.sole is None else {}
        aside: list[tuple[Claim, str]] = []
        for claim in claims:
            message = claim.message
            held = message.id in self._held
            self._held[message.id] = claim.claims
            if held:  # its lease ran out while the ledger waited for the database
                continue
            if message.status != "accepted":  # a receipt told of its end before its submit's result was committed
                self._finish(Submitted(message.id))
                continue
            if claim.expires_at <= now or message.body is None:
                self._finish(Submitted(message.id, ending=overdue(in_doubt=claim.in_doubt)))
                continue
            choice = self._chooser.choose(claim, settled.get(message.id, ()))
            if isinstance(choice, Ending):
                self._finish(Submitted(message.id, ending=choice))
            elif self._must_wait(choice, waiting, held_for):
                aside.append((claim, held_name(choice)))
            else:
                self._number += 1
                lane = Lane(choice.candidates, choice.overflow)
                self._queue(lane, Flight(claim, self._number, submit_until, choice, claim.carrier, lane))
        if aside:
            await self._put_aside(aside)

    def _must_wait(self, choice: Choice, waiting: dict[str, int], held_for: str | None) -> bool:
        """Whether a message has to lie aside so that others pass: its carriers are away, or have enough of them here.

        What comes later than those that lie aside queues behind them. A carrier alone holds up nobody.
        """
        if self._fleet.sole is not None and choice.candidates == (self._fleet.sole,):
            return False
        names = held_name(choice)
        if names in self._aside and names != held_for:
            return True
        for name in choice.candidates:
            member = self._fleet.members.get(name)
            if member is None or not member.usable:
                continue
            if (
                waiting.get(name, 0)
                < min(MOST_CLAIMED, max(FEWEST_CLAIMED, self.tallies[name].rate, member.room())) * 2
            ):
                waiting[name] = waiting.get(name, 0) + 1
                return False
            if not choice.overflow:
                break
        return True

    async def _put_aside(self, aside: Sequence[tuple[Claim, str]]) -> None:
        """Write down what lies aside; when that fails its leases are given back."""
        try:
            await queries.put_aside(
                self._pool, [(claim.message.id, claim.claims, names, claim.in_doubt) for claim, names in aside]
            )
        except BaseException:
            for claim, _ in aside:
                self._finish(Submitted(claim.message.id, retry=Retry(claim.claims, 0.1, in_doubt=claim.in_doubt)))
            raise
        self._aside.update(names for _, names in aside)
        for claim, _ in aside:
            if self._held.get(claim.message.id) == claim.claims:
                del self._held[claim.message.id]

    # Submitting

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
                    if self._held.get(flight.claim.message.id) == flight.claim.claims:
                        del self._held[flight.claim.message.id]
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
        for flights in self._lanes.values():
            while flights and now > flights[0].submit_until:
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
            self._finish(Submitted(message.id, ending=Ending("failed", "invalid_message")))
            return False
        done = flight.choice.done
        if done and flight.choice.of != split.count:  # its carrier splits otherwise by now: no part fits the others
            self._finish(Submitted(message.id, ending=Ending("unknown", "no_answer")))
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
            self._finish(Submitted(message.id))
            return False
        if claim.in_doubt:
            if crew.carrier.on_unknown_submit == "unknown":
                self._finish(Submitted(message.id, ending=Ending("unknown", "no_answer")))
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
            self._finish(conclude(flight))
            return
        flight.note_refusal()
        left = [name for name in flight.choice.candidates if name not in flight.tried]
        stays = self._stopping or flight.given_back
        usable = [] if stays else [name for name in left if self._fleet.usable(name)]
        if usable:
            _handed_over.labels(usable[0]).inc()
            flight.crew = None
            flight.answers = []
            # what does not go to another carrier by then is given back, and decided anew
            self._queue(Lane(tuple(left), flight.choice.overflow), flight, first=True)
        elif flight.refusal is None:  # never written to any carrier
            self._finish(conclude(flight))
        elif any(map(self._is_expected, (*left, *flight.unsent))):
            delay_s = 0.1 if stays else ASKED_AGAIN_S
            self._finish(Submitted(flight.claim.message.id, retry=Retry(flight.claim.claims, delay_s)))
        else:
            self._finish(conclude(flight))

    def _is_expected(self, name: str) -> bool:
        """Whether a carrier that is away may be back soon."""
        member = self._fleet.members.get(name)
        return member is not None and member.mode == "active" and member.away_s() < EXPECTED_BACK_S

    def _give_back(self, flight: Flight) -> None:
        """Leave the parts that are not submitted to a later claim."""
        flight.given_back = True
        flight.segments.clear()
        claim = flight.claim
        if flight.crew is None:  # no carrier has anything of it, whatever others have refused
            self._finish(Submitted(claim.message.id, retry=Retry(claim.claims, 0.1, in_doubt=claim.in_doubt)))
        elif flight.unanswered == 0:
            self._settle(flight)

    def _finish(self, submitted: Submitted) -> None:
        """Hand a claim's end to the ledger, together with all others of this turn of the event loop."""
        if not self._done:
            asyncio.get_running_loop().call_soon(self._hand_over)
        self._done.append(submitted)

    def _hand_over(self) -> None:
        done = self._done
        try:
            written = self._ledger.put(done)
        except QueueFullError:  # what ends meanwhile joins them
            asyncio.get_running_loop().call_later(HANDED_OVER_AGAIN_S, self._hand_over)
            return
        self._done = []
        written.add_done_callback(partial(self._written, done))

    def _written(self, done: list[Submitted], _: asyncio.Future[None]) -> None:
        """Let go of claims whose end is committed; a retry overtaken by a newer claim of ours is put again for that."""
        for one in done:
            newest = self._held.pop(one.message_id, None)
            if newest is not None and one.retry is not None and newest != one.retry.claims:
                self._held[one.message_id] = newest
                self._finish(Submitted(one.message_id, retry=replace(one.retry, claims=newest)))


def overdue(*, in_doubt: bool) -> Ending:
    """Return how a message ends whose validity is over; one in doubt may have arrived."""
    return Ending("unknown", "no_answer") if in_doubt else Ending("expired", "expired")
