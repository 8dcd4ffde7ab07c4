"""SQL of what accounts have spent, what is held for messages on their way, and what holds accounts back.

Knows no rules. Whoever writes here has locked the accounts' books first where they lock both, and all in the order of
accounts.
"""

from collections.abc import Collection, Sequence
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

from ghasi.billing.ledger.limits import Figures, SpendingState, Threshold
from ghasi.contract.shapes import AlertKind
from ghasi.storage.pool import Connection, Pool


class Held(NamedTuple):
    """A hold as it is kept."""

    message_id: UUID
    account_id: UUID
    month: date
    amount_micros: int
    until: datetime


class Kept(NamedTuple):
    """What is kept of an account's spending, and the figures it is judged by."""

    account_id: UUID
    currency: str
    state: SpendingState
    sequence: int
    top_up_id: UUID | None
    own_limit_micros: int | None
    figures: Figures


class Alert(NamedTuple):
    """An alert that was given."""

    id: UUID
    account_id: UUID
    kind: AlertKind
    period: str
    limit_micros: int
    percent: int
    at: datetime


# spent and held


async def insert_holds(connection: Connection, holds: Sequence[Held]) -> list[tuple[UUID, date, int]]:
    """Add holds, but for messages that have one, or their price or end already; return (account, month, micros).

    One that is billed on its delivery has a charge before: it is held until then.
    """
    rows = await connection.fetch(
        """
        INSERT INTO billing.holds (message_id, account_id, month, amount_micros, until)
        SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::date[], $4::bigint[], $5::timestamptz[])
            AS hold (message_id, account_id, month, amount_micros, until)
        WHERE NOT EXISTS (
                SELECT FROM billing.charges
                WHERE charges.message_id = hold.message_id AND (tally_id IS NOT NULL OR status <> 'sent'))
            AND NOT EXISTS (SELECT FROM billing.refusals WHERE refusals.message_id = hold.message_id)
        ON CONFLICT DO NOTHING
        RETURNING account_id, month, amount_micros
        """,
        *(list(column) for column in zip(*holds, strict=True)),
    )
    return [(row[0], row[1], row[2]) for row in rows]


async def delete_holds(connection: Connection, message_ids: Collection[UUID]) -> list[tuple[UUID, date, int]]:
    """Delete the holds of messages; return those there were: (account, month, micros)."""
    rows = await connection.fetch(
        "DELETE FROM billing.holds WHERE message_id = ANY($1) RETURNING account_id, month, amount_micros",
        list(message_ids),
    )
    return [(row[0], row[1], row[2]) for row in rows]


async def list_overdue_holds(connection: Connection | Pool, now: datetime, most: int) -> list[UUID]:
    """Return messages whose holds should have ended before now."""
    rows = await connection.fetch(
        "SELECT message_id FROM billing.holds WHERE until < $1 ORDER BY until LIMIT $2", now, most
    )
    return [row[0] for row in rows]


async def add_months(connection: Connection, moved: Sequence[tuple[UUID, date, int, int]]) -> None:
    """Add to what accounts have spent and hold, in the given order: (account, month, spent, held)."""
    await connection.execute(
        """
        INSERT INTO billing.spending_months AS known (account_id, month, spent_micros, held_micros)
        SELECT * FROM unnest($1::uuid[], $2::date[], $3::bigint[], $4::bigint[])
        ON CONFLICT (account_id, month) DO UPDATE SET
            spent_micros = known.spent_micros + EXCLUDED.spent_micros,
            held_micros = known.held_micros + EXCLUDED.held_micros
        """,
        *(list(column) for column in zip(*moved, strict=True)),
    )


# what holds accounts back


async def list_bounded(connection: Connection | Pool, account_ids: Collection[UUID]) -> set[UUID]:
    """Return which accounts have a limit, or had a balance of their own."""
    rows = await connection.fetch(
        "SELECT account_id FROM billing.spending WHERE account_id = ANY($1)", list(account_ids)
    )
    return {row[0] for row in rows}


async def list_limited(connection: Connection | Pool, account_ids: Collection[UUID]) -> set[UUID]:
    """Return which accounts have a limit."""
    rows = await connection.fetch(
        "SELECT account_id FROM billing.spending WHERE account_id = ANY($1)"
        " AND coalesce(limit_micros, own_limit_micros) IS NOT NULL",
        list(account_ids),
    )
    return {row[0] for row in rows}


async def insert_accounts(connection: Connection, account_ids: Collection[UUID]) -> None:
    """Begin to keep accounts' spending; to be called before any lock on it is taken."""
    await connection.execute(
        "INSERT INTO billing.spending (account_id) SELECT unnest($1::uuid[]) ON CONFLICT DO NOTHING",
        sorted(account_ids),
    )


async def lock_accounts(connection: Connection, account_ids: Collection[UUID]) -> None:
    """Lock what is kept of accounts' spending, in one order for everybody."""
    await connection.execute(
        "SELECT FROM billing.spending WHERE account_id = ANY($1) ORDER BY account_id FOR UPDATE", list(account_ids)
    )


