"""API keys: the list, a key made and shown once, a key revoked.

A new key's secret is in the one answer that makes it, and in no address, log or cookie.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

from starlette.datastructures import ImmutableMultiDict
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ghasi.client.errors import ApiError
from ghasi.contract.errors import CODES
from ghasi.contract.shapes import SCOPES, ApiKey, CreatedApiKey, Scope
from ghasi.portal.access import signed_in
from ghasi.portal.formats import Reader, read_time
from ghasi.portal.forms import input_errors, key_of, new_key, read_form, sentence
from ghasi.portal.pages.moments import end_of_day, read_day
from ghasi.portal.pages.opening import id_of, reader_for
from ghasi.portal.pages.paging import place_of, refuse_place
from ghasi.portal.rendering import Toast, is_htmx, nothing, page, part
from ghasi.portal.sessions import Visit

PATH = "/api-keys"
PAGE_ROWS = 25
SOON = timedelta(days=7)
SCOPE_WORDS: dict[Scope, str] = {
    "messages:send": "Send messages and preview what they cost.",
    "messages:read": "See messages, their texts and what became of them.",
    "webhooks:read": "See endpoints and the log of their deliveries.",
    "webhooks:write": "Create, change and delete endpoints, and send deliveries again.",
    "billing:read": "See usage, rates, the balance and invoices.",
}
SCOPE_OPTIONS = [(scope, scope, SCOPE_WORDS[scope]) for scope in SCOPES]
EXPIRY_OPTIONS = (
    ("never", "Never"), ("30", "In 30 days"), ("90", "In 90 days"), ("365", "In 1 year"), ("custom", "On a chosen day"),
)  # fmt: skip
_DAYS = {"30": 30, "90": 90, "365": 365}
FIELDS = {"name": "name", "scopes": "scopes", "expires_at": "day"}
ALREADY_CREATED = "The key was created, but its secret cannot be shown again: revoke it and create another."
SENT_BEFORE = (
    "This form has created a key already, before you changed it, and its secret cannot be shown again: "
    "revoke that key and create another."
)
_REQUESTS: dict[Scope, tuple[str, str | None]] = {
    "messages:send": ("/v1/messages", '{"to": "+93701234567", "body": "Hello from Ghasi"}'),
    "messages:read": ("/v1/messages", None),
    "webhooks:read": ("/v1/webhooks", None),
    "billing:read": ("/v1/billing/usage", None),
    "webhooks:write": ("/v1/webhooks", '{"url": "https://example.com/ghasi", "events": ["message.*"]}'),
}
"""A first request for each scope, its path and body; the first of these that a key has is shown."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What stands in the form. `key` is its Idempotency-Key: the same until a key is made."""

    key: str
    name: str = ""
    scopes: tuple[str, ...] = SCOPES
    expiry: str = "never"
    day: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A key as the list shows it; `expiry` is never, later, soon or expired."""

    key: ApiKey
    expiry: str


async def show_api_keys(request: Request, visit: Visit) -> Response:
    """Show the form to create one, and the place of the list, which loads by itself."""
    list_path = place_of(request).path(f"{PATH}/list")
    return page("api_keys/api_keys.html", visit=visit, list_path=list_path, **_context(visit, Draft(new_key())))


async def show_list(request: Request, visit: Visit) -> Response:
    """Show one page of the list."""
    place = place_of(request)
    try:
        found = await visit.ask(lambda api: api.list_api_keys(limit=PAGE_ROWS, cursor=place.cursor))
    except ApiError as error:
        return refuse_place(error, visit, PATH)
    now = datetime.now(UTC)
    return part(
        "api_keys/list.html", visit=visit, rows=[Row(key, _expiry(key, now)) for key in found.data], place=place,
        newer=place.newer(PATH), older=place.older(PATH, found.next_cursor), scopes_in_all=len(SCOPES),
    )  # fmt: skip


def _expiry(key: ApiKey, now: datetime) -> str:
    at = read_time(key.expires_at)
    if at is None:
        return "never"
    if at <= now:
        return "expired"
    return "soon" if at - now <= SOON else "later"


async def show_form(_: Request, visit: Visit) -> Response:
    """Show an empty form: it takes the place of a secret that was shown."""
    return part("api_keys/form.html", visit=visit, **_context(visit, Draft(new_key())))


def _context(visit: Visit, draft: Draft, errors: dict[str, str] | None = None) -> dict[str, Any]:
    zone = reader_for(visit).zone
    return {
        "draft": draft,
        "errors": {name: (errors or {}).get(name) for name in ("", "name", "scopes", "day")},
        "scope_options": SCOPE_OPTIONS,
        "expiry_options": EXPIRY_OPTIONS,
        "zone": zone.key,
        "tomorrow": (datetime.now(zone) + timedelta(days=1)).date().isoformat(),
    }


def _read_draft(form: ImmutableMultiDict[str, str]) -> Draft:
    return Draft(
        key=key_of(form),
        name=form.get("name", "").strip(),
        scopes=tuple(form.getlist("scopes")),
        expiry=form.get("expiry", "never"),
        day=form.get("day", "").strip(),
    )


async def create(request: Request, visit: Visit) -> Response:
    """Create a key and show it, this once.

    The form's key goes with it, so that a form sent again makes no second key. Raises ApiError and ApiUnreachableError
    for what is no fault of the input: the form stays as it is.
    """
    draft = _read_draft(await read_form(request))
    expires_at, errors = _read_expiry(draft, reader_for(visit))
    if not draft.name:
        errors["name"] = "Give the key a name."
    scopes = [scope for scope in SCOPES if scope in draft.scopes]
    if not scopes:
        errors["scopes"] = "Choose at least one."
    refresh = None
    if not errors:
        try:
            created = await visit.ask(
                lambda api: api.create_api_key(
                    draft.name, scopes=scopes, expires_at=expires_at, idempotency_key=draft.key
                )
            )
        except ApiError as error:
            errors = _refusal(error)
            if error.code in {"already_created", "idempotency_key_reused"}:
                draft, refresh = replace(draft, key=new_key()), "#api-keys"
        else:
            return _show_created(visit, created)
    context = _context(visit, draft, errors)
    if is_htmx(request):
        return part("api_keys/form.html", 422, visit=visit, refresh=refresh, **context)
    return page("api_keys/api_keys.html", 422, visit=visit, list_path=f"{PATH}/list", **context)


def _read_expiry(draft: Draft, reader: Reader) -> tuple[datetime | None, dict[str, str]]:
    """Return when the key ends and what is wrong with that.

    All of them end with a day of the visitor's: a form that is sent again asks for the very same key.
    """
    if draft.expiry == "never":
        return None, {}
    today = datetime.now(reader.zone).date()
    day = today + timedelta(days=_DAYS[draft.expiry]) if draft.expiry in _DAYS else read_day(draft.day)
    if day is None:
        return None, {"day": "Choose the last day on which the key works."}
    if day < today:
        return None, {"day": "This day is over."}
    return end_of_day(day, reader.zone), {}


def _refusal(error: ApiError) -> dict[str, str]:
    """Say what is wrong beside the fields, "" for the form as a whole; raises the error if input is not to blame."""
    if error.code == "already_created":
        return {"": ALREADY_CREATED}
    if error.code == "idempotency_key_reused":
        return {"": SENT_BEFORE}
    if error.code == "too_many_api_keys":
        return {"": f"{sentence(error.message)} {CODES[error.code].remedy}"}
    found = input_errors(error, FIELDS)
    return {name if name in FIELDS.values() else "": sentence(text) for name, text in found.items()}


def sample_request(api_url: str, scopes: Sequence[Scope]) -> str:
    """Return a first request by curl that a key with these scopes may make; the key is in an environment variable."""
    path, body = next(request for scope, request in _REQUESTS.items() if scope in scopes)
    lines = [f"curl {api_url}{path}", '-H "Authorization: Bearer $GHASI_API_KEY"']
    if body is not None:
        lines += ['-H "Content-Type: application/json"', f"-d '{body}'"]
    return " \\\n  ".join(lines)


def _show_created(visit: Visit, created: CreatedApiKey) -> Response:
    sample = sample_request(visit.request.app.state.portal.settings.public_api_url, created.scopes)
    if is_htmx(visit.request):
        return part("api_keys/created.html", visit=visit, created=created, sample=sample, refresh="#api-keys")
    return page(
        "api_keys/api_keys.html", visit=visit, list_path=f"{PATH}/list", created=created, sample=sample,
        **_context(visit, Draft(new_key())),
    )  # fmt: skip


async def revoke(request: Request, visit: Visit) -> Response:
    """Revoke a key; one that was revoked before is no error."""
    key_id = id_of(request, "key_id")
    try:
        await visit.ask(lambda api: api.revoke_api_key(key_id))
    except ApiError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return nothing(Toast("This key does not exist any more.", "plain"), refresh="#api-keys")
    return nothing(Toast("API key revoked"), refresh="#api-keys")


ROUTES = [
    Route(PATH, signed_in(show_api_keys)),
    Route(PATH, signed_in(create), methods=["POST"]),
    Route(f"{PATH}/list", signed_in(show_list)),
    Route(f"{PATH}/new", signed_in(show_form)),
    Route(f"{PATH}/{{key_id}}/revoke", signed_in(revoke), methods=["POST"]),
]
