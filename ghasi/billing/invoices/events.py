"""What billing tells of invoices in its outbox: `invoice.opened`, `invoice.paid` and `invoice.overdue`.

Their data is the invoice as the API lists it: webhooks pass it on to customers as it is.
"""

from dataclasses import replace
from datetime import datetime
from typing import Literal

from ghasi.billing.invoices.presenting import invoice_shape
from ghasi.billing.model import Invoice
from ghasi.contract.values import new_id
from ghasi.storage.events.outbox import Event, to_json

InvoiceEvent = Literal["invoice.opened", "invoice.paid", "invoice.overdue"]


def tell(invoice: Invoice, event: InvoiceEvent, now: datetime) -> tuple[Invoice, Event]:
    """Make an event of what an invoice is now; return the invoice with its sequence counted up, and the event.

    The caller holds the invoice's row and saves it.
    """
    told = replace(invoice, sequence=invoice.sequence + 1)
    data = to_json(invoice_shape(told, now))
    return told, Event(new_id(), event, told.account_id, told.id, told.sequence, now, data)
