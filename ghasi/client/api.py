"""The asynchronous Python client of the API: one method for each route of the contract.

Owns what each call takes and gives. How it is made is transport's; it knows nothing of the services behind.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from types import NoneType
from typing import Any, Literal, TypedDict, Unpack

from msgspec import UnsetType

from ghasi.client.errors import ApiError, ApiUnreachableError, GhasiError
from ghasi.client.transport import REFRESH_COOKIES, RefreshCookie, Transport, open_session
from ghasi.contract import shapes

__all__ = [
    "REFRESH_COOKIES", "ApiError", "ApiUnreachableError", "Ghasi", "GhasiError", "RefreshCookie", "open_session",
]  # fmt: skip


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


class RateFilters(TypedDict, total=False):
    """What prices are filtered by; see shapes.RateQuery."""

    number: str | None
    country: str | None
    prefix: str | None
    direction: shapes.Direction | None
    at: datetime | None


class Ghasi(Transport):
    """Calls the API at `base_url` for one caller: `token` is an API key or an access token.

    Used as an async context manager it opens a session of its own unless it is given one (see open_session). Every
    method raises ApiError for an answer that is an error and ApiUnreachableError when there is none in time. Signing
    in and refreshing set `token` and `refresh_cookie`.
    """

    # auth-service

    async def sign_in_with_firebase(self, id_token: str, invitation: str | None = None) -> shapes.Session:
        """Exchange a Firebase ID token for a session; with an invitation's token a new person joins its account."""
        body = shapes.FirebaseSignIn(id_token=id_token, invitation=invitation)
        return self._signed_in(await self._call("sign_in_with_firebase", shapes.Session, body=body))

    async def refresh_session(self) -> shapes.Session:
        """Exchange `refresh_cookie` for a new session; the cookie is replaced."""
        return self._signed_in(await self._call("refresh_session", shapes.Session))

    async def sign_out(self) -> None:
        """Revoke the refresh cookie (an extension of the contract); the access token ends by itself."""
        await self._call("sign_out", NoneType)
        self.token = self.refresh_cookie = None

    async def get_me(self) -> shapes.Me:
        """Return the signed-in user and account."""
        return await self._call("get_me", shapes.Me)

    async def get_json_web_keys(self) -> shapes.JsonWebKeySet:
        """Return the public keys that sign access tokens."""
        return await self._call("get_json_web_keys", shapes.JsonWebKeySet)

    async def list_api_keys(self, *, limit: int = 50, cursor: str | None = None) -> shapes.Page[shapes.ApiKey]:
        """Return a page of the account's API keys."""
        query = shapes.PageQuery(limit=limit, cursor=cursor)
        return await self._call("list_api_keys", shapes.Page[shapes.ApiKey], query=query)

    async def create_api_key(
        self,
        name: str,
        *,
        scopes: Sequence[shapes.Scope] | None = None,
        expires_at: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> shapes.CreatedApiKey:
        """Create an API key; `key` is shown this once."""
        body = shapes.NewApiKey(name=name, scopes=None if scopes is None else list(scopes), expires_at=expires_at)
        return await self._call("create_api_key", shapes.CreatedApiKey, body=body, idempotency_key=idempotency_key)

    async def revoke_api_key(self, key_id: str) -> None:
        """Revoke an API key."""
        await self._call("revoke_api_key", NoneType, path={"keyId": key_id})

    async def get_account(self) -> shapes.AccountDetail:
        """Return the account and the caller's role in it."""
        return await self._call("get_account", shapes.AccountDetail)

    async def update_account(self, name: str) -> shapes.AccountDetail:
        """Rename the account."""
        return await self._call("update_account", shapes.AccountDetail, body=shapes.AccountInput(name=name))

    async def get_preferences(self) -> shapes.Preferences:
        """Return the caller's time zone and locale."""
        return await self._call("get_preferences", shapes.Preferences)

    async def update_preferences(self, time_zone: str | None, locale: str | None) -> shapes.Preferences:
        """Set the caller's time zone and locale; None is the browser's own. The next token carries them."""
        body = shapes.PreferencesInput(time_zone=time_zone, locale=locale)
        return await self._call("update_preferences", shapes.Preferences, body=body)

    async def list_users(self, *, limit: int = 50, cursor: str | None = None) -> shapes.Page[shapes.Member]:
        """Return a page of the people in the account."""
        query = shapes.PageQuery(limit=limit, cursor=cursor)
        return await self._call("list_users", shapes.Page[shapes.Member], query=query)

    async def update_user(self, user_id: str, role: shapes.Role) -> shapes.Member:
        """Change a person's role."""
        body = shapes.MemberInput(role=role)
        return await self._call("update_user", shapes.Member, path={"userId": user_id}, body=body)

    async def remove_user(self, user_id: str) -> None:
        """Take a person out of the account."""
        await self._call("remove_user", NoneType, path={"userId": user_id})

    async def list_invitations(self, *, limit: int = 50, cursor: str | None = None) -> shapes.Page[shapes.Invitation]:
        """Return a page of the invitations that were not taken up yet."""
        query = shapes.PageQuery(limit=limit, cursor=cursor)
        return await self._call("list_invitations", shapes.Page[shapes.Invitation], query=query)

    async def create_invitation(self, email: str, role: shapes.Role = "member") -> shapes.CreatedInvitation:
        """Invite a person; `token` is shown this once."""
        body = shapes.NewInvitation(email=email, role=role)
        return await self._call("create_invitation", shapes.CreatedInvitation, body=body)

    async def revoke_invitation(self, invitation_id: str) -> None:
        """Take an invitation back."""
        await self._call("revoke_invitation", NoneType, path={"invitationId": invitation_id})

    # sms-orchestrator and message-store

    async def preview_message(
        self, body: str, *, to: str | None = None, sender: str | None = None, smart_encoding: bool = False
    ) -> shapes.Preview:
        """Return what sending a text would come to; nothing is sent."""
        given = shapes.PreviewInput(body=body, to=to, sender=sender, smart_encoding=smart_encoding)
        return await self._call("preview_message", shapes.Preview, body=given)

    async def send_message(
        self,
        to: str,
        body: str,
        *,
        sender: str | None = None,
        reference: str | None = None,
        send_at: datetime | None = None,
        validity_s: int | None = None,
        smart_encoding: bool = False,
        idempotency_key: str | None = None,
    ) -> shapes.Message:
        """Send a message, now or at a time 5 minutes to 30 days ahead.

        With an idempotency key the call may be repeated for 24 hours and sends once.
        """
        message = shapes.NewMessage(
            to=to, body=body, sender=sender, reference=reference, send_at=send_at, validity_s=validity_s,
            smart_encoding=smart_encoding,
        )  # fmt: skip
        return await self._call("send_message", shapes.Message, body=message, idempotency_key=idempotency_key)

    async def send_batch(self, batch: shapes.NewBatch, *, idempotency_key: str | None = None) -> shapes.Batch:
        """Send up to 1,000 messages, or one text to many; each is accepted or refused by itself."""
        return await self._call("send_batch", shapes.Batch, body=batch, idempotency_key=idempotency_key)

    async def cancel_message(self, message_id: str) -> shapes.MessageDetail:
        """Cancel a message that was not sent yet."""
        return await self._call("cancel_message", shapes.MessageDetail, path={"messageId": message_id})

    async def redact_message(self, message_id: str) -> shapes.MessageDetail:
        """Delete a message's text for good."""
        return await self._call("redact_message", shapes.MessageDetail, path={"messageId": message_id})

    async def list_messages(
        self,
        *,
        limit: int = 50,
        cursor: str | None = None,
        status: shapes.MessageStatus | None = None,
        direction: shapes.Direction | None = None,
        to: str | None = None,
        sender: str | None = None,
        reference: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
    ) -> shapes.Page[shapes.Message]:
        """Return a page of messages, newest first."""
        query = shapes.MessageQuery(
            limit=limit, cursor=cursor, status=status, direction=direction, to=to, sender=sender, reference=reference,
            created_after=created_after, created_before=created_before,
        )  # fmt: skip
        return await self._call("list_messages", shapes.Page[shapes.Message], query=query)

    async def iterate_messages(self, *, page_size: int = 100, **filters: Any) -> AsyncIterator[shapes.Message]:
        """Go through all messages that list_messages' filters let pass, newest first, page by page."""
        cursor: str | None = None
        while True:
            page = await self.list_messages(limit=page_size, cursor=cursor, **filters)
            for message in page.data:
                yield message
            cursor = page.next_cursor
            if cursor is None:
                return

    async def get_message(self, message_id: str) -> shapes.MessageDetail:
        """Return a message with the statuses it has passed."""
        return await self._call("get_message", shapes.MessageDetail, path={"messageId": message_id})

    def export_messages(
        self,
        *,
        status: shapes.MessageStatus | None = None,
        direction: shapes.Direction | None = None,
        to: str | None = None,
        sender: str | None = None,
        reference: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Open the CSV of all messages that the filters let pass, as an async context manager of its pieces."""
        query = shapes.MessageExportQuery(
            status=status, direction=direction, to=to, sender=sender, reference=reference,
            created_after=created_after, created_before=created_before,
        )  # fmt: skip
        return self._stream("export_messages", query=query)

    async def list_message_deliveries(
        self, message_id: str, *, limit: int = 50, cursor: str | None = None
    ) -> shapes.Page[shapes.Delivery]:
        """Return a page of the webhook deliveries that a message caused."""
        query = shapes.PageQuery(limit=limit, cursor=cursor)
        path = {"messageId": message_id}
        return await self._call("list_message_deliveries", shapes.Page[shapes.Delivery], path=path, query=query)

    async def list_senders(self, *, limit: int = 50, cursor: str | None = None) -> shapes.Page[shapes.Sender]:
        """Return a page of the numbers and names the account may send from."""
        query = shapes.PageQuery(limit=limit, cursor=cursor)
        return await self._call("list_senders", shapes.Page[shapes.Sender], query=query)

    async def update_sender(self, sender_id: str, *, default: bool, pool: bool) -> shapes.Sender:
        """Make a sender the default, or put it in the pool."""
        body = shapes.SenderInput(default=default, pool=pool)
        return await self._call("update_sender", shapes.Sender, path={"senderId": sender_id}, body=body)

    async def list_opt_outs(
        self, *, limit: int = 50, cursor: str | None = None, to: str | None = None, sender: str | None = None
    ) -> shapes.Page[shapes.OptOut]:
        """Return a page of who asked for no more messages, newest first."""
        query = shapes.OptOutQuery(limit=limit, cursor=cursor, to=to, sender=sender)
        return await self._call("list_opt_outs", shapes.Page[shapes.OptOut], query=query)

    async def create_opt_out(self, to: str, *, sender: str | None = None) -> shapes.OptOut:
        """Send someone nothing any more, by one sender or by none of the account's."""
        body = shapes.NewOptOut(to=to, sender=sender)
        return await self._call("create_opt_out", shapes.OptOut, body=body)

    async def delete_opt_out(self, opt_out_id: str) -> None:
        """Let someone be written to again."""
        await self._call("delete_opt_out", NoneType, path={"optOutId": opt_out_id})

    # webhook-dispatcher

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

    # billing-service

    async def get_summary(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        granularity: Literal["hour", "day", "month"] = "day",
        time_zone: str = "UTC",
    ) -> shapes.Summary:
        """Return what became of messages and what they cost, beside the range before; by default of 30 days."""
        query = shapes.SummaryQuery(since=since, until=until, granularity=granularity, time_zone=time_zone)
        return await self._call("get_summary", shapes.Summary, query=query)

    async def list_rates(
        self, *, limit: int = 50, cursor: str | None = None, **filters: Unpack[RateFilters]
    ) -> shapes.Page[shapes.Rate]:
        """Return a page of the account's prices, newest first: those that hold at a moment, by default now."""
        query = shapes.RateQuery(limit=limit, cursor=cursor, **filters)
        return await self._call("list_rates", shapes.Page[shapes.Rate], query=query)

    async def get_invoice_pdf(self, invoice_id: str) -> bytes:
        """Return an invoice as PDF."""
        return await self._call("get_invoice_pdf", bytes, path={"invoiceId": invoice_id})

    async def list_invoices(
        self,
        *,
        limit: int = 50,
        cursor: str | None = None,
        status: shapes.InvoiceStatus | None = None,
        overdue: bool | None = None,
        period: str | None = None,
    ) -> shapes.Page[shapes.Invoice]:
        """Return a page of invoices, newest first; `period` is a month, YYYY-MM."""
        query = shapes.InvoiceQuery(limit=limit, cursor=cursor, status=status, overdue=overdue, period=period)
        return await self._call("list_invoices", shapes.Page[shapes.Invoice], query=query)

    async def get_invoice(self, invoice_id: str) -> shapes.InvoiceDetail:
        """Return an invoice with its lines, taxes, payments and credit notes."""
        return await self._call("get_invoice", shapes.InvoiceDetail, path={"invoiceId": invoice_id})

    async def preview_invoice(self) -> shapes.InvoiceDetail:
        """Return what the running month's invoice would say now."""
        return await self._call("preview_invoice", shapes.InvoiceDetail)

    async def get_invoice_csv(self, invoice_id: str) -> bytes:
        """Return an invoice's lines and taxes as CSV."""
        return await self._call("get_invoice_csv", bytes, path={"invoiceId": invoice_id})

    async def get_invoice_sources(
        self, invoice_id: str, *, line: int | None = None, limit: int = 50, cursor: str | None = None
    ) -> shapes.InvoiceSources:
        """Return where an invoice's lines come from, and a page of the charges, of one line or of all."""
        query = shapes.SourceQuery(limit=limit, cursor=cursor, line=line)
        return await self._call(
            "get_invoice_sources", shapes.InvoiceSources, path={"invoiceId": invoice_id}, query=query
        )

    async def list_credit_notes(
        self, *, limit: int = 50, cursor: str | None = None, invoice_id: str | None = None
    ) -> shapes.Page[shapes.CreditNote]:
        """Return a page of credit notes, newest first, of one invoice or of all."""
        query = shapes.CreditNoteQuery(limit=limit, cursor=cursor, invoice_id=invoice_id)
        return await self._call("list_credit_notes", shapes.Page[shapes.CreditNote], query=query)

    async def get_credit_note(self, credit_note_id: str) -> shapes.CreditNoteDetail:
        """Return a credit note with its lines."""
        return await self._call("get_credit_note", shapes.CreditNoteDetail, path={"creditNoteId": credit_note_id})

    async def get_credit_note_pdf(self, credit_note_id: str) -> bytes:
        """Return a credit note as PDF."""
        return await self._call("get_credit_note_pdf", bytes, path={"creditNoteId": credit_note_id})

    async def get_billing_profile(self) -> shapes.BillingProfile:
        """Return what the account is called on invoices."""
        return await self._call("get_billing_profile", shapes.BillingProfile)

    async def update_billing_profile(self, profile: shapes.BillingProfileInput) -> shapes.BillingProfile:
        """Set what the account is called on invoices from now on; owners only."""
        return await self._call("update_billing_profile", shapes.BillingProfile, body=profile)

    async def get_usage(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        granularity: Literal["hour", "day", "month"] = "day",
        group_by: shapes.UsageGrouping | None = None,
        time_zone: str = "UTC",
    ) -> shapes.Usage:
        """Return usage from `since` (inclusive) to `until` (exclusive); by default the zone's current month."""
        query = shapes.UsageQuery(
            since=since, until=until, granularity=granularity, group_by=group_by, time_zone=time_zone
        )
        return await self._call("get_usage", shapes.Usage, query=query)

    async def get_balance(self) -> shapes.Balance:
        """Return the balance, and what may still be spent."""
        return await self._call("get_balance", shapes.Balance)

    async def list_balance_transactions(
        self, *, limit: int = 50, cursor: str | None = None, kind: shapes.TransactionKind | None = None
    ) -> shapes.Page[shapes.BalanceTransaction]:
        """Return a page of what moved the balance, the last first."""
        query = shapes.BalanceTransactionQuery(limit=limit, cursor=cursor, kind=kind)
        return await self._call("list_balance_transactions", shapes.Page[shapes.BalanceTransaction], query=query)

    async def set_spending_limit(self, spending_limit: str | None) -> shapes.Balance:
        """Set the account's own monthly spending limit in its currency; None takes it away."""
        body = shapes.SpendingLimitInput(spending_limit=spending_limit)
        return await self._call("set_spending_limit", shapes.Balance, body=body)

    def _signed_in(self, session: shapes.Session) -> shapes.Session:
        self.token = session.access_token
        return session
