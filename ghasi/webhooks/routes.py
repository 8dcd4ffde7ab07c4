"""webhook-dispatcher's operations of the contract: from a call to the service and back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ghasi.contract.serving import Call, Handler, Reply
from ghasi.contract.values import parse_id
from ghasi.storage.resources import Resources
from ghasi.webhooks import service


@asynccontextmanager
async def serve(resources: Resources) -> AsyncIterator[dict[str, Handler]]:
    """Give the handlers of webhook-dispatcher."""
    pool, sealer, dev = resources.pool, resources.sealer, resources.settings.dev

    async def list_webhooks(call: Call) -> Reply:
        return Reply(await service.list_webhooks(pool, call.caller, call.query))

    async def create_webhook(call: Call) -> Reply:
        return Reply(
            await service.create_webhook(
                pool, sealer, call.caller, call.body, key=call.idempotency_key, request_id=call.request_id, dev=dev
            )
        )

    async def get_webhook(call: Call) -> Reply:
        return Reply(await service.get_webhook(pool, call.caller, parse_id(call.path["webhookId"])))

    async def update_webhook(call: Call) -> Reply:
        return Reply(
            await service.update_webhook(
                pool,
                sealer,
                call.caller,
                parse_id(call.path["webhookId"]),
                call.body,
                request_id=call.request_id,
                dev=dev,
            )
        )

    async def delete_webhook(call: Call) -> Reply:
        await service.delete_webhook(pool, call.caller, parse_id(call.path["webhookId"]), request_id=call.request_id)
        return Reply()

    async def rotate_webhook_secret(call: Call) -> Reply:
        endpoint_id = parse_id(call.path["webhookId"])
        return Reply(await service.rotate_secret(pool, sealer, call.caller, endpoint_id, request_id=call.request_id))

    yield {
        "list_webhooks": list_webhooks,
        "create_webhook": create_webhook,
        "get_webhook": get_webhook,
        "update_webhook": update_webhook,
        "delete_webhook": delete_webhook,
        "rotate_webhook_secret": rotate_webhook_secret,
    }
