"""SQL of plans and of who has which. Knows no rules."""

from collections.abc import Collection
from dataclasses import astuple
from datetime import date, datetime
from uuid import UUID

import msgspec

from ghasi.billing.plans.model import Plan, PlanTier, Subscription
from ghasi.storage.pool import Connection, Pool, Record

_PLAN = """plan.name, plan.valid_from, plan.currency, plan.base_fee_micros, plan.included_segments, plan.tiers,
    plan.minimum_micros, plan.billed_on, plan.payment"""


async def lock_plans(connection: Connection) -> None:
    """Keep other changes of plans and subscriptions out, and rating too, until the end of the transaction."""
    await connection.execute("LOCK TABLE billing.plans IN SHARE ROW EXCLUSIVE MODE")
    await connection.execute("SELECT FROM billing.positions WHERE source = 'messages' FOR UPDATE")


async def plans_of(connection: Connection | Pool, account_ids: Collection[UUID], month: date) -> dict[UUID, Plan]:
    """Return the plans that hold in a month, of those of the accounts that have one."""
    found = await plans_of_months(connection, [(account_id, month) for account_id in account_ids])
    return {account_id: plan for (account_id, _), plan in found.items()}


async def plans_of_months(
    connection: Connection | Pool, asked: Collection[tuple[UUID, date]]
) -> dict[tuple[UUID, date], Plan]:
    """Return the plans of accounts in months, where there is one."""
    rows = await connection.fetch(
        f"""
        SELECT asked.account_id, asked.month, {_PLAN}
        FROM unnest($1::uuid[], $2::date[]) AS asked (account_id, month)
        CROSS JOIN LATERAL (
            SELECT subscription.plan AS name FROM billing.subscriptions AS subscription
            WHERE subscription.account_id = asked.account_id AND subscription.from_month <= asked.month
            ORDER BY subscription.position DESC LIMIT 1
        ) AS chosen
        CROSS JOIN LATERAL (
            SELECT one.* FROM billing.plans AS one
            WHERE one.name = chosen.name AND one.valid_from <= asked.month
            ORDER BY one.position DESC LIMIT 1
        ) AS plan
        """,
        [account_id for account_id, _ in asked],
        [month for _, month in asked],
    )
    return {(row[0], row[1]): _plan(row, 2) for row in rows}


async def list_plans(connection: Connection | Pool, name: str | None = None) -> list[Plan]:
    """Return every row of one plan or of all, by name, in the order in which they were added."""
    rows = await connection.fetch(
        f"""
        SELECT {_PLAN} FROM billing.plans AS plan WHERE $1::text IS NULL OR name = $1 ORDER BY name, position
        """,
        name,
    )
    return [_plan(row) for row in rows]


async def list_plans_after(connection: Connection | Pool, position: int) -> tuple[list[Plan], int]:
    """Return the rows of plans behind a position, in the order in which they were added, and the last's position."""
    rows = await connection.fetch(
        f"SELECT plan.position, {_PLAN} FROM billing.plans AS plan WHERE position > $1 ORDER BY position", position
    )
    return [_plan(row, 1) for row in rows], rows[-1][0] if rows else position


async def list_subscriptions_after(connection: Connection | Pool, position: int) -> tuple[list[Subscription], int]:
    """Return the subscriptions behind a position, in the order in which they were added, and the last's position."""
    rows = await connection.fetch(
        """
        SELECT account_id, from_month, plan, position FROM billing.subscriptions WHERE position > $1 ORDER BY position
        """,
        position,
    )
    return [Subscription(*tuple(row)[:3]) for row in rows], rows[-1][3] if rows else position


async def insert_plan(connection: Connection, plan: Plan) -> None:
    """Add what a plan is from a month on."""
    values = [*astuple(plan)]
    values[5] = msgspec.json.encode(plan.tiers).decode()
    await connection.execute(
        """
        INSERT INTO billing.plans (name, valid_from, currency, base_fee_micros, included_segments, tiers,
                                   minimum_micros, billed_on, payment)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        """,
        *values,
    )


async def list_subscriptions(connection: Connection | Pool, account_id: UUID) -> list[Subscription]:
    """Return an account's subscriptions in the order in which they were added."""
    rows = await connection.fetch(
        "SELECT account_id, from_month, plan FROM billing.subscriptions WHERE account_id = $1 ORDER BY position",
        account_id,
    )
    return [Subscription(*row) for row in rows]


async def list_subscribers(connection: Connection | Pool, plan: str, month: date) -> list[UUID]:
    """Return the accounts that have a plan in a month, or will have it as things stand."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT account_id FROM billing.subscriptions AS named
        WHERE plan = $1 AND NOT EXISTS (
            SELECT FROM billing.subscriptions AS later
            WHERE later.account_id = named.account_id AND later.position > named.position
              AND later.from_month <= greatest(named.from_month, $2)
        ) ORDER BY account_id
        """,
        plan,
        month,
    )
    return [row[0] for row in rows]


async def insert_subscription(connection: Connection, subscription: Subscription) -> None:
    """Add an account's plan from a month on."""
    await connection.execute(
        "INSERT INTO billing.subscriptions (account_id, from_month, plan) VALUES ($1, $2, $3)", *astuple(subscription)
    )


async def list_used(
    connection: Connection, account_ids: Collection[UUID], start: datetime, end: datetime
) -> list[UUID]:
    """Return which of the accounts have usage in a period, whatever became of it."""
    rows = await connection.fetch(
        """
        SELECT asked.account_id FROM unnest($1::uuid[]) AS asked (account_id)
        WHERE EXISTS (SELECT FROM billing.usage_quarters AS usage
                      WHERE usage.account_id = asked.account_id AND usage.at >= $2 AND usage.at < $3)
        """,
        list(account_ids),
        start,
        end,
    )
    return [row[0] for row in rows]


def _plan(row: Record, first: int = 0) -> Plan:
    values = list(row.values())[first:]
    values[5] = tuple(PlanTier(*tier) for tier in msgspec.json.decode(values[5]))
    return Plan(*values)
