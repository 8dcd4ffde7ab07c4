"""What counts as breaking: each change, made by hand in a copy of the contract, is named as what it is and alone."""

import copy
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghasi.commands.application import run
from ghasi.contract import emit
from ghasi.contract.comparing import LEVELS, MIRRORS, Change, Document, DocumentUnreadable, Level, compare
from ghasi.contract.comparing import read_document as read

Json = dict[str, Any]
WHOLE: Json = json.loads(emit.openapi_json())
PATHS = (
    "/v1/messages", "/v1/messages/{messageId}", "/v1/messages/batch", "/v1/webhooks", "/v1/webhooks/{webhookId}",
    "/v1/api-keys", "/v1/invitations", "/v1/opt-outs/{optOutId}", "/v1/auth/refresh",
)  # fmt: skip
CURRENT = WHOLE | {"paths": {path: WHOLE["paths"][path] for path in PATHS}}
"""What the changes are made in: a part, for there are many."""
SEND, LIST, GET = ("/v1/messages", "post"), ("/v1/messages", "get"), ("/v1/messages/{messageId}", "get")
B, R, H = Level


def operation(document: Json, route: tuple[str, str] = SEND) -> Json:
    found: Json = document["paths"][route[0]][route[1]]
    return found


def shape(document: Json, name: str) -> Json:
    found: Json = document["components"]["schemas"][name]
    return found


def put(**changes: object) -> Callable[[Json], None]:
    """Change the operation that sends."""
    return lambda document: operation(document).update(changes)


def limited(**changes: object) -> Callable[[Json], None]:
    return lambda document: operation(document)["x-ghasi-limit"].update(changes)


def field(name: str, key: str, **changes: object) -> Callable[[Json], None]:
    """Change a field's schema; from `whole` on it is another."""

    def change(document: Json) -> None:
        fields = shape(document, name)["properties"]
        fields[key] = changes["whole"] if "whole" in changes else fields[key] | changes

    return change


def without(name: str, key: str) -> Callable[[Json], None]:
    def change(document: Json) -> None:
        shape(document, name)["properties"].pop(key)
        required = shape(document, name).get("required", [])
        if key in required:
            required.remove(key)

    return change


def with_field(name: str, *, required: bool) -> Callable[[Json], None]:
    def change(document: Json) -> None:
        field(name, "colour", whole={"type": "string"})(document)
        if required:
            shape(document, name).setdefault("required", []).append("colour")

    return change


def problem_codes(document: Json) -> list[str]:
    reference = operation(document)["responses"]["422"]["$ref"].rpartition("/")[2]
    # a component of its own: others may have the same
    answer = copy.deepcopy(document["components"]["responses"][reference])
    operation(document)["responses"]["422"] = answer
    codes: list[str] = answer["content"]["application/problem+json"]["schema"]["properties"]["code"]["enum"]
    return codes


def event(document: Json) -> Json:
    found: Json = document["webhooks"]["message.*"]["post"]
    return found


def event_types(document: Json) -> list[str]:
    schema = event(document)["requestBody"]["content"]["application/json"]["schema"]
    found: list[str] = schema["properties"]["type"]["enum"]
    return found


def renamed_path(document: Json) -> None:
    item = document["paths"].pop(GET[0])
    for one in item.values():
        one["parameters"] = [{**it, "name": "id"} if it.get("in") == "path" else it for it in one["parameters"]]
    document["paths"]["/v1/messages/{id}"] = item


def by_reference(document: Json) -> None:
    """Write the same in other words."""
    document["components"]["schemas"]["Text"] = shape(document, "NewMessage")["properties"]["body"]
    shape(document, "NewMessage")["properties"]["body"] = {
        "allOf": [{"$ref": "#/components/schemas/Text"}, {"title": "x"}]
    }
    price = shape(document, "Message")["properties"]["price"]
    price["oneOf"] = price.pop("anyOf")[::-1]
    shape(document, "Message")["properties"]["body"] = {"type": ["null", "string"], "description": "the text"}


