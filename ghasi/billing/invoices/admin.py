"""What operators read of invoices, and closing months by hand.

Plain functions for the command line; they print nothing and raise BillingError with a text fit to be shown. What
becomes of an opened invoice is settling's and credit_notes' business.
"""

from uuid import UUID

from ghasi.billing.invoices import closing, queries
from ghasi.billing.invoices.model import InvoiceDetail
from ghasi.billing.invoices.reading import read_detail
from ghasi.billing.model import Closing, Invoice, InvoiceNotFoundError, Party
from ghasi.billing.periods import parse_month
from ghasi.storage.events.carrier import Events
from ghasi.storage.pool import Pool


async def close_period(
    pool: Pool, events: Events, period: str, *, early: bool = False, actor: str, seller: Party | None = None
) -> Closing:
    """Make the invoices of a month (YYYY-MM); harmless to repeat. See closing.close_period."""
    return await closing.close_period(pool, events, period, early=early, actor=actor, seller=seller)


async def list_invoices(
    pool: Pool,
    *,
    account_id: UUID | None = None,
    status: str | None = None,
    overdue: bool | None = None,
    period: str | None = None,
    limit: int = 50,
) -> list[Invoice]:
    """Return the newest invoices, of one account or of all; raises PeriodError where `period` is no month."""
    start = parse_month(period)[0] if period else None
    return await queries.list_invoices(
        pool, account_id=account_id, status=status, overdue=overdue, period_start=start, most=limit
    )


async def get_invoice(pool: Pool, number: str) -> InvoiceDetail:
    """Return the invoice of a number, with all that belongs to it; raises InvoiceNotFoundError."""
    invoice = await queries.find_invoice_by_number(pool, number)
    if invoice is None:
        raise InvoiceNotFoundError(f"there is no invoice {number}")
    return await read_detail(pool, invoice)
