"""The loops of the dispatch worker: carriers, claims, receipts, inbound messages, events of others, housekeeping.

Owns the order of starting and ending. What each loop does is its module's.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import structlog

from ghasi.carriers.carrier import Carrier, InboundPart, Receipt
from ghasi.carriers.configuration import open_carrier
from ghasi.carriers.fleet import Fleet
from ghasi.messages.dispatch import carrier_queries, queries
from ghasi.messages.dispatch.binds import BindKeeper, name_process
from ghasi.messages.dispatch.carrier_watch import CarrierWatch
from ghasi.messages.dispatch.choosing import Chooser
from ghasi.messages.dispatch.claiming import overdue
from ghasi.messages.dispatch.dispatching import Dispatcher
from ghasi.messages.dispatch.flights import Tally
from ghasi.messages.dispatch.ledger import Ledger, Submitted
from ghasi.messages.dispatch.quality import KEPT_DAYS, read_quality
from ghasi.messages.inbound.inbox import Inbox
from ghasi.messages.keeping import retention
from ghasi.messages.sending import accounts, prices, scheduling
from ghasi.storage.pool import ALONG_INDEXES, UNAVAILABLE, Pool, close_pool, open_pool
from ghasi.storage.resources import Resources

MOST_AT_ONCE = 500
TICK_S = 1.0
"""How often carriers.toml and modes are looked at, carriers told of, and receipts and queues tended."""
PRICES_GATHER_S = 0.2
CLAIMERS = 1
"""Connections for claims: what is due is found along its index, not among all that was, a hundred times a second."""
LAST_CLAIM_S, LAST_WRITES_S = 0.5, 1.0

log = structlog.get_logger("ghasi.dispatch")


async def work(resources: Resources) -> None:
    """Run dispatch until the process stops."""
    pool, bells, stopping = resources.pool, resources.bells, resources.stopping
    events, ledger, inbox = resources.events, Ledger(pool, bells), Inbox(pool, bells)
    tallies: defaultdict[str, Tally] = defaultdict(Tally)
    fleet: Fleet[Any] = Fleet(
        open_carrier, partial(_on_receipts, ledger, tallies), partial(_on_inbound, inbox), leased=True
    )
    process = name_process(resources.run)
    binds = BindKeeper(pool, bells, fleet, process)
    ledger.class_of = inbox.class_of = fleet.class_of
    chooser = Chooser(fleet)
    claimers = await open_pool(resources.database_url, size=CLAIMERS, name="ghasi claiming", planning=ALONG_INDEXES)
    dispatcher = Dispatcher(pool, ledger, chooser, claimers=claimers, tallies=tallies, wake=bells.event("dispatch"))
    watch = CarrierWatch(resources.settings, pool, fleet, chooser.use, process=process)
    background: list[asyncio.Task[None]] = []
    keeping: asyncio.Task[None] | None = None
    try:
        await watch.begin()
        await binds.begin()
        keeping = asyncio.create_task(binds.keep())
        loops: list[tuple[float, Callable[[], Awaitable[object]]]] = [
            (TICK_S, watch.look_again),
            (TICK_S, partial(watch.tell, dispatcher)),
            (TICK_S, partial(_tend, pool, ledger, dispatcher)),
            (1.0, inbox.tend),
            (0.25, partial(scheduling.release_due, pool, bells)),
            (10.0, partial(_learn_quality, pool, chooser)),
            (60.0, partial(retention.keep_house, resources)),
            (60.0, partial(retention.end_unreceipted, pool, ledger)),
            (3600.0, partial(carrier_queries.forget_quality, pool, KEPT_DAYS)),
        ]
        background += [asyncio.create_task(_every(seconds, step)) for seconds, step in loops]
        background += [
            asyncio.create_task(_hear_of_aside(dispatcher, bells.event("aside"))),
            asyncio.create_task(events.follow("auth", "messages", accounts.take_accounts)),
            asyncio.create_task(events.follow("billing", "messages", prices.take_billing, gather_s=PRICES_GATHER_S)),
            asyncio.create_task(events.relay("messages")),
        ]
        await _until_stopped(dispatcher, binds, stopping)
    finally:
        await fleet.stop()
        if keeping is not None:
            keeping.cancel()
        # a database that is away or silent is not waited for: leases end by themselves, receipts come again
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WRITES_S):
                await asyncio.gather(_leave(binds, watch), ledger.batcher.drain(), inbox.drain())
                await ledger.quality.flush(pool)
        for task in background:
            task.cancel()
        if background:
            await asyncio.wait(background, timeout=LAST_WRITES_S)
        await close_pool(claimers)


async def _until_stopped(dispatcher: Dispatcher, binds: BindKeeper, stopping: asyncio.Event) -> None:
    """Claim and submit until stopping; a claim that the database does not answer is not waited for. Then drain."""
    claiming = asyncio.create_task(dispatcher.claim_until(stopping))
    told = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait((claiming, told), return_when=asyncio.FIRST_COMPLETED)
        binds.ending = True
        if not claiming.done():
            await asyncio.wait((claiming,), timeout=LAST_CLAIM_S)
        if claiming.done():
            claiming.result()
        await dispatcher.drain()
    finally:
        claiming.cancel()
        told.cancel()


async def _leave(binds: BindKeeper, watch: CarrierWatch) -> None:
    """Give the binds to others, and take back what was said of them."""
    with contextlib.suppress(*UNAVAILABLE):
        await binds.leave()
        await watch.leave()


def _on_receipts(
    ledger: Ledger, tallies: defaultdict[str, Tally], carrier: Carrier, receipts: Sequence[Receipt]
) -> None:
    tallies[carrier.name].receipts += len(receipts)
    ledger.put_receipts(receipts, lambda accepted: carrier.acknowledge(receipts, accepted=accepted))


def _on_inbound(inbox: Inbox, carrier: Carrier, parts: Sequence[InboundPart]) -> None:
    inbox.put(parts, lambda accepted: carrier.acknowledge(parts, accepted=accepted))


async def _hear_of_aside(dispatcher: Dispatcher, bell: asyncio.Event) -> None:
    """Whenever a worker has put messages aside for another: look whether they can be taken here."""
    while True:
        await bell.wait()
        bell.clear()
        with contextlib.suppress(*UNAVAILABLE):  # they are looked for every second, too
            await dispatcher.learn_aside()


async def _every(seconds: float, step: Callable[[], Awaitable[object]]) -> None:
    while True:
        try:
            await step()
        except Exception as error:  # noqa: BLE001 - housekeeping must go on; what failed is tried next time
            log.warning("housekeeping_failed", error=type(error).__name__, detail=str(error))
        await asyncio.sleep(seconds)


async def _tend(pool: Pool, ledger: Ledger, dispatcher: Dispatcher) -> None:
    """Once a second: match parked receipts, end what is overdue, learn what lies aside."""
    while await ledger.match_parked() == MOST_AT_ONCE:
        pass
    late = await queries.list_overdue(pool, MOST_AT_ONCE)
    if late:
        await ledger.put([Submitted(message_id, ending=overdue(in_doubt=in_doubt)) for message_id, in_doubt in late])
    await dispatcher.learn_aside()
    await ledger.quality.flush_due(pool)


async def _learn_quality(pool: Pool, chooser: Chooser) -> None:
    """Every ten seconds: how well carriers do, for routing."""
    chooser.qualities = await read_quality(pool)
