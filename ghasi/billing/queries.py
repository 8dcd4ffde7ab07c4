"""All of billing's SQL: one function a statement. Imported by this package alone; knows no rules."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from uuid import UUID

from ghasi.billing.model import Charge, Invoice, Line, Rate, Sums, Tally, TallyKey, UsageHour
from ghasi.billing.periods import Granularity
from ghasi.contract.values import new_id
from ghasi.storage.pool import Connection, Pool

_INVOICE = """
    id, account_id, number, status, currency, period_start, period_end, subtotal_micros, tax_micros, total_micros,
    issued_at, due_at, paid_at
"""
_GROUPS = {None: "NULL::text", "country": "country", "status": "status"}


# rates


async def lock_rates(connection: Connection) -> None:
    """Keep other imports out until the end of the transaction; readers go on."""
    await connection.execute("LOCK TABLE billing.rates IN SHARE ROW EXCLUSIVE MODE")


async def list_rates(connection: Connection | Pool) -> list[Rate]:
    """Return every rate by currency, country and validity; of equal ones the last counts."""
    rows = await connection.fetch(
        """
        SELECT id, currency, country, amount_micros, valid_from FROM billing.rates
        ORDER BY currency, country, valid_from, id
        """
    )
    return [Rate(*row) for row in rows]


async def list_rates_of(
    connection: Connection, currencies: Collection[str], countries: Collection[str]
) -> list[Rate]:  # fmt: skip
    """Return the rates of some currencies and countries by validity; of equal ones the last counts."""
    rows = await connection.fetch(
        """
        SELECT id, currency, country, amount_micros, valid_from FROM billing.rates
        WHERE currency = ANY($1) AND country = ANY($2)
        ORDER BY valid_from, id
        """,
        list(currencies),
        list(countries),
    )
    return [Rate(*row) for row in rows]


async def insert_rates(connection: Connection, rates: Sequence[Rate]) -> None:
    """Add rates."""
    await connection.execute(
        """
        INSERT INTO billing.rates (id, currency, country, amount_micros, valid_from)
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::timestamptz[])
        """,
        [rate.id for rate in rates],
        [rate.currency for rate in rates],
        [rate.country for rate in rates],
        [rate.amount_micros for rate in rates],
        [rate.valid_from for rate in rates],
    )


# accounts' currencies


async def list_currencies(connection: Connection, accounts: Collection[UUID]) -> dict[UUID, str]:
    """Return the currency of those accounts that have one."""
    rows = await connection.fetch(
        "SELECT account_id, currency FROM billing.accounts WHERE account_id = ANY($1)", list(accounts)
    )
    return {row[0]: row[1] for row in rows}


async def find_currency(connection: Connection | Pool, account_id: UUID) -> str | None:
    """Return an account's currency once it is fixed."""
    currency: str | None = await connection.fetchval(
        "SELECT currency FROM billing.accounts WHERE account_id = $1", account_id
    )
    return currency


async def insert_accounts(connection: Connection, accounts: Collection[UUID], currency: str) -> int:
    """Fix the currency of accounts that have none; return how many those were."""
    done = await connection.execute(
        """
        INSERT INTO billing.accounts (account_id, currency) SELECT unnest($1::uuid[]), $2 ON CONFLICT DO NOTHING
        """,
        sorted(accounts),
        currency,
    )
    return int(done.split()[-1])


# charges and usage; only the consumer writes them, alone while it holds its position's lock


_CHARGE = ", ".join(Charge._fields)


async def list_charges(connection: Connection, message_ids: Collection[UUID]) -> dict[UUID, Charge]:
    """Return the charges of those messages that have one."""
    rows = await connection.fetch(f"SELECT {_CHARGE} FROM billing.charges WHERE message_id = ANY($1)", message_ids)
    return {row[0]: Charge._make(row) for row in rows}


async def move_charges(connection: Connection, moved: Sequence[tuple[UUID, str, int]]) -> None:
    """Set charges, named by their messages' ids, to a status and sequence."""
    await connection.execute(
        """
        UPDATE billing.charges AS charge SET status = moved.status, sequence = moved.sequence
        FROM unnest($1::uuid[], $2::text[], $3::int[]) AS moved (message_id, status, sequence)
        WHERE charge.message_id = moved.message_id
        """,
        *zip(*moved, strict=True),
    )


