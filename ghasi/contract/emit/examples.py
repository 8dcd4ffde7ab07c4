"""Examples of the main shapes, for OpenAPI and the docs. They are shapes themselves, so they cannot drift from them."""

import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from ghasi.contract import shapes
from ghasi.contract.emit.invoice_examples import CREDIT_NOTE, INVOICE, INVOICE_EXAMPLES
from ghasi.contract.errors import Problem
from ghasi.contract.shapes import FieldError

_ACCOUNT = shapes.Account(id="01936f00-8a10-7c3e-9d53-6f2b1e4a7c10", name="Kabul Bakery")
_USER = shapes.User(
    id="01936f00-8a11-7b90-a1c4-0d9e8f7a6b5c", email="laila@example.com", name="Laila", roles=["customer"]
)
_API_KEY = shapes.ApiKey(
    id="01936f02-11d4-7f00-8a6b-3c2d1e0f9a8b",
    name="Orders",
    prefix="ghk_4fQ9",
    scopes=["messages:send", "messages:read"],
    created_at="2026-11-22T09:30:00.000Z",
    expires_at=None,
    last_used_at="2026-11-22T09:41:07.250Z",
)
_MESSAGE = shapes.Message(
    id="01936f0a-52b7-7d21-b3f0-9a8c7e6d5f41",
    direction="outbound",
    to="+93701234567",
    sender="Bakery",
    body="Your bread is ready.",
    encoding="gsm7",
    segments=1,
    status="delivered",
    price=shapes.Money(amount="0.0450", currency="USD"),
    error=None,
    reference="order-1041",
    country="AF",
    created_at="2026-11-22T09:41:07.250Z",
    send_at=None,
    sent_at="2026-11-22T09:41:07.301Z",
    completed_at="2026-11-22T09:41:08.112Z",
)
_WEBHOOK = shapes.Webhook(
    id="01936f05-7c1a-7e44-9f10-2b3c4d5e6f70",
    url="https://bakery.example.com/ghasi",
    events=["message.delivered", "message.failed"],
    description="Order status",
    enabled=True,
    created_at="2026-11-22T09:35:00.000Z",
    updated_at="2026-11-22T09:35:00.000Z",
    disabled_reason=None,
    header_names=["X-Api-Key"],
    filter=shapes.EventFilter(country=["AF"], reference=["order-*"]),
    metadata={"team": "orders"},
    rate_per_s=None,
    fifo=None,
    failing_since=None,
)
_RATE = shapes.Rate(
    id="01936e00-3c5d-7b21-9f8e-7a6b5c4d3e2f",
    direction="outbound",
    scope="everybody",
    country="AF",
    prefix="9370",
    sender_kind=None,
    carrier_class=None,
    currency="USD",
    amount="0.0265",
    tiers=[shapes.RateTier(from_segments=10_000, amount="0.0240")],
    valid_from="2026-11-01T00:00:00.000Z",
)
_STEPS = (("accepted", _MESSAGE.created_at), ("sent", _MESSAGE.sent_at), ("delivered", _MESSAGE.completed_at))
_EVENTS = [msgspec.convert({"status": status, "at": at, "detail": None}, shapes.MessageEvent) for status, at in _STEPS]

