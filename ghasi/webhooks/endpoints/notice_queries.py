"""The SQL of events about endpoints: who wants them, what they tell of deliveries, and writing them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ghasi.contract.shapes import WEBHOOK_EVENT_DATA
from ghasi.storage.pool import Connection


@dataclass(frozen=True, slots=True)
class Listener:
    """An enabled endpoint, which may ask for events about others; `warned` when it has failed for a day itself."""

    id: UUID
    account_id: UUID
    events: list[str]
    warned: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """A delivery that is over: whose, to where, and of what."""

    endpoint_id: UUID
    event_id: UUID
    account_id: UUID
    url: str
    event_type: str
    message_id: UUID | None


async def list_listeners(connection: Connection, account_ids: Sequence[UUID]) -> list[Listener]:
    """Return the enabled endpoints of accounts."""
    rows = await connection.fetch(
        """
        SELECT id, account_id, events, failing_since IS NOT NULL AND warned > 0 FROM webhooks.endpoints
        WHERE account_id = ANY($1) AND enabled AND deleted_at IS NULL
        """,
        account_ids,
    )
    return [Listener(*row) for row in rows]


async def list_ended(connection: Connection, deliveries: Sequence[tuple[UUID, UUID]]) -> list[Ended]:
    """Return deliveries, given as (endpoint, event), save those of events that are about endpoints themselves."""
    rows = await connection.fetch(
        """
        SELECT endpoints.id, events.id, endpoints.account_id, endpoints.url, events.type, events.message_id
        FROM unnest($1::uuid[], $2::uuid[]) AS ended (endpoint_id, event_id)
            JOIN webhooks.endpoints ON endpoints.id = ended.endpoint_id AND endpoints.deleted_at IS NULL
            JOIN webhooks.events ON events.id = ended.event_id
        WHERE events.type <> ALL($3::text[])
        """,
        [endpoint_id for endpoint_id, _ in deliveries],
        [event_id for _, event_id in deliveries],
        list(WEBHOOK_EVENT_DATA),
    )
    return [Ended(*row) for row in rows]


async def insert(
    connection: Connection,
    events: Sequence[tuple[UUID, UUID, str, datetime, str]],
    deliveries: Sequence[tuple[UUID, UUID]],
) -> None:
    """Insert events (id, account, type, time, body) and their deliveries (endpoint, event), which are due at once."""
    await connection.execute(
        """
        WITH written AS (
            INSERT INTO webhooks.events (id, account_id, type, at, body)
            SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[], $5::text[])
        )
        INSERT INTO webhooks.pending (endpoint_id, event_id, due_at, queued_at)
        SELECT new.endpoint_id, new.event_id, now(), clock_timestamp()
        FROM unnest($6::uuid[], $7::uuid[]) AS new (endpoint_id, event_id)
        """,
        *([event[place] for event in events] for place in range(5)),
        [endpoint_id for endpoint_id, _ in deliveries],
        [event_id for _, event_id in deliveries],
    )
