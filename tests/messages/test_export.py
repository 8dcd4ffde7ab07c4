"""The CSV of messages: its form, its filters, its pages, and what a spreadsheet must not take for a formula."""

import asyncio
import csv
import io
import tracemalloc
from typing import Any

from ghasi.contract.serving import Caller
from ghasi.contract.shapes import MessageExportQuery
from ghasi.messages.reading.export import HEADER, export_messages
from ghasi.storage.pool import Pool, open_pool
from tests.asgi import Answer
from tests.messages.conftest import Customer

PATH = "/v1/messages/export"


async def download(customer: Customer, query: str = "") -> Answer:
    answer = await customer.call("GET", PATH + query)
    assert answer.status == 200, answer.body
    return answer


def rows_of(answer: Answer) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(answer.body.decode(), newline=""), strict=True))


async def fill(pool: Pool, customer: Customer, count: int, body: str = "x") -> None:
    """Messages of distinct ids, written straight into the table."""
    await pool.execute(
        """
        INSERT INTO messages.messages (id, account_id, user_id, credential, recipient, body, encoding, segments, status)
        SELECT messages.first_id(now() - make_interval(secs => n * 0.001)), $1, $1, 'k', '+46700000010', $3, 'gsm7', 1,
               'accepted'
        FROM generate_series(1, $2) AS n
        """,
        customer.account_id, count, body,
    )  # fmt: skip


async def test_a_row_has_what_the_message_has(customer: Customer, pool: Pool) -> None:
    message = await customer.send(reference="order 7", **{"from": "Bakery"})
    await pool.execute(
        "UPDATE messages.messages SET price_micros = 26500, currency = 'USD', status = 'failed', "
        "error_code = 'expired', sent_at = '2026-11-22T09:41:07.5Z', completed_at = '2026-11-22T10:41:07.123Z'"
    )
    answer = await download(customer)
    assert answer.header("content-type") == "text/csv; charset=utf-8"
    assert answer.header("content-disposition") == 'attachment; filename="messages.csv"'
    assert answer.header("content-length") is None
    assert answer.body == (
        b"id,created_at,direction,to,from,body,encoding,segments,status,price,currency,error_code,reference,country,"
        b"sent_at,completed_at\r\n"
        b"%s,%s,outbound,+46700000010,Bakery,Hello,gsm7,1,failed,0.0265,USD,expired,order 7,SE,"
        b"2026-11-22T09:41:07.500Z,2026-11-22T10:41:07.123Z\r\n"
    ) % (message["id"].encode(), message["created_at"].encode())


async def test_nothing_is_a_header(customer: Customer) -> None:
    assert (await download(customer)).body.decode() == ",".join(HEADER) + "\r\n"


async def test_what_csv_must_quote_comes_back(customer: Customer) -> None:
    bodies = [
        'a "quoted" word, a comma',
        "two\nlines",
        "two\r\nlines",
        " spaces ",
        "\u062f\u0631\u0648\u062f",
        '"',
        ";",
    ]
    for body in bodies:
        await customer.send(body=body)
    assert [row["body"] for row in rows_of(await download(customer))] == bodies[::-1]


async def test_no_text_begins_a_formula(customer: Customer) -> None:
    texts = [f'{start}HYPERLINK("https://example.com","x")' for start in "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"]
    for text in texts:
        await customer.send(body=text, reference=text)
    rows = rows_of(await download(customer))
    assert [row["body"] for row in rows] == [f"'{text}" for text in texts[::-1]]
    assert [row["reference"] for row in rows] == [f"'{text}" for text in texts[::-1]]


async def test_numbers_stay_numbers_and_names_become_no_formula(customer: Customer) -> None:
    for sender in ("+46700000001", "-cmd", "1234", "Bakery"):
        await customer.send(**{"from": sender})
    rows = rows_of(await download(customer))
    assert [row["from"] for row in rows] == ["Bakery", "1234", "'-cmd", "+46700000001"]
    assert {row["to"] for row in rows} == {"+46700000010"}


async def test_a_text_within_is_left_as_it_is(customer: Customer) -> None:
    for body in ("1+1=2", "a@example.com", "x-y", "'=1", "+46700000010"):
        await customer.send(body=body)
    bodies = [row["body"] for row in rows_of(await download(customer))]
    assert bodies == ["'+46700000010", "'=1", "x-y", "a@example.com", "1+1=2"]


