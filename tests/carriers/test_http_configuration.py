"""A carrier of kind http as carriers.toml has it: what is refused, and that no error and no repr has a secret."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghasi.carriers.http.configuration import HttpConfiguration
from ghasi.carriers.http.pointer import find_value, find_word, parse_pointer
from ghasi.carriers.http.template import LEFT_OUT, MissingVariableError, check_template, compile_template
from ghasi.gateway.headers import HOP_BY_HOP, read_headers
from tests.carriers.aggregator import configured

HTTPS = "https://api.example.com/sms"
RECEIPTS: dict[str, Any] = {
    "secret": "s3cret-s3cret", "verify": "header:X-Secret", "id": "/id", "status": "/status",
    "states": {"ok": "delivered"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"url": "ftp://api.example.com"}, "`url`"),
        ({"url": "http://api.example.com/sms"}, "insecure_http"),
        ({"url": "https://user:hunter2@api.example.com/"}, "`basic`"),
        ({"url": "https://api.example.com:99999/"}, "`url`"),
        ({"url": "https://api.example.com/ a"}, "`url`"),
        ({"url": "https://api.example.com/#x"}, "fragment"),
        ({"url": "http://127.0.0.1/", "tls_ca_file": "a.pem"}, "`tls_ca_file`"),
        ({"method": "DELETE"}, "$.method"),
        ({"method": "GET"}, "`method`"),
        ({"headers": {"X Y": "1"}}, "`headers`"),
        ({"headers": {"Host": "other"}}, "`headers`"),
        ({"headers": {"X": "a\r\nB: c"}}, "`headers`"),
        ({"headers": {"X": "{text}"}}, "`headers`"),
        ({"headers": {"Authorization": "x"}, "bearer": "hunter2"}, "only one of"),
        ({"bearer": "hunter2", "basic": {"user": "u", "password": "hunter2"}}, "only one of"),
        ({"idempotency_header": "a b"}, "`idempotency_header`"),
        ({"body": {"a": "{nobody}"}}, "{nobody} is no placeholder"),
        ({"body": {"a": "{to"}}, "brace"),
        ({"body": {"a": "}"}}, "brace"),
        ({"body": {"a": "{text:number}"}}, "is no number"),
        ({"body": {"a": "x{segments:number}"}}, "stands alone"),
        ({"content_type": "form", "body": {"a": {"b": "c"}}}, "`body`"),
        ({"timeout_s": 11}, "$.timeout_s"),
        ({"window": 0}, "$.window"),
        ({"answer": {"id": "id"}}, "`id`"),
        ({"answer": {"id": "/a~2"}}, "`id`"),
        ({"answer": {"values": {"a": "accepted"}}}, "`values`"),
        ({"answer": {"status": "/s", "values": {"a": "perhaps"}}}, "'perhaps' is no meaning"),
        ({"answer": {"statuses": {"teapot": "refused"}}}, "`statuses`"),
        ({"answer": {"surprise": 1}}, "surprise"),
        ({"receipts": RECEIPTS | {"secret": "short"}}, "$.receipts.secret"),
        ({"receipts": RECEIPTS | {"verify": "cookie:x"}}, "`verify`"),
        ({"receipts": RECEIPTS | {"verify": "header:a b"}}, "`verify`"),
        ({"receipts": RECEIPTS | {"verify": "hmac-sha256:X-Signature", "format": "query"}}, "in the query"),
        ({"receipts": RECEIPTS | {"verify": "header:X-Forwarded-Secret"}}, "gateway drops"),
        ({"receipts": RECEIPTS | {"verify": "hmac-sha256:x_ghasi_signature"}}, "gateway drops"),
        ({"receipts": RECEIPTS | {"states": {"ok": "arrived"}}}, "$.receipts.states"),
        ({"receipts": RECEIPTS | {"errors": {"1": "no_such_code"}}}, "`errors`"),
        ({"receipts": RECEIPTS | {"status": []}}, "$.receipts.status"),
        ({"receipts": RECEIPTS | {"list": "results"}}, "`list`"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_with_its_key(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        configured(fields.pop("url", HTTPS), **fields)
    assert said in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://[::1]:1/", "http://localhost/x?a=b", HTTPS])
def test_only_loopback_goes_without_tls(url: str) -> None:
    assert configured(url).url == url
    assert configured("http://10.0.0.1/", insecure_http=True)


def test_no_repr_has_a_secret() -> None:
    configuration = configured(
        HTTPS + "?key=hunter2", headers={"X": "hunter2"}, basic={"user": "u", "password": "hunter2"},
        receipts=RECEIPTS | {"secret": "hunter2hunter2"},
    )  # fmt: skip
    assert "hunter2" not in f"{configuration!r} {configuration.receipts!r} {configuration.basic!r}"


VALUES: dict[str, str | int | None] = {
    "to": "+1", "from": None, "text": 'a"},{"b', "id": "x", "segments": 2, "validity_s": None,
}  # fmt: skip


@pytest.mark.parametrize("name", ["X-Secret", "Authorization", "X-Hub-Signature", "Digest", "traceparent"])
def test_a_proof_is_in_a_header_that_the_gateway_lets_through(name: str) -> None:
    passed = read_headers([(name.lower().encode(), b"s")]).kept
    assert passed == [(name.lower().encode(), b"s")]
    assert configured(HTTPS, receipts=RECEIPTS | {"verify": f"header:{name}"})


@pytest.mark.parametrize("name", [*sorted(HOP_BY_HOP - {b"connection"}), b"x-kong-x", b"x-account-id", b"host"])
def test_a_proof_is_in_no_header_that_the_gateway_drops(name: bytes) -> None:
    assert read_headers([(name, b"1")]).kept == []
    with pytest.raises(msgspec.ValidationError, match="gateway drops"):
        configured(HTTPS, receipts=RECEIPTS | {"verify": f"header:{name.decode()}"})


def test_templates_are_filled_by_structure() -> None:
    source = {
        "a": "{text}", "b": ["to {to}{from}", "{from}", {"c": "{segments}", "d": "{segments:number}"}], "e": 1.5,
        "f": True, "g": "{{{to}}}", "h": "{validity_s:number}", "i": "{from}",
    }  # fmt: skip
    assert compile_template(source)(VALUES) == {
        "a": 'a"},{"b', "b": ["to +1", {"c": "2", "d": 2}], "e": 1.5, "f": True, "g": "{+1}",
    }  # fmt: skip
    assert compile_template("{from}")(VALUES) is LEFT_OUT


def test_secrets_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GHASI_TEST_KEY", "k{e}y")
    assert compile_template({"a": "env:GHASI_TEST_KEY", "b": "App {env:GHASI_TEST_KEY}"})({}) == {
        "a": "k{e}y", "b": "App k{e}y",
    }  # fmt: skip
    monkeypatch.delenv("GHASI_TEST_KEY")
    check_template("env:GHASI_TEST_KEY")
    with pytest.raises(MissingVariableError, match="GHASI_TEST_KEY"):
        compile_template("App {env:GHASI_TEST_KEY}")


@given(st.text())
def test_no_text_becomes_structure(text: str) -> None:
    filled = compile_template({"a": "{text}", "b": ["x{text}"]})({"text": text})
    assert filled == {"a": text, "b": ["x" + text]}


@given(st.text())
def test_any_literal_can_be_written(text: str) -> None:
    assert compile_template("x" + text.replace("{", "{{").replace("}", "}}"))({}) == "x" + text


# the examples of RFC 6901, section 5
DOCUMENT = {
    "foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, 'k"l': 6, " ": 7, "m~n": 8,
}  # fmt: skip


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("", DOCUMENT), ("/foo", ["bar", "baz"]), ("/foo/0", "bar"), ("/", 0), ("/a~1b", 1), ("/c%d", 2), ("/e^f", 3),
        ("/g|h", 4), ("/i\\j", 5), ('/k"l', 6), ("/ ", 7), ("/m~0n", 8), ("/foo/2", None), ("/foo/-", None),
        ("/foo/00", None), ("/foo/0/x", None), ("/nothing/there", None),
    ],
)  # fmt: skip
def test_pointers(pointer: str, value: Any) -> None:
    assert find_value(DOCUMENT, parse_pointer(pointer)) == value


def test_words_are_scalars() -> None:
    document = {"a": True, "b": 12345678901234567890, "c": 1.5, "d": None, "e": [], "f": "x"}
    assert [find_word(document, (name,)) for name in "abcdef"] == [
        "true", "12345678901234567890", "1.5", None, None, "x",
    ]  # fmt: skip


def test_the_fields_are_known_by_their_names() -> None:
    assert {"tls_ca_file", "receipts", "idempotency_header"} <= set(HttpConfiguration.__struct_fields__)
