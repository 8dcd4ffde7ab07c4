"""What operators settle of an account's billing. Every change is written to the audit log.

Plain functions for the command line; they print nothing and raise BillingError with a text fit to be shown.
"""

from datetime import UTC, datetime
from uuid import UUID

from ghasi.billing import events
from ghasi.billing.accounts import queries
from ghasi.billing.model import CurrencyFixedError, RatesError
from ghasi.billing.rates import queries as rate_queries
from ghasi.contract.pricing import EVERY_COUNTRY
from ghasi.storage import audit
from ghasi.storage.events import outbox
from ghasi.storage.pool import Connection, Pool


async def set_currency(pool: Pool, account_id: UUID, currency: str, actor: str) -> None:
    """Choose the currency of an account that has not been charged yet (by default USD); idempotent.

    Raises RatesError where the currency has no default rate, CurrencyFixedError where the account has another currency.
    """
    async with pool.acquire() as connection, connection.transaction():
        await require_default_rate(connection, currency)
        await fix_currency(connection, account_id, currency, actor)


async def require_default_rate(connection: Connection, currency: str) -> None:
    """Raise RatesError where a currency has no default rate."""
    if not await rate_queries.has_default(connection, currency):
        raise RatesError(f"{currency} has no rate for {EVERY_COUNTRY}: import one first")


async def fix_currency(connection: Connection, account_id: UUID, currency: str, actor: str) -> None:
    """Bill an account in a currency from now on; raises CurrencyFixedError where it is billed in another one."""
    if await queries.insert_accounts(connection, [account_id], currency):
        event = events.billing_account_updated(account_id, currency, datetime.now(UTC))
        await outbox.append(connection, "billing", [event])
        await audit.record(
            connection, actor=actor, action="account.currency_set", subject=str(account_id), account_id=account_id,
            currency=currency,
        )  # fmt: skip
    elif (known := await queries.find_currency(connection, account_id)) != currency:
        raise CurrencyFixedError(f"account {account_id} is billed in {known} already")
