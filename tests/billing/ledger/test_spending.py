"""What holds accounts back: holds, limits, balances, the turn of a month, and the alerts on the way."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from msgspec.structs import replace

from ghasi.billing.ledger import admin, keeping, reading, spending
from ghasi.billing.ledger.limits import Figures, SpendingState, available, crossed, judge
from ghasi.billing.ledger.spending import Hold
from ghasi.billing.periods import month_bounds, month_of
from ghasi.billing.plans.admin import PlanTerms, choose_plan, set_plan
from ghasi.contract.errors import Problem
from ghasi.contract.serving import Caller, ServiceApp
from ghasi.contract.shapes import SpendingLimitInput
from ghasi.contract.values import new_id
from ghasi.storage import audit
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from tests.billing.conftest import Messages, Sms, get
from tests.billing.ledger.prepaying import make_prepaid
from tests.billing.ledger.test_posting import books_of, top_up

NOW = datetime.now(UTC)
MONTH = month_of(NOW)
_, END = month_bounds(MONTH)
ANN = "operator:ann"
OK = ("ok", False)


async def take(
    pool: Pool, account_id: UUID, charged: int = 0, *holds: Hold, ended: tuple[UUID, ...] = (), month: date = MONTH
) -> None:
    """A batch of rating: what was charged, what is on its way, what is over."""
    changes = {(account_id, month): charged} if charged else {}
    async with pool.acquire() as connection, connection.transaction():
        if charged:
            await connection.execute(
                "INSERT INTO billing.accounts (account_id, currency) VALUES ($1, 'USD') ON CONFLICT DO NOTHING",
                account_id,
            )
        await spending.take(connection, changes, holds, ended, NOW)


def hold(account_id: UUID, amount_micros: int, at: datetime = NOW) -> Hold:
    return Hold(new_id(), account_id, at, amount_micros)


async def told(pool: Pool, account_id: UUID, event_type: str = "account.spending") -> list[Any]:
    """What went out about an account, in its order."""
    rows = await pool.fetch(
        "SELECT sequence, data FROM billing.outbox WHERE account_id = $1 AND type = $2 ORDER BY sequence, xid, id",
        account_id, event_type,
    )  # fmt: skip
    if event_type == "account.spending":
        assert [row["sequence"] for row in rows] == list(range(1, len(rows) + 1))
    return [msgspec.json.decode(row["data"]) for row in rows]


async def states_of(pool: Pool, account_id: UUID) -> list[tuple[str, bool]]:
    return [(one["status"], one["exhausted"]) for one in await told(pool, account_id)]


async def alerts_of(pool: Pool, account_id: UUID) -> list[int]:
    return [one["threshold_percent"] for one in await told(pool, account_id, "billing.alert")]


def figures(**given: Any) -> Figures:
    default: dict[str, Any] = {
        "prepaid": False, "balance_micros": 0, "held_micros": 0, "spent_micros": 0, "held_by_now_micros": 0,
        "limit_micros": None, "top_up_micros": None,
    }  # fmt: skip
    return Figures(**default | given)


@pytest.mark.parametrize(
    ("given", "state", "left"),
    [
        ({"balance_micros": -5}, SpendingState(), None),  # postpaid: what it owes is invoiced
        ({"prepaid": True, "balance_micros": 1}, SpendingState(), 1),
        ({"prepaid": True, "balance_micros": 5, "held_micros": 5}, SpendingState("insufficient_balance"), 0),
        ({"prepaid": True}, SpendingState("insufficient_balance", exhausted=True), 0),
        ({"limit_micros": 9, "spent_micros": 5, "held_by_now_micros": 3}, SpendingState(), 1),
        ({"limit_micros": 9, "spent_micros": 5, "held_micros": 9}, SpendingState(), 4),  # held for another month
        (
            {"limit_micros": 9, "spent_micros": 5, "held_by_now_micros": 4},
            SpendingState("spending_limit_reached", exhausted=False, until=END), 0,
        ),
        ({"limit_micros": 0}, SpendingState("spending_limit_reached", exhausted=True, until=END), 0),
        (
            {"prepaid": True, "balance_micros": 5, "held_micros": 5, "limit_micros": 3, "spent_micros": 4},
            SpendingState("insufficient_balance", exhausted=True), -1,
        ),
    ],
)  # fmt: skip
def test_what_an_account_may_spend(given: dict[str, Any], state: SpendingState, left: int | None) -> None:
    assert judge(figures(**given), END) == state
    assert available(figures(**given)) == left


def test_thresholds_are_exact() -> None:
    for spent, percents in ((49, []), (50, [50]), (79, [50]), (80, [50, 80]), (99, [50, 80]), (250, [50, 80, 100])):
        assert [one.percent for one in crossed(figures(limit_micros=100, spent_micros=spent))] == percents
        prepaid = figures(prepaid=True, top_up_micros=100, balance_micros=100 - spent)
        assert [(one.kind, one.percent) for one in crossed(prepaid)] == [("balance", one) for one in percents]
    assert crossed(figures(limit_micros=0)) == crossed(figures(prepaid=True, top_up_micros=-5)) == []


async def test_a_prepaid_balance_is_held_charged_and_topped_up(pool: Pool) -> None:
    account_id = new_id()
    await make_prepaid(pool, account_id)
    assert await states_of(pool, account_id) == [("insufficient_balance", True)]
    await top_up(pool, account_id, 100)
    assert await states_of(pool, account_id) == [("insufficient_balance", True), OK]
    one, two, three = (hold(account_id, amount) for amount in (40, 40, 20))
    await take(pool, account_id, 0, one, two)
    await take(pool, account_id, 0, three)
    assert (await states_of(pool, account_id))[2:] == [("insufficient_balance", False)]
    await take(pool, account_id, 0, ended=(three.message_id,))  # it was not sent
    assert (await states_of(pool, account_id))[3:] == [OK]
    await take(pool, account_id, 80, ended=(one.message_id, two.message_id))
    await take(pool, account_id, 30)
    assert (await states_of(pool, account_id))[4:] == [("insufficient_balance", True)]
    assert await books_of(pool, account_id) == {"cash": 100, "balance": 10, "usage": -110}
    await top_up(pool, account_id, 100)
    assert (await states_of(pool, account_id))[5:] == [OK]
    assert await alerts_of(pool, account_id) == [50, 80, 100]
    await take(pool, account_id, 45)
    assert await alerts_of(pool, account_id) == [50, 80, 100, 50]
    assert [one for one in await admin.verify(pool) if one.what != "spent"] == []  # there are no tallies here


async def test_a_limit_holds_for_its_month(pool: Pool) -> None:
    account_id = new_id()
    await take(pool, account_id, 30_000_000)  # before there was a limit
    await admin.set_spending_limit(pool, account_id, "50", ANN)
    assert await told(pool, account_id) == []
    assert await alerts_of(pool, account_id) == [50]
    later = hold(account_id, 90_000_000, END + timedelta(days=3))
    now = hold(account_id, 20_000_000)
    await take(pool, account_id, 0, later)
    assert await told(pool, account_id) == []
    await take(pool, account_id, 0, now)
    assert await states_of(pool, account_id) == [("spending_limit_reached", False)]
    assert (await told(pool, account_id))[0]["until"] == END.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    await take(pool, account_id, 20_000_000, ended=(now.message_id,))
    assert (await states_of(pool, account_id))[1:] == [("spending_limit_reached", True)]
    assert await alerts_of(pool, account_id) == [50, 80, 100]
    assert await keeping.refresh_outdated(pool, NOW) == 0
    assert await keeping.refresh_outdated(pool, END) == 1  # what was scheduled uses up the next month
    assert (await states_of(pool, account_id))[2:] == [("spending_limit_reached", False)]
    await admin.set_spending_limit(pool, account_id, None, ANN)
    assert (await states_of(pool, account_id))[3:] == [OK]


async def test_a_limit_alerts_once_however_often_it_is_crossed(pool: Pool) -> None:
    account_id = new_id()
    await take(pool, account_id, 1_000_000)
    await admin.set_spending_limit(pool, account_id, "2", ANN)
    await take(pool, account_id, -500_000)  # given back
    await take(pool, account_id, 500_000)
    await admin.set_spending_limit(pool, account_id, "1.25", ANN)
    await admin.set_spending_limit(pool, account_id, "2", ANN)
    data = await told(pool, account_id, "billing.alert")
    assert [(one["limit"], one["threshold_percent"]) for one in data] == [
        ("2.0000", 50), ("1.2500", 50), ("1.2500", 80),
    ]  # fmt: skip
    assert {key: data[0][key] for key in ("kind", "spent", "balance", "period", "currency")} == {
        "kind": "spending_limit", "spent": "1.0000", "balance": None, "period": f"{MONTH:%Y-%m}", "currency": "USD",
    }  # fmt: skip


async def test_what_was_charged_or_ended_before_is_not_held(pool: Pool) -> None:
    account_id, charged, refused = new_id(), new_id(), new_id()
    await admin.set_spending_limit(pool, account_id, "1", ANN)
    await pool.execute(
        """
        INSERT INTO billing.refusals (message_id, account_id, at, country) VALUES ($1, $2, '2026-11-01Z', 'AF')
        """,
        refused, account_id,
    )  # fmt: skip
    one = Hold(charged, account_id, NOW, 10)
    await take(pool, account_id, 0, one, Hold(refused, account_id, NOW, 10))
    await take(pool, account_id, 0, one)  # told again
    assert await pool.fetchval("SELECT held_micros FROM billing.spending_months") == 10
    assert await spending.release_overdue(pool, NOW) == 0
    assert await spending.release_overdue(pool, NOW + spending.HELD_FOR_MOST + timedelta(hours=1)) == 1
    assert await pool.fetchval("SELECT held_micros FROM billing.spending_months") == 0


@pytest.mark.parametrize("at_once", [True, False])
async def test_what_is_billed_on_delivery_is_held_until_then(pool: Pool, messages: Messages, at_once: bool) -> None:
    account_id = new_id()
    terms = PlanTerms(payment="prepaid", billed_on="delivered")
    await set_plan(pool, "on-delivery", terms, ANN)
    await choose_plan(pool, account_id, "on-delivery", ANN)
    await top_up(pool, account_id, 100_000)
    sms = [Sms(account_id, at=NOW, passes=("sent", end)) for end in ("delivered", "undelivered")]
    told = [one.events() for one in sms]

    async def figures() -> tuple[int, int]:
        row = await pool.fetchrow("SELECT held_micros, spent_micros FROM billing.spending_months")
        return row["held_micros"], row["spent_micros"]

    if not at_once:
        await messages.write(*(events[0] for events in told))
        await messages.read()
    await messages.write(*(event for events in told for event in (events[:2] if at_once else events[1:2])))
    await messages.read()
    assert await figures() == (90_000, 0)
    await messages.write(*(events[2] for events in told))
    await messages.read()
    assert await figures() == (0, 45_000)
    await messages.write(*(replace(event, id=new_id()) for events in told for event in events))  # told again
    await messages.read(most=1)
    assert await figures() == (0, 45_000)
    assert await admin.verify(pool) == []


async def test_accounts_without_bounds_are_only_counted(pool: Pool) -> None:
    account_id = new_id()
    await take(pool, account_id, 45_000)
    assert await pool.fetchval("SELECT count(*) FROM billing.outbox") == 0
    assert await pool.fetchval("SELECT count(*) FROM billing.spending") == 0
    assert await pool.fetchval("SELECT spent_micros FROM billing.spending_months") == 45_000
    async with pool.acquire() as connection:
        assert await spending.list_held(connection, [account_id], NOW) == set()
        await admin.set_spending_limit(pool, account_id, "1", ANN)
        assert await spending.list_held(connection, [account_id], NOW) == {account_id}


async def test_the_start_of_a_worker_judges_everybody(pool: Pool) -> None:
    account_id = new_id()
    await make_prepaid(pool, account_id)
    await pool.execute("DELETE FROM billing.spending")  # as before anybody looked
    await keeping.refresh_all(pool, NOW)
    assert [one["status"] for one in await told_anew(pool, account_id)] == ["insufficient_balance"]


async def test_a_fault_in_judging_does_not_end_the_worker(
    resources: Resources, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = asyncio.Event()

    async def break_down(*_: object) -> int:
        tried.set()
        raise RuntimeError("one account's books are wrong")

    account_id = new_id()
    await make_prepaid(pool, account_id)
    await pool.execute("UPDATE billing.spending SET until = now()")
    monkeypatch.setattr(keeping, "ROUND_S", 0.01)
    with monkeypatch.context() as broken:
        broken.setattr(spending, "release_overdue", break_down)
        task = asyncio.create_task(keeping.keep(pool, resources.bells))
        async with asyncio.timeout(10):
            await tried.wait()
    await pool.execute("UPDATE billing.spending SET until = now()")
    async with asyncio.timeout(10):
        while await pool.fetchval("SELECT until FROM billing.spending WHERE account_id = $1", account_id) is not None:
            await asyncio.sleep(0.02)
    task.cancel()


async def told_anew(pool: Pool, account_id: UUID) -> list[Any]:
    rows = await pool.fetch("SELECT status FROM billing.spending WHERE account_id = $1", account_id)
    return list(rows)


async def test_the_balance_is_shown_with_what_moved_it(app: ServiceApp, pool: Pool) -> None:
    account_id = new_id()
    await make_prepaid(pool, account_id)
    await admin.top_up(pool, account_id, "50", reference="bank 1", note="Thank you", actor=ANN)
    await take(pool, account_id, 26_000_000, hold(account_id, 90_000))
    await admin.top_up(pool, account_id, "-1", reference="bank 1b", note="too much", actor=ANN)
    answer = await get(app, "balance", account_id)
    assert answer.status == 200
    shown = answer.json
    [alert] = shown.pop("alerts")
    assert alert.pop("at")
    assert alert == {"kind": "balance", "threshold_percent": 50, "limit": "50.0000"}
    assert shown == {
        "currency": "USD", "payment": "prepaid", "balance": "23.0000", "held": "0.0900", "available": "22.9100",
        "spent": "26.0000", "spending_limit": None, "own_spending_limit": None, "status": "ok",
    }  # fmt: skip
    first = (await get(app, "balance/transactions?limit=2", account_id)).json
    assert [(one["kind"], one["amount"], one["balance"], one["reference"]) for one in first["data"]] == [
        ("correction", "-1.0000", "23.0000", "bank 1b"), ("usage", "-26.0000", "24.0000", None),
    ]  # fmt: skip
    rest = (await get(app, f"balance/transactions?limit=2&cursor={first['next_cursor']}", account_id)).json
    assert [(one["kind"], one["amount"], one["note"]) for one in rest["data"]] == [("top_up", "50.0000", "Thank you")]
    assert rest["next_cursor"] is None
    only = (await get(app, "balance/transactions?kind=top_up", account_id)).json["data"]
    assert [one["kind"] for one in only] == ["top_up"]
    assert (await get(app, "balance/transactions")).json == {"data": [], "next_cursor": None}
    empty = (await get(app, "balance")).json
    assert (empty["payment"], empty["balance"], empty["available"], empty["status"]) == (
        "postpaid", "0.0000", None, "ok",
    )  # fmt: skip


async def test_the_lower_of_two_limits_counts_and_only_an_owner_sets_one(pool: Pool) -> None:
    account_id, owner, member = new_id(), new_id(), new_id()
    for person, role in ((owner, "owner"), (member, "member")):
        await pool.execute(
            "INSERT INTO billing.people (user_id, account_id, role, sequence) VALUES ($1, $2, $3, 1)",
            person, account_id, role,
        )  # fmt: skip

    async def set_own(person: UUID, limit: str | None, *, is_api_key: bool = False) -> str | None:
        caller = Caller(account_id, person, is_api_key=is_api_key, credential="kid")
        shown = await reading.set_own_limit(pool, caller, SpendingLimitInput(spending_limit=limit), "request")
        assert shown.own_spending_limit == (None if limit is None else f"{limit}.0000")
        return shown.spending_limit

    await take(pool, account_id, 6_000_000)
    await admin.set_spending_limit(pool, account_id, "10", ANN)
    assert await set_own(owner, "20") == "10.0000"
    assert await states_of(pool, account_id) == []
    assert await set_own(owner, "5") == "5.0000"
    assert await states_of(pool, account_id) == [("spending_limit_reached", True)]
    with pytest.raises(Problem) as refused:
        await set_own(member, None)
    assert refused.value.code == "owner_required"
    with pytest.raises(Problem) as refused:
        await set_own(owner, None, is_api_key=True)
    assert refused.value.code == "user_required"
    assert await set_own(owner, None) == "10.0000"
    assert (await states_of(pool, account_id))[1:] == [OK]
    entries = await audit.list_entries(pool, account_id=account_id)
    assert [one.actor for one in entries if one.action == "account.own_spending_limit_set"] == [f"user:{owner}"] * 3
