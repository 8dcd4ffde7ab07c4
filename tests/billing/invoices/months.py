"""Months that end: plans that held in past ones, invoices as they stand, and events of them."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from ghasi.billing.invoices import admin as invoice_admin
from ghasi.billing.invoices import automatic
from ghasi.billing.invoices.automatic import Calendar
from ghasi.billing.ledger import admin as ledger_admin
from ghasi.billing.model import Invoice, Party
from ghasi.billing.plans import queries as plan_queries
from ghasi.billing.plans.model import Plan, Subscription
from ghasi.storage.pool import Pool
from tests.carrying import events_of

WHO = "operator:ann"
SELLER = Party("Ghasi Telecom", ("Street 12", "10115 Berlin"), "DE123456789", "billing@example.net")
OCTOBER, NOVEMBER = date(2026, 10, 1), date(2026, 11, 1)
END = datetime(2026, 11, 1, tzinfo=UTC)
"""Of October."""
CALENDAR = Calendar(timedelta(hours=72), SELLER)


async def give_plan(pool: Pool, account_id: UUID, plan: Plan) -> None:
    """An account has had a plan since it began, whatever operators may do by now."""
    async with pool.acquire() as connection:
        await plan_queries.insert_plan(connection, plan)
        await plan_queries.insert_subscription(connection, Subscription(account_id, plan.valid_from, plan.name))


async def close(pool: Pool, period: str = "2026-10", *, early: bool = False) -> list[Invoice]:
    return (await invoice_admin.close_period(pool, events_of(pool), period, early=early, actor=WHO, seller=SELLER)).made


async def advance(pool: Pool, now: datetime) -> bool:
    """What the worker does at a time."""
    return await automatic.advance(pool, events_of(pool), CALENDAR, now)


async def told(pool: Pool) -> list[tuple[str, int, Any]]:
    """Type, sequence and data of the events about invoices, in their order."""
    rows = await pool.fetch(
        "SELECT type, sequence, data::text AS data FROM billing.outbox WHERE type LIKE 'invoice.%' ORDER BY xid, id"
    )
    return [(row["type"], row["sequence"], msgspec.json.decode(row["data"])) for row in rows]


async def books_balance(pool: Pool) -> None:
    """Books, invoices, payments and credit notes say the same."""
    assert await ledger_admin.verify(pool) == []
    rows = await pool.fetch(
        """
        SELECT invoice.number, invoice.total_micros, invoice.paid_micros, invoice.credited_micros, invoice.status,
               coalesce(sum(entry.amount_micros) FILTER (WHERE entry.book = 'receivable'), 0) AS receivable,
               coalesce(sum(entry.amount_micros) FILTER (WHERE entry.book = 'uncollectible'), 0) AS uncollectible,
               coalesce(-sum(entry.amount_micros) FILTER (WHERE entry.book IN ('revenue', 'tax')), 0) AS billed
        FROM billing.invoices AS invoice
        LEFT JOIN billing.ledger_transactions AS moved ON moved.invoice_id = invoice.id
        LEFT JOIN billing.ledger_entries AS entry ON entry.transaction_id = moved.id
        WHERE invoice.status <> 'draft' GROUP BY invoice.id
        """
    )
    for row in rows:
        due = max(0, row["total_micros"] - row["paid_micros"] - row["credited_micros"])
        due = 0 if row["status"] in ("void", "paid") else due
        assert row["receivable"] + row["uncollectible"] == due, dict(row)
        left = 0 if row["status"] == "void" else row["total_micros"] - row["credited_micros"]
        assert row["billed"] == left, dict(row)
