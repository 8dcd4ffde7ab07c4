"""billing-service's operations: from the call to the service and back. Holds no rule."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ghasi.billing.documents.document import Party
from ghasi.billing.documents.printer import open_printer
from ghasi.billing.invoices import reading as invoices
from ghasi.billing.ledger import reading as ledger
from ghasi.billing.rates import reading as rates
from ghasi.billing.usage import reading as usage
from ghasi.contract.serving import Call, Handler, Reply
from ghasi.contract.values import parse_id, zone_names
from ghasi.storage.resources import Resources


@asynccontextmanager
async def serve(resources: Resources) -> AsyncIterator[dict[str, Handler]]:
    """Give the handlers of billing-invoices."""
    pool = resources.pool
    address = resources.settings.seller_address or ""
    seller = Party(resources.settings.seller_name, tuple(address.splitlines()))
    zone_names()  # looks at hundreds of files: now, and not when the first customer asks
    async with open_printer() as printer:

        async def list_invoices(call: Call) -> Reply:
            return Reply(await invoices.list_invoices(pool, call.caller, call.query))

        async def get_invoice(call: Call) -> Reply:
            return Reply(await invoices.get_invoice(pool, call.caller, parse_id(call.path["invoiceId"])))

        async def get_invoice_pdf(call: Call) -> Reply:
            document = await invoices.get_document(pool, call.caller, parse_id(call.path["invoiceId"]), seller)
            disposition = f'inline; filename="{document.file_name}"'
            return Reply(await printer.print(document), headers=[(b"content-disposition", disposition.encode())])

        async def list_rates(call: Call) -> Reply:
            return Reply(await rates.list_rates(pool, call.caller, call.query))

        async def get_usage(call: Call) -> Reply:
            return Reply(await usage.get_usage(pool, call.caller, call.query))

        async def get_summary(call: Call) -> Reply:
            return Reply(await usage.get_summary(pool, call.caller, call.query))

        async def get_balance(call: Call) -> Reply:
            return Reply(await ledger.get_balance(pool, call.caller))

        async def list_balance_transactions(call: Call) -> Reply:
            return Reply(await ledger.list_transactions(pool, call.caller, call.query))

        async def set_spending_limit(call: Call) -> Reply:
            shown = await ledger.set_own_limit(pool, call.caller, call.body, call.request_id)
            resources.bells.ring("billing")
            return Reply(shown)

        yield {
            "list_invoices": list_invoices,
            "get_invoice": get_invoice,
            "get_invoice_pdf": get_invoice_pdf,
            "list_rates": list_rates,
            "get_usage": get_usage,
            "get_summary": get_summary,
            "get_balance": get_balance,
            "list_balance_transactions": list_balance_transactions,
            "set_spending_limit": set_spending_limit,
        }
