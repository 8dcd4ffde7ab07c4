"""What a customer may read of rates: those that may hold for their own account. Changes nothing."""

from datetime import UTC, datetime

from ghasi.billing.accounts import queries as account_queries
from ghasi.billing.model import DEFAULT_CURRENCY
from ghasi.billing.periods import month_of
from ghasi.billing.rates import queries
from ghasi.billing.rates.finding import country_of, plan_of
from ghasi.contract import shapes
from ghasi.contract.pricing import EVERY_COUNTRY, Rate
from ghasi.contract.serving import Caller
from ghasi.contract.values import decimal_string, decode_id_cursor, page_of, rfc3339
from ghasi.storage.pool import Pool


async def list_rates(pool: Pool, caller: Caller, query: shapes.RateQuery) -> shapes.Page[shapes.Rate]:
    """Return a page of the rates of the account's currency that are its own, its plan's or everybody's, newest first.

    Raises Problem invalid_cursor.
    """
    at = datetime.now(UTC) if query.at is None else query.at.astimezone(UTC)
    number = query.number and query.number.strip().removeprefix("+")
    currency = await account_queries.find_currency(pool, caller.account_id)
    found = await queries.list_rates_of(
        pool,
        caller.account_id,
        await plan_of(pool, caller.account_id, month_of(at)),
        currency or DEFAULT_CURRENCY,
        at=at,
        countries=_countries(query.country, number),
        prefixes=None if number is None else [number[:length] for length in range(len(number) + 1)],
        prefix=query.prefix or "",
        direction=query.direction,
        before=decode_id_cursor(query.cursor),
        limit=query.limit + 1,
    )
    return page_of(found, query.limit, _shape, lambda rate: (rate.id,))


def _countries(country: str | None, number: str | None) -> list[str] | None:
    """Return the countries that rates may name: a number's are its own and any."""
    of_number = None if number is None else [country_of(number), EVERY_COUNTRY]
    if country is None:
        return of_number
    return [country] if of_number is None or country in of_number else []


def _shape(rate: Rate) -> shapes.Rate:
    key = rate.key
    return shapes.Rate(
        id=str(rate.id),
        direction=key.direction,
        scope="account" if key.account_id else "plan" if key.plan else "everybody",
        country=None if key.country == EVERY_COUNTRY else key.country,
        prefix=key.prefix or None,
        sender_kind=key.sender_kind,
        carrier_class=key.carrier_class,
        currency=key.currency,
        amount=decimal_string(rate.amount_micros),
        tiers=[shapes.RateTier(tier.from_segments, decimal_string(tier.amount_micros)) for tier in rate.tiers],
        valid_from=rfc3339(rate.valid_from),
    )
