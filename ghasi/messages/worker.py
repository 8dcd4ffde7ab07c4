"""Dispatch: claims accepted messages, submits their segments to carriers, and brings back results and receipts.

Owns leases, retries and what happens on a crash: a claim is committed before any I/O, its end is written by the
ledger; a claim that ended without a word may have been submitted, so the message is submitted again (or becomes
unknown, as the carrier's on_unknown_submit says) and is marked, counted and shown. It knows no HTTP.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import structlog
from prometheus_client import Counter, Gauge

from ghasi.carriers.carrier import Carrier, Outcome, Receipt, Segment, SubmitResult
from ghasi.carriers.configuration import open_carriers, open_simulated_carriers
from ghasi.carriers.routing import choose
from ghasi.contract.values import first_id
from ghasi.messages import dispatch_queries as queries
from ghasi.messages import prices, service
from ghasi.messages.dispatch_queries import Claim
from ghasi.messages.ledger import RECEIPTS_WITHIN, Ending, Ledger, Retry, Submitted
from ghasi.messages.lifecycle import Part, PartState
from ghasi.messages.segmentation import segment
from ghasi.settings import Settings
from ghasi.storage import outbox
from ghasi.storage.pool import UNAVAILABLE, Pool
from ghasi.storage.resources import Resources

LEASE_S = 30.0
SUBMIT_WITHIN_S = 15.0
"""After a claim; a submit may take 10 s to be answered, and the lease must outlast both."""
POLL_S = 0.25
MOST_PRUNED = 10_000
MOST_CLAIMED = 500
FEWEST_CLAIMED = 32
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 1.0, 60.0
DRAIN_S, LAST_CLAIM_S, LAST_WRITES_S = 3.5, 0.5, 1.0
LONGEST_VALIDITY = timedelta(hours=48)

log = structlog.get_logger("ghasi.dispatch")
_submits = Counter("ghasi_submits_total", "Segments by what became of them", ["carrier", "outcome"])
_resubmitted = Counter("ghasi_messages_resubmitted_total", "Messages that may have been submitted twice", ["carrier"])
_waiting = Gauge("ghasi_dispatch_waiting", "Segments claimed and not yet submitted", multiprocess_mode="livesum")


@dataclass(slots=True)
class _Flight:
    """A claimed message under way: its segments still to submit, how many are unanswered, and what came back."""

    claim: Claim
    segments: deque[Segment]
    submit_until: float
    carrier: Carrier | None = None
    unanswered: int = 0
    answers: list[tuple[Segment, Carrier, SubmitResult]] = field(default_factory=list)
    given_back: bool = False


@dataclass(slots=True)
class _Totals:
    """What was submitted to a carrier since it was last written down."""

    submitted: int = 0
    resubmitted: int = 0


class Dispatcher:
    """Submits claimed messages through carriers; one a process."""

    def __init__(self, pool: Pool, ledger: Ledger, carriers: list[Carrier], wake: asyncio.Event) -> None:
        self._pool = pool
        self._ledger = ledger
        self._carriers = carriers
        self._wake = wake
        self._ready: deque[_Flight] = deque()
        self._under_way = 0
        self._done: list[Submitted] = []
        # claimed here and the end of that claim not committed yet, with the newest claim
        self._held: dict[UUID, int] = {}
        self._rate = 0
        self._second = (0.0, 0)
        self.totals = {carrier.name: _Totals() for carrier in carriers}

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
                    async with asyncio.timeout(POLL_S):
                        await self._wake.wait()

    async def drain(self) -> None:
        """Give back what was not submitted and wait for answers, DRAIN_S at most."""
        while self._ready:
            self._give_back(self._ready.popleft())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while self._under_way:
                    await asyncio.sleep(0.02)

    async def _step(self) -> bool:
        """Submit what is ready and fetch more; return whether there may be more to do at once."""
        self._submit_ready()
        free = sum(carrier.capacity() for carrier in self._carriers)
        wanted = min(MOST_CLAIMED, max(free, self._rate, FEWEST_CLAIMED if free else 0))
        if not free or len(self._ready) * 2 > wanted:
            return False
        submit_until = time.monotonic() + SUBMIT_WITHIN_S  # before the claim: the lease runs from its statement
        claims = await queries.claim(self._pool, wanted - len(self._ready), timedelta(seconds=LEASE_S))
        await self._take(claims, submit_until)
        self._submit_ready()
        return bool(claims)

    async def _take(self, claims: list[Claim], submit_until: float) -> None:
        """Make flights of claims; of a long message only the segments that no carrier has settled go again."""
        again = [claim.message.id for claim in claims if claim.message.segments > 1]
        try:
            settled = await queries.list_parts(self._pool, again) if again else {}
        except BaseException:
            for claim in claims:  # nothing of them was submitted, and there is no doubt about it
                self._finish(Submitted(claim.message.id, retry=Retry(claim.claims, 0.1, in_doubt=claim.in_doubt)))
            raise
        now = datetime.now(UTC)
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
                self._finish(Submitted(message.id, ending=Ending("expired", "expired")))
                continue
            split = segment(message.body)
            done = {part.part for part in settled.get(message.id, ())}
            segments = deque(
                Segment(
                    to=message.recipient, sender=message.sender, encoding=split.encoding, payload=payload, part=number,
                    parts=split.count, udh_reference=message.id.int & 0xFF, validity_s=_validity_left_s(claim, now),
                )
                for number, payload in enumerate(split.parts, 1)
                if number not in done
            )  # fmt: skip
            if not segments:  # a crash came between the last segment's result and the message's
                self._finish(Submitted(message.id))
                continue
            self._ready.append(_Flight(claim, segments, submit_until))

    def _submit_ready(self) -> None:
        """Submit while a carrier has room. A message's segments go to one carrier."""
        now = time.monotonic()
        passed = 0
        while passed < len(self._ready):
            flight = self._ready[0]
            if now > flight.submit_until:
                self._ready.popleft()
                self._give_back(flight)
                continue
            carrier = flight.carrier if flight.carrier and flight.carrier.capacity() else None
            carrier = carrier or (None if flight.carrier else choose(self._carriers, flight.claim.message.recipient))
            if carrier is None:
                if flight.carrier is None or choose(self._carriers, flight.claim.message.recipient) is None:
                    break
                self._ready.rotate(-1)  # its own carrier has no room, another has: let the others pass
                passed += 1
                continue
            if flight.claim.in_doubt and flight.carrier is None and not self._resubmit(flight, carrier):
                self._ready.popleft()
                continue
            flight.carrier = carrier
            self._submit(flight, carrier, flight.segments.popleft())
            if not flight.segments:
                self._ready.popleft()
        _waiting.set(len(self._ready))

    def _resubmit(self, flight: _Flight, carrier: Carrier) -> bool:
        """Decide on a message whose last submit is in doubt, as the carrier says; return whether it goes again."""
        message_id = flight.claim.message.id
        if carrier.on_unknown_submit == "unknown":
            self._finish(Submitted(message_id, ending=Ending("unknown", "no_answer")))
            return False
        self.totals[carrier.name].resubmitted += 1
        _resubmitted.labels(carrier.name).inc()
        log.info("message_resubmitted", message_id=str(message_id), carrier=carrier.name)
        return True

    def _submit(self, flight: _Flight, carrier: Carrier, part: Segment) -> None:
        if not flight.unanswered and not flight.answers:
            self._under_way += 1
        flight.unanswered += 1
        self.totals[carrier.name].submitted += 1
        self._count()
        carrier.submit(part).add_done_callback(partial(self._answered, flight, part, carrier))

    def _count(self) -> None:
        """Keep the number of submits of the last whole second: what may sensibly be claimed ahead."""
        now = time.monotonic()
        began, count = self._second
        if now - began >= 1.0:
            self._rate, self._second = count if now - began < 2.0 else 0, (now, 1)  # noqa: PLR2004 - a second was idle
        else:
            self._second = (began, count + 1)

    def _answered(self, flight: _Flight, part: Segment, carrier: Carrier, answer: asyncio.Future[SubmitResult]) -> None:
        result = answer.result()
        _submits.labels(carrier.name, result.outcome.value).inc()
        flight.unanswered -= 1
        flight.answers.append((part, carrier, result))
        self._wake.set()
        if flight.unanswered == 0 and not flight.segments:
            self._under_way -= 1
            self._finish(_conclude(flight))

    def _give_back(self, flight: _Flight) -> None:
        """Leave the segments that are not submitted to a later claim."""
        flight.given_back = True
        flight.segments.clear()
        if flight.unanswered == 0:
            if flight.answers:
                self._under_way -= 1
            self._finish(_conclude(flight))

    def _finish(self, submitted: Submitted) -> None:
        """Hand a claim's end to the ledger, together with all others of this turn of the event loop."""
        if not self._done:
            asyncio.get_running_loop().call_soon(self._hand_over)
        self._done.append(submitted)

    def _hand_over(self) -> None:
        done, self._done = self._done, []
        if done:
            self._ledger.put(done).add_done_callback(partial(self._written, done))

    def _written(self, done: list[Submitted], _: asyncio.Future[None]) -> None:
        """Let go of claims whose end is committed; a retry overtaken by a newer claim of ours is put again for that."""
        for one in done:
            newest = self._held.pop(one.message_id, None)
            if newest is not None and one.retry is not None and newest != one.retry.claims:
                self._held[one.message_id] = newest
                self._finish(Submitted(one.message_id, retry=replace(one.retry, claims=newest)))


