"""SQL of changing taxes and discounts. Knows no rules."""

from collections.abc import Sequence
from datetime import date
from uuid import UUID

from ghasi.billing.invoices.model import Discount, Tax
from ghasi.storage.pool import Connection


async def set_taxes(connection: Connection, account_id: UUID, taxes: Sequence[Tax]) -> None:
    """Replace an account's taxes."""
    await connection.execute("DELETE FROM billing.taxes WHERE account_id = $1", account_id)
    await connection.executemany(
        "INSERT INTO billing.taxes (account_id, name, rate_ppm) VALUES ($1, $2, $3)",
        [(account_id, *tax) for tax in taxes],
    )


async def insert_discount(connection: Connection, account_id: UUID, discount: Discount) -> None:
    """Add a discount."""
    await connection.execute(
        """
        INSERT INTO billing.discounts (account_id, id, name, rate_ppm, amount_micros, from_month, until_month)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        """,
        account_id,
        *discount,
    )


async def end_discount(connection: Connection, discount_id: UUID, until_month: date) -> UUID | None:
    """Set until when a discount holds; return whose it is."""
    account_id: UUID | None = await connection.fetchval(
        "UPDATE billing.discounts SET until_month = $2 WHERE id = $1 RETURNING account_id", discount_id, until_month
    )
    return account_id
