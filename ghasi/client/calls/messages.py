"""Calls of sms-orchestrator and message-store."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from types import NoneType
from typing import Any

from ghasi.client.transport import Transport
from ghasi.contract import shapes


class MessageCalls(Transport):
    """One method for each route of sms-orchestrator and message-store; see client.api.Ghasi."""

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
