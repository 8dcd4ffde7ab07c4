"""One way to break each promise; a family of promises about rows is broken in several ways in turn."""

import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ghasi.contract.check import PROMISES, callers, ownership, shapes, tokens
from ghasi.contract.check.making import WEBHOOK
from ghasi.contract.check.promises import Broken
from ghasi.contract.row import Row
from ghasi.contract.table import ROWS
from tests.contract_check.spoiling import Answered, Asked, Changes
from tests.contract_check.standing import OTHER_ISSUER, Standing

NO_ROUTE = {"message": "no Route matched with those values", "request_id": "0" * 32}
When = Callable[[Asked, Answered], bool]


@dataclass(frozen=True)
class Spoil:
    """How a promise is broken, and what of the contract is looked at then: by default its whole theme.

    `also` are promises that cannot be held then either.
    """

    how: str
    changes: Callable[[Standing], Changes] = lambda _: Changes()
    only: tuple[str, ...] = ()
    also: frozenset[str] = frozenset()
    played: bool = False
    limits: dict[str, int] = field(default_factory=dict)
    options: Callable[[Standing], dict[str, Any]] = lambda _: {}


SPOILS: dict[str, Spoil] = {}


def spoil(
    identifier: str, how: str, changes: Changes | Callable[[Standing], Changes] | None = None, **more: Any
) -> None:
    """Enter how a promise is broken."""
    assert identifier not in SPOILS, identifier
    made = changes if callable(changes) else lambda _: changes or Changes()
    SPOILS[identifier] = Spoil(how, made, **more)


# what may be changed


def saying(when: When, value: Any, status: int | None = None, media: str | None = None) -> Changes:
    """Answer other JSON."""

    def after(asked: Asked, answered: Answered) -> None:
        if when(asked, answered):
            answered.say(value, status, media)

    return Changes(after=after)


def heading(when: When, name: str, value: str | None) -> Changes:
    """Answer with another header, or without it."""

    def after(asked: Asked, answered: Answered) -> None:
        if when(asked, answered):
            answered.set(name, value)

    return Changes(after=after)


def editing(when: When, edit: Callable[[Any], Any]) -> Changes:
    """Answer with JSON that differs in something; `edit` changes it or returns another."""

    def after(asked: Asked, answered: Answered) -> None:
        if when(asked, answered):
            value = answered.json
            edited = edit(value)
            answered.say(value if edited is None else edited)

    return Changes(after=after)


def believing(when: Callable[[Asked], bool], standing: Standing) -> Changes:
    """Let somebody in as account A."""

    def before(asked: Asked) -> None:
        if when(asked):
            asked.call_as(standing.options["token"])

    return Changes(before=before)


def at(operation: str, status: int | None = None) -> When:
    return lambda asked, answered: asked.operation == operation and status in {None, answered.status}


def to(method: str, path: str) -> When:
    return lambda asked, _: (asked.method, asked.path) == (method, path)


def is_key(token: str) -> bool:
    return token.startswith("ghk_")


# claims

for _name, _claims in {
    "sub": {"sub": 7}, "account_id": {"account_id": "account-1"}, "email": {"without": "email"},
    "roles": {"roles": ["operator"]}, "exp": {"exp": 1}, "iss": {"iss": "https://elsewhere.example"},
    "header": {"alg": "RS384"},
}.items():  # fmt: skip
    spoil(f"claims.{_name}", f"{_claims}", options=lambda standing, claims=_claims: {"token": standing.sign(**claims)})
spoil(
    "claims.signature", "by nobody's key",
    options=lambda standing: {"token": tokens.with_bad_signature(standing.options["token"])},
)  # fmt: skip

# routes

for _row in ROWS:
    spoil(f"routes.{_row.operation}.exists", "no route", saying(at(_row.operation), NO_ROUTE, 404))
