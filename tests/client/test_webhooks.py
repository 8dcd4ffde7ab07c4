"""Verification of webhooks, held against the reference library."""

import base64
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import Message
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from standardwebhooks.webhooks import Webhook

from ghasi.client.webhooks import VerificationError, verify

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
OTHER = "whsec_" + base64.b64encode(b"o" * 32).decode()
BODY = {"type": "message.delivered", "timestamp": "2026-11-22T18:00:00.000Z", "data": {"id": "1"}}
PAYLOAD = json.dumps(BODY).encode()


def signed(secret: str = SECRET, *, payload: bytes = PAYLOAD, age_s: float = 0) -> dict[str, str]:
    at = datetime.fromtimestamp(int(time.time() - age_s), UTC)
    return {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign("evt_1", at, payload.decode()),
    }


@given(st.binary(min_size=1, max_size=64), st.dictionaries(st.text(), st.text()))
def test_it_agrees_with_the_reference(key: bytes, data: dict[str, str]) -> None:
    secret = "whsec_" + base64.b64encode(key).decode()
    payload = json.dumps(data).encode()
    assert verify(payload, signed(secret, payload=payload), secret) == data


@pytest.mark.parametrize("case", [str.lower, str.upper, str.title, str.swapcase])
def test_header_names_in_any_case(case: Callable[[str], str]) -> None:
    assert verify(PAYLOAD, {case(name): value for name, value in signed().items()}, SECRET) == BODY


def test_headers_as_servers_give_them() -> None:
    parsed = Message()
    for name, value in signed().items():
        parsed[name.title()] = value
    assert verify(PAYLOAD, parsed, SECRET) == BODY  # http.server's
    assert verify(PAYLOAD, CIMultiDict(signed()), SECRET) == BODY  # aiohttp's


@pytest.mark.parametrize("payload", [PAYLOAD, bytearray(PAYLOAD), memoryview(PAYLOAD), PAYLOAD.decode()])
def test_the_body_as_bytes_or_text(payload: Any) -> None:
    assert verify(payload, signed(), SECRET) == BODY


def test_text_is_utf_8() -> None:
    payload = json.dumps({"data": "سلام 🥖"}, ensure_ascii=False)
    headers = signed(payload=payload.encode())
    assert verify(payload, headers, SECRET) == verify(payload.encode(), headers, SECRET) == {"data": "سلام 🥖"}
    for other in (payload.encode("utf-16"), payload.encode() + b"\n", json.dumps(json.loads(payload))):
        with pytest.raises(VerificationError, match="no signature"):
            verify(other, headers, SECRET)


@pytest.mark.parametrize("first", [SECRET, OTHER])
def test_while_our_secret_is_being_replaced_either_verifies(first: str) -> None:
    """Both signatures come, in either order; the receiver has the old secret or the new one."""
    second = OTHER if first == SECRET else SECRET
    headers = signed(first)
    headers["webhook-signature"] += " " + signed(second)["webhook-signature"]
    for secret in (SECRET, OTHER, [SECRET, OTHER], (OTHER,)):
        assert verify(PAYLOAD, headers, secret) == BODY


def test_several_secrets_while_the_receivers_own_are_being_replaced() -> None:
    assert verify(PAYLOAD, signed(), [OTHER, SECRET.removeprefix("whsec_")]) == BODY
    assert verify(PAYLOAD, signed(), (secret for secret in (OTHER, SECRET))) == BODY
    with pytest.raises(VerificationError, match="no signature"):
        verify(PAYLOAD, signed(), [OTHER, OTHER])


def test_signatures_of_other_versions_are_passed_over() -> None:
    headers = signed()
    right = headers["webhook-signature"]
    for others in ("v1a,x", "v1a," + right.removeprefix("v1,"), "v2,x v1a,y", "v1", "v1,", ",", "x", "v1,a,b"):
        assert verify(PAYLOAD, headers | {"webhook-signature": f"{others} {right}"}, SECRET) == BODY
        assert verify(PAYLOAD, headers | {"webhook-signature": f"{right}  {others}"}, SECRET) == BODY
        with pytest.raises(VerificationError, match="no signature"):
            verify(PAYLOAD, headers | {"webhook-signature": others}, SECRET)
    for version in ("v1a", "v2", "V1", "v10", ""):
        with pytest.raises(VerificationError, match="no signature"):
            verify(PAYLOAD, headers | {"webhook-signature": right.replace("v1,", f"{version},")}, SECRET)


