"""billing-service's operations: from the call to the service and back. Holds no rule."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ghasi.billing import service
from ghasi.contract.serving import Call, Handler, Reply
from ghasi.contract.values import parse_id
from ghasi.storage.resources import Resources


@asynccontextmanager
async def serve(resources: Resources) -> AsyncIterator[dict[str, Handler]]:
    """Give the handlers of billing-service."""
    pool = resources.pool

    async def list_invoices(call: Call) -> Reply:
        return Reply(await service.list_invoices(pool, call.caller, call.query))

    async def get_invoice(call: Call) -> Reply:
        return Reply(await service.get_invoice(pool, call.caller, parse_id(call.path["invoiceId"])))

    async def get_usage(call: Call) -> Reply:
        return Reply(await service.get_usage(pool, call.caller, call.query))

    yield {"list_invoices": list_invoices, "get_invoice": get_invoice, "get_usage": get_usage}
