"""SQL of invoices, and of closing a month. Knows no rules."""

from collections.abc import Sequence
from datetime import date, datetime
from uuid import UUID

from ghasi.billing.model import Invoice, Line, Tally, TallyKey
from ghasi.storage.pool import Connection, Pool

_INVOICE = """
    id, account_id, number, status, currency, period_start, period_end, subtotal_micros, tax_micros, total_micros,
    issued_at, due_at, paid_at, customer_name
"""


# closing


async def lock_series(connection: Connection, name: str) -> int:
    """Lock a series of numbers until the end of the transaction and return the last one given."""
    last: int = await connection.fetchval(
        """
        INSERT INTO billing.series (name, last) VALUES ($1, 0)
        ON CONFLICT (name) DO UPDATE SET last = series.last RETURNING last
        """,
        name,
    )
    return last


async def move_series(connection: Connection, name: str, last: int) -> None:
    """Set the last number given; the caller holds the series' lock."""
    await connection.execute("UPDATE billing.series SET last = $2 WHERE name = $1", name, last)


async def list_unbilled_accounts(connection: Connection, start: datetime, most: int) -> list[UUID]:
    """Return accounts with open tallies up to the month of `start` and no invoice for it."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT account_id FROM billing.tallies
        WHERE invoice_id IS NULL AND month <= $2 AND NOT EXISTS (
            SELECT FROM billing.invoices AS invoice
            WHERE invoice.account_id = tallies.account_id AND invoice.period_start = $1)
        ORDER BY account_id LIMIT $3
        """,
        start,
        start.date(),
        most,
    )
    return [row[0] for row in rows]


async def lock_tallies(connection: Connection, accounts: Sequence[UUID], month: date) -> list[Tally]:
    """Lock and return accounts' open tallies up to a month, in the order in which the consumer locks them."""
    rows = await connection.fetch(
        """
        SELECT id, account_id, month, direction, country, currency, kind, rate_id, unit_micros, messages, segments,
               amount_micros
        FROM billing.tallies
        WHERE account_id = ANY($1) AND month <= $2 AND invoice_id IS NULL
        ORDER BY account_id, month, direction, country, currency, kind, rate_id, unit_micros
        FOR UPDATE
        """,
        accounts,
        month,
    )
    return [Tally(row[0], TallyKey(*row[1:9]), *row[9:]) for row in rows]


async def insert_drafts(connection: Connection, invoices: Sequence[Invoice]) -> None:
    """Add invoices as drafts, without number and dates."""
    await connection.execute(
        """
        INSERT INTO billing.invoices
            (id, account_id, currency, period_start, period_end, subtotal_micros, tax_micros, total_micros)
        SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::bigint[],
                             $7::bigint[], $8::bigint[])
        """,
        [invoice.id for invoice in invoices],
        [invoice.account_id for invoice in invoices],
        [invoice.currency for invoice in invoices],
        [invoice.period_start for invoice in invoices],
        [invoice.period_end for invoice in invoices],
        [invoice.subtotal_micros for invoice in invoices],
        [invoice.tax_micros for invoice in invoices],
        [invoice.total_micros for invoice in invoices],
    )


async def insert_lines(connection: Connection, lines: Sequence[tuple[UUID, int, Line]]) -> None:
    """Add lines to drafts: the invoice's id, the line's position, the line."""
    await connection.execute(
        """
        INSERT INTO billing.invoice_lines
            (invoice_id, position, description, country, messages, segments, unit_micros, amount_micros)
        SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[],
                             $8::bigint[])
        """,
        [invoice_id for invoice_id, _, _ in lines],
        [position for _, position, _ in lines],
        [line.description for _, _, line in lines],
        [line.country for _, _, line in lines],
        [line.messages for _, _, line in lines],
        [line.segments for _, _, line in lines],
        [line.unit_micros for _, _, line in lines],
        [line.amount_micros for _, _, line in lines],
    )


async def take_tallies(connection: Connection, tallies: Sequence[tuple[UUID, UUID]]) -> None:
    """Give tallies to invoices: pairs of a tally's id and an invoice's."""
    await connection.execute(
        """
        UPDATE billing.tallies SET invoice_id = taken.invoice_id
        FROM unnest($1::uuid[], $2::uuid[]) AS taken (id, invoice_id)
        WHERE tallies.id = taken.id
        """,
        [tally_id for tally_id, _ in tallies],
        [invoice_id for _, invoice_id in tallies],
    )


