"""Which endpoints an event reaches: by its type, and by the endpoint's filter. Keeps and sends nothing."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec
from msgspec import Struct

from ghasi.contract.shapes import EventFilter, Fifo, FilterField
from ghasi.contract.values import first_id
from ghasi.webhooks.model import Endpoint, SealedEndpoint

CLOCKS_DIFFER = timedelta(seconds=5)
"""By less than that do the clocks of machines."""


class EventFields(Struct, frozen=True, rename={"sender": "from"}):
    """What a filter and an order ask for of an event's data: of one about an endpoint there is its id alone."""

    id: str | None = None
    to: str | None = None
    sender: str | None = None
    country: str | None = None
    status: str | None = None
    reference: str | None = None
    webhook_id: str | None = None


fields_of = msgspec.json.Decoder(EventFields).decode
"""Reads the fields from the `data` of an event about a message, which is JSON."""


class _Body(Struct, frozen=True):
    data: EventFields


_decode_body = msgspec.json.Decoder(_Body).decode


def fields_of_body(body: str) -> EventFields:
    """Read the fields from the whole of what is sent of an event."""
    return _decode_body(body).data


def there_at(endpoints: Sequence[SealedEndpoint], at: datetime) -> list[SealedEndpoint]:
    """Return the endpoints that were there when something happened: events may be read again long after."""
    made_later = first_id(at + CLOCKS_DIFFER)
    return [one for one in endpoints if one.id < made_later]


def wanting(endpoints: Sequence[SealedEndpoint], event_type: str, data: str) -> list[SealedEndpoint]:
    """Return the endpoints that an event about a message reaches; its `data` is read only where a filter asks."""
    found = [one for one in endpoints if wants_type(one.events, event_type)]
    if all(one.filter is None for one in found):
        return found
    fields = fields_of(data)
    return [one for one in found if one.filter is None or mismatch(one.filter, fields) is None]


def wants_type(patterns: Sequence[str], event_type: str) -> bool:
    """Say whether an endpoint with these patterns asks for a type of event."""
    return "*" in patterns or event_type in patterns or event_type.partition(".")[0] + ".*" in patterns


def refusal(endpoint: Endpoint, event_type: str, fields: EventFields) -> FilterField | Literal["event_type"] | None:
    """Return what keeps an event from an endpoint, `event_type` or a field of its filter, or None: it gets it."""
    if not wants_type(endpoint.events, event_type):
        return "event_type"
    if endpoint.filter is None or not event_type.startswith("message."):
        return None
    return mismatch(endpoint.filter, fields)


def mismatch(wanted: EventFilter, fields: EventFields) -> FilterField | None:
    """Return the name of the first field that a filter does not let pass, or None: then it passes."""
    if wanted.country is not None and fields.country not in wanted.country:
        return "country"
    if wanted.status is not None and fields.status not in wanted.status:
        return "status"
    if wanted.reference is not None and not _fits(wanted.reference, fields.reference):
        return "reference"
    if wanted.sender is not None and not _fits(wanted.sender, fields.sender):
        return "sender"
    return None


def _fits(patterns: Sequence[str], value: str | None) -> bool:
    return value is not None and any(
        value.startswith(pattern[:-1]) if pattern.endswith("*") else value == pattern for pattern in patterns
    )


def order_key(fifo: Fifo, fields: EventFields) -> str | None:
    """Return by what a delivery waits for those before it; None, where the event lacks that value, is for none."""
    if fifo.by == "endpoint":
        return ""
    if fifo.by == "message":
        return fields.id
    return {"to": fields.to, "from": fields.sender, "reference": fields.reference}[fifo.by]
