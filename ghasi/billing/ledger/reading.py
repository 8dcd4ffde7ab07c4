"""What a customer may read of their balance, and the limit of their own that they set. Moves no money."""

from datetime import UTC, datetime

from ghasi.billing.accounts import queries as account_queries
from ghasi.billing.ledger import queries, spending_queries, states
from ghasi.billing.ledger.limits import available, judge
from ghasi.billing.ledger.model import Transaction
from ghasi.billing.ledger.prepaid import list_prepaid
from ghasi.billing.periods import month_bounds, month_of
from ghasi.contract import shapes
from ghasi.contract.errors import Problem
from ghasi.contract.serving import Caller
from ghasi.contract.values import decimal_string, decode_id_cursor, micros, page_of, rfc3339
from ghasi.storage import audit
from ghasi.storage.pool import Connection, Pool


async def get_balance(pool: Pool, caller: Caller) -> shapes.Balance:
    """Return what the account has, holds and has spent, and whether it may send."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        return await _balance(connection, caller)


async def list_transactions(
    pool: Pool, caller: Caller, query: shapes.BalanceTransactionQuery
) -> shapes.Page[shapes.BalanceTransaction]:
    """Return a page of what moved the balance, the last first; raises Problem invalid_cursor."""
    before = decode_id_cursor(query.cursor)
    found = await queries.list_balance_transactions(pool, caller.account_id, query.kind, before, query.limit + 1)
    return page_of(found, query.limit, _transaction, lambda transaction: (transaction.id,))


async def set_own_limit(pool: Pool, caller: Caller, body: shapes.SpendingLimitInput, request_id: str) -> shapes.Balance:
    """Set the customer's own limit, which holds beside the operator's; within a second messages knows.

    Raises Problem user_required or owner_required.
    """
    if caller.is_api_key:  # of an owner, too: the gateway refuses it before, this holds without one
        raise Problem("user_required")
    limit_micros = None if body.spending_limit is None else micros(body.spending_limit)
    async with pool.acquire() as connection, connection.transaction():
        if not await account_queries.is_owner(connection, caller.account_id, caller.user_id):
            raise Problem("owner_required")
        await spending_queries.insert_accounts(connection, [caller.account_id])
        await spending_queries.set_own_limit(connection, caller.account_id, limit_micros)
        await states.refresh(connection, [caller.account_id], datetime.now(UTC))
        await audit.record(
            connection, actor=f"user:{caller.user_id}", action="account.own_spending_limit_set",
            subject=str(caller.account_id), account_id=caller.account_id, request_id=request_id,
            spending_limit=body.spending_limit,
        )  # fmt: skip
        return await _balance(connection, caller)


async def _balance(connection: Connection, caller: Caller) -> shapes.Balance:
    account_id, now = caller.account_id, datetime.now(UTC)
    month = month_of(now)
    prepaid = await list_prepaid(connection, [account_id], month)
    [kept] = await spending_queries.list_kept(connection, [account_id], prepaid, month)
    figures = kept.figures
    alerts = await spending_queries.list_alerts(connection, account_id, [f"{month:%Y-%m}", str(kept.top_up_id)])
    may_spend = available(figures)
    return shapes.Balance(
        currency=kept.currency,
        payment="prepaid" if prepaid else "postpaid",
        balance=decimal_string(figures.balance_micros),
        held=decimal_string(figures.held_micros),
        available=None if may_spend is None else decimal_string(may_spend),
        spent=decimal_string(figures.spent_micros),
        spending_limit=_optional(figures.limit_micros),
        own_spending_limit=_optional(kept.own_limit_micros),
        status=judge(figures, month_bounds(month)[1]).status,
        alerts=[
            shapes.SpendingAlert(alert.kind, alert.percent, decimal_string(alert.limit_micros), rfc3339(at))
            for alert, at in alerts
        ],
    )


def _optional(amount_micros: int | None) -> str | None:
    return None if amount_micros is None else decimal_string(amount_micros)


def _transaction(transaction: Transaction) -> shapes.BalanceTransaction:
    return shapes.BalanceTransaction(
        id=str(transaction.id),
        kind=transaction.kind,
        amount=decimal_string(transaction.amount_micros),
        balance=decimal_string(transaction.after_micros),
        currency=transaction.currency,
        at=rfc3339(transaction.at),
        reference=transaction.reference,
        invoice_id=None if transaction.invoice_id is None else str(transaction.invoice_id),
        note=transaction.note,
    )