async def open_drafts(connection: Connection, invoices: Sequence[Invoice]) -> None:
    """Open drafts with numbers, dates and the customers' names of now; from here on they are documents."""
    await connection.execute(
        """
        UPDATE billing.invoices
        SET status = 'open', number = opened.number, issued_at = opened.issued_at, due_at = opened.due_at,
            customer_name = (SELECT name FROM billing.customers WHERE customers.account_id = invoices.account_id)
        FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[])
            AS opened (id, number, issued_at, due_at)
        WHERE invoices.id = opened.id
        """,
        [invoice.id for invoice in invoices],
        [invoice.number for invoice in invoices],
        [invoice.issued_at for invoice in invoices],
        [invoice.due_at for invoice in invoices],
    )


# invoices


async def list_invoices(
    connection: Connection | Pool, account_id: UUID, status: str | None, before: UUID | None, most: int
) -> list[Invoice]:
    """Return an account's invoices, newest first, from behind the one of id `before`."""
    rows = await connection.fetch(
        f"""
        SELECT {_INVOICE} FROM billing.invoices
        WHERE account_id = $1 AND ($2::text IS NULL OR status = $2) AND ($3::uuid IS NULL OR id < $3)
        ORDER BY id DESC LIMIT $4
        """,
        account_id,
        status,
        before,
        most,
    )
    return [Invoice(*row) for row in rows]


async def list_invoices_of_all(connection: Connection | Pool, status: str | None, most: int) -> list[Invoice]:
    """Return the newest invoices of all accounts."""
    rows = await connection.fetch(
        f"""
        SELECT {_INVOICE} FROM billing.invoices WHERE $1::text IS NULL OR status = $1 ORDER BY id DESC LIMIT $2
        """,
        status,
        most,
    )
    return [Invoice(*row) for row in rows]


async def list_numbers(connection: Connection, period_start: datetime) -> list[str]:
    """Return the numbers of a period's invoices."""
    rows = await connection.fetch(
        "SELECT number FROM billing.invoices WHERE period_start = $1 AND number IS NOT NULL ORDER BY number",
        period_start,
    )
    return [row[0] for row in rows]


async def find_invoice(connection: Connection | Pool, account_id: UUID, invoice_id: UUID) -> Invoice | None:
    """Return an account's invoice."""
    row = await connection.fetchrow(
        f"SELECT {_INVOICE} FROM billing.invoices WHERE account_id = $1 AND id = $2", account_id, invoice_id
    )
    return Invoice(*row) if row else None


async def find_invoice_by_number(connection: Connection | Pool, number: str) -> Invoice | None:
    """Return the invoice of a number, of any account: for operators."""
    row = await connection.fetchrow(f"SELECT {_INVOICE} FROM billing.invoices WHERE number = $1", number)
    return Invoice(*row) if row else None


async def list_lines(connection: Connection | Pool, invoice_id: UUID) -> list[Line]:
    """Return an invoice's lines in their order."""
    rows = await connection.fetch(
        """
        SELECT description, country, messages, segments, unit_micros, amount_micros
        FROM billing.invoice_lines WHERE invoice_id = $1 ORDER BY position
        """,
        invoice_id,
    )
    return [Line(*row) for row in rows]


async def pay_invoice(connection: Connection, number: str) -> Invoice | None:
    """Mark an open invoice as paid; None where there is no open one of that number."""
    row = await connection.fetchrow(
        f"""
        UPDATE billing.invoices SET status = 'paid', paid_at = now()
        WHERE number = $1 AND status = 'open' RETURNING {_INVOICE}
        """,
        number,
    )
    return Invoice(*row) if row else None


async def void_invoice(connection: Connection, number: str) -> Invoice | None:
    """Mark an open invoice as void; None where there is no open one of that number."""
    row = await connection.fetchrow(
        f"""
        UPDATE billing.invoices SET status = 'void', voided_at = now()
        WHERE number = $1 AND status = 'open' RETURNING {_INVOICE}
        """,
        number,
    )
    return Invoice(*row) if row else None
