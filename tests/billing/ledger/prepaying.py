"""Accounts that pay ahead."""

from uuid import UUID

from ghasi.billing.plans import admin
from ghasi.storage.pool import Pool

PLAN = "ahead"


async def make_prepaid(pool: Pool, account_id: UUID) -> None:
    """Give an account that was not charged yet this month a plan of which it pays ahead, from this month on."""
    await admin.set_plan(pool, PLAN, admin.PlanTerms(payment="prepaid"), "operator:test")
    await admin.choose_plan(pool, account_id, PLAN, "operator:test")
