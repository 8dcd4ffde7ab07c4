"""What a row of the contract's table says, and the limits, time-outs and sizes that rows share. Knows no route."""

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
