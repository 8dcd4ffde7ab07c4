"""What comes in from outside: any bytes are a shape or a problem with a code, never anything else."""

import json
from typing import get_args

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ghasi.contract import shapes
from ghasi.contract.decoding import decode_body, decode_query
from ghasi.contract.errors import CODES, Problem
from ghasi.contract.table import INTERNAL, ROWS
from ghasi.contract.values import first_id, rfc3339

BODIES = sorted({row.body for row in ROWS + INTERNAL if row.body}, key=lambda shape: shape.__name__)
QUERIES = sorted({row.query for row in ROWS if row.query}, key=lambda shape: shape.__name__)
NAMES = sorted({field.encode_name for shape in BODIES + QUERIES for field in msgspec.structs.fields(shape)})
MESSAGE = {"to": "+93701234567", "body": "hello"}

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=30),
    st.sampled_from(["2026-11-22T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "message.*",
                     "messages:send", "\x00", "+93701234567", "1969-12-31T23:59:59Z", "2026-11-22T00:00:00"]),
)  # fmt: skip
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner))
documents = st.dictionaries(st.sampled_from([*NAMES, "unknown"]), values, max_size=8).map(
    lambda value: json.dumps(value).encode()
)


def problem_of(raw: bytes, shape: type[shapes.Input], decode=decode_body) -> Problem:
    with pytest.raises(Problem) as raised:
        decode(raw, shape)
    return raised.value


def moments(value: shapes.Input):
    return [item for item in msgspec.structs.astuple(value) if hasattr(item, "tzinfo")]


def assert_decodes(raw: bytes, shape: type[shapes.Input], decode) -> None:
    problem = None
    try:
        value = decode(raw, shape)
    except Problem as raised:
        problem = raised
    if problem is not None:
        assert problem.code in {"invalid_json", "invalid_request"}
        assert problem.status == CODES[problem.code].status
        msgspec.json.encode(problem.body("r"))  # whatever came in, the answer can be sent
        assert all(fault.message for fault in problem.errors)
        return
    assert isinstance(value, shape)
    assert "\0" not in str(msgspec.to_builtins(value))
    for moment in moments(value):  # what passes can be written, and asked of the database
        rfc3339(moment)
        first_id(moment)


@given(st.sampled_from(BODIES), st.one_of(st.binary(max_size=200), documents))
@example(shapes.NewMessage, b"")
@example(shapes.NewMessage, b"null")
@example(shapes.NewMessage, b'{"to":"\xff","body":"x"}')
@example(shapes.NewMessage, b'{"to":"\\ud800","body":"x"}')
@example(shapes.NewMessage, b'{"to":"\\udc00\\ud800","body":"x"}')
@example(shapes.NewMessage, b'{"to":"+93701234567","body":"x","validity_s":' + b"9" * 5000 + b"}")
@example(shapes.NewMessage, b'{"to":"+93701234567","body":"x","validity_s":1e999}')
@example(shapes.NewMessage, b'{"to":"+93701234567","body":"x","send_at":"0001-01-01T00:00:00+14:00"}')
@example(shapes.NewMessage, b"[" * 100_000)
@example(shapes.NewMessage, b'{"a":' * 100_000)
@example(shapes.WebhookInput, b'{"url":"x","events":["*"],"headers":' + b'{"a":' * 100_000)
@example(shapes.WebhookInput, b'{"url":"x","events":' + b"[" * 100_000 + b"]" * 100_000 + b"}")
@example(shapes.NewMessage, b"\xef\xbb\xbf{}")
def test_any_body_is_a_shape_or_a_problem(shape: type[shapes.Input], raw: bytes) -> None:
    assert_decodes(raw, shape, decode_body)


@given(
    st.sampled_from(QUERIES),
    st.one_of(
        st.binary(max_size=100),
        st.lists(st.tuples(st.sampled_from([*NAMES, "unknown"]), st.text(max_size=20)), max_size=4).map(
            lambda pairs: "&".join(f"{name}={value}" for name, value in pairs).encode()
        ),
    ),
)
@example(shapes.MessageQuery, b"limit=" + b"9" * 5000)
@example(shapes.MessageQuery, b"created_after=0001-01-01T00:00:00%2B14:00")
@example(shapes.MessageQuery, b"created_after=9999-12-31T23:59:59-14:00")
@example(shapes.MessageQuery, b"created_before=1969-12-31T23:59:59Z")
@example(shapes.UsageQuery, b"from=-1")
@example(shapes.UsageQuery, b"to=1e300")
def test_any_query_is_a_shape_or_a_problem(shape: type[shapes.Input], raw: bytes) -> None:
    assert_decodes(raw, shape, decode_query)


