"""What endpoints are sent, as OpenAPI 3.1 describes it under `webhooks`: every type of event, by the shape of its data.

Adds no fact of its own: the types and the shapes are the contract's.
"""

from typing import Any

from ghasi.contract.emit.examples import EXAMPLES
from ghasi.contract.shapes import EVENT_DATA

Json = dict[str, Any]
_GROUPED = frozenset({"message", "invoice"})
"""Kinds whose types have the same data."""
_SUMMARIES = {
    "message.*": "A message has come to a status, or a phone has sent one",
    "webhook.failing": "Every attempt to another endpoint has failed for days",
    "webhook.disabled": "Ghasi has disabled another endpoint",
    "webhook.exhausted": "The last retry of a delivery to another endpoint has failed",
    "billing.alert": "50, 80 or 100 % of a spending limit, or of a prepaid balance, is used up",
    "invoice.*": "An invoice was opened or paid, or is overdue",
}
_EXAMPLE_TYPE, _AT = "message.delivered", "2026-11-22T09:41:08.112Z"
_HEADERS = {
    "webhook-id": "The delivery's id, the same in every attempt: act once for each",
    "webhook-timestamp": "The attempt's time in Unix seconds",
    "webhook-signature": "`v1,` and the HMAC-SHA256 of id, timestamp and body, by Standard Webhooks; several, "
    "with spaces between, for 24 hours after a rotation",
}


def event_operations(schemas_path: str) -> Json:
    """Return the events as path items; `schemas_path` is where the shapes are in the document."""
    groups: dict[str, tuple[str, list[str]]] = {}  # the name of the data's shape, and the types
    for event_type, shape in EVENT_DATA.items():
        kind = event_type.partition(".")[0]
        name = f"{kind}.*" if kind in _GROUPED else event_type
        groups.setdefault(name, (shape.__name__, []))[1].append(event_type)
    return {name: {"post": _operation(_SUMMARIES[name], schemas_path, *group)} for name, group in groups.items()}


def _operation(summary: str, schemas_path: str, data: str, types: list[str]) -> Json:
    event = {
        "title": "Event",
        "type": "object",
        "required": ["type", "timestamp", "data"],
        "properties": {
            "type": {"type": "string", "enum": types},
            "timestamp": {"type": "string", "format": "date-time"},
            "data": {"$ref": f"{schemas_path}/{data}"},
        },
    }
    example = {"type": _EXAMPLE_TYPE if _EXAMPLE_TYPE in types else types[0], "timestamp": _AT, "data": EXAMPLES[data]}
    return {
        "summary": summary,
        "parameters": [
            {"name": header, "in": "header", "required": True, "description": text, "schema": {"type": "string"}}
            for header, text in _HEADERS.items()
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": event, "example": example}}},
        "responses": {
            "2XX": {"description": "It is taken"},
            "410": {"description": "Nothing more is wanted: the endpoint is disabled"},
            "default": {"description": "It is tried again"},
        },
    }
