"""Months are taken out while everything goes on, and never one that is needed."""

import asyncio
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from ghasi.contract.errors import Problem
from ghasi.contract.values import new_id
from ghasi.messages.dispatch.ledger import Ledger
from ghasi.messages.keeping import partitions, retention
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from tests.messages.conftest import Customer
from tests.messages.test_retention import deliver, hand_over

NOW = datetime(2026, 11, 23, tzinfo=UTC)
OLD = "2026-05"


@pytest.fixture
async def old(pool: Pool, customer: Customer, resources: Resources) -> UUID:
    """A message of May, which housekeeping has passed."""
    message_id = UUID(int=(int(datetime(2026, 5, 9, tzinfo=UTC).timestamp() * 1000) << 80) + (new_id().int & 2**64 - 1))
    for month in ("2026-05-01", "2026-09-01", "2026-10-01", "2026-11-01", "2026-12-01", "2027-01-01"):
        await pool.execute("SELECT messages.make_partition($1::text::date)", month)
    await pool.execute(
        """
        INSERT INTO messages.messages (id, account_id, recipient, body, encoding, segments, status)
        VALUES ($1, $2, '+46700000010', 'old', 'gsm7', 1, 'delivered')
        """,
        message_id,
        customer.account_id,
    )
    await retention.end_unreceipted(pool, Ledger(pool, resources.bells), NOW)
    return message_id


async def detach(pool: Pool, month: str = OLD, *, drop: bool = False) -> partitions.Detached:
    return await partitions.detach(pool, month, drop=drop, actor="operator:ann", now=NOW)


async def refused(pool: Pool, month: str, **more: Any) -> Problem:
    with pytest.raises(Problem) as refusal:
        await detach(pool, month, **more)
    return refusal.value


async def test_a_detached_month_is_a_table_by_itself(customer: Customer, pool: Pool, old: UUID) -> None:
    assert (await customer.get(str(old)))["body"] == "old"
    done = await detach(pool)
    assert (done.table, done.dropped, done.tries) == ("messages_2026_05", False, 1)
    assert (await customer.call("GET", f"/v1/messages/{old}")).status == 404
    assert await pool.fetchval("SELECT body FROM messages.messages_2026_05") == "old"
    listed = {one.month: one.attached for one in await partitions.list_partitions(pool)}
    assert listed[OLD] is False
    assert listed["2026-09"] is True
    assert listed[None] is True, "what no month has claimed"
    assert "detached already" in (await refused(pool, OLD)).detail
    assert (await detach(pool, drop=True)).dropped
    assert OLD not in {one.month for one in await partitions.list_partitions(pool)}
    assert (await refused(pool, OLD)).code == "not_found"
    actions = await pool.fetch("SELECT action FROM storage.audit_log ORDER BY id")
    assert [row["action"] for row in actions] == ["partition.detached", "partition.dropped"]


async def test_a_month_that_is_needed_stays(pool: Pool, old: UUID, resources: Resources) -> None:
    for month in ("2026-11", "2026-12", "2027-01"):
        assert "is needed until" in (await refused(pool, month)).detail
    assert "is needed until 2026-12-13" in (await refused(pool, "2026-10")).detail
    assert (await refused(pool, "2026-04")).code == "not_found"
    for nonsense in ("2026", "2026-13", "0000-05", "other", "2026_05", "0"):
        assert (await refused(pool, nonsense)).code == "invalid_request"
    await pool.execute("INSERT INTO messages.dispatch (message_id, due_at, expires_at) VALUES ($1, now(), now())", old)
    assert "have not ended" in (await refused(pool, OLD)).detail
    await pool.execute("DELETE FROM messages.dispatch")
    await pool.execute("UPDATE messages.sweeps SET after_id = $1 WHERE name = 'receipts'", UUID(int=old.int - 1))
    assert "housekeeping" in (await refused(pool, OLD)).detail
    await retention.end_unreceipted(pool, Ledger(pool, resources.bells), NOW)
    assert (await detach(pool, "2026-09")).tries == 1


