"""What operators do with invoices: closing months, payments. Every change is written to the audit log.

Plain functions for the command line; they print nothing and raise BillingError with a text fit to be shown.
"""

from uuid import UUID

from ghasi.billing.invoices import closing, queries
from ghasi.billing.model import Closing, Invoice, InvoiceNotFoundError, InvoiceNotOpenError, Line
from ghasi.storage import audit
from ghasi.storage.pool import Pool


async def close_period(pool: Pool, period: str, *, early: bool = False, actor: str) -> Closing:
    """Make the invoices of a month (YYYY-MM); harmless to repeat. See closing.close_period."""
    return await closing.close_period(pool, period, early=early, actor=actor)


async def list_invoices(
    pool: Pool, *, account_id: UUID | None = None, status: str | None = None, limit: int = 50
) -> list[Invoice]:
    """Return the newest invoices, of one account or of all."""
    if account_id is None:
        return await queries.list_invoices_of_all(pool, status, limit)
    return await queries.list_invoices(pool, account_id, status, None, limit)


async def get_invoice(pool: Pool, number: str) -> tuple[Invoice, list[Line]]:
    """Return the invoice of a number, with its lines; raises InvoiceNotFoundError."""
    invoice = await queries.find_invoice_by_number(pool, number)
    if invoice is None:
        raise InvoiceNotFoundError(f"there is no invoice {number}")
    return invoice, await queries.list_lines(pool, invoice.id)


async def pay_invoice(pool: Pool, number: str, actor: str) -> Invoice:
    """Mark an open invoice as paid; raises InvoiceNotFoundError, InvoiceNotOpenError."""
    return await _settle(pool, number, actor, paid=True)


async def void_invoice(pool: Pool, number: str, actor: str) -> Invoice:
    """Write an open invoice off: its number stays, its messages are not billed again.

    Raises InvoiceNotFoundError, InvoiceNotOpenError.
    """
    return await _settle(pool, number, actor, paid=False)


async def _settle(pool: Pool, number: str, actor: str, *, paid: bool) -> Invoice:
    settle = queries.pay_invoice if paid else queries.void_invoice
    async with pool.acquire() as connection, connection.transaction():
        invoice = await settle(connection, number)
        if invoice is None:
            known = await queries.find_invoice_by_number(connection, number)
            if known is None:
                raise InvoiceNotFoundError(f"there is no invoice {number}")
            raise InvoiceNotOpenError(f"invoice {number} is {known.status}")
        await audit.record(
            connection, actor=actor, action="invoice.paid" if paid else "invoice.voided", subject=number,
            account_id=invoice.account_id,
        )  # fmt: skip
        return invoice
