"""`ghasi admin usage verify`: each way in which messages and billing may differ is named, and nothing else."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from ghasi.billing.plans.model import Plan, Subscription
from ghasi.billing.plans.queries import insert_plan, insert_subscription
from ghasi.billing.rates import admin as rate_admin
from ghasi.billing.usage import verifying
from ghasi.commands import admin_usage
from ghasi.contract.values import first_id_after, id_time, new_id
from ghasi.messages.sending.prices import take_billing
from ghasi.settings import Settings
from ghasi.storage.bells import Bells
from ghasi.storage.events import postgres
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from ghasi.storage.sealing import Sealer, new_secret_key
from tests.billing.conftest import LAST_MONTH, Messages, Sms
from tests.carrying import events_of

OTHER, EARLY, LATE = new_id(), new_id(), new_id()
PERIOD = "2026-10"


def made_at(at: datetime, number: int) -> UUID:
    return UUID(int=first_id_after(at - timedelta(milliseconds=1)).int + number)


MONTH = [
    replace(message, id=made_at(message.at, number))
    for number, message in enumerate([
        Sms(sender="Bakery", reference="spring", segments=2), Sms(country="DE"), Sms(account_id=OTHER, country=None),
        Sms(passes=("failed",)), Sms(passes=("sent", "undelivered")), Sms(passes=("canceled",)), Sms(passes=()),
        Sms(at=datetime(2026, 9, 28, 12, tzinfo=UTC), later=timedelta(days=9)),  # sent in October
        Sms(at=datetime(2026, 10, 31, 23, 59, 59, 900_000, tzinfo=UTC)),  # sent in November
        Sms(account_id=EARLY), Sms(account_id=EARLY, passes=("failed",)), Sms(account_id=EARLY, passes=()),
        Sms(account_id=EARLY, later=timedelta(hours=1), passes=("canceled",)),
        Sms(account_id=LATE), Sms(account_id=LATE, passes=("sent",)), Sms(account_id=LATE, passes=("sent", "expired")),
        Sms(direction="inbound", passes=("received",), to="72100", sender="+93701234567"),
        Sms(direction="inbound", passes=("received",), to="72100", sender="+4915112345678", country="DE"),
    ])
]  # fmt: skip
FIRST, GERMAN, ELSEWHERE, REFUSED = MONTH[:4]
GIVEN_BACK, RECEIVED = MONTH[10], MONTH[16]


async def store(pool: Pool, message: Sms) -> None:
    """Write a message as messages keeps it, once all has happened."""
    status = message.statuses[-1]
    accepted_at = message.accepted_at if message.later and "accepted" in message.statuses else None
    await pool.execute(
        """
        INSERT INTO messages.messages (id, account_id, direction, recipient, sender, body, encoding, segments, country,
                                       reference, status, sequence, send_at, accepted_at, sent_at, completed_at)
        VALUES ($1, $2, $3, $4, $5, 'Hi', 'gsm7', $6, $7, $8, $9, $10, $11, $12, $13, $14)
        """,
        message.id, message.account_id, message.direction, message.to, message.sender, message.segments,
        message.country, message.reference, status, len(message.statuses),
        message.accepted_at if message.later else None, accepted_at, message.sent_at, message.at,
    )  # fmt: skip


@pytest.fixture
async def october(pool: Pool, messages: Messages) -> AsyncIterator[Pool]:
    """A month whose messages, charges and prices agree."""
    for month in ("2026-09-01", "2026-10-01"):
        await pool.execute("SELECT messages.make_partition($1::text::date)", month)
    csv = "country,amount,direction,valid_from\nAF,0.01,inbound,2026-01-01\n"
    await rate_admin.import_rates(pool, csv, "operator:ann")
    await pool.execute("ALTER TABLE billing.rates DISABLE TRIGGER USER")
    await pool.execute("UPDATE billing.rates SET created_at = '2026-01-01Z'")
    async with pool.acquire() as connection:
        for account_id, billed_on in ((EARLY, "accepted"), (LATE, "delivered")):
            plan = Plan(billed_on, datetime(2026, 9, 1, tzinfo=UTC).date(), "USD", billed_on=billed_on)  # type: ignore[arg-type]
            await insert_plan(connection, plan)
            await insert_subscription(connection, Subscription(account_id, plan.valid_from, plan.name))
    for message in MONTH:
        await store(pool, message)
    # accepted first, so that what is given back was charged
    await messages.write(*(message.events()[0] for message in MONTH))
    await messages.read()
    await messages.happen(*MONTH)
    while await postgres.consume(pool, "billing", "messages", take_billing) or not await pool.fetchval(
        "SELECT count(*) FROM messages.messages WHERE price_micros IS NOT NULL"
    ):
        pass
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(admin_usage, "ARRIVES_WITHIN_S", 0.0)
        yield pool


async def recount(pool: Pool, account: UUID | None = None) -> verifying.Recount:
    both = Resources(Settings(), "", pool, Sealer(new_secret_key()), Bells(pool), events_of(pool))
    found, _ = await admin_usage._recount(both, both, PERIOD, account)
    return found


async def differences(pool: Pool, account: UUID | None = None) -> list[tuple[str, str, str | None, str | None]]:
    return [(one.kind, one.what, one.message, one.billing) for one in (await recount(pool, account)).found]


async def test_a_month_that_agrees(october: Pool) -> None:
    found = await recount(october)
    assert found.found == []
    assert (found.messages, found.charges, found.uncheckable) == (len(MONTH), 12, 0)
    assert (await recount(october, OTHER)).messages == 1


async def test_few_at_a_time_is_the_same(october: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_usage, "AT_A_TIME", 2)
    found = await recount(october)
    assert (found.found, found.messages, found.charges) == ([], len(MONTH), 12)


async def unguarded(pool: Pool, statement: str, *values: object) -> None:
    """Change what nothing of ours would change."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(statement, *values)


