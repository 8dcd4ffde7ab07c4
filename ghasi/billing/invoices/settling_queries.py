"""SQL of what becomes of open invoices: payments, credit notes, and how they end. Knows no rules."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from ghasi.billing.invoices.model import CreditLine, CreditNote, Payment, TaxLine
from ghasi.billing.invoices.queries import INVOICE, invoice_of
from ghasi.billing.model import Invoice
from ghasi.storage.pool import Connection


async def lock_invoice(connection: Connection, number: str) -> Invoice | None:
    """Lock and return the invoice of a number."""
    row = await connection.fetchrow(f"SELECT {INVOICE} FROM billing.invoices WHERE number = $1 FOR UPDATE", number)
    return invoice_of(row) if row else None


async def save_invoices(connection: Connection, invoices: Sequence[Invoice]) -> None:
    """Set all that may still move of opened invoices: sums, status and the sequence of events."""
    await connection.execute(
        """
        UPDATE billing.invoices SET status = moved.status, paid_micros = moved.paid_micros,
            credited_micros = moved.credited_micros, paid_at = moved.paid_at, sequence = moved.sequence,
            voided_at = CASE WHEN moved.status = 'void' THEN coalesce(voided_at, now()) END,
            uncollectible_at = CASE
                WHEN moved.status = 'uncollectible' THEN coalesce(uncollectible_at, now()) ELSE uncollectible_at END
        FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::timestamptz[], $6::int[])
            AS moved (id, status, paid_micros, credited_micros, paid_at, sequence)
        WHERE invoices.id = moved.id
        """,
        [invoice.id for invoice in invoices],
        [invoice.status for invoice in invoices],
        [invoice.paid_micros for invoice in invoices],
        [invoice.credited_micros for invoice in invoices],
        [invoice.paid_at for invoice in invoices],
        [invoice.sequence for invoice in invoices],
    )


async def insert_payments(connection: Connection, payments: Sequence[Payment]) -> None:
    """Add payments."""
    await connection.execute(
        """
        INSERT INTO billing.payments (id, invoice_id, account_id, amount_micros, method, reference, paid_at)
        SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[], $5::text[], $6::text[],
                             $7::timestamptz[])
        """,
        [payment.id for payment in payments],
        [payment.invoice_id for payment in payments],
        [payment.account_id for payment in payments],
        [payment.amount_micros for payment in payments],
        [payment.method for payment in payments],
        [payment.reference for payment in payments],
        [payment.paid_at for payment in payments],
    )


async def find_payment(connection: Connection, invoice_id: UUID, reference: str) -> Payment | None:
    """Return the payment of an invoice that was recorded under a reference."""
    row = await connection.fetchrow(
        """
        SELECT id, invoice_id, account_id, amount_micros, method, reference, paid_at
        FROM billing.payments WHERE invoice_id = $1 AND reference = $2
        """,
        invoice_id,
        reference,
    )
    return Payment(*row) if row else None


# credit notes


async def list_credited(connection: Connection, invoice_id: UUID) -> tuple[dict[int, int], dict[int, int]]:
    """Return what credit notes took back of an invoice's single lines, and of its taxes, by their places."""
    lines = await connection.fetch(
        """
        SELECT line.invoice_line, sum(line.amount_micros)::bigint
        FROM billing.credit_notes AS note JOIN billing.credit_note_lines AS line ON line.credit_note_id = note.id
        WHERE note.invoice_id = $1 AND line.invoice_line IS NOT NULL GROUP BY line.invoice_line
        """,
        invoice_id,
    )
    taxes = await connection.fetch(
        """
        SELECT tax.position, sum(tax.amount_micros)::bigint
        FROM billing.credit_notes AS note JOIN billing.credit_note_taxes AS tax ON tax.credit_note_id = note.id
        WHERE note.invoice_id = $1 GROUP BY tax.position
        """,
        invoice_id,
    )
    return dict(map(tuple, lines)), dict(map(tuple, taxes))


async def insert_credit_note(
    connection: Connection, note: CreditNote, lines: Sequence[CreditLine], taxes: Sequence[TaxLine]
) -> None:
    """Add a credit note with its lines and taxes, the taxes in the places that they have on the invoice."""
    await connection.execute(
        """
        INSERT INTO billing.credit_notes
            (id, account_id, invoice_id, number, reason, subtotal_micros, tax_micros, total_micros, to_balance_micros,
             issued_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        """,
        note.id,
        note.account_id,
        note.invoice_id,
        note.number,
        note.reason,
        note.subtotal_micros,
        note.tax_micros,
        note.total_micros,
        note.to_balance_micros,
        note.issued_at,
    )
    await connection.executemany(
        """
        INSERT INTO billing.credit_note_lines (credit_note_id, position, description, invoice_line, amount_micros)
        VALUES ($1, $2, $3, $4, $5)
        """,
        [(note.id, position, *line) for position, line in enumerate(lines)],
    )
    await connection.executemany(
        """
        INSERT INTO billing.credit_note_taxes (credit_note_id, position, name, rate_ppm, base_micros, amount_micros)
        VALUES ($1, $2, $3, $4, $5, $6)
        """,
        [(note.id, position, *tax) for position, tax in enumerate(taxes)],
    )


# overdue


async def lock_overdue(connection: Connection, now: datetime, most: int) -> list[Invoice]:
    """Lock and return invoices whose time to be paid is over and of which that was not told yet."""
    rows = await connection.fetch(
        f"""
        SELECT {INVOICE} FROM billing.invoices
        WHERE status = 'open' AND overdue_told_at IS NULL AND due_at < $1
        ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED
        """,
        now,
        most,
    )
    return [invoice_of(row) for row in rows]


async def mark_overdue(connection: Connection, invoices: Sequence[UUID], now: datetime) -> None:
    """Write down that it was told."""
    await connection.execute("UPDATE billing.invoices SET overdue_told_at = $2 WHERE id = ANY($1)", invoices, now)
