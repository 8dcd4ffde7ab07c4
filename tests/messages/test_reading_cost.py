"""What a read costs the database, in counts and plans that no machine's mood changes."""

import asyncio
import re
from uuid import uuid4

import pytest

from ghasi.contract.decoding import decode_query
from ghasi.contract.serving import Caller
from ghasi.contract.shapes import MessageQuery
from ghasi.messages.reading import reading
from ghasi.messages.reading.detail_queries import TOGETHER, MessageFinder
from ghasi.storage.pool import Pool
from tests.messages.conftest import Customer
from tests.messages.test_lists import fill
from tests.messages.watching import Watched

BUSY = 3000


def caller_of(customer: Customer) -> Caller:
    return Caller(customer.account_id, customer.user_id, is_api_key=False, credential="k")


FILTERS = {
    "": "account_id_id_idx",
    "to=%2B46700000011": "account_id_recipient_id_idx",
    "from=12345": "account_id_sender_id_idx",
    "reference=order": "account_id_reference_id_idx",
    "created_after=2020-01-01T00:00:00Z&created_before=2100-01-01T00:00:00Z": "account_id_id_idx",
    "created_after=2020-01-01T00:00:00Z&created_before=2100-01-01T00:00:00Z&to=%2B46700000011": (
        "account_id_recipient_id_idx"
    ),
    "status=delivered": "account_id_id_idx",
}


@pytest.mark.parametrize("query", FILTERS)
async def test_a_list_is_one_statement_along_an_index_whoever_asks(
    customer: Customer, other: Customer, pool: Pool, watched: Watched, query: str
) -> None:
    """Also where most accounts have a few messages, by which a plan for any values goes, and this one has most."""
    await fill(pool, customer, BUSY)
    await pool.execute(
        """
        INSERT INTO messages.messages (id, account_id, user_id, credential, recipient, direction, body, encoding,
                                       segments, status)
        SELECT messages.first_id(now() - make_interval(secs => 60 + n)), gen_random_uuid(), $1, 'k', '+46700000010',
               'outbound', 'Hello', 'gsm7', 1, 'delivered'
        FROM generate_series(1, 500) AS n
        """,
        other.user_id,
    )
    await pool.execute("ANALYZE messages.messages")
    shape = decode_query(query.encode(), MessageQuery)
    page = await reading.list_messages(watched, caller_of(customer), shape)  # type: ignore[arg-type]
    assert len(page.data) == 50
    (plan,) = watched.plans
    assert "Seq Scan" not in plan, plan
    assert "Sort  (" not in plan, plan
    assert "Bitmap" not in plan, plan
    read = dict(re.findall(r"Index Scan Backward using (\w+) .*\(actual rows=([0-9.]+) ", plan))
    assert read, plan
    assert all(name.endswith(FILTERS[query]) for name in read), plan
    assert sum(map(float, read.values())) < 50 + len(read) + 1, plan


async def test_details_asked_for_at_once_are_read_together_along_the_primary_key(
    customer: Customer, pool: Pool, watched: Watched
) -> None:
    await fill(pool, customer, 100)
    await pool.execute("ANALYZE messages.messages")
    ids = [row["id"] for row in await pool.fetch("SELECT id FROM messages.messages")]
    finder = MessageFinder(watched)  # type: ignore[arg-type]
    found = await asyncio.gather(*(finder.find(customer.account_id, one) for one in ids))
    assert [message.id for message in found if message is not None] == ids
    assert len(watched.plans) <= len(ids) / TOGETHER + 4
    for plan in watched.plans:
        assert "Seq Scan" not in plan, plan
        assert "pkey" in plan, plan


async def test_a_detail_is_its_accounts_alone(customer: Customer, other: Customer) -> None:
    message_id, missing = (await customer.send())["id"], uuid4()
    for _ in range(2):
        mine, others, nobodys = await asyncio.gather(
            customer.call("GET", f"/v1/messages/{message_id}"),
            other.call("GET", f"/v1/messages/{message_id}"),
            customer.call("GET", f"/v1/messages/{missing}"),
        )
        assert (mine.status, others.status, nobodys.status) == (200, 404, 404)
        assert mine.json["id"] == message_id
