"""Accounts that pay ahead."""

from datetime import UTC, date, datetime
from uuid import UUID

from ghasi.billing.ledger import states
from ghasi.storage.pool import Pool


async def make_prepaid(pool: Pool, account_id: UUID, since: date = date(2020, 1, 1)) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("INSERT INTO billing.prepaid_accounts VALUES ($1, $2)", account_id, since)
        await states.refresh(connection, [account_id], datetime.now(UTC))