_DELIVERY = shapes.Delivery(
    id="01936f0a-55d5-7a02-9c3e-1f2e3d4c5b6a",
    webhook_id=_WEBHOOK.id,
    event_type="message.delivered",
    message_id=_MESSAGE.id,
    status="succeeded",
    attempt_count=1,
    response_status=204,
    created_at="2026-11-22T09:41:08.117Z",
    completed_at="2026-11-22T09:41:08.201Z",
    next_attempt_at=None,
)
_ATTEMPT = shapes.LoggedAttempt(
    number=1,
    at="2026-11-22T09:41:08.120Z",
    duration_ms=81,
    response_status=503,
    response_body="try later",
    error="status: the endpoint answered 503",
    delivery_id=_DELIVERY.id,
    event_type=_DELIVERY.event_type,
    message_id=_MESSAGE.id,
)
_INVITATION = shapes.Invitation(
    id="01936f06-4b2d-7c10-8f7e-6d5c4b3a2910",
    email="omid@example.com",
    role="member",
    created_at="2026-11-22T09:36:00.000Z",
    expires_at="2026-11-29T09:36:00.000Z",
)
_MEMBER = shapes.Member(
    id=_USER.id,
    email=_USER.email,
    name=_USER.name,
    role="owner",
    created_at="2026-11-22T09:29:00.000Z",
    signed_in_at="2026-11-22T09:29:00.000Z",
)
_OUTCOME = shapes.Outcome(messages=1240, delivered=1214, failed=17, segments=1302, amount="58.5900")

_SCHEDULED = msgspec.structs.replace(
    _MESSAGE, status="scheduled", price=None, send_at="2026-11-23T06:00:00.000Z", sent_at=None, completed_at=None
)
_SENDER = shapes.Sender(
    id="01936f07-2a6c-7b11-8d20-5c4b3a29181f",
    address="+93799000001",
    kind="number",
    countries=["AF"],
    default=True,
    pool=False,
    created_at="2026-11-22T09:37:00.000Z",
)
_OPT_OUT = shapes.OptOut(
    id="01936f0b-1c2d-7e3f-8a4b-5c6d7e8f9a0b",
    to="+93701234567",
    sender="+93799000001",
    source="keyword",
    created_at="2026-11-22T09:50:12.480Z",
)

