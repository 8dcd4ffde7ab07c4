"""What operators do with rates. Every change is written to the audit log.

Plain functions for the command line; they print nothing and raise BillingError with a text fit to be shown.
"""

from datetime import UTC, datetime

from ghasi.billing import events
from ghasi.billing.model import ImportSummary
from ghasi.billing.rates import queries
from ghasi.billing.rates.reading import new_rates, parse_rates
from ghasi.contract.pricing import Rate
from ghasi.storage import audit, outbox
from ghasi.storage.pool import Connection, Pool


async def import_rates(pool: Pool, csv_text: str, actor: str) -> ImportSummary:
    """Add the rates of a CSV file: all of them, or none and RatesError, which names every bad line.

    A rate holds for messages accepted from its `valid_from` on (without one: from now on) until a later one of the
    same currency and country; one of the same `valid_from` replaces it. What was charged stays as it was. Importing a
    file again changes nothing.
    """
    lines = parse_rates(csv_text)
    async with pool.acquire() as connection, connection.transaction():
        await queries.lock_rates(connection)
        now = datetime.now(UTC)
        added = new_rates(lines, await list_rates(connection), now)
        if added:
            await queries.insert_rates(connection, added)
            await outbox.append(connection, "billing", [events.rate_created(rate, now) for rate in added])
            await audit.record(
                connection, actor=actor, action="rates.imported", subject="rates", added=len(added),
                countries=sorted({rate.key.country for rate in added}),
            )  # fmt: skip
    return ImportSummary(added=len(added), unchanged=len(lines) - len(added))


async def list_rates(connection: Connection | Pool) -> list[Rate]:
    """Return every rate by currency, country and validity; of equal ones the last counts."""
    rates, _ = await queries.list_rates(connection)
    return sorted(rates, key=lambda rate: (rate.key.currency, rate.key.country, rate.valid_from, rate.id))
