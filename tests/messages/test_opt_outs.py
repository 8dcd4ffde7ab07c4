"""Who wants no more messages: the list, and what an opt-out covers."""

import asyncio
from uuid import UUID

from ghasi.messages.senders import admin as sender_admin
from ghasi.messages.senders import opt_out_queries
from ghasi.messages.senders.opt_outs import find_opted_out
from ghasi.storage import audit
from ghasi.storage.pool import Pool
from tests.messages.conftest import Customer
from tests.messages.test_senders import ANN, tell_of

ALI, BIBI = "+93701234567", "+46700000010"


async def test_the_list_is_edited_by_its_own_account(customer: Customer, other: Customer, pool: Pool) -> None:
    body = {"to": ALI, "from": "Bakery"}
    answers = await asyncio.gather(*(customer.call("POST", "/v1/opt-outs", body) for _ in range(8)))
    assert {answer.status for answer in answers} == {201}
    [made] = {answer.body for answer in answers}
    opt_out = answers[0].json
    assert opt_out == body | {"id": opt_out["id"], "source": "api", "created_at": opt_out["created_at"]}
    assert made
    everywhere = (await customer.call("POST", "/v1/opt-outs", {"to": ALI})).json
    assert everywhere["from"] is None
    another = (await customer.call("POST", "/v1/opt-outs", {"to": BIBI, "from": "+46700001000"})).json
    newest = [another, everywhere, opt_out]
    for query, expected in (
        ("", newest), (f"to={ALI}", [everywhere, opt_out]), ("from=%2B46700001000", [another]),
        ("from=+46700001000", [another]), ("from=Bakery", [opt_out]), (f"to={BIBI}&from=Bakery", []),
    ):  # fmt: skip
        assert (await customer.call("GET", f"/v1/opt-outs?{query}")).json["data"] == expected, query
    page = (await customer.call("GET", "/v1/opt-outs?limit=2")).json
    rest = (await customer.call("GET", f"/v1/opt-outs?limit=2&cursor={page['next_cursor']}")).json
    assert (page["data"] + rest["data"], rest["next_cursor"]) == (newest, None)
    assert (await other.call("GET", "/v1/opt-outs")).json["data"] == []
    assert (await other.call("DELETE", f"/v1/opt-outs/{opt_out['id']}")).status == 404
    assert (await customer.call("DELETE", f"/v1/opt-outs/{opt_out['id']}")).status == 204
    assert (await customer.call("DELETE", f"/v1/opt-outs/{opt_out['id']}")).status == 404
    actions = [entry.action for entry in await audit.list_entries(pool, account_id=customer.account_id)]
    assert actions == ["opt_out.deleted", *["opt_out.created"] * 3]


async def test_what_an_opt_out_covers(customer: Customer, other: Customer, pool: Pool) -> None:
    await tell_of(pool, customer, other)
    for number in range(2):
        await sender_admin.add_sender(pool, customer.account_id, f"7210{number}", in_pool=True, actor=ANN)
    await sender_admin.add_sender(pool, customer.account_id, "72105", actor=ANN)
    mine = customer.account_id

    async def covered(account_id: UUID, recipient: str) -> set[str | None]:
        asked = [(account_id, sender, recipient) for sender in ("72100", "72101", "72105", "Bakery", None)]
        return {sender for _, sender, _ in await find_opted_out(pool, asked)}

    assert await covered(mine, ALI) == set()
    await customer.call("POST", "/v1/opt-outs", {"to": ALI, "from": "Bakery"})
    assert await covered(mine, ALI) == {"Bakery"}
    await customer.call("POST", "/v1/opt-outs", {"to": ALI, "from": "72100"})
    assert await covered(mine, ALI) == {"Bakery", "72100", "72101"}
    assert await covered(mine, BIBI) == set()
    assert await covered(other.account_id, ALI) == set()
    async with pool.acquire() as connection, connection.transaction():
        await opt_out_queries.delete_opt_outs(connection, [(mine, "72105", ALI), (other.account_id, "72100", ALI)])
        assert await covered(mine, ALI) == {"Bakery", "72100", "72101"}
        await opt_out_queries.delete_opt_outs(connection, [(mine, "72101", ALI)])  # another one of the pool
    assert await covered(mine, ALI) == {"Bakery"}
    await customer.call("POST", "/v1/opt-outs", {"to": ALI})
    assert await covered(mine, ALI) == {"72100", "72101", "72105", "Bakery", None}
    async with pool.acquire() as connection, connection.transaction():
        await opt_out_queries.delete_opt_outs(connection, [(mine, "72101", ALI), (mine, "Bakery", ALI)])
    assert await covered(mine, ALI) == {"72100", "72101", "72105", "Bakery", None}  # what the account itself said


async def test_a_send_to_who_opted_out_is_refused_from_the_next_request_on(customer: Customer) -> None:
    await customer.send(ALI)
    opt_out = (await customer.call("POST", "/v1/opt-outs", {"to": ALI})).json
    answer = await customer.call("POST", "/v1/messages", {"to": ALI, "body": "x"})
    assert (answer.status, answer.json["code"]) == (403, "recipient_opted_out")
    await customer.send(BIBI)
    await customer.call("DELETE", f"/v1/opt-outs/{opt_out['id']}")
    await customer.send(ALI)