@pytest.mark.parametrize(
    ("payload", "changes", "secret", "why"),
    [
        (PAYLOAD + b" ", {}, SECRET, "no signature matches"),
        (PAYLOAD, {}, OTHER, "no signature matches"),
        (PAYLOAD, {}, [], "no signature matches"),
        (PAYLOAD, {"webhook-id": "evt_2"}, SECRET, "no signature matches"),
        (PAYLOAD, {"webhook-signature": ""}, SECRET, "no signature matches"),
        (PAYLOAD, {"webhook-signature": "v1,é"}, SECRET, "no signature matches"),
        (PAYLOAD, {"webhook-signature": "v1,\udcff"}, SECRET, "no signature matches"),
        (PAYLOAD, {"webhook-id": "\udcff"}, SECRET, "no signature matches"),
        ("\udcff", {}, SECRET, "no signature matches"),
        (b"", {}, SECRET, "no signature matches"),
        (PAYLOAD, {"webhook-timestamp": ""}, SECRET, "not a Unix time"),
        (PAYLOAD, {"webhook-timestamp": "-1"}, SECRET, "not a Unix time"),
        (PAYLOAD, {"webhook-timestamp": "1e9"}, SECRET, "not a Unix time"),
        (PAYLOAD, {"webhook-timestamp": "soon"}, SECRET, "not a Unix time"),
        (PAYLOAD, {"webhook-timestamp": "²"}, SECRET, "not a Unix time"),
        (PAYLOAD, {"webhook-timestamp": "9" * 5000}, SECRET, "not a Unix time"),
    ],
)
def test_refusals(payload: bytes | str, changes: dict[str, str], secret: str | list[str], why: str) -> None:
    with pytest.raises(VerificationError, match=why):
        verify(payload, signed() | changes, secret)


@pytest.mark.parametrize("age_s", [310, -310])
def test_old_and_future_ones_are_refused(age_s: float) -> None:
    with pytest.raises(VerificationError, match="300 s away"):
        verify(PAYLOAD, signed(age_s=age_s), SECRET)
    assert verify(PAYLOAD, signed(age_s=age_s), SECRET, tolerance_s=600) == BODY
    assert verify(PAYLOAD, signed(age_s=age_s), SECRET, tolerance_s=float("inf")) == BODY
    for tolerance_s in (0, -1, 300, float("nan")):
        with pytest.raises(VerificationError, match="s away"):
            verify(PAYLOAD, signed(age_s=age_s), SECRET, tolerance_s=tolerance_s)


@pytest.mark.parametrize("age_s", [290, -290])
def test_clocks_may_differ_a_little(age_s: float) -> None:
    assert verify(PAYLOAD, signed(age_s=age_s), SECRET) == BODY


def test_missing_headers_are_named() -> None:
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        headers = signed()
        del headers[name]
        with pytest.raises(VerificationError, match=name):
            verify(PAYLOAD, headers, SECRET)


@pytest.mark.parametrize("payload", [b"text", b"[1]", b"[" * 100_000, b"null", b'"x"'])
def test_bodies_that_are_no_object(payload: bytes) -> None:
    with pytest.raises(VerificationError, match="JSON"):
        verify(payload, signed(payload=payload), SECRET)


@pytest.mark.parametrize(
    "secret", ["whsec_!", "whsec_a", "", "whsec_", f"{SECRET}\n", f" {SECRET}", "whsec_é", ["whsec_"]]
)
def test_a_malformed_secret_is_the_callers_fault(secret: str | list[str]) -> None:
    """An empty one above all: a variable that is not set must not let everybody in."""
    with pytest.raises(ValueError, match="a webhook secret is"):
        verify(PAYLOAD, signed(), secret)
