"""Billing's loops: rates messages, learns of accounts, keeps what they may spend, moves invoices on, prunes its outbox.

Several processes may run them: one at a time holds the position in each outbox.
"""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

import structlog

from ghasi.billing.accounts import customers
from ghasi.billing.invoices import automatic
from ghasi.billing.invoices.automatic import Calendar
from ghasi.billing.invoices.presenting import seller_of
from ghasi.billing.ledger import keeping
from ghasi.billing.usage.rating import Rater
from ghasi.storage.events.carrier import Events, prune_old
from ghasi.storage.pool import UNAVAILABLE
from ghasi.storage.resources import Resources

KEEP = timedelta(hours=24)
PRUNE_EVERY_S = 3600.0
INVOICES_EVERY_S = 60.0
GATHER_S = 0.25
"""A batch is some twenty statements however few messages are in it; nobody waits for a charge by the millisecond."""
log = structlog.get_logger("ghasi.billing")


async def work(resources: Resources) -> None:
    """Run until `stopping` is set.

    A batch under way is then given up: it is one transaction with its position and is read again by the next worker.
    """
    bells = resources.bells
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_rate(resources)),
            group.create_task(resources.events.follow("auth", "billing", customers.apply)),
            group.create_task(keeping.keep(resources.pool, bells)),
            group.create_task(_move_invoices_on(resources)),
            group.create_task(resources.events.relay("billing")),
            group.create_task(_prune(resources.events)),
        ]
        await resources.stopping.wait()
        for task in tasks:
            task.cancel()


async def _rate(resources: Resources) -> None:
    bells, rater = resources.bells, Rater()
    with contextlib.suppress(*UNAVAILABLE):  # before the first batch, in whose transaction it would take long
        await rater.learn(resources.pool)
    await resources.events.follow(
        "messages", "billing", rater.apply, gather_s=GATHER_S, applied=lambda: bells.ring("billing")
    )


async def _prune(events: Events) -> None:
    while True:
        try:
            await prune_old(events, "billing", KEEP)
        except UNAVAILABLE as error:  # the next round comes
            log.warning("prune_failed", error=type(error).__name__)
        await asyncio.sleep(PRUNE_EVERY_S)


async def _move_invoices_on(resources: Resources) -> None:
    settings = resources.settings
    grace = timedelta(hours=settings.invoice_grace_h) if settings.invoice_closing == "automatic" else None
    calendar = Calendar(grace, seller_of(settings))
    while True:
        try:
            if await automatic.advance(resources.pool, resources.events, calendar, datetime.now(UTC)):
                resources.bells.ring("billing")
        except Exception as error:  # one account's invoice must not end the rating of all; it is tried again and seen
            log.exception("invoices_not_moved_on", error=type(error).__name__)
        await asyncio.sleep(INVOICES_EVERY_S)
