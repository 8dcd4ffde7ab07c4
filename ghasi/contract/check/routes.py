"""Promises about which routes there are: each row of the contract, and nothing beside them."""

from functools import partial

from ghasi.contract.check import expecting
from ghasi.contract.check.asking import describe
from ghasi.contract.check.bench import Bench
from ghasi.contract.check.promises import Broken, Promise, source_of
from ghasi.contract.row import Row
from ghasi.contract.table import ROWS
from ghasi.contract.values import new_id


async def _exists(row: Row, bench: Bench) -> None:
    await bench.there(row)
    answer = await bench.anonymous(row)
    if expecting.is_no_route(answer):
        raise Broken(f"a route for {row.method} {row.path}", describe(answer))


async def _refused(targets: tuple[tuple[str, str], ...], bench: Bench) -> None:
    for method, path in targets:
        answer = await bench.http.ask(method, path.replace("{id}", str(new_id())))
        if answer.status != 404:  # noqa: PLR2004 - as the contract has it
            raise Broken(f"404 for {method} {path}", describe(answer))
        if method != "HEAD":
            expecting.no_route(answer)
        elif answer.body:
            raise Broken("no body for HEAD", "one")


_ELSEWHERE: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "unknown_path": (
        "A path that is in no route is Kong's 404",
        (("GET", "/v1/nothing"), ("GET", "/v1"), ("POST", "/v2/messages"), ("GET", "/v1/messagesx")),
    ),
    "wrong_method": (
        "A method that a path does not have is Kong's 404, not 405",
        (("DELETE", "/v1/messages"), ("PATCH", "/v1/webhooks/{id}"), ("POST", "/v1/billing/usage")),
    ),
    "trailing_slash": (
        "A path with a trailing slash is another path",
        (("GET", "/v1/messages/"), ("GET", "/v1/billing/invoices/{id}/"), ("POST", "/v1/auth/refresh/")),
    ),
    "deeper_path": (
        "A path parameter is one segment",
        (("GET", "/v1/messages/{id}/more"), ("DELETE", "/v1/api-keys/{id}/{id}"), ("GET", "/v1/billing/usage/{id}")),
    ),
    "letter_case": ("Paths are case-sensitive", (("GET", "/v1/Messages"), ("GET", "/V1/webhooks"))),
    "head": ("HEAD is a method of no route", (("HEAD", "/v1/messages"), ("HEAD", "/v1/billing/usage"))),
}  # fmt: skip

PROMISES: tuple[Promise, ...] = (
    *(
        Promise(
            f"routes.{row.operation}.exists", f"{row.method} {row.path} is there",
            source_of(2, extension=row.extension), partial(_exists, row), row.extension,
        )
        for row in ROWS
    ),
    *(
        Promise(f"routes.{name}", says, "design 5", partial(_refused, targets))
        for name, (says, targets) in _ELSEWHERE.items()
    ),
)  # fmt: skip
