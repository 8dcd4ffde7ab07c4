"""The contract's table against the customer's own tables, typed again here from their document."""

import pytest

from ghasi.contract.claims import CLAIMS, INJECTED_HEADERS
from ghasi.contract.extensions import EXTENSIONS
from ghasi.contract.row import GATEWAY_MARGIN_S, LIMIT_GROUPS, Auth
from ghasi.contract.table import BY_OPERATION, CONTRACT, INTERNAL, ROWS, Matcher
from ghasi.settings import Settings

NONE, COOKIE, BEARER = "No (pre-login)", "Refresh token cookie", "Bearer JWT"
ROUTES = """
POST   /v1/auth/firebase               auth-service                     No (pre-login)
POST   /v1/auth/refresh                auth-service                     Refresh token cookie
GET    /v1/auth/me                     auth-service                     Bearer JWT
GET    /v1/api-keys                    auth-service                     Bearer JWT
POST   /v1/api-keys                    auth-service                     Bearer JWT
DELETE /v1/api-keys/{keyId}            auth-service                     Bearer JWT
POST   /v1/messages                    sms-orchestrator                 Bearer JWT
GET    /v1/messages                    message-store/sms-orchestrator   Bearer JWT
GET    /v1/messages/{messageId}        message-store/sms-orchestrator   Bearer JWT
GET    /v1/webhooks                    webhook-dispatcher               Bearer JWT
POST   /v1/webhooks                    webhook-dispatcher               Bearer JWT
PUT    /v1/webhooks/{webhookId}        webhook-dispatcher               Bearer JWT
DELETE /v1/webhooks/{webhookId}        webhook-dispatcher               Bearer JWT
GET    /v1/billing/invoices            billing-service                  Bearer JWT
GET    /v1/billing/invoices/{invoiceId} billing-service                 Bearer JWT
GET    /v1/billing/usage               billing-service                  Bearer JWT
"""
AUTH_WORDS = {NONE: Auth.NONE, COOKIE: Auth.REFRESH_COOKIE, BEARER: Auth.BEARER}
CUSTOMER_CLAIMS = {
    "sub": "string",
    "account_id": "string",
    "email": "string",
    "roles": "string[]",
    "exp": "unix timestamp",
    "iss": "string",
}
CUSTOMER_HEADERS = ("X-Account-Id", "X-User-Id", "X-Consumer-Username")


def routes() -> list[tuple[str, str, tuple[str, ...], Auth]]:
    rows = []
    for line in ROUTES.strip().splitlines():
        method, path, upstreams, auth = line.split(None, 3)
        rows.append((method, path, tuple(upstreams.split("/")), AUTH_WORDS[auth]))
    return rows


def customer_limit(method: str, path: str) -> tuple[int, str] | None:
    """Section 5: auth endpoints; key creation; message send; read endpoints (GET)."""
    if path.startswith("/v1/auth/"):
        return 10, "ip"
    if (method, path) == ("POST", "/v1/api-keys"):
        return 5, "account"
    if (method, path) == ("POST", "/v1/messages"):
        return 60, "account"
    return (120, "account") if method == "GET" else None


def customer_timeout_s(method: str, path: str) -> float | None:
    """Section 6: auth 5 s, message send 10 s, message list and detail 8 s, billing 8 s, webhooks 5 s."""
    if path.startswith("/v1/messages"):
        return 10 if method == "POST" else 8
    for prefix, seconds in (("/v1/auth/", 5), ("/v1/billing/", 8), ("/v1/webhooks", 5)):
        if path.startswith(prefix):
            return seconds
    return None


def test_the_routes_are_the_customers_sixteen_in_their_order() -> None:
    ours = [(row.method, row.path, tuple(upstream.value for upstream in row.upstreams), row.auth) for row in CONTRACT]
    assert len(routes()) == 16
    assert ours == routes()


def test_limits_are_the_customers() -> None:
    for row in CONTRACT:
        assert row.limit is not None
        expected = customer_limit(row.method, row.path)
        if expected is None:  # the contract leaves other writes open: Ghasi limits them to 60 a minute an account
            expected = (60, "account")
        assert (row.limit.default, row.limit.per) == expected, row.operation


def test_timeouts_are_the_customers_and_the_gateway_waits_less() -> None:
    for row in CONTRACT:
        expected = customer_timeout_s(row.method, row.path)
        if expected is None:  # the contract names none for API keys: as the rest of auth-service
            assert row.path.startswith("/v1/api-keys")
            expected = 5
        assert row.timeout_s == expected, row.operation
        assert row.upstream_timeout_s == expected - GATEWAY_MARGIN_S


def test_claims_and_injected_headers_are_the_customers() -> None:
    assert {claim.name: claim.type for claim in CLAIMS} == CUSTOMER_CLAIMS
    assert tuple(header.name for header in INJECTED_HEADERS) == CUSTOMER_HEADERS
    assert Settings.model_construct().issuer == "https://api.ghasi.io"


def test_settings_have_each_limit_with_the_contracts_default() -> None:
    defaults = Settings.model_construct()
    for group in LIMIT_GROUPS:
        assert getattr(defaults, group.setting) == group.default


def test_extensions_are_marked_and_the_contract_is_not() -> None:
    assert not [row for row in CONTRACT if row.extension]
    assert not [row for row in EXTENSIONS + INTERNAL if not row.extension]


def test_operations_and_routes_are_unique_and_internal_ones_are_never_routed() -> None:
    assert len(BY_OPERATION) == len(ROWS + INTERNAL)
    assert len({(row.method, row.path) for row in ROWS + INTERNAL}) == len(ROWS + INTERNAL)
    assert all(Matcher().find(row.method, row.path) is None for row in INTERNAL)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.operation)
def test_only_bearer_rows_have_scopes_and_api_keys_never_reach_auth_or_keys(row) -> None:
    if row.scope is not None:
        assert row.auth is Auth.BEARER
    people = (
        "/v1/auth/", "/v1/api-keys", "/v1/account", "/v1/preferences", "/v1/users", "/v1/invitations",
        "/v1/billing/spending-limit",
    )  # fmt: skip
    if row.path.startswith(people) or "owner_required" in row.problems:
        assert row.scope is None
    elif row.auth is Auth.BEARER:
        assert row.scope is not None
