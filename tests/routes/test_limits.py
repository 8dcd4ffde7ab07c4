"""Exactly the contract's number of requests passes in a minute over the services; each answer says where it stands."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from ghasi.auth import admin
from ghasi.contract.row import (
    API_KEY_LIMIT,
    AUTH_LIMIT,
    BATCH_LIMIT,
    EXPORT_LIMIT,
    PREVIEW_LIMIT,
    READ_LIMIT,
    SEND_LIMIT,
    WRITE_LIMIT,
    LimitGroup,
    Row,
)
from ghasi.contract.table import BY_OPERATION, ROWS
from tests.asgi import Answer
from tests.clock import room_in_the_minute
from tests.routes.world import MESSAGE, Customer, World, ask, new_address

ENOUGH_S = 15
Ask = Callable[[Customer, Row], Awaitable[Answer]]


def rows_of(group: LimitGroup) -> list[Row]:
    return [row for row in ROWS if row.limit is group]


def stands(answer: Answer, limit: int, remaining: int) -> None:
    """Hold that an answer carries Kong's headers, with where the account stands."""
    for name, value in (
        ("ratelimit-limit", limit), ("x-ratelimit-limit-minute", limit),
        ("ratelimit-remaining", remaining), ("x-ratelimit-remaining-minute", remaining),
    ):  # fmt: skip
        assert answer.all(name) == [str(value)], (name, answer)
    [reset] = answer.all("ratelimit-reset")
    assert 1 <= int(reset) <= 60
    assert answer.all("retry-after") == ([reset] if answer.status == 429 else [])


def over(answer: Answer, limit: int) -> None:
    """Hold that an answer is Kong's to one request too many."""
    assert answer.status == 429
    assert answer.json == {"message": "API rate limit exceeded", "request_id": answer.header("x-kong-request-id")}
    assert answer.header("content-type") == "application/json; charset=utf-8"
    assert answer.header("via") is None
    stands(answer, limit, 0)


@pytest.mark.parametrize(
    ("group", "limit"),
    [
        (AUTH_LIMIT, 10),
        (API_KEY_LIMIT, 5),
        (SEND_LIMIT, 60),
        (READ_LIMIT, 120),
        (WRITE_LIMIT, 60),
        (PREVIEW_LIMIT, 120),
        (EXPORT_LIMIT, 10),
        (BATCH_LIMIT, 10),
    ],
    ids=lambda value: getattr(value, "name", value),
)
async def test_exactly_the_contracts_number_passes_whichever_rows_share_it(
    plain: World, group: LimitGroup, limit: int
) -> None:
    """List, detail and usage count together; so do sign-in, refresh, sign-out and me of one address."""
    customer = await plain.sign_in()
    await plain.hear_of_accounts()
    await room_in_the_minute(ENOUGH_S)
    rows = rows_of(group)
    customer.address = new_address()  # signing in has been counted at the other
    seen: Counter[tuple[str, int]] = Counter()
    for number in range(limit):
        row = rows[number % len(rows)]
        answer = await ask(customer, row)
        seen[row.operation, answer.status] += 1
        stands(answer, limit, limit - number - 1)
    for row in rows:
        # each passed and reached its service, which knows no such id where the row has one
        # messages are another service's than their deliveries: of an unknown one there are none
        knows_none = row.parameters and row.operation != "list_message_deliveries"
        expected = 404 if knows_none else row.success
        passed = {status for operation, status in seen if operation == row.operation}
        assert passed <= {expected, 401}, seen
        assert expected in passed, seen
    for row in rows:
        over(await ask(customer, row), limit)


async def test_at_once_no_more_than_the_limit_are_accepted_and_kept(plain: World) -> None:
    customer = await plain.sign_in()
    await room_in_the_minute(ENOUGH_S)
    answers = await asyncio.gather(*(customer.call("POST", "/v1/messages", MESSAGE) for _ in range(75)))
    assert Counter(answer.status for answer in answers) == {202: 60, 429: 15}
    kept = await plain.resources.pool.fetchval(
        "SELECT count(*) FROM messages.messages WHERE account_id = $1", customer.account_id
    )
    assert kept == 60


async def test_groups_accounts_and_addresses_have_windows_of_their_own(plain: World) -> None:
    one, two = await plain.sign_in(), await plain.sign_in()
    await room_in_the_minute(ENOUGH_S)
    for _ in range(6):
        answer = await ask(one, BY_OPERATION["create_api_key"])
    over(answer, 5)
    stands(await ask(one, BY_OPERATION["list_api_keys"]), 120, 119)
    stands(await ask(one, BY_OPERATION["send_message"]), 60, 59)
    stands(await ask(one, BY_OPERATION["delete_webhook"]), 60, 59)
    stands(await ask(two, BY_OPERATION["create_api_key"]), 5, 4)
    two.address = one.address = new_address()
    stands(await ask(one, BY_OPERATION["get_me"]), 10, 9)
    stands(await ask(two, BY_OPERATION["get_me"]), 10, 8)


async def test_a_key_shares_its_accounts_windows(plain: World) -> None:
    customer = await plain.sign_in()
    await room_in_the_minute(ENOUGH_S)
    key = await customer.create_key()
    stands(await ask(customer, BY_OPERATION["list_messages"]), 120, 119)
    with_key = await ask(customer, BY_OPERATION["get_usage"], authorization=f"Bearer {key['key']}")
    assert with_key.status == 200
    stands(with_key, 120, 118)
    refused = await ask(customer, BY_OPERATION["list_api_keys"], authorization=f"Bearer {key['key']}")
    assert refused.json["code"] == "user_required"
    stands(refused, 120, 117)


async def test_an_accounts_own_limit_holds_within_seconds_and_exactly(plain: World) -> None:
    customer, other = await plain.sign_in(), await plain.sign_in()
    account_id, row = customer.account_id, BY_OPERATION["list_webhooks"]

    async def learnt(limit: int) -> int:
        """Ask until the gateway knows the limit; how many requests that took."""
        deadline = time.monotonic() + 5
        asked = 0
        while True:
            answer = await ask(customer, row)
            asked += 1
            if answer.header("ratelimit-limit") == str(limit):
                return asked
            assert time.monotonic() < deadline, answer.headers
            await asyncio.sleep(0.1)

    await room_in_the_minute(ENOUGH_S)
    await admin.set_limit(plain.resources, account_id, "reads", 150, operator="ann")
    asked = await learnt(150)
    for number in range(asked, 150):
        stands(await ask(customer, row), 150, 150 - number - 1)
    over(await ask(customer, row), 150)
    stands(await ask(customer, BY_OPERATION["send_message"]), 60, 59)
    stands(await ask(other, row), 120, 119)
    await admin.set_limit(plain.resources, account_id, "reads", None, operator="ann")
    await learnt(120)
    over(await ask(customer, row), 120)
