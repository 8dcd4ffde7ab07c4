"""Routes of webhook-dispatcher beyond the contract."""

from ghasi.contract import shapes
from ghasi.contract.row import PREVIEW_LIMIT, READ_LIMIT, TIMEOUT_WEBHOOKS_S, WRITE_LIMIT, Auth, Row, Upstream

ROWS: tuple[Row, ...] = (
    Row(
        operation="list_message_deliveries", method="GET", path="/v1/messages/{messageId}/deliveries",
        upstreams=(Upstream.WEBHOOKS,), auth=Auth.BEARER, scope="webhooks:read", limit=READ_LIMIT,
        timeout_s=TIMEOUT_WEBHOOKS_S, query=shapes.PageQuery, response=shapes.Page[shapes.Delivery],
        problems=("not_found", "invalid_cursor"), extension=True,
        summary="List the webhook deliveries that a message caused, newest first",
    ),
    Row(
        operation="get_webhook", method="GET", path="/v1/webhooks/{webhookId}", upstreams=(Upstream.WEBHOOKS,),
        auth=Auth.BEARER, scope="webhooks:read", limit=READ_LIMIT, timeout_s=TIMEOUT_WEBHOOKS_S, extension=True,
        response=shapes.Webhook, problems=("not_found",), summary="Show an endpoint",
    ),
    Row(
        operation="rotate_webhook_secret", method="POST", path="/v1/webhooks/{webhookId}/rotate",
        upstreams=(Upstream.WEBHOOKS,), auth=Auth.BEARER, scope="webhooks:write", limit=WRITE_LIMIT,
        timeout_s=TIMEOUT_WEBHOOKS_S, response=shapes.CreatedWebhook, problems=("not_found",), extension=True,
        summary="Give an endpoint a new secret, shown once; the old one signs along for 24 hours",
    ),
    Row(
        operation="send_test_event", method="POST", path="/v1/webhooks/{webhookId}/test",
        upstreams=(Upstream.WEBHOOKS,), auth=Auth.BEARER, scope="webhooks:write", limit=WRITE_LIMIT,
        timeout_s=TIMEOUT_WEBHOOKS_S, body=shapes.TestEvent, success=202, response=shapes.Delivery,
        problems=("not_found", "webhook_disabled"), extension=True, summary="Send an endpoint an event of an example",
    ),
    Row(
        operation="list_deliveries", method="GET", path="/v1/webhooks/{webhookId}/deliveries",
        upstreams=(Upstream.WEBHOOKS,), auth=Auth.BEARER, scope="webhooks:read", limit=READ_LIMIT,
        timeout_s=TIMEOUT_WEBHOOKS_S, query=shapes.DeliveryQuery, response=shapes.Page[shapes.Delivery],
        problems=("not_found", "invalid_cursor"), extension=True,
        summary="List the deliveries to an endpoint, newest first",
    ),
    Row(
        # an exact path comes before /v1/webhooks/{webhookId}, and no id is `deliveries`
        operation="list_account_deliveries", method="GET", path="/v1/webhooks/deliveries",
        upstreams=(Upstream.WEBHOOKS,), auth=Auth.BEARER, scope="webhooks:read", limit=READ_LIMIT,
        timeout_s=TIMEOUT_WEBHOOKS_S, query=shapes.AccountDeliveryQuery, response=shapes.Page[shapes.Delivery],
        problems=("invalid_cursor",), extension=True, summary="List the deliveries to all endpoints, newest first",
    ),
    Row(
        operation="list_attempts", method="GET", path="/v1/webhooks/{webhookId}/attempts",
        upstreams=(Upstream.WEBHOOKS,), auth=Auth.BEARER, scope="webhooks:read", limit=READ_LIMIT,
        timeout_s=TIMEOUT_WEBHOOKS_S, query=shapes.AttemptQuery, response=shapes.Page[shapes.LoggedAttempt],
        problems=("not_found", "invalid_cursor"), extension=True,
        summary="List the attempts to deliver to an endpoint, those of the newest event first",
    ),
    Row(
        operation="get_delivery", method="GET", path="/v1/webhooks/{webhookId}/deliveries/{deliveryId}",
        upstreams=(Upstream.WEBHOOKS,), auth=Auth.BEARER, scope="webhooks:read", limit=READ_LIMIT,
        timeout_s=TIMEOUT_WEBHOOKS_S, response=shapes.DeliveryDetail, problems=("not_found",), extension=True,
        summary="Show a delivery with its attempts",
    ),
    Row(
        operation="resend_delivery", method="POST", path="/v1/webhooks/{webhookId}/deliveries/{deliveryId}/resend",
        upstreams=(Upstream.WEBHOOKS,), auth=Auth.BEARER, scope="webhooks:write", limit=WRITE_LIMIT,
        timeout_s=TIMEOUT_WEBHOOKS_S, success=202, response=shapes.Delivery,
        problems=("not_found", "webhook_disabled"), extension=True,
        summary="Send a delivery again, at once, whatever became of it",
    ),
    Row(
        operation="recover_deliveries", method="POST", path="/v1/webhooks/{webhookId}/recover",
        upstreams=(Upstream.WEBHOOKS,), auth=Auth.BEARER, scope="webhooks:write", limit=WRITE_LIMIT,
        timeout_s=TIMEOUT_WEBHOOKS_S, body=shapes.Recovery, success=202, response=shapes.Recovered,
        problems=("not_found", "webhook_disabled"), extension=True,
        summary="Send all deliveries again that failed since a time",
    ),
    Row(
        operation="replay_events", method="POST", path="/v1/webhooks/{webhookId}/replay",
        upstreams=(Upstream.WEBHOOKS,), auth=Auth.BEARER, scope="webhooks:write", limit=WRITE_LIMIT,
        timeout_s=TIMEOUT_WEBHOOKS_S, body=shapes.Replay, success=202, response=shapes.Replayed,
        problems=("not_found", "webhook_disabled", "invalid_cursor"), extension=True,
        summary="Send an endpoint the events of a time that it asks for now, also those from before it was there",
    ),
    Row(
        operation="dry_run_event", method="POST", path="/v1/webhooks/dry-run", upstreams=(Upstream.WEBHOOKS,),
        auth=Auth.BEARER, scope="webhooks:read", limit=PREVIEW_LIMIT, timeout_s=TIMEOUT_WEBHOOKS_S,
        body=shapes.DryRun, response=shapes.DryRunResult, problems=("not_found",), extension=True,
        summary="Show which endpoints an event would reach and why; nothing is sent",
    ),
)  # fmt: skip
