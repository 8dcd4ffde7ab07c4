"""Closes a month: makes one invoice for each account that was charged, with numbers without gaps.

Owns when a month may be closed, what goes on an invoice and its number. Each batch of accounts is one transaction, in
which invoices, lines, numbers and tallies stand or fall together: a crash between two batches leaves whole invoices,
and closing again goes on with the rest. Closers take turns by the lock on the series of numbers.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from uuid import UUID

from ghasi.billing.invoices import queries
from ghasi.billing.model import Closing, Invoice, Line, PeriodOpenError, Sums, Tally
from ghasi.billing.money import round_to_minor
from ghasi.billing.periods import parse_month
from ghasi.contract.pricing import UNKNOWN_COUNTRY
from ghasi.contract.values import new_id, rfc3339
from ghasi.storage import audit, outbox
from ghasi.storage.pool import Connection, Pool

ACCOUNTS_AT_A_TIME = 500
PAYMENT_TERM = timedelta(days=14)
SETTLING = timedelta(seconds=10)
"""How long after a month's end its last transactions may still be under way (they stay under 2 s)."""
NUMBER = "GH-{year}-{count:06d}"


async def close_period(pool: Pool, period: str, *, early: bool, actor: str) -> Closing:
    """Make the invoices of a month (YYYY-MM); idempotent, safe to run several times at once.

    An invoice takes what was charged up to the end of the month and is on no invoice yet; an account has at most one
    invoice a month, so what comes later goes on the next month's. `early` closes a month that still runs or has
    messages not rated yet. Raises PeriodOpenError, and PeriodError where `period` is no month.
    """
    start, end = parse_month(period)
    now = datetime.now(UTC)
    if now < start:
        raise PeriodOpenError(f"{period} has not begun")
    if not early:
        await _check_ended(pool, period, end, now)
    skipped: list[str] | None = None
    made: list[Invoice] = []
    while True:
        async with pool.acquire() as connection, connection.transaction():
            if skipped is None:
                skipped = await queries.list_numbers(connection, start)
            batch = await _close_batch(connection, start, end, actor)
        if not batch:
            return Closing(made, skipped)
        made += batch


async def _check_ended(pool: Pool, period: str, end: datetime, now: datetime) -> None:
    if now < end + SETTLING:
        raise PeriodOpenError(f"{period} ends on {rfc3339(end)}; close it later, or early, for a trial")
    if not await outbox.has_read_until(pool, "messages", "billing", end):
        raise PeriodOpenError(f"messages of {period} have not all been rated yet; is the billing worker running?")


async def _close_batch(connection: Connection, start: datetime, end: datetime, actor: str) -> list[Invoice]:
    issued_at = datetime.now(UTC)
    series = f"GH-{issued_at.year}"
    last = await queries.lock_series(connection, series)
    accounts = await queries.list_unbilled_accounts(connection, start, ACCOUNTS_AT_A_TIME)
    if not accounts:
        return []
    tallies = await queries.lock_tallies(connection, accounts, start.date())
    invoices: list[Invoice] = []
    lines: list[tuple[UUID, int, Line]] = []
    taken: list[tuple[UUID, UUID]] = []
    for account_id, of_account in groupby(tallies, key=lambda tally: tally.key.account_id):
        own = list(of_account)
        own_lines = make_lines(own)
        subtotal = sum(line.amount_micros for line in own_lines)
        last += 1
        invoice = Invoice(
            id=new_id(), account_id=account_id, number=NUMBER.format(year=issued_at.year, count=last), status="open",
            currency=own[0].key.currency, period_start=start, period_end=end, subtotal_micros=subtotal, tax_micros=0,
            total_micros=subtotal, issued_at=issued_at, due_at=issued_at + PAYMENT_TERM, paid_at=None,
        )  # fmt: skip
        invoices.append(invoice)
        lines += [(invoice.id, position, line) for position, line in enumerate(own_lines)]
        taken += [(tally.id, invoice.id) for tally in own]
    await queries.insert_drafts(connection, invoices)
    await queries.insert_lines(connection, lines)
    await queries.take_tallies(connection, taken)
    await queries.open_drafts(connection, invoices)
    await queries.move_series(connection, series, last)
    numbers = [invoice.number for invoice in invoices]
    await audit.record(
        connection, actor=actor, action="period.closed", subject=f"{start:%Y-%m}", early=issued_at < end, made=numbers
    )
    return invoices


def make_lines(tallies: Sequence[Tally]) -> list[Line]:
    """Put tallies of one account on lines by country and price, each rounded once to the currency's minor unit."""
    sums: dict[tuple[str, int, str], Sums] = defaultdict(Sums)
    for tally in tallies:
        kind = (tally.key.country, tally.key.unit_micros, tally.key.currency)
        sums[kind].add(tally.messages, tally.segments, tally.amount_micros)
    return [
        Line(
            description="SMS to numbers of no country" if country == UNKNOWN_COUNTRY else f"SMS to {country}",
            country=None if country == UNKNOWN_COUNTRY else country,
            messages=one.messages,
            segments=one.segments,
            unit_micros=unit_micros,
            amount_micros=round_to_minor(one.amount_micros, currency),
        )
        for (country, unit_micros, currency), one in sorted(sums.items(), key=itemgetter(0))
    ]
