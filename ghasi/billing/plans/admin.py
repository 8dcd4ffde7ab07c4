"""What operators do with plans and with who has which. Every change is written to the audit log.

Owns from which month a change may hold: never a past one, and the running one only while none of the accounts that it
is about has usage in it, so that a month has one plan from its first message to its invoice. Plain functions for the
command line; they print nothing and raise BillingError with a text fit to be shown.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from uuid import UUID

from ghasi.billing import events
from ghasi.billing.accounts import queries as account_queries
from ghasi.billing.accounts.admin import fix_currency, require_default_rate
from ghasi.billing.ledger import states
from ghasi.billing.model import DEFAULT_CURRENCY, BilledOn
from ghasi.billing.periods import month_bounds, month_of, parse_month
from ghasi.billing.plans import queries
from ghasi.billing.plans.model import MILLION, Payment, Plan, PlanError, PlanTier, Subscription
from ghasi.storage import audit
from ghasi.storage.events import outbox
from ghasi.storage.pool import Connection, Pool

NO_PLAN = "none"
MOST = 10**12
"""Of money and of segments: so much the database can add up."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


@dataclass(frozen=True, slots=True)
class PlanTerms:
    """What an operator says of a plan; None: as it is, or for a new plan nothing, billed on sent, postpaid."""

    currency: str | None = None
    base_fee_micros: int | None = None
    included_segments: int | None = None
    tiers: tuple[PlanTier, ...] | None = None
    minimum_micros: int | None = None
    billed_on: BilledOn | None = None
    payment: Payment | None = None


async def set_plan(pool: Pool, name: str, terms: PlanTerms, actor: str, from_month: str | None = None) -> Plan:
    """Say what a plan is from a month on (YYYY-MM; by default the next one that it may be); idempotent.

    Raises PlanError where it can't be: a month that may not change any more, another currency, tiers out of order.
    """
    async with pool.acquire() as connection, connection.transaction():
        await queries.lock_plans(connection)
        this_month, next_month = _months(datetime.now(UTC))
        known = await queries.list_plans(connection, _checked_name(name))
        subscribers = await queries.list_subscribers(connection, name, this_month)
        current = await queries.plans_of(connection, subscribers, this_month)
        having = [account_id for account_id, plan in current.items() if plan.name == name]
        running = await _is_used(connection, having, this_month)
        month = _choose_month(from_month, this_month, next_month, running=running)
        before = _holding(known, month) or (known[-1] if known else None)
        given = {key: value for key, value in asdict(terms).items() if value is not None}
        if terms.tiers is not None:
            given["tiers"] = terms.tiers  # asdict makes new tuples
        base = before or Plan(name, month, terms.currency or DEFAULT_CURRENCY)
        plan = replace(base, **given, valid_from=month)
        _check(plan, base)
        await require_default_rate(connection, plan.currency)
        if before is None or replace(before, valid_from=month) != plan or _holding(known, month) is None:
            await queries.insert_plan(connection, plan)
            await states.refresh(connection, having, datetime.now(UTC))
            await audit.record(connection, actor=actor, action="plan.set", subject=name, terms=_detail(plan))
    return plan


async def choose_plan(
    pool: Pool, account_id: UUID, name: str, actor: str, from_month: str | None = None
) -> Subscription:
    """Give an account a plan from a month on (YYYY-MM; by default the next one that may be), or take it off (`none`).

    Replaces what was to come from that month on; idempotent. Fixes the account's currency as the plan's, where it has
    none yet. Raises PlanError for an unknown plan, another currency and a month that may not change any more.
    """
    plan_name = None if name == NO_PLAN else name
    async with pool.acquire() as connection, connection.transaction():
        await queries.lock_plans(connection)
        now = datetime.now(UTC)
        this_month, next_month = _months(now)
        running = await _is_used(connection, [account_id], this_month)
        month = _choose_month(from_month, this_month, next_month, running=running)
        currency = await account_queries.find_currency(connection, account_id) or DEFAULT_CURRENCY
        if plan_name is not None:
            plan = _holding(await queries.list_plans(connection, plan_name), month)
            if plan is None:
                raise PlanError(f"there is no plan {plan_name!r} in {month:%Y-%m}; `ghasi admin plans list` shows all")
            currency = plan.currency
        await fix_currency(connection, account_id, currency, actor)
        known = await queries.list_subscriptions(connection, account_id)
        chosen = Subscription(account_id, month, plan_name)
        if _plans_from(known, month) != _plans_from([*known, chosen], month):
            await queries.insert_subscription(connection, chosen)
            await _tell(connection, account_id, [*known, chosen], now)
            await states.refresh(connection, [account_id], now)
            await audit.record(
                connection, actor=actor, action="account.plan_set", subject=str(account_id), account_id=account_id,
                plan=plan_name, from_month=f"{month:%Y-%m}",
            )  # fmt: skip
    return chosen


