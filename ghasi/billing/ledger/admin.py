"""What operators do with accounts' money: top-ups, limits, and looking whether the books are right.

Plain functions for the command line; every change is in the audit log. They print nothing and raise BillingError with a
text fit to be shown.
"""

from datetime import UTC, datetime
from uuid import UUID

from ghasi.billing.accounts import queries as account_queries
from ghasi.billing.accounts.admin import fix_currency
from ghasi.billing.ledger import posting, queries, spending_queries, states, verifying
from ghasi.billing.ledger.model import LedgerError, TopUp, Written
from ghasi.billing.ledger.verifying import Difference
from ghasi.billing.model import DEFAULT_CURRENCY
from ghasi.billing.money import minor_digits, read_amount, round_to_minor
from ghasi.storage import audit
from ghasi.storage.pool import Connection, Pool


async def top_up(
    pool: Pool, account_id: UUID, amount: str, *, reference: str, note: str | None, actor: str
) -> tuple[TopUp, int, bool]:
    """Put money on a balance, or with a negative amount take it back, which needs a note that says why.

    Idempotent by reference. Returns it, the balance after it, and whether it was not done before. Raises BillingError.
    """
    amount_micros = read_amount(amount)
    if not amount_micros:
        raise LedgerError("an amount is not nothing")
    if amount_micros < 0 and not note:
        raise LedgerError("a correction needs a --note that says why")
    async with pool.acquire() as connection, connection.transaction():
        currency = await _fix_currency(connection, account_id, actor)
        _check_payable(amount_micros, currency)
        one = TopUp(account_id, currency, reference, amount_micros, note, actor)
        fresh = await posting.post_top_up(connection, one)
        if fresh:
            await audit.record(
                connection, actor=actor, action="balance.topped_up" if amount_micros > 0 else "balance.corrected",
                subject=str(account_id), account_id=account_id, amount=amount, currency=currency, reference=reference,
                note=note,
            )  # fmt: skip
        return one, await queries.find_balance(connection, account_id), fresh


async def set_spending_limit(pool: Pool, account_id: UUID, limit: str | None, actor: str) -> tuple[int | None, str]:
    """Let an account spend so much in a UTC month, in its currency; None: any amount. Returns it with the currency.

    Idempotent; within a second messages knows. Raises BillingError.
    """
    limit_micros = None if limit is None else read_amount(limit)
    if limit_micros is not None and limit_micros < 0:
        raise LedgerError("a limit is not below 0")
    async with pool.acquire() as connection, connection.transaction():
        currency = await _fix_currency(connection, account_id, actor)
        await spending_queries.insert_accounts(connection, [account_id])
        await spending_queries.set_limit(connection, account_id, limit_micros)
        await states.refresh(connection, [account_id], datetime.now(UTC))
        await audit.record(
            connection, actor=actor, action="account.spending_limit_set", subject=str(account_id),
            account_id=account_id, spending_limit=limit, currency=currency,
        )  # fmt: skip
    return limit_micros, currency


async def list_transactions(pool: Pool, *, account_id: UUID | None = None, limit: int = 50) -> list[Written]:
    """Return the newest transactions, of one account or of all."""
    return await queries.list_transactions(pool, account_id, limit)


async def verify(pool: Pool) -> list[Difference]:
    """Recount the books of all accounts; return every difference. See verifying."""
    return await verifying.verify(pool)


def _check_payable(amount_micros: int, currency: str) -> None:
    if round_to_minor(amount_micros, currency) != amount_micros:
        raise LedgerError(f"{currency} is paid in amounts of at most {minor_digits(currency)} decimals")


async def _fix_currency(connection: Connection, account_id: UUID, actor: str) -> str:
    """Return the account's currency: money is of one, so from now on it has the default one where it had none."""
    currency = await account_queries.find_currency(connection, account_id) or DEFAULT_CURRENCY
    await fix_currency(connection, account_id, currency, actor)
    return currency
