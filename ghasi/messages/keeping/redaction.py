"""Deletes a message's text for good, on request: in the message, and wherever a copy of it was kept.

Owns where copies are: the answers kept for Idempotency-Key and the outbox here, the stored payloads of deliveries with
webhooks, which an event tells. That event, `message.redacted`, is internal: no customer's endpoint gets it.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import structlog

from ghasi.contract.errors import Problem
from ghasi.contract.serving import Caller
from ghasi.contract.shapes import FINAL_STATUSES, MessageDetail
from ghasi.contract.values import id_time, new_id
from ghasi.messages.keeping import queries
from ghasi.messages.model import Stored, detail, resource
from ghasi.messages.sending.queries import lock_message
from ghasi.storage import audit
from ghasi.storage.bells import Bells
from ghasi.storage.events import outbox
from ghasi.storage.events.carrier import Events
from ghasi.storage.events.outbox import Event
from ghasi.storage.pool import Connection, Pool

REDACTED_EVENT = "message.redacted"
STORED_FROM, STORED_UNTIL = timedelta(minutes=-1), timedelta(minutes=5)
"""From a message's id: the answer to its request is stored when it is accepted, once it has waited for the database;
clocks differ."""
TOLD_AT_ONCE, REWRITTEN_AT_ONCE = 500, 500
log = structlog.get_logger("ghasi.messages")


async def redact_message(
    pool: Pool, bells: Bells, caller: Caller, message_id: UUID, request_id: str | None
) -> MessageDetail:
    """Delete the text of an ended or received message, and return the message. Idempotent.

    When this returns, it is gone from the message and from answers to be replayed; what webhooks and the outbox keep
    follows within two minutes. Raises Problem: not_found, not_redactable.
    """
    async with pool.acquire() as connection, connection.transaction():
        message = await lock_message(connection, caller.account_id, message_id)
        if message is None:
            raise Problem("not_found")
        if message.status not in FINAL_STATUSES:
            raise Problem("not_redactable")
        if message.body is None:
            return detail(message)
        message.body = None
        await queries.delete_body(connection, caller.account_id, message_id)
        await _forget_responses(connection, caller.account_id, message_id)
        await queries.insert_redactions(connection, [message_id])
        await audit.record(
            connection,
            actor=f"key:{caller.credential}" if caller.is_api_key else f"user:{caller.user_id}",
            action="message.redacted",
            subject=str(message_id),
            account_id=caller.account_id,
            request_id=request_id,
        )
    await tell(pool, bells)  # should this process end here, housekeeping tells
    return detail(message)


async def _forget_responses(connection: Connection, account_id: UUID, message_id: UUID) -> None:
    """Take a message's text out of what is replayed for an Idempotency-Key: a single answer or a batch's."""
    at = id_time(message_id)
    rows = await queries.list_responses_with(connection, account_id, message_id, at + STORED_FROM, at + STORED_UNTIL)
    for route, key, response in rows:  # one request's answer: there is never a second
        said = msgspec.json.decode(response)
        items = [item.get("message") for item in said["data"]] if "data" in said else [said]
        for item in items:
            if item is not None and item["id"] == str(message_id):
                item["body"] = None
        await queries.rewrite_response(connection, account_id, route, key, msgspec.json.encode(said).decode())


async def tell(pool: Pool, bells: Bells) -> None:
    """Tell webhooks of deleted texts, in a transaction that begins after the deletion was committed.

    The order of the outbox is that of transactions, so that whatever event held the text lies before this one.
    """
    while True:
        async with pool.acquire() as connection, connection.transaction():
            messages, now = await queries.take_untold(connection, TOLD_AT_ONCE), datetime.now(UTC)
            await outbox.append(connection, "messages", [_event(message, now) for message in messages])
        if messages:
            bells.ring("messages")
        if len(messages) < TOLD_AT_ONCE:
            return


def _event(message: Stored, now: datetime) -> Event:
    data = outbox.to_json(resource(message))
    return Event(new_id(), REDACTED_EVENT, message.account_id, message.id, message.sequence, now, data)


async def delete_copies(pool: Pool, bells: Bells, events: Events) -> None:
    """Tell of deleted texts and take them out of events; a text of which none is left there is done with."""
    await tell(pool, bells)
    while told := await queries.list_told(pool, REWRITTEN_AT_ONCE):
        ids = list(told)
        while rows := await queries.list_events_with_text(pool, ids, REWRITTEN_AT_ONCE):
            await queries.rewrite_events(
                pool, [(xid, event_id, _without_text(data) or data) for xid, event_id, data in rows]
            )
        # a month is detached long after anybody has kept its events
        known = {message_id: account_id for message_id, account_id in told.items() if account_id is not None}
        await events.rewrite("messages", known, _without_text)
        await queries.delete_redactions(pool, ids)
        log.info("copies_deleted", messages=len(ids))


def _without_text(data: str) -> str | None:
    """Return a message without its text, None where it has none."""
    message: dict[str, Any] = msgspec.json.decode(data)
    if message.get("body") is None:
        return None
    message["body"] = None
    return msgspec.json.encode(message).decode()
