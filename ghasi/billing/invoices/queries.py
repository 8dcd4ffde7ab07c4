"""SQL that reads invoices and what belongs to them. Knows no rules."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from ghasi.billing.invoices.model import CreditLine, CreditNote, Payment, TaxLine
from ghasi.billing.model import Invoice, Line, Party
from ghasi.storage.pool import Connection, Pool, Record

INVOICE = """
    id, account_id, number, status, currency, period_start, period_end, subtotal_micros, tax_micros, total_micros,
    issued_at, due_at, paid_at, paid_micros, credited_micros, plan, payment, seller, customer, sequence
"""
LINE = """
    description, country, messages, segments, unit_micros, amount_micros, kind, direction, rate_id, month, detail
"""
_PAYMENT = "id, invoice_id, account_id, amount_micros, method, reference, paid_at"
CREDIT_NOTE = """
    note.id, note.account_id, note.invoice_id, invoice.number AS invoice_number, note.number, invoice.currency,
    note.reason, note.subtotal_micros, note.tax_micros, note.total_micros, note.to_balance_micros, note.issued_at
"""


def invoice_of(row: Record) -> Invoice:
    """Make the invoice of a row of the columns INVOICE."""
    values: dict[str, Any] = dict(row)
    for name in ("seller", "customer"):
        if values[name] is not None:
            values[name] = msgspec.json.decode(values[name], type=Party)
    return Invoice(**values)


async def list_invoices(
    connection: Connection | Pool,
    *,
    account_id: UUID | None,
    status: str | None = None,
    overdue: bool | None = None,
    period_start: datetime | None = None,
    before: UUID | None = None,
    most: int,
) -> list[Invoice]:
    """Return the invoices of an account, or of all, that the filters let pass: newest first, from behind `before`."""
    rows = await connection.fetch(
        f"""
        SELECT {INVOICE} FROM billing.invoices
        WHERE {"account_id = $1" if account_id else "$1::uuid IS NULL"} AND ($2::text IS NULL OR status = $2)
          AND ($3::boolean IS NULL OR (status = 'open' AND due_at < now()) = $3)
          AND ($4::timestamptz IS NULL OR period_start = $4) AND ($5::uuid IS NULL OR id < $5)
        ORDER BY id DESC LIMIT $6
        """,
        account_id,
        status,
        overdue,
        period_start,
        before,
        most,
    )
    return [invoice_of(row) for row in rows]


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
        f"SELECT {INVOICE} FROM billing.invoices WHERE account_id = $1 AND id = $2", account_id, invoice_id
    )
    return invoice_of(row) if row else None


async def find_invoice_by_number(connection: Connection | Pool, number: str) -> Invoice | None:
    """Return the invoice of a number, of any account: for operators."""
    row = await connection.fetchrow(f"SELECT {INVOICE} FROM billing.invoices WHERE number = $1", number)
    return invoice_of(row) if row else None


async def list_lines(connection: Connection | Pool, invoice_id: UUID) -> list[Line]:
    """Return an invoice's lines in their order."""
    rows = await connection.fetch(
        f"SELECT {LINE} FROM billing.invoice_lines WHERE invoice_id = $1 ORDER BY position", invoice_id
    )
    return [Line(*row) for row in rows]


async def list_taxes(connection: Connection | Pool, invoice_id: UUID) -> list[TaxLine]:
    """Return an invoice's taxes in their order."""
    rows = await connection.fetch(
        """
        SELECT name, rate_ppm, base_micros, amount_micros
        FROM billing.invoice_taxes WHERE invoice_id = $1 ORDER BY position
        """,
        invoice_id,
    )
    return [TaxLine(*row) for row in rows]


async def list_payments(connection: Connection | Pool, invoice_id: UUID) -> list[Payment]:
    """Return what was paid of an invoice, in the order in which it was recorded."""
    rows = await connection.fetch(
        f"SELECT {_PAYMENT} FROM billing.payments WHERE invoice_id = $1 ORDER BY id", invoice_id
    )
    return [Payment(*row) for row in rows]


async def list_credit_notes(
    connection: Connection | Pool,
    account_id: UUID,
    *,
    invoice_id: UUID | None = None,
    before: UUID | None = None,
    most: int,
) -> list[CreditNote]:
    """Return an account's credit notes, of one invoice or of all, newest first, from behind the one of `before`."""
    rows = await connection.fetch(
        f"""
        SELECT {CREDIT_NOTE} FROM billing.credit_notes AS note
        JOIN billing.invoices AS invoice ON invoice.id = note.invoice_id
        WHERE note.account_id = $1 AND ($2::uuid IS NULL OR note.invoice_id = $2)
          AND ($3::uuid IS NULL OR note.id < $3)
        ORDER BY note.id DESC LIMIT $4
        """,
        account_id,
        invoice_id,
        before,
        most,
    )
    return [CreditNote(*row) for row in rows]


async def list_parties(connection: Connection | Pool, accounts: Sequence[UUID]) -> dict[UUID, Party]:
    """Return what customers are called now: by their billing profile, and without one by their account's name."""
    rows = await connection.fetch(
        """
        SELECT asked.id, coalesce(profile.legal_name, customer.name), coalesce(profile.address, '{}'), profile.tax_id,
               profile.email, profile.locale
        FROM unnest($1::uuid[]) AS asked (id)
        LEFT JOIN billing.profiles AS profile ON profile.account_id = asked.id
        LEFT JOIN billing.customers AS customer ON customer.account_id = asked.id
        """,
        accounts,
    )
    return {row[0]: Party(row[1], tuple(row[2]), *row[3:]) for row in rows}


async def find_credit_note(connection: Connection | Pool, account_id: UUID, note_id: UUID) -> CreditNote | None:
    """Return an account's credit note."""
    row = await connection.fetchrow(
        f"""
        SELECT {CREDIT_NOTE} FROM billing.credit_notes AS note
        JOIN billing.invoices AS invoice ON invoice.id = note.invoice_id
        WHERE note.account_id = $1 AND note.id = $2
        """,
        account_id,
        note_id,
    )
    return CreditNote(*row) if row else None


async def list_credit_note_lines(connection: Connection | Pool, note_id: UUID) -> list[CreditLine]:
    """Return a credit note's lines in their order."""
    rows = await connection.fetch(
        """
        SELECT description, invoice_line, amount_micros
        FROM billing.credit_note_lines WHERE credit_note_id = $1 ORDER BY position
        """,
        note_id,
    )
    return [CreditLine(*row) for row in rows]


async def list_credit_note_taxes(connection: Connection | Pool, note_id: UUID) -> list[TaxLine]:
    """Return a credit note's taxes in the order of the invoice's."""
    rows = await connection.fetch(
        """
        SELECT name, rate_ppm, base_micros, amount_micros
        FROM billing.credit_note_taxes WHERE credit_note_id = $1 ORDER BY position
        """,
        note_id,
    )
    return [TaxLine(*row) for row in rows]