spoil("routes.unknown_path", "a 404 of another make", saying(to("GET", "/v1/nothing"), {"detail": "Not Found"}, 404))
spoil("routes.wrong_method", "405", saying(to("DELETE", "/v1/messages"), {"message": "Method Not Allowed"}, 405))
spoil(
    "routes.head",
    "HEAD as GET",
    Changes(before=lambda asked: setattr(asked, "method", asked.method.replace("HEAD", "GET"))),
)
spoil("routes.letter_case", "any case", Changes(before=lambda asked: setattr(asked, "path", asked.path.lower())))
spoil(
    "routes.trailing_slash",
    "ignored",
    Changes(before=lambda asked: setattr(asked, "path", asked.path.rstrip("/") or "/")),
)
spoil(
    "routes.deeper_path", "a parameter of several segments",
    Changes(before=lambda asked: setattr(asked, "path", re.sub(r"(/messages/[^/]+)/more$", r"\1", asked.path))),
)  # fmt: skip

# callers


def _nobody(operation: str) -> When:
    return lambda asked, _: asked.operation == operation and not asked.all("authorization") and not asked.query


def _token_required() -> Iterator[tuple[str, Callable[[str], Changes]]]:
    """Several ways in which a missing token is met wrong."""
    return itertools.cycle(
        [
            ("lets anybody in", lambda operation: saying(_nobody(operation), {"data": []}, 200)),
            ("no WWW-Authenticate", lambda operation: heading(_nobody(operation), "www-authenticate", None)),
            ("another scheme", lambda operation: heading(_nobody(operation), "www-authenticate", "Basic")),
            ("403", lambda operation: saying(_nobody(operation), {"message": "Unauthorized"}, 403)),
            ("other words", lambda operation: saying(_nobody(operation), {"message": "No token"}, 401)),
            ("a member besides", lambda operation: saying(_nobody(operation), {"message": "Unauthorized", "a": 1})),
            ("an error of none", lambda operation: heading(_nobody(operation), "www-authenticate", 'Bearer error="x"')),
        ]
    )  # fmt: skip


for _row, (_how, _change) in zip(callers._bearer_rows(), _token_required(), strict=False):
    spoil(
        f"callers.{_row.operation}.token_required", _how, _change(_row.operation), only=("callers.*.token_required",)
    )  # fmt: skip
for _row in callers._bearer_rows(user_only=True):
    spoil(
        f"callers.{_row.operation}.user_only", "takes API keys",
        saying(lambda asked, _, row=_row: asked.row is row and is_key(asked.token), {}, _row.success),
        only=("callers.*.user_only",),
    )  # fmt: skip


def _read(asked: Asked) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        return tokens.read(asked.token)
    except (Broken, ValueError):
        return {}, {}


def _header(asked: Asked) -> dict[str, Any]:
    return _read(asked)[0]


def _claims(asked: Asked) -> dict[str, Any]:
    return _read(asked)[1]


def _is_rs256(asked: Asked) -> bool:
    return bool(_header(asked)["alg"] == "RS256")


def _by_nobody(asked: Asked) -> bool:
    return _claims(asked).get("email") == "nobody@example.com" and len(asked.all("authorization")) == 1