async def test_what_is_missing_in_billing(october: Pool) -> None:
    for message in (FIRST, MONTH[9], RECEIVED):
        await unguarded(october, "DELETE FROM billing.charges WHERE message_id = $1", message.id)
    found = [one for one in await differences(october) if one[0] == "missing in billing"]
    assert found == [
        ("missing in billing", str(FIRST.id), "delivered, 2 segments to AF", None),
        ("missing in billing", str(MONTH[9].id), "delivered, 1 segments to AF", None),
        ("missing in billing", str(RECEIVED.id), "received, 1 segments to AF", None),
    ]
    sums = {one[0] for one in await differences(october)}
    assert sums == {"missing in billing", "usage", "group", "tally"}
    assert await differences(october, OTHER) == []


async def test_what_is_not_in_messages(october: Pool) -> None:
    await october.execute("DELETE FROM messages.messages WHERE id = $1", ELSEWHERE.id)
    assert await differences(october) == [
        ("not in messages", str(ELSEWHERE.id), None, "delivered, 1 segments to ZZ, 0.0450")
    ]


async def test_what_a_detached_month_had_cannot_be_checked(october: Pool) -> None:
    await october.execute("ALTER TABLE messages.messages DETACH PARTITION messages.messages_2026_09")
    found = await recount(october)
    assert (found.found, found.uncheckable, found.unread_months) == ([], 1, {"2026-09"})
    (note,) = admin_usage._notes(found, is_behind=False)
    assert note == "1 charge cannot be checked: messages of 2026-09 are detached"