MUTATIONS: list[tuple[str, Callable[[Json], object], dict[str, Level]]] = [
    # routes, events, servers
    ("a route", lambda d: d["paths"].pop("/v1/opt-outs/{optOutId}"), {"route removed": B}),
    ("a method", lambda d: d["paths"][SEND[0]].pop("post"), {"method removed": B}),
    ("another name in a path", renamed_path, {}),
    ("other words", by_reference, {}),
    ("texts", put(summary="x", description="x", tags=["x"]), {}),
    ("an operation's name", put(operationId="send_sms"), {"operation renamed": R}),
    ("a deprecation", put(deprecated=True), {"operation deprecated": H}),
    ("another upstream", put(**{"x-ghasi-upstream": ["x"]}), {"upstream changed": H}),
    ("a server", lambda d: d["servers"].pop(), {"server removed": R}),
    ("events", lambda d: d["webhooks"].pop("invoice.*"), {"event removed": B}),
    ("an event", lambda d: event_types(d).remove("message.sent"), {"event removed": B}),
    ("a header of events", lambda d: event(d)["parameters"].pop(), {"response header removed": B}),
    # callers, limits, time-outs
    ("API keys", lambda d: operation(d)["security"].pop(), {"auth stricter": B}),
    ("anybody", put(security=[]), {"auth looser": H}),
    ("another scope", put(security=[{"userToken": []}, {"apiKey": ["a"]}]), {"scope stricter": B, "scope looser": H}),
    ("a cookie's name",
     lambda d: d["components"]["securitySchemes"]["refreshCookie"].update(name="x"), {"security scheme changed": B}),
    ("a lower limit", limited(requests=59), {"limit lowered": B}),
    ("a limit per address", limited(per="ip"), {"limit counted otherwise": B}),
    ("a longer window", limited(window_s=120), {"limit lowered": B, "limit counted otherwise": B}),
    ("another group", limited(group="writes"), {"limit shared otherwise": R}),
    ("no limit", lambda d: operation(d).pop("x-ghasi-limit"), {"limit dropped": H}),
    ("less time", put(**{"x-ghasi-timeout-s": 9.5}), {"time-out lowered": B}),
    ("smaller bodies", put(**{"x-ghasi-max-body-bytes": 1024}), {"body size lowered": B}),
    # what is asked
    ("idempotency", lambda d: operation(d).pop("parameters"), {"idempotency taken away": B}),
    ("a filter", lambda d: operation(d, LIST)["parameters"].pop(), {"parameter removed": B}),
    ("a required filter",
     lambda d: operation(d, LIST)["parameters"][0].update(required=True), {"parameter required": B}),
    ("a filter's values",
     lambda d: operation(d, LIST)["parameters"][0]["schema"].update(maximum=99), {"request bound tightened": B}),
    ("the body", lambda d: operation(d).pop("requestBody"), {"required request body removed": B}),
    ("a body that may be there",
     lambda d: operation(d)["requestBody"].update(required=False), {"request body optional": H}),
    ("a field", without("NewMessage", "reference"), {"request field removed": B}),
    ("a field that must be", with_field("NewMessage", required=True), {"request required field added": B}),
    ("a field that may be", with_field("NewMessage", required=False), {"request field added": H}),
    ("one that now must be",
     lambda d: shape(d, "NewMessage")["required"].append("reference"), {"request field required": B}),
    ("shorter texts", field("NewApiKey", "name", maxLength=5), {"request bound tightened": B}),
    ("smaller objects", lambda d: shape(d, "WebhookInput").update(maxProperties=3), {"request bound tightened": B}),
    ("a rule", field("WebhookInput", "events", uniqueItems=True), {"request rule added": B}),
    ("another rule", field("NewInvitation", "email", pattern="@"), {"request rule changed": B}),
    ("a default", field("NewInvitation", "role", default="owner"), {"request default changed": R}),
    ("another type", field("NewMessage", "to", whole={"type": "integer"}), {"request type changed": B}),
    ("one more type",
     field("WebhookInput", "url", type=["string", "array"]), {"request type widened": H}),
    ("an open object",
     lambda d: shape(d, "NewMessage").pop("additionalProperties"), {"request other fields allowed": H}),
    # what is answered
    ("a field of answers", without("Message", "segments"), {"response required field removed": B}),
    ("one more", with_field("Message", required=True), {"response required field added": H}),
    ("perhaps not there",
     lambda d: shape(d, "Message")["required"].remove("segments"), {"response field optional": B}),
    ("null", field("Message", "segments", type=["integer", "null"]), {"response null added": B}),
    ("never null", field("Message", "body", whole={"type": "string"}), {"response null taken away": H}),
    ("a float", field("Message", "segments", whole={"type": "number"}), {"response type widened": B}),
    ("a value", field("Message", "encoding", enum=["gsm7", "ucs2", "ascii"]), {"response value added": R}),
    ("a bound", field("Message", "segments", maximum=10), {"response bound tightened": H}),
    ("one value alone", field("Message", "id", const="a"), {"response values listed": H}),
    ("a status", lambda d: operation(d)["responses"].pop("413"), {"status removed": B}),
    ("the success",
     lambda d: operation(d)["responses"].update({"201": operation(d)["responses"].pop("202")}),
     {"success status removed": B, "success status added": R}),
    ("an error's code", lambda d: problem_codes(d).remove("invalid_number"), {"error code removed": B}),
    ("one more code", lambda d: problem_codes(d).append("odd"), {"error code added": H}),
    ("a header",
     lambda d: operation(d)["responses"]["202"]["headers"].pop("RateLimit-Limit"), {"response header removed": B}),
    ("a header's type",
     lambda d: d["components"]["headers"]["Retry-After"].update(schema={"type": "string"}),
     {"response type changed": B}),
    ("another media type",
     lambda d: operation(d)["responses"]["202"].update(content={"text/csv": {"schema": {"type": "string"}}}),
     {"response media type removed": B, "response media type added": R}),
]  # fmt: skip


