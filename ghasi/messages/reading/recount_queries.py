"""SQL of what a recount of usage reads of messages, in the order of their ids, so many at a time."""

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from ghasi.storage.pool import Pool

_COLUMNS = """id, account_id, direction, recipient, sender, country, segments, status, send_at, accepted_at, sent_at,
    completed_at, price_micros, carrier_class"""


class Told(NamedTuple):
    """What a message says that usage and charges are to agree with."""

    id: UUID
    account_id: UUID
    direction: str
    recipient: str
    sender: str | None
    country: str | None
    segments: int
    status: str
    send_at: datetime | None
    accepted_at: datetime | None
    sent_at: datetime | None
    completed_at: datetime | None
    price_micros: int | None
    carrier_class: str | None


async def list_told(pool: Pool, after: UUID, beyond: UUID, account_id: UUID | None, most: int) -> list[Told]:
    """Return messages between two ids, both exclusive, of one account or of all, the first ones."""
    rows = await pool.fetch(
        f"""
        SELECT {_COLUMNS} FROM messages.messages
        WHERE id > $1 AND id < $2 AND ($3::uuid IS NULL OR account_id = $3) ORDER BY id LIMIT $4
        """,
        after,
        beyond,
        account_id,
        most,
    )
    return [Told._make(row) for row in rows]


async def list_told_of(pool: Pool, ids: Collection[UUID]) -> list[Told]:
    """Return messages by their ids."""
    rows = await pool.fetch(
        f"SELECT {_COLUMNS} FROM messages.messages WHERE id = ANY($1) AND id BETWEEN $2 AND $3",
        list(ids),
        min(ids),
        max(ids),
    )
    return [Told._make(row) for row in rows]