OF_MESSAGES: list[tuple[str, Sms, str, str, str]] = [
    ("status = 'undelivered'", GERMAN, "status", "undelivered", "delivered"),
    ("segments = 3", GERMAN, "segments", "3", "1"),
    ("country = 'FR'", GERMAN, "country", "FR", "DE"),
    ("price_micros = 1", GERMAN, "amount", "0.000001", "0.0450"),
    ("sent_at = sent_at - interval '1 minute'", GERMAN, "time", "2026-10-15T12:29:01+00:00",
     "2026-10-15T12:30:01+00:00"),
    ("sent_at = NULL, status = 'failed'", GERMAN, "charged in error", "failed", "delivered, 1 segments to DE, 0.0450"),
    ("sent_at = NULL, status = 'failed'", MONTH[9], "charged in error", "failed",
     "delivered, 1 segments to AF, 0.0450"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message", "kind", "said", "kept"), OF_MESSAGES)
async def test_what_a_message_says_otherwise(  # noqa: PLR0917 - what is changed, and what is found
    october: Pool, change: str, message: Sms, kind: str, said: str, kept: str
) -> None:
    await october.execute(f"UPDATE messages.messages SET {change} WHERE id = $1", message.id)
    assert await differences(october) == [(kind, str(message.id), said, kept)]


async def test_what_is_billed_against_its_plan(october: Pool) -> None:
    await unguarded(october, "UPDATE billing.charges SET tally_id = NULL, amount_micros = 0, unit_micros = 0 "
                             "WHERE message_id = $1", MONTH[13].id)  # fmt: skip
    found = await differences(october)
    assert ("amount", str(MONTH[13].id), "0.0450", "0.0000") in found
    await october.execute("UPDATE messages.messages SET price_micros = 0 WHERE id = $1", MONTH[13].id)
    assert ("amount", str(MONTH[13].id), "to be billed", "0.0000") in await differences(october)


async def test_sums_that_are_not_those_of_the_charges(october: Pool) -> None:
    changes: list[tuple[str, str]] = [
        ("usage_quarters SET messages = messages + 1 WHERE country = 'DE'", "usage"),
        ("usage_groups SET segments = segments + 1 WHERE value = 'spring'", "group"),
        ("outcome_quarters SET amount_micros = amount_micros + 1 WHERE account_id = '" + str(LATE) + "'", "outcome"),
        ("tallies SET messages = messages + 1 WHERE country = 'ZZ'", "tally"),
    ]
    for number, (change, kind) in enumerate(changes, start=1):
        await unguarded(october, f"UPDATE billing.{change}")
        kinds = [one.kind for one in (await recount(october)).found]
        assert kind in kinds
        assert set(kinds) <= {kind for _, kind in changes[:number]} | {"outcome"}  # usage is what outcomes are held to
    found = {one.what: (one.message, one.billing) for one in (await recount(october)).found}
    assert found["2026-10-15 12:30 reference spring"] == (
        "1 messages, 2 segments, 0.0900", "1 messages, 3 segments, 0.0900",
    )  # fmt: skip


async def test_what_was_given_back_is_right(october: Pool) -> None:
    row = await october.fetchrow("SELECT * FROM billing.charges WHERE message_id = $1", GIVEN_BACK.id)
    assert row is not None
    assert (row["status"], row["reversal_tally_id"] is None) == ("failed", False)
    assert id_time(GIVEN_BACK.id) == LAST_MONTH
    await unguarded(october, "UPDATE billing.charges SET reversal_tally_id = NULL WHERE message_id = $1", GIVEN_BACK.id)
    found = await differences(october)
    assert ("charged in error", str(GIVEN_BACK.id), "failed", "failed, 1 segments to AF, 0.0450") in found


async def test_what_is_under_way_is_waited_for(
    october: Pool, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = replace(MONTH[14], passes=("sent", "delivered"))
    await october.execute("UPDATE messages.messages SET status = 'delivered', sequence = 3 WHERE id = $1", late.id)
    await messages.write(late.events()[2])
    assert [one[0] for one in await differences(october)] == ["status"]

    async def work() -> None:
        await asyncio.sleep(0.3)
        await messages.read()
        await postgres.consume(october, "billing", "messages", take_billing)

    monkeypatch.setattr(admin_usage, "ARRIVES_WITHIN_S", 10.0)
    working = asyncio.create_task(work())
    assert await differences(october) == []
    await working
