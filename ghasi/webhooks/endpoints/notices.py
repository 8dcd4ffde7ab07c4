"""Events about an account's endpoints, for its other endpoints: `webhook.failing`, `.disabled` and `.exhausted`.

The endpoint that a notice is about never gets it, and no notice is made of a delivery of a notice, so that two
endpoints that fail do not tell each other for ever. Of exhausted deliveries an endpoint that has failed for a day
itself hears nothing: where a hundred are dead, each would be told of all that the others missed.

A URL goes out without its query, which may hold a secret of the endpoint: the account's other endpoints may be other
people's. Its id says exactly which it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from msgspec import Struct

from ghasi.contract.shapes import DisabledWebhook, ExhaustedDelivery, FailingWebhook
from ghasi.contract.values import id_time, new_id, optional_rfc3339, rfc3339
from ghasi.storage.pool import Connection
from ghasi.webhooks.delivering.feed import encode_body
from ghasi.webhooks.delivering.matching import wants_type
from ghasi.webhooks.endpoints import notice_queries
from ghasi.webhooks.model import Pace, Result, Verdict

FAILING, DISABLED, EXHAUSTED = "webhook.failing", "webhook.disabled", "webhook.exhausted"


@dataclass(frozen=True, slots=True)
class Notice:
    """An event about an endpoint."""

    account_id: UUID
    endpoint_id: UUID
    type: str
    data: Struct


def without_query(url: str) -> str:
    """Return a URL that may be shown to others than who set it."""
    return url.partition("?")[0]


def of_verdicts(verdicts: Sequence[Verdict], pace: Pace) -> list[Notice]:
    """Return the notices of endpoints that were disabled, or whose account is to be warned."""
    notices = []
    for verdict in verdicts:
        standing, since = verdict.standing, verdict.failing_since
        endpoint_id, url = str(standing.id), without_query(standing.url)
        if verdict.reason is not None:
            disabled = DisabledWebhook(endpoint_id, url, verdict.reason, optional_rfc3339(since))
            notices.append(Notice(standing.account_id, standing.id, DISABLED, disabled))
        elif verdict.warns and since is not None:
            failing = FailingWebhook(endpoint_id, url, rfc3339(since), rfc3339(_end(since, pace)))
            notices.append(Notice(standing.account_id, standing.id, FAILING, failing))
    return notices


def _end(since: datetime, pace: Pace) -> datetime:
    return since + timedelta(seconds=pace.disabled_after_s)


async def of_exhausted(
    connection: Connection, exhausted: set[tuple[UUID, UUID]], results: Sequence[Result]
) -> list[Notice]:
    """Return the notices of deliveries, given as (endpoint, event), of which `results` has the last attempts."""
    last = {(result.endpoint_id, result.event_id): result for result in results}
    notices = []
    for ended in await notice_queries.list_ended(connection, list(exhausted)) if exhausted else []:
        result = last[ended.endpoint_id, ended.event_id]
        data = ExhaustedDelivery(
            webhook_id=str(ended.endpoint_id),
            url=without_query(ended.url),
            delivery_id=str(ended.event_id),
            event_type=ended.event_type,
            message_id=None if ended.message_id is None else str(ended.message_id),
            attempts=result.number,
            response_status=result.status_code,
            error=result.error or "",
        )
        notices.append(Notice(ended.account_id, ended.endpoint_id, EXHAUSTED, data))
    return notices


async def write(connection: Connection, notices: Sequence[Notice]) -> bool:
    """Write notices for those who want them, due at once; return whether there is anybody who does."""
    if not notices:
        return False
    listeners: dict[UUID, list[notice_queries.Listener]] = {}
    for listener in await notice_queries.list_listeners(connection, list({one.account_id for one in notices})):
        listeners.setdefault(listener.account_id, []).append(listener)
    events: list[tuple[UUID, UUID, str, datetime, str]] = []
    deliveries: list[tuple[UUID, UUID]] = []
    for notice in notices:
        reached = [one.id for one in listeners.get(notice.account_id, ()) if _reaches(notice, one)]
        if reached:
            event_id = new_id()
            at = id_time(event_id)
            body = encode_body(notice.type, at, msgspec.json.encode(notice.data).decode())
            events.append((event_id, notice.account_id, notice.type, at, body))
            deliveries += [(endpoint_id, event_id) for endpoint_id in reached]
    if events:
        await notice_queries.insert(connection, events, deliveries)
    return bool(events)


def _reaches(notice: Notice, listener: notice_queries.Listener) -> bool:
    return (
        listener.id != notice.endpoint_id
        and wants_type(listener.events, notice.type)
        and not (listener.warned and notice.type == EXHAUSTED)
    )
