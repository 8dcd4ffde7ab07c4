"""What a message costs the database from POST to its receipt, in counts that no machine's mood changes.

The bounds are little above what was seen: a change that doubles the work has to be a decision.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from ghasi.carriers.carrier import Receipt
from ghasi.messages import model
from ghasi.messages.dispatch import queries
from ghasi.messages.dispatch.ledger import Ledger, Submitted
from ghasi.messages.dispatch.lifecycle import Part
from ghasi.storage.bells import Bells
from ghasi.storage.events import outbox
from ghasi.storage.pool import Pool
from tests.counting import count_statements
from tests.messages.conftest import Customer, Worker
from tests.messages.watching import Watched

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
    """What is counted when every connection has told its part: as it ends, or with a transaction a second later."""
    await asyncio.sleep(1.2)
    await pool.execute(
        """
        SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
        WHERE application_name IN ('ghasi accepting', 'ghasi claiming')
            AND datname = current_database() AND state = 'idle'
        """
    )
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


@pytest.mark.parametrize("messages", [20, 200])
async def test_a_batch_is_so_many_statements_however_large(
    customer: Customer, pool: Pool, messages: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements = count_statements(monkeypatch)
    await customer.send()  # what is known of the account is read now
    await asyncio.sleep(0.1)  # and whoever waits was rung
    statements.clear()
    sent = await asyncio.gather(*(customer.send(f"+4670{1_001_000 + number}") for number in range(messages)))
    accepted = [one for one in statements if "INSERT INTO messages.messages" in one]
    assert len(accepted) <= 2, "the first alone, since nobody else waits, and the others together"
    assert len(statements) - len(accepted) <= 2, "the bell"

    ledger = Ledger(pool, Bells(pool))
    now = datetime.now(UTC)
    ids = [UUID(one["id"]) for one in sent]
    results = [Submitted(one, [(Part(1, "accepted", "north", now), one.hex)]) for one in ids]
    receipts = [Receipt("north", one.hex, "delivered", now, None, None, None) for one in ids]
    statements.clear()
    async with pool.acquire() as connection, connection.transaction():
        await ledger._apply(connection, results, receipts)
    assert [one.split(" (")[0].partition(" WHERE ")[0][:40].strip() for one in statements] == [
        "INSERT INTO messages.submissions",
        f"SELECT {queries.COLUMNS}"[:40].strip(),
        "UPDATE messages.messages AS message SET",
        "INSERT INTO messages.outbox",
        "DELETE FROM messages.dispatch",
    ]
    assert [(await customer.get(one["id"]))["status"] for one in sent] == ["delivered"] * messages


async def test_a_message_is_encoded_once_for_each_of_its_statuses(
    customer: Customer, start_worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[object] = []

    def counting(encode: Any) -> Any:
        def counts(value: object) -> Any:
            encoded.append(value)
            return encode(value)

        return counts

    monkeypatch.setattr(model, "_encode", counting(model._encode))
    for module in (model, outbox):
        monkeypatch.setattr(module, "to_json", counting(outbox.to_json))
    await start_worker()
    await customer.until((await customer.send())["id"], "delivered")
    encoded.clear()
    sent = await asyncio.gather(*(customer.send(f"+4670{1_001_000 + number}") for number in range(50)))
    for one in sent:
        await customer.until(one["id"], "delivered")
    statuses = [one.status for one in encoded if isinstance(one, model.Message)]
    assert {status: statuses.count(status) for status in set(statuses)} == {
        "accepted": 50, "sent": 50, "delivered": 50,
    }  # fmt: skip
    others = [one for one in encoded if not isinstance(one, model.Message)]
    assert len(others) <= 5, "what services tell each other of it is the same for many"


async def test_a_claim_goes_along_the_queue_though_it_was_analyzed_while_it_was_all_but_empty(
    customer: Customer, pool: Pool, watched: Watched
) -> None:
    """Any other plan looks at all that is there, or was since the last vacuum, each time, or for each message."""
    await pool.execute("VACUUM ANALYZE messages.dispatch")
    await asyncio.gather(*(customer.send() for _ in range(100)))
    await queries.claim(watched, 60, timedelta(seconds=20), "simulator")  # type: ignore[arg-type]
    (plan,) = watched.plans
    assert "Index Scan using dispatch_due on dispatch" in plan, plan
    assert "Index Cond: (message_id = ANY" in plan, plan
    for looks_at_all in ("Bitmap", "Sort  (", "Seq Scan", "Join Filter"):
        assert looks_at_all not in plan, plan


async def test_busy_tables_are_analyzed_by_few_rows_and_without_their_texts(pool: Pool) -> None:
    await pool.execute("SELECT messages.make_partition('2041-01-01')")
    rows = await pool.fetch(
        """
        SELECT attrelid::regclass::text AS busy, array_agg(attname::text) FILTER (WHERE attstattarget = 0) AS unread,
            max(attstattarget) AS target, bool_or(attstattarget IS NULL) AS any_default
        FROM pg_attribute
        WHERE attnum > 0 AND attrelid = ANY(ARRAY[
            'messages.messages_2041_01', 'messages.messages_other', 'messages.submissions', 'messages.outbox',
            'billing.outbox', 'billing.charges', 'webhooks.events', 'webhooks.deliveries'
        ]::regclass[])
        GROUP BY 1
        """
    )
    assert len(rows) == 8
    assert {(row["target"], row["any_default"]) for row in rows} == {(10, False)}  # 300 rows are sampled for each
    unread = {row["busy"]: row["unread"] for row in rows}
    assert unread["messages.outbox"] == ["data", "private"]
    assert unread["messages.messages_2041_01"] == unread["webhooks.events"] == ["body"]
