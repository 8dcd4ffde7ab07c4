"""The OpenAPI 3.1 document of the contract: every route, shape, status, limit and time-out, from the table.

Owns how the table reads as OpenAPI. Adds no fact of its own: what it says of a row is in the row, in statuses or in
the settings.
"""

import inspect
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import msgspec

from ghasi import __version__
from ghasi.contract import shapes
from ghasi.contract.emit.events import event_operations
from ghasi.contract.emit.examples import EXAMPLES, component_name
from ghasi.contract.emit.samples import curl
from ghasi.contract.emit.sections import SECTIONS, section_of
from ghasi.contract.errors import CODES
from ghasi.contract.row import Auth, LimitGroup, Row
from ghasi.contract.statuses import gateway_messages, statuses
from ghasi.contract.table import ROWS
from ghasi.settings import Settings

Json = dict[str, Any]
DEFAULTS = Settings.model_construct()
"""The settings as they are when nothing sets them; the environment of whoever emits does not matter."""
PUBLIC_URL = "https://api.ghasi.io"
_COMPONENTS = "#/components"
_GATEWAY_ERROR = "GatewayError"
_LIMIT_HEADERS = {
    "RateLimit-Limit": "Requests the window allows",
    "RateLimit-Remaining": "Requests left in the window",
    "RateLimit-Reset": "Seconds until the window ends",
    "X-RateLimit-Limit-Minute": "Requests a minute",
    "X-RateLimit-Remaining-Minute": "Requests left in this minute",
}
_AFTER_LIMITING = (
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.GATEWAY_TIMEOUT,
)
"""Answers of the gateway alone that come once a request was counted; a bad token's and a too large body's come before.

A body of no length may be found too large only once it was counted: its answer may have the headers too.
"""


def openapi(settings: Settings | None = None) -> Json:
    """Return the OpenAPI document of an API with these settings, or of the contract as it stands by default."""
    schemas = _schemas()
    api_url = settings.public_api_url if settings else PUBLIC_URL
    problems: Json = {}
    paths: dict[str, Json] = {}
    for row in ROWS:
        paths.setdefault(row.path, {})[row.method.lower()] = {
            **_operation(row, schemas),
            "responses": _responses(row, problems),
            **_extensions(row, settings or DEFAULTS),
            "x-codeSamples": [{"lang": "Shell", "label": "curl", "source": curl(row, api_url)}],
        }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Ghasi",
            "version": __version__,
            "summary": "Send SMS, learn what becomes of them, and see what they cost.",
            "description": (
                "Errors of the services are RFC 9457 problems with a stable `code`; those of the gateway are Kong's. "
                "Operations marked `x-ghasi-extension` go beyond the sync contract."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": _servers(settings),
        "tags": [{"name": name, "description": text} for name, text in SECTIONS.items()],
        "paths": paths,
        "webhooks": event_operations(f"{_COMPONENTS}/schemas"),
        "components": {
            "schemas": schemas,
            "responses": dict(sorted(problems.items())),
            "parameters": {"IdempotencyKey": _IDEMPOTENCY_KEY},
            "headers": _headers(),
            "securitySchemes": _security_schemes(settings),
        },
    }


def limit_per_minute(group: LimitGroup, settings: Settings) -> int:
    """Return what the settings allow a group."""
    limit: int = getattr(settings, group.setting)
    return limit


def _servers(settings: Settings | None) -> list[Json]:
    if settings is not None:
        return [{"url": settings.public_api_url}]
    return [
        {"url": PUBLIC_URL, "description": "The contract's public address"},
        {"url": DEFAULTS.public_api_url, "description": "`make run` on this machine"},
    ]


def _operation(row: Row, schemas: Json) -> Json:
    operation: Json = {
        "operationId": row.operation,
        "summary": row.summary,
        "tags": [section_of(row)],
        "security": _security(row),
    }
    if parameters := [*_path_parameters(row), *_query_parameters(row, schemas), *_header_parameters(row)]:
        operation["parameters"] = parameters
    if row.body is not None:
        operation["requestBody"] = {"required": True, "content": _content(row.body)}
    return operation


