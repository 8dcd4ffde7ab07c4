"""The contract: one row for each route, from which the gateway, the services, OpenAPI and the docs are derived.

Owns which routes exist, who serves them, who may call them, how often and how fast. Knows nothing of how.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ghasi.contract import shapes

GATEWAY_MARGIN_S = 0.25
"""The time-outs are the portal's; the gateway gives an upstream this much less, so that a slow one is a 504."""
MAX_BODY_BYTES = 256 * 1024
MAX_BATCH_BYTES = 4 * 1024 * 1024
"""1,000 messages of a few segments each, in a script of several bytes a character."""
TIMEOUT_AUTH_S, TIMEOUT_SEND_S, TIMEOUT_MESSAGES_S, TIMEOUT_BILLING_S, TIMEOUT_WEBHOOKS_S = 5.0, 10.0, 8.0, 8.0, 5.0


class Upstream(StrEnum):
    """The services behind the gateway."""

    AUTH = "auth-service"
    ORCHESTRATOR = "sms-orchestrator"
    STORE = "message-store"
    WEBHOOKS = "webhook-dispatcher"
    BILLING = "billing-service"


class Auth(StrEnum):
    """What a caller must present."""

    NONE = "none"
    REFRESH_COOKIE = "refresh cookie"
    BEARER = "bearer"


@dataclass(frozen=True, slots=True)
class LimitGroup:
    """Routes that share one window: `setting` is the name in Settings that holds requests per minute."""

    name: str
    setting: str
    per: str
    default: int


AUTH_LIMIT = LimitGroup("auth", "limit_auth", "ip", 10)
API_KEY_LIMIT = LimitGroup("api_keys", "limit_api_keys", "account", 5)
SEND_LIMIT = LimitGroup("sends", "limit_sends", "account", 60)
READ_LIMIT = LimitGroup("reads", "limit_reads", "account", 120)
WRITE_LIMIT = LimitGroup("writes", "limit_writes", "account", 60)
PREVIEW_LIMIT = LimitGroup("previews", "limit_previews", "account", 120)
EXPORT_LIMIT = LimitGroup("exports", "limit_exports", "account", 10)
BATCH_LIMIT = LimitGroup("batches", "limit_batches", "account", 10)
LIMIT_GROUPS = (
    AUTH_LIMIT, API_KEY_LIMIT, SEND_LIMIT, READ_LIMIT, WRITE_LIMIT, PREVIEW_LIMIT, EXPORT_LIMIT, BATCH_LIMIT,
)  # fmt: skip
CSV, PDF = "text/csv; charset=utf-8", "application/pdf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One route.

    `scope` is what an API key needs; a bearer row without one takes a user's JWT only. `upstreams` are tried in
    order, a later one only when the one before refuses or resets before answering. `problems` are codes of
    contract.errors that the service itself may answer with, beside those every operation of its kind has. `media` is
    set where a success is no JSON; a row that `takes_any_body` hands its bytes on unread. What
    `streams` may be of any size: the time-out runs between its pieces, as Kong's do, and not over the whole.
    """

    operation: str
    method: str
    path: str
    upstreams: tuple[Upstream, ...]
    auth: Auth
    limit: LimitGroup | None
    timeout_s: float
    summary: str
    success: int = 200
    scope: shapes.Scope | None = None
    body: type[shapes.Input] | None = None
    query: type[shapes.Input] | None = None
    response: Any = None
    problems: tuple[str, ...] = ()
    idempotent_by_key: bool = False
    extension: bool = False
    media: str | None = None
    streams: bool = False
    takes_any_body: bool = False
    max_body_bytes: int = MAX_BODY_BYTES

    @property
    def upstream(self) -> Upstream:
        """The service that answers first."""
        return self.upstreams[0]

    @property
    def upstream_timeout_s(self) -> float:
        """What the gateway gives the upstream, in all."""
        return self.timeout_s - GATEWAY_MARGIN_S

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the path's parameters."""
        return tuple(re.findall(r"{(\w+)}", self.path))


