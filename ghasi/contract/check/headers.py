"""Promises about the headers of answers: the request's id, who passed it on, the limit, and what browsers need."""

import contextlib
import re
from collections.abc import Awaitable, Callable

from ghasi.contract.check import expecting
from ghasi.contract.check.asking import Answer, describe
from ghasi.contract.check.bench import Bench, path_of
from ghasi.contract.check.promises import Broken, NotChecked, Promise
from ghasi.contract.row import Row
from ghasi.contract.table import BY_OPERATION, CONTRACT

_VIA = re.compile(r"^(?:HTTP/)?[0-9](?:\.[0-9])? \S+")
_FOREIGN = "https://elsewhere.example"
_WINDOW_S = 60
_OF_SERVICES = tuple(BY_OPERATION[name] for name in ("list_webhooks", "get_usage", "list_messages", "list_api_keys"))
"""One route of each service."""
_PROBE = BY_OPERATION["create_webhook"]
"""What a page of another site asks leave for: its method and its headers are no simple ones."""


async def _proxied(bench: Bench) -> list[Answer]:
    """Return what services answered: each a success and a refusal, and one a 404.

    Where there is no person, it is what the one answered that may be asked by nobody.
    """

    async def ask() -> list[Answer]:
        rows = [row for row in _OF_SERVICES if bench.real(row)]
        try:
            person = await bench.person()
            answers = [await bench.ask(row, person, query=query) for row in rows for query in ("", "?surprise=1")]
            none = BY_OPERATION["get_message"]
            return [*answers, await bench.ask(none, person)] if bench.real(none) else answers
        except NotChecked:
            return [await bench.anonymous(BY_OPERATION["refresh_session"])]

    return await bench.once("proxied", ask)


async def _no_route(bench: Bench) -> list[Answer]:
    return [await bench.http.ask("GET", "/v1/nothing")]


async def _no_token(bench: Bench) -> list[Answer]:
    return [await bench.anonymous(BY_OPERATION["list_webhooks"])]


async def _request_id(bench: Bench) -> None:
    seen = set()
    for ask in (_no_route, _no_token, _proxied):
        for answer in await ask(bench):
            value = expecting.header(answer, expecting.REQUEST_ID)
            if not value or value in seen:
                raise Broken(
                    f"{expecting.REQUEST_ID} of its own on every answer", "an empty one" if not value else "one twice"
                )
            seen.add(value)


async def _via(bench: Bench) -> None:
    for answer in await _proxied(bench):
        value = expecting.header(answer, "Via")
        if not _VIA.match(value):
            raise Broken("Via: 1.1 NAME", f"Via: {value[:40]}")


async def _latencies(name: str, ask: Callable[[Bench], Awaitable[list[Answer]]], bench: Bench) -> None:
    for answer in await ask(bench):
        expecting.whole_number(answer, name)


async def _upstream_latency(bench: Bench) -> None:
    await _latencies("X-Kong-Upstream-Latency", _proxied, bench)


async def _proxy_latency(bench: Bench) -> None:
    await _latencies("X-Kong-Proxy-Latency", _proxied, bench)


async def _response_latency(bench: Bench) -> None:
    await _latencies("X-Kong-Response-Latency", _no_route, bench)


async def _own(bench: Bench) -> None:
    [answer] = await _no_route(bench)
    for name in ("Via", "X-Kong-Upstream-Latency", "X-Kong-Proxy-Latency"):
        if name in answer.headers:
            raise Broken(f"no {name} where no service was asked", "one")


async def _server(bench: Bench) -> None:
    [answer] = await _no_route(bench)
    if not expecting.header(answer, "Server"):
        raise Broken("Server", "an empty one")


async def _limits(bench: Bench) -> None:
    for answer in await _proxied(bench):
        _says_limits(answer)


