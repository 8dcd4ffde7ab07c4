"""What auth-service tells others of people: who owns an account, at each change, counted up per person."""

from typing import Any

import msgspec
import pytest

from ghasi.contract.serving import Caller
from ghasi.storage.pool import Pool
from tests.auth.conftest import Client, caller_of, join
from tests.auth.test_users import put_role, remove


@pytest.fixture
async def owner(client: Client) -> Caller:
    return caller_of(await client.sign_in())


async def told(pool: Pool) -> list[Any]:
    rows = await pool.fetch(
        "SELECT subject_id, sequence, data::text AS data FROM auth.outbox WHERE type = 'user.updated' ORDER BY xid, id"
    )
    return [(row[0], row[1], msgspec.json.decode(row[2])["role"]) for row in rows]


async def test_each_change_of_a_role_is_told(client: Client, owner: Caller, pool: Pool) -> None:
    member = await join(client, owner, "two@example.com")
    assert (await put_role(client, owner, member, "owner")).status == 200
    assert (await put_role(client, owner, member, "owner")).status == 200  # says nothing new
    assert (await put_role(client, member, owner, "member")).status == 200
    assert (await remove(client, member, owner)).status == 204
    assert await told(pool) == [
        (owner.user_id, 1, "owner"), (member.user_id, 1, "member"), (member.user_id, 2, "owner"),
        (owner.user_id, 2, "member"), (owner.user_id, 3, None),
    ]  # fmt: skip
