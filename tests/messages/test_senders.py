"""Whom accounts send as: the operator's list, the rules of a send, and what customers may change."""

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID

import pytest

from ghasi.contract.errors import Problem
from ghasi.contract.values import new_id
from ghasi.messages.numbers import Recipient
from ghasi.messages.senders import admin as sender_admin
from ghasi.messages.senders import queries as sender_queries
from ghasi.messages.senders import senders
from ghasi.messages.senders.senders import (
    ListedSender,
    Owners,
    SenderRules,
    resolve_sender,
    rules_of_senders,
    sticky_needed,
)
from ghasi.storage import audit
from ghasi.storage.pool import Pool
from tests.messages.conftest import Customer

ANN = "operator:ann"
AFGHAN, SWEDISH, NOWHERE = Recipient("+93701234567", "AF"), Recipient("+46700000010", "SE"), Recipient("+8835100", None)
AF, SE = frozenset({"AF"}), frozenset({"SE"})


async def tell_of(pool: Pool, *customers: Customer) -> None:
    """As auth-service does of every account."""
    await pool.executemany(
        "INSERT INTO messages.accounts (account_id, status, sequence) VALUES ($1, 'active', 1)",
        [(customer.account_id,) for customer in customers],
    )


def refusal(rules: SenderRules, sender: str | None, recipient: Recipient, taken: set[str] | None = None) -> str:
    with pytest.raises(Problem) as caught:
        resolve_sender(rules, sender, recipient, None, taken or set())
    assert caught.value.code == "sender_not_allowed"
    return caught.value.detail


def test_an_account_without_senders_sends_as_it_likes_but_not_as_somebody_else() -> None:
    rules = SenderRules()
    for sender in ("+46700001000", "72100", "Bakery"):
        assert resolve_sender(rules, sender, AFGHAN) == sender
    assert resolve_sender(rules, None, AFGHAN) is None
    assert "another account" in refusal(rules, "+46700001000", AFGHAN, {"+46700001000"})
    assert not sticky_needed(rules, None, "AF")


def test_a_listed_sender_is_held_to_its_countries_where_only_listed_ones_are_allowed() -> None:
    listed = (ListedSender("Bakery", AF), ListedSender("72100"))
    strict, lax = rules_of_senders(listed, "listed"), rules_of_senders(listed, "any")
    assert resolve_sender(strict, "Bakery", AFGHAN) == "Bakery"
    assert "SE" in refusal(strict, "Bakery", SWEDISH)
    assert "this number" in refusal(strict, "Bakery", NOWHERE)
    assert resolve_sender(strict, "72100", NOWHERE) == "72100"
    assert "no sender Other" in refusal(strict, "Other", AFGHAN)
    assert "default" in refusal(strict, None, AFGHAN)
    assert resolve_sender(lax, "Bakery", SWEDISH) == "Bakery"
    assert resolve_sender(lax, "Other", SWEDISH) == "Other"
    assert resolve_sender(lax, None, SWEDISH) is None


@pytest.mark.parametrize("policy", ["any", "listed"])
def test_without_from_it_is_the_default_then_the_pool(policy: Any) -> None:
    rules = rules_of_senders(
        [
            ListedSender("Bakery", AF, is_default=True), ListedSender("+46700001000", SE, in_pool=True),
            ListedSender("+46700001001", SE, in_pool=True), ListedSender("+46700001002"),
        ],
        policy,
    )  # fmt: skip
    assert resolve_sender(rules, None, AFGHAN, "+46700001000") == "Bakery"
    chosen = resolve_sender(rules, None, SWEDISH)
    assert chosen in {"+46700001000", "+46700001001"}
    assert (sticky_needed(rules, None, "AF"), sticky_needed(rules, None, "SE")) == (False, True)
    assert not sticky_needed(rules, "Bakery", "SE")
    assert not sticky_needed(rules, None, "NO")
    for known in ("+46700001000", "+46700001001"):
        assert resolve_sender(rules, None, SWEDISH, known) == known
    for gone in ("+46700001002", "+46700009999", "Bakery"):
        assert resolve_sender(rules, None, SWEDISH, gone) == chosen
    if policy == "any":
        assert resolve_sender(rules, None, NOWHERE) is None
    else:
        refusal(rules, None, NOWHERE)


