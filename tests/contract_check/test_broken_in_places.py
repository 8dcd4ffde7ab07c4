"""What is broken on some answers alone, of one status or of one service, is named as well."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ghasi.contract.check import BROKEN, HELD
from tests.contract_check.spoiling import Answered, Asked, Changes
from tests.contract_check.spoils import When, at, editing, heading, saying
from tests.contract_check.standing import Standing, set_limits


def status(*those: int) -> When:
    return lambda _, answered: answered.status in those


def of(path: str) -> When:
    return lambda asked, _: asked.path.startswith(path)


def failed(_: Asked, answered: Answered) -> bool:
    return answered.status >= 400


def twice(_: Asked, answered: Answered) -> None:
    answered.headers.append(("x-kong-request-id", "another"))


def whole_list(asked: Asked, answered: Answered) -> bool:
    return asked.operation == "list_webhooks" and answered.status == 200 and not asked.query


def as_problem(*those: int) -> When:
    return lambda _, answered: (
        answered.status in those and answered.get("content-type") == "application/problem+json"
    )  # fmt: skip


def without(name: str) -> Callable[[Any], Any]:
    return lambda value: {key: one for key, one in value.items() if key != name}


def with_private_key(value: Any) -> Any:
    return {"keys": [key | {"d": "AQAB"} for key in value["keys"]]}


def other_id(value: Any) -> Any:
    return value | {"request_id": "0" * 32}


PLACES: dict[str, tuple[str, str, Changes]] = {
    "no id on 413": ("errors.too_large", "X-Kong-Request-Id", heading(status(413), "x-kong-request-id", None)),
    "no id in 413": ("errors.too_large", "request_id", editing(status(413), without("request_id"))),
    "another id in 401": ("callers.garbage", "request_id", editing(status(401), other_id)),
    "two ids": ("headers.request_id", "X-Kong-Request-Id once", Changes(after=twice)),
    "JSON as HTML": ("callers.garbage", "application/json", heading(status(401), "content-type", "text/html")),
    "no title in 404": ("errors.problem_form", "title", editing(as_problem(404), without("title"))),
    "plain JSON for 409": ("errors.problem_form", "problem+json", heading(as_problem(409), "content-type", "x/y")),
    "no Via on errors": ("headers.via", "Via", heading(failed, "via", None)),
    "no latency of one": (
        "headers.upstream_latency", "X-Kong-Upstream-Latency",
        heading(of("/v1/billing"), "x-kong-upstream-latency", None),
    ),
    "no limit of one": ("headers.limits", "RateLimit-Limit", heading(of("/v1/api-keys"), "ratelimit-limit", None)),
    "no limit on 404": (
        "headers.limits", "RateLimit-Reset",
        heading(lambda asked, answered: answered.status == 404 and bool(asked.token), "ratelimit-reset", None),
    ),
    "no CORS on success": (
        "headers.cors_answer", "Access-Control-Allow-Origin",
        heading(status(200), "access-control-allow-origin", None),
    ),
    "no PUT": (
        "headers.cors_preflight", "with PUT for OPTIONS /v1/webhooks/{webhookId}",
        heading(status(200, 204), "access-control-allow-methods", "GET, POST, DELETE"),
    ),
    "oldest first": (
        "shapes.pages", "no limit", editing(whole_list, lambda value: value | {"data": value["data"][::-1]}),
    ),
    "a private key": ("claims.signature", "public RSA key", editing(at("get_json_web_keys"), with_private_key)),
}  # fmt: skip


@pytest.mark.parametrize("how", list(PLACES))
async def test_a_fault_of_some_answers_is_named(standing: Standing, how: str) -> None:
    identifier, expected, changes = PLACES[how]
    set_limits(standing)
    [outcome] = (await standing.check(identifier, changes=changes)).outcomes
    assert outcome.state == BROKEN
    assert expected in outcome.expected, outcome


async def test_words_are_quoted_as_they_are(standing: Standing) -> None:
    said = saying(status(401), {"message": "No 'kid'"})
    [outcome] = (await standing.check("callers.unknown_kid", changes=said)).outcomes
    assert outcome.expected == '401 {"message": "No credentials found for given \'kid\'"}'
    assert outcome.seen == '401 {"message": "No \'kid\'"}'


@pytest.mark.parametrize(
    ("expected", "changes"),
    [
        ("X-Kong-Request-Id", heading(status(429), "x-kong-request-id", None)),
        ("request_id", editing(status(429), other_id)),
        ("Access-Control-Allow-Origin", heading(status(429), "access-control-allow-origin", None)),
    ],
)
async def test_refusals_by_a_limit_are_looked_at_as_a_whole(
    standing: Standing, expected: str, changes: Changes
) -> None:
    set_limits(standing)
    report = await standing.check("limits.api_keys", "limits.refusal", changes=changes)
    named = {one.promise.id: one.expected for one in report.outcomes if one.state == BROKEN}
    assert named.keys() == {"limits.refusal"}
    assert expected in named["limits.refusal"]


async def test_a_group_whose_answers_cannot_be_counted_leaves_the_others_counted(standing: Standing) -> None:
    asked_for: list[str] = []

    def after(asked: Asked, answered: Answered) -> None:
        if asked.operation == "create_api_key":
            asked_for.append(asked.operation)
            if len(asked_for) > 2:
                answered.set("ratelimit-remaining", None)

    set_limits(standing)
    report = await standing.check("limits.api_keys", "limits.auth", "limits.exports", changes=Changes(after=after))
    states = {one.promise.id: one.state for one in report.outcomes}
    assert states == {"limits.auth": HELD, "limits.api_keys": BROKEN, "limits.exports": HELD}


@pytest.mark.usefixtures("quicker")
async def test_a_route_that_never_answers_does_not_hold_a_run_up(standing: Standing) -> None:
    asked_for: list[str] = []

    def after(asked: Asked, _: Answered) -> Awaitable[None] | None:
        if asked.operation != "get_usage":
            return None
        asked_for.append(asked.operation)
        return asyncio.sleep(60)

    report = await standing.check(
        "shapes.get_usage", "headers.*", "timeouts.answers", changes=Changes(after=after), played=True
    )
    named = {one.promise.id: (one.expected, one.seen) for one in report.outcomes if one.state == BROKEN}
    assert named["timeouts.answers"] == ("an answer to GET /v1/billing/usage within 8 s", "none within 15 s")
    assert named["shapes.get_usage"] == ("an answer to GET /v1/billing/usage", "none within 15 s")
    assert len(asked_for) == 2