async def list_current(pool: Pool) -> list[Plan]:
    """Return every plan as it is this month, or as it will be once it begins."""
    this_month, _ = _months(datetime.now(UTC))
    rows: dict[str, list[Plan]] = {}
    for plan in await queries.list_plans(pool):
        rows.setdefault(plan.name, []).append(plan)
    return [_holding(of_name, this_month) or of_name[-1] for of_name in rows.values()]


async def get_plan(pool: Pool, name: str) -> tuple[list[Plan], list[UUID]]:
    """Return all that a plan was and will be, in the order in which it was said, and who has it or is to have it."""
    this_month, _ = _months(datetime.now(UTC))
    known = await queries.list_plans(pool, name)
    if not known:
        raise PlanError(f"there is no plan {name!r}")
    return known, await queries.list_subscribers(pool, name, this_month)


def _months(now: datetime) -> tuple[date, date]:
    start, end = month_bounds(now)
    return month_of(start), month_of(end)


def _choose_month(given: str | None, this_month: date, next_month: date, *, running: bool) -> date:
    if given is None:
        return next_month if running else this_month
    month = month_of(parse_month(given)[0])
    if month < this_month:
        raise PlanError(f"{given} is over: a plan holds from this month on, or a later one")
    if month == this_month and running:
        raise PlanError(
            f"{given} has usage already: a month has one plan; from {next_month:%Y-%m} on it may be another"
        )
    return month


async def _is_used(connection: Connection, account_ids: Sequence[UUID], month: date) -> bool:
    start, end = month_bounds(month)
    return bool(account_ids) and bool(await queries.list_used(connection, account_ids, start, end))


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name) or name == NO_PLAN:
        raise PlanError(f"{name!r} is no name of a plan: letters, digits, dots, dashes and underscores, 63 at most")
    return name


def _check(plan: Plan, base: Plan) -> None:
    if plan.currency != base.currency:
        raise PlanError(f"plan {plan.name} is in {base.currency}: another currency is another plan")
    if min(plan.base_fee_micros, plan.included_segments, plan.minimum_micros) < 0:
        raise PlanError("a fee, a minimum and included segments are not negative")
    segments = (plan.included_segments, *(tier.from_segments for tier in plan.tiers))
    if max(plan.base_fee_micros, plan.minimum_micros) > MOST * MILLION or max(segments) > MOST:
        raise PlanError(f"a fee, a minimum and segments are at most {MOST:,}")
    froms = [tier.from_segments for tier in plan.tiers]
    if froms != sorted(set(froms)) or (froms and froms[0] < 1):
        raise PlanError("tiers begin at rising numbers of segments, the first at 1 or more")
    if not all(0 < tier.off_ppm <= MILLION for tier in plan.tiers):
        raise PlanError("a tier takes off more than 0 and at most 100 percent")


def _holding(known: Sequence[Plan], month: date) -> Plan | None:
    """Return what counts in a month: the row added last of those that hold in it."""
    return next((plan for plan in reversed(known) if plan.valid_from <= month), None)


def _plans_from(known: Sequence[Subscription], month: date) -> list[tuple[date, str | None]]:
    """Return what an account has from a month on, each change with its month."""
    months = sorted({month} | {one.from_month for one in known if one.from_month > month})
    changes: list[tuple[date, str | None]] = []
    for at in months:
        plan = next((one.plan for one in reversed(known) if one.from_month <= at), None)
        if not changes or changes[-1][1] != plan:
            changes.append((at, plan))
    return changes


async def _tell(connection: Connection, account_id: UUID, known: Sequence[Subscription], now: datetime) -> None:
    currency, sequence = await account_queries.next_sequence(connection, account_id)
    plans = _plans_from(known, month_of(now))
    event = events.billing_account_updated(account_id, currency, now, sequence=sequence, plans=plans)
    await outbox.append(connection, "billing", [event])


def _detail(plan: Plan) -> dict[str, object]:
    return {
        key: f"{value:%Y-%m}" if isinstance(value, date) else value for key, value in asdict(plan).items()
    }  # fmt: skip
