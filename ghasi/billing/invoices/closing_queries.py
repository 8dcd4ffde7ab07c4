"""SQL of making drafts and of closing months. Knows no rules."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from uuid import UUID

import msgspec

from ghasi.billing.invoices.model import Content, Discount, Tax
from ghasi.billing.model import Invoice, Tally, TallyKey
from ghasi.storage.pool import Connection, Pool

# numbers


async def take_turns(connection: Connection) -> None:
    """Keep others from making drafts and invoices until the end of the transaction, whichever series they number by."""
    await connection.execute("LOCK TABLE billing.closed_months IN SHARE ROW EXCLUSIVE MODE")


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


# months


async def close_month(connection: Connection, month: date, at: datetime) -> bool:
    """Write down that a month was closed for all accounts; return whether it had not been."""
    status = await connection.execute(
        "INSERT INTO billing.closed_months (month, closed_at) VALUES ($1, $2) ON CONFLICT DO NOTHING", month, at
    )
    return bool(status == "INSERT 0 1")


async def find_first_month(pool: Pool) -> date | None:
    """Return the first month that anything was to be billed in and is not, or that was closed."""
    found: date | None = await pool.fetchval(
        """
        SELECT least(
            (SELECT min(month) FROM billing.closed_months),
            (SELECT min(month) FROM billing.tallies WHERE invoice_id IS NULL),
            (SELECT min(from_month) FROM billing.subscriptions WHERE plan IS NOT NULL)
        )
        """
    )
    return found


async def list_closed_months(connection: Connection | Pool) -> set[date]:
    """Return the months that were closed for all accounts."""
    return {row[0] for row in await connection.fetch("SELECT month FROM billing.closed_months")}


async def list_invoiced_months(connection: Connection | Pool, accounts: Sequence[UUID]) -> list[tuple[UUID, date]]:
    """Return by account the months of which it has an invoice."""
    rows = await connection.fetch(
        """
        SELECT account_id, (period_start AT TIME ZONE 'UTC')::date FROM billing.invoices
        WHERE account_id = ANY($1) AND status <> 'draft'
        """,
        accounts,
    )
    return [(row[0], row[1]) for row in rows]


# what an invoice is made of


async def list_unbilled_accounts(
    connection: Connection, start: datetime, after: UUID, most: int, *, drafted_before: datetime | None = None
) -> list[UUID]:
    """Return accounts behind `after` that have something to be billed in a month and no invoice of it but a draft.

    Something is an open tally up to the month, a fee or a minimum of the month's plan, or a draft. With
    `drafted_before` those with a later draft are left out.
    """
    rows = await connection.fetch(
        """
        SELECT account_id FROM (
            SELECT account_id FROM billing.tallies
            WHERE invoice_id IS NULL AND month <= $2 AND account_id > $3
            UNION
            SELECT account_id FROM billing.invoices
            WHERE period_start = $1 AND status = 'draft' AND account_id > $3
            UNION
            SELECT subscriber.account_id
            FROM (SELECT DISTINCT account_id FROM billing.subscriptions WHERE account_id > $3) AS subscriber
            CROSS JOIN LATERAL (
                SELECT plan AS name FROM billing.subscriptions AS one
                WHERE one.account_id = subscriber.account_id AND one.from_month <= $2
                ORDER BY one.position DESC LIMIT 1
            ) AS chosen
            CROSS JOIN LATERAL (
                SELECT base_fee_micros, minimum_micros FROM billing.plans AS one
                WHERE one.name = chosen.name AND one.valid_from <= $2 ORDER BY one.position DESC LIMIT 1
            ) AS plan
            WHERE plan.base_fee_micros > 0 OR plan.minimum_micros > 0
        ) AS candidate
        WHERE NOT EXISTS (
            SELECT FROM billing.invoices AS invoice
            WHERE invoice.account_id = candidate.account_id AND invoice.period_start = $1
              AND (invoice.status <> 'draft' OR invoice.refreshed_at >= $5))
        ORDER BY account_id LIMIT $4
        """,
        start,
        start.date(),
        after,
        most,
        drafted_before,
    )
    return [row[0] for row in rows]


async def list_tallies(
    connection: Connection | Pool, accounts: Sequence[UUID], month: date, *, lock: bool
) -> list[Tally]:
    """Return accounts' open tallies up to a month, in the order in which the consumer of messages locks them."""
    rows = await connection.fetch(
        f"""
        SELECT id, account_id, month, direction, country, currency, kind, rate_id, unit_micros, messages, segments,
               amount_micros
        FROM billing.tallies
        WHERE account_id = ANY($1) AND month <= $2 AND invoice_id IS NULL
        ORDER BY account_id, month, direction, country, currency, kind, rate_id, unit_micros
        {"FOR UPDATE" if lock else ""}
        """,
        accounts,
        month,
    )
    return [Tally(row[0], TallyKey(*row[1:9]), *row[9:]) for row in rows]


async def list_taxes(connection: Connection | Pool, accounts: Sequence[UUID]) -> list[tuple[UUID, Tax]]:
    """Return the taxes of accounts, by name."""
    rows = await connection.fetch(
        "SELECT account_id, name, rate_ppm FROM billing.taxes WHERE account_id = ANY($1) ORDER BY account_id, name",
        accounts,
    )
    return [(row[0], Tax(row[1], row[2])) for row in rows]


async def list_discounts(connection: Connection | Pool, accounts: Sequence[UUID]) -> list[tuple[UUID, Discount]]:
    """Return the discounts of accounts, in the order in which they were given."""
    rows = await connection.fetch(
        """
        SELECT account_id, id, name, rate_ppm, amount_micros, from_month, until_month
        FROM billing.discounts WHERE account_id = ANY($1) ORDER BY id
        """,
        accounts,
    )
    return [(row[0], Discount(*row[1:])) for row in rows]