async def insert_charges(connection: Connection, charges: Sequence[Charge]) -> None:
    """Add charges, by COPY: so many columns cost more as arrays."""
    await connection.copy_records_to_table("charges", schema_name="billing", columns=Charge._fields, records=charges)


async def add_tallies(connection: Connection, sums: Sequence[tuple[TallyKey, Sums]]) -> dict[TallyKey, UUID]:
    """Add sums, given in the order of their keys, to the open tallies, made where there are none; return their ids."""
    rows = await connection.fetch(
        """
        INSERT INTO billing.tallies AS tally
            (id, account_id, month, country, currency, unit_micros, messages, segments, amount_micros)
        SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::date[], $4::text[], $5::text[], $6::bigint[], $7::bigint[],
                             $8::bigint[], $9::bigint[])
        ON CONFLICT (account_id, month, country, currency, unit_micros) WHERE invoice_id IS NULL DO UPDATE SET
            messages = tally.messages + EXCLUDED.messages,
            segments = tally.segments + EXCLUDED.segments,
            amount_micros = tally.amount_micros + EXCLUDED.amount_micros
        RETURNING account_id, month, country, currency, unit_micros, id
        """,
        [new_id() for _ in sums],
        [key.account_id for key, _ in sums],
        [key.month for key, _ in sums],
        [key.country for key, _ in sums],
        [key.currency for key, _ in sums],
        [key.unit_micros for key, _ in sums],
        [one.messages for _, one in sums],
        [one.segments for _, one in sums],
        [one.amount_micros for _, one in sums],
    )
    return {TallyKey._make(row[:5]): row[5] for row in rows}


async def add_usage(connection: Connection, deltas: Mapping[UsageHour, Sums]) -> None:
    """Move usage by differences, which may be negative."""
    await connection.execute(
        """
        INSERT INTO billing.usage_hours AS usage
            (account_id, hour, country, status, messages, segments, amount_micros)
        SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::bigint[], $6::bigint[],
                             $7::bigint[])
        ON CONFLICT (account_id, hour, country, status) DO UPDATE SET
            messages = usage.messages + EXCLUDED.messages,
            segments = usage.segments + EXCLUDED.segments,
            amount_micros = usage.amount_micros + EXCLUDED.amount_micros
        """,
        [hour.account_id for hour in deltas],
        [hour.hour for hour in deltas],
        [hour.country for hour in deltas],
        [hour.status for hour in deltas],
        [sums.messages for sums in deltas.values()],
        [sums.segments for sums in deltas.values()],
        [sums.amount_micros for sums in deltas.values()],
    )


async def list_usage(
    pool: Pool, account_id: UUID, *, since: datetime, until: datetime, granularity: Granularity, group_by: str | None
) -> list[tuple[datetime, str | None, Sums]]:
    """Return an account's usage by UTC period and group, oldest first, without those that have none."""
    rows = await pool.fetch(
        f"""
        SELECT date_trunc($4, hour, 'UTC') AS period, {_GROUPS[group_by]} AS of,
               sum(messages)::bigint, sum(segments)::bigint, sum(amount_micros)::bigint
        FROM billing.usage_hours
        WHERE account_id = $1 AND hour >= $2 AND hour < $3
        GROUP BY period, of
        HAVING sum(messages) > 0
        ORDER BY period, of
        """,
        account_id,
        since,
        until,
        granularity,
    )
    return [(row[0], row[1], Sums(*row[2:])) for row in rows]


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
        SELECT id, account_id, month, country, currency, unit_micros, messages, segments, amount_micros
        FROM billing.tallies
        WHERE account_id = ANY($1) AND month <= $2 AND invoice_id IS NULL
        ORDER BY account_id, month, country, currency, unit_micros
        FOR UPDATE
        """,
        accounts,
        month,
    )
    return [Tally(row[0], TallyKey(*row[1:6]), *row[6:]) for row in rows]


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
    """Open drafts with their numbers and dates; from here on they are documents."""
    await connection.execute(
        """
        UPDATE billing.invoices
        SET status = 'open', number = opened.number, issued_at = opened.issued_at, due_at = opened.due_at
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