def changes(old: Any, new: Any) -> list[Change]:
    return compare(Document(old), Document(new))


def kinds(found: list[Change]) -> dict[str, Level]:
    return {one.kind: one.level for one in found}


def test_a_document_does_not_differ_from_itself() -> None:
    assert changes(WHOLE, copy.deepcopy(WHOLE)) == []
    committed = read(str(Path(__file__).parents[2] / "docs/openapi.json"))
    assert compare(committed, read("current")) == []


@pytest.mark.parametrize(("change", "expected"), [row[1:] for row in MUTATIONS], ids=[row[0] for row in MUTATIONS])
def test_each_change_is_named_and_its_reverse(change: Callable[[Json], object], expected: dict[str, Level]) -> None:
    changed = copy.deepcopy(CURRENT)
    change(changed)
    there, back = changes(CURRENT, changed), changes(changed, CURRENT)
    assert kinds(there) == expected
    assert set(back) == {one.mirrored() for one in there}
    assert [one.level for one in there] == sorted((one.level for one in there), key=list(Level).index)


def test_every_kind_that_the_table_tries_exists_and_reverses() -> None:
    assert all(MIRRORS[MIRRORS[kind]] == kind for kind in LEVELS)
    assert {kind for *_, expected in MUTATIONS for kind in expected} <= set(LEVELS)


def test_a_change_of_a_shape_is_one_with_its_routes() -> None:
    changed = copy.deepcopy(CURRENT)
    without("Message", "segments")(changed)
    [change] = changes(CURRENT, changed)
    assert change.place == "Message.segments"
    assert {"GET /v1/messages", "POST /v1/messages", "event message.*"} <= set(change.routes)


def test_what_a_document_does_not_say_is_not_compared() -> None:
    silent = copy.deepcopy(CURRENT)
    for item in silent["paths"].values():
        for one in item.values():
            one.pop("x-ghasi-limit", None)
            one.pop("x-ghasi-max-body-bytes", None)
    assert changes(CURRENT, silent) == changes(silent, CURRENT) == []


# schemas


leaves = st.one_of(
    st.builds(
        lambda low, high: {"type": "integer", "minimum": low, "maximum": high}, st.integers(-2, 4), st.integers(2, 9)
    ),
    st.builds(lambda length: {"type": "string", "maxLength": length}, st.integers(0, 4)),
    st.lists(st.sampled_from(["a", "b", None, 1]), min_size=1, unique=True).map(lambda values: {"enum": values}),
    st.sampled_from([
        {}, True, {"type": "null"}, {"type": "boolean"}, {"type": ["string", "null"]}, {"type": "number"},
        {"const": "a"}, {"$ref": "#/components/schemas/Node"},
    ]),
)  # fmt: skip


def _objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from("abc")
    return st.builds(
        lambda fields, needed, others: {
            "type": "object", "properties": fields, "required": sorted(needed & fields.keys()),
            "additionalProperties": others,
        },
        st.dictionaries(names, inner, max_size=3), st.sets(names), st.booleans(),
    )  # fmt: skip


schemas = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(lambda items, most: {"type": "array", "items": items, "maxItems": most}, inner, st.integers(0, 3)),
        st.lists(inner, min_size=1, max_size=3).map(lambda choices: {"anyOf": choices}),
        st.lists(inner, min_size=1, max_size=2).map(lambda parts: {"allOf": parts}),
        _objects(inner),
    ),
    max_leaves=6,
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 10), st.just(0.5), st.sampled_from(["", "a", "b", "abcde"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from("abcd"), inner, max_size=3)
    ),
    max_leaves=5,
)  # fmt: skip


def document(schema: Any) -> Json:
    content = {"application/json": {"schema": schema}}
    node = {"type": "object", "properties": {"a": {"$ref": "#/components/schemas/Node"}, "b": {"type": "string"}}}
    return {
        "openapi": "3.1.0",
        "paths": {"/": {"post": {"requestBody": {"content": content}, "responses": {"200": {"content": content}}}}},
        "components": {"schemas": {"Node": node}},
    }


def accepts(schema: Any) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({"allOf": [schema], "components": document(True)["components"]})