def _validity_left_s(claim: Claim, now: datetime) -> int | None:
    """Return what is left of the validity a customer asked for, in whole seconds."""
    return None if claim.message.validity_s is None else max(1, int((claim.expires_at - now).total_seconds()))


def _conclude(flight: _Flight) -> Submitted:
    """Sum up the answers to a message's segments."""
    now = datetime.now(UTC)
    parts: list[tuple[Part, str | None]] = []
    outcomes = {Outcome.UNSENT} if flight.given_back else set()
    for segment_, carrier, result in flight.answers:
        outcomes.add(result.outcome)
        if result.outcome in (Outcome.ACCEPTED, Outcome.REFUSED):
            state: PartState = "accepted" if result.outcome is Outcome.ACCEPTED else "refused"
            part = Part(segment_.part, state, carrier.name, now, result.error_code, result.detail)
            parts.append((part, result.carrier_message_id))
    message_id, retry, ending = flight.claim.message.id, None, None
    if Outcome.UNANSWERED in outcomes:
        resend = flight.carrier is None or flight.carrier.on_unknown_submit == "resend"
        backoff_s = min(FIRST_BACKOFF_S * 2 ** min(flight.claim.claims - 1, 10), LONGEST_BACKOFF_S)
        retry = Retry(flight.claim.claims, backoff_s, in_doubt=True) if resend else None
        ending = None if resend else Ending("unknown", "no_answer")
    elif Outcome.THROTTLED in outcomes:
        backoff_s = min(FIRST_BACKOFF_S * 2 ** min(flight.claim.throttles, 10), LONGEST_BACKOFF_S)
        retry = Retry(flight.claim.claims, backoff_s, throttled=True)
    elif Outcome.UNSENT in outcomes:
        # a doubt from an earlier claim stays when this one never came to the carrier
        retry = Retry(flight.claim.claims, 0.1, in_doubt=flight.claim.in_doubt and not flight.answers)
    return Submitted(message_id, parts, flight.claim.in_doubt and flight.carrier is not None, retry, ending)


