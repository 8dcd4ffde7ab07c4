"""The months of messages.messages: what there is, and taking one out of the table.

A partition is detached by one short statement under a lock that whoever reads or writes messages waits for, so it is
waited for only briefly and tried again: PostgreSQL's DETACH ... CONCURRENTLY is refused where there is a default
partition. A detached month is a table by itself, which nothing of Ghasi reads any more.
"""

import asyncio
import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import asyncpg
import structlog

from ghasi.contract.errors import Problem
from ghasi.contract.values import first_id
from ghasi.messages.keeping import partition_queries, queries
from ghasi.messages.keeping.retention import LONGEST_AHEAD, SUBMISSIONS_KEPT
from ghasi.storage import audit
from ghasi.storage.pool import Pool

LOCK_TIMEOUT_MS = 300
"""What others may have to wait for, once a try."""
TRIES, PAUSE_S = 40, 0.5
NEEDED_FOR = LONGEST_AHEAD + SUBMISSIONS_KEPT
"""After its end a month may still hold a scheduled message, or one that a receipt may correct."""
_MONTH = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])")
log = structlog.get_logger("ghasi.messages")


@dataclass(frozen=True, slots=True)
class Partition:
    """A month of messages; `rows` is an estimate (-1: not counted yet), `size_bytes` counts its indexes too.

    `month` is None for messages_other, which takes what no month has claimed.
    """

    table: str
    month: str | None
    rows: int
    size_bytes: int
    attached: bool


@dataclass(frozen=True, slots=True)
class Detached:
    """A month that was taken out; `first` and `beyond` are the bounds of its ids."""

    table: str
    month: str
    first: UUID
    beyond: UUID
    dropped: bool
    tries: int


async def list_partitions(pool: Pool) -> list[Partition]:
    """Return all months, attached or not, the newest first."""
    return [Partition(*row) for row in await partition_queries.list_partitions(pool)]


async def detach(pool: Pool, month: str, *, drop: bool, actor: str, now: datetime | None = None) -> Detached:
    """Take a month (YYYY-MM) out of messages.messages, and with `drop` delete it. Dropping a detached one is possible.

    Raises Problem: invalid_request for a month that is none, is needed still or has been looked at by no sweep,
    not_found, service_unavailable while the lock cannot be had.
    """
    now = now or datetime.now(UTC)
    begin = _read_month(month)
    end = begin + timedelta(days=monthrange(begin.year, begin.month)[1])
    first, beyond = (_bound(datetime(day.year, day.month, 1, tzinfo=UTC)) for day in (begin, end))
    table = f"messages_{begin:%Y_%m}"
    known = {one.table: one for one in await list_partitions(pool)}.get(table)
    if known is None:
        raise Problem("not_found", f"There are no messages of {month}.")
    tries = 0
    if known.attached:
        _check_age(month, end, now)
        await _check_needed(pool, month, first, beyond)
        tries = await _detach(pool, table)
        await audit.record(pool, actor=actor, action="partition.detached", subject=table)
        log.info("partition_detached", table=table, tries=tries)
    elif not drop:
        raise Problem("invalid_request", f"{month} is detached already; --drop deletes it")
    if drop:
        await partition_queries.drop_partition(pool, table)
        await audit.record(pool, actor=actor, action="partition.dropped", subject=table)
    return Detached(table, month, first, beyond, drop, tries)


async def detach_before(
    pool: Pool, month: str, *, drop: bool, actor: str, now: datetime | None = None
) -> list[Detached]:
    """Detach all months before one, the oldest first, and return them; what was detached before stays as it is.

    Raises Problem as `detach` does, for the first month that has to stay; those before it are detached by then.
    """
    beyond = f"{_read_month(month):%Y-%m}"
    known = await list_partitions(pool)
    old = sorted(one.month for one in known if one.attached and one.month is not None and one.month < beyond)
    return [await detach(pool, each, drop=drop, actor=actor, now=now) for each in old]


def _read_month(month: str) -> date:
    found = _MONTH.fullmatch(month)
    if found is None or found[1] == "0000":
        raise Problem("invalid_request", f"{month!r} is no month such as 2026-05")
    return date(int(found[1]), int(found[2]), 1)


def _bound(at: datetime) -> UUID:
    """Return the least id of a time as messages.first_id does: its version's bits are not set."""
    return UUID(int=first_id(at).int >> 80 << 80)


def _check_age(month: str, end: date, now: datetime) -> None:
    free = datetime(end.year, end.month, end.day, tzinfo=UTC) + NEEDED_FOR
    if now < free:
        raise Problem(
            "invalid_request",
            f"{month} is needed until {free:%Y-%m-%d}: messages of it may be scheduled, or get a late receipt",
        )


async def _check_needed(pool: Pool, month: str, first: UUID, beyond: UUID) -> None:
    """Refuse while a message of the month is on its way, or housekeeping has not come past it."""
    if await queries.find_sweep(pool, "receipts") < UUID(int=beyond.int - 1):
        raise Problem("invalid_request", f"housekeeping has not looked at all messages of {month} yet: is a worker up?")
    waiting = await partition_queries.count_on_their_way(pool, first, beyond)
    if waiting:
        raise Problem("invalid_request", f"{waiting} messages of {month} have not ended yet")


async def _detach(pool: Pool, table: str) -> int:
    for number in range(1, TRIES + 1):
        try:
            async with pool.acquire() as connection, connection.transaction():
                await partition_queries.detach_partition(connection, table, LOCK_TIMEOUT_MS)
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            await asyncio.sleep(PAUSE_S)
        else:
            return number
    raise Problem(
        "service_unavailable", f"{table} is in use: the lock was not to be had in {TRIES} tries; try again later"
    )
