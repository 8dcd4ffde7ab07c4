"""ServiceApp: what every upstream does with a request before and after its handler."""

from collections.abc import Awaitable, Callable

import pytest
import structlog

from ghasi.contract import shapes
from ghasi.contract.errors import Problem
from ghasi.contract.row import MAX_BODY_BYTES
from ghasi.contract.serving import UPSTREAM_SECRET_HEADER, Call, Handler, Reply, ServiceApp
from ghasi.contract.values import new_id
from tests.asgi import request

ACCOUNT, USER = new_id(), new_id()
HEADERS = {
    "X-Account-Id": str(ACCOUNT),
    "X-User-Id": str(USER),
    "X-Consumer-Username": "ghasi-key",
    "X-Credential-Identifier": "key-1",
    "X-Kong-Request-Id": "0123456789abcdef",
}
SECRET = "of the message"


class AwayError(Exception):
    """What a database that is away raises."""


def app_of(handler: Callable[[Call], Awaitable[Reply]], operation: str = "list_webhooks", **options) -> ServiceApp:
    return ServiceApp({operation: handler}, **options)


def raising(error: BaseException) -> Handler:
    async def handler(call: Call) -> Reply:
        raise error

    return handler


async def empty(call: Call) -> Reply:
    return Reply()


async def test_health_is_ok_and_needs_no_secret() -> None:
    answer = await request(app_of(empty, upstream_secret="s"), "GET", "/healthz")
    assert (answer.status, answer.json) == (200, {"status": "ok"})


@pytest.mark.parametrize(("error", "status"), [(AwayError(), 503), (RuntimeError(), 500)])
async def test_health_fails_with_what_it_needs(error: Exception, status: int) -> None:
    async def health() -> None:
        raise error

    with structlog.testing.capture_logs():
        answer = await request(app_of(empty, health=health, unavailable=(AwayError,)), "GET", "/healthz")
    assert answer.status == status


async def test_the_caller_is_whom_the_gateway_names() -> None:
    seen: list[Call] = []

    async def handler(call: Call) -> Reply:
        seen.append(call)
        return Reply(shapes.Page(data=[], next_cursor=None), headers=[(b"x-extra", b"1")])

    answer = await request(app_of(handler), "GET", "/v1/webhooks?limit=7", headers=HEADERS)
    assert (answer.status, answer.json) == (200, {"data": [], "next_cursor": None})
    assert answer.header("Content-Type") == "application/json"
    assert answer.header("Content-Length") == str(len(answer.body))
    assert answer.header("X-Extra") == "1"
    (call,) = seen
    assert (call.caller.account_id, call.caller.user_id) == (ACCOUNT, USER)
    assert (call.caller.is_api_key, call.caller.credential) == (True, "key-1")
    assert (call.request_id, call.query.limit) == ("0123456789abcdef", 7)


@pytest.mark.parametrize(
    "change",
    [{"X-Account-Id": None}, {"X-User-Id": None}, {"X-Account-Id": "1"}, {"X-User-Id": "\xff"}, {"X-User-Id": ""}],
)
async def test_without_a_verified_caller_nothing_is_done(change: dict[str, str | None]) -> None:
    headers = {name: value for name, value in (HEADERS | change).items() if value is not None}
    answer = await request(app_of(raising(AssertionError())), "GET", "/v1/webhooks", headers=headers)
    assert (answer.status, answer.json["code"]) == (403, "not_from_gateway")


@pytest.mark.parametrize("proof", [None, "", "wrong", "s" * 100])
async def test_without_the_gateways_proof_nothing_is_done(proof: str | None) -> None:
    headers = HEADERS if proof is None else HEADERS | {UPSTREAM_SECRET_HEADER.decode(): proof}
    app = app_of(raising(AssertionError()), upstream_secret="secret")
    answer = await request(app, "GET", "/v1/webhooks", headers=headers)
    assert (answer.status, answer.json["code"]) == (403, "not_from_gateway")


async def test_with_the_gateways_proof_it_serves() -> None:
    headers = HEADERS | {UPSTREAM_SECRET_HEADER.decode(): "secret"}
    answer = await request(app_of(empty, upstream_secret="secret"), "GET", "/v1/webhooks", headers=headers)
    assert answer.status == 200


