"""Canceling a message that no carrier has had.

Owns who wins of a cancel, a release and a claim: whoever locks first. A claim marks its row in doubt in the statement
that takes it, before anything is submitted, and a cancel takes only rows that are in no doubt.
"""

from datetime import UTC, datetime
from uuid import UUID

from prometheus_client import Counter

from ghasi.contract.errors import Problem
from ghasi.contract.serving import Caller
from ghasi.contract.shapes import MessageDetail
from ghasi.messages.dispatch.lifecycle import end
from ghasi.messages.model import Stored, detail, status_event
from ghasi.messages.sending import scheduling_queries as queries
from ghasi.messages.sending.queries import lock_message
from ghasi.storage.bells import Bells
from ghasi.storage.events import outbox
from ghasi.storage.pool import Connection, Pool

_canceled = Counter("ghasi_messages_canceled_total", "Messages canceled before they were sent")


async def cancel_message(pool: Pool, bells: Bells, caller: Caller, message_id: UUID) -> MessageDetail:
    """Cancel one of the account's messages for good and return it; one that is canceled already stays so.

    Raises Problem not_found; not_cancelable when it was sent, has ended or came from a phone, and while it is being
    handed to a carrier.
    """
    async with pool.acquire() as connection, connection.transaction():
        message = await lock_message(connection, caller.account_id, message_id)
        if message is None:
            raise Problem("not_found")
        if message.status == "canceled":
            return detail(message)
        if not await _take_out(connection, message):
            raise Problem("not_cancelable", f"its status is {message.status}")
        now = datetime.now(UTC)
        end(message, "canceled", at=now, error_code=None, error_detail=None)
        await queries.write_unsent(connection, [message])
        await outbox.append(connection, "messages", [status_event(message, now)])
    _canceled.inc()
    bells.ring("messages")
    return detail(message)


async def _take_out(connection: Connection, message: Stored) -> bool:
    """Take a locked message out of the schedule or the dispatch queue; return whether it could still be stopped."""
    if message.status == "scheduled":
        await queries.end_schedule(connection, [message.id])
        return True
    # two statements: what a carrier has said is looked up once the row is locked, and so all that was said is seen
    return (
        message.status == "accepted"
        and await queries.lock_untouched(connection, message.id)
        and await queries.end_unsubmitted(connection, message.id)
    )