CONTRACT: tuple[Row, ...] = (
    # auth-service
    Row(
        operation="sign_in_with_firebase", method="POST", path="/v1/auth/firebase", upstreams=(Upstream.AUTH,),
        auth=Auth.NONE, limit=AUTH_LIMIT, timeout_s=TIMEOUT_AUTH_S, body=shapes.FirebaseSignIn, response=shapes.Session,
        problems=(
            "invalid_id_token", "identity_unavailable", "foreign_origin", "invalid_invitation", "already_in_account",
        ),
        summary="Exchange a Firebase ID token for an access token and a refresh cookie",
    ),
    Row(
        operation="refresh_session", method="POST", path="/v1/auth/refresh", upstreams=(Upstream.AUTH,),
        auth=Auth.REFRESH_COOKIE, limit=AUTH_LIMIT, timeout_s=TIMEOUT_AUTH_S, response=shapes.Session,
        problems=("refresh_token_missing", "invalid_refresh_token", "foreign_origin"),
        summary="Get a new access token by the refresh cookie, which is replaced",
    ),
    Row(
        operation="get_me", method="GET", path="/v1/auth/me", upstreams=(Upstream.AUTH,), auth=Auth.BEARER,
        limit=AUTH_LIMIT, timeout_s=TIMEOUT_AUTH_S, response=shapes.Me, problems=("user_not_found",),
        summary="Show the signed-in user and account",
    ),
    Row(
        operation="list_api_keys", method="GET", path="/v1/api-keys", upstreams=(Upstream.AUTH,), auth=Auth.BEARER,
        limit=READ_LIMIT, timeout_s=TIMEOUT_AUTH_S, query=shapes.PageQuery, response=shapes.Page[shapes.ApiKey],
        problems=("invalid_cursor",), summary="List the account's API keys",
    ),
    Row(
        operation="create_api_key", method="POST", path="/v1/api-keys", upstreams=(Upstream.AUTH,), auth=Auth.BEARER,
        limit=API_KEY_LIMIT, timeout_s=TIMEOUT_AUTH_S, body=shapes.NewApiKey, success=201,
        response=shapes.CreatedApiKey, idempotent_by_key=True,
        problems=(
            "user_not_found", "account_suspended", "already_created", "idempotency_key_reused", "too_many_api_keys",
        ),
        summary="Create an API key, shown once",
    ),
    Row(
        operation="revoke_api_key", method="DELETE", path="/v1/api-keys/{keyId}", upstreams=(Upstream.AUTH,),
        auth=Auth.BEARER, limit=WRITE_LIMIT, timeout_s=TIMEOUT_AUTH_S, success=204, problems=("not_found",),
        summary="Revoke an API key; it stops working within a second",
    ),
    # sms-orchestrator and message-store
    Row(
        operation="send_message", method="POST", path="/v1/messages", upstreams=(Upstream.ORCHESTRATOR,),
        auth=Auth.BEARER, scope="messages:send", limit=SEND_LIMIT, timeout_s=TIMEOUT_SEND_S, body=shapes.NewMessage,
        success=202, response=shapes.Message, idempotent_by_key=True,
        problems=(
            "invalid_number", "invalid_sender", "body_too_long", "account_suspended", "country_not_allowed",
            "daily_cap_reached", "idempotency_key_reused", "invalid_send_at", "sender_not_allowed",
            "recipient_opted_out", "insufficient_balance", "spending_limit_reached",
        ),
        summary="Send a message, now or at a time",
    ),
    Row(
        operation="list_messages", method="GET", path="/v1/messages", upstreams=(Upstream.STORE, Upstream.ORCHESTRATOR),
        auth=Auth.BEARER, scope="messages:read", limit=READ_LIMIT, timeout_s=TIMEOUT_MESSAGES_S,
        query=shapes.MessageQuery, response=shapes.Page[shapes.Message], problems=("invalid_cursor",),
        summary="List messages, newest first",
    ),
    Row(
        operation="get_message", method="GET", path="/v1/messages/{messageId}",
        upstreams=(Upstream.STORE, Upstream.ORCHESTRATOR), auth=Auth.BEARER, scope="messages:read", limit=READ_LIMIT,
        timeout_s=TIMEOUT_MESSAGES_S, response=shapes.MessageDetail, problems=("not_found",),
        summary="Show a message with the statuses it has passed",
    ),
    # webhook-dispatcher
    Row(
        operation="list_webhooks", method="GET", path="/v1/webhooks", upstreams=(Upstream.WEBHOOKS,), auth=Auth.BEARER,
        scope="webhooks:read", limit=READ_LIMIT, timeout_s=TIMEOUT_WEBHOOKS_S, query=shapes.PageQuery,
        response=shapes.Page[shapes.Webhook], problems=("invalid_cursor",), summary="List the account's endpoints",
    ),
    Row(
        operation="create_webhook", method="POST", path="/v1/webhooks", upstreams=(Upstream.WEBHOOKS,),
        auth=Auth.BEARER, scope="webhooks:write", limit=WRITE_LIMIT, timeout_s=TIMEOUT_WEBHOOKS_S,
        body=shapes.WebhookInput, success=201, response=shapes.CreatedWebhook, idempotent_by_key=True,
        problems=("invalid_url", "already_created", "idempotency_key_reused", "too_many_webhooks"),
        summary="Create an endpoint; its secret is shown once",
    ),
    Row(
        operation="update_webhook", method="PUT", path="/v1/webhooks/{webhookId}", upstreams=(Upstream.WEBHOOKS,),
        auth=Auth.BEARER, scope="webhooks:write", limit=WRITE_LIMIT, timeout_s=TIMEOUT_WEBHOOKS_S,
        body=shapes.WebhookInput, response=shapes.Webhook, problems=("invalid_url", "not_found"),
        summary="Change an endpoint",
    ),
    Row(
        operation="delete_webhook", method="DELETE", path="/v1/webhooks/{webhookId}", upstreams=(Upstream.WEBHOOKS,),
        auth=Auth.BEARER, scope="webhooks:write", limit=WRITE_LIMIT, timeout_s=TIMEOUT_WEBHOOKS_S, success=204,
        problems=("not_found",), summary="Delete an endpoint and what is still to be delivered to it",
    ),
    # billing-service
    Row(
        operation="list_invoices", method="GET", path="/v1/billing/invoices", upstreams=(Upstream.BILLING,),
        auth=Auth.BEARER, scope="billing:read", limit=READ_LIMIT, timeout_s=TIMEOUT_BILLING_S,
        query=shapes.InvoiceQuery, response=shapes.Page[shapes.Invoice], problems=("invalid_cursor",),
        summary="List invoices, newest first",
    ),
    Row(
        operation="get_invoice", method="GET", path="/v1/billing/invoices/{invoiceId}", upstreams=(Upstream.BILLING,),
        auth=Auth.BEARER, scope="billing:read", limit=READ_LIMIT, timeout_s=TIMEOUT_BILLING_S,
        response=shapes.InvoiceDetail, problems=("not_found",), summary="Show an invoice with its lines",
    ),
    Row(
        operation="get_usage", method="GET", path="/v1/billing/usage", upstreams=(Upstream.BILLING,), auth=Auth.BEARER,
        scope="billing:read", limit=READ_LIMIT, timeout_s=TIMEOUT_BILLING_S, query=shapes.UsageQuery,
        response=shapes.Usage, summary="Show usage by hour, day or month",
    ),
)  # fmt: skip
"""The customer's 16 routes."""

