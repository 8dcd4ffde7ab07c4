"""Recounts the books from what they were made of, and names every difference. Changes nothing."""

from typing import NamedTuple
from uuid import UUID

from ghasi.billing.ledger import verifying_queries as queries
from ghasi.storage.pool import Pool


class Difference(NamedTuple):
    """Something that is not what it should be, in micros."""

    what: str
    account_id: UUID
    subject: str
    kept_micros: int
    counted_micros: int


async def verify(pool: Pool) -> list[Difference]:
    """Recount everything, as of one moment, and return what differs.

    Transactions add up to zero, books are the sums of their entries, and each entry follows the one before; what is
    owed for an invoice is what it says is due, what accounts have spent is what their messages were charged, and what
    is held is the sum of the holds.
    """
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        return [
            Difference(what, *row) for what, query in queries.CHECKS.items() for row in await connection.fetch(query)
        ]