_WAITED_FOR = {"callers.key_revoked", "callers.unknown_kid"}
_ALONE = tuple(
    promise.id
    for promise in PROMISES
    if promise.theme == "callers" and promise.id.count(".") == 1 and promise.id not in _WAITED_FOR
)
"""Callers without the promises about single rows, and without those that are waited for."""
_BELIEVED: dict[str, Callable[[Asked], bool]] = {
    "garbage": lambda asked: asked.token == "not-a-token",
    "alg_none": lambda asked: _header(asked).get("alg") == "none",
    "alg_hs256": lambda asked: _header(asked).get("alg") == "HS256",
    "foreign_key": lambda asked: _by_nobody(asked) and len(_header(asked).get("kid", "")) > 30 and _is_rs256(asked),
    "unknown_kid": lambda asked: _header(asked).get("kid") == "nobody-has-this-kid",
    "no_kid": lambda asked: _by_nobody(asked) and "kid" not in _header(asked),
    "empty_kid": lambda asked: _header(asked).get("kid") == "",
    "tampered_claims": lambda asked: _claims(asked).get("account_id") == "01900000-0000-7000-8000-000000000000",
    "expired": lambda asked: 0 < _claims(asked).get("exp", 0) < _claims(asked).get("iat", 0),
    "other_issuer": lambda asked: _claims(asked).get("iss") == OTHER_ISSUER,
    "two_tokens": lambda asked: len(asked.all("authorization")) > 1,
    "query_token": lambda asked: asked.query.startswith("jwt="),
    "basic": lambda asked: asked.all("authorization")[:1] == ["Basic bm9ib2R5Om5v"],
    "unknown_key": lambda asked: is_key(asked.token) and asked.token in str(_unknown_key()),
    "malformed_key": lambda asked: asked.token == "ghk_tooshort",
}  # fmt: skip


def _unknown_key() -> tuple[Any, ...]:
    [promise] = [promise for promise in PROMISES if promise.id == "callers.unknown_key"]
    return promise.check.args  # type: ignore[attr-defined, no-any-return]


for _name, _when in _BELIEVED.items():
    _only = ("callers.*_kid",) if _name == "unknown_kid" else _ALONE
    spoil(f"callers.{_name}", "believed", partial(believing, _when), only=_only)
spoil(
    "callers.bad_signature", "believed",
    lambda standing: believing(
        lambda asked: bool(asked.token) and asked.token != standing.options["token"]
        and _claims(asked) == tokens.read(standing.options["token"])[1],
        standing,
    ),
    only=_ALONE,
)  # fmt: skip
spoil(
    "callers.token_accepted", "refused",
    lambda standing: saying(
        lambda asked, _: asked.token == standing.options["token"] and asked.operation == "list_webhooks", {}, 403
    ),
    only=_ALONE,
)  # fmt: skip
spoil(
    "callers.cookie_required",
    "403",
    saying(at("refresh_session", 401), {"code": "refresh_token_missing"}, 403),
    only=_ALONE,
)
spoil(
    "callers.bad_id_token", "another code", saying(at("sign_in_with_firebase", 401), {"code": "no"}, 401), only=_ALONE
)
spoil(
    "callers.key_accepted", "refused",
    saying(lambda asked, answered: is_key(asked.token) and answered.status == 200, {"message": "Unauthorized"}, 401),
    only=_ALONE,
)  # fmt: skip
spoil(
    "callers.key_scope", "not looked at",
    saying(lambda asked, answered: is_key(asked.token) and answered.status == 403, {"code": "invalid_request"}, 422),
    only=_ALONE,
)  # fmt: skip


def _believed_for_ever() -> Changes:
    """A key that was let in once is let in though it was revoked."""
    seen: set[str] = set()

    def after(asked: Asked, answered: Answered) -> None:
        if is_key(asked.token) and answered.status in {200, 403}:
            seen.add(asked.token)
        elif asked.token in seen:
            answered.say({"code": "insufficient_scope"}, 403)

    return Changes(after=after)


spoil("callers.key_revoked", "believed for ever", lambda _: _believed_for_ever(), only=("callers.key_*",))

# errors

