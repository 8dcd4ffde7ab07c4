"""What operators do with rates. Every change is written to the audit log.

Plain functions for the command line; they print nothing and raise BillingError with a text fit to be shown.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from ghasi.billing import events
from ghasi.billing.rates import queries
from ghasi.billing.rates.changes import Change, find_changes, rates_of
from ghasi.billing.rates.files import RateLine, parse_rates, write_rates
from ghasi.billing.rates.history import ALL_RATES, RateFilter, list_valid, list_versions, order_of
from ghasi.contract.pricing import Rate
from ghasi.storage import audit
from ghasi.storage.events import outbox
from ghasi.storage.events.outbox import Event
from ghasi.storage.pool import Connection, Pool

TOLD_AT_A_TIME = 10_000


async def import_rates(pool: Pool, csv_text: str, actor: str) -> list[Change]:
    """Add the rates of a CSV file: all of them, or none and RatesError, which names every bad line.

    A rate holds for messages accepted from its `valid_from` on (without one: from now on) until a later one of the
    same conditions; one of the same `valid_from` replaces it. What was charged stays as it was. Importing a file again
    changes nothing.
    """
    lines = parse_rates(csv_text)
    known, position = await queries.list_rates(pool)
    # all that takes time is done before the transaction, which every reader of an outbox waits for
    changes, told = _prepare(lines, known)
    async with pool.acquire() as connection, connection.transaction():
        await queries.lock_rates(connection)
        meanwhile, _ = await queries.list_rates(connection, after=position)
        if meanwhile:  # and by a clock behind theirs, or what holds by now would seem to be yet to come
            changes, told = _prepare(lines, known + meanwhile)
        if added := rates_of(changes):
            await queries.insert_rates(connection, added)
            for start in range(0, len(told), TOLD_AT_A_TIME):
                await outbox.append(connection, "billing", told[start : start + TOLD_AT_A_TIME])
            await audit.record(
                connection, actor=actor, action="rates.imported", subject="rates", added=len(added),
                countries=sorted({rate.key.country for rate in added}),
            )  # fmt: skip
    return changes


def _prepare(lines: Sequence[RateLine], known: Sequence[Rate]) -> tuple[list[Change], list[Event]]:
    now = datetime.now(UTC)
    changes = find_changes(lines, known, now)
    return changes, [events.rate_created(rate, now) for rate in rates_of(changes)]


async def try_import(pool: Pool, csv_text: str) -> list[Change]:
    """Return what importing a file now would change; writes nothing. Raises RatesError as the import would."""
    lines = parse_rates(csv_text)
    known, _ = await queries.list_rates(pool)
    return find_changes(lines, known, datetime.now(UTC))


async def list_rates(
    connection: Connection | Pool, wanted: RateFilter = ALL_RATES, *, at: datetime | None = None
) -> list[Rate]:
    """Return rates by their conditions and validity: those valid at a moment, or every one that was ever added."""
    rates, _ = await queries.list_rates(connection)
    found = [rate for rate in rates if wanted.passes(rate.key)]
    return sorted(found, key=order_of) if at is None else list_valid(found, at)


async def export_rates(
    connection: Connection | Pool, wanted: RateFilter = ALL_RATES, *, at: datetime | None = None
) -> str:
    """Return rates as a file that imports again without a change: those valid at a moment, or all that ever count."""
    rates = await list_rates(connection, wanted, at=at)
    return write_rates(list_versions(rates))
