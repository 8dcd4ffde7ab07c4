"""Invoices' way to accounts' books: what happens to an invoice, handed to the ledger in its own words.

Each works in the caller's transaction and is idempotent, as the ledger's posting is.
"""

from collections.abc import Mapping, Sequence
from uuid import UUID

from ghasi.billing.invoices.model import CreditNote, Payment
from ghasi.billing.ledger import model as ledger
from ghasi.billing.ledger import posting
from ghasi.billing.model import Invoice
from ghasi.billing.money import minor_unit
from ghasi.storage.pool import Connection


async def post_openings(
    connection: Connection, invoices: Sequence[Invoice], prepaid_usage: Mapping[UUID, int]
) -> dict[UUID, int]:
    """Bill invoices that are opened; return how much of each is settled at once, by its id.

    `prepaid_usage` is, by account, what of it a prepaid balance was charged for already, as it was charged.
    """
    openings = [
        ledger.Opening(
            account_id=invoice.account_id,
            currency=invoice.currency,
            invoice_id=invoice.id,
            net_micros=invoice.subtotal_micros,
            tax_micros=invoice.tax_micros,
            usage_micros=prepaid_usage[invoice.account_id],
            prepaid=invoice.payment == "prepaid",
            unit_micros=minor_unit(invoice.currency),
        )
        for invoice in invoices
    ]
    return await posting.post_openings(connection, openings)


async def post_payment(connection: Connection, invoice: Invoice, payment: Payment, actor: str) -> None:
    """Take in what was paid of an invoice."""
    paid = ledger.Payment(invoice.account_id, invoice.currency, invoice.id, payment.id, payment.amount_micros, actor)
    await posting.post_payments(connection, [paid])


async def post_void(connection: Connection, invoice: Invoice, actor: str) -> None:
    """Take an invoice back."""
    await posting.post_voids(connection, [_ending(invoice, actor)])


async def post_uncollectible(connection: Connection, invoice: Invoice, actor: str) -> None:
    """Give up what is due of an invoice."""
    await posting.post_uncollectible(connection, [_ending(invoice, actor)])


def _ending(invoice: Invoice, actor: str) -> ledger.Ending:
    return ledger.Ending(invoice.account_id, invoice.currency, invoice.id, actor)


async def post_credit_note(connection: Connection, note: CreditNote, actor: str) -> None:
    """Take a part of an invoice back: off what is due, and beyond that to the customer's balance."""
    posted = ledger.CreditNote(
        note.account_id, note.currency, note.invoice_id, note.id, note.subtotal_micros, note.tax_micros, actor
    )
    await posting.post_credit_notes(connection, [posted])
