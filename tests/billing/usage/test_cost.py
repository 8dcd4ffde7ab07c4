"""What rating costs the database, in statements a batch: that no machine's mood changes."""

import pytest

from ghasi.contract.values import new_id
from ghasi.storage.pool import Pool
from tests.billing.conftest import Messages, Sms
from tests.counting import count_statements


async def statements_of(messages: Messages, statements: list[str], number: int) -> list[str]:
    """Rate a batch of so many messages of as many accounts, and return what the database was asked."""
    events = [event for _ in range(number) for event in Sms(account_id=new_id()).events()]
    await messages.write(*events)
    statements.clear()
    await messages.read(len(events))
    asked = [one for one in statements if "pg_snapshot_xmin" not in one and "positions" not in one]
    return sorted(asked)


async def test_a_batch_is_so_many_statements_however_large(
    pool: Pool, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements = count_statements(monkeypatch)
    await messages.happen(Sms())
    few, many = [await statements_of(messages, statements, number) for number in (2, 200)]
    assert many == few
    assert len(many) <= 22
    assert await pool.fetchval("SELECT count(*) FROM billing.charges") == 203
    rows = await pool.fetchrow("SELECT count(*) AS told, count(DISTINCT account_id) AS accounts FROM billing.outbox")
    assert rows is not None
    # its currency, which the first message fixes, and the prices of all of an account's messages together
    assert rows["told"] == 2 * rows["accounts"]
