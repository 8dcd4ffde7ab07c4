"""Deletes messages' texts from what is kept of deliveries: at once when messages says so, and after their age.

Owns the internal event `message.redacted`, which is delivered to nobody. A delivery that is still pending goes out
without the text; its signature is made as it is sent. An attempt under way may carry it still.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from ghasi.contract.values import first_id
from ghasi.storage.events.carrier import Events
from ghasi.storage.pool import Connection, Pool
from ghasi.webhooks import redaction_queries as queries

REDACTED_EVENT = "message.redacted"
BATCH, MOST_BATCHES = 500, 200
BEHIND = timedelta(hours=1)
"""The last event of a message that ended in time has been read by then; of one that ended later messages tells."""


async def delete_texts(connection: Connection, message_ids: Sequence[UUID]) -> None:
    """Delete the texts of messages from stored payloads, and what endpoints answered to them; safe to repeat."""
    events = await queries.lock_bodies(connection, message_ids)
    rewritten = [(event_id, _without_text(body)) for event_id, body in events]
    if rewritten:
        await queries.rewrite_bodies(connection, rewritten)
        await queries.delete_responses(connection, [event_id for event_id, _ in rewritten])


async def delete_old_texts(pool: Pool, events: Events, days: int | None, now: datetime | None = None) -> None:
    """Delete the texts of messages older than `days` (None: keep them), in batches; `now` is for tests."""
    now = now or datetime.now(UTC)
    if days is None or not await events.has_read_until("messages", "webhooks", now - BEHIND):
        return
    before = first_id(now - timedelta(days=days) - BEHIND)
    for _ in range(MOST_BATCHES):
        async with pool.acquire() as connection, connection.transaction():
            after = await queries.take_sweep(connection)
            if after is None or after >= before:
                return
            messages = await queries.list_messages(connection, after, before, BATCH)
            if messages:
                await delete_texts(connection, messages)
            await queries.move_sweep(connection, messages[-1] if messages else UUID(int=before.int - 1))
        if not messages:
            return


def _without_text(body: str) -> str:
    payload: dict[str, Any] = msgspec.json.decode(body)
    payload["data"]["body"] = None
    return msgspec.json.encode(payload).decode()
