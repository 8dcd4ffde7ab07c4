"""What a message costs the database from POST to its receipt, in counts that no machine's mood changes.

The bounds are little above what was seen: a change that doubles the work has to be a decision.
"""

import asyncio
from dataclasses import dataclass

from ghasi.storage.pool import Pool
from tests.messages.conftest import Customer, Worker

MESSAGES, AT_ONCE, WAL_OCTETS = 1200, 60, 4100
TABLES = "relname LIKE 'messages\\_2%' OR relname IN ('dispatch', 'submissions', 'outbox')"


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows written, updates of messages and how many of them stayed on their page, and octets of WAL."""

    inserted: int
    updated: int
    deleted: int
    moved: int
    moved_on_page: int
    wal: int


async def read_counts(pool: Pool) -> Counts:
    row = await pool.fetchrow(
        f"""
        SELECT sum(n_tup_ins)::int, sum(n_tup_upd)::int, sum(n_tup_del)::int,
            sum(n_tup_upd) FILTER (WHERE relname LIKE 'messages\\_2%')::int,
            sum(n_tup_hot_upd) FILTER (WHERE relname LIKE 'messages\\_2%')::int,
            (pg_current_wal_lsn() - '0/0')::bigint
        FROM pg_stat_user_tables WHERE schemaname = 'messages' AND ({TABLES})
        """
    )
    return Counts(*row)


async def settled_counts(pool: Pool) -> Counts:
    """What is counted when every connection has told its part: with its next transaction, a second after the last."""
    await asyncio.sleep(1.2)
    await asyncio.gather(*(pool.fetchval("SELECT pg_sleep(0.2)") for _ in range(pool.get_size())))
    return await read_counts(pool)


async def test_rows_pages_and_wal_of_a_message(customer: Customer, start_worker: Worker, pool: Pool) -> None:
    before = await settled_counts(pool)
    places = asyncio.Semaphore(AT_ONCE)

    async def send(number: int) -> str:
        async with places:
            return str((await customer.send(f"+4670{1_001_000 + number}"))["id"])

    sent = await asyncio.gather(*map(send, range(MESSAGES)))
    await start_worker()
    for message_id in sent:
        await customer.until(message_id, "delivered")
    after = await settled_counts(pool)
    # the message, its place in the queue, its segment; accepted, sent and delivered in the outbox
    assert (after.inserted - before.inserted) / MESSAGES == 6
    # the claim; sent and delivered, which come together where the receipt comes at once
    assert (after.updated - before.updated) / MESSAGES <= 3
    assert (after.deleted - before.deleted) / MESSAGES == 1
    assert (after.moved_on_page - before.moved_on_page) / (after.moved - before.moved) > 0.8
    assert (after.wal - before.wal) / MESSAGES < WAL_OCTETS
