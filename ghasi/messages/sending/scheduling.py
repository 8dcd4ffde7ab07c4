"""Messages that are to be sent at a time: when that may be, and their release once it has come.

Owns the step from scheduled to accepted, or to an end where the message may not be sent any more. The schedule is in
the database alone, so that a restart forgets nothing, and whoever locks a message releases it: no two ever do.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prometheus_client import Counter

from ghasi.contract.errors import invalid
from ghasi.messages.dispatch.lifecycle import end
from ghasi.messages.model import Stored, status_event
from ghasi.messages.senders.opt_outs import find_opted_out
from ghasi.messages.sending import scheduling_queries as queries
from ghasi.storage.bells import Bells
from ghasi.storage.events import outbox
from ghasi.storage.pool import Connection, Pool

SOONEST, LATEST = timedelta(minutes=5), timedelta(days=30)
MOST_RELEASED = 500
"""In one transaction: some 50 ms."""
MOST_ROUNDS = 20
_USED_UP = {"insufficient_balance": "balance_used_up", "spending_limit_reached": "limit_used_up"}
_released = Counter(
    "ghasi_messages_released_total", "Scheduled messages that came due, by what became of them", ["status"]
)


def check_send_at(send_at: datetime, now: datetime) -> None:
    """Raise Problem invalid_send_at unless a time is 5 minutes to 30 days ahead, both included."""
    if not SOONEST <= send_at - now <= LATEST:
        raise invalid("send_at", "must be 5 minutes to 30 days from now", "invalid_send_at")


async def release_due(pool: Pool, bells: Bells) -> int:
    """Release the messages whose time has come, and return how many; at most 10,000 of them, the earliest first.

    One whose recipient has opted out, whose account was suspended or whose account's money is used up ends as failed
    instead. What it costs was held since it was accepted: that others have used up the rest is no reason.
    """
    released = 0
    for _ in range(MOST_ROUNDS):
        due = await queries.list_due(pool, MOST_RELEASED)
        if not due:
            break
        async with pool.acquire() as connection, connection.transaction():
            messages = await _release(connection, due)
        for message in messages:
            _released.labels(message.status).inc()
        if messages:
            bells.ring("dispatch")
            bells.ring("messages")
        released += len(messages)
        if len(messages) < MOST_RELEASED:
            break
    return released


async def _release(connection: Connection, due: Sequence[UUID]) -> list[Stored]:
    """Release those of the due messages that nobody else is releasing or canceling; return them as they are then."""
    messages = await queries.lock_scheduled(connection, due)
    if not messages:
        return []
    suspended = await queries.list_suspended(connection, {message.account_id for message in messages})
    exhausted = await queries.list_exhausted(connection, {message.account_id for message in messages})
    opted_out = await find_opted_out(
        connection, [(message.account_id, message.sender, message.recipient) for message in messages]
    )
    now = datetime.now(UTC)
    for message in messages:
        if message.account_id in suspended:
            end(message, "failed", at=now, error_code="suspended", error_detail=None)
        elif (status := exhausted.get(message.account_id)) is not None:
            end(message, "failed", at=now, error_code=_USED_UP[status], error_detail=None)
        elif (message.account_id, message.sender, message.recipient) in opted_out:
            end(message, "failed", at=now, error_code="opted_out", error_detail=None)
        else:
            message.status = "accepted"
            message.sequence += 1
            message.accepted_at = now if message.send_at is None else max(now, message.send_at)
    await queries.end_schedule(connection, [message.id for message in messages])
    await queries.write_unsent(connection, messages)
    accepted = [message for message in messages if message.status == "accepted"]
    if accepted:
        await queries.insert_dispatch(connection, accepted)
    await outbox.append(connection, "messages", [status_event(message, now) for message in messages])
    return messages
