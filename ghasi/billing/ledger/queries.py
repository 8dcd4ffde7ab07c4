"""SQL of the ledger: transactions, entries, and where each book stands. Knows no rules."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from ghasi.billing.ledger.model import BOOKS, Book, Entries, Kind, Posting, Standing, Transaction, Written
from ghasi.storage.pool import Connection, Pool

Balances = dict[Book, int]
_BY_REFERENCE = "(account_id, kind, reference) IN (SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[]))"

# writing


async def lock_books(connection: Connection, currencies: Mapping[UUID, str]) -> dict[UUID, tuple[str, Balances]]:
    """Lock accounts' books until the end of the transaction, made where there are none, in one order for everybody.

    Returns each account's currency in the books, and where each book stands.
    """
    accounts = sorted(currencies)
    known = await connection.fetchval(
        "SELECT count(*) FROM billing.ledger_balances WHERE account_id = ANY($1) AND book = 'balance'", accounts
    )
    if known < len(accounts):
        # before the first lock: whoever waits here holds nothing that others wait for
        await connection.execute(
            """
            INSERT INTO billing.ledger_balances (account_id, book, currency)
            SELECT account_id, book, currency FROM unnest($1::uuid[], $2::text[]) AS account (account_id, currency)
            CROSS JOIN unnest($3::text[]) AS book
            ORDER BY account_id, book
            ON CONFLICT DO NOTHING
            """,
            accounts,
            [currencies[account_id] for account_id in accounts],
            BOOKS,
        )
    rows = await connection.fetch(
        """
        SELECT account_id, currency, book, amount_micros FROM billing.ledger_balances
        WHERE account_id = ANY($1) ORDER BY account_id, book FOR UPDATE
        """,
        accounts,
    )
    found: dict[UUID, tuple[str, Balances]] = {}
    for account_id, currency, book, amount_micros in rows:
        found.setdefault(account_id, (currency, {}))[1][book] = amount_micros
    return found


async def insert_postings(
    connection: Connection,
    postings: Sequence[Posting],
    entries: Sequence[tuple[UUID, UUID, Book, int, int]],
    at: datetime,
) -> None:
    """Add transactions and their entries: (transaction, account, book, amount, where the book stands then)."""
    await connection.execute(
        """
        INSERT INTO billing.ledger_transactions (id, account_id, currency, kind, reference, invoice_id, note, actor, at)
        SELECT *, $9 FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::text[],
                                 $8::text[])
        """,
        *(list(column) for column in zip(*(posting[:8] for posting in postings), strict=True)),
        at,
    )
    if not entries:
        return
    await connection.execute(
        """
        INSERT INTO billing.ledger_entries (transaction_id, account_id, book, amount_micros, after_micros)
        SELECT transaction_id, account_id, book, amount_micros, after_micros
        FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::bigint[])
            WITH ORDINALITY AS entry (transaction_id, account_id, book, amount_micros, after_micros, place)
        ORDER BY place
        """,
        *(list(column) for column in zip(*entries, strict=True)),
    )


async def set_balances(connection: Connection, balances: Sequence[tuple[UUID, Book, int]]) -> None:
    """Write where books stand; the caller holds their locks."""
    await connection.execute(
        """
        UPDATE billing.ledger_balances AS balance SET amount_micros = moved.amount_micros
        FROM unnest($1::uuid[], $2::text[], $3::bigint[]) AS moved (account_id, book, amount_micros)
        WHERE (balance.account_id, balance.book) = (moved.account_id, moved.book)
        """,
        *(list(column) for column in zip(*balances, strict=True)),
    )


# what was written before


async def list_known(
    connection: Connection, references: Sequence[tuple[UUID, Kind, str]]
) -> dict[tuple[UUID, str], Entries]:
    """Return the entries of those transactions that were written before, by account and reference."""
    rows = await connection.fetch(
        f"""
        SELECT transaction.account_id, reference, book, amount_micros
        FROM (SELECT id, account_id, reference FROM billing.ledger_transactions WHERE {_BY_REFERENCE}) AS transaction
        LEFT JOIN billing.ledger_entries ON transaction_id = id
        """,
        *(list(column) for column in zip(*references, strict=True)),
    )
    known: dict[tuple[UUID, str], dict[Book, int]] = {}
    for account_id, reference, book, amount_micros in rows:
        entries = known.setdefault((account_id, reference), {})
        if book is not None:  # an invoice of nothing moves nothing
            entries[book] = amount_micros
    return dict(known)


async def list_standings(connection: Connection, invoice_ids: Collection[UUID]) -> dict[UUID, Standing]:
    """Return what the books have of invoices."""
    rows = await connection.fetch(
        """
        SELECT invoice_id,
            coalesce(sum(amount_micros) FILTER (WHERE book = 'receivable'), 0)::bigint,
            coalesce(sum(amount_micros) FILTER (WHERE book = 'uncollectible'), 0)::bigint,
            coalesce(sum(amount_micros) FILTER (WHERE book = 'revenue'), 0)::bigint,
            coalesce(sum(amount_micros) FILTER (WHERE book = 'tax'), 0)::bigint
        FROM billing.ledger_transactions AS transaction
        LEFT JOIN billing.ledger_entries ON transaction_id = transaction.id
        WHERE invoice_id = ANY($1) GROUP BY invoice_id
        """,
        list(invoice_ids),
    )
    return {row[0]: Standing(*row[1:]) for row in rows}


# reading

_TRANSACTION = """
    transaction.id, transaction.account_id, currency, kind, reference, invoice_id, note, actor, at,
    -entry.amount_micros, -entry.after_micros
"""


async def list_balance_transactions(
    connection: Connection | Pool, account_id: UUID, kind: Kind | None, before: UUID | None, most: int
) -> list[Transaction]:
    """Return what moved an account's balance, the last first, from behind the transaction `before`."""
    rows = await connection.fetch(
        f"""
        SELECT {_TRANSACTION}
        FROM billing.ledger_entries AS entry
        JOIN billing.ledger_transactions AS transaction ON transaction.id = entry.transaction_id
        WHERE entry.account_id = $1 AND entry.book = 'balance' AND ($2::text IS NULL OR kind = $2)
            AND ($3::uuid IS NULL OR entry.position < (
                SELECT position FROM billing.ledger_entries
                WHERE transaction_id = $3 AND book = 'balance' AND account_id = $1))
        ORDER BY entry.position DESC LIMIT $4
        """,
        account_id,
        kind,
        before,
        most,
    )
    return [Transaction._make(row) for row in rows]


async def find_balance(connection: Connection | Pool, account_id: UUID) -> int:
    """Return what a customer has with us; negative where they have overdrawn it."""
    micros: int | None = await connection.fetchval(
        "SELECT -amount_micros FROM billing.ledger_balances WHERE account_id = $1 AND book = 'balance'", account_id
    )
    return micros or 0


async def list_transactions(connection: Connection | Pool, account_id: UUID | None, most: int) -> list[Written]:
    """Return the newest transactions, of one account or of all, with their entries."""
    rows = await connection.fetch(
        """
        SELECT id, at, account_id, currency, kind, reference, invoice_id, note, actor, (
            SELECT coalesce(json_object_agg(book, amount_micros ORDER BY position), '{}')
            FROM billing.ledger_entries WHERE transaction_id = id) AS entries
        FROM billing.ledger_transactions WHERE $1::uuid IS NULL OR account_id = $1
        ORDER BY id DESC LIMIT $2
        """,
        account_id,
        most,
    )
    return [Written._make((*tuple(row)[:9], msgspec.json.decode(row["entries"]))) for row in rows]
