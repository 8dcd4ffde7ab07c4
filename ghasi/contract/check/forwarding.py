"""Promises about what services get: who calls, said by the gateway alone, and the request as it was sent.

They need the other side of the gateway: an upstream that the checker plays.
"""

from collections.abc import Iterable
from functools import partial

from ghasi.contract.check import expecting, making
from ghasi.contract.check.asking import Answer, describe
from ghasi.contract.check.bench import Bench
from ghasi.contract.check.people import Person
from ghasi.contract.check.playing import Received, spelled
from ghasi.contract.check.promises import Broken, NotChecked, Promise
from ghasi.contract.claims import INJECTED_HEADERS
from ghasi.contract.row import Auth, Row
from ghasi.contract.table import CONTRACT

_FORGED = "forged-by-a-client"
_SPOOFED = (
    *(header.name for header in INJECTED_HEADERS), "X-Consumer-Id", "X-Consumer-Custom-Id", "X-Credential-Identifier",
    "X-Credential-Username", "X-Anonymous-Consumer",
)  # fmt: skip
_SAID = ("x-account-id", "x-user-id", "x-consumer-", "x-credential-", "x-anonymous-consumer")
_BODY = '{ "b":"سلام",\n\t"a" : [1.50, "\\u0041"] }'.encode()
_QUERY = "?to=%2B46700000010&reference=a%20b%26c&reference=&empty"


def find_row(bench: Bench, *, body: bool = False) -> Row:
    """Return a row of a played upstream, with a body or without; raises NotChecked where there is none.

    One that takes API keys too comes first, and one of a single upstream.
    """
    bench.stage  # noqa: B018 - raises where nothing is played
    rows = [
        row
        for row in CONTRACT
        if row.auth is Auth.BEARER and not row.parameters and (row.body is not None) == body
        and row.upstreams[0] in bench.played
    ]  # fmt: skip
    if not rows:
        raise NotChecked("no --upstream of a route with a body" if body else "no --upstream of a route that reads")
    return min(rows, key=lambda row: (row.scope is None, len(row.upstreams)))


async def _forwarded(
    bench: Bench,
    row: Row,
    who: Person,
    *,
    headers: Iterable[tuple[str, str]] = (),
    query: str = "?",
    body: bytes | None = None,
) -> tuple[Answer, Received]:
    """Ask for a row and return the answer and what its upstream got; raises NotChecked where it got nothing."""
    part = bench.stage.play()
    answer = await bench.ask(
        row, who, query=query + ("" if query == "?" else "&") + part.query, headers=headers, body=body, played=True
    )
    if not part.received:
        raise NotChecked(f"the gateway did not ask the {row.upstream} that is played: {describe(answer)}")
    return answer, part.received[-1]


async def _by_user(bench: Bench) -> Received:
    async def ask() -> Received:
        return (await _forwarded(bench, find_row(bench), await bench.person()))[1]

    return await bench.once("forwarded", ask)


def _only(received: Received, name: str, value: str, shown: str) -> None:
    """Hold that a header was received once, with this value."""
    values = received.all(name)
    if values != [value]:
        seen = "none" if not values else "several" if len(values) > 1 else "another value"
        raise Broken(f"{name}: {shown}", seen)


async def _account_id(bench: Bench) -> None:
    account_id = (await bench.person()).claims.get("account_id", "")
    _only(await _by_user(bench), "X-Account-Id", account_id, "the token's account_id")


async def _user_id(bench: Bench) -> None:
    _only(await _by_user(bench), "X-User-Id", (await bench.person()).claims.get("sub", ""), "the token's sub")


async def _consumer_username(bench: Bench) -> None:
    _only(await _by_user(bench), "X-Consumer-Username", "ghasi-user", "ghasi-user")