async def test_all_months_before_one_are_detached_up_to_one_that_is_needed(pool: Pool, old: UUID) -> None:
    for month in ("2025-12-01", "2026-04-01"):
        await pool.execute("SELECT messages.make_partition($1::text::date)", month)
    await detach(pool, "2026-04")

    async def detach_before(month: str, *, drop: bool = False) -> list[str]:
        return [
            one.month for one in await partitions.detach_before(pool, month, drop=drop, actor="operator:ann", now=NOW)
        ]

    assert await detach_before("2025-12") == []
    assert await detach_before(OLD, drop=True) == ["2025-12"]
    with pytest.raises(Problem, match="invalid_request") as refusal:
        await detach_before("2026-11")
    assert "2026-10 is needed until" in refusal.value.detail
    with pytest.raises(Problem, match="invalid_request"):
        await detach_before("2026-13")
    listed = {one.month: one.attached for one in await partitions.list_partitions(pool)}
    assert "2025-12" not in listed
    assert [month for month, attached in listed.items() if not attached] == ["2026-09", OLD, "2026-04"]


async def test_who_holds_the_table_is_not_waited_for_long(
    pool: Pool, old: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "PAUSE_S", 0.01)
    monkeypatch.setattr(partitions, "LOCK_TIMEOUT_MS", 20)
    monkeypatch.setattr(partitions, "TRIES", 3)
    async with pool.acquire() as reader, reader.transaction():
        await reader.execute("SELECT FROM messages.messages LIMIT 1")
        assert (await refused(pool, OLD)).code == "service_unavailable"
        monkeypatch.setattr(partitions, "TRIES", 1000)
        detaching = asyncio.create_task(detach(pool))
        # while it tries, others come through
        for _ in range(5):
            assert await pool.fetchval("SELECT count(*) FROM messages.messages WHERE id = $1", old) == 1
        assert not detaching.done()
    assert (await detaching).tries >= 1


async def test_reads_sends_and_receipts_go_on(customer: Customer, pool: Pool, old: UUID, resources: Resources) -> None:
    ledger = Ledger(pool, resources.bells)
    for month in range(1, 9):
        await pool.execute("SELECT messages.make_partition($1::text::date)", f"2025-{month:02}-01")
    ended, stop = [], asyncio.Event()

    async def use() -> None:
        while not stop.is_set():
            message = await customer.send()
            await hand_over(ledger, message)
            await deliver(ledger, message)
            ended.append((await customer.get(message["id"]))["status"])
            assert (await customer.call("GET", "/v1/messages?status=delivered")).json["data"]

    users = [asyncio.create_task(use()) for _ in range(4)]
    for month in range(1, 9):
        await detach(pool, f"2025-{month:02}")
    stop.set()
    await asyncio.gather(*users)
    assert set(ended) == {"delivered"}
    assert len([one for one in await partitions.list_partitions(pool) if not one.attached]) == 8


async def command(database_url: str, *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ghasi", "admin", "storage", *arguments, cwd=Path(__file__).parents[2],
        env=os.environ | {"GHASI_DATABASE_URL": database_url}, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, error = await process.communicate()
    return process.returncode or 0, out.decode(), error.decode()


async def test_the_commands_and_the_way_back(database_url: str, pool: Pool, customer: Customer, old: UUID) -> None:
    await pool.execute("ANALYZE messages.messages")
    status, table, error = await command(database_url, "partitions")
    assert (status, error) == (0, "")
    assert table.splitlines()[0].split() == ["month", "rows", "size", "attached", "table"]
    (line,) = (line for line in table.splitlines() if line.startswith(OLD))
    assert line.split()[1] == "1"
    assert line.split()[-2:] == ["yes", "messages.messages_2026_05"]
    status, out, error = await command(database_url, "detach", OLD, "--json")
    assert (status, error) == (0, "")
    save, drop, attach = json.loads(out)["next"]
    assert "pg_dump" in save
    assert drop.strip() == f"ghasi admin storage detach {OLD} --drop"
    assert (await customer.call("GET", f"/v1/messages/{old}")).status == 404
    await pool.execute(attach)
    assert (await customer.get(str(old)))["body"] == "old"
    status, out, error = await command(database_url, "detach", "--before", "2026-06", "--json")
    assert (status, error) == (0, "")
    assert [one["month"] for one in json.loads(out)["detached"]] == [OLD]
    status, out, error = await command(database_url, "detach", "--before", "2026-06")
    assert (status, out, error) == (0, "There are no months before 2026-06 to be detached.\n", "")
    for arguments in ([], [OLD, "--before", "2026-06"]):
        status, out, error = await command(database_url, "detach", *arguments)
        assert (status, out) == (2, "")
        assert "Name a month" in error
    current = f"{datetime.now(UTC):%Y-%m}"
    status, out, error = await command(database_url, "detach", current)
    assert (status, out) == (2, "")
    assert f"{current} is needed until" in error