EXTENSIONS: tuple[Row, ...] = (
    Row(
        operation="sign_out", method="POST", path="/v1/auth/logout", upstreams=(Upstream.AUTH,),
        auth=Auth.REFRESH_COOKIE, limit=AUTH_LIMIT, timeout_s=TIMEOUT_AUTH_S, success=204, extension=True,
        problems=("foreign_origin",), summary="Revoke the refresh token and all its successors",
    ),
    Row(
        operation="get_json_web_keys", method="GET", path="/.well-known/jwks.json", upstreams=(Upstream.AUTH,),
        auth=Auth.NONE, limit=None, timeout_s=TIMEOUT_AUTH_S, response=shapes.JsonWebKeySet, extension=True,
        summary="The public keys that sign access tokens",
    ),
    Row(
        operation="get_account", method="GET", path="/v1/account", upstreams=(Upstream.AUTH,), auth=Auth.BEARER,
        limit=READ_LIMIT, timeout_s=TIMEOUT_AUTH_S, response=shapes.AccountDetail, problems=("user_not_found",),
        extension=True, summary="Show the account and the caller's role in it",
    ),
    Row(
        operation="update_account", method="PUT", path="/v1/account", upstreams=(Upstream.AUTH,), auth=Auth.BEARER,
        limit=WRITE_LIMIT, timeout_s=TIMEOUT_AUTH_S, body=shapes.AccountInput, response=shapes.AccountDetail,
        problems=("user_not_found", "owner_required"), extension=True, summary="Rename the account; owners only",
    ),
    Row(
        operation="get_preferences", method="GET", path="/v1/preferences", upstreams=(Upstream.AUTH,),
        auth=Auth.BEARER, limit=READ_LIMIT, timeout_s=TIMEOUT_AUTH_S, response=shapes.Preferences,
        problems=("user_not_found",), extension=True, summary="Show the caller's time zone and locale",
    ),
    Row(
        operation="update_preferences", method="PUT", path="/v1/preferences", upstreams=(Upstream.AUTH,),
        auth=Auth.BEARER, limit=WRITE_LIMIT, timeout_s=TIMEOUT_AUTH_S, body=shapes.PreferencesInput,
        response=shapes.Preferences, problems=("user_not_found",), extension=True,
        summary="Set the caller's time zone and locale; the next access token carries them",
    ),
    Row(
        operation="list_users", method="GET", path="/v1/users", upstreams=(Upstream.AUTH,), auth=Auth.BEARER,
        limit=READ_LIMIT, timeout_s=TIMEOUT_AUTH_S, query=shapes.PageQuery, response=shapes.Page[shapes.Member],
        problems=("user_not_found", "invalid_cursor"), extension=True, summary="List the people in the account",
    ),
    Row(
        operation="update_user", method="PUT", path="/v1/users/{userId}", upstreams=(Upstream.AUTH,), auth=Auth.BEARER,
        limit=WRITE_LIMIT, timeout_s=TIMEOUT_AUTH_S, body=shapes.MemberInput, response=shapes.Member,
        problems=("user_not_found", "owner_required", "not_found", "last_owner"), extension=True,
        summary="Change a person's role; owners only",
    ),
    Row(
        operation="remove_user", method="DELETE", path="/v1/users/{userId}", upstreams=(Upstream.AUTH,),
        auth=Auth.BEARER, limit=WRITE_LIMIT, timeout_s=TIMEOUT_AUTH_S, success=204,
        problems=("user_not_found", "owner_required", "not_found", "last_owner"), extension=True,
        summary="Take a person out of the account, within a second; owners, and everybody themselves",
    ),
    Row(
        operation="list_invitations", method="GET", path="/v1/invitations", upstreams=(Upstream.AUTH,),
        auth=Auth.BEARER, limit=READ_LIMIT, timeout_s=TIMEOUT_AUTH_S, query=shapes.PageQuery,
        response=shapes.Page[shapes.Invitation], problems=("user_not_found", "invalid_cursor"), extension=True,
        summary="List invitations that were not taken up yet",
    ),
    Row(
        operation="create_invitation", method="POST", path="/v1/invitations", upstreams=(Upstream.AUTH,),
        auth=Auth.BEARER, limit=WRITE_LIMIT, timeout_s=TIMEOUT_AUTH_S, body=shapes.NewInvitation, success=201,
        response=shapes.CreatedInvitation,
        problems=("user_not_found", "owner_required", "already_member", "too_many_invitations"), extension=True,
        summary="Invite a person by e-mail address; the token is shown once. Owners only",
    ),
    Row(
        operation="revoke_invitation", method="DELETE", path="/v1/invitations/{invitationId}",
        upstreams=(Upstream.AUTH,), auth=Auth.BEARER, limit=WRITE_LIMIT, timeout_s=TIMEOUT_AUTH_S, success=204,
        problems=("user_not_found", "owner_required", "not_found"), extension=True, summary="Take an invitation back",
    ),
    # sms-orchestrator and message-store
    Row(
        operation="preview_message", method="POST", path="/v1/messages/preview", upstreams=(Upstream.ORCHESTRATOR,),
        auth=Auth.BEARER, scope="messages:send", limit=PREVIEW_LIMIT, timeout_s=TIMEOUT_SEND_S,
        body=shapes.PreviewInput, response=shapes.Preview, extension=True,
        summary="Show encoding, segments, country and price of a message; nothing is sent",
    ),
    Row(
        operation="send_batch", method="POST", path="/v1/messages/batch", upstreams=(Upstream.ORCHESTRATOR,),
        auth=Auth.BEARER, scope="messages:send", limit=BATCH_LIMIT, timeout_s=TIMEOUT_SEND_S, body=shapes.NewBatch,
        success=202, response=shapes.Batch, idempotent_by_key=True, max_body_bytes=MAX_BATCH_BYTES, extension=True,
        problems=("account_suspended", "idempotency_key_reused"),
        summary="Send up to 1,000 messages, or one text to many; each is accepted or refused by itself",
    ),
    Row(
        operation="cancel_message", method="POST", path="/v1/messages/{messageId}/cancel",
        upstreams=(Upstream.ORCHESTRATOR,), auth=Auth.BEARER, scope="messages:send", limit=WRITE_LIMIT,
        timeout_s=TIMEOUT_SEND_S, response=shapes.MessageDetail, problems=("not_found", "not_cancelable"),
        extension=True, summary="Cancel a message that was not sent yet",
    ),
    Row(
        operation="redact_message", method="POST", path="/v1/messages/{messageId}/redact",
        upstreams=(Upstream.ORCHESTRATOR,), auth=Auth.BEARER, scope="messages:send", limit=WRITE_LIMIT,
        timeout_s=TIMEOUT_SEND_S, response=shapes.MessageDetail, problems=("not_found", "not_redactable"),
        extension=True, summary="Delete a message's text for good; the rest of it stays",
    ),
    Row(
        operation="list_senders", method="GET", path="/v1/senders", upstreams=(Upstream.ORCHESTRATOR,),
        auth=Auth.BEARER, scope="messages:read", limit=READ_LIMIT, timeout_s=TIMEOUT_MESSAGES_S,
        query=shapes.PageQuery, response=shapes.Page[shapes.Sender], problems=("invalid_cursor",), extension=True,
        summary="List the numbers and names the account may send from",
    ),
    Row(
        operation="update_sender", method="PUT", path="/v1/senders/{senderId}", upstreams=(Upstream.ORCHESTRATOR,),
        auth=Auth.BEARER, scope="messages:send", limit=WRITE_LIMIT, timeout_s=TIMEOUT_MESSAGES_S,
        body=shapes.SenderInput, response=shapes.Sender, problems=("not_found", "not_a_pool_sender"), extension=True,
        summary="Make a sender the default, or put it in the pool",
    ),
    Row(
        operation="list_opt_outs", method="GET", path="/v1/opt-outs", upstreams=(Upstream.ORCHESTRATOR,),
        auth=Auth.BEARER, scope="messages:read", limit=READ_LIMIT, timeout_s=TIMEOUT_MESSAGES_S,
        query=shapes.OptOutQuery, response=shapes.Page[shapes.OptOut], problems=("invalid_cursor",), extension=True,
        summary="List who asked for no more messages, newest first",
    ),
    Row(
        operation="create_opt_out", method="POST", path="/v1/opt-outs", upstreams=(Upstream.ORCHESTRATOR,),
        auth=Auth.BEARER, scope="messages:send", limit=WRITE_LIMIT, timeout_s=TIMEOUT_MESSAGES_S,
        body=shapes.NewOptOut, success=201, response=shapes.OptOut, problems=("invalid_number", "invalid_sender"),
        extension=True, summary="Send someone nothing any more; one that is there already stays",
    ),
    Row(
        operation="delete_opt_out", method="DELETE", path="/v1/opt-outs/{optOutId}",
        upstreams=(Upstream.ORCHESTRATOR,), auth=Auth.BEARER, scope="messages:send", limit=WRITE_LIMIT,
        timeout_s=TIMEOUT_MESSAGES_S, success=204, problems=("not_found",), extension=True,
        summary="Let someone be written to again",
    ),
    Row(
        operation="take_carrier_report", method="POST", path="/v1/carriers/{carrierName}/receipts",
        upstreams=(Upstream.ORCHESTRATOR,), auth=Auth.NONE, limit=None, timeout_s=TIMEOUT_SEND_S, success=204,
        takes_any_body=True, problems=("not_found", "invalid_callback", "invalid_request"), extension=True,
        summary="For carriers over HTTP: take receipts, proved by the secret agreed on",
    ),
    Row(
        operation="take_carrier_query", method="GET", path="/v1/carriers/{carrierName}/receipts",
        upstreams=(Upstream.ORCHESTRATOR,), auth=Auth.NONE, limit=None, timeout_s=TIMEOUT_SEND_S, success=204,
        takes_any_body=True, problems=("not_found", "invalid_callback", "invalid_request"), extension=True,
        summary="For carriers over HTTP that report by GET: the same, from the query",
    ),
    Row(
        operation="export_messages", method="GET", path="/v1/messages/export", upstreams=(Upstream.STORE,),
        auth=Auth.BEARER, scope="messages:read", limit=EXPORT_LIMIT, timeout_s=TIMEOUT_MESSAGES_S,
        query=shapes.MessageExportQuery, media=CSV, streams=True, extension=True,
        summary="Download all messages that the filters let pass, newest first, as CSV",
    ),
    # webhook-dispatcher
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
    # billing-service
    Row(
        operation="get_summary", method="GET", path="/v1/billing/summary", upstreams=(Upstream.BILLING,),
        auth=Auth.BEARER, scope="billing:read", limit=READ_LIMIT, timeout_s=TIMEOUT_BILLING_S,
        query=shapes.SummaryQuery, response=shapes.Summary, extension=True,
        summary="Show what became of messages and what they cost, beside the range before",
    ),
    Row(
        operation="list_rates", method="GET", path="/v1/billing/rates", upstreams=(Upstream.BILLING,),
        auth=Auth.BEARER, scope="billing:read", limit=READ_LIMIT, timeout_s=TIMEOUT_BILLING_S,
        query=shapes.RateQuery, response=shapes.Page[shapes.Rate], problems=("invalid_cursor",), extension=True,
        summary="List the account's prices, newest first",
    ),
    Row(
        operation="get_invoice_pdf", method="GET", path="/v1/billing/invoices/{invoiceId}/pdf",
        upstreams=(Upstream.BILLING,), auth=Auth.BEARER, scope="billing:read", limit=READ_LIMIT,
        timeout_s=TIMEOUT_BILLING_S, media=PDF, problems=("not_found",), extension=True,
        summary="Download an invoice as PDF",
    ),
    Row(
        operation="get_balance", method="GET", path="/v1/billing/balance", upstreams=(Upstream.BILLING,),
        auth=Auth.BEARER, scope="billing:read", limit=READ_LIMIT, timeout_s=TIMEOUT_BILLING_S,
        response=shapes.Balance, extension=True, summary="Show the balance, and what may still be spent",
    ),
    Row(
        operation="list_balance_transactions", method="GET", path="/v1/billing/balance/transactions",
        upstreams=(Upstream.BILLING,), auth=Auth.BEARER, scope="billing:read", limit=READ_LIMIT,
        timeout_s=TIMEOUT_BILLING_S, query=shapes.BalanceTransactionQuery,
        response=shapes.Page[shapes.BalanceTransaction], problems=("invalid_cursor",), extension=True,
        summary="List what moved the balance, the last first",
    ),
    Row(
        operation="set_spending_limit", method="PUT", path="/v1/billing/spending-limit",
        upstreams=(Upstream.BILLING,), auth=Auth.BEARER, limit=WRITE_LIMIT, timeout_s=TIMEOUT_BILLING_S,
        body=shapes.SpendingLimitInput, response=shapes.Balance, problems=("owner_required",), extension=True,
        summary="Set a monthly spending limit of the account's own, or take it away; owners only",
    ),
    Row(
        operation="get_invoice_csv", method="GET", path="/v1/billing/invoices/{invoiceId}/csv",
        upstreams=(Upstream.BILLING,), auth=Auth.BEARER, scope="billing:read", limit=READ_LIMIT,
        timeout_s=TIMEOUT_BILLING_S, media=CSV, problems=("not_found",), extension=True,
        summary="Download an invoice's lines and taxes as CSV",
    ),
    Row(
        operation="get_invoice_sources", method="GET", path="/v1/billing/invoices/{invoiceId}/sources",
        upstreams=(Upstream.BILLING,), auth=Auth.BEARER, scope="billing:read", limit=READ_LIMIT,
        timeout_s=TIMEOUT_BILLING_S, query=shapes.SourceQuery, response=shapes.InvoiceSources,
        problems=("not_found", "invalid_cursor"), extension=True,
        summary="Show where every line of an invoice comes from, down to the messages",
    ),
    Row(
        # an exact path comes before /v1/billing/invoices/{invoiceId}, and no id is `preview`
        operation="preview_invoice", method="GET", path="/v1/billing/invoices/preview", upstreams=(Upstream.BILLING,),
        auth=Auth.BEARER, scope="billing:read", limit=READ_LIMIT, timeout_s=TIMEOUT_BILLING_S,
        response=shapes.InvoiceDetail, extension=True, summary="Show what the running month's invoice would say now",
    ),
    Row(
        operation="list_credit_notes", method="GET", path="/v1/billing/credit-notes", upstreams=(Upstream.BILLING,),
        auth=Auth.BEARER, scope="billing:read", limit=READ_LIMIT, timeout_s=TIMEOUT_BILLING_S,
        query=shapes.CreditNoteQuery, response=shapes.Page[shapes.CreditNote], problems=("invalid_cursor",),
        extension=True, summary="List credit notes, newest first",
    ),
    Row(
        operation="get_credit_note", method="GET", path="/v1/billing/credit-notes/{creditNoteId}",
        upstreams=(Upstream.BILLING,), auth=Auth.BEARER, scope="billing:read", limit=READ_LIMIT,
        timeout_s=TIMEOUT_BILLING_S, response=shapes.CreditNoteDetail, problems=("not_found",), extension=True,
        summary="Show a credit note with its lines",
    ),
    Row(
        operation="get_credit_note_pdf", method="GET", path="/v1/billing/credit-notes/{creditNoteId}/pdf",
        upstreams=(Upstream.BILLING,), auth=Auth.BEARER, scope="billing:read", limit=READ_LIMIT,
        timeout_s=TIMEOUT_BILLING_S, media=PDF, problems=("not_found",), extension=True,
        summary="Download a credit note as PDF",
    ),
    Row(
        operation="get_billing_profile", method="GET", path="/v1/billing/profile", upstreams=(Upstream.BILLING,),
        auth=Auth.BEARER, scope="billing:read", limit=READ_LIMIT, timeout_s=TIMEOUT_BILLING_S,
        response=shapes.BillingProfile, extension=True, summary="Show what the account is called on invoices",
    ),
    Row(
        operation="update_billing_profile", method="PUT", path="/v1/billing/profile", upstreams=(Upstream.BILLING,),
        auth=Auth.BEARER, limit=WRITE_LIMIT, timeout_s=TIMEOUT_BILLING_S, body=shapes.BillingProfileInput,
        response=shapes.BillingProfile, problems=("owner_required",), extension=True,
        summary="Set what the account is called on invoices from now on; owners only",
    ),
)  # fmt: skip
"""What goes beyond the contract; a client that knows only the contract never needs it."""

