"""What operators settle of an account's invoices: taxes and discounts. Every change is written to the audit log.

What is changed holds for invoices that are opened from then on. Plain functions for the command line; they print
nothing and raise BillingError with a text fit to be shown.
"""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from uuid import UUID

from ghasi.billing.invoices import closing_queries, terms_queries
from ghasi.billing.invoices.model import PPM, Discount, Tax
from ghasi.billing.model import BillingError
from ghasi.billing.periods import parse_month
from ghasi.contract.values import new_id
from ghasi.storage import audit
from ghasi.storage.pool import Pool

MOST_NAME = 100


class TermsError(BillingError):
    """A tax or a discount that cannot be."""


def parse_percent(text: str) -> int:
    """Read a percentage of at most 4 decimals as millionths; raises TermsError."""
    try:
        scaled = Decimal(text) * (PPM // 100)
    except ArithmeticError:
        raise TermsError(f"{text!r} is no percentage") from None
    if not scaled.is_finite() or scaled != scaled.to_integral_value() or not 0 <= scaled <= PPM:
        raise TermsError(f"{text!r} is no percentage from 0 to 100 of at most 4 decimals")
    return int(scaled)


async def list_taxes(pool: Pool, account_id: UUID) -> list[Tax]:
    """Return an account's taxes."""
    return [tax for _, tax in await closing_queries.list_taxes(pool, [account_id])]


async def set_taxes(pool: Pool, account_id: UUID, taxes: Sequence[Tax], actor: str) -> None:
    """Give an account these taxes and no others; raises TermsError."""
    if len({tax.name for tax in taxes}) < len(taxes):
        raise TermsError("a tax is there twice")
    for tax in taxes:
        _check_name(tax.name)
    async with pool.acquire() as connection, connection.transaction():
        before = [tax for _, tax in await closing_queries.list_taxes(connection, [account_id])]
        await terms_queries.set_taxes(connection, account_id, taxes)
        await audit.record(
            connection, actor=actor, action="account.taxes_set", subject=str(account_id), account_id=account_id,
            before=[tax._asdict() for tax in before], after=[tax._asdict() for tax in taxes],
        )  # fmt: skip


async def list_discounts(pool: Pool, account_id: UUID) -> list[Discount]:
    """Return an account's discounts, past ones too."""
    return [discount for _, discount in await closing_queries.list_discounts(pool, [account_id])]


async def add_discount(
    pool: Pool,
    account_id: UUID,
    name: str,
    actor: str,
    *,
    rate_ppm: int | None,
    amount_micros: int | None,
    from_month: str,
    until_month: str | None,
) -> Discount:
    """Give an account a discount, of a share or an amount, for months (YYYY-MM) inclusive; raises TermsError."""
    _check_name(name)
    if (rate_ppm is None) == (amount_micros is None) or not (rate_ppm or amount_micros or 0) > 0:
        raise TermsError("a discount is either a percentage or an amount, above 0")
    first, last = _month(from_month), _month(until_month) if until_month else None
    if last is not None and last < first:
        raise TermsError("a discount does not end before it begins")
    discount = Discount(new_id(), name, rate_ppm, amount_micros, first, last)
    async with pool.acquire() as connection, connection.transaction():
        await terms_queries.insert_discount(connection, account_id, discount)
        await audit.record(
            connection, actor=actor, action="account.discount_added", subject=str(discount.id), account_id=account_id,
            name=name, rate_ppm=rate_ppm, amount_micros=amount_micros, from_month=first, until_month=last,
        )  # fmt: skip
    return discount


async def end_discount(pool: Pool, discount_id: UUID, until_month: str, actor: str) -> None:
    """Let a discount hold until a month (YYYY-MM) inclusive, one before its first: never; raises TermsError."""
    last = _month(until_month)
    async with pool.acquire() as connection, connection.transaction():
        account_id = await terms_queries.end_discount(connection, discount_id, last)
        if account_id is None:
            raise TermsError(f"there is no discount {discount_id}")
        await audit.record(
            connection, actor=actor, action="account.discount_ended", subject=str(discount_id), account_id=account_id,
            until_month=last,
        )  # fmt: skip


def _month(text: str) -> date:
    return parse_month(text)[0].date()


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > MOST_NAME or not name.isprintable():
        raise TermsError(f"a name is of 1 to {MOST_NAME} characters on one line, not {name!r}")
