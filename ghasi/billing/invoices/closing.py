"""Closes a month: makes one invoice for each account that has something to pay, with numbers without gaps.

Owns when a month may be closed, what is opened and its number. Each batch of accounts is one transaction, in which
invoices, lines, numbers, tallies, books and events stand or fall together: a crash between two batches leaves whole
invoices, and closing again goes on with the rest. Closers take turns, also at the turn of a year, where each may number
by a series of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from ghasi.billing.invoices import books, closing_queries, queries, settling_queries
from ghasi.billing.invoices.contents import Bill, Month, make_bills
from ghasi.billing.invoices.events import tell
from ghasi.billing.invoices.model import ON_BALANCE, Payment
from ghasi.billing.model import Closing, Invoice, Party, PeriodOpenError
from ghasi.billing.periods import parse_month
from ghasi.contract.values import new_id, rfc3339
from ghasi.storage import audit
from ghasi.storage.events import outbox
from ghasi.storage.events.carrier import Events
from ghasi.storage.events.outbox import Event
from ghasi.storage.pool import Connection, Pool

ACCOUNTS_AT_A_TIME = 500
PAYMENT_TERM = timedelta(days=14)
SETTLING = timedelta(seconds=10)
"""How long after a month's end its last transactions may still be under way (they stay under 2 s)."""
SERIES, NUMBER = "GH-{year}", "GH-{year}-{count:06d}"
NOBODY = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Closer:
    """Who closes which month, for the audit log, and who issues the invoices."""

    month: Month
    actor: str
    seller: Party | None
    early: bool = False


async def close_period(
    pool: Pool, events: Events, period: str, *, early: bool, actor: str, seller: Party | None = None
) -> Closing:
    """Make the invoices of a month (YYYY-MM); idempotent, safe to run several times at once.

    An invoice takes what was charged up to the end of the month and is on no invoice yet; an account has at most one
    invoice a month, so what comes later goes on the next month's. `early` closes a month that still runs or has
    messages not rated yet. Raises PeriodOpenError, and PeriodError where `period` is no month.
    """
    month = Month(*parse_month(period))
    now = datetime.now(UTC)
    if now < month.start:
        raise PeriodOpenError(f"{period} has not begun")
    if not early:
        if now < month.end + SETTLING:
            raise PeriodOpenError(f"{period} ends on {rfc3339(month.end)}; close it later, or early, for a trial")
        if not await has_been_rated(events, month):
            raise PeriodOpenError(f"messages of {period} have not all been rated yet; is the billing worker running?")
    return await close_month(pool, Closer(month, actor, seller, early))


async def has_been_rated(events: Events, month: Month) -> bool:
    """Whether all that happened up to a month's end has been charged."""
    return await events.has_read_until("messages", "billing", month.end)


async def close_month(pool: Pool, closer: Closer) -> Closing:
    """Make the invoices of a month that may be closed; idempotent, safe to run several times at once."""
    month = closer.month
    async with pool.acquire() as connection:
        skipped = await queries.list_numbers(connection, month.start)
    made: list[Invoice] = []
    after: UUID | None = NOBODY
    while after is not None:
        async with pool.acquire() as connection, connection.transaction():
            batch, after = await _close_batch(connection, closer, after)
        made += batch
    return Closing(made, skipped)