async def _key_caller(bench: Bench) -> None:
    person, holder = await bench.person(), await making.key_holder(bench)
    row = find_row(bench)
    if row.scope is None:
        raise NotChecked("no --upstream of a route that takes API keys")
    _, received = await _forwarded(bench, row, holder)
    _only(received, "X-Account-Id", person.claims.get("account_id", ""), "the key's account")
    _only(received, "X-Consumer-Username", "ghasi-key", "ghasi-key")
    if bench.options.api_key is None:
        _only(received, "X-User-Id", person.claims.get("sub", ""), "the user who created the key")


async def _spoofed(bench: Bench, *, underscores: bool) -> None:
    names = [name.replace("-", "_") if underscores else name for name in _SPOOFED]
    _, received = await _forwarded(
        bench, find_row(bench), await bench.person(), headers=[(name, _FORGED) for name in names]
    )  # fmt: skip
    for name, value in received.headers:
        if spelled(name).startswith(_SAID) and _FORGED in value:
            raise Broken(f"no {name} of the client's", "it")


async def _request_id(bench: Bench) -> None:
    answer, received = await _forwarded(bench, find_row(bench), await bench.person())
    request_id = expecting.header(answer, expecting.REQUEST_ID)
    _only(received, expecting.REQUEST_ID, request_id, "as the answer's")


async def _hop_by_hop(bench: Bench) -> None:
    sent = [
        ("Connection", "keep-alive, X-Of-This-Hop"), ("X-Of-This-Hop", "1"), ("Keep-Alive", "timeout=9"),
        ("Proxy-Connection", "keep-alive"),
    ]  # fmt: skip
    _, received = await _forwarded(bench, find_row(bench), await bench.person(), headers=sent)
    for name in ("X-Of-This-Hop", "Keep-Alive", "Proxy-Connection"):
        if received.all(name):
            raise Broken(f"no {name}: it is of the client's connection", "it")
    if any("x-of-this-hop" in value.lower() for value in received.all("Connection")):
        raise Broken("a Connection of the gateway's own", "the client's")


async def _target(bench: Bench) -> None:
    row = find_row(bench)
    _, received = await _forwarded(bench, row, await bench.person(), query=_QUERY)
    path, _, query = received.target.partition("?")
    if path != row.path:
        raise Broken(f"the path {row.path}", f"the path {path[:80]}")
    if not query.startswith(_QUERY.removeprefix("?") + "&"):
        raise Broken("the query as it was sent", "another")


async def _body(bench: Bench) -> None:
    row = find_row(bench, body=True)
    _, received = await _forwarded(bench, row, await bench.person(), body=_BODY)
    if received.method != row.method:
        raise Broken(f"the method {row.method}", received.method)
    if received.body != _BODY:
        raise Broken(f"the body's {len(_BODY)} bytes as they were sent", f"{len(received.body)} others")
    if received.all("Content-Type") != ["application/json"]:
        raise Broken("Content-Type: application/json, as it was sent", "another")


PROMISES: tuple[Promise, ...] = (
    Promise("headers.account_id", "Services get X-Account-Id from the token's account_id", "contract 4", _account_id),
    Promise("headers.user_id", "Services get X-User-Id from the token's sub", "contract 4", _user_id),
    Promise("headers.consumer_username", "Services get X-Consumer-Username", "contract 4", _consumer_username),
    Promise("headers.key_caller", "Services get an API key's account and creator", "extension", _key_caller, True),
    Promise(
        "headers.spoofed", "What only the gateway may say is dropped", "design 5", partial(_spoofed, underscores=False)
    ),
    Promise(
        "headers.spoofed_underscores", "It is dropped with underscores too", "design 5",
        partial(_spoofed, underscores=True),
    ),
    Promise("headers.upstream_request_id", "Services get the answer's X-Kong-Request-Id", "design 5", _request_id),
    Promise("headers.hop_by_hop", "Headers of the client's connection end at the gateway", "design 5", _hop_by_hop),
    Promise("headers.target", "Services get the path and the query as they were sent", "design 5", _target),
    Promise("headers.body", "Services get the body as it was sent", "design 5", _body),
)  # fmt: skip