def _nudged(schema: Any, by: int) -> Any:
    """The same schema with every bound moved, which allows a little more or less."""
    if isinstance(schema, dict):
        moved = {key: value + by for key, value in schema.items() if key in {"minimum", "maximum"}}
        moved |= {key: max(0, value + by) for key, value in schema.items() if key in {"maxLength", "maxItems"}}
        return {
            key: moved.get(key, value if key in {"enum", "const"} else _nudged(value, by))
            for key, value in schema.items()
        }
    return [_nudged(item, by) for item in schema] if isinstance(schema, list) else schema


pairs = st.one_of(
    st.tuples(schemas, schemas),
    st.tuples(schemas, st.sampled_from([-1, 1])).map(lambda both: (both[0], _nudged(*both))),
    st.tuples(schemas, schemas).map(lambda both: ({"anyOf": [*both]}, both[0])),
)


def _is_new_field(found: list[Change]) -> bool:
    return any(one.kind == "request field added" for one in found)


@settings(max_examples=150)
@given(pairs, st.lists(values, min_size=15, max_size=15))
def test_what_is_no_longer_taken_is_named(pair: tuple[Any, Any], sent: list[Any]) -> None:
    """Against what jsonschema takes; and the two ways round say the same in mirrored words."""
    one, other = pair
    there, back = changes(document(one), document(other)), changes(document(other), document(one))
    assert {change.mirrored() for change in there} == set(back)
    assert changes(document(one), document(copy.deepcopy(one))) == []
    if any(change.kind.startswith("request") and change.level is Level.BREAKING for change in there):
        return
    if _is_new_field(there):  # where others were allowed it may have been another's
        return
    old, new = accepts(one), accepts(other)
    assert [value for value in sent if old.is_valid(value) and not new.is_valid(value)] == []


def test_shapes_that_contain_themselves_are_compared() -> None:
    def nested(**leaf: Any) -> Json:
        made = document({"$ref": "#/components/schemas/Tree"})
        branch = {"allOf": [{"$ref": "#/components/schemas/Tree"}, {"minProperties": 1}]}
        made["components"]["schemas"]["Tree"] = {
            "type": "object",
            "properties": {
                "left": {"$ref": "#/components/schemas/Tree"}, "right": branch, "leaf": {"type": "string", **leaf},
                "all": {"type": "array", "items": {"anyOf": [{"$ref": "#/components/schemas/Tree"}, {"type": "null"}]}},
            },
        }  # fmt: skip
        return made

    assert changes(nested(), nested()) == []
    found = {(one.kind, one.place) for one in changes(nested(), nested(maxLength=3))}
    assert ("request bound tightened", "Tree.leaf maxLength") in found


# documents


@pytest.mark.parametrize(
    "broken",
    [
        [],
        {},
        {"openapi": "3.1.0", "paths": []},
        {"swagger": "2.0", "paths": {}},
        {"openapi": "3.1.0", "paths": {"/v1/messages": {"get": {"parameters": [{"$ref": "#/nowhere"}]}}}},
        {"openapi": "3.1.0", "paths": {"/v1/messages": {"$ref": "#/paths/~1v1~1messages"}}},
        {"openapi": "3.1.0", "paths": {"/v1/messages": {"post": {"x-ghasi-limit": {"requests": "many"}}}}},
        {"openapi": "3.1.0", "paths": {"/v1/messages": {"post": {"responses": {"202": {"$ref": "other.json"}}}}}},
        {"openapi": "3.1.0", "paths": {"/v1/messages": {"post": {"parameters": 3}}}},
    ],
)
def test_what_is_no_contract_is_refused(broken: Any) -> None:
    with pytest.raises(DocumentUnreadable):
        changes(broken, CURRENT)


def test_the_command_says_by_its_status_whether_something_breaks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = copy.deepcopy(WHOLE)
    limited(requests=61)(changed)
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(changed))
    assert run(["contract", "diff", str(file)]) == 1
    output = capsys.readouterr().out
    assert "limit lowered" in output
    assert "61 per account in 60 s" in output
    assert output.endswith("1 breaking, 0 risky, 0 harmless\n")
    assert run(["contract", "diff", "current", str(file), "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert (row["level"], row["change"], row["routes"]) == ("harmless", "limit raised", ["POST /v1/messages"])
    field("Message", "encoding", enum=["gsm7", "ucs2", "ascii"])(changed)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(changed).encode())))
    assert run(["contract", "diff", "current", "-"]) == 0
    file.write_text(json.dumps(changed))
    assert run(["contract", "diff", "current", str(file), "--strict"]) == 1
    assert run(["contract", "diff", "current", "current"]) == 0
    capsys.readouterr()
    file.write_text("{")
    for unreadable in (str(file), str(tmp_path / "none.json"), "http://127.0.0.1:9/openapi.json", str(tmp_path)):
        assert run(["contract", "diff", unreadable]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert unreadable in captured.err
