"""Dry runs: which endpoints an event would reach, and what keeps it from the others. Sends and changes nothing."""

import msgspec

from ghasi.contract.errors import Problem, invalid
from ghasi.contract.serving import Caller
from ghasi.contract.shapes import DryRun, DryRunResult, Reach
from ghasi.storage.pool import Pool
from ghasi.webhooks.delivering.matching import EventFields, fields_of_body, refusal
from ghasi.webhooks.endpoints import queries
from ghasi.webhooks.history import event_queries
from ghasi.webhooks.history.deliveries import check_type, oldest_kept, read_id
from ghasi.webhooks.model import MAX_ENDPOINTS, Endpoint


async def dry_run_event(pool: Pool, caller: Caller, body: DryRun) -> DryRunResult:
    """Say of each of an account's endpoints, the newest first, whether an event would reach it.

    Asked are the endpoints as they are now: an event of a message that is long over is no different from one to come.
    Raises Problem invalid_request, and not_found where no event of the type is stored of the message.
    """
    check_type(body.event_type)
    fields = await _find_fields(pool, caller, body)
    endpoints = await queries.list_endpoints(pool, caller.account_id, None, MAX_ENDPOINTS)
    return DryRunResult([_reach(endpoint, body.event_type, fields) for endpoint in endpoints])


async def _find_fields(pool: Pool, caller: Caller, body: DryRun) -> EventFields:
    """Return what a filter would read; a message that nothing is told of has the status that its event is about."""
    if body.message_id is None:
        given = {} if body.data is None else msgspec.structs.asdict(body.data)
        return EventFields(**given | {"status": given.get("status") or body.event_type.partition(".")[2]})
    if body.data is not None:
        raise invalid("data", "is the message's own where message_id is given")
    message_id = read_id("message_id", body.message_id)
    stored = await event_queries.find_event(pool, caller.account_id, message_id, body.event_type, oldest=oldest_kept())
    if stored is None:
        raise Problem("not_found", "no event of this type is stored of this message")
    return fields_of_body(stored)


def _reach(endpoint: Endpoint, event_type: str, fields: EventFields) -> Reach:
    refused = refusal(endpoint, event_type, fields)
    told = (str(endpoint.id), endpoint.url, endpoint.description)
    if not endpoint.enabled:
        return Reach(*told, reached=False, reason="disabled", field=None)
    if refused is None:
        return Reach(*told, reached=True, reason="reached", field=None)
    if refused == "event_type":
        return Reach(*told, reached=False, reason="event_type", field=None)
    return Reach(*told, reached=False, reason="filter", field=refused)
