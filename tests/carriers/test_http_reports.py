"""Callbacks of carriers over HTTP, without a server: what proves them, and what is read in them."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghasi.carriers.http.configuration import ReceiptRules
from ghasi.carriers.http.reports import UnreadableReportError, proves_itself, read_reports
from ghasi.carriers.http.template import MissingVariableError

SECRET = "hunter2-hunter2"
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def rules(**fields: Any) -> ReceiptRules:
    table = {
        "secret": SECRET, "verify": "header:X-Secret", "id": "/id", "status": "/status",
        "states": {"delivered": "delivered", "failed": "undelivered", "gone": "expired", "queued": "accepted"},
    }  # fmt: skip
    return msgspec.convert(table | fields, ReceiptRules)


def sign(body: bytes, secret: str = SECRET, method: str = "sha256") -> bytes:
    return hmac.new(secret.encode(), body, getattr(hashlib, method)).digest()


def test_a_header_proves_itself_by_the_secret() -> None:
    given_headers = [(b"host", b"x"), (b"x-secret", SECRET.encode())]
    assert proves_itself(rules(), given_headers, b"", b"")
    for wrong in ([], [(b"x-secret", b"")], [(b"x-secret", b"hunter2-hunter3")], [(b"x-secret", b"\xff\xfe")]):
        assert not proves_itself(rules(), wrong, SECRET.encode(), SECRET.encode())


def test_a_query_proves_itself_by_the_secret() -> None:
    asked = rules(verify="query:token", secret="a b/ü+12")
    assert proves_itself(asked, [], b"x=1&token=a%20b%2F%C3%BC%2B12", b"")
    for wrong in (b"", b"token=", b"token=a", b"token=%ff", b"\xff", b"tokens=a%20b%2F%C3%BC%2B12", b"a=1&" * 2000):
        assert not proves_itself(asked, [], wrong, b"")


@pytest.mark.parametrize("method", ["sha256", "sha512"])
def test_a_signature_covers_the_body(method: str) -> None:
    body = b'{"id": "1"}'
    digest = sign(body, method=method)
    in_hex = rules(verify=f"hmac-{method}:X-Signature", signature_prefix="v1=")
    in_base64 = rules(verify=f"hmac-{method}:X-Signature", signature="base64")
    for text in (digest.hex(), digest.hex().upper()):
        assert proves_itself(in_hex, [(b"x-signature", b"v1=" + text.encode())], b"", body)
    assert proves_itself(in_base64, [(b"x-signature", base64.b64encode(digest))], b"", body)
    assert not proves_itself(in_hex, [(b"x-signature", b"v1=" + digest.hex().encode())], b"", body + b" ")
    other = sign(body, "another secret", method)
    for wrong in (digest.hex().encode(), b"v1=", b"v1=zz", b"v1=\xff", b"v1=" + other.hex().encode(), b"v1=" + digest):
        assert not proves_itself(in_hex, [(b"x-signature", wrong)], b"", body)
    for wrong in (b"", b"=", b"!!!", base64.b64encode(other)):
        assert not proves_itself(in_base64, [(b"x-signature", wrong)], b"", body)
    assert not proves_itself(in_hex, [], b"", body)


def test_a_secret_may_be_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = rules(secret="env:GHASI_TEST_SECRET")
    monkeypatch.setenv("GHASI_TEST_SECRET", SECRET)
    assert proves_itself(asked, [(b"x-secret", SECRET.encode())], b"", b"")
    for value in ("", None):  # an empty one would be proved by an empty header
        monkeypatch.delenv("GHASI_TEST_SECRET") if value is None else monkeypatch.setenv("GHASI_TEST_SECRET", value)
        with pytest.raises(MissingVariableError, match="GHASI_TEST_SECRET"):
            proves_itself(asked, [(b"x-secret", b"")], b"", b"")


def test_one_receipt() -> None:
    body = msgspec.json.encode({"id": 7, "status": "failed", "error": {"code": 31}, "text": "no\nsuch"})
    asked = rules(error="/error/code", detail="/text", errors={"31": "absent_subscriber"})
    [receipt] = read_reports("agg", asked, b"", body, NOW).receipts
    assert (receipt.carrier, receipt.carrier_message_id, receipt.state, receipt.at) == ("agg", "7", "undelivered", NOW)
    assert (receipt.error_code, receipt.detail) == ("absent_subscriber", "failed err 31 nosuch")


@pytest.mark.parametrize(
    ("status", "state", "code"),
    [
        ("delivered", "delivered", None), ("failed", "undelivered", "undeliverable"), ("gone", "expired", "expired"),
        ("queued", "accepted", None), ("surprise", "unknown", "delivery_unknown"),
    ],
)  # fmt: skip
def test_states_have_their_usual_codes(status: str, state: str, code: str | None) -> None:
    [receipt] = read_reports("agg", rules(), b"", msgspec.json.encode({"id": "1", "status": status}), NOW).receipts
    assert (receipt.state, receipt.error_code) == (state, code)


def test_a_list_of_receipts_and_the_more_telling_word() -> None:
    asked = rules(
        list="/results", id="/messageId", status=["/status/name", "/status/groupName"],
        states={"DELIVERED": "delivered", "REJECTED": "failed", "EXPIRED_NOW": "expired", "EXPIRED": "undelivered"},
        errors={"REJECTED_PREFIX": "no_route", "EXPIRED": "network_error"}, other_state="accepted",
    )  # fmt: skip
    entries = [
        {"messageId": "a", "status": {"name": "DELIVERED_TO_HANDSET", "groupName": "DELIVERED"}},
        {"messageId": "b", "status": {"name": "REJECTED_PREFIX", "groupName": "REJECTED"}},
        {"messageId": "c", "status": {"name": "EXPIRED_NOW", "groupName": "EXPIRED"}},
        {"messageId": "d", "status": {"name": "X", "groupName": "Y"}},
        {"messageId": None, "status": {"name": "X"}}, {"status": {"name": "X"}}, 5, None, [], {"messageId": "e"},
        {"messageId": "\0", "status": {"name": "X"}}, {"messageId": "", "status": {"name": "X"}},
        {"messageId": "x" * 256, "status": {"name": "X"}},
    ]  # fmt: skip
    reports = read_reports("agg", asked, b"", msgspec.json.encode({"results": entries}), NOW)
    assert [(one.carrier_message_id, one.state, one.error_code) for one in reports.receipts] == [
        ("a", "delivered", None), ("b", "failed", "no_route"), ("c", "expired", "network_error"),
        ("d", "accepted", None),
    ]  # fmt: skip
    assert reports.unreadable == 9
    assert read_reports("agg", asked, b"", b'{"results": []}', NOW).receipts == []


def test_forms_and_queries() -> None:
    fields = b"status=delivered&id=a%2Bb+c&id=second"
    [receipt] = read_reports("agg", rules(format="form"), b"", fields, NOW).receipts
    assert (receipt.carrier_message_id, receipt.state) == ("a+b c", "delivered")
    [receipt] = read_reports("agg", rules(format="query"), fields, b"{}", NOW).receipts
    assert receipt.carrier_message_id == "a+b c"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b"null", b"[]", b"1", b"{}", b'{"id": "1"}', b'{"status": "x"}', b'{"id": [], "status": {}}',
     b"[" * 100_000, b'{"a":' * 40_000],
)  # fmt: skip
def test_what_has_no_receipt_is_unreadable(body: bytes) -> None:
    for asked in (rules(), rules(format="form"), rules(list="/results")):
        with pytest.raises(UnreadableReportError) as refused:
            read_reports("agg", asked, b"", body, NOW)
        assert "status" in str(refused.value) or "JSON" in str(refused.value) or "list" in str(refused.value)


@given(st.binary(max_size=200), st.binary(max_size=50), st.sampled_from(["json", "form", "query"]))
def test_nothing_that_comes_breaks_the_reading(body: bytes, query: bytes, form: str) -> None:
    asked = rules(format=form, verify="query:token")
    assert not proves_itself(asked, [], query, body)
    try:
        reports = read_reports("agg", asked, query, body, NOW)
    except UnreadableReportError:
        return
    for receipt in reports.receipts:
        assert receipt.carrier_message_id.isprintable()


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "status", "x"]), inner),
    max_leaves=12,
)


@given(JSON)
def test_no_json_breaks_the_reading(document: Any) -> None:
    try:
        encoded = msgspec.json.encode(document)
    except (OverflowError, UnicodeEncodeError):
        return
    for asked in (rules(), rules(list=""), rules(list="/x"), rules(id="", status="")):
        try:
            reports = read_reports("agg", asked, b"", encoded, NOW)
        except UnreadableReportError:
            continue
        assert all("\0" not in f"{one.carrier_message_id}{one.detail}" for one in reports.receipts)
