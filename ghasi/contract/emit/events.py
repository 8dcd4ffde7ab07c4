"""What endpoints are sent, as OpenAPI 3.1 describes it under `webhooks`: every type of event, by the shape of its data.

Adds no fact of its own: the types and the shapes are the contract's.
"""

from typing import Any

from ghasi.contract.shapes import EVENT_DATA, MESSAGE_EVENTS

Json = dict[str, Any]
_HEADERS = {
    "webhook-id": "The delivery's id, the same in every attempt: act once for each",
    "webhook-timestamp": "The attempt's time in Unix seconds",
    "webhook-signature": "`v1,` and the HMAC-SHA256 of id, timestamp and body, by Standard Webhooks; several, "
    "with spaces between, for 24 hours after a rotation",
}


def event_operations(schemas_path: str) -> Json:
    """Return the events as path items; `schemas_path` is where the shapes are in the document."""
    groups: dict[str, tuple[str, list[str]]] = {}
    for event_type, shape in EVENT_DATA.items():
        name = "message.*" if event_type in MESSAGE_EVENTS else event_type
        groups.setdefault(name, (f"{schemas_path}/{shape.__name__}", []))[1].append(event_type)
    return {name: {"post": _operation(name, *group)} for name, group in groups.items()}


def _operation(name: str, data: str, types: list[str]) -> Json:
    about = "A message has come to a status, or a phone has sent one" if len(types) > 1 else "About another endpoint"
    event = {
        "type": "object",
        "required": ["type", "timestamp", "data"],
        "properties": {
            "type": {"type": "string", "enum": types},
            "timestamp": {"type": "string", "format": "date-time"},
            "data": {"$ref": data},
        },
    }
    return {
        "summary": f"{about}: {name}",
        "parameters": [
            {"name": header, "in": "header", "required": True, "description": text, "schema": {"type": "string"}}
            for header, text in _HEADERS.items()
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": event}}},
        "responses": {
            "2XX": {"description": "It is taken"},
            "410": {"description": "Nothing more is wanted: the endpoint is disabled"},
            "default": {"description": "It is tried again"},
        },
    }