async def _close_batch(connection: Connection, closer: Closer, after: UUID) -> tuple[list[Invoice], UUID | None]:
    """Open invoices of the next accounts; return them and the last account, None where there was none any more."""
    await closing_queries.take_turns(connection)
    issued_at = datetime.now(UTC)  # numbers and dates rise together
    series = SERIES.format(year=issued_at.year)
    last = await closing_queries.lock_series(connection, series)
    month = closer.month
    accounts = await closing_queries.list_unbilled_accounts(connection, month.start, after, ACCOUNTS_AT_A_TIME)
    if not accounts:
        if not closer.early:
            await closing_queries.close_month(connection, month.first_day, issued_at)
        return [], None
    bills = await make_bills(connection, accounts, month, lock=True)
    drafts = await write_drafts(connection, bills, month, issued_at)
    if drafts:
        opened = await _open(connection, closer, drafts, last, issued_at)
        await _take_tallies(connection, bills, opened)
        await closing_queries.move_series(connection, series, last + len(opened))
        opened = await _settle(connection, bills, opened, issued_at)
        await audit.record(
            connection, actor=closer.actor, action="period.closed", subject=f"{month.start:%Y-%m}",
            early=issued_at < month.end, made=[invoice.number for invoice in opened],
        )  # fmt: skip
        return opened, accounts[-1]
    return [], accounts[-1]


async def write_drafts(connection: Connection, bills: Sequence[Bill], month: Month, now: datetime) -> list[Invoice]:
    """Make the drafts of accounts say what they are billed; return those that say something, the others are deleted.

    The caller has its turn, so that nobody else makes or opens drafts meanwhile.
    """
    known = await closing_queries.lock_drafts(connection, [bill.account_id for bill in bills], month.start)
    filled = [bill for bill in bills if bill.content.lines]
    drafts = [bill.on(known.get(bill.account_id) or new_id(), month) for bill in filled]
    if known:
        await closing_queries.delete_contents(connection, list(known.values()))
        if empty := list(set(known.values()) - {draft.id for draft in drafts}):
            await closing_queries.delete_drafts(connection, empty)
    if drafts:
        await closing_queries.insert_drafts(connection, [one for one in drafts if one.account_id not in known])
        contents = zip((draft.id for draft in drafts), (bill.content for bill in filled), strict=True)
        await closing_queries.insert_contents(connection, contents)
        await closing_queries.set_totals(connection, drafts, now)
    return drafts


async def _open(
    connection: Connection, closer: Closer, drafts: Sequence[Invoice], last: int, issued_at: datetime
) -> list[Invoice]:
    customers = await queries.list_parties(connection, [draft.account_id for draft in drafts])
    opened = [
        replace(
            draft, status="open", number=NUMBER.format(year=issued_at.year, count=last + place), issued_at=issued_at,
            due_at=issued_at + PAYMENT_TERM, seller=closer.seller, customer=customers[draft.account_id],
        )
        for place, draft in enumerate(drafts, start=1)
    ]  # fmt: skip
    await closing_queries.open_drafts(connection, opened)
    return opened


async def _take_tallies(connection: Connection, bills: Sequence[Bill], opened: Sequence[Invoice]) -> None:
    invoice_of = {invoice.account_id: invoice.id for invoice in opened}
    await closing_queries.take_tallies(
        connection,
        [
            (tally.id, invoice_of[bill.account_id], bill.content.line_of.get(tally.id))
            for bill in bills
            if bill.account_id in invoice_of
            for tally in bill.tallies
        ],
    )


async def _settle(
    connection: Connection, bills: Sequence[Bill], opened: Sequence[Invoice], now: datetime
) -> list[Invoice]:
    """Bring opened invoices to the books, take in what is paid by that, and tell of them."""
    prepaid = {bill.account_id: bill.prepaid_usage_micros for bill in bills}
    settled = await books.post_openings(connection, opened, prepaid)
    payments = [
        Payment(new_id(), invoice.id, invoice.account_id, settled[invoice.id], ON_BALANCE, None, now)
        for invoice in opened
        if settled[invoice.id]
    ]
    if payments:
        await settling_queries.insert_payments(connection, payments)
    events: list[Event] = []
    done = []
    for invoice in opened:
        told, event = tell(replace(invoice, paid_micros=settled[invoice.id]), "invoice.opened", now)
        events.append(event)
        if told.amount_due_micros == 0:
            told, event = tell(replace(told, status="paid", paid_at=now), "invoice.paid", now)
            events.append(event)
        done.append(told)
    await settling_queries.save_invoices(connection, done)
    await outbox.append(connection, "billing", events)
    return done
