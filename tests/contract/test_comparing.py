"""What counts as breaking: each change, made by hand in a copy of the contract, is named as what it is."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghasi.commands import contract_diff
from ghasi.contract.comparing import Change, NotAContractError, Weight, compare
from ghasi.contract.emit.openapi import openapi

CURRENT = openapi()
Json = dict[str, Any]
EVENT = next(iter(CURRENT["webhooks"]))
SEND, LIST, GET = ("/v1/messages", "post"), ("/v1/messages", "get"), ("/v1/messages/{messageId}", "get")


def operation(document: Json, route: tuple[str, str]) -> Json:
    found: Json = document["paths"][route[0]][route[1]]
    return found


def shape(document: Json, name: str) -> Json:
    found: Json = document["components"]["schemas"][name]
    return found


def limited(**changes: object) -> Callable[[Json], None]:
    return lambda document: operation(document, SEND)["x-ghasi-limit"].update(changes)


def without(name: str, *fields: str) -> Callable[[Json], None]:
    def change(document: Json) -> None:
        for field in fields:
            shape(document, name)["properties"].pop(field)
            if field in shape(document, name).get("required", ()):
                shape(document, name)["required"].remove(field)

    return change


def with_field(name: str, schema: Json, *, required: bool) -> Callable[[Json], None]:
    def change(document: Json) -> None:
        shape(document, name)["properties"]["colour"] = schema
        if required:
            shape(document, name).setdefault("required", []).append("colour")

    return change


def of_field(name: str, field: str, **changes: object) -> Callable[[Json], None]:
    return lambda document: shape(document, name)["properties"][field].update(changes)


def replaced(name: str, field: str, schema: Json) -> Callable[[Json], None]:
    def change(document: Json) -> None:
        shape(document, name)["properties"][field] = schema

    return change


def only(document: Json, **changes: object) -> None:
    operation(document, SEND).update(changes)


def answered_by_201(document: Json) -> None:
    answers = operation(document, SEND)["responses"]
    answers["201"] = answers.pop("202")


BREAKING, RISKY, HARMLESS = Weight
MUTATIONS: list[tuple[str, Callable[[Json], object], str, Weight, Weight]] = [
    # what is changed, how, where and as what it is named, and what taking it back would be
    ("a route", lambda d: d["paths"].pop("/v1/webhooks/{webhookId}"), "PUT /v1/webhooks/{}", BREAKING, HARMLESS),
    ("a method", lambda d: d["paths"][GET[0]].pop("get"), "GET /v1/messages/{}", BREAKING, HARMLESS),
    ("an event", lambda d: d["webhooks"].pop(EVENT), f"event {EVENT}", BREAKING, HARMLESS),
    ("API keys", lambda d: operation(d, SEND)["security"].pop(), "POST /v1/messages", BREAKING, HARMLESS),
    ("the scope",
     lambda d: only(d, security=[{"userToken": []}, {"apiKey": ["messages:all"]}]),
     "POST /v1/messages", BREAKING, BREAKING),
    ("a lower limit", limited(requests=59), "POST /v1/messages", BREAKING, HARMLESS),
    ("a limit per address", limited(per="ip"), "POST /v1/messages", BREAKING, BREAKING),
    ("another group", limited(group="writes"), "POST /v1/messages", RISKY, RISKY),
    ("no limit", lambda d: operation(d, SEND).pop("x-ghasi-limit"), "POST /v1/messages", HARMLESS, BREAKING),
    ("less time", lambda d: only(d, **{"x-ghasi-timeout-s": 9.0}), "POST /v1/messages", BREAKING, HARMLESS),
    ("smaller bodies",
     lambda d: only(d, **{"x-ghasi-max-body-bytes": 1024}),
     "POST /v1/messages", BREAKING, HARMLESS),
    ("idempotency", lambda d: operation(d, SEND).pop("parameters"), "POST /v1/messages", BREAKING, HARMLESS),
    ("a filter", lambda d: operation(d, LIST)["parameters"].pop(), "GET /v1/messages", BREAKING, HARMLESS),
    ("a required filter",
     lambda d: operation(d, LIST)["parameters"][0].update(required=True),
     "GET /v1/messages", BREAKING, HARMLESS),
    ("a field that may be sent", without("NewMessage", "reference"), "POST /v1/messages", BREAKING, HARMLESS),
    ("a field that must be sent",
     with_field("NewMessage", {"type": "string"}, required=True),
     "POST /v1/messages", BREAKING, BREAKING),
    ("one more that may be",
     with_field("NewMessage", {"type": "string"}, required=False),
     "POST /v1/messages", HARMLESS, BREAKING),
    ("shorter ones", of_field("NewApiKey", "name", maxLength=5), "POST /v1/api-keys", BREAKING, HARMLESS),
    ("another type", replaced("NewMessage", "to", {"type": "integer"}), "POST /v1/messages", BREAKING, BREAKING),
    ("a field of answers", without("Message", "segments"), "GET /v1/messages", BREAKING, HARMLESS),
    ("one more", with_field("Message", {"type": "string"}, required=True), "GET /v1/messages", HARMLESS, BREAKING),
    ("perhaps not there",
     lambda d: shape(d, "Message")["required"].remove("segments"),
     "GET /v1/messages", BREAKING, HARMLESS),
    ("null",
     replaced("Message", "segments", {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
     "GET /v1/messages", BREAKING, HARMLESS),
    ("a float", replaced("Message", "segments", {"type": "number"}), "GET /v1/messages", BREAKING, HARMLESS),
    ("another value",
     lambda d: shape(d, "Message")["properties"]["encoding"]["enum"].append("ascii"),
     "GET /v1/messages", RISKY, HARMLESS),
    ("a status",
     lambda d: operation(d, SEND)["responses"].pop("409"),
     "POST /v1/messages", BREAKING, RISKY),
    ("the success",
     answered_by_201,
     "POST /v1/messages", BREAKING, BREAKING),
    ("a header",
     lambda d: operation(d, SEND)["responses"]["202"]["headers"].pop("RateLimit-Limit"),
     "POST /v1/messages", BREAKING, HARMLESS),
]  # fmt: skip


def weights(changes: list[Change], where: str) -> set[Weight]:
    return {change.weight for change in changes if change.where == where}


def test_a_document_does_not_differ_from_itself() -> None:
    assert compare(CURRENT, copy.deepcopy(CURRENT)) == []
    assert compare(json.loads(Path("docs/openapi.json").read_text()), CURRENT) == []


@pytest.mark.parametrize(
    ("change", "where", "there", "back"), [row[1:] for row in MUTATIONS], ids=[row[0] for row in MUTATIONS]
)
def test_each_change_is_named(change: Callable[[Json], object], where: str, there: Weight, back: Weight) -> None:
    changed = copy.deepcopy(CURRENT)
    change(changed)
    assert there in weights(compare(CURRENT, changed), where), compare(CURRENT, changed)
    assert back in weights(compare(changed, CURRENT), where), compare(changed, CURRENT)
    if there is not Weight.BREAKING:
        assert all(one.weight is not Weight.BREAKING for one in compare(CURRENT, changed))


schemas = st.recursive(
    st.one_of(
        st.sampled_from([{}, {"type": "null"}, {"type": "boolean"}, {"$ref": "#/components/schemas/Node"}]),
        st.builds(lambda low, high: {"type": "integer", "minimum": low, "maximum": high}, st.integers(), st.integers()),
        st.builds(lambda values: {"enum": values}, st.lists(st.text(max_size=3), min_size=1, unique=True)),
    ),
    lambda inner: st.one_of(
        inner.map(lambda one: {"type": "array", "items": one}),
        st.lists(inner, min_size=1, max_size=3).map(lambda some: {"anyOf": some}),
        st.dictionaries(st.sampled_from("abcd"), inner, max_size=3).map(
            lambda fields: {"type": "object", "properties": fields, "required": sorted(fields)[:1]}
        ),
    ),
    max_leaves=8,
)


def document(schema: Json) -> Json:
    content = {"application/json": {"schema": schema}}
    node = {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Node"}, "value": schema}}
    return {
        "openapi": "3.1.0",
        "paths": {"/": {"post": {"requestBody": {"content": content}, "responses": {"200": {"content": content}}}}},
        "components": {"schemas": {"Node": node}},
    }


@given(schemas, schemas)
def test_any_two_schemas_are_compared_and_equal_ones_do_not_differ(one: Json, other: Json) -> None:
    assert compare(document(one), document(copy.deepcopy(one))) == []
    there, back = compare(document(one), document(other)), compare(document(other), document(one))
    assert bool(there) == bool(back)


@pytest.mark.parametrize(
    "broken", [{}, [], {"paths": []}, {"paths": {"/v1/messages": {"get": {"parameters": [{"$ref": "#/nowhere"}]}}}}]
)
def test_what_is_no_contract_is_refused(broken: Any) -> None:
    with pytest.raises(NotAContractError):
        compare(broken, CURRENT)


def test_the_command_says_by_its_status_whether_something_breaks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = copy.deepcopy(CURRENT)
    limited(requests=61)(changed)
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(changed))
    assert contract_diff.diff(str(file)) == 1
    assert "limit: 61 in 60 s per account -> 60 in 60 s per account" in capsys.readouterr().out
    assert contract_diff.diff("current", str(file), json=True) == 0
    assert [one["weight"] for one in json.loads(capsys.readouterr().out)] == ["harmless"]
    file.write_text("{")
    assert contract_diff.diff(str(file)) == 2
    assert contract_diff.diff(str(tmp_path / "none.json")) == 2
    assert contract_diff.diff("http://127.0.0.1:9/openapi.json") == 2
    assert capsys.readouterr().out == ""
