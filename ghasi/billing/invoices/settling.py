"""What operators do with open invoices: payments, voiding, giving up. Each change is in the audit log and the books.

Owns which amounts and which changes an invoice allows. Credit notes are credit_notes' business.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from ghasi.billing.invoices import books, settling_queries
from ghasi.billing.invoices.events import tell
from ghasi.billing.invoices.model import ON_BALANCE, Payment
from ghasi.billing.model import Invoice, InvoiceNotFoundError, InvoiceNotOpenError, SettlementError
from ghasi.billing.money import invoice_amount, round_to_minor
from ghasi.contract.values import new_id
from ghasi.storage import audit
from ghasi.storage.events import outbox
from ghasi.storage.pool import Connection, Pool

CLOCKS = timedelta(minutes=5)
"""How far in the future a payment may lie: clocks differ."""


class Paid(NamedTuple):
    """What an operator says of a payment; without an amount all that is due, without a time now."""

    amount_micros: int | None = None
    method: str = "bank_transfer"
    reference: str | None = None
    at: datetime | None = None


ALL_NOW = Paid()


async def lock_invoice(connection: Connection, number: str) -> Invoice:
    """Lock the invoice of a number until the end of the transaction; raises InvoiceNotFoundError."""
    invoice = await settling_queries.lock_invoice(connection, number)
    if invoice is None:
        raise InvoiceNotFoundError(f"there is no invoice {number}")
    return invoice


async def pay_invoice(pool: Pool, number: str, actor: str, paid: Paid = ALL_NOW) -> Invoice:
    """Record a payment of an invoice, a part or all that is due; it is paid once nothing is.

    Idempotent by the reference. Raises InvoiceNotFoundError, InvoiceNotOpenError, and SettlementError for more than
    is due or another amount under the same reference.
    """
    now = datetime.now(UTC)
    async with pool.acquire() as connection, connection.transaction():
        invoice = await lock_invoice(connection, number)
        if paid.reference is not None:
            known = await settling_queries.find_payment(connection, invoice.id, paid.reference)
            if known is not None and known.amount_micros == (paid.amount_micros or known.amount_micros):
                return invoice
            if known is not None:
                of = invoice_amount(known.amount_micros, invoice.currency)
                raise SettlementError(f"{paid.reference} was recorded before, with {of} {invoice.currency}")
        if invoice.status not in ("open", "uncollectible"):
            raise InvoiceNotOpenError(f"invoice {number} is {invoice.status}")
        payment = _payment(invoice, paid, now)
        await settling_queries.insert_payments(connection, [payment])
        await books.post_payment(connection, invoice, payment, actor)
        invoice = replace(invoice, paid_micros=invoice.paid_micros + payment.amount_micros)
        invoice = await save(connection, invoice, payment.paid_at, now)
        await audit.record(
            connection, actor=actor, action="invoice.paid", subject=number, account_id=invoice.account_id,
            amount=invoice_amount(payment.amount_micros, invoice.currency), method=payment.method,
            reference=payment.reference,
        )  # fmt: skip
        return invoice


def _payment(invoice: Invoice, paid: Paid, now: datetime) -> Payment:
    due, currency = invoice.amount_due_micros, invoice.currency
    amount = due if paid.amount_micros is None else paid.amount_micros
    if amount <= 0 or amount not in (due, round_to_minor(amount, currency)):
        raise SettlementError(f"an amount is above 0 and has no more decimals than {currency}")
    if amount > due:
        raise SettlementError(f"no more than {invoice_amount(due, currency)} {currency} is due of {invoice.number}")
    if paid.method == ON_BALANCE:
        raise SettlementError(f"{ON_BALANCE} is how Ghasi itself pays an invoice; name another method")
    at = paid.at or now
    if at > now + CLOCKS:
        raise SettlementError("a payment does not lie in the future")
    return Payment(new_id(), invoice.id, invoice.account_id, amount, paid.method, paid.reference, at)


async def save(connection: Connection, invoice: Invoice, settled_at: datetime, now: datetime) -> Invoice:
    """Save what was paid or credited of an invoice that is locked; it is paid, and told to be, once nothing is due."""
    if invoice.status in ("open", "uncollectible") and invoice.amount_due_micros == 0:
        invoice, event = tell(replace(invoice, status="paid", paid_at=settled_at), "invoice.paid", now)
        await outbox.append(connection, "billing", [event])
    await settling_queries.save_invoices(connection, [invoice])
    return invoice


async def void_invoice(pool: Pool, number: str, actor: str) -> Invoice:
    """Take an open invoice back: its number stays, its messages are not billed again.

    Raises InvoiceNotFoundError, InvoiceNotOpenError, and SettlementError where something was paid or credited of it.
    """
    async with pool.acquire() as connection, connection.transaction():
        invoice = await lock_invoice(connection, number)
        if invoice.status != "open":
            raise InvoiceNotOpenError(f"invoice {number} is {invoice.status}")
        if invoice.paid_micros or invoice.credited_micros:
            raise SettlementError(f"something was paid or credited of {number}: make a credit note of the rest")
        await books.post_void(connection, invoice, actor)
        return await _end(connection, replace(invoice, status="void"), "invoice.voided", actor)


async def give_up_invoice(pool: Pool, number: str, actor: str) -> Invoice:
    """Call what is due of an open invoice uncollectible; a payment that comes after all is still taken.

    Raises InvoiceNotFoundError, InvoiceNotOpenError.
    """
    async with pool.acquire() as connection, connection.transaction():
        invoice = await lock_invoice(connection, number)
        if invoice.status != "open":
            raise InvoiceNotOpenError(f"invoice {number} is {invoice.status}")
        await books.post_uncollectible(connection, invoice, actor)
        return await _end(connection, replace(invoice, status="uncollectible"), "invoice.uncollectible", actor)


async def _end(connection: Connection, invoice: Invoice, action: str, actor: str) -> Invoice:
    await settling_queries.save_invoices(connection, [invoice])
    await audit.record(
        connection, actor=actor, action=action, subject=str(invoice.number), account_id=invoice.account_id
    )
    return invoice