_KEPT = """
    SELECT asked.account_id, coalesce(account.currency, balance.currency, 'USD') AS currency,
        coalesce(status, 'ok') AS status, coalesce(exhausted, false) AS exhausted, until,
        coalesce(spending.sequence, 0) AS sequence, top_up_id, own_limit_micros,
        coalesce(-balance.amount_micros, 0) AS balance_micros,
        coalesce(months.held_micros, 0)::bigint AS held_micros,
        coalesce(months.spent_micros, 0)::bigint AS spent_micros,
        coalesce(months.held_by_now_micros, 0)::bigint AS held_by_now_micros,
        least(limit_micros, own_limit_micros) AS limit_micros, top_up_micros
    FROM unnest($1::uuid[]) AS asked (account_id)
    LEFT JOIN billing.spending USING (account_id)
    LEFT JOIN billing.accounts AS account USING (account_id)
    LEFT JOIN billing.ledger_balances AS balance
        ON balance.account_id = asked.account_id AND balance.book = 'balance'
    LEFT JOIN LATERAL (
        SELECT sum(held_micros) AS held_micros,
            sum(held_micros) FILTER (WHERE month <= $2) AS held_by_now_micros,
            sum(spent_micros) FILTER (WHERE month = $2) AS spent_micros
        FROM billing.spending_months AS month WHERE month.account_id = asked.account_id
    ) AS months ON true
"""


async def list_kept(
    connection: Connection | Pool, account_ids: Collection[UUID], prepaid: Collection[UUID], month: date
) -> list[Kept]:
    """Return what is kept of accounts' spending, with the figures of a month; `prepaid` are those that pay ahead."""
    rows = await connection.fetch(_KEPT, list(account_ids), month)
    return [
        Kept(
            row["account_id"], row["currency"], SpendingState(row["status"], row["exhausted"], row["until"]),
            row["sequence"], row["top_up_id"], row["own_limit_micros"],
            Figures(
                row["account_id"] in prepaid, row["balance_micros"], row["held_micros"], row["spent_micros"],
                row["held_by_now_micros"], row["limit_micros"], row["top_up_micros"],
            ),
        )
        for row in rows
    ]  # fmt: skip


async def set_states(connection: Connection, states: Sequence[tuple[UUID, SpendingState, int]]) -> None:
    """Write what messages is told of accounts, and under which sequence; the caller holds their locks."""
    await connection.execute(
        """
        UPDATE billing.spending SET status = new.status, exhausted = new.exhausted, until = new.until,
            sequence = new.sequence
        FROM unnest($1::uuid[], $2::text[], $3::boolean[], $4::timestamptz[], $5::int[])
            AS new (account_id, status, exhausted, until, sequence)
        WHERE spending.account_id = new.account_id
        """,
        [account_id for account_id, _, _ in states],
        [state.status for _, state, _ in states],
        [state.exhausted for _, state, _ in states],
        [state.until for _, state, _ in states],
        [sequence for _, _, sequence in states],
    )


async def set_top_up(connection: Connection, account_id: UUID, top_up_id: UUID, balance_micros: int) -> None:
    """Keep the last top-up and the balance after it; the caller holds the locks."""
    await connection.execute(
        "UPDATE billing.spending SET top_up_id = $2, top_up_micros = $3 WHERE account_id = $1",
        account_id,
        top_up_id,
        balance_micros,
    )


async def set_limit(connection: Connection, account_id: UUID, limit_micros: int | None) -> None:
    """Set the operator's limit; the caller holds the lock."""
    await connection.execute(
        "UPDATE billing.spending SET limit_micros = $2 WHERE account_id = $1", account_id, limit_micros
    )


async def set_own_limit(connection: Connection, account_id: UUID, limit_micros: int | None) -> None:
    """Set the customer's own limit; the caller holds the lock."""
    await connection.execute(
        "UPDATE billing.spending SET own_limit_micros = $2 WHERE account_id = $1", account_id, limit_micros
    )


async def list_after(connection: Connection | Pool, after: UUID, most: int) -> list[UUID]:
    """Return accounts something is kept of, or that have had a plan, in the order of their ids from behind one."""
    rows = await connection.fetch(
        """
        SELECT account_id FROM billing.spending WHERE account_id > $1
        UNION SELECT account_id FROM billing.subscriptions WHERE account_id > $1
        ORDER BY account_id LIMIT $2
        """,
        after,
        most,
    )
    return [row[0] for row in rows]


async def list_outdated(connection: Connection | Pool, now: datetime, most: int) -> list[UUID]:
    """Return accounts whose state was to hold until now at most."""
    rows = await connection.fetch(
        "SELECT account_id FROM billing.spending WHERE until <= $1 ORDER BY account_id LIMIT $2", now, most
    )
    return [row[0] for row in rows]


# alerts


async def insert_alerts(connection: Connection, alerts: Sequence[Alert]) -> set[UUID]:
    """Keep alerts, but for those given before; return the ids of those kept."""
    rows = await connection.fetch(
        """
        INSERT INTO billing.alerts (id, account_id, kind, period, limit_micros, threshold_percent, at)
        SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::int[], $7::timestamptz[])
        ON CONFLICT DO NOTHING RETURNING id
        """,
        *(list(column) for column in zip(*alerts, strict=True)),
    )
    return {row[0] for row in rows}


async def list_alerts(
    connection: Connection | Pool, account_id: UUID, periods: Sequence[str]
) -> list[tuple[Threshold, datetime]]:
    """Return the alerts an account was given in periods, the first one first."""
    rows = await connection.fetch(
        """
        SELECT kind, limit_micros, threshold_percent, at FROM billing.alerts
        WHERE account_id = $1 AND period = ANY($2) ORDER BY at, threshold_percent
        """,
        account_id,
        periods,
    )
    return [(Threshold(row[0], row[1], row[2]), row[3]) for row in rows]
