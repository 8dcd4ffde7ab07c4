"""An API that speaks the contract's shapes on a real socket: it refuses what the contract refuses, and records."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa

from ghasi.contract import shapes
from ghasi.contract.decoding import decode_body, decode_query
from ghasi.contract.errors import Problem
from ghasi.contract.row import Row
from ghasi.contract.serving import (
    Receive,
    Scope,
    Send,
    answer,
    answer_problem,
    read_body,
)
from ghasi.contract.table import Matcher

ID = "0199f3a0-0000-7000-8000-000000000001"
AT = "2026-11-22T18:00:00.000Z"


@dataclass
class Seen:
    row: Row
    path: dict[str, str]
    query: Any
    body: Any
    headers: list[tuple[str, str]]

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)


@dataclass
class Given:
    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


Answerer = Given | Callable[[Seen], Given | Awaitable[Given]]


class FakeApi:
    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.unrouted: list[str] = []
        self.answers: dict[str, Answerer] = {}
        self.released = asyncio.Event()
        self._matcher = Matcher()

    def calls(self, operation: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.row.operation == operation]

    def reset(self) -> None:
        self.seen.clear()
        self.unrouted.clear()
        self.answers.clear()
        self.released.clear()

    async def hang(self, _: Seen) -> Given:
        """An answer that does not come before `released` is set."""
        await self.released.wait()
        return Given(503)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        found = self._matcher.find(scope["method"], scope["path"])
        if found is None:
            self.unrouted.append(scope["raw_path"].decode())
            await answer(send, 404, b"application/json", b'{"message":"no Route matched with those values"}')
            return
        row, path = found
        raw = await read_body(receive)
        try:
            query = decode_query(scope["query_string"], row.query) if row.query else scope["query_string"]
            body = decode_body(raw, row.body) if row.body else raw
        except Problem as problem:
            await answer_problem(send, problem, "")
            return
        seen = Seen(row, path, query, body, [(key.decode(), value.decode()) for key, value in scope["headers"]])
        self.seen.append(seen)
        given = self.answers.get(row.operation) or Given(row.success, SAMPLES.get(row.operation))
        if callable(given):
            made = given(seen)
            given = made if isinstance(made, Given) else await made
        content = given.body if isinstance(given.body, bytes) else b""
        if given.body is not None and not content:
            content = msgspec.json.encode(given.body)
        headers = [(key.lower().encode(), value.encode()) for key, value in given.headers.items()]
        media = (row.media or "application/json") if given.status == row.success else "application/json"
        await answer(send, given.status, media.encode() if content else None, content, headers)


def message(number: int = 1, **changes: Any) -> shapes.Message:
    return msgspec.structs.replace(
        shapes.Message(
            id=f"0199f3a0-0000-7000-8000-{number:012}", direction="outbound", to="+93701234567", sender="Ghasi",
            body="Your verification code is 482913", encoding="gsm7", segments=1, status="delivered",
            price=shapes.Money("0.0265", "USD"), error=None, reference=None, country="AF", created_at=AT, send_at=None,
            sent_at=AT, completed_at=AT,
        ),
        **changes,
    )  # fmt: skip


SIGNING_KEY = rsa.generate_private_key(65537, 2048)
PUBLIC_KEY = {
    **jwt.algorithms.RSAAlgorithm.to_jwk(SIGNING_KEY.public_key(), as_dict=True), "kid": "k1", "use": "sig",
    "alg": "RS256",
}  # fmt: skip


def sign(claims: dict[str, Any]) -> str:
    """An access token as the API signs it."""
    return jwt.encode(claims, SIGNING_KEY, "RS256", headers={"kid": "k1"})


USER = shapes.User(ID, "ann@example.com", "Ann", ["customer"])
ACCOUNT = shapes.Account(ID, "Acme Ltd")
SESSION = shapes.Session("an.access.token", "Bearer", 900, USER, ACCOUNT)
KEY = shapes.ApiKey(ID, "ci", "ghk_abcd", ["messages:send"], AT, None, None)
HOOK = shapes.Webhook(
    ID, "https://example.com/hook", ["message.*"], None, True, AT, AT, None, [], None, {}, None, None, None
)
INVOICE = shapes.Invoice(
    ID, "INV-1", "open", "USD", AT, AT, "1.0000", "0.0000", "1.0000", "0.0000", "0.0000", "1.0000", False, None,
    AT, AT, None,
)  # fmt: skip
PARTY = shapes.Party("Ghasi", ["Street 12"], None, "billing@example.net")
CREDIT_NOTE = shapes.CreditNote(ID, "CN-1", ID, "INV-1", "USD", "Late", "0.50", "0.00", "0.50", "0.00", AT)
DETAIL = shapes.MessageDetail(
    **{name: getattr(message(), name) for name in shapes.Message.__struct_fields__},
    events=[shapes.MessageEvent("accepted", AT, None)],
)
INVOICE_DETAIL = shapes.InvoiceDetail(
    **{name: getattr(INVOICE, name) for name in shapes.Invoice.__struct_fields__},
    line_items=[
        shapes.InvoiceLine("SMS to Afghanistan", "AF", 2, 2, "0.0265", "0.0530", "usage", ID, "outbound", None)
    ],
    taxes=[shapes.TaxLine("VAT", "19", "1.00", "0.19")],
    payments=[shapes.InvoicePayment(ID, "0.10", "bank_transfer", None, AT)],
    credit_notes=[CREDIT_NOTE],
    seller=PARTY,
    customer=PARTY,
)
MEMBER = shapes.Member(ID, "ann@example.com", "Ann", "owner", AT, AT)
INVITATION = shapes.Invitation(ID, "omid@example.com", "member", AT, AT)
DELIVERY = shapes.Delivery(ID, ID, "message.delivered", ID, "succeeded", 1, 204, AT, AT, None)
SENDER = shapes.Sender(ID, "+93799000001", "number", ["AF"], True, False, AT)
OPT_OUT = shapes.OptOut(ID, "+93701234567", "+93799000001", "keyword", AT)
BALANCE = shapes.Balance("USD", "prepaid", "20.0000", "0.0450", "19.9550", "3.1200", None, None, "ok", [])
OUTCOME = shapes.Outcome(10, 8, 1, 12, "0.3180")
SAMPLES: dict[str, Any] = {
    "sign_in_with_firebase": SESSION,
    "refresh_session": SESSION,
    "get_me": shapes.Me(USER, ACCOUNT),
    "list_api_keys": shapes.Page([KEY], None),
    "create_api_key": shapes.CreatedApiKey(*msgspec.structs.astuple(KEY), "ghk_abcdef"),
    "send_message": message(status="accepted", price=None),
    "list_messages": shapes.Page([message()], None),
    "get_message": DETAIL,
    "list_webhooks": shapes.Page([HOOK], None),
    "create_webhook": shapes.CreatedWebhook(*msgspec.structs.astuple(HOOK), "whsec_c2VjcmV0"),
    "update_webhook": HOOK,
    "list_invoices": shapes.Page([INVOICE], None),
    "get_invoice": INVOICE_DETAIL,
    "get_account": shapes.AccountDetail(ID, "Acme Ltd", "active", "owner", AT),
    "update_account": shapes.AccountDetail(ID, "Acme Ltd", "active", "owner", AT),
    "get_preferences": shapes.Preferences(None, None),
    "update_preferences": shapes.Preferences("Asia/Kabul", "en-GB"),
    "list_users": shapes.Page([MEMBER], None),
    "update_user": MEMBER,
    "list_invitations": shapes.Page([INVITATION], None),
    "create_invitation": shapes.CreatedInvitation(*msgspec.structs.astuple(INVITATION), "ghi_abcdef"),
    "preview_message": shapes.Preview("Hello", "gsm7", 1, 5, 5, 160, 155, [], "AF", shapes.Money("0.0265", "USD"), []),
    "send_batch": shapes.Batch(1, 0, [shapes.BatchItem(0, message(status="accepted", price=None), None)]),
    "cancel_message": DETAIL,
    "redact_message": DETAIL,
    "list_senders": shapes.Page([SENDER], None),
    "update_sender": SENDER,
    "list_opt_outs": shapes.Page([OPT_OUT], None),
    "create_opt_out": OPT_OUT,
    "export_messages": b"id,to\r\n",
    "list_message_deliveries": shapes.Page([DELIVERY], None),
    "get_webhook": HOOK,
    "rotate_webhook_secret": shapes.CreatedWebhook(*msgspec.structs.astuple(HOOK), "whsec_c2VjcmV0"),
    "send_test_event": DELIVERY,
    "list_deliveries": shapes.Page([DELIVERY], None),
    "get_delivery": shapes.DeliveryDetail(
        *msgspec.structs.astuple(DELIVERY),
        "https://example.com/hook",
        "{}",
        [shapes.DeliveryAttempt(1, AT, 81, 204, "", None)],
    ),
    "resend_delivery": DELIVERY,
    "recover_deliveries": shapes.Recovered(3),
    "list_account_deliveries": shapes.Page([DELIVERY], None),
    "list_attempts": shapes.Page([shapes.LoggedAttempt(1, AT, 81, 204, "", None, ID, "message.delivered", ID)], None),
    "replay_events": shapes.Replayed(3, None),
    "dry_run_event": shapes.DryRunResult([shapes.Reach(ID, HOOK.url, None, True, "reached", None)]),
    "get_summary": shapes.Summary(
        AT, AT, OUTCOME, OUTCOME, [shapes.SummaryRow(*msgspec.structs.astuple(OUTCOME), AT, AT)], "USD"
    ),
    "list_rates": shapes.Page(
        [
            shapes.Rate(
                ID, "outbound", "plan", "AF", "9370", "name", None, "USD", "0.0310", [shapes.RateTier(10, "0.03")], AT
            )
        ],
        None,
    ),
    "get_invoice_pdf": b"%PDF-1.7",
    "get_credit_note_pdf": b"%PDF-1.7",
    "get_invoice_csv": b"number,period",
    "preview_invoice": INVOICE_DETAIL,
    "get_invoice_sources": shapes.InvoiceSources(
        [shapes.SourceLine(0, "usage", "SMS to Afghanistan", "0.05", None, [])],
        [shapes.SourceCharge(ID, 0, AT, "AF", 1, "0.0265", "0.0265", "0.0265", ID)],
        None,
    ),
    "list_credit_notes": shapes.Page([CREDIT_NOTE], None),
    "get_credit_note": shapes.CreditNoteDetail(
        **{name: getattr(CREDIT_NOTE, name) for name in shapes.CreditNote.__struct_fields__},
        line_items=[shapes.CreditNoteLine("SMS to Afghanistan", 0, "0.50")],
        taxes=[],
        seller=PARTY,
        customer=PARTY,
    ),
    "get_billing_profile": shapes.BillingProfile("Acme", "Acme Ltd", ["Street 1"], None, None, "en-GB", AT),
    "update_billing_profile": shapes.BillingProfile("Acme", "Acme Ltd", [], None, None, None, AT),
    "get_json_web_keys": shapes.JsonWebKeySet([msgspec.convert(PUBLIC_KEY, shapes.JsonWebKey)]),
    "get_balance": BALANCE,
    "list_balance_transactions": shapes.Page(
        [shapes.BalanceTransaction(ID, "top_up", "20.0000", "20.0000", "USD", AT, "bank 1041", None, None)], None
    ),
    "set_spending_limit": BALANCE,
    "get_usage": shapes.Usage([], shapes.UsageTotals(0, 0, "0.0000"), "USD"),
}
