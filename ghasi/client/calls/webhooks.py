"""Calls of webhook-dispatcher."""

from collections.abc import Sequence
from datetime import datetime
from types import NoneType
from typing import Literal, TypedDict, Unpack

from msgspec import UnsetType

from ghasi.client.transport import Transport
from ghasi.contract import shapes


class WebhookOptions(TypedDict, total=False):
    """What an endpoint may have beside its URL and events; see shapes.WebhookInput."""

    description: str | UnsetType | None
    enabled: bool | UnsetType
    headers: dict[str, str] | UnsetType | None
    filter: shapes.EventFilter | UnsetType | None
    metadata: dict[str, str] | UnsetType | None
    rate_per_s: int | UnsetType | None
    fifo: shapes.Fifo | UnsetType | None


class LogFilters(TypedDict, total=False):
    """What logs of webhooks are filtered by; see shapes.LogQuery."""

    response_status: str | None
    event_type: str | None
    message_id: str | None
    created_after: datetime | None
    created_before: datetime | None


class DeliveryFilters(LogFilters, total=False):
    """What logs of deliveries are filtered by."""

    status: shapes.DeliveryStatus | None


class WebhookCalls(Transport):
    """One method for each route of webhook-dispatcher; see client.api.Ghasi."""

    async def list_webhooks(self, *, limit: int = 50, cursor: str | None = None) -> shapes.Page[shapes.Webhook]:
        """Return a page of the account's endpoints."""
        query = shapes.PageQuery(limit=limit, cursor=cursor)
        return await self._call("list_webhooks", shapes.Page[shapes.Webhook], query=query)

    async def create_webhook(
        self,
        url: str,
        events: Sequence[str],
        *,
        idempotency_key: str | None = None,
        **options: Unpack[WebhookOptions],
    ) -> shapes.CreatedWebhook:
        """Create an endpoint; `secret` is shown this once."""
        body = shapes.WebhookInput(url=url, events=list(events), **options)
        return await self._call("create_webhook", shapes.CreatedWebhook, body=body, idempotency_key=idempotency_key)

    async def update_webhook(
        self, webhook_id: str, url: str, events: Sequence[str], **options: Unpack[WebhookOptions]
    ) -> shapes.Webhook:
        """Change an endpoint; what is left out of the options stays."""
        body = shapes.WebhookInput(url=url, events=list(events), **options)
        return await self._call("update_webhook", shapes.Webhook, path={"webhookId": webhook_id}, body=body)

    async def delete_webhook(self, webhook_id: str) -> None:
        """Delete an endpoint and what is still to be delivered to it."""
        await self._call("delete_webhook", NoneType, path={"webhookId": webhook_id})

    async def get_webhook(self, webhook_id: str) -> shapes.Webhook:
        """Return an endpoint."""
        return await self._call("get_webhook", shapes.Webhook, path={"webhookId": webhook_id})

    async def rotate_webhook_secret(self, webhook_id: str) -> shapes.CreatedWebhook:
        """Give an endpoint a new secret, shown this once; the old one signs along for 24 hours."""
        return await self._call("rotate_webhook_secret", shapes.CreatedWebhook, path={"webhookId": webhook_id})

    async def send_test_event(self, webhook_id: str, event_type: str = "message.delivered") -> shapes.Delivery:
        """Send an endpoint an event of an example."""
        body = shapes.TestEvent(event_type=event_type)
        return await self._call("send_test_event", shapes.Delivery, path={"webhookId": webhook_id}, body=body)

    async def list_deliveries(
        self, webhook_id: str, *, limit: int = 50, cursor: str | None = None, **filters: Unpack[DeliveryFilters]
    ) -> shapes.Page[shapes.Delivery]:
        """Return a page of the deliveries to an endpoint, newest first; a short one may have a next."""
        query = shapes.DeliveryQuery(limit=limit, cursor=cursor, **filters)
        path = {"webhookId": webhook_id}
        return await self._call("list_deliveries", shapes.Page[shapes.Delivery], path=path, query=query)

    async def list_account_deliveries(
        self,
        *,
        limit: int = 50,
        cursor: str | None = None,
        webhook_id: str | None = None,
        **filters: Unpack[DeliveryFilters],
    ) -> shapes.Page[shapes.Delivery]:
        """Return a page of the deliveries to all endpoints, newest first; a short one may have a next."""
        query = shapes.AccountDeliveryQuery(limit=limit, cursor=cursor, webhook_id=webhook_id, **filters)
        return await self._call("list_account_deliveries", shapes.Page[shapes.Delivery], query=query)

    async def list_attempts(
        self,
        webhook_id: str,
        *,
        limit: int = 50,
        cursor: str | None = None,
        outcome: Literal["succeeded", "failed"] | None = None,
        **filters: Unpack[LogFilters],
    ) -> shapes.Page[shapes.LoggedAttempt]:
        """Return a page of the attempts to deliver to an endpoint, of the newest event first."""
        query = shapes.AttemptQuery(limit=limit, cursor=cursor, outcome=outcome, **filters)
        path = {"webhookId": webhook_id}
        return await self._call("list_attempts", shapes.Page[shapes.LoggedAttempt], path=path, query=query)

    async def get_delivery(self, webhook_id: str, delivery_id: str) -> shapes.DeliveryDetail:
        """Return a delivery with its attempts."""
        path = {"webhookId": webhook_id, "deliveryId": delivery_id}
        return await self._call("get_delivery", shapes.DeliveryDetail, path=path)

    async def resend_delivery(self, webhook_id: str, delivery_id: str) -> shapes.Delivery:
        """Send a delivery again, whatever became of it."""
        path = {"webhookId": webhook_id, "deliveryId": delivery_id}
        return await self._call("resend_delivery", shapes.Delivery, path=path)

    async def recover_deliveries(self, webhook_id: str, since: datetime) -> shapes.Recovered:
        """Send all deliveries again that failed since a time."""
        path = {"webhookId": webhook_id}
        return await self._call("recover_deliveries", shapes.Recovered, path=path, body=shapes.Recovery(since=since))

    async def replay_events(
        self,
        webhook_id: str,
        since: datetime,
        *,
        until: datetime | None = None,
        event_types: Sequence[str] | None = None,
        cursor: str | None = None,
    ) -> shapes.Replayed:
        """Send an endpoint the stored events of a time that it asks for now, the oldest first; `cursor` goes on."""
        types = None if event_types is None else list(event_types)
        body = shapes.Replay(since=since, until=until, event_types=types, cursor=cursor)
        return await self._call("replay_events", shapes.Replayed, path={"webhookId": webhook_id}, body=body)

    async def dry_run_event(
        self, event_type: str, data: shapes.EventSample | None = None, *, message_id: str | None = None
    ) -> shapes.DryRunResult:
        """Show which endpoints an event would reach and why; nothing is sent."""
        body = shapes.DryRun(event_type=event_type, data=data, message_id=message_id)
        return await self._call("dry_run_event", shapes.DryRunResult, body=body)
