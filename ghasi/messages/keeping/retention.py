"""Housekeeping of messages: what is kept how long, and that no message waits for its end for ever.

Owns the ages. A message without a receipt becomes unknown 72 h after its validity has ended; until 7 days after that
its submissions are kept, so that a late receipt still corrects it. Texts of ended messages go after
`GHASI_BODY_RETENTION_DAYS`, never those of messages on their way. Every sweep goes through messages once, by id, in
bounded batches, and writes down how far it has come in the transaction of each batch: a restart repeats nothing,
several processes share the work, and no index holds a column that changes. Ends messages only through the ledger.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import structlog
from prometheus_client import Counter

from ghasi.contract.shapes import FINAL_STATUSES
from ghasi.contract.values import first_id, id_time
from ghasi.messages.dispatch.ledger import RECEIPTS_WITHIN, Ending, Ledger, Submitted
from ghasi.messages.keeping import partition_queries, queries, redaction
from ghasi.messages.keeping.queries import Awaited, Sweep
from ghasi.messages.model import DEFAULT_VALIDITY_S
from ghasi.storage.events.carrier import prune_old
from ghasi.storage.pool import Connection, Pool
from ghasi.storage.resources import Resources

SHORTEST_VALIDITY, LONGEST_VALIDITY = timedelta(seconds=60), timedelta(hours=48)
LONGEST_AHEAD = timedelta(days=30)
"""How far ahead a message may be scheduled."""
CORRECTED_WITHIN = timedelta(days=7)
"""After a message became unknown."""
SUBMISSIONS_KEPT = LONGEST_VALIDITY + RECEIPTS_WITHIN + CORRECTED_WITHIN
OUTBOX_KEPT = timedelta(hours=1)
"""After every consumer has read: what is in the outbox still holds texts."""
KEYS_KEPT = timedelta(hours=24)
LOOK_AGAIN = timedelta(hours=1)
BATCH, MOST_BATCHES = 2000, 100
"""A sweep takes up to 200,000 messages a minute: 3,300 a second, so that it catches up."""
ENDED_AT_ONCE = 500

log = structlog.get_logger("ghasi.messages")
_bodies = Counter("ghasi_bodies_deleted_total", "Texts of messages that were deleted because of their age")


async def keep_house(resources: Resources) -> None:
    """Do a minute's housekeeping: texts of their age, copies of deleted ones, old rows, partitions ahead of time.

    A step that fails is logged and tried again the next time; the others go on.
    """
    pool, now = resources.pool, datetime.now(UTC)
    steps: list[tuple[str, Callable[[], Awaitable[object]]]] = [
        ("expired", partial(_forget_expired, pool)),
        ("submissions", partial(forget_submissions, pool, now)),
        ("bodies", partial(delete_bodies, pool, resources.settings.body_retention_days, now)),
        ("copies", partial(redaction.delete_copies, pool, resources.bells, resources.events)),
        ("outbox", partial(prune_old, resources.events, "messages", OUTBOX_KEPT)),
        ("partitions", partial(partition_queries.make_partitions, pool)),
    ]
    for name, step in steps:
        try:
            await step()
        except Exception as error:  # noqa: BLE001 - each step stands alone, and comes again in a minute
            log.warning("housekeeping_failed", step=name, error=type(error).__name__, detail=str(error))


async def end_unreceipted(pool: Pool, ledger: Ledger, now: datetime | None = None) -> int:
    """End messages whose receipt is out of the question as `unknown`; return how many were handed to the ledger.

    Each message is looked at once, 72 h after the shortest validity there is; one that has not ended by then is awaited
    until its own time. `now` is for tests.
    """
    now = now or datetime.now(UTC)
    await _sweep(pool, "receipts", first_id(now - RECEIPTS_WITHIN - SHORTEST_VALIDITY), _await_open)
    ended = 0
    for _ in range(MOST_BATCHES):
        due = await queries.list_awaited(pool, now, ENDED_AT_ONCE)
        if not due:
            break
        overdue = [one.message_id for one in due if _is_unreceipted(one)]
        if overdue:
            ending = Ending("unknown", "no_receipt", of=("accepted", "sent"))
            await ledger.put([Submitted(message_id, ending=ending) for message_id in overdue])
            ended += len(overdue)
        later = [(one.message_id, _again_at(one, now)) for one in due if _is_open(one) and not _is_unreceipted(one)]
        if later:
            await queries.postpone_awaited(pool, later)
        postponed = {message_id for message_id, _ in later}
        # after the ledger's commit: should this process end in between, the next finds them ended
        await queries.delete_awaited(pool, [one.message_id for one in due if one.message_id not in postponed])
    if ended:
        log.info("messages_without_receipt", ended=ended)
    return ended


def _is_open(one: Awaited) -> bool:
    return one.status is not None and one.status not in FINAL_STATUSES


def _is_unreceipted(one: Awaited) -> bool:
    """Whether a message was handed over and waits for nothing but its receipt."""
    return one.status == "sent" or (one.status == "accepted" and one.expires_at is None)


def _again_at(one: Awaited, now: datetime) -> datetime:
    """Say when to look again at a message that is still to be submitted: it was released late."""
    start = one.expires_at or (one.send_at or now) + timedelta(seconds=one.validity_s or DEFAULT_VALIDITY_S)
    return max(start + RECEIPTS_WITHIN, now + LOOK_AGAIN)


async def _await_open(connection: Connection, after: UUID, until: UUID) -> int:
    rows = await queries.list_open(connection, after, until)
    awaited = []
    for message_id, accepted_at, send_at, validity_s in rows:
        start = accepted_at or send_at or id_time(message_id)
        awaited.append((message_id, start + timedelta(seconds=validity_s or DEFAULT_VALIDITY_S) + RECEIPTS_WITHIN))
    if awaited:
        await queries.insert_awaited(connection, awaited)
    return len(awaited)


async def delete_bodies(pool: Pool, days: int | None, now: datetime) -> int:
    """Delete the texts of ended messages older than `days` (None: keep them); return how many. Catches up in batches.

    Messages on their way keep theirs; once they have ended it goes, with its copies.
    """
    if days is None:
        return 0
    age = timedelta(days=days)

    async def delete(connection: Connection, after: UUID, until: UUID) -> int:
        return await queries.delete_bodies(connection, after, until, id_time(after) + age)

    deleted = await _sweep(pool, "bodies", first_id(now - age), delete)
    for _ in range(MOST_BATCHES):
        async with pool.acquire() as connection, connection.transaction():
            after = await queries.take_sweep(connection, "late_bodies")
            if after is None:
                break
            late = await queries.list_late_bodies(connection, after, BATCH)
            if late:
                ended = await queries.delete_late_bodies(connection, late)
                await queries.insert_redactions(connection, ended)
                deleted += len(ended)
            # from the beginning again once the end was reached
            await queries.move_sweep(connection, "late_bodies", late[-1] if len(late) == BATCH else UUID(int=0))
        if len(late) < BATCH:
            break
    if deleted:
        _bodies.inc(deleted)
        log.info("bodies_deleted", messages=deleted, older_than_days=days)
    return deleted


async def forget_submissions(pool: Pool, now: datetime) -> None:
    """Delete submissions from which no receipt is expected any more.

    A message's age is not its submission's: a scheduled one is submitted up to 30 days later. The first sweep takes
    what is old by both, the second what scheduled messages have left.
    """
    older_than = now - SUBMISSIONS_KEPT

    async def delete(connection: Connection, after: UUID, until: UUID) -> int:
        await queries.delete_submissions(connection, after, until, older_than)
        return 0

    for sweep, before in (("submissions", older_than), ("late_submissions", older_than - LONGEST_AHEAD)):
        await _sweep(pool, sweep, first_id(before), delete, queries.find_submissions_end)  # type: ignore[arg-type]


Step = Callable[[Connection, UUID, UUID], Awaitable[int]]
"""Handles the messages of a range of ids, first exclusive and last inclusive, within the sweep's transaction."""
FindEnd = Callable[[Connection, UUID, UUID, int], Awaitable[UUID | None]]


async def _sweep(pool: Pool, sweep: Sweep, before: UUID, step: Step, find_end: FindEnd = queries.find_end) -> int:
    """Go on with a sweep up to an id, a batch a transaction; return the sum of what the steps returned."""
    done = 0
    for _ in range(MOST_BATCHES):
        async with pool.acquire() as connection, connection.transaction():
            after = await queries.take_sweep(connection, sweep)
            if after is None or after >= before:
                break
            until = await find_end(connection, after, before, BATCH)
            if until is None:
                # nothing lies between: none will come there any more, and months without messages are passed at once
                await queries.move_sweep(connection, sweep, UUID(int=before.int - 1))
                break
            done += await step(connection, after, until)
            await queries.move_sweep(connection, sweep, until)
    return done


async def _forget_expired(pool: Pool) -> None:
    for _ in range(MOST_BATCHES):
        if not await queries.delete_expired(pool, KEYS_KEPT, BATCH):
            break
