"""Every operation is answered as the contract says, of itself and when it is wished for."""

from typing import Any
from uuid import uuid4

import jsonschema
import msgspec
import pytest

from ghasi.contract import emit
from ghasi.contract.check import BROKEN, HELD, Options, check
from ghasi.contract.emit.examples import EXAMPLES, component_name
from ghasi.contract.errors import Problem
from ghasi.contract.keys import checksum_valid
from ghasi.contract.row import LIMIT_GROUPS, Auth, Row, Upstream
from ghasi.contract.statuses import gateway_messages, problem_codes, statuses
from ghasi.contract.table import BY_OPERATION, ROWS
from ghasi.gateway.mock.people import API_KEY
from ghasi.gateway.upstreams import NameNotResolved, UpstreamAnswer, UpstreamClient, UpstreamError, UpstreamRequest
from tests.asgi import Answer, request
from tests.gateway.services import AuthService, bearer, running
from tests.live import live
from tests.mock.conftest import World

DOCUMENT = emit.openapi()
UNKNOWN = str(uuid4())
SEND = {"to": "+93701234567", "body": "Your bread is ready."}


def described(row: Row, status: int) -> dict[str, Any]:
    """The answer as OpenAPI has it."""
    found: Any = DOCUMENT["paths"][row.path][row.method.lower()]["responses"][str(status)]
    if "$ref" in found:
        found = DOCUMENT["components"]["responses"][found["$ref"].rpartition("/")[2]]
    return dict(found)


def hold(row: Row, answer: Answer) -> None:
    """The answer has the headers and the shape that OpenAPI says."""
    expected = described(row, answer.status)
    content = expected.get("content", {})
    for name in expected["headers"]:
        if name == "Set-Cookie" and answer.header("preference-applied"):
            continue  # a forced success has the example's token, which is none
        if answer.status == 413 or (answer.status == 401 and len(content) > 1):
            continue  # what is refused before it is counted shows no limit; a service's 401 has no challenge
        assert answer.header(name) is not None, (row.operation, answer.status, name)
    media = (answer.header("content-type") or "").partition(";")[0]
    if not content:
        assert answer.body == b""
        return
    assert media in content, (row.operation, answer.status, media)
    if "json" in media:
        schema = {**content[media]["schema"], "components": DOCUMENT["components"]}
        jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(answer.json)


async def path_of(row: Row, world: World) -> str:
    """The row's path with ids that there are, of things that it can be done to."""
    path = row.path
    for parameter in row.parameters:
        place = path.partition(f"/{{{parameter}}}")[0]
        known = UNKNOWN
        if row.operation == "cancel_message":
            known = (await world.call("POST", place, json=SEND)).json["id"]
        elif not place.startswith("/v1/carriers"):
            known = (await world.call("GET", place, token=True)).json["data"][0]["id"]
        path = path.replace(f"{{{parameter}}}", known)
    return path


async def test_every_operation_answers_by_its_shape(world: World) -> None:
    cookie = (await world.call("POST", "/v1/auth/firebase", json={"id_token": "any"})).header("set-cookie") or ""
    for row in sorted(ROWS, key=lambda row: (row.method == "DELETE", row.operation == "sign_out")):
        body = None if row.body is None else EXAMPLES.get(component_name(row.body.__name__), {})
        answer = await world.call(
            row.method, await path_of(row, world), token=True, json=body, headers={"cookie": cookie.partition(";")[0]}
        )
        assert answer.status == row.success, (row.operation, answer.body)
        hold(row, answer)
        if row.problems and "not_found" in row.problems and "/v1/carriers" not in row.path and row.parameters:
            missing = row.path
            for parameter in row.parameters:
                missing = missing.replace(f"{{{parameter}}}", UNKNOWN)
            answer = await world.call(row.method, missing, token=True, json=body)
            assert (answer.status, answer.json["code"]) == (404, "not_found"), row.operation


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.operation)
async def test_every_status_of_an_operation_can_be_wished_for(limited: World, row: Row) -> None:
    """Without any token, and more often than the limit allows."""
    for status in statuses(row):
        answer = await limited.call(row.method, row.path, key="", headers={"prefer": f"code={status}"})
        assert answer.status == status
        assert answer.header("preference-applied") == f"code={status}"
        hold(row, answer)
        for code in problem_codes(row).get(status, ()):
            answer = await limited.call(row.method, row.path, key="", headers={"prefer": f"problem={code}"})
            assert (answer.status, answer.json["code"]) == (status, code)
            assert answer.json["request_id"] == answer.header("x-kong-request-id")
            assert bool(answer.json["errors"]) == (status == 422)
            hold(row, answer)
        for message in gateway_messages(row).get(status, ()):
            wish = f'code={status}, example="{message}"'
            answer = await limited.call(row.method, row.path, key="", headers={"prefer": wish})
            assert answer.status == status
            assert message in answer.json.values()
            assert answer.header("preference-applied") in {wish, wish.replace('"', "")}


