"""Promises about errors: a service's are RFC 9457 problems with a stable code, Kong's name the request."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from ghasi.contract.check import expecting, making
from ghasi.contract.check.asking import Answer, describe
from ghasi.contract.check.bench import NO_BODY, Bench, unique
from ghasi.contract.check.promises import Broken, Promise
from ghasi.contract.row import MAX_BODY_BYTES, Row
from ghasi.contract.table import BY_OPERATION, CONTRACT

_WEBHOOKS, _LIST = BY_OPERATION["create_webhook"], BY_OPERATION["list_webhooks"]
_ERROR = 400
_DETAILS: tuple[Row, ...] = tuple(row for row in CONTRACT if row.parameters)


async def _request_id(bench: Bench) -> None:
    expecting.no_route(await bench.http.ask("GET", "/v1/nothing"))


async def _too_large(bench: Bench) -> None:
    answer = await bench.ask(_WEBHOOKS, await bench.person(), body=b" " * (MAX_BODY_BYTES + 1))
    expecting.kong(answer, 413, "Request size limit exceeded")


async def _posted(row: Row, bench: Bench, *, body: bytes) -> Answer:
    return await bench.ask(row, await bench.person(), body=body)


async def _listed(bench: Bench, *, query: str) -> Answer:
    return await bench.ask(_LIST, await bench.person(), query=query)


async def _refused(ask: Callable[[Bench], Awaitable[Answer]], code: str, fields: tuple[str, ...], bench: Bench) -> None:
    expecting.problem(await ask(bench), code, fields=fields)


async def _problem_form(bench: Bench) -> None:
    """Look at problems of each status: 422, 400, 409, 401, and 404 of every service that has things."""
    unread = BY_OPERATION["refresh_session"]
    asks: list[Callable[[Bench], Awaitable[Answer]]] = [
        partial(_posted, _WEBHOOKS, body=b"{}"), partial(_listed, query="?cursor=none-of-ours"),
        partial(_posted, _WEBHOOKS, body=b"["), partial(_replay, body=making.WEBHOOK),
    ]  # fmt: skip
    answers = [await ask(bench) for ask in asks]
    if bench.real(unread):
        answers.append(await bench.anonymous(unread))
    json = making.WEBHOOK
    answers += [
        await bench.ask(row, await bench.person(), json=json if row.body is not None else NO_BODY)
        for row in _DETAILS
        if bench.real(row)
    ]
    for answer in answers:
        if answer.status >= _ERROR and not expecting.is_no_route(answer):  # that is another promise
            expecting.problem_form(answer)


async def _not_found(row: Row, bench: Bench) -> None:
    person, json = await bench.person(), making.WEBHOOK if row.body is not None else NO_BODY
    for given in (None, "no-id"):
        expecting.problem(await bench.ask(row, person, id=given, json=json), "not_found")


async def _replay(bench: Bench, body: Any, *, key: str | None = None, row: Row = _WEBHOOKS) -> Answer:
    """Ask once more with an Idempotency-Key, by default that of the endpoint that was made."""
    used = key if key is not None else await making.webhook_idempotency_key(bench)
    headers = [("Idempotency-Key", used)]
    if row is _WEBHOOKS:  # what should be refused and is not has to be deleted
        return await bench.make(row, body, "delete_webhook", headers=headers)
    return await bench.ask(row, await bench.person(), json=body, headers=headers)


async def _replayed(bench: Bench) -> None:
    answer = await _replay(bench, making.WEBHOOK)
    expecting.problem(answer, "already_created")
    detail = answer.find("detail")
    if making.made(await making.webhook(bench)) not in (detail if isinstance(detail, str) else ""):
        raise Broken("detail with the id of what was made", "none")


async def _other_body(bench: Bench) -> None:
    answer = await _replay(bench, making.WEBHOOK | {"description": "another"})
    expecting.problem(answer, "idempotency_key_reused")


async def _bad_key(bench: Bench) -> None:
    answer = await _replay(bench, {}, key="x" * 256)
    if answer.find("code") == "invalid_request":  # the body is at fault too, and which is told first is left open
        answer = await _replay(bench, making.WEBHOOK, key="x" * 256)
    expecting.problem(answer, "invalid_idempotency_key")


async def _resent(bench: Bench) -> None:
    first = await making.message(bench)
    row = BY_OPERATION["send_message"]
    again = await _replay(
        bench, making.message_body(bench), key=await making.message_idempotency_key(bench), row=row
    )  # fmt: skip
    expecting.success(again, row.success)
    if again.find("id") != making.made(first):
        raise Broken("the message that was sent", "another one")


async def _resent_otherwise(bench: Bench) -> None:
    body = making.message_body(bench) | {"reference": unique()}
    making.made(await making.message(bench))
    answer = await _replay(
        bench, body, key=await making.message_idempotency_key(bench), row=BY_OPERATION["send_message"]
    )  # fmt: skip
    if answer.status == BY_OPERATION["send_message"].success:
        raise Broken("409, and nothing sent", describe(answer))
    expecting.problem(answer, "idempotency_key_reused")


_POSTED: dict[str, tuple[str, Row, bytes, str, tuple[str, ...]]] = {
    "not_json": ("A body that is not JSON is 400", _WEBHOOKS, b"{", "invalid_json", ()),
    "not_utf8": (
        "A body that is not UTF-8 is 400", _WEBHOOKS,
        b'{"url": "https://example.com/", "events": ["*"], "enabled": false, "description": "\xff"}',
        "invalid_json", (),
    ),
    "missing_field": ("A missing field is 422 and named", _WEBHOOKS, b"{}", "invalid_request", ("url",)),
    "unknown_field": (
        "An unknown field is 422 and named", _WEBHOOKS,
        b'{"url": "https://example.com/", "events": ["*"], "enabled": false, "surprise": 1}',
        "invalid_request", ("surprise",),
    ),
    "invalid_number": (
        "A number that cannot be called is 422", BY_OPERATION["send_message"], b'{"to": "+999", "body": "x"}',
        "invalid_number", ("to",),
    ),
    "empty_body": (
        "A message without a text is 422", BY_OPERATION["send_message"], b'{"to": "+46700000010", "body": ""}',
        "invalid_request", ("body",),
    ),
}  # fmt: skip
_LISTED: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "unknown_parameter": ("An unknown query parameter is 422", "?surprise=1", "invalid_request", ("surprise",)),
    "limit_too_large": ("A page of more than 100 is 422, not cut", "?limit=101", "invalid_request", ("limit",)),
    "limit_too_small": ("A page of none is 422", "?limit=0", "invalid_request", ("limit",)),
    "foreign_cursor": ("A cursor that is none is 422", "?cursor=none-of-ours", "invalid_cursor", ()),
}

PROMISES: tuple[Promise, ...] = (
    Promise("errors.request_id", "Kong's own errors name the request", "design 5", _request_id),
    Promise("errors.too_large", "A body of more than 256 KiB is Kong's 413", "design 6", _too_large),
    Promise("errors.problem_form", "Services answer problems as RFC 9457 has them", "design 6", _problem_form),
    *(
        Promise(f"errors.{name}", says, "design 6", partial(_refused, partial(_posted, row, body=body), code, fields))
        for name, (says, row, body, code, fields) in _POSTED.items()
    ),
    *(
        Promise(f"errors.{name}", says, "design 6", partial(_refused, partial(_listed, query=query), code, fields))
        for name, (says, query, code, fields) in _LISTED.items()
    ),
    *(
        Promise(
            f"errors.{row.operation}.not_found", f"{row.method} {row.path} of nothing is the service's 404", "design 6",
            partial(_not_found, row),
        )
        for row in _DETAILS
    ),
    Promise("errors.replay", "An Idempotency-Key makes one endpoint: then 409 with its id", "design 6", _replayed),
    Promise("errors.reused_key", "An Idempotency-Key with another body is 409", "design 6", _other_body),
    Promise("errors.invalid_key", "An Idempotency-Key that is too long is 422", "design 6", _bad_key),
    Promise("errors.message_replay", "An Idempotency-Key sends one message, and shows it again", "design 6", _resent),
    Promise("errors.message_reused_key", "With another body it sends nothing: 409", "design 6", _resent_otherwise),
)  # fmt: skip
