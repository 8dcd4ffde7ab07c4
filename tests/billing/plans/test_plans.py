"""Plans: what they make of a price, from when they hold, and what others are told of them."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghasi.billing.accounts import admin as account_admin
from ghasi.billing.model import BillingError
from ghasi.billing.periods import month_of
from ghasi.billing.plans import admin, queries
from ghasi.billing.plans.admin import PlanTerms
from ghasi.billing.plans.model import Plan, PlanError, PlanTier
from ghasi.billing.rates import admin as rate_admin
from ghasi.contract.values import new_id
from ghasi.storage.pool import Pool
from tests.billing.conftest import ACCOUNT, Messages, Sms

ACTOR = "operator:ann"
NOW = datetime.now(UTC)
THIS = month_of(NOW)
NEXT = month_of(NOW.replace(day=1) + timedelta(days=31))
LATER = month_of(NOW.replace(day=1) + timedelta(days=62))


def written(month: date) -> str:
    return f"{month:%Y-%m}"


@given(price=st.integers(0, 10**9), off=st.integers(1, 1_000_000), segments=st.integers(0, 200))
def test_a_tier_takes_its_part_off_and_rounds_half_to_even(price: int, off: int, segments: int) -> None:
    plan = Plan("p", THIS, "USD", tiers=(PlanTier(100, off),))
    exact = Decimal(price) * (1_000_000 - off) / 1_000_000
    expected = exact.quantize(Decimal(1), ROUND_HALF_EVEN) if segments >= 100 else price
    assert plan.price_after(segments, price) == expected


def test_the_last_tier_that_was_reached_counts() -> None:
    plan = Plan("p", THIS, "USD", tiers=(PlanTier(10, 100_000), PlanTier(20, 500_000)))
    assert [plan.price_after(count, 45_000) for count in (0, 9, 10, 19, 20, 10**9)] == [
        45_000, 45_000, 40_500, 40_500, 22_500, 22_500,
    ]  # fmt: skip


async def test_a_plan_keeps_what_is_not_said_anew(pool: Pool) -> None:
    first = await admin.set_plan(pool, "pro", PlanTerms(base_fee_micros=5_000_000, included_segments=100), ACTOR)
    assert first == Plan("pro", THIS, "USD", 5_000_000, 100)
    tiers = (PlanTier(1000, 50_000),)
    second = await admin.set_plan(pool, "pro", PlanTerms(tiers=tiers, payment="prepaid"), ACTOR, written(NEXT))
    assert second == Plan("pro", NEXT, "USD", 5_000_000, 100, tiers, payment="prepaid")
    await admin.set_plan(pool, "pro", PlanTerms(payment="prepaid"), ACTOR, written(NEXT))  # says nothing new
    assert await admin.get_plan(pool, "pro") == ([first, second], [])
    assert await admin.list_current(pool) == [first]
    told = await pool.fetch("SELECT action, subject FROM storage.audit_log WHERE action = 'plan.set'")
    assert [tuple(row) for row in told] == [("plan.set", "pro")] * 2


BAD: list[tuple[str, PlanTerms, str | None]] = [
    ("none", PlanTerms(), None),
    ("pro plus", PlanTerms(), None),
    ("pro", PlanTerms(), "2020-01"),
    ("pro", PlanTerms(), "soon"),
    ("pro", PlanTerms(currency="EUR"), None),
    ("pro", PlanTerms(minimum_micros=-1), None),
    ("pro", PlanTerms(base_fee_micros=10**18 + 1), None),  # what closing could not add up
    ("pro", PlanTerms(included_segments=10**12 + 1), None),
    ("pro", PlanTerms(tiers=(PlanTier(10**30, 1),)), None),
    ("pro", PlanTerms(tiers=(PlanTier(10, 1), PlanTier(10, 2))), None),
    ("pro", PlanTerms(tiers=(PlanTier(0, 1),)), None),
    ("pro", PlanTerms(tiers=(PlanTier(1, 1_000_001),)), None),
    ("pro", PlanTerms(tiers=(PlanTier(1, 0),)), None),
    ("pro", PlanTerms(tiers=(PlanTier(10**18, 1),)), None),
    ("pro", PlanTerms(included_segments=10**18), None),
]


@pytest.mark.parametrize(("name", "terms", "month"), BAD)
async def test_what_no_plan_can_be_is_refused(pool: Pool, name: str, terms: PlanTerms, month: str | None) -> None:
    with pytest.raises(BillingError):
        await admin.set_plan(pool, name, terms, ACTOR, month)
    assert await queries.list_plans(pool) == []


async def test_a_plan_stays_in_its_currency(pool: Pool) -> None:
    await rate_admin.import_rates(pool, "country,amount,currency\n*,0.03,EUR\n", ACTOR)
    await admin.set_plan(pool, "pro", PlanTerms(currency="EUR"), ACTOR)
    with pytest.raises(PlanError, match="is in EUR"):
        await admin.set_plan(pool, "pro", PlanTerms(currency="USD"), ACTOR)


async def test_what_was_said_last_counts(pool: Pool) -> None:
    for name in ("a", "b"):
        await admin.set_plan(pool, name, PlanTerms(), ACTOR)
    other = new_id()

    async def names(month: date) -> list[str | None]:
        found = await queries.plans_of(pool, [ACCOUNT, other], month)
        return [found[one].name if one in found else None for one in (ACCOUNT, other)]

    await admin.choose_plan(pool, ACCOUNT, "a", ACTOR, written(LATER))
    assert [await names(month) for month in (THIS, NEXT, LATER)] == [[None, None], [None, None], ["a", None]]
    assert (await admin.get_plan(pool, "a"))[1] == [ACCOUNT]
    await admin.choose_plan(pool, ACCOUNT, "b", ACTOR)  # and what was to come is over
    assert [await names(month) for month in (THIS, LATER)] == [["b", None], ["b", None]]
    assert (await admin.get_plan(pool, "a"))[1] == []
    await admin.choose_plan(pool, ACCOUNT, "none", ACTOR, written(NEXT))
    assert [await names(month) for month in (THIS, NEXT)] == [["b", None], [None, None]]
    assert await queries.plans_of(pool, [], THIS) == {}


async def test_a_plans_terms_are_those_of_the_month(pool: Pool) -> None:
    await admin.set_plan(pool, "pro", PlanTerms(base_fee_micros=1), ACTOR)
    await admin.set_plan(pool, "pro", PlanTerms(base_fee_micros=2), ACTOR, written(NEXT))
    await admin.choose_plan(pool, ACCOUNT, "pro", ACTOR)
    fees = {month: (await queries.plans_of(pool, [ACCOUNT], month))[ACCOUNT] for month in (THIS, NEXT, LATER)}
    assert [plan.base_fee_micros for plan in fees.values()] == [1, 2, 2]


async def test_a_month_with_usage_keeps_its_plan(pool: Pool, messages: Messages) -> None:
    await admin.set_plan(pool, "pro", PlanTerms(), ACTOR)
    await admin.choose_plan(pool, new_id(), "pro", ACTOR)
    await messages.happen(Sms(at=datetime.now(UTC)))
    assert (await admin.choose_plan(pool, ACCOUNT, "pro", ACTOR)).from_month == NEXT
    with pytest.raises(PlanError, match="has usage already"):
        await admin.choose_plan(pool, ACCOUNT, "pro", ACTOR, written(THIS))
    # nobody who has it this month has any
    assert (await admin.set_plan(pool, "pro", PlanTerms(base_fee_micros=1), ACTOR)).valid_from == THIS


async def test_a_plan_with_usage_changes_next_month(pool: Pool, messages: Messages) -> None:
    await admin.set_plan(pool, "pro", PlanTerms(), ACTOR)
    await admin.choose_plan(pool, ACCOUNT, "pro", ACTOR)
    await messages.happen(Sms(at=datetime.now(UTC)))
    assert (await admin.set_plan(pool, "pro", PlanTerms(base_fee_micros=1), ACTOR)).valid_from == NEXT
    with pytest.raises(PlanError, match="has usage already"):
        await admin.set_plan(pool, "pro", PlanTerms(base_fee_micros=1), ACTOR, written(THIS))


async def test_a_plan_is_of_the_accounts_currency(pool: Pool) -> None:
    await rate_admin.import_rates(pool, "country,amount,currency\n*,0.03,EUR\n", ACTOR)
    await admin.set_plan(pool, "euro", PlanTerms(currency="EUR"), ACTOR)
    await admin.set_plan(pool, "dollar", PlanTerms(), ACTOR)
    await admin.choose_plan(pool, ACCOUNT, "euro", ACTOR)  # and the account's is fixed by it
    with pytest.raises(BillingError, match="billed in EUR already"):
        await admin.choose_plan(pool, ACCOUNT, "dollar", ACTOR)
    with pytest.raises(BillingError, match="billed in EUR already"):
        await account_admin.set_currency(pool, ACCOUNT, "USD", ACTOR)
    with pytest.raises(PlanError, match="no plan 'yen'"):
        await admin.choose_plan(pool, ACCOUNT, "yen", ACTOR)


async def test_others_are_told_of_each_change(pool: Pool) -> None:
    for name in ("a", "b"):
        await admin.set_plan(pool, name, PlanTerms(), ACTOR)
    await admin.choose_plan(pool, ACCOUNT, "a", ACTOR)
    await admin.choose_plan(pool, ACCOUNT, "a", ACTOR)  # is so already
    await admin.choose_plan(pool, ACCOUNT, "b", ACTOR, written(NEXT))
    await admin.choose_plan(pool, ACCOUNT, "none", ACTOR)
    rows = await pool.fetch(
        "SELECT sequence, data FROM billing.outbox WHERE type = 'billing_account.updated' ORDER BY xid, sequence"
    )
    told: list[tuple[int, Any, Any]] = []
    for row in rows:
        data = msgspec.json.decode(row["data"])
        assert (data["account_id"], data["currency"]) == (str(ACCOUNT), "USD")
        told.append((row["sequence"], data.get("plan"), data.get("plans", [])))
    assert told == [
        (1, None, []), (2, "a", [[str(THIS), "a"]]), (3, "a", [[str(THIS), "a"], [str(NEXT), "b"]]),
        (4, None, [[str(THIS), None]]),
    ]  # fmt: skip
    audited = await pool.fetch("SELECT subject FROM storage.audit_log WHERE action = 'account.plan_set'")
    assert [row["subject"] for row in audited] == [str(ACCOUNT)] * 3


async def test_plans_are_append_only(pool: Pool) -> None:
    await admin.set_plan(pool, "a", PlanTerms(), ACTOR)
    await admin.choose_plan(pool, ACCOUNT, "a", ACTOR)
    statements: list[Callable[[str], str]] = [
        lambda table: f"UPDATE billing.{table} SET created_at = now()",
        lambda table: f"DELETE FROM billing.{table}",
    ]
    for table in ("plans", "subscriptions"):
        for statement in statements:
            with pytest.raises(Exception, match="never changed"):
                await pool.execute(statement(table))
