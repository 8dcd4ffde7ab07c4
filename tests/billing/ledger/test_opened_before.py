"""An update of a database whose invoices were opened before there were books."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from ghasi.billing.invoices import source_queries
from ghasi.billing.ledger import admin, posting
from ghasi.billing.ledger.model import Ending, Payment
from ghasi.contract.values import new_id
from ghasi.storage import migrate as migrations
from ghasi.storage.migrate import list_migrations, migrate
from ghasi.storage.pool import Pool, open_pool
from tests.billing.ledger.test_posting import books_of
from tests.conftest import named, run

ACCOUNT = new_id()


@pytest.fixture
async def old(server_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pool]:
    """A database as it was before, with the rest of the migrations still to come."""
    name = f"old_{uuid4().hex}"
    await run(server_url, f"CREATE DATABASE {name}")
    before = [one for one in list_migrations() if one.schema != "billing" or one.name < "0005"]
    with monkeypatch.context() as then:
        then.setattr(migrations, "list_migrations", lambda _schemas: before)
        await migrate(named(server_url, name))
    pool = await open_pool(named(server_url, name), size=2)
    yield pool
    await pool.close()
    await run(server_url, f"DROP DATABASE {name} WITH (FORCE)")


async def test_they_are_in_the_books_and_can_be_paid(old: Pool, server_url: str) -> None:
    invoices = {status: new_id() for status in ("open", "paid", "void")}
    for month, (status, invoice_id) in enumerate(invoices.items(), 7):
        await old.execute(
            """
            INSERT INTO billing.invoices (id, account_id, number, status, currency, period_start, period_end,
                subtotal_micros, total_micros, issued_at, due_at, paid_at, voided_at)
            VALUES ($1, $2, $3, $4::text, 'USD', $5::timestamptz, $5::timestamptz + interval '1 month', 30, 30,
                now(), now(), CASE $4::text WHEN 'paid' THEN now() END, CASE $4::text WHEN 'void' THEN now() END)
            """,
            invoice_id, ACCOUNT, status, status, datetime(2026, month, 1, tzinfo=UTC),
        )  # fmt: skip
    database = await old.fetchval("SELECT current_database()")
    assert any("opened_before" in one for one in await migrate(named(server_url, database)))
    assert await books_of(old, ACCOUNT) == {"receivable": 30, "cash": 30, "revenue": -60}
    assert await admin.verify(old) == []
    async with old.acquire() as connection, connection.transaction():
        await posting.post_payments(connection, [Payment(ACCOUNT, "USD", invoices["open"], new_id(), 30)])
        await posting.post_voids(connection, [Ending(ACCOUNT, "USD", invoices["paid"])])
    assert await books_of(old, ACCOUNT) == {"balance": -30, "cash": 60, "revenue": -30}


async def test_their_lines_name_what_they_are_made_of(old: Pool, server_url: str) -> None:
    invoice_id = new_id()
    await old.execute(
        """
        INSERT INTO billing.invoices (id, account_id, currency, period_start, period_end, subtotal_micros, total_micros)
        VALUES ($1, $2, 'USD', '2026-09-01Z', '2026-10-01Z', 160000, 160000)
        """,
        invoice_id, ACCOUNT,
    )  # fmt: skip
    lines = [(0, "AF", 40_000), (1, "AF", 50_000), (2, None, 70_000)]
    for position, country, micros in lines:
        await old.execute(
            """
            INSERT INTO billing.invoice_lines
                (invoice_id, position, description, country, messages, segments, unit_micros, amount_micros)
            VALUES ($1, $2, 'SMS', $3, 1, 1, $4, $4)
            """,
            invoice_id, position, country, micros,
        )  # fmt: skip
    await old.execute(
        """
        INSERT INTO billing.tallies (id, account_id, month, country, currency, unit_micros, messages, segments,
            amount_micros, invoice_id)
        SELECT gen_random_uuid(), $2, month, coalesce(line.country, 'ZZ'), 'USD', unit_micros, 1, 1, unit_micros, $1
        FROM billing.invoice_lines AS line CROSS JOIN (VALUES ('2026-08-01'::date), ('2026-09-01')) AS of (month)
        WHERE line.invoice_id = $1
        """,
        invoice_id, ACCOUNT,
    )  # fmt: skip
    await old.execute(
        "UPDATE billing.invoices SET status = 'open', number = 'GH-2026-000001', issued_at = now(), due_at = now()"
    )
    await migrate(named(server_url, await old.fetchval("SELECT current_database()")))
    rows = await old.fetch(
        "SELECT line, country, unit_micros, count(*) FROM billing.tallies GROUP BY 1, 2, 3 ORDER BY 1"
    )
    assert [tuple(row) for row in rows] == [(0, "AF", 40_000, 2), (1, "AF", 50_000, 2), (2, "ZZ", 70_000, 2)]
    found = await source_queries.list_tallies(old, invoice_id)
    assert [one.line for one in found] == [0, 0, 1, 1, 2, 2]
