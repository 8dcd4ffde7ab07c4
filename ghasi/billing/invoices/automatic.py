"""What becomes of invoices by itself: drafts of months that have ended, closing after the grace period, overdue ones.

Owns when each is done. Several workers may do it at once.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from ghasi.billing.invoices import closing_queries, settling_queries
from ghasi.billing.invoices.closing import (
    ACCOUNTS_AT_A_TIME,
    NOBODY,
    SETTLING,
    Closer,
    close_month,
    has_been_rated,
    write_drafts,
)
from ghasi.billing.invoices.contents import Month, make_bills
from ghasi.billing.invoices.events import tell
from ghasi.billing.model import Party
from ghasi.billing.periods import month_bounds
from ghasi.storage.events import outbox
from ghasi.storage.events.carrier import Events
from ghasi.storage.pool import Pool

ACTOR = "worker:billing"
DRAFTS_EVERY = timedelta(minutes=15)
"""How old a draft may be."""
AT_A_TIME = 500
log = structlog.get_logger("ghasi.billing")


@dataclass(frozen=True, slots=True)
class Calendar:
    """How long after a month's end its invoices are opened by themselves (None: never), and who issues them."""

    grace: timedelta | None
    seller: Party

    def is_due(self, month: Month, now: datetime) -> bool:
        """Whether it is time to open a month's invoices."""
        return self.grace is not None and now >= month.end + max(self.grace, SETTLING)


async def advance(pool: Pool, events: Events, calendar: Calendar, now: datetime) -> bool:
    """Do all that is due by now, harmless to repeat; return whether that gave others something to read."""
    told = False
    for month in await _ended_months(pool, now):
        if calendar.is_due(month, now) and await has_been_rated(events, month):
            made = (await close_month(pool, Closer(month, ACTOR, calendar.seller))).made
            log.info("month_closed", month=f"{month.start:%Y-%m}", invoices=len(made))
            told = told or bool(made)
        else:
            await refresh_drafts(pool, month, now)
    return await tell_overdue(pool, now) or told


async def refresh_drafts(pool: Pool, month: Month, now: datetime) -> None:
    """Make drafts of a month's invoices for accounts that have none, and anew what was made some time ago."""
    after = NOBODY
    while True:
        async with pool.acquire() as connection, connection.transaction():
            await closing_queries.take_turns(connection)
            accounts = await closing_queries.list_unbilled_accounts(
                connection, month.start, after, ACCOUNTS_AT_A_TIME, drafted_before=now - DRAFTS_EVERY
            )
            if not accounts:
                return
            bills = await make_bills(connection, accounts, month, lock=False, provisional=True)
            await write_drafts(connection, bills, month, now)
        after = accounts[-1]


async def tell_overdue(pool: Pool, now: datetime) -> bool:
    """Tell of invoices whose time to be paid is over, once of each; return whether there were any."""
    any_found = False
    while True:
        async with pool.acquire() as connection, connection.transaction():
            found = await settling_queries.lock_overdue(connection, now, AT_A_TIME)
            if not found:
                return any_found
            any_found = True
            told = [tell(invoice, "invoice.overdue", now) for invoice in found]
            await settling_queries.save_invoices(connection, [invoice for invoice, _ in told])
            await settling_queries.mark_overdue(connection, [invoice.id for invoice in found], now)
            await outbox.append(connection, "billing", [event for _, event in told])


async def _ended_months(pool: Pool, now: datetime) -> list[Month]:
    """Return the months that have ended and were not closed, the first one first."""
    day = await closing_queries.find_first_month(pool)
    closed = await closing_queries.list_closed_months(pool)
    months: list[Month] = []
    while day is not None:
        month = Month(*month_bounds(day))
        if month.end > now:
            break
        if day not in closed:
            months.append(month)
        day = month.end.date()
    return months
