"""What plans, tiers, directions and carriers make of charges, beside a naive account of the same events."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ghasi.billing.model import BilledOn
from ghasi.billing.plans.model import Plan, PlanTier, Subscription
from ghasi.billing.plans.queries import insert_plan, insert_subscription
from ghasi.billing.rates.queries import insert_rates
from ghasi.billing.usage.rating import Rater
from ghasi.contract.pricing import Rate, RateKey, Tier
from ghasi.contract.values import decimal_string, new_id
from ghasi.storage.pool import Pool
from tests.billing.conftest import LAST_MONTH, Messages, Sms
from tests.billing.usage.test_rating import quarter_of

OCTOBER, NOVEMBER = date(2026, 10, 1), date(2026, 11, 1)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
LAST_SECOND = datetime(2026, 10, 31, 23, 59, 59, 500_000, tzinfo=UTC)
BARE, EARLY, TIERED, LATE, CHANGING = (new_id() for _ in range(5))
KEYS = [new_id(), new_id()]
PLANS = [
    Plan("early", OCTOBER, "USD", included_segments=2, tiers=(PlanTier(4, 250_000),), billed_on="accepted"),
    Plan("tiered", OCTOBER, "USD", included_segments=5, tiers=(PlanTier(8, 100_000), PlanTier(12, 333_333))),
    Plan("late", OCTOBER, "USD", included_segments=3, tiers=(PlanTier(6, 500_000),), billed_on="delivered"),
]
SUBSCRIBED = [
    (EARLY, "early", OCTOBER), (TIERED, "tiered", OCTOBER), (LATE, "late", OCTOBER), (CHANGING, "early", NOVEMBER),
]  # fmt: skip
PLAN_OF = {EARLY: PLANS[0], TIERED: PLANS[1], LATE: PLANS[2]}


def rate(micros: int, *tiers: Tier, direction: Any = "outbound", **conditions: Any) -> Rate:
    key = dict.fromkeys(("account_id", "plan", "sender_kind", "carrier_class")) | {"country": "*", "prefix": ""}
    return Rate(new_id(), RateKey(currency="USD", direction=direction, **(key | conditions)), micros, LONG_AGO, tiers)


DEFAULT = rate(40_001)
GERMAN = rate(30_001, Tier(4, 20_001), country="DE")
PREMIUM = rate(90_001, country="DE", carrier_class="premium")
OF_NAMES = rate(70_001, country="AF", sender_kind="name")
OF_TIERED = rate(10_001, country="AF", plan="tiered")
RECEIVED = rate(5_001, direction="inbound", country="AF")
RATES = [DEFAULT, GERMAN, PREMIUM, OF_NAMES, OF_TIERED, RECEIVED]

PASSES = st.sampled_from([
    ("sent", "delivered"), ("sent", "delivered"), ("sent",), ("sent", "undelivered"), ("sent", "unknown", "delivered"),
    ("failed",), (), ("expired",), ("canceled",),
])  # fmt: skip
OUTBOUND = st.builds(
    Sms, account_id=st.sampled_from([EARLY, TIERED, EARLY, TIERED, LATE, BARE, CHANGING]),
    country=st.sampled_from(["DE", "DE", "DE", "AF", None]),
    segments=st.integers(1, 4), passes=PASSES, at=st.sampled_from([LAST_MONTH, LAST_MONTH, LAST_MONTH, LAST_SECOND]),
    id=st.builds(new_id),
    sender=st.sampled_from([None, "Bakery", "72100"]), reference=st.sampled_from([None, "a", "b"]),
    api_key_id=st.sampled_from([None, *KEYS]), carrier_class=st.sampled_from([None, None, "premium"]),
    later=st.sampled_from([None, None, timedelta(hours=1)]),
)  # fmt: skip
INBOUND = st.builds(
    Sms, account_id=st.sampled_from([BARE, LATE]), country=st.sampled_from(["AF", "DE"]), passes=st.just(("received",)),
    direction=st.just("inbound"), to=st.sampled_from(["72100", "+46700001000"]), sender=st.just("+93701234567"),
    id=st.builds(new_id),
)  # fmt: skip


@dataclass
class Account:
    """One message as a careful clerk would keep it."""

    message: Sms
    sequence: int = 0
    billed_on: str = "sent"
    at: datetime | None = None
    rate: Rate | None = None
    price: tuple[str, int] | None = None
    reversed: bool = False

    @property
    def status(self) -> str:
        return self.message.statuses[self.sequence - 1]

    @property
    def unsent(self) -> bool:
        return "sent" not in self.message.statuses[: self.sequence] and self.status in ("failed", "expired", "canceled")

    @property
    def amount(self) -> int:
        return 0 if self.price is None or self.reversed else self.price[1] * self.message.segments

    @property
    def month(self) -> date:
        assert self.at
        return self.at.date().replace(day=1)


@dataclass
class Clerk:
    """Goes through batches of events by hand, one message after the other."""

    accounts: dict[UUID, Account] = field(default_factory=dict)
    told: dict[UUID, list[int]] = field(default_factory=lambda: defaultdict(list))

    def take(self, batch: Iterable[tuple[Sms, int]]) -> None:
        newest: dict[UUID, tuple[Sms, int]] = {}
        for message, sequence in batch:
            if message.id not in newest or newest[message.id][1] < sequence:
                newest[message.id] = message, sequence
        moved, fresh = [], []
        for message, sequence in newest.values():
            account = self.accounts.setdefault(message.id, Account(message))
            if sequence <= account.sequence:
                continue
            account.sequence = sequence
            (fresh if account.at is None else moved).append(account)
        for account in moved:
            if account.unsent and account.price is not None:
                account.reversed = True
                self.told[account.message.id].append(0)
        for account in moved:
            if account.billed_on == "delivered" and account.status == "delivered" and account.price is None:
                self.bill(account)
        for account in fresh:
            self.begin(account)

    def begin(self, account: Account) -> None:
        message, passed = account.message, account.message.statuses[: account.sequence]
        if message.direction == "inbound":
            account.billed_on, account.at = "accepted", message.at
        else:
            of_month = message.accepted_at.date().replace(day=1)
            if "accepted" not in passed:  # not sure yet; but then nothing is counted either
                of_month = message.at.date().replace(day=1)
            account.billed_on = plan_of(message.account_id, of_month).billed_on
            if account.unsent or passed[-1] == "scheduled":
                return
            account.at = message.accepted_at if account.billed_on == "accepted" else message.sent_at
            if account.billed_on != "accepted" and "sent" not in passed:
                account.at = None
        if account.at is None:
            return
        account.rate = rate_of(account)
        if account.rate is None:
            account.at = None
        elif account.billed_on != "delivered" or account.status == "delivered":
            self.bill(account)
        else:
            self.told[message.id].append(0)

    def bill(self, account: Account) -> None:
        assert account.rate
        others = [
            one
            for one in self.accounts.values()
            if one.price is not None and not one.reversed and one.message.account_id == account.message.account_id
            and one.month == account.month
        ]  # fmt: skip
        of_rate = sum(
            one.message.segments
            for one in others
            if one.rate and one.rate.key == account.rate.key and one.price and one.price[0] == "usage"
        )
        of_plan = sum(one.message.segments for one in others if one.message.direction == "outbound")
        listed = next((t.amount_micros for t in reversed(account.rate.tiers) if t.from_segments <= of_rate), None)
        listed = account.rate.amount_micros if listed is None else listed
        plan = plan_of(account.message.account_id, account.month)
        account.price = ("usage", listed)
        if account.message.direction == "outbound":
            off = next((t.off_ppm for t in reversed(plan.tiers) if t.from_segments <= of_plan), 0)
            account.price = ("usage", round(Fraction(listed * (1_000_000 - off), 1_000_000)))
            if of_plan < plan.included_segments:
                account.price = ("included", 0)
        self.told[account.message.id].append(account.amount)


def plan_of(account_id: UUID, month: date) -> Plan:
    if account_id == CHANGING:
        return PLANS[0] if month >= NOVEMBER else Plan("none", OCTOBER, "USD")
    return PLAN_OF.get(account_id, Plan("none", OCTOBER, "USD"))


def rate_of(account: Account) -> Rate | None:
    message = account.message
    if message.direction == "inbound":
        return RECEIVED if message.country == "AF" else None
    went = "sent" in message.statuses[: account.sequence] and message.carrier_class == "premium"
    if message.account_id == TIERED and message.country == "AF":
        return OF_TIERED
    if message.country == "DE":
        return PREMIUM if went else GERMAN
    return OF_NAMES if message.country == "AF" and message.sender == "Bakery" else DEFAULT


async def begin_anew(pool: Pool) -> None:
    await pool.execute(
        "TRUNCATE billing.charges, billing.usage_quarters, billing.usage_groups, billing.usage_values, "
        "billing.tallies, billing.outcome_quarters, billing.refusals, billing.outbox, billing.positions, "
        "messages.outbox, billing.accounts, billing.plans, billing.subscriptions, billing.spending_months, "
        "billing.holds CASCADE"
    )
    async with pool.acquire() as connection:
        if not await connection.fetchval("SELECT count(*) > 1 FROM billing.rates"):
            await insert_rates(connection, RATES)
        for plan in PLANS:
            await insert_plan(connection, plan)
        for account_id, name, month in SUBSCRIBED:
            await insert_subscription(connection, Subscription(account_id, month, name))


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    data=st.data(), sent=st.lists(st.one_of(OUTBOUND, OUTBOUND, OUTBOUND, INBOUND), max_size=14), most=st.integers(1, 9)
)
async def test_charges_are_what_a_careful_clerk_would_charge(
    pool: Pool, data: st.DataObject, sent: list[Sms], most: int
) -> None:
    await begin_anew(pool)
    events = [(message, number) for message in sent for number in range(1, len(message.statuses) + 1)]
    if events:
        events = data.draw(st.permutations(events + data.draw(st.lists(st.sampled_from(events), max_size=6))))
    clerk, rater = Clerk(), Rater()
    for first in range(0, len(events), most):
        batch = events[first : first + most]
        clerk.take(batch)
        again = [message.events()[number - 1] for message, number in batch]
        async with pool.acquire() as connection, connection.transaction():
            await rater.apply(connection, again)
    await assert_equal(pool, clerk)
    before = await everything(pool)
    async with pool.acquire() as connection, connection.transaction():  # all of it once more, by another worker
        await Rater().apply(connection, [message.events()[number - 1] for message, number in events])
    assert await everything(pool) == before


async def assert_equal(pool: Pool, clerk: Clerk) -> None:
    counted = [account for account in clerk.accounts.values() if account.at is not None]
    charges = {row["message_id"]: row for row in await pool.fetch("SELECT * FROM billing.charges")}
    assert charges.keys() == {account.message.id for account in counted}
    for account in counted:
        row, message = charges[account.message.id], account.message
        assert account.rate
        assert (row["at"], row["status"], row["billed_on"]) == (account.at, account.status, account.billed_on)
        assert (row["rate_id"], row["reference"], row["api_key_id"]) == (
            account.rate.id, message.reference, message.api_key_id,
        )  # fmt: skip
        assert (row["tally_id"] is None, row["reversal_tally_id"] is None) == (
            account.price is None, not account.reversed,
        )  # fmt: skip
        assert (row["kind"], row["unit_micros"]) == (account.price or ("usage", 0)), message
    await assert_sums(pool, counted)
    rated = await pool.fetch("SELECT data FROM billing.outbox WHERE type = 'messages.rated' ORDER BY xid, id")
    told: dict[UUID, list[int]] = defaultdict(list)
    for row in rated:
        for message_id, amount_micros, sequence in msgspec.json.decode(row["data"])["prices"]:
            told[UUID(message_id)].append(amount_micros)
            assert sequence == len(told[UUID(message_id)])
    assert told == clerk.told


async def assert_sums(pool: Pool, counted: list[Account]) -> None:
    """Usage, tallies and what months came to are the sums of the charges."""
    usage: Counter[tuple[Any, ...]] = Counter()
    groups: Counter[tuple[Any, ...]] = Counter()
    totals: Counter[tuple[Any, ...]] = Counter()
    for account in counted:
        if account.reversed:
            continue
        message, at = account.message, quarter_of(account.at)  # type: ignore[arg-type]
        sums = {"messages": 1, "segments": message.segments, "amount_micros": account.amount}
        own = message.to if message.direction == "inbound" else message.sender
        key_id = str(message.api_key_id) if message.api_key_id else None
        named = {"sender": own, "reference": message.reference, "api_key": key_id}
        for kind, value in sums.items():
            usage[message.account_id, at, message.country or "ZZ", account.status, kind] += value
            totals[message.account_id, at, kind] += value
            for dimension, name in named.items():
                if name is not None:
                    groups[message.account_id, dimension, at, name, kind] += value

    async def kept(table: str, width: int) -> Counter[tuple[Any, ...]]:
        rows = await pool.fetch(f"SELECT * FROM billing.{table}")
        kinds = ("messages", "segments", "amount_micros")
        return Counter({(*tuple(row)[:width], kind): row[kind] for row in rows for kind in kinds if row[kind]})

    assert await kept("usage_quarters", 4) == +usage
    assert await kept("usage_groups", 4) == +groups
    outcomes = await pool.fetch(
        "SELECT account_id, at, messages - refused + received AS messages, segments + received_segments AS segments, "
        "amount_micros + received_micros AS amount_micros FROM billing.outcome_quarters"
    )
    kinds = ("messages", "segments", "amount_micros")
    assert +Counter({(*tuple(row)[:2], kind): row[kind] for row in outcomes for kind in kinds}) == +totals
    differing = await pool.fetch(
        """
        WITH sums AS (
            SELECT tally_id, count(*) AS messages, sum(segments) AS segments, sum(amount_micros) AS amount_micros
            FROM (SELECT tally_id, segments, amount_micros FROM billing.charges WHERE tally_id IS NOT NULL) AS billed
            GROUP BY tally_id
        ), back AS (
            SELECT reversal_tally_id AS tally_id, count(*) AS messages, sum(segments) AS segments,
                   sum(amount_micros) AS amount_micros
            FROM billing.charges WHERE reversal_tally_id IS NOT NULL GROUP BY reversal_tally_id
        )
        SELECT tally.id FROM billing.tallies AS tally LEFT JOIN sums ON sums.tally_id = tally.id
        LEFT JOIN back ON back.tally_id = tally.id
        WHERE (tally.messages, tally.segments, tally.amount_micros) IS DISTINCT FROM
              (coalesce(sums.messages, 0) - coalesce(back.messages, 0),
               coalesce(sums.segments, 0) - coalesce(back.segments, 0),
               coalesce(sums.amount_micros, 0) - coalesce(back.amount_micros, 0))
        """
    )
    assert differing == []
    spent: Counter[tuple[UUID, date]] = Counter()
    for account in counted:
        spent[account.message.account_id, account.month] += account.amount
    rows = await pool.fetch("SELECT account_id, month, spent_micros FROM billing.spending_months")
    assert +Counter({(row[0], row[1]): row[2] for row in rows}) == +spent


async def everything(pool: Pool) -> list[object]:
    tables = ("charges", "usage_quarters", "usage_groups", "outcome_quarters", "refusals", "tallies", "outbox")
    return [await pool.fetch(f"SELECT * FROM billing.{table} ORDER BY 1, 2, 3, 4") for table in tables]


async def charged(pool: Pool, *messages: Sms) -> list[tuple[Any, ...]]:
    rows = await pool.fetch("SELECT message_id, kind, list_micros, unit_micros, amount_micros FROM billing.charges")
    found = {row["message_id"]: tuple(row)[1:] for row in rows}
    return [found[message.id] for message in messages]


async def test_what_is_given_back_makes_room_for_the_next(pool: Pool, messages: Messages) -> None:
    """Included and tiered segments go by what stays charged, in the very batch in which it is given back."""
    await begin_anew(pool)
    first = Sms(account_id=EARLY, country="DE", segments=2, passes=("failed",))
    second, third = (Sms(account_id=EARLY, country="DE", segments=2) for _ in range(2))
    accepted, failed = first.events()
    await messages.write(accepted, second.events()[0])
    await messages.read()
    assert await charged(pool, first, second) == [("included", 30_001, 0, 0), ("usage", 30_001, 30_001, 60_002)]
    await messages.write(failed, third.events()[0])
    await messages.read()
    # two segments stay, both of the second: the third would be in the tier if the first still counted
    assert await charged(pool, third) == [("usage", 30_001, 30_001, 60_002)]
    fourth = Sms(account_id=EARLY, country="DE")
    await messages.happen(fourth)
    assert await charged(pool, fourth) == [("usage", 20_001, 15_001, 15_001)]  # 15,000.75: of both tiers


async def test_included_segments_do_not_count_for_the_rates_tiers(pool: Pool, messages: Messages) -> None:
    await begin_anew(pool)
    sent = [Sms(account_id=TIERED, country="DE", segments=3) for _ in range(6)]
    for message in sent:
        await messages.happen(message)
    assert await charged(pool, *sent) == [
        ("included", 30_001, 0, 0),
        ("included", 30_001, 0, 0),  # never split: its first segment is the fourth of five
        ("usage", 30_001, 30_001, 90_003),
        ("usage", 30_001, 27_001, 81_003),  # 9 of the plan: 10 % off 30,001
        ("usage", 20_001, 13_334, 40_002),  # 6 at the rate, 12 of the plan: a third off 20,001
        ("usage", 20_001, 13_334, 40_002),
    ]


async def test_the_example_of_the_page_on_billing(pool: Pool, messages: Messages) -> None:
    page = (Path(__file__).parents[3] / "docs/billing.md").read_text()
    table = page.partition("| Message | Segments before |")[2].partition("They cost")[0]
    said = [line.split("|")[3].strip() for line in table.splitlines()[2:] if line]
    await begin_anew(pool)
    account_id = new_id()
    async with pool.acquire() as connection:
        await insert_plan(connection, Plan("page", OCTOBER, "USD", included_segments=5, tiers=(PlanTier(8, 100_000),)))
        await insert_subscription(connection, Subscription(account_id, OCTOBER, "page"))
        key = RateKey("USD", "outbound", account_id, None, "AF", "", None, None)
        await insert_rates(connection, [Rate(new_id(), key, 30_000, LONG_AGO)])
    sent = [Sms(account_id=account_id, segments=3) for _ in range(6)]
    await messages.happen(*sent)
    found = await charged(pool, *sent)
    assert [decimal_string(unit) for _, _, unit, _ in found] == said
    assert f"= {decimal_string(sum(amount for *_, amount in found))}. Tiers" in " ".join(page.split())


async def test_a_message_that_is_billed_on_its_delivery(pool: Pool, messages: Messages) -> None:
    await begin_anew(pool)
    message = Sms(account_id=LATE, segments=4)
    accepted, sent, delivered = message.events()
    await messages.write(accepted, sent)
    await messages.read()
    assert await charged(pool, message) == [("usage", None, 0, 0)]
    assert await pool.fetchval("SELECT count(*) FROM billing.tallies") == 0
    (usage,) = await pool.fetch("SELECT messages, segments, amount_micros FROM billing.usage_quarters")
    assert tuple(usage) == (1, 4, 0)
    await messages.happen(Sms(account_id=LATE, segments=1, passes=("sent", "undelivered")))
    await messages.write(delivered)
    await messages.read()
    assert await charged(pool, message) == [("included", 40_001, 0, 0)]
    more = Sms(account_id=LATE, segments=3)
    await messages.happen(more)
    assert await charged(pool, more) == [("usage", 40_001, 40_001, 120_003)]


async def test_what_changes_after_the_invoice_opens_a_tally_of_its_own(pool: Pool, messages: Messages) -> None:
    await begin_anew(pool)
    filling = Sms(account_id=EARLY, country="AF", segments=2)
    message = Sms(account_id=EARLY, country="AF", passes=("failed",))
    accepted, failed = message.events()
    await messages.happen(filling)
    await messages.write(accepted)
    await messages.read()
    await pool.execute(
        """
        WITH made AS (
            INSERT INTO billing.invoices (id, account_id, currency, period_start, period_end, subtotal_micros,
                                          total_micros)
            VALUES ($1, $2, 'USD', '2026-10-01Z', '2026-11-01Z', 0, 0) RETURNING id
        )
        UPDATE billing.tallies SET invoice_id = made.id FROM made
        """,
        new_id(), EARLY,
    )  # fmt: skip
    await messages.write(failed)
    await messages.read()
    rows = await pool.fetch(
        "SELECT month, kind, messages, segments, amount_micros FROM billing.tallies WHERE invoice_id IS NULL"
    )
    assert [tuple(row) for row in rows] == [(OCTOBER, "usage", -1, -1, -40_001)]
    assert await pool.fetchval("SELECT sum(amount_micros) FROM billing.usage_quarters") == 0


async def test_a_received_message_costs_what_its_rate_says(pool: Pool, messages: Messages) -> None:
    await begin_anew(pool)
    received = Sms(direction="inbound", passes=("received",), to="72100", sender="+93701234567", segments=2)
    free = Sms(direction="inbound", passes=("received",), to="72100", sender="+4915112345678", country="DE")
    await messages.happen(received, free)
    (row,) = await pool.fetch("SELECT * FROM billing.charges")
    assert (row["message_id"], row["direction"], row["sender"], row["amount_micros"]) == (
        received.id, "inbound", "72100", 10_002,
    )  # fmt: skip
    (outcome,) = await pool.fetch("SELECT messages, received, received_segments, received_micros "
                                  "FROM billing.outcome_quarters")  # fmt: skip
    assert tuple(outcome) == (0, 1, 2, 10_002)


async def test_accounts_that_are_held_have_what_is_on_its_way_held(pool: Pool, messages: Messages) -> None:
    await begin_anew(pool)
    async with pool.acquire() as connection:
        prepaid: list[tuple[UUID, BilledOn]] = [(BARE, "sent"), (LATE, "delivered")]
        for account_id, billed_on in prepaid:
            plan = Plan(f"prepaid-{billed_on}", OCTOBER, "USD", billed_on=billed_on, payment="prepaid")
            await insert_plan(connection, plan)
            await insert_subscription(connection, Subscription(account_id, OCTOBER, plan.name))
    scheduled = Sms(account_id=BARE, segments=2, later=timedelta(hours=1), passes=("canceled",))
    waiting, pending = Sms(account_id=BARE), Sms(account_id=LATE)
    await messages.write(scheduled.events()[0], waiting.events()[0], pending.events()[0])
    await messages.read()

    async def held() -> dict[UUID, int]:
        return dict(await pool.fetch("SELECT message_id, amount_micros FROM billing.holds"))

    assert await held() == {scheduled.id: 80_002, waiting.id: 40_001, pending.id: 40_001}
    await messages.write(scheduled.events()[1], waiting.events()[1], pending.events()[1])
    await messages.read()
    assert await held() == {pending.id: 40_001}  # until it is delivered, or not
    await messages.write(pending.events()[2])
    await messages.read()
    assert await held() == {}