def _extensions(row: Row, settings: Settings) -> Json:
    extensions: Json = {
        "x-ghasi-upstream": [upstream.value for upstream in row.upstreams],
        "x-ghasi-timeout-s": row.timeout_s,
    }
    if row.body is not None or row.takes_any_body:
        extensions["x-ghasi-max-body-bytes"] = row.max_body_bytes
    if row.limit is not None:
        extensions["x-ghasi-limit"] = {
            "group": row.limit.name,
            "per": row.limit.per,
            "requests": limit_per_minute(row.limit, settings),
            "window_s": 60,
        }
    if row.scope is not None:
        extensions["x-ghasi-scope"] = row.scope
    if row.extension:
        extensions["x-ghasi-extension"] = True
    return extensions


# security


def _security(row: Row) -> list[Json]:
    if row.auth is Auth.REFRESH_COOKIE:
        return [{"refreshCookie": []}]
    if row.auth is Auth.NONE:
        return []
    return [{"userToken": []}, *([{"apiKey": [row.scope]}] if row.scope else [])]


def _security_schemes(settings: Settings | None) -> Json:
    https = (settings.public_api_url if settings else PUBLIC_URL).startswith("https:")
    return {
        "userToken": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "A user's access token (RS256), from POST /v1/auth/firebase or /v1/auth/refresh.",
        },
        "apiKey": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "ghk_...",
            "description": "An API key of the account. What it may do is limited by its scopes.",
        },
        "refreshCookie": {
            "type": "apiKey",
            "in": "cookie",
            "name": f"{'__Host-' if https else ''}ghasi_refresh",
            "description": "`__Host-ghasi_refresh` where the API's URL is https, otherwise `ghasi_refresh`.",
        },
    }


# parameters

_IDEMPOTENCY_KEY: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "1 to 255 printable ASCII characters, new for each new request, the same when it is tried again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
}


def _path_parameters(row: Row) -> list[Json]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
        for name in row.parameters
    ]


def _query_parameters(row: Row, schemas: Json) -> list[Json]:
    if row.query is None:
        return []
    parameters = []
    for name, schema in schemas[row.query.__name__]["properties"].items():
        # a query string has no null: what a shape may leave out is simply not there
        value, description = dict(_without_null(schema)), None
        description = value.pop("description", None)
        parameter: Json = {"name": name, "in": "query", "required": False, "schema": value}
        parameters.append(parameter | ({"description": description} if description else {}))
    return parameters


def _without_null(schema: Json) -> Json:
    choices = [choice for choice in schema.get("anyOf", []) if choice != {"type": "null"}]
    return choices[0] if len(choices) == 1 else schema


def _header_parameters(row: Row) -> list[Json]:
    return [{"$ref": f"{_COMPONENTS}/parameters/IdempotencyKey"}] if row.idempotent_by_key else []


# answers


def _responses(row: Row, problems: Json) -> Json:
    """Return a row's answers; errors are put into `problems` by name, as many rows have the same."""
    responses: Json = {}
    for status, codes in statuses(row).items():
        if status == row.success:
            responses[str(status)] = _success(row)
            continue
        messages = gateway_messages(row).get(status, ())
        limited = row.limit is not None and (bool(codes) or status in _AFTER_LIMITING)
        name = ".".join([str(status), *codes, *(["gateway"] if messages else []), *(["limited"] if limited else [])])
        problems[name] = _error(status, codes, messages, limited=limited)
        responses[str(status)] = {"$ref": f"{_COMPONENTS}/responses/{name}"}
    return responses


def _success(row: Row) -> Json:
    names = ["X-Kong-Request-Id", *(_LIMIT_HEADERS if row.limit else [])]
    if row.response is shapes.Session or row.auth is Auth.REFRESH_COOKIE:
        names.append("Set-Cookie")
    response: Json = {"description": row.summary, "headers": _header_references(names)}
    if row.media is not None:
        return response | {"content": {row.media.partition(";")[0]: {"schema": {"type": "string"}}}}
    return response | ({"content": _content(row.response)} if row.response is not None else {})


