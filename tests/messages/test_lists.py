"""Lists by filter: what they find, and that a page's price has a bound."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from ghasi.messages.reading import export, list_queries
from ghasi.storage.pool import Pool
from tests.messages.conftest import Customer


async def fill(pool: Pool, customer: Customer, count: int, *, ago_s: int = 0) -> None:
    """Delivered messages, but for the oldest; every tenth from elsewhere, to another, about something."""
    await pool.execute(
        """
        INSERT INTO messages.messages (id, account_id, user_id, credential, recipient, sender, reference, direction,
                                       body, encoding, segments, status)
        SELECT messages.first_id($3::timestamptz - make_interval(secs => n * 0.001)), $1, $1, 'k',
               CASE WHEN n % 10 = 0 THEN '+46700000011' ELSE '+46700000010' END,
               CASE WHEN n % 10 = 0 THEN '12345' ELSE 'Bakery' END, CASE WHEN n % 10 = 0 THEN 'order' END,
               CASE WHEN n % 10 = 5 THEN 'inbound' ELSE 'outbound' END, n, 'gsm7', 1,
               CASE WHEN n = $2 THEN 'canceled' ELSE 'delivered' END
        FROM generate_series(1, $2) AS n
        """,
        customer.account_id, count, datetime.now(UTC) - timedelta(seconds=ago_s),
    )  # fmt: skip


async def page(customer: Customer, **filters: Any) -> Any:
    answer = await customer.call("GET", "/v1/messages?" + urlencode(filters))
    assert answer.status == 200, answer.body
    return answer.json


async def pages(customer: Customer, **filters: Any) -> list[list[int]]:
    """All pages, each as the texts of its messages."""
    found, cursor = [], None
    while True:
        one = await page(customer, **filters, **({"cursor": cursor} if cursor else {}))
        found.append([int(message["body"]) for message in one["data"]])
        cursor = one["next_cursor"]
        if cursor is None:
            return found


@pytest.fixture(autouse=True)
def bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_queries.find_messages, "__kwdefaults__", {"most_looked_at": 20})


FILTERS: list[tuple[dict[str, str], Iterable[int]]] = [
    ({}, range(1, 101)),
    ({"to": "+46700000011"}, range(10, 101, 10)),
    ({"from": "12345"}, range(10, 101, 10)),
    ({"reference": "order"}, range(10, 101, 10)),
    ({"direction": "inbound"}, range(5, 101, 10)),
    ({"direction": "outbound", "from": "12345"}, range(10, 101, 10)),
    ({"direction": "outbound"}, [n for n in range(1, 101) if n % 10 != 5]),
    ({"status": "canceled"}, [100]),
    ({"status": "canceled", "to": "+46700000011"}, [100]),
    ({"status": "canceled", "to": "+46700000010"}, []),
    ({"status": "delivered", "from": "12345", "reference": "order", "to": "+46700000011"}, range(10, 100, 10)),
    ({"status": "delivered", "direction": "inbound"}, range(5, 101, 10)),
    ({"to": "+4915112345678"}, []),
]


async def test_every_filter_finds_all_there_is(customer: Customer, other: Customer, pool: Pool) -> None:
    await fill(pool, other, 100, ago_s=1)
    await fill(pool, customer, 100)
    for filters, expected in FILTERS:
        for limit in (7, 100):
            found = await pages(customer, limit=limit, **filters)
            assert [number for one in found for number in one] == list(expected), filters
            assert all(len(one) <= limit for one in found)
        answer = await customer.call("GET", "/v1/messages/export?" + urlencode(filters))
        assert len(answer.body.splitlines()) == 1 + len(list(expected)), filters


async def test_a_filter_without_an_index_looks_at_so_many_and_says_where_to_go_on(
    customer: Customer, pool: Pool
) -> None:
    await fill(pool, customer, 100)
    assert await pages(customer, status="canceled") == [[], [], [], [], [100], []]
    assert await pages(customer, status="delivered", limit=50) == [
        list(range(first, min(first + 20, 100))) for first in range(1, 100, 20)
    ] + [[]]
    # one that has an index ends where its messages do
    assert await pages(customer, to="+46700000011", status="canceled") == [[100]]


async def test_an_export_looks_further_at_once(customer: Customer, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(pool, customer, 100)
    monkeypatch.setattr(export, "MOST_LOOKED_AT", 30)
    monkeypatch.setattr(export, "PAGE_ROWS", 8)
    for status, count in (("canceled", 1), ("delivered", 99), ("failed", 0)):
        answer = await customer.call("GET", f"/v1/messages/export?status={status}")
        assert len(answer.body.splitlines()) == 1 + count