async def work(resources: Resources) -> None:
    """Run dispatch until the process stops: claims, carriers, receipts, events of other services, housekeeping."""
    pool, bells, stopping = resources.pool, resources.bells, resources.stopping
    ledger = Ledger(pool, bells)
    carriers = carriers_of(resources.settings)
    dispatcher = Dispatcher(pool, ledger, carriers, bells.event("dispatch"))
    for carrier in carriers:
        await carrier.start(partial(_on_receipts, ledger, carrier))
    background = [
        asyncio.create_task(outbox.follow(pool, "auth", "messages", service.take_accounts, wake=bells.event("auth"))),
        asyncio.create_task(
            outbox.follow(pool, "billing", "messages", prices.take_billing, wake=bells.event("billing"))
        ),
        asyncio.create_task(_every(1.0, partial(_tend, pool, ledger, dispatcher, carriers))),
        asyncio.create_task(_every(60.0, partial(_keep_house, pool))),
    ]
    try:
        await _until_stopped(dispatcher, stopping)
    finally:
        await asyncio.gather(*(carrier.stop() for carrier in carriers))
        # a database that is away or silent is not waited for: leases end by themselves, receipts come again
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WRITES_S):
                await ledger.batcher.drain()
        for task in background:
            task.cancel()
        await asyncio.wait(background, timeout=LAST_WRITES_S)