def _error(status: int, codes: list[str], messages: tuple[str, ...], *, limited: bool) -> Json:
    names = ["X-Kong-Request-Id", *(_LIMIT_HEADERS if limited else [])]
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        names.append("Retry-After")
    if status == HTTPStatus.UNAUTHORIZED and messages:
        names.append("WWW-Authenticate")
    content: Json = {}
    if codes:
        content["application/problem+json"] = {
            "schema": {"$ref": f"{_COMPONENTS}/schemas/Problem", "properties": {"code": {"enum": codes}}}
        }
    if messages:
        content["application/json"] = {"schema": {"$ref": f"{_COMPONENTS}/schemas/{_GATEWAY_ERROR}"}}
    lines = [f"`{code}`: {CODES[code].title}" for code in codes] + [f'Gateway: "{message}"' for message in messages]
    return {"description": "\n\n".join(lines), "headers": _header_references(names), "content": content}


def _header_references(names: Iterable[str]) -> Json:
    return {name: {"$ref": f"{_COMPONENTS}/headers/{name}"} for name in names}


def _content(shape: Any) -> Json:
    (reference,), _ = msgspec.json.schema_components([shape], ref_template="{name}")
    name = component_name(reference["$ref"])
    media: Json = {"schema": {"$ref": f"{_COMPONENTS}/schemas/{name}"}}
    if name in EXAMPLES:
        media["example"] = EXAMPLES[name]
    return {"application/json": media}


def _headers() -> Json:
    number = {"type": "integer", "minimum": 0}
    headers: Json = {name: {"description": text, "schema": number} for name, text in _LIMIT_HEADERS.items()}
    headers["Retry-After"] = {"description": "Seconds to wait", "schema": number}
    for name, text in (
        ("X-Kong-Request-Id", "The request's id, also in problems and in our logs"),
        ("WWW-Authenticate", '`Bearer`, or `Bearer error="invalid_token"` where a token was presented'),
        ("Set-Cookie", "The refresh token, which replaces the one before (removed on sign-out)"),
    ):
        headers[name] = {"description": text, "schema": {"type": "string"}}
    return headers


# shapes


def _schemas() -> Json:
    """Return the JSON Schema (2020-12) of every shape of the rows and events, the problem and the gateway's error."""
    wanted: list[Any] = [shapes.ProblemBody, *shapes.EVENT_DATA.values()]
    for row in ROWS:
        wanted += [shape for shape in (row.body, row.query, row.response) if shape is not None]
    unique = list(dict.fromkeys(wanted))
    _, found = msgspec.json.schema_components(unique, ref_template=_COMPONENTS + "/schemas/{name}")
    schemas: Json = {}
    for name, schema in _rename(found).items():
        schemas[component_name(name)] = schema | {"title": component_name(name)}
    schemas[_GATEWAY_ERROR] = {
        "title": _GATEWAY_ERROR,
        "description": "An answer of the gateway itself, as Kong gives it.",
        "type": "object",
        "properties": {
            "message": {"type": "string"},
            "exp": {"type": "string", "description": "What is wrong with the token's exp; then there is no message"},
            "request_id": {"type": "string"},
        },
    }
    return dict(sorted(schemas.items()))


def _rename(value: Any) -> Any:
    """Rename generic shapes wherever they are referred to, and make what a reference shows of a shape readable."""
    if isinstance(value, dict):
        named = {
            key: re.sub(r"[^/]+$", lambda match: component_name(match[0]), item) if key == "$ref" else _rename(item)
            for key, item in value.items()
        }
        if isinstance(text := named.get("description"), str):
            named["description"] = inspect.cleandoc(text)  # a docstring's indented lines would read as code
        choices = named.get("enum")
        is_of_words = isinstance(choices, list) and all(isinstance(choice, str) for choice in choices)
        return {"type": "string", **named} if is_of_words else named
    return [_rename(item) for item in value] if isinstance(value, list) else value
