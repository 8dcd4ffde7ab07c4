"""What feeding and delivering webhooks costs the database, in statements and rows: that no machine's mood changes."""

import pytest

from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from tests.counting import count_statements
from tests.webhooks.conftest import Customer, Receiver, publish, until, working


async def test_a_batch_is_so_many_statements_however_large(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await customer.create(receiver.url)
    await publish(pool, customer.account_id, 300)
    statements = count_statements(monkeypatch)
    async with working(resources):
        await until(lambda: len(receiver.got) == 300)
        await until(lambda: pool.fetchval("SELECT count(*) = 0 FROM webhooks.pending"))
    for table in ("events", "pending"):
        assert len([one for one in statements if f"INSERT INTO webhooks.{table} " in one]) == 1
    finished = [one for one in statements if "INSERT INTO webhooks.deliveries" in one]
    assert len(finished) <= 100, "results are written together: as many as came while those before were written"
    assert await pool.fetchval("SELECT count(*) FROM webhooks.deliveries") == 300
