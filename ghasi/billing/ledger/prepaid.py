"""Which accounts pay ahead: by their plans. Owns nothing else of a plan."""

from collections.abc import Collection
from datetime import date
from uuid import UUID

from ghasi.billing.plans import queries as plan_queries
from ghasi.storage.pool import Connection, Pool


async def list_prepaid(connection: Connection | Pool, account_ids: Collection[UUID], month: date) -> set[UUID]:
    """Return which accounts are prepaid in a month."""
    plans = await plan_queries.plans_of(connection, account_ids, month)
    return {account_id for account_id, plan in plans.items() if plan.payment == "prepaid"}
