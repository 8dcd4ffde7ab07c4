"""What is derived from the table: complete, valid, and equal to what is committed."""

import json
import os
from io import StringIO
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from rich.console import Console

from ghasi.contract import emit, shapes
from ghasi.contract.emit.documents import contract_markdown, errors_markdown, settings_markdown, variable
from ghasi.contract.emit.examples import EXAMPLES
from ghasi.contract.emit.samples import curl
from ghasi.contract.emit.sections import SECTIONS, section_of
from ghasi.contract.errors import CODES
from ghasi.contract.row import Auth, Row
from ghasi.contract.statuses import GATEWAY_MESSAGES, gateway_messages, problem_codes, statuses
from ghasi.contract.table import BY_OPERATION, CONTRACT, INTERNAL, ROWS
from ghasi.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"
each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.operation)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return emit.openapi()


def operation_of(document: dict[str, Any], row: Row) -> dict[str, Any]:
    return document["paths"][row.path][row.method.lower()]


def resolved(document: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    if set(value) != {"$ref"}:
        return value
    found: Any = document
    for part in value["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


def parameters(document: dict[str, Any], row: Row, where: str) -> dict[str, dict[str, Any]]:
    found = [resolved(document, one) for one in operation_of(document, row).get("parameters", [])]
    return {one["name"]: one for one in found if one["in"] == where}


# OpenAPI


def test_openapi_is_valid(document: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(document).validate()
    OpenAPIV31SpecValidator(json.loads(emit.openapi_json())).validate()


def test_openapi_has_every_route_and_no_other(document: dict[str, Any]) -> None:
    found = {
        (method.upper(), path): operation["operationId"]
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert found == {(row.method, row.path): row.operation for row in ROWS}


@each_row
def test_openapi_says_what_the_row_says(document: dict[str, Any], row: Row) -> None:
    operation = operation_of(document, row)
    assert operation["summary"] == row.summary
    assert operation["tags"] == [section_of(row)]
    assert section_of(row) in SECTIONS
    (sample,) = operation["x-codeSamples"]
    assert sample["source"] == curl(row, document["servers"][0]["url"])
    assert operation["x-ghasi-upstream"] == [upstream.value for upstream in row.upstreams]
    assert operation["x-ghasi-timeout-s"] == row.timeout_s
    assert operation.get("x-ghasi-scope") == row.scope
    assert operation.get("x-ghasi-extension", False) == row.extension
    limit = operation.get("x-ghasi-limit")
    assert (limit is None) == (row.limit is None)
    if row.limit is not None:
        assert limit == {
            "group": row.limit.name,
            "per": row.limit.per,
            "requests": row.limit.default,
            "window_s": 60,
        }


@each_row
def test_openapi_has_the_rows_parameters_and_body(document: dict[str, Any], row: Row) -> None:
    assert tuple(parameters(document, row, "path")) == row.parameters
    wanted = [field.encode_name for field in msgspec.structs.fields(row.query)] if row.query else []
    assert list(parameters(document, row, "query")) == wanted
    assert ("Idempotency-Key" in parameters(document, row, "header")) == row.idempotent_by_key
    body = operation_of(document, row).get("requestBody")
    assert (body is None) == (row.body is None)
    if row.body is not None:
        reference = body["content"]["application/json"]["schema"]["$ref"]
        assert reference == f"#/components/schemas/{row.body.__name__}"


def test_a_query_parameter_is_never_null(document: dict[str, Any]) -> None:
    for row in ROWS:
        for name, parameter in parameters(document, row, "query").items():
            assert "null" not in json.dumps(parameter["schema"]), (row.operation, name)


@each_row
def test_openapi_has_exactly_the_statuses_with_their_codes(document: dict[str, Any], row: Row) -> None:
    responses = operation_of(document, row)["responses"]
    assert list(responses) == [str(status) for status in statuses(row)]
    for status, codes in statuses(row).items():
        response = resolved(document, responses[str(status)])
        content = response.get("content", {})
        assert "X-Kong-Request-Id" in response["headers"]
        if status == row.success:
            assert ("application/json" in content) == (row.response is not None)
            assert ("Set-Cookie" in response["headers"]) == (
                row.response is shapes.Session or row.auth is Auth.REFRESH_COOKIE
            )
            continue
        problem = content.get("application/problem+json")
        assert (problem is not None) == bool(codes)
        assert problem is None or problem["schema"]["properties"]["code"]["enum"] == codes
        assert ("application/json" in content) == (status in gateway_messages(row))


@each_row
def test_limited_answers_carry_the_limit(document: dict[str, Any], row: Row) -> None:
    responses = operation_of(document, row)["responses"]
    for status in (str(row.success), "429"):
        headers = resolved(document, responses[status])["headers"] if status in responses else {}
        assert ("RateLimit-Remaining" in headers) == (row.limit is not None)
        assert ("Retry-After" in headers) == (status == "429" and row.limit is not None)
    too_large = resolved(document, responses["413"])["headers"]
    assert "RateLimit-Remaining" not in too_large, "it was not counted"


@each_row
def test_openapi_says_who_may_call(document: dict[str, Any], row: Row) -> None:
    security = operation_of(document, row)["security"]
    expected = {
        Auth.NONE: [],
        Auth.REFRESH_COOKIE: [{"refreshCookie": []}],
        Auth.BEARER: [{"userToken": []}, *([{"apiKey": [row.scope]}] if row.scope else [])],
    }
    assert security == expected[row.auth]
    for one in security:
        assert set(one) <= set(document["components"]["securitySchemes"])


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_an_example_is_of_its_shape(document: dict[str, Any], name: str) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(EXAMPLES[name])


def test_openapi_has_every_event_with_its_data(document: dict[str, Any]) -> None:
    found = {}
    for item in document["webhooks"].values():
        event = item["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
        found |= dict.fromkeys(event["type"]["enum"], event["data"]["$ref"].rpartition("/")[2])
    assert found == {event_type: shape.__name__ for event_type, shape in shapes.EVENT_DATA.items()}
    assert set(found.values()) <= set(document["components"]["schemas"]) & set(EXAMPLES)


def test_no_schema_refers_to_what_is_not_there(document: dict[str, Any]) -> None:
    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return own + [found for item in value.values() for found in references(item)]
        return [found for item in value for found in references(item)] if isinstance(value, list) else []

    found = references(document)
    assert len(found) > 100
    for reference in found:
        assert resolved(document, {"$ref": reference})


def test_openapi_follows_the_settings() -> None:
    settings = Settings(api_url="https://sms.example.com/", limit_sends=9)
    document = emit.openapi(settings)
    assert document["servers"] == [{"url": "https://sms.example.com"}]
    assert document["components"]["securitySchemes"]["refreshCookie"]["name"] == "__Host-ghasi_refresh"
    assert document["paths"]["/v1/messages"]["post"]["x-ghasi-limit"]["requests"] == 9
    loopback = emit.openapi(Settings(api_port=8001))
    assert loopback["components"]["securitySchemes"]["refreshCookie"]["name"] == "ghasi_refresh"
    assert loopback["servers"] == [{"url": "http://127.0.0.1:8001"}]


# statuses


@each_row
def test_statuses_by_kind_of_row(row: Row) -> None:
    found = statuses(row)
    assert list(found) == sorted(found)
    assert found[row.success] == []
    assert {408, 413, 500, 502, 503, 504} <= set(found)
    assert (401 in gateway_messages(row)) == (row.auth is Auth.BEARER)
    assert (429 in found) == (row.limit is not None)
    assert (400 in found) == (row.body is not None)
    assert row.body is None or "invalid_request" in found[422]
    assert row.query is None or "invalid_request" in found[422]
    assert set(row.problems) <= {code for codes in found.values() for code in codes}
    for status, codes in found.items():
        assert {CODES[code].status for code in codes} <= {status}
        assert codes == sorted(codes)
    if row.auth is Auth.BEARER:
        assert ("user_required" if row.scope is None else "insufficient_scope") in found[403]


def test_every_problem_of_a_row_is_a_code_and_every_code_is_used() -> None:
    named = {code for row in BY_OPERATION.values() for code in row.problems}
    assert named <= set(CODES)
    implied = {code for row in BY_OPERATION.values() for codes in problem_codes(row).values() for code in codes}
    assert set(CODES) - implied == {"method_not_allowed", "not_from_gateway"}


# Markdown and the terminal


@pytest.mark.parametrize("name", list(emit.COMMITTED))
def test_committed_documents_are_what_is_emitted(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == emit.COMMITTED[name](), "run `make docs`"


def test_documents_do_not_depend_on_who_emits_them(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: make() for name, make in emit.COMMITTED.items()}
    monkeypatch.setitem(os.environ, "GHASI_LIMIT_AUTH", "77")
    monkeypatch.setitem(os.environ, "GHASI_API_PORT", "9999")
    assert {name: make() for name, make in emit.COMMITTED.items()} == before


def test_the_contract_page_has_every_route_and_answer() -> None:
    page = contract_markdown()
    assert page == emit.markdown()
    for row in ROWS:
        assert f"| {row.method} | `{row.path}` |" in page
        assert f"### {row.method} {row.path}\n" in page
    assert "internal" not in page.replace("internal_error", "")
    assert page.index("### Extensions") > max(page.index(f"`{row.path}`") for row in CONTRACT)
    for code in {code for row in ROWS for codes in statuses(row).values() for code in codes}:
        assert f"(errors.md#{code})" in page


def test_the_error_page_has_every_code_with_its_remedy() -> None:
    page = errors_markdown()
    for name, code in CODES.items():
        assert f'<a id="{name}"></a>`{name}` | {code.status} | {code.title} | {code.remedy} |' in page
    for messages in GATEWAY_MESSAGES.values():
        assert all(message in page for message in messages)


def test_the_settings_page_has_every_setting() -> None:
    page = settings_markdown()
    for name, field in Settings.model_fields.items():
        assert f"| `{variable(name)}` |" in page
        assert field.description in page
    assert variable("firebase_auth_emulator_host") == "FIREBASE_AUTH_EMULATOR_HOST"


@pytest.mark.parametrize("width", [100, 160])
def test_the_terminals_table_shows_every_route_whole(width: int) -> None:
    output = StringIO()
    emit.show(Console(file=output, width=width, force_terminal=False))
    lines = output.getvalue().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    assert "…" not in output.getvalue()
    shown = {}
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        words = line.split()
        if len(words) > 2:
            # a path too long for one line goes on in the next
            rest = following.split()[0] if following.strip().startswith("/") else ""
            shown[words[0], words[1] + rest] = (line, f"{line} {following}")
    for row in ROWS:
        line, entry = shown[row.method, row.path]
        assert row.upstream.value in line
        assert line.rstrip().endswith(f" {row.timeout_s:g} s")
        assert (" + " in f"{entry} ") == row.extension
    assert not [row for row in INTERNAL if row.path in output.getvalue()]
