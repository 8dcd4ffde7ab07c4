"""Every status that a row declares is provoked for real, and its answer is what the contract says it is."""

import msgspec
import pytest

from ghasi import __version__
from ghasi.contract.row import Row
from ghasi.contract.shapes import ProblemBody
from ghasi.contract.statuses import gateway_messages, problem_codes, statuses
from ghasi.contract.table import BY_OPERATION, ROWS
from tests.asgi import Answer
from tests.routes.conftest import Worlds
from tests.routes.scenarios import SCENARIOS, Key

LIMIT_HEADERS = (
    "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "x-ratelimit-limit-minute",
    "x-ratelimit-remaining-minute",
)  # fmt: skip
OF_THE_GATEWAY = {"insufficient_scope", "user_required"}
"""Problems that the gateway answers with: they reach no service."""


def declared() -> set[Key]:
    keys: set[Key] = set()
    for row in ROWS:
        keys.add((row.operation, row.success, None))
        keys |= {(row.operation, status, None) for status in gateway_messages(row)}
        keys |= {(row.operation, status, code) for status, codes in problem_codes(row).items() for code in codes}
    return keys


def test_what_is_provoked_is_what_is_declared() -> None:
    assert not declared() - SCENARIOS.keys(), "declared, and not provoked"
    assert not SCENARIOS.keys() - declared(), "provoked, and not declared"
    for row in ROWS:
        of_row = {status for operation, status, _ in SCENARIOS if operation == row.operation}
        assert of_row == set(statuses(row))


@pytest.fixture(autouse=True)
async def under_way(worlds: Worlds) -> None:
    """Silent services take up to 10 s: those requests are sent first and looked at last."""
    await worlds.hanging()


IN_ORDER = sorted(SCENARIOS, key=lambda key: (key[1] == 504, key[1], key[2] or "", key[0]))


@pytest.mark.parametrize("key", IN_ORDER, ids=lambda key: "-".join(str(part) for part in key if part))
async def test_each_status(key: Key, worlds: Worlds, monkeypatch: pytest.MonkeyPatch) -> None:
    operation, status, code = key
    row = BY_OPERATION[operation]
    if status == 408:
        monkeypatch.setattr("ghasi.gateway.exchange.BODY_TIMEOUT_S", 0.1)
    answer = await SCENARIOS[key](worlds)
    assert answer.status == status, answer.body
    holds_headers(row, answer, code)
    if code is not None:
        holds_problem(answer, code)
    elif status == row.success:
        holds_success(row, answer)
    else:
        holds_kongs(row, answer)


def holds_success(row: Row, answer: Answer) -> None:
    if row.media is not None:
        assert answer.header("content-type") == row.media
        assert answer.body
        return
    if row.response is None:
        assert answer.body == b""
        assert answer.header("content-type") is None
        return
    assert answer.header("content-type") == "application/json"
    read = msgspec.json.decode(answer.body, type=row.response)
    assert msgspec.json.decode(msgspec.json.encode(read)) == answer.json, "no field is missing and none is added"


def holds_problem(answer: Answer, code: str) -> None:
    assert answer.header("content-type") == "application/problem+json"
    problem = msgspec.json.decode(answer.body, type=ProblemBody, strict=True)
    assert set(answer.json) == set(ProblemBody.__struct_fields__)
    assert (problem.code, problem.status) == (code, answer.status), answer.json
    assert problem.type == f"https://docs.ghasi.io/errors#{code}"
    assert problem.request_id == answer.header("x-kong-request-id")
    assert problem.title
    assert problem.detail


def holds_kongs(row: Row, answer: Answer) -> None:
    assert answer.header("content-type") == "application/json; charset=utf-8"
    said = dict(answer.json)
    assert said.pop("message") in gateway_messages(row)[answer.status]
    assert said == ({} if answer.status == 401 else {"request_id": answer.header("x-kong-request-id")})


def holds_headers(row: Row, answer: Answer, code: str | None) -> None:
    [request_id] = answer.all("x-kong-request-id")
    assert len(request_id) == 32
    assert answer.all("server") == [f"ghasi/{__version__}"]
    unknown_caller = answer.status == 401 and code is None
    # a body that says itself that it is too large is refused before the request is counted, as Kong orders its plugins
    counted = row.limit is not None and not unknown_caller and answer.status != 413
    for name in LIMIT_HEADERS:
        assert len(answer.all(name)) == counted, name
    assert answer.header("retry-after") == (answer.header("ratelimit-reset") if answer.status == 429 else None)
    assert answer.header("www-authenticate") == ("Bearer" if unknown_caller else None)
    forwarded = answer.status == row.success or answer.status in {502, 503, 504} or code not in {None, *OF_THE_GATEWAY}
    assert answer.all("via") == ([f"1.1 ghasi/{__version__}"] if forwarded else [])
    for name in ("x-kong-upstream-latency", "x-kong-proxy-latency"):
        assert [value.isdigit() for value in answer.all(name)] == ([True] if forwarded else []), name
    assert (answer.header("x-kong-response-latency") is None) == forwarded
    if answer.status == 504:
        upstream_s, proxy_s = (
            int(answer.header(f"x-kong-{whose}-latency") or 0) / 1000 for whose in ("upstream", "proxy")
        )
        # the row's time began before the gateway asked: what it took itself the upstream did not have
        assert row.upstream_timeout_s - 0.05 < upstream_s + proxy_s
        assert upstream_s < row.timeout_s + 3
