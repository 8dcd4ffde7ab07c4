"""The contract, the error codes and the settings as Markdown.

Owns the pages' order and their prose. Facts come from the table, the codes, the claims and the settings.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic.fields import FieldInfo

from ghasi.contract import claims
from ghasi.contract.emit.openapi import DEFAULTS, limit_per_minute
from ghasi.contract.emit.table import describe_auth, describe_limit
from ghasi.contract.errors import CODES
from ghasi.contract.extensions import EXTENSIONS
from ghasi.contract.message_errors import MESSAGE_ERRORS, STATUS_MEANINGS
from ghasi.contract.row import (
    GATEWAY_MARGIN_S,
    LIMIT_GROUPS,
    MAX_BATCH_BYTES,
    MAX_BODY_BYTES,
    LimitGroup,
    Row,
    Upstream,
)
from ghasi.contract.statuses import GATEWAY_MESSAGES, gateway_messages, statuses
from ghasi.contract.table import CONTRACT, ROWS
from ghasi.settings import Settings

_SECTIONS = (
    ("Auth service", (Upstream.AUTH,)),
    ("Messages", (Upstream.ORCHESTRATOR, Upstream.STORE)),
    ("Webhooks", (Upstream.WEBHOOKS,)),
    ("Billing", (Upstream.BILLING,)),
)
_LIMITED = {
    "auth": "`/v1/auth/*`",
    "api_keys": "POST `/v1/api-keys`",
    "sends": "POST `/v1/messages`",
    "reads": "Every other GET",
    "writes": "Every other write (an extension)",
    "previews": "POST /v1/messages/preview and /v1/webhooks/dry-run (extensions)",
    "exports": "GET /v1/messages/export (an extension)",
    "batches": "POST /v1/messages/batch (an extension), up to 1,000 messages each",
}
_EMITTED = "<!-- Emitted by `make docs`: edit the source, not this file. -->"


def contract_markdown(settings: Settings | None = None) -> str:
    """Return docs/contract.md."""
    parts = [
        _EMITTED,
        "# The contract",
        (
            "What an API client may rely on. `ghasi contract show` prints the same as a table, `ghasi contract "
            "openapi` as [OpenAPI 3.1](openapi.json); [errors.md](errors.md) explains the error codes. JSON is "
            "snake_case, ids are UUIDv7, times RFC 3339 in UTC with milliseconds, money a decimal string with its "
            "currency. Lists are "
            '`{"data": [...], "next_cursor": null}`, newest first, with `limit` (1 to 100, by default 50) and '
            "`cursor`; the last page is the one without `next_cursor`: a page of messages by `status` or `direction` "
            "may hold fewer than `limit`, even none, and have a next one. "
            "An unknown field or query parameter is an error."
        ),
        "## Routes",
    ]
    for heading, upstreams in _SECTIONS:
        rows = [row for row in CONTRACT if row.upstream in upstreams]
        parts += [f"### {heading}", _routes(rows, settings or DEFAULTS)]
    parts += [
        "### Extensions",
        "These go beyond the contract; a client that knows only the contract never needs them.",
        _routes(EXTENSIONS, settings or DEFAULTS),
        (
            "*Bearer* is a user's access token, or an API key (`ghk_...`) with the scope in brackets; without a "
            "scope it is a user's access token only. With two upstreams the second answers when the first refuses or "
            "resets before answering, within the same time-out."
        ),
        "## Access token",
        "RS256, signed by a key published at `/.well-known/jwks.json`.",
        _claims(claims.CLAIMS),
        "These go beyond the contract:",
        _claims(claims.EXTRA_CLAIMS),
        "## Headers that the gateway injects",
        "Set from the verified caller; what a client sends under these names is dropped.",
        _table(
            ("Header", "For an access token", "For an API key"),
            ((f"`{h.name}`", h.from_token, h.from_api_key) for h in claims.INJECTED_HEADERS),
        ),
        "## Limits",
        (
            "Fixed windows that begin with the UTC minute; the routes of a group share one window, and an API key "
            "shares its account's. The answer to every request that was counted carries `RateLimit-Limit`, "
            "`RateLimit-Remaining`, `RateLimit-Reset`, `X-RateLimit-Limit-Minute` and `X-RateLimit-Remaining-Minute`; "
            "beyond the limit it is 429 with `Retry-After`. A bad token, and a body whose `Content-Length` is too "
            "large, are refused before they are counted."
        ),
        _table(
            ("Group", "Routes", "Requests a minute", "Per", "Setting"),
            (_limit_cells(group, settings or DEFAULTS) for group in LIMIT_GROUPS),
        ),
        "## Time-outs and sizes",
        (
            f"A route's time-out is its client's. The gateway gives the upstream {GATEWAY_MARGIN_S * 1000:g} ms "
            "less, so that a slow one is answered with 504 and not by a dead client. "
            f"Bodies may have up to {MAX_BODY_BYTES // 1024} KiB (a batch {MAX_BATCH_BYTES // 1024**2} MiB), "
            "a text 1 character to 10 segments."
        ),
        "## What each route may answer",
        "Codes are those of the services' problems; a status without a code is the gateway's own or the success.",
        *(_answers(row) for row in ROWS),
    ]
    return "\n\n".join(parts) + "\n"


def _claims(rows: Iterable[claims.Claim]) -> str:
    return _table(("Claim", "Type", "Meaning"), ((f"`{c.name}`", c.type, c.meaning) for c in rows))


def errors_markdown() -> str:
    """Return docs/errors.md."""
    rows = ((f'<a id="{code}"></a>`{code}`', f"{c.status}", c.title, c.remedy) for code, c in sorted(CODES.items()))
    parts = [
        _EMITTED,
        "# Errors",
        (
            "A service answers with an RFC 9457 problem (`application/problem+json`): `type`, `title`, `status`, "
            "`detail`, `code`, `request_id`, and `errors`, each with the `field` and what is wrong with it. Go by "
            "`code`: it never changes its meaning. The same status may come from the gateway, whose answers are "
            "Kong's: a `message` and no `code`."
        ),
        "## Codes of the services",
        _table(("Code", "Status", "What it means", "What to do"), rows),
        "## Answers of the gateway",
        "With `request_id`, save for 401. Every answer carries `X-Kong-Request-Id`: quote it when you report an error.",
        _table(
            ("Status", "`message`"),
            ((f"{status}", "<br>".join(messages)) for status, messages in GATEWAY_MESSAGES.items()),
        ),
        (
            "`token expired` and `must be a number` stand under `exp` instead of `message`. 401 carries "
            '`WWW-Authenticate: Bearer`, with `error="invalid_token"` where a token was presented.'
        ),
        "## Why a message was not delivered",
        (
            "A message's `error` has a `code` of these and its `message`. *Again* says whether the same message, sent "
            "again as it is, may well arrive."
        ),
        _table(
            ("Code", "`message`", "What lies behind it", "What to do", "Again"),
            (
                (f'<a id="{code}"></a>`{code}`', e.message, e.cause, e.remedy, "yes" if e.retry_helps else "no")
                for code, e in MESSAGE_ERRORS.items()
            ),
        ),
        "## What a message's status says",
        _table(("Status", "What it says"), ((f"`{status}`", said) for status, said in STATUS_MEANINGS.items())),
    ]
    return "\n\n".join(parts) + "\n"


def settings_markdown() -> str:
    """Return docs/settings.md."""
    fields = Settings.model_fields
    parts = [
        _EMITTED,
        "# Settings",
        (
            "A setting comes, strongest first, from a flag (`--api-port`), the environment (`GHASI_API_PORT`) or the "
            "TOML file that `GHASI_CONFIG` names (`api_port = 8000`)."
        ),
        _table(
            ("Setting", "Type", "Default", "Meaning"),
            (
                (f"`{variable(name)}`", _type(field), _default(field), field.description or "")
                for name, field in fields.items()
            ),
        ),
        (
            "`ghasi up` makes `GHASI_UPSTREAM_SECRET`, `GHASI_PORTAL_SECRET` and `GHASI_SECRET_KEY` where they are not "
            "set, and keeps them in the data folder, readable by its owner alone."
        ),
    ]
    return "\n\n".join(parts) + "\n"


def variable(name: str) -> str:
    """Return the environment variable that sets a setting."""
    alias = Settings.model_fields[name].validation_alias
    return alias if isinstance(alias, str) else f"GHASI_{name.upper()}"


def _routes(rows: Iterable[Row], settings: Settings) -> str:
    return _table(
        ("Method", "Route", "Upstream", "Auth", "Limit a minute", "Time-out", "What it does"),
        (
            (
                row.method,
                f"`{row.path}`",
                " / ".join(row.upstreams),
                describe_auth(row),
                describe_limit(row, settings),
                f"{row.timeout_s:g} s",
                row.summary,
            )
            for row in rows
        ),
    )


def _limit_cells(group: LimitGroup, settings: Settings) -> tuple[str, ...]:
    per = "client IP" if group.per == "ip" else group.per
    return (
        group.name,
        _LIMITED[group.name],
        f"{limit_per_minute(group, settings)}",
        per,
        f"`{variable(group.setting)}`",
    )


def _answers(row: Row) -> str:
    lines = [f"### {row.method} {row.path}", ""]
    gateway = gateway_messages(row)
    for status, codes in statuses(row).items():
        said = [f"[`{code}`](errors.md#{code})" for code in codes]
        if status == row.success:
            said.append(row.media or (f"`{_shape(row.response)}`" if row.response else "no body"))
        if status in gateway:
            said.append("the gateway")
        lines.append(f"- {status}: {', '.join(said)}")
    return "\n".join(lines)


def _shape(shape: Any) -> str:
    inner = get_args(shape)
    return f"Page[{inner[0].__name__}]" if inner else str(shape.__name__)


def _type(field: FieldInfo) -> str:
    annotation: Any = field.annotation
    kinds = [kind for kind in get_args(annotation) or (annotation,) if kind is not type(None)]
    words = {int: "number", bool: "true or false", str: "text", Path: "path"}
    return ", ".join(words.get(kind, f"`{kind}`") for kind in kinds)


def _default(field: FieldInfo) -> str:
    if field.default is None or field.default == "":
        return "none"
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
