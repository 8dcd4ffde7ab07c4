"""billing-service's operations: from the call to the service and back. Holds no rule."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ghasi.billing.documents.printer import open_printer
from ghasi.billing.invoices import routes as invoice_routes
from ghasi.billing.invoices.presenting import seller_of
from ghasi.billing.ledger import reading as ledger
from ghasi.billing.rates import reading as rates
from ghasi.billing.usage import reading as usage
from ghasi.contract.serving import Call, Handler, Reply
from ghasi.contract.values import zone_names
from ghasi.storage.resources import Resources


@asynccontextmanager
async def serve(resources: Resources) -> AsyncIterator[dict[str, Handler]]:
    """Give the handlers of billing-service."""
    pool = resources.pool
    seller = seller_of(resources.settings)
    zone_names()  # looks at hundreds of files: now, and not when the first customer asks
    async with open_printer() as printer:

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
            **invoice_routes.handlers(pool, seller, printer),
            "list_rates": list_rates,
            "get_usage": get_usage,
            "get_summary": get_summary,
            "get_balance": get_balance,
            "list_balance_transactions": list_balance_transactions,
            "set_spending_limit": set_spending_limit,
        }