spoil(
    "errors.request_id", "not named", editing(to("GET", "/v1/nothing"), lambda value: value.pop("request_id") and None)
)
spoil("errors.too_large", "a problem", saying(lambda _, answered: answered.status == 413, {"code": "too_large"}, 422))
spoil(
    "errors.problem_form", "as plain JSON",
    heading(
        lambda _, answered: answered.get("content-type") == "application/problem+json",
        "content-type", "application/json",
    ),
)  # fmt: skip
spoil("errors.not_json", "422", saying(lambda asked, _: asked.body == b"{", {"code": "invalid_json"}, 422))
spoil("errors.not_utf8", "500", saying(lambda asked, _: b"\xff" in asked.body, {"code": "internal_error"}, 500))
spoil(
    "errors.missing_field",
    "not named",
    editing(
        lambda asked, answered: asked.body == b"{}" and answered.status == 422, lambda value: value | {"errors": []}
    ),
)
spoil("errors.unknown_field", "overlooked", saying(lambda asked, _: b"surprise" in asked.body, {"id": "1"}, 201))
spoil(
    "errors.invalid_number",
    "another code",
    editing(lambda asked, _: b"+999" in asked.body, lambda value: value | {"code": "invalid_request"}),
)
spoil(
    "errors.empty_body", "400", saying(lambda asked, _: b'"body": ""' in asked.body, {"code": "invalid_request"}, 400)
)
for _name, _query, _value in (
    ("unknown_parameter", "surprise=1", {"data": [], "next_cursor": None}),
    ("limit_too_large", "limit=101", {"data": [], "next_cursor": None}),
    ("limit_too_small", "limit=0", {"data": [], "next_cursor": None}),
):  # fmt: skip
    spoil(f"errors.{_name}", "overlooked", saying(lambda asked, _, query=_query: asked.query == query, _value, 200))
spoil(
    "errors.foreign_cursor",
    "another code",
    editing(lambda asked, _: asked.query == "cursor=none-of-ours", lambda value: value | {"code": "invalid_request"}),
)
for _row in (row for row in ROWS if not row.extension and row.parameters):
    spoil(
        f"errors.{_row.operation}.not_found", "another code",
        editing(at(_row.operation, 404), lambda value: value | {"code": "gone"}),
    )  # fmt: skip


def _idempotent(operation: str, status: int, code: str | None = None) -> When:
    return lambda asked, answered: (
        asked.operation == operation and bool(asked.all("idempotency-key")) and answered.status == status
        and (code is None or answered.json.get("code") == code)
    )  # fmt: skip


spoil(
    "errors.replay",
    "without the id",
    editing(_idempotent("create_webhook", 409, "already_created"), lambda value: value | {"detail": "There is one."}),
)
spoil(
    "errors.reused_key",
    "overlooked",
    editing(
        _idempotent("create_webhook", 409, "idempotency_key_reused"), lambda value: value | {"code": "already_created"}
    ),
)
spoil(
    "errors.invalid_key",
    "another code",
    editing(
        _idempotent("create_webhook", 422, "invalid_idempotency_key"), lambda value: value | {"code": "invalid_header"}
    ),
)
spoil("errors.message_reused_key", "sent", saying(_idempotent("send_message", 409), {"id": "1"}, 202))


def _sent_again() -> Changes:
    """Each replay is another message."""
    seen: set[str] = set()

    def after(asked: Asked, answered: Answered) -> None:
        if asked.operation == "send_message" and (given := asked.all("idempotency-key")) and answered.status == 202:
            if given[0] in seen:
                answered.say(answered.json | {"id": "another"})
            seen.add(given[0])

    return Changes(after=after)


spoil("errors.message_replay", "sent again", lambda _: _sent_again())

# shapes


def _extra(value: Any) -> Any:
    inner = value["data"][0] if isinstance(value.get("data"), list) and value["data"] else value
    inner["surprise"] = 1


def _missing(value: Any) -> Any:
    inner = value["data"][0] if isinstance(value.get("data"), list) and value["data"] else value
    inner.pop(next(iter(inner)))


def _replaced(pattern: str, replacement: str) -> Callable[[Any], Any]:
    def edit(value: Any) -> Any:
        text = json.dumps(value)
        changed = re.sub(pattern, replacement, text, count=1)
        return _extra(value) if changed == text else json.loads(changed)

    return edit


