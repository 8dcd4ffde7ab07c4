"""Routes of sms-orchestrator and message-store beyond the contract."""

from ghasi.contract import shapes
from ghasi.contract.row import (
    BATCH_LIMIT,
    CSV,
    EXPORT_LIMIT,
    MAX_BATCH_BYTES,
    PREVIEW_LIMIT,
    READ_LIMIT,
    TIMEOUT_MESSAGES_S,
    TIMEOUT_SEND_S,
    WRITE_LIMIT,
    Auth,
    Row,
    Upstream,
)

ROWS: tuple[Row, ...] = (
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
)  # fmt: skip
