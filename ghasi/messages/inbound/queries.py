"""All SQL of what phones send. One function a statement, each for a whole batch."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from ghasi.messages.inbound.reassembly import MOST_ALIKE, HeldPart, Key
from ghasi.storage.pool import Connection, Pool

_COLUMNS = ", ".join(HeldPart.__dataclass_fields__)
_LOCKS = 0x696E62
"""The class of advisory locks on conversations ("inb")."""


@dataclass(frozen=True, slots=True)
class Received:
    """An inbound message on its way into the database."""

    id: UUID
    account_id: UUID
    recipient: str
    sender: str
    body: str
    encoding: Literal["gsm7", "ucs2"]
    segments: int
    country: str | None
    carrier: str
    carrier_class: str | None
    at: datetime


async def lock_conversations(connection: Connection, hashes: Collection[int]) -> None:
    """Wait until no other transaction takes parts of these conversations; few locks, taken in one order."""
    await connection.execute(
        "SELECT pg_advisory_xact_lock($1, hash) FROM (SELECT unnest($2::int[]) AS hash ORDER BY hash) AS ordered",
        _LOCKS,
        sorted(set(hashes)),
    )


async def list_parts(connection: Connection, keys: Collection[Key], committed_after: datetime) -> list[HeldPart]:
    """Return what is held of messages, the oldest first: what waits, and what became a message after a time.

    Of each key the newest: those of a message that waits are among them, since it has fewer parts.
    """
    rows = await connection.fetch(
        f"""
        SELECT found.* FROM unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::smallint[])
            AS asked (carrier, sender, recipient, reference, parts)
        CROSS JOIN LATERAL (
            SELECT held.* FROM (SELECT {_COLUMNS} FROM messages.inbound_parts) AS held
            WHERE held.carrier = asked.carrier AND held.sender = asked.sender AND held.recipient = asked.recipient
              AND held.reference = asked.reference AND held.parts = asked.parts
              AND (message_id IS NULL OR committed_at > $6)
            ORDER BY held.id DESC LIMIT {MOST_ALIKE}
        ) AS found
        ORDER BY found.id
        """,
        *_columns(keys),
        committed_after,
    )
    return [HeldPart(*row.values()) for row in rows]


async def list_late(connection: Connection | Pool, arrived_before: datetime, most: int) -> list[Key]:
    """Return up to `most` messages of which a part has waited since before a time, the oldest first."""
    rows = await connection.fetch(
        """
        SELECT carrier, sender, recipient, reference, parts FROM (
            SELECT carrier, sender, recipient, reference, parts, arrived_at FROM messages.inbound_parts
            WHERE message_id IS NULL AND arrived_at <= $1 ORDER BY arrived_at LIMIT $2
        ) AS late
        GROUP BY carrier, sender, recipient, reference, parts ORDER BY min(arrived_at)
        """,
        arrived_before,
        most,
    )
    return [(row["carrier"], row["sender"], row["recipient"], row["reference"], row["parts"]) for row in rows]


async def insert_parts(connection: Connection, parts: Sequence[HeldPart]) -> None:
    """Write parts; of those that are in a message already, not what they say."""
    await connection.execute(
        f"""
        INSERT INTO messages.inbound_parts ({_COLUMNS})
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::int[], $6::smallint[],
                             $7::smallint[], $8::text[], $9::bytea[], $10::bytea[], $11::text[], $12::timestamptz[],
                             $13::timestamptz[], $14::uuid[])
        """,
        [part.id for part in parts],
        [part.carrier for part in parts],
        [part.sender for part in parts],
        [part.recipient for part in parts],
        [part.reference for part in parts],
        [part.parts for part in parts],
        [part.part for part in parts],
        [part.encoding for part in parts],
        [part.payload if part.message_id is None else None for part in parts],
        [part.digest for part in parts],
        [part.session for part in parts],
        [part.arrived_at for part in parts],
        [part.committed_at for part in parts],
        [part.message_id for part in parts],
    )


async def end_parts(connection: Connection, parts: Sequence[HeldPart], now: datetime) -> None:
    """Note which message parts are in now, and forget what they say."""
    await connection.execute(
        """
        UPDATE messages.inbound_parts AS held SET message_id = ended.message_id, payload = NULL, committed_at = $3
        FROM unnest($1::uuid[], $2::uuid[]) AS ended (id, message_id) WHERE held.id = ended.id
        """,
        [part.id for part in parts],
        [part.message_id for part in parts],
        now,
    )


async def insert_received(connection: Connection, messages: Sequence[Received]) -> None:
    """Write inbound messages: they are received when they are made, and never change."""
    await connection.execute(
        """
        INSERT INTO messages.messages (id, account_id, direction, recipient, sender, body, encoding, segments, country,
                                       carrier, carrier_class, status, completed_at)
        SELECT id, account_id, 'inbound', recipient, nullif(sender, ''), body, encoding, segments, country, carrier,
               carrier_class, 'received', at
        FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::smallint[], $8::text[],
                    $9::text[], $10::text[], $11::timestamptz[])
             AS new (id, account_id, recipient, sender, body, encoding, segments, country, carrier, carrier_class, at)
        """,
        [message.id for message in messages],
        [message.account_id for message in messages],
        [message.recipient for message in messages],
        [message.sender for message in messages],
        [message.body for message in messages],
        [message.encoding for message in messages],
        [message.segments for message in messages],
        [message.country for message in messages],
        [message.carrier for message in messages],
        [message.carrier_class for message in messages],
        [message.at for message in messages],
    )


async def forget_parts(pool: Pool, committed_before: datetime, most: int) -> int:
    """Forget up to `most` parts that became a message before a time; return how many."""
    status: str = await pool.execute(
        """
        DELETE FROM messages.inbound_parts WHERE id IN (
            SELECT id FROM messages.inbound_parts
            WHERE message_id IS NOT NULL AND committed_at < $1 ORDER BY committed_at LIMIT $2
        )
        """,
        committed_before,
        most,
    )
    return int(status.removeprefix("DELETE "))


def _columns(keys: Collection[Key]) -> list[list[str | int]]:
    return [list(column) for column in zip(*keys, strict=True)]
