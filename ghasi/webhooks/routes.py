"""webhook-dispatcher's operations of the contract: from a call to the service and back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from ghasi.contract.serving import Call, Handler, Reply
from ghasi.contract.values import parse_id
from ghasi.storage.bells import Bells
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from ghasi.webhooks.endpoints import service
from ghasi.webhooks.history import deliveries, dry_runs, lists, replays


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
        **_lists(pool),
        **_deliveries(pool, resources.bells),
    }


def _lists(pool: Pool) -> dict[str, Handler]:
    """Give the handlers of what only shows."""

    async def list_message_deliveries(call: Call) -> Reply:
        message_id = parse_id(call.path["messageId"])
        return Reply(await deliveries.list_message_deliveries(pool, call.caller, message_id, call.query))

    async def list_deliveries(call: Call) -> Reply:
        return Reply(await lists.list_deliveries(pool, call.caller, parse_id(call.path["webhookId"]), call.query))

    async def list_account_deliveries(call: Call) -> Reply:
        return Reply(await lists.list_account_deliveries(pool, call.caller, call.query))

    async def list_attempts(call: Call) -> Reply:
        return Reply(await lists.list_attempts(pool, call.caller, parse_id(call.path["webhookId"]), call.query))

    async def dry_run_event(call: Call) -> Reply:
        return Reply(await dry_runs.dry_run_event(pool, call.caller, call.body))

    return {
        "list_message_deliveries": list_message_deliveries,
        "list_deliveries": list_deliveries,
        "list_account_deliveries": list_account_deliveries,
        "list_attempts": list_attempts,
        "dry_run_event": dry_run_event,
    }


def _deliveries(pool: Pool, bells: Bells) -> dict[str, Handler]:
    """Give the handlers of deliveries, and of what is sent again."""

    async def get_delivery(call: Call) -> Reply:
        return Reply(await deliveries.get_delivery(pool, call.caller, *_ids(call)))

    async def resend_delivery(call: Call) -> Reply:
        return Reply(
            await deliveries.resend_delivery(pool, bells, call.caller, *_ids(call), request_id=call.request_id)
        )

    async def recover_deliveries(call: Call) -> Reply:
        endpoint_id = parse_id(call.path["webhookId"])
        return Reply(
            await deliveries.recover_deliveries(
                pool, bells, call.caller, endpoint_id, call.body.since, request_id=call.request_id
            )
        )

    async def replay_events(call: Call) -> Reply:
        endpoint_id = parse_id(call.path["webhookId"])
        return Reply(
            await replays.replay_events(pool, bells, call.caller, endpoint_id, call.body, request_id=call.request_id)
        )

    async def send_test_event(call: Call) -> Reply:
        endpoint_id = parse_id(call.path["webhookId"])
        return Reply(
            await deliveries.send_test_event(
                pool, bells, call.caller, endpoint_id, call.body.event_type, request_id=call.request_id
            )
        )

    return {
        "get_delivery": get_delivery,
        "resend_delivery": resend_delivery,
        "recover_deliveries": recover_deliveries,
        "replay_events": replay_events,
        "send_test_event": send_test_event,
    }


def _ids(call: Call) -> tuple[UUID, UUID]:
    """Return the endpoint and the event of a delivery's path."""
    return parse_id(call.path["webhookId"]), parse_id(call.path["deliveryId"])
