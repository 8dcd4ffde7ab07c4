"""Usage by sender, API key, reference and direction: what is named, what is left, and whose days it is of."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ghasi.billing.periods import QUARTER
from ghasi.billing.rates import admin as rate_admin
from ghasi.billing.usage import names, reading
from ghasi.contract.serving import ServiceApp
from ghasi.contract.values import new_id, rfc3339
from ghasi.storage.pool import Pool
from tests.billing.conftest import ACCOUNT, LAST_MONTH, OCTOBER, Messages, Sms, ask
from tests.billing.usage.test_rating import empty, quarter_of

KEYS = [new_id(), new_id()]
GROUPINGS = ["country", "status", "direction", "sender", "api_key", "reference"]


async def groups(app: ServiceApp, group_by: str, **query: str) -> dict[str | None, tuple[int, int, str]]:
    answer = await ask(app, "usage", group_by=group_by, granularity="month", **OCTOBER | query)
    return {row["group"]: (row["messages"], row["segments"], row["amount"]) for row in answer["data"]}


async def test_groups_and_what_is_left(app: ServiceApp, messages: Messages) -> None:
    await messages.happen(
        Sms(sender="Bakery", api_key_id=KEYS[0], reference="spring", segments=2),
        Sms(sender="Bakery", api_key_id=KEYS[1], reference="spring"),
        Sms(sender="72100", reference="autumn"),
        Sms(),
        Sms(account_id=new_id(), sender="Bakery", reference="spring"),
        Sms(sender="Bakery", passes=("failed",)),
        Sms(sender="Bakery", at=LAST_MONTH - timedelta(days=30)),
    )
    assert await groups(app, "sender") == {
        "Bakery": (2, 3, "0.1350"), "72100": (1, 1, "0.0450"), None: (1, 1, "0.0450"),
    }  # fmt: skip
    assert await groups(app, "api_key") == {
        str(KEYS[0]): (1, 2, "0.0900"), str(KEYS[1]): (1, 1, "0.0450"), None: (2, 2, "0.0900"),
    }  # fmt: skip
    assert await groups(app, "reference") == {
        "spring": (2, 3, "0.1350"), "autumn": (1, 1, "0.0450"), None: (1, 1, "0.0450"),
    }  # fmt: skip
    assert await groups(app, "direction") == {"outbound": (4, 5, "0.2250")}


async def test_received_messages_count_with_the_sender_they_came_to(
    app: ServiceApp, pool: Pool, messages: Messages
) -> None:
    await rate_admin.import_rates(pool, "country,amount,direction\nAF,0.01,inbound\n", "operator:ann")
    received = Sms(
        direction="inbound", passes=("received",), to="72100", sender="+93701234567", at=datetime.now(UTC), segments=2
    )
    await messages.happen(received, Sms(sender="72100", at=datetime.now(UTC)))
    now: dict[str, str] = {"from": rfc3339(received.at.replace(day=1, hour=0, minute=0, second=0, microsecond=0))}
    now["to"] = rfc3339(quarter_of(received.at) + QUARTER)
    assert await groups(app, "sender", **now) == {"72100": (2, 3, "0.0650")}
    assert await groups(app, "direction", **now) == {"inbound": (1, 2, "0.0200"), "outbound": (1, 1, "0.0450")}
    assert await groups(app, "status", **now) == {"received": (1, 2, "0.0200"), "delivered": (1, 1, "0.0450")}
    summary = await ask(app, "summary", **now)
    assert (summary["current"]["messages"], summary["current"]["amount"]) == (1, "0.0450")


async def test_a_months_first_references_are_kept_by_name(
    app: ServiceApp, pool: Pool, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "MOST_NAMED", 3)
    other, next_month = new_id(), LAST_MONTH + timedelta(days=30)
    for number in range(6):
        await messages.happen(Sms(reference=f"order-{number}", at=LAST_MONTH + number * QUARTER))
    await messages.happen(*(Sms(reference="order-1") for _ in range(2)), *(Sms(reference="order-5") for _ in range(2)))
    await messages.happen(Sms(reference="order-5", account_id=other), Sms(reference="order-5", at=next_month))
    counts = {group: row[0] for group, row in (await groups(app, "reference")).items()}
    assert counts == {"order-0": 1, "order-1": 3, "order-2": 1, None: 5}
    november = {"from": "2026-11-01T00:00:00Z", "to": "2026-12-01T00:00:00Z"}
    assert {group: row[0] for group, row in (await groups(app, "reference", **november)).items()} == {"order-5": 1}
    rows = await pool.fetch("SELECT account_id, value FROM billing.usage_values ORDER BY value")
    assert [tuple(row) for row in rows if row["account_id"] == ACCOUNT] == [
        (ACCOUNT, "order-0"), (ACCOUNT, "order-1"), (ACCOUNT, "order-2"), (ACCOUNT, "order-5"),
    ]  # fmt: skip


async def test_in_one_batch_as_many_are_named(pool: Pool, messages: Messages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "MOST_NAMED", 3)
    await messages.happen(*(Sms(reference=f"order-{number}") for number in range(6)))
    kept = [row["value"] for row in await pool.fetch("SELECT value FROM billing.usage_values ORDER BY value")]
    assert len(kept) == 3
    rows = await pool.fetch("SELECT value FROM billing.usage_groups ORDER BY value")
    assert [row["value"] for row in rows] == kept


async def test_an_answer_has_the_largest_groups(
    app: ServiceApp, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    await messages.happen(
        *(Sms(reference=f"r{n}", at=LAST_MONTH + n * QUARTER) for n in range(5) for _ in range(n + 1))
    )
    monkeypatch.setattr(reading, "MOST_GROUPS", 2)
    assert {group: row[0] for group, row in (await groups(app, "reference")).items()} == {"r4": 5, "r3": 4, None: 6}
    monkeypatch.setattr(reading, "MOST_ROWS", 31)  # one group for a month by day
    answer = await ask(app, "usage", group_by="reference", granularity="day", **OCTOBER)
    assert [(row["group"], row["messages"]) for row in answer["data"]] == [("r4", 5), (None, 10)]


USED = st.builds(
    Sms, account_id=st.sampled_from([ACCOUNT, ACCOUNT, new_id()]), segments=st.integers(1, 3),
    country=st.sampled_from(["AF", None]), passes=st.sampled_from([("sent", "delivered"), ("sent",), ("failed",)]),
    at=st.sampled_from([LAST_MONTH + hours * timedelta(hours=1) for hours in (0, 7, 228, 229, 230, 253, 254)]),
    sender=st.sampled_from([None, "Bakery", "72100"]), reference=st.sampled_from([None, "a", "b"]),
    api_key_id=st.sampled_from([None, *KEYS]), id=st.builds(new_id),
)  # fmt: skip


def group_of(message: Sms, group_by: str) -> str | None:
    return {
        "country": message.country or "ZZ", "status": message.passes[-1], "direction": "outbound",
        "sender": message.sender, "api_key": str(message.api_key_id) if message.api_key_id else None,
        "reference": message.reference,
    }[group_by]  # fmt: skip


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    sent=st.lists(USED, max_size=10),
    zone=st.sampled_from(["UTC", "Asia/Kabul", "Asia/Kathmandu", "Europe/Berlin", "America/Havana"]),
    granularity=st.sampled_from(["hour", "day", "month"]),
)
async def test_every_grouping_equals_a_naive_count(  # noqa: PLR0917 - fixtures, and what is drawn
    app: ServiceApp, pool: Pool, messages: Messages, sent: list[Sms], zone: str, granularity: str
) -> None:
    """Over the days on which Berlin's and Havana's clocks are turned."""
    await empty(pool)
    await pool.execute("TRUNCATE billing.usage_groups, billing.usage_values")
    await messages.happen(*sent)
    for group_by in GROUPINGS:
        query = {"from": "2026-10-14T00:00:00Z", "to": "2026-11-04T00:00:00Z", "time_zone": zone}
        answer: Any = await ask(app, "usage", group_by=group_by, granularity=granularity, **query)
        counted: Counter[tuple[Any, ...]] = Counter()
        for message in sent:
            if message.account_id == ACCOUNT and message.sent_at is not None:
                local = message.sent_at.astimezone(ZoneInfo(zone))
                period = {"hour": (local.date(), local.hour, local.utcoffset()), "day": (local.date(),)}.get(
                    granularity, (local.date().replace(day=1),)
                )
                counted[period, group_of(message, group_by)] += message.segments
        found: Counter[tuple[Any, ...]] = Counter()
        for row in answer["data"]:
            start = datetime.fromisoformat(row["period_start"]).astimezone(ZoneInfo(zone))
            period = {"hour": (start.date(), start.hour, start.utcoffset()), "day": (start.date(),)}.get(
                granularity, (start.date().replace(day=1),)
            )
            found[period, row["group"]] += row["segments"]
        assert found == counted, group_by
        assert answer["totals"]["segments"] == sum(counted.values())