async def test_filters_are_the_lists(customer: Customer, other: Customer, pool: Pool) -> None:
    await other.send()
    sent: list[dict[str, Any]] = []
    for number, sender in (("+46700000010", "Bakery"), ("+46700000011", "+46700000001"), ("+46700000010", None)):
        fields = {"from": sender} if sender else {}
        sent.append(await customer.send(number, reference=f"r{len(sent)}", **fields))
    await pool.execute("UPDATE messages.messages SET status = 'delivered' WHERE reference = 'r2'")
    await pool.execute("UPDATE messages.messages SET status = 'received', direction = 'inbound' WHERE reference = 'r1'")
    for query in (
        "", "?to=%2B46700000010", "?to=+46700000010", "?from=Bakery", "?from=%2B46700000001", "?reference=r1",
        "?status=delivered", "?status=accepted&to=%2B46700000010", f"?created_after={sent[0]['created_at']}",
        f"?created_before={sent[2]['created_at']}", "?created_before=2020-01-01T00:00:00Z", "?reference=nothing",
        "?direction=outbound", "?direction=inbound", "?direction=inbound&status=received", "?status=scheduled",
    ):  # fmt: skip
        listed = (await customer.call("GET", f"/v1/messages{query}")).json["data"]
        exported = rows_of(await download(customer, query))
        assert [row["id"] for row in exported] == [message["id"] for message in listed], query
    assert len(rows_of(await download(customer))) == 3
    assert [row["direction"] for row in rows_of(await download(customer, "?direction=inbound"))] == ["inbound"]


async def test_bad_filters_are_refused(customer: Customer) -> None:
    for query in ("?limit=10", "?cursor=x", "?status=late", "?to=", "?created_after=yesterday", "?direction=up"):
        answer = await customer.call("GET", PATH + query)
        assert (answer.status, answer.json["code"]) == (422, "invalid_request"), query


async def test_pages_make_one_whole(customer: Customer, other: Customer, pool: Pool) -> None:
    await other.send()
    await fill(pool, customer, 2500)
    every = await pool.fetch("SELECT id FROM messages.messages WHERE account_id = $1 ORDER BY id", customer.account_id)
    for count in (2500, 2000, 1999, 1001, 1000, 999, 100, 99, 1):
        await pool.execute(
            "DELETE FROM messages.messages WHERE account_id = $1 AND id < $2", customer.account_id, every[-count]["id"]
        )
        ids = [row["id"] for row in rows_of(await download(customer))]
        assert ids == [str(row["id"]) for row in every[: -count - 1 : -1]]


async def test_between_pieces_no_connection_is_held(customer: Customer, pool: Pool, database_url: str) -> None:
    await fill(pool, customer, 1500)
    caller = Caller(customer.account_id, customer.user_id, is_api_key=False, credential="k")
    only_one = await open_pool(database_url, size=1)
    read = 0
    async for piece in export_messages(only_one, caller, MessageExportQuery()):
        async with asyncio.timeout(5):
            # of this connection alone: autovacuum and other databases of the server have locks of their own
            locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'relation' AND pid = pg_backend_pid()"
            assert await only_one.fetchval(locks) <= 1
        if not read:
            await customer.send(body="accepted later")
        read += piece.count(b"\r\n")
    await only_one.close()
    assert read == 1501, "what was accepted later is not in it"


async def test_many_rows_hold_little_memory(customer: Customer, pool: Pool) -> None:
    await fill(pool, customer, 12_000, "x" * 1500)
    caller = Caller(customer.account_id, customer.user_id, is_api_key=False, credential="k")
    size = 0
    tracemalloc.start()
    try:
        async for piece in export_messages(pool, caller, MessageExportQuery()):
            size += len(piece)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size > 18_000_000
    assert peak < 9_000_000


async def test_the_database_away_is_a_problem_before_any_piece(customer: Customer, pool: Pool) -> None:
    await pool.execute("ALTER TABLE messages.messages RENAME TO gone")
    answer = await customer.call("GET", PATH)
    assert (answer.status, answer.json["code"]) == (500, "internal_error")
    assert answer.header("content-disposition") is None
    await pool.execute("ALTER TABLE messages.gone RENAME TO messages")
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE messages.messages")
        waiting = asyncio.create_task(customer.call("GET", PATH))
        ended = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        while not await pool.fetchval(ended):
            await asyncio.sleep(0.01)
        answer = await waiting
    assert (answer.status, answer.json["code"]) == (503, "service_unavailable")
