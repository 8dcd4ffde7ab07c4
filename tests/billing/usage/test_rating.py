"""Charges and usage: each sent message once, whatever the order and number of its events."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ghasi.billing import worker
from ghasi.billing.rates import admin as rate_admin
from ghasi.billing.usage import rating
from ghasi.contract.pricing import Question, Rate, RateBook, default_key
from ghasi.contract.values import new_id
from ghasi.storage.events import outbox
from ghasi.storage.events.outbox import Event
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from tests.billing.conftest import ACCOUNT, LAST_MONTH, Messages, Sms

COUNTRIES = st.sampled_from(["AF", "DE", None])
PASSES = st.sampled_from([
    ("sent", "delivered"), ("sent",), ("sent", "undelivered"), ("sent", "unknown", "delivered"), ("failed",), (),
    ("expired",), ("canceled",), ("sent", "failed"), ("sent", "unknown"), ("sent", "expired"),
])  # fmt: skip
MESSAGES = st.builds(
    Sms, account_id=st.sampled_from([ACCOUNT, new_id()]), country=COUNTRIES, segments=st.integers(1, 10), passes=PASSES,
    at=st.sampled_from([LAST_MONTH, LAST_MONTH + timedelta(minutes=14, seconds=59), LAST_MONTH + timedelta(days=20)]),
    direction=st.sampled_from(["outbound", "outbound", "inbound"]), id=st.builds(new_id),
)  # fmt: skip


async def usage_rows(pool: Pool) -> Counter[tuple[object, ...]]:
    rows = await pool.fetch("SELECT * FROM billing.usage_quarters WHERE messages <> 0")
    return Counter({
        (row["account_id"], row["at"], row["country"], row["status"], kind): row[kind]
        for row in rows
        for kind in ("messages", "segments", "amount_micros")
    })  # fmt: skip


def recount(messages: list[Sms]) -> Counter[tuple[object, ...]]:
    counted: Counter[tuple[object, ...]] = Counter()
    for message in messages:
        if "sent" not in message.passes or message.direction != "outbound":
            continue
        key = (
            message.account_id,
            quarter_of(message.at + timedelta(seconds=1)),
            message.country or "ZZ",
            message.passes[-1],
        )
        counted[*key, "messages"] += 1
        counted[*key, "segments"] += message.segments
        counted[*key, "amount_micros"] += message.segments * 45000
    return counted


def quarter_of(at: datetime) -> datetime:
    return datetime.fromtimestamp(at.timestamp() // 900 * 900, UTC)


async def outcome_rows(pool: Pool) -> Counter[tuple[object, ...]]:
    rows = await pool.fetch("SELECT * FROM billing.outcome_quarters")
    return +Counter({
        (row["account_id"], row["at"], kind): row[kind]
        for row in rows
        for kind in ("messages", "delivered", "failed", "segments", "amount_micros")
    })  # fmt: skip


def recount_outcomes(messages: list[Sms]) -> Counter[tuple[object, ...]]:
    counted: Counter[tuple[object, ...]] = Counter()
    for message in messages:
        end = message.passes[-1] if message.passes else "accepted"
        sent = "sent" in message.passes
        if message.direction != "outbound" or not (sent or end in ("failed", "expired")):
            continue
        key = (message.account_id, quarter_of(message.at + timedelta(seconds=1)))
        counted[*key, "messages"] += 1
        counted[*key, "delivered"] += end == "delivered"
        counted[*key, "failed"] += end in ("failed", "expired", "undelivered")
        counted[*key, "segments"] += message.segments * sent
        counted[*key, "amount_micros"] += message.segments * 45000 * sent
    return +counted


async def empty(pool: Pool) -> None:
    await pool.execute(
        "TRUNCATE billing.charges, billing.usage_quarters, billing.outcome_quarters, billing.refusals, "
        "billing.tallies, billing.outbox, billing.positions, messages.outbox, billing.accounts"
    )


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data(), sent=st.lists(MESSAGES, max_size=8), most=st.integers(1, 9))
async def test_usage_equals_a_recount_in_any_order_and_with_repetitions(
    pool: Pool, messages: Messages, data: st.DataObject, sent: list[Sms], most: int
) -> None:
    await empty(pool)
    events = [event for message in sent for event in message.events()]
    if events:
        again = data.draw(st.lists(st.sampled_from(events), max_size=6))
        events = data.draw(st.permutations(events + again))
    # the same event in a batch of its own, as when a position was set back
    for event in events:
        await messages.write(Event(new_id(), *tuple(getattr(event, name) for name in Event.__struct_fields__[1:])))
    await messages.read(most)
    assert await usage_rows(pool) == recount(sent)
    assert await outcome_rows(pool) == recount_outcomes(sent)
    tallied = await pool.fetchrow(
        "SELECT coalesce(sum(messages), 0), coalesce(sum(segments), 0), coalesce(sum(amount_micros), 0) "
        "FROM billing.tallies"
    )
    charged = await pool.fetchrow(
        "SELECT count(*), coalesce(sum(segments), 0), coalesce(sum(amount_micros), 0) FROM billing.charges"
    )
    assert tuple(tallied) == tuple(charged)
    told = await pool.fetch("SELECT subject_id, sequence, type, data FROM billing.outbox")
    rated = [row for row in told if row["type"] == "messages.rated"]
    prices = [price for row in rated for price in msgspec.json.decode(row["data"])["prices"]]
    assert sorted(UUID(message_id) for message_id, _, _ in prices) == sorted(
        message.id for message in sent if "sent" in message.passes and message.direction == "outbound"
    )
    assert {sequence for _, _, sequence in prices} <= {1}
    fixed = [row["subject_id"] for row in told if row["type"] == "billing_account.updated"]
    charged_accounts = {one.account_id for one in sent if "sent" in one.passes and one.direction == "outbound"}
    assert sorted(fixed) == sorted(charged_accounts)
    assert len(told) == len(rated) + len(fixed)
    assert {row["sequence"] for row in told} <= {1}


async def everything(pool: Pool) -> list[object]:
    tables = ("usage_quarters", "outcome_quarters", "refusals", "tallies", "charges", "outbox")
    return [await pool.fetch(f"SELECT * FROM billing.{table} ORDER BY 1, 2, 3, 4") for table in tables]


async def test_reading_everything_again_changes_nothing(pool: Pool, messages: Messages) -> None:
    await messages.happen(*(Sms(country=country) for country in ("AF", "DE", "AF")), Sms(passes=("failed",)))
    before = await everything(pool)
    await pool.execute("DELETE FROM billing.positions")
    await messages.read(2)
    assert await everything(pool) == before


async def test_a_status_that_comes_late_moves_nothing_back(pool: Pool, messages: Messages) -> None:
    message = Sms()
    accepted, sent, delivered = message.events()
    statuses = []
    for event in (delivered, sent, accepted):
        await messages.write(event)
        await messages.read()
        statuses += [row["status"] for row in await pool.fetch("SELECT status FROM billing.charges")]
    assert statuses == ["delivered"] * 3


async def test_what_is_rated_is_told(pool: Pool, messages: Messages) -> None:
    message = Sms(segments=3)
    await messages.happen(message)
    (row,) = await pool.fetch("SELECT account_id, data FROM billing.outbox WHERE type = 'messages.rated'")
    assert row["account_id"] == ACCOUNT
    assert msgspec.json.decode(row["data"]) == {"currency": "USD", "prices": [[str(message.id), 135000, 1]]}


async def test_the_rate_is_that_of_acceptance_and_of_the_country(pool: Pool, messages: Messages) -> None:
    noon = datetime(2026, 10, 1, 12, tzinfo=UTC)
    await rate_admin.import_rates(
        pool,
        "country,amount,valid_from\nAF,0.10,2026-10-01T12:00:00Z\nAF,0.20,2026-10-02\n*,0.03,2026-10-02\n",
        "operator:ann",
    )
    moment = timedelta(milliseconds=1)
    expected = [
        (Sms(at=noon - moment), 45000),  # no rate of its own yet: the default
        (Sms(at=noon), 100_000),
        (Sms(at=noon + timedelta(hours=12) - moment), 100_000),  # sent a second later, when the next rate holds
        (Sms(at=noon + timedelta(hours=12)), 200_000),
        (Sms(at=noon, country="DE"), 45000),
        (Sms(at=noon + timedelta(days=3), country="DE"), 30000),
        (Sms(at=noon + timedelta(days=3), country="001"), 30000),
    ]
    await messages.happen(*(message for message, _ in expected))
    charged = dict(await pool.fetch("SELECT message_id, unit_micros FROM billing.charges"))
    assert [charged[message.id] for message, _ in expected] == [unit for _, unit in expected]


def test_before_its_first_rate_a_currency_has_that_one() -> None:
    question = Question("EUR", "outbound", ACCOUNT, None, "AF", "93701234567", None, None)
    later = Rate(new_id(), default_key("EUR"), 50000, LAST_MONTH)
    assert RateBook([later]).find(question, LAST_MONTH - timedelta(days=1)) == later


async def test_a_rate_that_comes_later_leaves_charges_alone(pool: Pool, messages: Messages) -> None:
    message = Sms()
    *before, delivered = message.events()
    await messages.write(*before)
    await messages.read()
    await rate_admin.import_rates(pool, "country,amount,valid_from\nAF,1,2026-01-01", "operator:ann")
    await messages.write(delivered)
    await messages.read()
    row = await pool.fetchrow("SELECT unit_micros, status FROM billing.charges")
    assert tuple(row) == (45000, "delivered")


async def test_many_rates_are_learned_some_at_a_time(
    pool: Pool, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rating, "MOST_AT_ONCE", 2)
    prices = {"AF": 0.01, "DE": 0.02, "PK": 0.03, "SE": 0.04, "TJ": 0.06}
    lines = "".join(f"{country},{price},2026-01-01\n" for country, price in prices.items())
    await rate_admin.import_rates(pool, f"country,amount,valid_from\n{lines}", "operator:ann")
    await messages.happen(*(Sms(country=country) for country in (*prices, "FR")))
    await rate_admin.import_rates(pool, "country,amount,valid_from\nFR,0.07,2026-01-01\n", "operator:ann")
    await messages.happen(Sms(country="FR", segments=2))
    rows = await pool.fetch("SELECT country, amount_micros FROM billing.charges ORDER BY amount_micros")
    assert [tuple(row) for row in rows] == [
        ("AF", 10_000), ("DE", 20_000), ("PK", 30_000), ("SE", 40_000), ("FR", 45_000), ("TJ", 60_000), ("FR", 140_000),
    ]  # fmt: skip


async def test_the_worker_rates_and_rings(resources: Resources, pool: Pool, messages: Messages) -> None:
    rung = resources.bells.event("billing")
    task = asyncio.create_task(worker.work(resources))
    message = Sms()
    await messages.write(*message.events())
    resources.bells.ring("messages")
    async with asyncio.timeout(5):
        await rung.wait()
    # it rings after the commit
    assert await pool.fetchval("SELECT status FROM billing.charges") == "delivered"
    resources.stopping.set()
    async with asyncio.timeout(5):
        await task


async def test_the_worker_learns_names(resources: Resources, pool: Pool) -> None:
    said = outbox.to_json({"id": str(ACCOUNT), "name": "Kabul Pharmacy", "status": "active"})
    async with pool.acquire() as connection, connection.transaction():
        await outbox.append(
            connection, "auth", [Event(new_id(), "account.updated", ACCOUNT, ACCOUNT, 1, LAST_MONTH, said)]
        )
    task = asyncio.create_task(worker.work(resources))
    async with asyncio.timeout(5):
        while await pool.fetchval("SELECT name FROM billing.customers") != "Kabul Pharmacy":
            await asyncio.sleep(0.02)
    resources.stopping.set()
    await task


async def test_the_worker_prunes_what_was_read(resources: Resources, pool: Pool, messages: Messages) -> None:
    await messages.happen(Sms(), Sms())
    await pool.execute("UPDATE billing.outbox SET at = now() - interval '25 hours'")
    for reader in ("messages", "webhooks"):
        await pool.execute(f"INSERT INTO {reader}.positions (source, xid) VALUES ('billing', pg_current_xact_id())")
    task = asyncio.create_task(worker.work(resources))
    async with asyncio.timeout(5):
        while await pool.fetchval("SELECT count(*) FROM billing.outbox"):
            await asyncio.sleep(0.02)
    resources.stopping.set()
    await task
