"""What test events carry: a message, always the same but for its status, an endpoint or money, plainly nobody's.

Keeps and sends nothing.
"""

import msgspec
from msgspec import Struct

from ghasi.contract.message_errors import MESSAGE_ERRORS
from ghasi.contract.shapes import (
    FINAL_STATUSES,
    BillingAlert,
    DisabledWebhook,
    ExhaustedDelivery,
    FailingWebhook,
    Invoice,
    Message,
    MessageError,
    Money,
)

_ERRORS = {
    "undelivered": "undeliverable",
    "failed": "invalid_destination",
    "expired": "expired",
    "unknown": "no_receipt",
}
_BEFORE_SENDING = frozenset({"scheduled", "accepted", "failed", "canceled"})
_EXAMPLE = Message(
    id="00000000-0000-7000-8000-000000000000",
    direction="outbound",
    to="+15005550006",
    sender="Ghasi",
    body="This is a test event from Ghasi.",
    encoding="gsm7",
    segments=1,
    status="sent",
    price=None,
    error=None,
    reference="test",
    country="US",
    created_at="2026-01-01T00:00:00.000Z",
    send_at=None,
    sent_at="2026-01-01T00:00:01.000Z",
    completed_at=None,
)


_ENDPOINT_ID, _URL = _EXAMPLE.id, "https://example.com/ghasi"
_ABOUT_ENDPOINTS: dict[str, Struct] = {
    "webhook.failing": FailingWebhook(
        _ENDPOINT_ID, _URL, failing_since="2026-01-01T00:00:00.000Z", disables_at="2026-01-06T00:00:00.000Z"
    ),
    "webhook.disabled": DisabledWebhook(_ENDPOINT_ID, _URL, "failing", failing_since="2026-01-01T00:00:00.000Z"),
    "webhook.exhausted": ExhaustedDelivery(
        _ENDPOINT_ID,
        _URL,
        delivery_id=_EXAMPLE.id,
        event_type="message.delivered",
        message_id=_EXAMPLE.id,
        attempts=8,
        response_status=500,
        error="status: the endpoint answered 500",
    ),
}


_ABOUT_MONEY: dict[str, Struct] = {
    "billing.alert": BillingAlert(
        id=_EXAMPLE.id, kind="spending_limit", threshold_percent=80, at="2026-01-01T00:00:00.000Z", currency="USD",
        period="2026-01", spent="40.0150", limit="50.0000", balance=None,
    ),
    **{
        f"invoice.{what}": Invoice(
            id=_EXAMPLE.id, number="GH-2026-000000", status="paid" if what == "paid" else "open", currency="USD",
            period_start="2025-12-01T00:00:00.000Z", period_end="2026-01-01T00:00:00.000Z", subtotal="10.00",
            tax="0.00", total="10.00", paid="10.00" if what == "paid" else "0.00", credited="0.00",
            amount_due="0.00" if what == "paid" else "10.00", overdue=what == "overdue", plan=None,
            issued_at="2026-01-01T00:00:00.000Z", due_at="2026-01-15T00:00:00.000Z",
            paid_at="2026-01-02T00:00:00.000Z" if what == "paid" else None,
        )
        for what in ("opened", "paid", "overdue")
    },
}  # fmt: skip


def example_data(event_type: str) -> str:
    """Return the `data` of a test event, one of EVENT_TYPES, as JSON."""
    other = _ABOUT_ENDPOINTS.get(event_type) or _ABOUT_MONEY.get(event_type)
    return msgspec.json.encode(other or example_message(event_type)).decode()


def example_message(event_type: str) -> Message:
    """Return the example message in the state that an event about a message is about."""
    status = event_type.partition(".")[2]
    if status == "received":
        return msgspec.structs.replace(
            _EXAMPLE, direction="inbound", status="received", to="+15005550001", sender="+15005550006", reference=None,
            sent_at=None, completed_at=_EXAMPLE.created_at,
        )  # fmt: skip
    code = _ERRORS.get(status)
    return msgspec.structs.replace(
        _EXAMPLE,
        status=status,
        price=Money(amount="0.0100", currency="USD") if status == "delivered" else None,
        error=None if code is None else MessageError(code=code, message=MESSAGE_ERRORS[code].message),
        send_at="2026-01-01T00:00:00.500Z" if status == "scheduled" else None,
        sent_at=None if status in _BEFORE_SENDING else _EXAMPLE.sent_at,
        completed_at="2026-01-01T00:00:02.000Z" if status in FINAL_STATUSES else None,
    )