def test_a_pool_is_used_evenly_and_a_new_sender_moves_only_its_share() -> None:
    recipients = [Recipient(f"+4670{number:07}", "SE") for number in range(3000)]
    before = rules_of_senders(ListedSender(f"+467000010{number:02}", in_pool=True) for number in range(4))
    after = rules_of_senders([*before.senders.values(), ListedSender("+46700001099", in_pool=True)])
    first = {one.number: resolve_sender(before, None, one) for one in recipients}
    second = {one.number: resolve_sender(after, None, one) for one in recipients}
    counted = Counter(first.values())
    assert len(counted) == 4
    assert all(abs(times - 750) < 150 for times in counted.values())
    moved = [number for number in first if first[number] != second[number]]
    assert {second[number] for number in moved} == {"+46700001099"}
    assert abs(len(moved) - 600) < 150


async def test_rules_are_read_in_one_query(pool: Pool, customer: Customer, other: Customer) -> None:
    assert await senders.load_rules(pool, customer.account_id) is senders.NO_SENDERS
    await tell_of(pool, customer, other)
    await sender_admin.add_sender(pool, customer.account_id, "Bakery", countries=["af"], default=True, actor=ANN)
    await sender_admin.add_sender(pool, customer.account_id, "+46700001000", in_pool=True, actor=ANN)
    await sender_admin.set_policy(pool, customer.account_id, "listed", actor=ANN)
    rules = await senders.load_rules(pool, customer.account_id)
    assert (rules.policy, rules.has_opt_outs) == ("listed", False)
    assert rules.default == ListedSender("Bakery", AF, is_default=True)
    assert rules.pool == (ListedSender("+46700001000", in_pool=True),)
    assert await senders.load_rules(pool, other.account_id) is senders.NO_SENDERS


async def test_whose_a_number_is_is_asked_once_a_second(pool: Pool, customer: Customer, other: Customer) -> None:
    await tell_of(pool, customer, other)
    await sender_admin.add_sender(pool, other.account_id, "+46700001000", actor=ANN)
    await sender_admin.add_sender(pool, other.account_id, "Bakery", actor=ANN)
    owners, rules = Owners(), SenderRules()
    asked = [None, "+46700001000", "+46700001001", "Bakery"]

    async def taken(account_id: UUID, now: float) -> set[str]:
        return await owners.list_taken(pool, account_id, rules, asked, now)

    assert await taken(customer.account_id, 0) == {"+46700001000"}
    assert await taken(other.account_id, 0) == set()
    await sender_admin.remove_sender(pool, other.account_id, "+46700001000", actor=ANN)
    assert await taken(customer.account_id, 0.9) == {"+46700001000"}
    assert await taken(customer.account_id, 1.1) == set()
    listed = rules_of_senders([ListedSender("+46700001000")])
    assert await owners.list_taken(pool, customer.account_id, listed, ["+46700001000", "Bakery"], 5) == set()


async def test_what_operators_do_is_checked_and_audited(pool: Pool, customer: Customer, other: Customer) -> None:
    account_id = customer.account_id
    with pytest.raises(Problem) as caught:
        await sender_admin.add_sender(pool, account_id, "Bakery", actor=ANN)
    assert caught.value.code == "not_found"
    await tell_of(pool, customer, other)
    await sender_admin.add_sender(pool, account_id, "+46700001000", countries=["SE", "se"], default=True, actor=ANN)
    await sender_admin.add_sender(pool, account_id, "Bakery", default=True, actor=ANN)
    await sender_admin.add_sender(pool, other.account_id, "Bakery", actor=ANN)  # a name is nobody's
    for address, rest, code in (
        ("+46700001000", {}, "invalid_request"), ("much too long a name", {}, "invalid_sender"),
        ("Name", {"in_pool": True}, "not_a_pool_sender"), ("72100", {"countries": ["XX"]}, "invalid_request"),
        ("72100", {"countries": []}, "invalid_request"), ("", {}, "invalid_sender"),
    ):  # fmt: skip
        for asking in (account_id, other.account_id):
            with pytest.raises(Problem) as caught:
                await sender_admin.add_sender(pool, asking, address, actor=ANN, **rest)
            assert caught.value.code == code, address
    for step in (sender_admin.remove_sender(pool, other.account_id, "+46700001000", actor=ANN),
                 sender_admin.set_countries(pool, other.account_id, "+46700001000", None, actor=ANN),
                 sender_admin.set_policy(pool, new_id(), "any", actor=ANN),
                 sender_admin.get_policy(pool, new_id())):  # fmt: skip
        with pytest.raises(Problem) as caught:
            await step
        assert caught.value.code == "not_found"
    changed = await sender_admin.set_countries(pool, account_id, "+46700001000", ["AF", "PK"], actor=ANN)
    assert (changed.countries, changed.is_default) == (["AF", "PK"], False)
    await sender_admin.remove_sender(pool, account_id, "Bakery", actor=ANN)
    assert await sender_admin.get_policy(pool, account_id) == "any"
    await sender_admin.set_policy(pool, account_id, "listed", actor=ANN)
    assert await sender_admin.get_policy(pool, account_id) == "listed"
    await sender_admin.add_sender(pool, account_id, "72100", actor=ANN)
    assert [one.address for one in await sender_admin.list_senders(pool, account_id)] == ["72100", "+46700001000"]
    assert len(await sender_admin.list_senders(pool)) == 3
    entries = await audit.list_entries(pool, account_id=account_id)
    assert [entry.action for entry in entries] == [
        "sender.added", "sender.policy_set", "sender.removed", "sender.countries_set", "sender.added", "sender.added",
    ]  # fmt: skip
    assert {entry.actor for entry in entries} == {ANN}


