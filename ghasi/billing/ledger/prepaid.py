"""Which accounts pay ahead: by their plans. Owns nothing else of a plan."""

from collections.abc import Collection
from datetime import date
from uuid import UUID

from ghasi.storage.pool import Connection, Pool


async def list_prepaid(connection: Connection | Pool, account_ids: Collection[UUID], month: date) -> set[UUID]:
    """Return which accounts are prepaid in a month."""
    rows = await connection.fetch(
        "SELECT account_id FROM billing.prepaid_accounts WHERE account_id = ANY($1) AND since <= $2",
        list(account_ids),
        month,
    )
    return {row[0] for row in rows}