async def test_a_fault_of_ours_is_500_and_tells_nothing() -> None:
    with structlog.testing.capture_logs() as logs:
        answer = await request(app_of(raising(RuntimeError(SECRET))), "GET", "/v1/webhooks", headers=HEADERS)
    assert (answer.status, answer.json["code"]) == (500, "internal_error")
    assert answer.json["request_id"] == "0123456789abcdef"
    assert answer.header("Content-Type") == "application/problem+json"
    assert SECRET not in answer.body.decode()
    assert "RuntimeError" not in answer.body.decode()
    assert [entry["event"] for entry in logs] == ["internal_error"]


async def test_what_is_away_is_503() -> None:
    app = app_of(raising(AwayError(SECRET)), unavailable=(AwayError,))
    with structlog.testing.capture_logs() as logs:
        answer = await request(app, "GET", "/v1/webhooks", headers=HEADERS)
    assert (answer.status, answer.json["code"]) == (503, "service_unavailable")
    assert SECRET not in answer.body.decode() + str(logs)


async def test_a_problem_is_sent_as_rfc_9457() -> None:
    answer = await request(app_of(raising(Problem("not_found"))), "GET", "/v1/webhooks", headers=HEADERS)
    assert answer.status == 404
    assert answer.header("Content-Type") == "application/problem+json"
    assert answer.json == {
        "type": "https://docs.ghasi.io/errors#not_found",
        "title": "There is no such resource",
        "status": 404,
        "detail": "Check the id; another account's resources are not shown.",
        "code": "not_found",
        "request_id": "0123456789abcdef",
        "errors": [],
    }


async def test_a_field_that_is_wrong_is_named() -> None:
    answer = await request(app_of(empty), "GET", "/v1/webhooks?limit=1000", headers=HEADERS)
    assert (answer.status, answer.json["code"], answer.json["errors"][0]["field"]) == (422, "invalid_request", "limit")


async def test_another_path_and_another_method_are_404() -> None:
    for method, path in (("GET", "/v1/messages"), ("PATCH", "/v1/webhooks"), ("GET", "/v1/webhooks/")):
        answer = await request(app_of(empty), method, path, headers=HEADERS)
        assert (answer.status, answer.json["code"]) == (404, "not_found")


async def test_the_path_the_body_and_no_content() -> None:
    async def handler(call: Call) -> Reply:
        assert call.path == {"webhookId": "a b"}
        assert isinstance(call.body, shapes.WebhookInput)
        return Reply(status=204)

    app = app_of(handler, "update_webhook")
    body = {"url": "https://example.com", "events": ["*"]}
    answer = await request(app, "PUT", "/v1/webhooks/a%20b", headers=HEADERS, json=body)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.header("Content-Length") is None


@pytest.mark.parametrize("size", [MAX_BODY_BYTES, MAX_BODY_BYTES + 1])
async def test_a_body_has_its_greatest_size(size: int) -> None:
    body = b'{"url":"https://example.com","events":["*"]}'.ljust(size)
    answer = await request(app_of(empty, "create_webhook"), "POST", "/v1/webhooks", headers=HEADERS, body=body)
    if size > MAX_BODY_BYTES:
        assert (answer.status, answer.json["code"]) == (422, "invalid_request")
    else:
        assert answer.status == 201


@pytest.mark.parametrize(
    ("key", "good"),
    [("a", True), ("a b", True), ("x" * 255, True), ("x" * 256, False), ("", False), ("\xe9", False), ("a ", False)],
)  # fmt: skip
async def test_an_idempotency_key_is_1_to_255_printable_characters(key: str, good: bool) -> None:
    async def handler(call: Call) -> Reply:
        assert call.idempotency_key == key
        return Reply()

    body = {"url": "https://example.com", "events": ["*"]}
    headers = HEADERS | {"Idempotency-Key": key}
    answer = await request(app_of(handler, "create_webhook"), "POST", "/v1/webhooks", headers=headers, json=body)
    assert answer.status == (201 if good else 422)
    assert good or answer.json["code"] == "invalid_idempotency_key"


async def test_a_row_that_needs_no_caller_has_none() -> None:
    async def handler(call: Call) -> Reply:
        assert call.idempotency_key is None
        return Reply(call.caller)

    answer = await request(app_of(handler, "get_json_web_keys"), "GET", "/.well-known/jwks.json", headers=HEADERS)
    assert (answer.status, answer.json["code"]) == (403, "not_from_gateway")