# drafts


async def lock_drafts(connection: Connection, accounts: Sequence[UUID], start: datetime) -> dict[UUID, UUID]:
    """Lock the drafts that accounts have of a month; return their ids by account."""
    rows = await connection.fetch(
        """
        SELECT account_id, id FROM billing.invoices
        WHERE account_id = ANY($1) AND period_start = $2 AND status = 'draft'
        ORDER BY account_id FOR UPDATE
        """,
        accounts,
        start,
    )
    return {row[0]: row[1] for row in rows}


async def insert_drafts(connection: Connection, invoices: Sequence[Invoice]) -> None:
    """Add invoices as drafts that say nothing yet."""
    await connection.execute(
        """
        INSERT INTO billing.invoices
            (id, account_id, currency, period_start, period_end, subtotal_micros, tax_micros, total_micros)
        SELECT *, 0, 0, 0
        FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[], $5::timestamptz[])
        """,
        [invoice.id for invoice in invoices],
        [invoice.account_id for invoice in invoices],
        [invoice.currency for invoice in invoices],
        [invoice.period_start for invoice in invoices],
        [invoice.period_end for invoice in invoices],
    )


async def delete_contents(connection: Connection, drafts: Sequence[UUID]) -> None:
    """Empty drafts, to be written anew."""
    for table in ("invoice_lines", "invoice_taxes"):
        await connection.execute(f"DELETE FROM billing.{table} WHERE invoice_id = ANY($1)", drafts)


async def delete_drafts(connection: Connection, drafts: Sequence[UUID]) -> None:
    """Delete drafts that are empty."""
    await connection.execute("DELETE FROM billing.invoices WHERE id = ANY($1)", drafts)


async def insert_contents(connection: Connection, contents: Iterable[tuple[UUID, Content]]) -> None:
    """Write lines and taxes of drafts, by the invoices' ids."""
    written = list(contents)
    lines = [
        (invoice_id, position, line) for invoice_id, content in written for position, line in enumerate(content.lines)
    ]
    await connection.execute(
        """
        INSERT INTO billing.invoice_lines
            (invoice_id, position, description, country, messages, segments, unit_micros, amount_micros, kind,
             direction, rate_id, month, detail)
        SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[],
                             $8::bigint[], $9::text[], $10::text[], $11::uuid[], $12::date[], $13::text[])
        """,
        [invoice_id for invoice_id, _, _ in lines],
        [position for _, position, _ in lines],
        *(
            [getattr(line, name) for _, _, line in lines]
            for name in (
                "description", "country", "messages", "segments", "unit_micros", "amount_micros", "kind", "direction",
                "rate_id", "month", "detail",
            )
        ),
    )  # fmt: skip
    taxes = [
        (invoice_id, position, *tax) for invoice_id, content in written for position, tax in enumerate(content.taxes)
    ]
    await connection.executemany(
        """
        INSERT INTO billing.invoice_taxes (invoice_id, position, name, rate_ppm, base_micros, amount_micros)
        VALUES ($1, $2, $3, $4, $5, $6)
        """,
        taxes,
    )


async def set_totals(connection: Connection, invoices: Sequence[Invoice], at: datetime) -> None:
    """Set what drafts come to."""
    await connection.execute(
        """
        UPDATE billing.invoices SET currency = made.currency, plan = made.plan, payment = made.payment,
            subtotal_micros = made.subtotal_micros, tax_micros = made.tax_micros, total_micros = made.total_micros,
            refreshed_at = $8
        FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[])
            AS made (id, currency, plan, payment, subtotal_micros, tax_micros, total_micros)
        WHERE invoices.id = made.id
        """,
        [invoice.id for invoice in invoices],
        [invoice.currency for invoice in invoices],
        [invoice.plan for invoice in invoices],
        [invoice.payment for invoice in invoices],
        [invoice.subtotal_micros for invoice in invoices],
        [invoice.tax_micros for invoice in invoices],
        [invoice.total_micros for invoice in invoices],
        at,
    )


# opening


async def take_tallies(connection: Connection, tallies: Sequence[tuple[UUID, UUID, int | None]]) -> None:
    """Give tallies to invoices: a tally's id, the invoice's, and the place of its line."""
    await connection.execute(
        """
        UPDATE billing.tallies SET invoice_id = taken.invoice_id, line = taken.line
        FROM unnest($1::uuid[], $2::uuid[], $3::int[]) AS taken (id, invoice_id, line)
        WHERE tallies.id = taken.id
        """,
        [tally_id for tally_id, _, _ in tallies],
        [invoice_id for _, invoice_id, _ in tallies],
        [line for _, _, line in tallies],
    )


async def open_drafts(connection: Connection, invoices: Sequence[Invoice]) -> None:
    """Open drafts with numbers, dates and the names of who is on them; from here on they are documents."""
    await connection.execute(
        """
        UPDATE billing.invoices
        SET status = 'open', number = opened.number, issued_at = opened.issued_at, due_at = opened.due_at,
            seller = opened.seller, customer = opened.customer, refreshed_at = NULL
        FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::json[], $6::json[])
            AS opened (id, number, issued_at, due_at, seller, customer)
        WHERE invoices.id = opened.id
        """,
        [invoice.id for invoice in invoices],
        [invoice.number for invoice in invoices],
        [invoice.issued_at for invoice in invoices],
        [invoice.due_at for invoice in invoices],
        [msgspec.json.encode(invoice.seller).decode() if invoice.seller else None for invoice in invoices],
        [msgspec.json.encode(invoice.customer).decode() if invoice.customer else None for invoice in invoices],
    )
