"""What operators do with billing: rates, closing months, payments. Every change is written to the audit log.

Plain functions for the command line; they print nothing and raise BillingError with a text fit to be shown.
"""

from datetime import UTC, datetime
from uuid import UUID

from ghasi.billing import closing, events, invoice_queries, rate_queries
from ghasi.billing.model import (
    EVERY_COUNTRY,
    Closing,
    CurrencyFixedError,
    ImportSummary,
    Invoice,
    InvoiceNotFoundError,
    InvoiceNotOpenError,
    Line,
    Rate,
    RatesError,
)
from ghasi.billing.rates import new_rates, parse_rates
from ghasi.storage import audit, outbox
from ghasi.storage.pool import Pool


async def import_rates(pool: Pool, csv_text: str, actor: str) -> ImportSummary:
    """Add the rates of a CSV file: all of them, or none and RatesError, which names every bad line.

    A rate holds for messages accepted from its `valid_from` on (without one: from now on) until a later one of the
    same currency and country; one of the same `valid_from` replaces it. What was charged stays as it was. Importing a
    file again changes nothing.
    """
    lines = parse_rates(csv_text)
    async with pool.acquire() as connection, connection.transaction():
        await rate_queries.lock_rates(connection)
        now = datetime.now(UTC)
        added = new_rates(lines, await rate_queries.list_rates(connection), now)
        if added:
            await rate_queries.insert_rates(connection, added)
            await outbox.append(connection, "billing", [events.rate_created(rate, now) for rate in added])
            await audit.record(
                connection, actor=actor, action="rates.imported", subject="rates", added=len(added),
                countries=sorted({rate.country for rate in added}),
            )  # fmt: skip
    return ImportSummary(added=len(added), unchanged=len(lines) - len(added))


async def list_rates(pool: Pool) -> list[Rate]:
    """Return every rate by currency, country and validity; of equal ones the last counts."""
    return await rate_queries.list_rates(pool)


async def set_currency(pool: Pool, account_id: UUID, currency: str, actor: str) -> None:
    """Choose the currency of an account that has not been charged yet (by default USD); idempotent.

    Raises RatesError where the currency has no default rate, CurrencyFixedError where the account has another currency.
    """
    async with pool.acquire() as connection, connection.transaction():
        if not await rate_queries.list_rates_of(connection, [currency], [EVERY_COUNTRY]):
            raise RatesError(f"{currency} has no rate for {EVERY_COUNTRY}: import one first")
        if await rate_queries.insert_accounts(connection, [account_id], currency):
            event = events.billing_account_updated(account_id, currency, datetime.now(UTC))
            await outbox.append(connection, "billing", [event])
            await audit.record(
                connection, actor=actor, action="account.currency_set", subject=str(account_id), account_id=account_id,
                currency=currency,
            )  # fmt: skip
        elif (known := await rate_queries.find_currency(connection, account_id)) != currency:
            raise CurrencyFixedError(f"account {account_id} is billed in {known} already")


async def close_period(pool: Pool, period: str, *, early: bool = False, actor: str) -> Closing:
    """Make the invoices of a month (YYYY-MM); harmless to repeat. See closing.close_period."""
    return await closing.close_period(pool, period, early=early, actor=actor)


async def list_invoices(
    pool: Pool, *, account_id: UUID | None = None, status: str | None = None, limit: int = 50
) -> list[Invoice]:
    """Return the newest invoices, of one account or of all."""
    if account_id is None:
        return await invoice_queries.list_invoices_of_all(pool, status, limit)
    return await invoice_queries.list_invoices(pool, account_id, status, None, limit)


async def get_invoice(pool: Pool, number: str) -> tuple[Invoice, list[Line]]:
    """Return the invoice of a number, with its lines; raises InvoiceNotFoundError."""
    invoice = await invoice_queries.find_invoice_by_number(pool, number)
    if invoice is None:
        raise InvoiceNotFoundError(f"there is no invoice {number}")
    return invoice, await invoice_queries.list_lines(pool, invoice.id)


async def pay_invoice(pool: Pool, number: str, actor: str) -> Invoice:
    """Mark an open invoice as paid; raises InvoiceNotFoundError, InvoiceNotOpenError."""
    return await _settle(pool, number, actor, paid=True)


async def void_invoice(pool: Pool, number: str, actor: str) -> Invoice:
    """Write an open invoice off: its number stays, its messages are not billed again.

    Raises InvoiceNotFoundError, InvoiceNotOpenError.
    """
    return await _settle(pool, number, actor, paid=False)


async def _settle(pool: Pool, number: str, actor: str, *, paid: bool) -> Invoice:
    settle = invoice_queries.pay_invoice if paid else invoice_queries.void_invoice
    async with pool.acquire() as connection, connection.transaction():
        invoice = await settle(connection, number)
        if invoice is None:
            known = await invoice_queries.find_invoice_by_number(connection, number)
            if known is None:
                raise InvoiceNotFoundError(f"there is no invoice {number}")
            raise InvoiceNotOpenError(f"invoice {number} is {known.status}")
        await audit.record(
            connection, actor=actor, action="invoice.paid" if paid else "invoice.voided", subject=number,
            account_id=invoice.account_id,
        )  # fmt: skip
        return invoice
