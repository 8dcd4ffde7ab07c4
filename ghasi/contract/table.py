"""The contract: one row for each route, from which the gateway, the services, OpenAPI and the docs are derived.

Owns which routes exist, who serves them, who may call them, how often and how fast. Knows nothing of how.
"""

import re

from ghasi.contract import shapes
from ghasi.contract.extensions import EXTENSIONS
from ghasi.contract.row import (
    API_KEY_LIMIT,
    AUTH_LIMIT,
    READ_LIMIT,
    SEND_LIMIT,
    TIMEOUT_AUTH_S,
    TIMEOUT_BILLING_S,
    TIMEOUT_MESSAGES_S,
    TIMEOUT_SEND_S,
    TIMEOUT_WEBHOOKS_S,
    WRITE_LIMIT,
    Auth,
    Row,
    Upstream,
)

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

INTERNAL: tuple[Row, ...] = (
    Row(
        operation="find_api_key", method="POST", path="/internal/api-keys/find", upstreams=(Upstream.AUTH,),
        auth=Auth.NONE, limit=None, timeout_s=TIMEOUT_AUTH_S, body=shapes.ApiKeyLookup, response=shapes.ApiKeyGrant,
        problems=("not_found",), extension=True, summary="What a presented API key stands for",
    ),
    Row(
        operation="authorize_api_key", method="GET", path="/internal/authorize", upstreams=(Upstream.AUTH,),
        auth=Auth.NONE, limit=None, timeout_s=TIMEOUT_AUTH_S, query=shapes.ScopeQuery, success=204,
        problems=("invalid_api_key", "insufficient_scope", "user_required"), extension=True,
        summary="For another gateway: may the API key in Authorization do this, and for whom",
    ),
    Row(
        operation="hold_gateway_lease", method="POST", path="/internal/gateway-lease", upstreams=(Upstream.AUTH,),
        auth=Auth.NONE, limit=None, timeout_s=TIMEOUT_AUTH_S, body=shapes.GatewayLease, response=shapes.GatewayState,
        problems=("gateway_exists",), extension=True, summary="Be a gateway, alone or with others, and learn limits",
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