INTERNAL: tuple[Row, ...] = (
    Row(
        operation="find_api_key", method="POST", path="/internal/api-keys/find", upstreams=(Upstream.AUTH,),
        auth=Auth.NONE, limit=None, timeout_s=TIMEOUT_AUTH_S, body=shapes.ApiKeyLookup, response=shapes.ApiKeyGrant,
        problems=("not_found",), extension=True, summary="What a presented API key stands for",
    ),
    Row(
        operation="hold_gateway_lease", method="POST", path="/internal/gateway-lease", upstreams=(Upstream.AUTH,),
        auth=Auth.NONE, limit=None, timeout_s=TIMEOUT_AUTH_S, body=shapes.GatewayLease, response=shapes.GatewayState,
        problems=("gateway_exists",), extension=True, summary="Be the only gateway, and learn the accounts' own limits",
    ),
)  # fmt: skip
"""What the gateway itself asks of auth-service; never routed from outside."""

ROWS: tuple[Row, ...] = CONTRACT + EXTENSIONS
BY_OPERATION: dict[str, Row] = {row.operation: row for row in ROWS + INTERNAL}


class Matcher:
    """Finds the row of a method and path, as Kong does: anchored, case-sensitive, a trailing slash is another path."""

    def __init__(self, rows: tuple[Row, ...] = ROWS) -> None:
        self._exact: dict[tuple[str, str], Row] = {}
        self._patterns: list[tuple[str, re.Pattern[str], Row]] = []
        for row in rows:
            if row.parameters:
                pattern = re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", row.path.replace(".", r"\.")))
                self._patterns.append((row.method, pattern, row))
            else:
                self._exact[row.method, row.path] = row
        self.paths = frozenset(row.path for row in rows)

    def find(self, method: str, path: str) -> tuple[Row, dict[str, str]] | None:
        """Return the row and its path parameters, or None; HEAD is no route of the contract."""
        row = self._exact.get((method, path))
        if row is not None:
            return row, {}
        for row_method, pattern, candidate in self._patterns:
            if row_method == method and (found := pattern.fullmatch(path)):
                return candidate, found.groupdict()
        return None

    def methods(self, path: str) -> tuple[str, ...]:
        """Return the methods that the path has, for a CORS preflight."""
        exact = [method for method, known in self._exact if known == path]
        return tuple(exact + [method for method, pattern, _ in self._patterns if pattern.fullmatch(path)])