_SHAPES = itertools.cycle(
    [
        ("a member besides", _extra),
        ("a member missing", _missing),
        ("an id of version 4", _replaced(r'("id": "[0-9a-f]{8}-[0-9a-f]{4})-7', r"\1-4")),
        ("a time without milliseconds", _replaced(r"(T\d\d:\d\d:\d\d)\.\d{3}Z", r"\1Z")),
        ("a time with an offset", _replaced(r"(T\d\d:\d\d:\d\d\.\d{3})Z", r"\1+00:00")),
        ("a number for an amount", _replaced(r'("(?:amount|total|price|balance|subtotal)": )"([0-9.]+)"', r"\1\2")),
        ("null for a text", _replaced(r': "[^"]*"', ": null")),
    ]
)
_NEEDED = ("list_webhooks", "create_webhook", "create_api_key", "send_message", "list_invoices")
"""Rows of whose answers others live: they keep their ids and their lists."""
for _row in shapes.ROWS:
    if _row.operation in _NEEDED:
        spoil(f"shapes.{_row.operation}", "a member besides", editing(at(_row.operation, _row.success), _extra))
    elif _row.response is None:
        spoil(f"shapes.{_row.operation}", "a body", saying(at(_row.operation, _row.success), {"deleted": True}, 200))
    else:
        _how, _edit = next(_SHAPES)
        spoil(f"shapes.{_row.operation}", _how, editing(at(_row.operation, _row.success), _edit))
SPOILS["shapes.get_usage"] = Spoil(
    "a float for money",
    lambda _: editing(at("get_usage", 200), lambda value: value | {"totals": value["totals"] | {"amount": 0.135}}),
)
spoil(
    "shapes.pages", "one twice",
    Changes(before=lambda asked: setattr(asked, "query", re.sub(r"^(limit=1)&cursor=.*", r"\1", asked.query))),
)  # fmt: skip
spoil(
    "shapes.message_events", "not the last",
    editing(at("get_message", 200), lambda value: value | {"events": [value["events"][0] | {"status": "sent"}]}),
)  # fmt: skip
spoil(
    "shapes.refresh_cookie", "for scripts too",
    Changes(
        after=lambda _, answered: answered.set("set-cookie", answered.get("set-cookie").replace("; HttpOnly", ""))  # type: ignore[union-attr]
        if answered.get("set-cookie") else None
    ),
)  # fmt: skip


def _shown_again(operation: str, list_operation: str, member: str, shown_as: str) -> Changes:
    """A secret is in a list too, in a member that the shape has."""
    secrets: list[str] = []

    def after(asked: Asked, answered: Answered) -> None:
        if asked.operation == operation and answered.status == 201:
            secrets.append(answered.json[member])
        elif asked.operation == list_operation and answered.status == 200 and secrets:
            value = answered.json
            for row in value["data"]:
                row[shown_as] = secrets[0]
            answered.say(value)

    return Changes(after=after)


spoil(
    "shapes.webhook_secret",
    "in the list too",
    lambda _: _shown_again("create_webhook", "list_webhooks", "secret", "description"),
)
spoil("shapes.key_once", "in the list too", lambda _: _shown_again("create_api_key", "list_api_keys", "key", "name"))

# ownership


def _is_other(standing: Standing) -> When:
    return lambda asked, _: asked.token == standing.options["other_token"]


def _shown(row: Row, standing: Standing) -> Changes:
    """Another's is answered as one's own."""
    return saying(
        lambda asked, answered: asked.row is row and _is_other(standing)(asked, answered),
        {"data": [WEBHOOK]},
        row.success,
    )


def _listed(row: Row, standing: Standing) -> Changes:
    return believing(lambda asked: asked.row is row and asked.token == standing.options["other_token"], standing)


for _row in ownership._BY_ID:
    spoil(f"ownership.{_row.operation}", "shown", partial(_shown, _row))
for _row in ownership._LISTED:
    spoil(f"ownership.{_row.operation}", "in the list", partial(_listed, _row))