@pytest.mark.parametrize(
    ("raw", "code", "field"),
    [
        (b"", "invalid_json", None),
        (b"hello", "invalid_json", None),
        (b'{"to":"\xff","body":"x"}', "invalid_json", None),
        (b'{"to":"\\ud800","body":"x"}', "invalid_json", None),
        (b'{"to":"+93701234567","body":"x"} x', "invalid_json", None),
        (b'{"to":' + b"[" * 5000 + b"]" * 5000 + b"}", "invalid_request", "to"),
        (b"[]", "invalid_request", "$"),
        (b'{"to":"+93701234567"}', "invalid_request", "body"),
        (b'{"to":1,"body":"x"}', "invalid_request", "to"),
        (b'{"to":"+93701234567","body":""}', "invalid_request", "body"),
        (b'{"to":"+93701234567","body":"x","colour":"red"}', "invalid_request", "colour"),
        (b'{"to":"+93701234567","body":"x","sender":"Bakery"}', "invalid_request", "sender"),
        (b'{"to":"+93701234567","body":"a\\u0000b"}', "invalid_request", "body"),
        (b'{"to":"+93701234567","body":"x","send_at":"2026-11-22T00:00:00"}', "invalid_request", "send_at"),
        (b'{"to":"+93701234567","body":"x","send_at":"0001-01-01T00:00:00+14:00"}', "invalid_request", "send_at"),
        (b'{"to":"+93701234567","body":"x","validity_s":59}', "invalid_request", "validity_s"),
    ],
)
def test_a_bad_message_is_named_by_code_and_field(raw: bytes, code: str, field: str | None) -> None:
    problem = problem_of(raw, shapes.NewMessage)
    assert problem.code == code
    assert [fault.field for fault in problem.errors] == ([] if field is None else [field])


def test_nul_is_refused_in_lists_and_keys_too() -> None:
    for body in ({"url": "x", "events": ["*"], "headers": {"a\0": "b"}},
                 {"url": "x", "events": ["*"], "headers": {"a": "b\0"}}):  # fmt: skip
        assert problem_of(json.dumps(body).encode(), shapes.WebhookInput).code == "invalid_request"


def test_a_backslash_before_u0000_is_text() -> None:
    assert decode_body(rb'{"to":"+93701234567","body":"a\\u0000b"}', shapes.NewMessage).body == r"a\u0000b"


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b"limit=0", "limit"),
        (b"limit=101", "limit"),
        (b"limit=ten", "limit"),
        (b"limit=1&limit=1", "limit"),
        (b"colour=red", "colour"),
        (b"status=lost", "status"),
        (b"reference=a%00b", "reference"),
        (b"cursor=", "cursor"),
        (b"created_after=yesterday", "created_after"),
        (b"created_before=2026-11-22T00:00:00", "created_before"),
        (b"created_after=1795826691", "created_after"),
        (b"created_after=123e-5", "created_after"),
        (b"created_after=null", "created_after"),
        (b"status=null", "status"),
        (b"sender=Bakery", "sender"),
    ],
)
def test_a_bad_query_names_its_parameter(raw: bytes, field: str) -> None:
    problem = problem_of(raw, shapes.MessageQuery, decode_query)
    assert problem.code == "invalid_request"
    assert problem.errors[0].field == field


@pytest.mark.parametrize("raw", [b"reference=%ff", b"reference=\xff"])
def test_a_query_that_is_not_percent_encoded_utf8_is_refused(raw: bytes) -> None:
    assert problem_of(raw, shapes.MessageQuery, decode_query).code == "invalid_request"


def test_good_input_passes() -> None:
    body = decode_body(json.dumps(MESSAGE | {"from": "Bakery", "validity_s": 60}).encode(), shapes.NewMessage)
    assert (body.to, body.sender, body.validity_s) == ("+93701234567", "Bakery", 60)
    query = decode_query(b"limit=7&status=sent&from=Bakery&created_after=2026-11-22T00:00:00Z", shapes.MessageQuery)
    assert (query.limit, query.status, query.sender) == (7, "sent", "Bakery")
    assert decode_query(b"", shapes.PageQuery).limit == 50
    assert decode_query(b"reference=null&from=null", shapes.MessageQuery).reference == "null"


def test_an_omitted_webhook_field_is_told_from_null() -> None:
    omitted = decode_body(b'{"url":"https://example.com","events":["*"]}', shapes.WebhookInput)
    null = decode_body(b'{"url":"https://example.com","events":["*"],"description":null}', shapes.WebhookInput)
    assert omitted.description is msgspec.UNSET
    assert null.description is None
    assert set(get_args(shapes.Scope)) == set(shapes.SCOPES)


def test_times_in_lists_are_held_to_the_calendar_too() -> None:
    far = b'{"messages": [{"to": "+93701234567", "body": "x", "send_at": "0999-12-31T23:59:59+00:00"}]}'
    with pytest.raises(Problem) as refused:
        decode_body(far, shapes.NewBatch)
    assert [error.field for error in refused.value.errors] == ["send_at"]
    good = b'{"messages": [{"to": "+93701234567", "body": "x", "send_at": "2026-12-31T23:59:59+00:00"}]}'
    assert decode_body(good, shapes.NewBatch).messages is not None