class Failing(UpstreamClient):
    """An upstream of the real gateway that fails in one way."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def send(self, request: UpstreamRequest) -> UpstreamAnswer:
        raise self.error

    async def close(self) -> None:
        """Nothing is held."""


async def test_forced_answers_of_the_gateway_are_its_own(limited: World) -> None:
    """Beside those that a real gateway gives, whose callers and services are really at fault."""
    row = BY_OPERATION["list_webhooks"]
    auth, real = AuthService(), {}
    key, _ = auth.add_key(scopes=["messages:read"])
    errors = {502: UpstreamError("refused"), 503: NameNotResolved("none"), 504: TimeoutError(), 500: ValueError("ours")}
    for status, error in errors.items():
        async with running(auth, {Upstream.WEBHOOKS: Failing(error)}) as gateway:
            real[status] = await request(gateway, "GET", row.path, headers=bearer())
    async with running(auth, {Upstream.WEBHOOKS: Failing(ValueError())}, limit_reads=1) as gateway:
        real[401] = await request(gateway, "GET", row.path)
        real[403] = await request(gateway, "GET", row.path, headers=bearer(key))
        real[404] = await request(gateway, "PATCH", row.path)
        real[413] = await request(gateway, "GET", row.path, headers=bearer() | {"content-length": "999999"})
        real[429] = await request(gateway, "GET", row.path, headers=bearer())
    for status, answer in real.items():
        forced = await limited.call("GET", row.path, key="", headers={"prefer": f"code={status}"})
        assert answer.status == forced.status == status
        assert shown(forced, without=("preference-applied",)) == shown(answer)


def shown(answer: Answer, without: tuple[str, ...] = ()) -> tuple[Any, Any]:
    """What is the same at every such answer: the names of its headers, the body but for the request's id."""
    names = sorted(name for name, _ in answer.headers if name not in without)
    return names, {name: value for name, value in answer.json.items() if name != "request_id"}


async def test_the_mock_holds_the_contract(world: World) -> None:
    """All that `ghasi contract check` asks, save what is another's business here: limits, time-outs, other accounts."""
    async with live(world.mock) as url:
        limits = dict.fromkeys((group.name for group in LIMIT_GROUPS), 100_000)
        identity = f"{url}/identitytoolkit.googleapis.com/v1"
        themes = ("claims.*", "routes.*", "callers.*", "errors.*", "headers.*", "shapes.*")
        report = await check(Options(url=url, identity=identity, limits=limits, only=themes))
    # any ID token signs in, and any page may read
    broken = {one.promise.id for one in report.outcomes if one.state == BROKEN}
    assert broken == {"callers.bad_id_token", "headers.cors_foreign"}
    assert report.count(HELD) > 200


async def test_problems_of_services_are_real(world: World) -> None:
    for body, code in [
        (b"{", "invalid_json"),
        (b'{"to": "+93701234567"}', "invalid_request"),
        (b'{"to": "+9370", "body": "a"}', "invalid_number"),
        (b'{"to": "+93701234567", "body": "a", "from": "!"}', "invalid_sender"),
        (msgspec.json.encode({"to": "+93701234567", "body": "a" * 1600}), "body_too_long"),
        (b'{"to": "+93701234567", "body": "a", "send_at": "2020-01-01T00:00:00Z"}', "invalid_send_at"),
    ]:
        answer = await world.call("POST", "/v1/messages", body=body)
        assert answer.json["code"] == code
        assert answer.header("content-type") == "application/problem+json"
    answer = await world.call("POST", "/v1/webhooks", json={"url": "ftp://a", "events": ["message.*"]})
    assert answer.json["code"] == "invalid_url"
    answer = await world.call("GET", "/v1/messages?limit=0")
    assert (answer.json["code"], answer.json["errors"][0]["field"]) == ("invalid_request", "limit")
    answer = await world.call("GET", "/v1/messages?cursor=!")
    assert answer.json["code"] == "invalid_cursor"


async def test_limits_are_the_contracts(limited: World) -> None:
    statuses = [(await limited.call("POST", "/v1/messages", json=SEND)).status for _ in range(61)]
    assert statuses == [202] * 60 + [429]


def test_the_ready_key_has_an_api_keys_form() -> None:
    assert checksum_valid(API_KEY)
    assert BY_OPERATION["send_message"].auth is Auth.BEARER
    assert Problem("not_found").status == 404
