"""sms-orchestrator's and message-store's handlers: bytes to shape is done, here a call becomes a service's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ghasi.contract.serving import Call, Handler, Reply
from ghasi.contract.values import parse_id
from ghasi.messages.dispatch.carrier_reports import CarrierReports
from ghasi.messages.keeping import redaction
from ghasi.messages.reading import export, reading
from ghasi.messages.reading.detail_queries import MessageFinder
from ghasi.messages.senders import routes as sender_routes
from ghasi.messages.sending import batches, cancelling, preview, service
from ghasi.storage.pool import ALONG_INDEXES, close_pool, open_pool
from ghasi.storage.resources import Resources

READERS, WRITERS = 6, 2
"""Connections for what reads messages, and for what accepts them."""
_REPLAYED = [(b"idempotent-replayed", b"true")]


@asynccontextmanager
async def serve(resources: Resources) -> AsyncIterator[dict[str, Handler]]:
    """Give the handlers of both upstreams; leaving waits for what was accepted to be committed."""
    readers, writers = await asyncio.gather(
        open_pool(resources.database_url, size=READERS, name="ghasi reading", planning=ALONG_INDEXES),
        open_pool(resources.database_url, size=WRITERS, name="ghasi accepting", planning=ALONG_INDEXES),
    )
    sending = service.Sending(resources.pool, writers, resources.bells)
    sending_batches = batches.Batches(sending)
    reports = CarrierReports(resources)
    finder = MessageFinder(readers)
    loop = asyncio.get_running_loop()

    async def send_message(call: Call) -> Reply:
        response, replayed = await service.send(sending, call.caller, call.body, call.idempotency_key, loop.time())
        return Reply(response, headers=_REPLAYED if replayed else [])

    async def send_batch(call: Call) -> Reply:
        response, replayed = await batches.send_batch(
            sending_batches, call.caller, call.body, call.faults, idempotency_key=call.idempotency_key, now=loop.time()
        )
        return Reply(response, headers=_REPLAYED if replayed else [])

    async def cancel_message(call: Call) -> Reply:
        message_id = parse_id(call.path["messageId"])
        return Reply(await cancelling.cancel_message(resources.pool, resources.bells, call.caller, message_id))

    async def list_messages(call: Call) -> Reply:
        return Reply(await reading.list_messages(readers, call.caller, call.query))

    async def get_message(call: Call) -> Reply:
        return Reply(await reading.get_message(finder, call.caller, parse_id(call.path["messageId"])))

    async def preview_message(call: Call) -> Reply:
        return Reply(await preview.preview_message(sending, call.caller, call.body, loop.time()))

    async def export_messages(call: Call) -> Reply:
        pieces = export.export_messages(readers, call.caller, call.query)
        return Reply(pieces, headers=[(b"content-disposition", b'attachment; filename="messages.csv"')])

    async def redact_message(call: Call) -> Reply:
        message_id = parse_id(call.path["messageId"])
        return Reply(
            await redaction.redact_message(resources.pool, resources.bells, call.caller, message_id, call.request_id)
        )

    try:
        yield {
            "send_message": send_message,
            "send_batch": send_batch,
            "cancel_message": cancel_message,
            "redact_message": redact_message,
            "list_messages": list_messages,
            "get_message": get_message,
            "preview_message": preview_message,
            "export_messages": export_messages,
            "take_carrier_report": reports.take,
            "take_carrier_query": reports.take,
            **sender_routes.handlers(resources.pool, sending.accounts.forget),
        }
        await asyncio.gather(sending.batcher.drain(), sending_batches.batcher.drain())
        await reports.drain()
    finally:
        await asyncio.gather(close_pool(readers), close_pool(writers))