async def test_the_default_moves_and_is_one_however_many_ask(pool: Pool, customer: Customer, other: Customer) -> None:
    await tell_of(pool, customer, other)
    added = [
        await sender_admin.add_sender(pool, customer.account_id, f"7210{number}", in_pool=True, actor=ANN)
        for number in range(5)
    ]
    page = (await customer.call("GET", "/v1/senders?limit=3")).json
    rest = (await customer.call("GET", f"/v1/senders?limit=3&cursor={page['next_cursor']}")).json
    assert [one["address"] for one in page["data"] + rest["data"]] == [one.address for one in added[::-1]]

    async def put(asking: Customer, sender_id: UUID, default: bool, pool: bool = True) -> Any:
        return await asking.call("PUT", f"/v1/senders/{sender_id}", {"default": default, "pool": pool})

    answers = await asyncio.gather(*(put(customer, one.id, True) for one in added for _ in range(2)))
    assert {answer.status for answer in answers} == {200}
    shown = (await customer.call("GET", "/v1/senders")).json["data"]
    [default] = [one for one in shown if one["default"]]
    assert all(one["pool"] for one in shown)
    assert (await put(other, added[0].id, True)).status == 404
    assert (await put(customer, UUID(default["id"]), False, False)).json == default | {"default": False, "pool": False}
    before = await audit.list_entries(pool, account_id=customer.account_id)
    assert (await put(customer, UUID(default["id"]), False, False)).status == 200
    assert await audit.list_entries(pool, account_id=customer.account_id) == before
    assert (before[0].action, before[0].actor) == ("sender.updated", f"user:{customer.user_id}")


async def test_sends_take_their_sender_by_the_rules(pool: Pool, customer: Customer, other: Customer) -> None:
    """In the whole: a recipient keeps the sender of the pool that wrote to them first."""
    await tell_of(pool, customer, other)
    for number in range(3):
        await sender_admin.add_sender(pool, customer.account_id, f"+4670000100{number}", in_pool=True, actor=ANN)
    people = [f"+4670000020{number}" for number in range(6)]
    first = {to: (await customer.send(to))["from"] for to in people}
    kept = await sender_queries.list_sticky(pool, [(customer.account_id, to) for to in people])
    assert kept == {(customer.account_id, to): sender for to, sender in first.items()}
    for number in range(3, 9):
        await sender_admin.add_sender(pool, customer.account_id, f"+4670000100{number}", in_pool=True, actor=ANN)
    newest = (await customer.call("GET", "/v1/senders")).json["data"][0]
    pooled = await customer.call("PUT", f"/v1/senders/{newest['id']}", {"default": False, "pool": False})
    assert pooled.status == 200  # and this process reads the rules anew
    assert {to: (await customer.send(to))["from"] for to in people} == first
    answer = await other.call("POST", "/v1/messages", {"to": people[0], "from": "+46700001000", "body": "x"})
    assert (answer.status, answer.json["code"]) == (403, "sender_not_allowed")
    await sender_queries.insert_sticky(
        pool, [(customer.account_id, people[0], "a"), (customer.account_id, people[0], "b")]
    )
    assert await sender_queries.list_sticky(pool, [(customer.account_id, people[0])]) == {
        (customer.account_id, people[0]): "b"
    }
