"""What is PostgreSQL's alone: positions survive a move to another cluster; and the audit log beside them."""

from collections.abc import Sequence
from datetime import UTC, datetime

import asyncpg
import pytest

from ghasi.contract.values import new_id
from ghasi.storage.events import outbox, postgres, rebase
from ghasi.storage.events.outbox import Event
from ghasi.storage.migrate import migrate
from ghasi.storage.pool import Connection, Pool


def event(sequence: int = 1, at: datetime | None = None) -> Event:
    return Event(new_id(), "message.accepted", new_id(), new_id(), sequence, at or datetime.now(UTC), '{"a":1}')


class Collector:
    def __init__(self) -> None:
        self.events: list[Event] = []

    async def __call__(self, connection: Connection, events: Sequence[Event]) -> None:
        self.events.extend(events)


@pytest.fixture
async def tables(pool: Pool) -> None:
    await pool.execute(
        "CREATE SCHEMA shop; SELECT storage.create_outbox('shop');"
        "CREATE SCHEMA mail; SELECT storage.create_outbox('mail')"
    )
    # the first look at an outbox only makes the position
    assert await postgres.consume(pool, "shop", "mail", Collector()) == 0


async def test_a_restored_database_is_rebased(
    pool: Pool, tables: None, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebase, "CONSUMERS", {"shop": ("mail",)})
    read, unread, seen = event(), event(), Collector()
    async with pool.acquire() as connection, connection.transaction():
        await outbox.append(connection, "shop", [read])
    assert await postgres.consume(pool, "shop", "mail", seen) == 1
    async with pool.acquire() as connection, connection.transaction():
        await outbox.append(connection, "shop", [unread])
    # as after a restore: another cluster's identifier, and xids from that cluster's future
    await pool.execute("UPDATE storage.cluster SET system_identifier = 1")
    await pool.execute("UPDATE shop.outbox SET xid = (xid::text::bigint + 1000000)::text::xid8")
    await pool.execute("UPDATE mail.positions SET xid = (xid::text::bigint + 1000000)::text::xid8")
    assert await postgres.consume(pool, "shop", "mail", seen) == 0
    await migrate(database_url)
    assert await postgres.consume(pool, "shop", "mail", seen) == 1
    assert [one.id for one in seen.events] == [read.id, unread.id]


async def test_the_audit_log_is_append_only(pool: Pool) -> None:
    from ghasi.storage import audit

    await audit.record(pool, actor="operator:ann", action="account.suspended", subject="x", reason="fraud")
    (entry,) = await audit.list_entries(pool)
    assert (entry.actor, entry.action, entry.detail) == ("operator:ann", "account.suspended", '{"reason":"fraud"}')
    for statement in (
        "UPDATE storage.audit_log SET actor = ''",
        "DELETE FROM storage.audit_log",
        "TRUNCATE storage.audit_log",
    ):
        with pytest.raises(asyncpg.RaiseError, match="append-only"):
            await pool.execute(statement)
