"""Which rate a message would be charged at, and why it is that one."""

from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

import phonenumbers

from ghasi.billing.accounts import queries as account_queries
from ghasi.billing.model import DEFAULT_CURRENCY
from ghasi.billing.periods import month_of
from ghasi.billing.plans import queries as plan_queries
from ghasi.billing.rates import queries
from ghasi.contract.pricing import (
    EVERY_COUNTRY,
    UNKNOWN_COUNTRY,
    Direction,
    Question,
    Rate,
    RateBook,
    pricing_country,
    sender_kind,
)
from ghasi.storage.pool import Connection, Pool


@dataclass(frozen=True, slots=True)
class Asked:
    """A message whose rate is asked for; `number` is the other end's in E.164, `sender` the account's own end."""

    account_id: UUID
    number: str
    country: str | None
    sender: str | None = None
    carrier_class: str | None = None
    direction: Direction = "outbound"


async def list_holding(connection: Connection | Pool, asked: Asked, at: datetime) -> tuple[Question, list[Rate]]:
    """Return what is known of a message, and the rates that hold for it: the first one counts."""
    question = Question(
        currency=await account_queries.find_currency(connection, asked.account_id) or DEFAULT_CURRENCY,
        direction=asked.direction,
        account_id=asked.account_id,
        plan=await plan_of(connection, asked.account_id, month_of(at)),
        country=pricing_country(asked.country),
        number=asked.number.removeprefix("+"),
        sender_kind=sender_kind(asked.sender),
        carrier_class=asked.carrier_class,
    )
    rates, _ = await queries.list_rates(connection)
    return question, list(RateBook(rates).list_holding(question, at))


async def plan_of(connection: Connection | Pool, account_id: UUID, month: date) -> str | None:
    """Return the name of an account's plan in a month, if it has one."""
    plans = await plan_queries.plans_of(connection, [account_id], month)
    return plans[account_id].name if plans else None


def country_of(number: str) -> str:
    """Return the country that rates know of a number's digits."""
    try:
        return pricing_country(phonenumbers.region_code_for_number(phonenumbers.parse(f"+{number}")))
    except phonenumbers.NumberParseException:
        return UNKNOWN_COUNTRY


def explain(rate: Rate, at: datetime) -> str:
    """Say why a rate holds: its conditions, the weightiest first."""
    if rate.valid_from > at:
        return "no rate is valid yet: the first one for everybody and everywhere"
    key = rate.key
    reasons = ["the account's own" if key.account_id else f"of the plan {key.plan}" if key.plan else "everybody's"]
    if key.prefix:
        reasons.append(f"numbers that begin with {key.prefix}")
    if key.country != EVERY_COUNTRY:
        reasons.append(f"country {key.country}")
    if key.sender_kind:
        reasons.append(f"sender is a {key.sender_kind.replace('_', ' ')}")
    if key.carrier_class:
        reasons.append(f"carrier of class {key.carrier_class}")
    return ", ".join(reasons)