_ALERT = shapes.SpendingAlert(kind="balance", threshold_percent=50, limit="50.0000", at="2026-11-22T09:41:08.112Z")
_BALANCE_TRANSACTION = shapes.BalanceTransaction(
    id="01936f0a-2d41-7c11-8f3e-5b9d2a7c4e0f", kind="top_up", amount="50.0000", balance="50.0000", currency="USD",
    at="2026-11-20T08:00:00.000Z", reference="bank 1041", invoice_id=None, note="Thank you",
)  # fmt: skip
_EXAMPLES: tuple[Any, ...] = (
    shapes.FirebaseSignIn(id_token="eyJhbGciOiJSUzI1NiIs..."),  # noqa: S106 - the beginning of any token
    shapes.Session(
        access_token="eyJhbGciOiJSUzI1NiIs...",  # noqa: S106 - the beginning of any token
        token_type="Bearer",  # noqa: S106 - a type, not a token
        expires_in=900,
        user=_USER,
        account=_ACCOUNT,
    ),
    shapes.Me(user=_USER, account=_ACCOUNT),
    shapes.JsonWebKeySet(
        keys=[
            shapes.JsonWebKey(
                kty="RSA", use="sig", alg="RS256", kid="NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
                n="0vx7agoebGc...", e="AQAB",
            )
        ]
    ),
    shapes.NewApiKey(name="Orders", scopes=["messages:send", "messages:read"]),
    _API_KEY,
    shapes.CreatedApiKey(**msgspec.structs.asdict(_API_KEY), key="ghk_4fQ9..."),
    shapes.NewMessage(to="+93701234567", body="Your bread is ready.", sender="Bakery", reference="order-1041"),
    _MESSAGE,
    shapes.MessageDetail(**msgspec.structs.asdict(_MESSAGE), events=_EVENTS),
    shapes.NewBatch(
        body="Dear {{name}}, your bread is ready.",
        recipients=[shapes.BatchRecipient(to="+93701234567", variables={"name": "Laila"})],
        sender="Bakery",
    ),
    shapes.Batch(
        accepted=1,
        refused=1,
        data=[
            shapes.BatchItem(index=0, message=_SCHEDULED, error=None),
            shapes.BatchItem(
                index=1,
                message=None,
                error=shapes.BatchError(
                    code="invalid_number",
                    detail="not a valid number",
                    errors=[FieldError(field="to", message="not a valid number")],
                ),
            ),
        ],
    ),
    _SENDER,
    shapes.SenderInput(default=True, pool=False),
    _OPT_OUT,
    shapes.NewOptOut(to="+93701234567"),
    shapes.WebhookInput(
        url="https://bakery.example.com/ghasi",
        events=["message.delivered", "message.failed"],
        description="Order status",
    ),
    _WEBHOOK,
    shapes.CreatedWebhook(**msgspec.structs.asdict(_WEBHOOK), secret="whsec_..."),  # noqa: S106 - a secret's form
    shapes.Usage(
        data=[
            shapes.UsageRow(
                period_start="2026-11-22T00:00:00.000Z",
                period_end="2026-11-23T00:00:00.000Z",
                group=None,
                messages=2,
                segments=3,
                amount="0.1350",
            )
        ],
        totals=shapes.UsageTotals(messages=2, segments=3, amount="0.1350"),
        currency="USD",
    ),
    *INVOICE_EXAMPLES,
    shapes.AccountDetail(
        **msgspec.structs.asdict(_ACCOUNT), status="active", role="owner", created_at="2026-11-22T09:29:00.000Z"
    ),
    shapes.AccountInput(name="Kabul Bakery"),
    shapes.Preferences(time_zone="Asia/Kabul", locale="en-GB"),
    shapes.PreferencesInput(time_zone="Asia/Kabul", locale="en-GB"),
    _MEMBER,
    shapes.MemberInput(role="member"),
    shapes.NewInvitation(email="omid@example.com"),
    _INVITATION,
    shapes.CreatedInvitation(**msgspec.structs.asdict(_INVITATION), token="ghi_..."),  # noqa: S106 - a token's form
    shapes.PreviewInput(body="Your bread\u2019s ready.", to="+93701234567"),
    shapes.Preview(
        body="Your bread\u2019s ready.",
        encoding="ucs2",
        segments=1,
        characters=19,
        units=19,
        units_per_segment=70,
        left=51,
        forcing=[
            shapes.ForcingCharacter(
                character="\u2019", code_point="U+2019", name="RIGHT SINGLE QUOTATION MARK", count=1, suggestion="'"
            )
        ],
        country="AF",
        price=shapes.Money(amount="0.0450", currency="USD"),
        errors=[],
    ),
    _DELIVERY,
    shapes.DeliveryDetail(
        **msgspec.structs.asdict(_DELIVERY),
        url=_WEBHOOK.url,
        body='{"type":"message.delivered","timestamp":"2026-11-22T09:41:08.112Z","data":{}}',
        attempts=[
            shapes.DeliveryAttempt(
                number=1,
                at="2026-11-22T09:41:08.120Z",
                duration_ms=81,
                response_status=204,
                response_body="",
                error=None,
            )
        ],
    ),
    shapes.TestEvent(),
    shapes.FailingWebhook(
        _WEBHOOK.id, _WEBHOOK.url, failing_since="2026-11-22T09:30:00.000Z", disables_at="2026-11-27T09:30:00.000Z"
    ),
    shapes.DisabledWebhook(_WEBHOOK.id, _WEBHOOK.url, "failing", failing_since="2026-11-22T09:30:00.000Z"),
    shapes.ExhaustedDelivery(
        _WEBHOOK.id,
        _WEBHOOK.url,
        delivery_id=_DELIVERY.id,
        event_type=_DELIVERY.event_type,
        message_id=_MESSAGE.id,
        attempts=8,
        response_status=503,
        error="status: the endpoint answered 503",
    ),
    shapes.Recovery(since=datetime(2026, 11, 22, 9, tzinfo=UTC)),
    shapes.Recovered(deliveries=12),
    shapes.Replay(
        since=datetime(2026, 11, 22, tzinfo=UTC), until=datetime(2026, 11, 23, tzinfo=UTC),
        event_types=["message.delivered"],
    ),
    shapes.Replayed(deliveries=348, next_cursor=None),
    shapes.DryRun(
        event_type="message.delivered", data=shapes.EventSample(country="AF", reference="order-1042", sender="Bakery")
    ),
    shapes.DryRunResult(
        data=[
            shapes.Reach(
                webhook_id=_WEBHOOK.id, url=_WEBHOOK.url, description=_WEBHOOK.description, reached=True,
                reason="reached", field=None,
            )
        ]
    ),
    shapes.Summary(
        since="2026-11-21T00:00:00.000Z",
        until="2026-11-22T00:00:00.000Z",
        current=_OUTCOME,
        previous=shapes.Outcome(messages=1100, delivered=1071, failed=21, segments=1166, amount="52.4700"),
        data=[
            shapes.SummaryRow(
                **msgspec.structs.asdict(_OUTCOME),
                period_start="2026-11-21T00:00:00.000Z",
                period_end="2026-11-22T00:00:00.000Z",
            )
        ],
        currency="USD",
    ),
    shapes.Balance(
        currency="USD", payment="prepaid", balance="18.2350", held="0.0900", available="18.1450", spent="31.7650",
        spending_limit="100.0000", own_spending_limit=None, status="ok", alerts=[_ALERT],
    ),
    _ALERT,
    _BALANCE_TRANSACTION,
    shapes.SpendingLimitInput(spending_limit="50.00"),
    shapes.BillingAlert(
        id="01936f0a-2d41-7c11-8f3e-5b9d2a7c4e10", kind="balance", threshold_percent=50, at="2026-11-22T09:41:08.112Z",
        currency="USD", period=None, spent="25.0150", limit="50.0000", balance="24.9850",
    ),
    Problem(
        "invalid_number", "not a valid number", (FieldError(field="to", message="not a valid number"),)
    ).body("6a2f8f0c1d9b4e57a3c2b1d0e9f8a7b6"),
    shapes.Page(data=[_API_KEY], next_cursor=None),
    shapes.Page(data=[_MESSAGE], next_cursor="WyIwMTkzNmYwYSJd"),
    shapes.Page(data=[_WEBHOOK], next_cursor=None),
    shapes.Page(data=[INVOICE], next_cursor=None),
    shapes.Page(data=[CREDIT_NOTE], next_cursor=None),
    shapes.Page(data=[_BALANCE_TRANSACTION], next_cursor=None),
    _RATE,
    shapes.Page(data=[_RATE], next_cursor=None),
    shapes.Page(data=[_MEMBER], next_cursor=None),
    shapes.Page(data=[_INVITATION], next_cursor=None),
    shapes.Page(data=[_DELIVERY], next_cursor=None),
    shapes.Page(data=[_ATTEMPT], next_cursor=None),
    shapes.Page(data=[_SENDER], next_cursor=None),
    shapes.Page(data=[_OPT_OUT], next_cursor=None),
)  # fmt: skip


def _without_unset_defaults(example: Any) -> Any:
    """Write an example as JSON; a request leaves out what it need not say."""
    value = msgspec.to_builtins(example)
    if isinstance(example, shapes.Input):
        return {name: item for name, item in value.items() if item is not None}
    return value


def component_name(name: str) -> str:
    """Return the OpenAPI component of a shape: Page[Message] (or Page_Message_) is MessagePage."""
    return re.sub(r"^Page[\[_](\w+?)[\]_]$", r"\1Page", name).replace("ProblemBody", "Problem")


def _name(example: Any) -> str:
    name = type(example).__name__
    return component_name(f"Page[{type(example.data[0]).__name__}]" if name == "Page" else name)


EXAMPLES: dict[str, Any] = {_name(example): _without_unset_defaults(example) for example in _EXAMPLES}
"""An example as JSON for each component that has one."""
