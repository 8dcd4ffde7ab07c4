"""Which accounts pay ahead: by their plans. Owns nothing else of a plan."""

from collections.abc import Collection
from datetime import date
from uuid import UUID

from ghasi.billing.plans import queries as plan_queries
from ghasi.storage.pool import Connection, Pool


async def list_prepaid(connection: Connection | Pool, account_ids: Collection[UUID], month: date) -> set[UUID]:
    """Return which accounts are prepaid in a month."""
    asked = [(account_id, month) for account_id in account_ids]
    return {account_id for account_id, _ in await list_prepaid_months(connection, asked)}


async def list_prepaid_months(
    connection: Connection | Pool, asked: Collection[tuple[UUID, date]]
) -> set[tuple[UUID, date]]:
    """Return which of the accounts' months are prepaid."""
    plans = await plan_queries.plans_of_months(connection, asked)
    return {month for month, plan in plans.items() if plan.is_prepaid}
