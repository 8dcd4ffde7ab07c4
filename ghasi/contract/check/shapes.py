"""Promises about what answers look like: every success has its row's shape and nothing else, lists are paged."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from ghasi.contract.check import expecting, making
from ghasi.contract.check.asking import Answer, describe
from ghasi.contract.check.bench import NO_BODY, Bench
from ghasi.contract.check.promises import Broken, NotChecked, Promise
from ghasi.contract.check.strictness import find_fault
from ghasi.contract.extensions import EXTENSIONS
from ghasi.contract.row import Auth, Row
from ghasi.contract.shapes import FINAL_STATUSES
from ghasi.contract.table import BY_OPERATION, CONTRACT

Ask = Callable[[Bench], Awaitable[Answer]]
_MOST_PAGES = 5
_NO_CONTENT = 204
_MASKED = 12


async def _signed_in(bench: Bench) -> Answer:
    return await bench.signed_in("A" if bench.options.token is None else "C")


async def _refreshed(bench: Bench) -> Answer:
    async def refresh() -> Answer:
        cookie = await bench.refresh_cookie()
        return await bench.ask(BY_OPERATION["refresh_session"], headers=[("Cookie", cookie)])

    return await bench.once("refreshed", refresh)


async def _updated_webhook(bench: Bench) -> Answer:
    row = BY_OPERATION["update_webhook"]
    made = making.made(await making.webhook(bench))
    return await bench.ask(row, await bench.person(), id=made, json=making.WEBHOOK)


async def _deleted_webhook(bench: Bench) -> Answer:
    row = BY_OPERATION["create_webhook"]
    made = making.made(await bench.make(row, making.WEBHOOK, "delete_webhook"))
    answer = await bench.ask(BY_OPERATION["delete_webhook"], await bench.person(), id=made)
    if answer.status == _NO_CONTENT:
        bench.undone(made)
    return answer


async def _read(row: Row, bench: Bench) -> Answer:
    """Ask for what changes nothing, of what account A has."""
    await bench.there(row)
    if row.auth is not Auth.BEARER:
        return await bench.anonymous(row)
    person = await bench.person()
    if row.operation.startswith("list_") and not row.parameters:
        return await making.first_page(bench, row, person)
    body = _BODIES.get(row.operation, NO_BODY)
    return await bench.ask(row, person, id=await making.row_ids(bench, row), json=body)


_ASKED: dict[str, Ask] = {
    "sign_in_with_firebase": _signed_in,
    "refresh_session": _refreshed,
    "create_api_key": making.key,
    "revoke_api_key": making.revoked,
    "send_message": making.message,
    "create_webhook": making.webhook,
    "update_webhook": _updated_webhook,
    "delete_webhook": _deleted_webhook,
}
_BODIES: dict[str, Any] = {
    "preview_message": {"body": "Contract check", "to": "+46700000010"},
    "dry_run_event": {"event_type": "message.delivered", "data": {"country": "AF"}},
}
"""Of rows that change nothing though they are no GET."""


def _readable(row: Row) -> bool:
    """Say whether an extension may be asked for without changing anything, and answers JSON about what is known."""
    known = set(row.parameters) <= set(making.LISTS)
    return (row.method == "GET" or row.operation in _BODIES) and row.response is not None and known


ROWS: tuple[Row, ...] = (*CONTRACT, *(row for row in EXTENSIONS if _readable(row)))
"""Rows whose successes are looked at; others would change what an account is or has."""


async def _shape(row: Row, bench: Bench) -> None:
    answer = await _ASKED.get(row.operation, partial(_read, row))(bench)
    expecting.success(answer, row.success)
    if row.response is None:
        if answer.body:
            raise Broken("no body", describe(answer))
        return
    if answer.media != "application/json":
        raise Broken("Content-Type: application/json", f"Content-Type: {answer.media or 'none'}")
    if fault := find_fault(answer.json(), row.response):
        raise Broken(*fault)


async def _pages(bench: Bench) -> None:
    """Walk a list of at least two by pages of one."""
    row, person = BY_OPERATION["list_webhooks"], await bench.person()
    for answer in (await making.webhook(bench), await making.another_webhook(bench)):
        making.made(answer)
    seen: list[str] = []
    query = "?limit=1"
    for _ in range(_MOST_PAGES):
        answer = await bench.ask(row, person, query=query)
        expecting.success(answer, row.success)
        ids, cursor = _page(answer)
        if len(ids) != 1:
            raise Broken("one row on a page with limit=1", f"{len(ids)}")
        seen += ids
        if cursor is None:
            break
        query = f"?limit=1&cursor={cursor}"
    if len(set(seen)) != len(seen):
        raise Broken("each row on one page", "one twice")
    if len(seen) < 2:  # noqa: PLR2004 - as many as were made
        raise Broken("next_cursor, since there is a second row", "null")
    if seen != sorted(seen, reverse=True):
        raise Broken("the newest first", "another order")
    if cursor is not None:
        return
    await _begins_with(seen, bench)


async def _begins_with(seen: list[str], bench: Bench) -> None:
    """Hold that the whole list, too, begins with what was on its pages."""
    row, person = BY_OPERATION["list_webhooks"], await bench.person()
    for query, said in (("?limit=100", "limit=100"), ("", "no limit")):
        whole, _ = _page(await bench.ask(row, person, query=query))
        if whole[: len(seen)] != seen:
            raise Broken(f"the rows of the pages with {said}, in the same order", "others")


def _page(answer: Answer) -> tuple[list[str], str | None]:
    data, cursor = answer.find("data"), answer.find("next_cursor")
    if not isinstance(data, list) or not all(isinstance(row, dict) and isinstance(row.get("id"), str) for row in data):
        raise Broken("data: a list of rows with ids", describe(answer))
    if cursor is not None and not isinstance(cursor, str):
        raise Broken("next_cursor: a string or null", "another value")
    return [row["id"] for row in data], cursor


async def _secret_once(bench: Bench) -> None:
    made = await making.webhook(bench)
    if not making.made(made, "secret").startswith("whsec_"):
        raise Broken("secret: whsec_...", "another form")
    row, person = BY_OPERATION["list_webhooks"], await bench.person()
    _nowhere(making.made(made, "secret"), await bench.ask(row, person))
    _nowhere(making.made(made, "secret"), await _updated_webhook(bench))


async def _key_once(bench: Bench) -> None:
    made = await making.key(bench)
    key = making.made(made, "key")
    listed = await bench.ask(BY_OPERATION["list_api_keys"], await bench.person())
    _nowhere(key, listed)
    if making.made(made) not in [row.get("id") for row in listed.find("data") or () if isinstance(row, dict)]:
        raise Broken("the key in the list, by its prefix", "no such row")
    if not key.startswith(making.made(made, "prefix")) or len(making.made(made, "prefix")) > _MASKED:
        raise Broken("prefix: the key's beginning, of 12 characters at most", "something else")


def _nowhere(secret: str, answer: Answer) -> None:
    """Hold that a secret is not shown again."""
    expecting.success(answer, 200)
    if secret.encode() in answer.body:
        raise Broken("a secret that is shown once", "it once more")


async def _message_events(bench: Bench) -> None:
    row = BY_OPERATION["get_message"]
    answer = await bench.ask(row, await bench.person(), id=await making.row_ids(bench, row))
    expecting.success(answer, row.success)
    events, status = answer.find("events"), answer.find("status")
    if not isinstance(events, list) or not events or not all(isinstance(event, dict) for event in events):
        raise Broken("events: the statuses passed", "none")
    passed = [event.get("status") for event in events]
    if passed[0] not in {"accepted", "scheduled", "received"}:
        raise Broken("accepted as the first event", str(passed[0]))
    if passed[-1] != status:
        raise Broken("the message's status as the last event", str(passed[-1]))
    if any(one in FINAL_STATUSES - {"unknown"} for one in passed[:-1]):
        raise Broken("nothing after a final status", ", ".join(map(str, passed)))


async def _refresh_cookie(bench: Bench) -> None:
    """Look at the cookie that sign-in sets, or else at that of refreshing."""
    try:
        answer = await _signed_in(bench)
    except NotChecked:
        answer = await _refreshed(bench)
    expecting.success(answer, 200)
    cookies = [value for value in answer.headers.getall("Set-Cookie", []) if "ghasi_refresh=" in value]
    if len(cookies) != 1:
        raise Broken("Set-Cookie with the refresh token", f"{len(cookies)} of them")
    attributes = {part.strip().lower() for part in cookies[0].split(";")[1:]}
    for attribute in ("httponly", "samesite=lax", "path=/"):
        if attribute not in attributes:
            raise Broken(f"a cookie with {attribute}", "one without")


PROMISES: tuple[Promise, ...] = (
    *(
        Promise(
            f"shapes.{row.operation}",
            f"{row.method} {row.path} answers {row.success}" + (" in its shape" if row.response else " and no body"),
            "extension" if row.extension else "design 6",
            partial(_shape, row), row.extension,
        )
        for row in ROWS
    ),
    Promise("shapes.pages", "Lists are paged by limit and next_cursor, newest first", "design 6", _pages),
    Promise("shapes.webhook_secret", "An endpoint's secret is shown on creation alone", "design 6", _secret_once),
    Promise("shapes.key_once", "An API key is shown once", "design 6", _key_once),
    Promise("shapes.message_events", "A message's events end with its status", "design 6", _message_events),
    Promise("shapes.refresh_cookie", "The refresh cookie is HttpOnly and SameSite=Lax", "design 7", _refresh_cookie),
)  # fmt: skip