async def _until_stopped(dispatcher: Dispatcher, stopping: asyncio.Event) -> None:
    """Claim and submit until stopping; a claim that the database does not answer is not waited for. Then drain."""
    claiming = asyncio.create_task(dispatcher.claim_until(stopping))
    told = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait((claiming, told), return_when=asyncio.FIRST_COMPLETED)
        if not claiming.done():
            await asyncio.wait((claiming,), timeout=LAST_CLAIM_S)
        if claiming.done():
            claiming.result()
        await dispatcher.drain()
    finally:
        claiming.cancel()
        told.cancel()


def carriers_of(settings: Settings) -> list[Carrier]:
    """Return the carriers that the settings name, in --dev the simulator where they name none."""
    if settings.carriers is not None:
        return open_carriers(settings.carriers)
    return open_simulated_carriers("127.0.0.1", settings.smsc_port) if settings.dev else []


def _on_receipts(ledger: Ledger, carrier: Carrier, receipts: Sequence[Receipt]) -> None:
    ledger.put_receipts(receipts, lambda accepted: carrier.acknowledge(receipts, accepted=accepted))


async def _every(seconds: float, step: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await step()
        except Exception as error:  # noqa: BLE001 - housekeeping must go on; what failed is tried next time
            log.warning("housekeeping_failed", error=type(error).__name__, detail=str(error))
        await asyncio.sleep(seconds)


async def _tend(pool: Pool, ledger: Ledger, dispatcher: Dispatcher, carriers: list[Carrier]) -> None:
    """Once a second: match parked receipts, end what is overdue, write down what the carriers do."""
    while await ledger.match_parked() == MOST_CLAIMED:
        pass
    overdue = await queries.list_overdue(pool, MOST_CLAIMED)
    if overdue:
        await ledger.put([Submitted(message_id, ending=Ending("expired", "expired")) for message_id in overdue])
    rows = []
    for carrier in carriers:
        totals = dispatcher.totals[carrier.name]
        rows.append((carrier.state(), totals.submitted, totals.resubmitted))
    if rows:
        await queries.write_carriers(pool, rows)
    for state, submitted, resubmitted in rows:
        dispatcher.totals[state.name].submitted -= submitted
        dispatcher.totals[state.name].resubmitted -= resubmitted


async def _keep_house(pool: Pool) -> None:
    """Once a minute: partitions ahead of time, and nothing is kept longer than it is needed."""
    oldest = datetime.now(UTC) - RECEIPTS_WITHIN - LONGEST_VALIDITY
    while await queries.forget_old(pool, first_id(oldest)):
        pass
    while await outbox.prune(pool, "messages", timedelta(hours=24)) == MOST_PRUNED:
        pass
    await queries.make_partitions(pool)  # last: it fails where messages_other holds rows