def _says_limits(answer: Answer) -> None:
    limit, remaining, reset = (
        expecting.whole_number(answer, f"RateLimit-{name}") for name in ("Limit", "Remaining", "Reset")
    )
    minute = expecting.whole_number(answer, "X-RateLimit-Limit-Minute")
    left = expecting.whole_number(answer, "X-RateLimit-Remaining-Minute")
    if (minute, left) != (limit, remaining):
        raise Broken(f"X-RateLimit-*-Minute: {limit} and {remaining}, as RateLimit-*", f"{minute} and {left}")
    if not remaining < limit:
        raise Broken("RateLimit-Remaining below RateLimit-Limit", f"{remaining} of {limit}")
    if not 1 <= reset <= _WINDOW_S:
        raise Broken("RateLimit-Reset: 1 to 60", f"RateLimit-Reset: {reset}")


async def _preflight_answer(bench: Bench, row: Row, origin: str) -> Answer:
    asked = [
        ("Origin", origin),
        ("Access-Control-Request-Method", row.method),
        ("Access-Control-Request-Headers", "authorization,content-type,idempotency-key"),
    ]
    return await bench.http.ask("OPTIONS", path_of(row), headers=asked)


def _origin(bench: Bench) -> str:
    if bench.options.origin is None:
        raise NotChecked("no --origin: the portal's")
    return bench.options.origin.rstrip("/")


async def _preflight(bench: Bench) -> None:
    origin = _origin(bench)
    for row in CONTRACT:
        answer = await _preflight_answer(bench, row, origin)
        if answer.status not in {200, 204}:
            raise Broken(f"200 for OPTIONS {row.path}", describe(answer))
        expecting.readable(answer, origin)
        for name, wanted in (
            ("Access-Control-Allow-Methods", (row.method,)),
            ("Access-Control-Allow-Headers", ("authorization", "content-type", "idempotency-key")),
        ):
            allowed = {part.strip().lower() for part in expecting.header(answer, name).split(",")}
            if missing := [one for one in wanted if one.lower() not in allowed]:
                raise Broken(f"{name} with {', '.join(missing)} for OPTIONS {row.path}", "without")


async def _simple(bench: Bench) -> None:
    origin = _origin(bench)
    row, sent = BY_OPERATION["list_webhooks"], [("Origin", origin)]
    answers = [await bench.ask(row, headers=sent)]
    with contextlib.suppress(NotChecked):
        person = await bench.person()
        answers += [await bench.ask(row, person, query=query, headers=sent) for query in ("", "?surprise=1")]
    for answer in answers:
        expecting.readable(answer, origin)
        exposed = expecting.header(answer, "Access-Control-Expose-Headers").lower().replace(" ", "").split(",")
        for name in ("RateLimit-Remaining", "Retry-After", expecting.REQUEST_ID):
            if name.lower() not in exposed:
                raise Broken(f"Access-Control-Expose-Headers with {name}", f"none on {describe(answer)}")


async def _foreign(bench: Bench) -> None:
    simple = await bench.ask(BY_OPERATION["list_webhooks"], headers=[("Origin", _FOREIGN)])
    for answer in (simple, await _preflight_answer(bench, _PROBE, _FOREIGN)):
        if answer.headers.get("Access-Control-Allow-Origin") in {_FOREIGN, "*", "null"}:
            raise Broken("no leave for pages of other sites", "Access-Control-Allow-Origin for them")


PROMISES: tuple[Promise, ...] = (
    Promise("headers.request_id", "Every answer has an X-Kong-Request-Id of its own", "design 5", _request_id),
    Promise("headers.via", "A service's answer has Via", "design 5", _via),
    Promise("headers.upstream_latency", "A service's answer says how long it took", "design 5", _upstream_latency),
    Promise("headers.proxy_latency", "A service's answer says how long Kong took", "design 5", _proxy_latency),
    Promise("headers.response_latency", "Kong's own answers say how long they took", "design 5", _response_latency),
    Promise("headers.own", "Kong's own answers have no Via and no upstream's latency", "design 5", _own),
    Promise("headers.server", "Kong's own answers say who made them", "design 5", _server),
    Promise("headers.limits", "Limited answers say where the caller stands, twice", "design 5", _limits),
    Promise("headers.cors_preflight", "The portal's pages may call with their headers", "design 5", _preflight),
    Promise("headers.cors_answer", "The portal's pages may read answers, refusals too", "design 5", _simple),
    Promise("headers.cors_foreign", "Pages of other sites may not", "design 5", _foreign),
)  # fmt: skip
