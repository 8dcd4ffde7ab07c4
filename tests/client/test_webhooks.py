"""Verification of webhooks, held against the reference library."""

import base64
import json
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
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


def test_header_names_in_any_case() -> None:
    assert verify(PAYLOAD, {name.title(): value for name, value in signed().items()}, SECRET) == BODY


def test_several_signatures_and_several_secrets() -> None:
    headers = signed()
    headers["webhook-signature"] = f"v1a,x {signed(OTHER)['webhook-signature']} {headers['webhook-signature']}"
    assert verify(PAYLOAD, headers, SECRET) == BODY
    assert verify(PAYLOAD, signed(), [OTHER, SECRET.removeprefix("whsec_")]) == BODY


@pytest.mark.parametrize(
    ("payload", "changes", "secret", "why"),
    [
        (PAYLOAD + b" ", {}, SECRET, "no signature matches"),
        (PAYLOAD, {}, OTHER, "no signature matches"),
        (PAYLOAD, {}, [], "no signature matches"),
        (PAYLOAD, {"webhook-id": "evt_2"}, SECRET, "no signature matches"),
        (PAYLOAD, {"webhook-signature": ""}, SECRET, "no signature matches"),
        (PAYLOAD, {"webhook-signature": "v1,é"}, SECRET, "no signature matches"),
        (PAYLOAD, {"webhook-timestamp": "soon"}, SECRET, "not a Unix time"),
        (PAYLOAD, {"webhook-timestamp": "²"}, SECRET, "not a Unix time"),
        (PAYLOAD, {"webhook-timestamp": "9" * 5000}, SECRET, "not a Unix time"),
    ],
)
def test_refusals(payload: bytes, changes: dict[str, str], secret: str | list[str], why: str) -> None:
    with pytest.raises(VerificationError, match=why):
        verify(payload, signed() | changes, secret)


def test_the_version_prefix_counts() -> None:
    headers = signed()
    headers["webhook-signature"] = headers["webhook-signature"].replace("v1,", "v2,")
    with pytest.raises(VerificationError, match="no signature"):
        verify(PAYLOAD, headers, SECRET)


@pytest.mark.parametrize("age_s", [310, -310])
def test_old_and_future_ones_are_refused(age_s: float) -> None:
    with pytest.raises(VerificationError, match="300 s away"):
        verify(PAYLOAD, signed(age_s=age_s), SECRET)
    assert verify(PAYLOAD, signed(age_s=age_s), SECRET, tolerance_s=600) == BODY


def test_missing_headers_are_named() -> None:
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        headers = signed()
        del headers[name]
        with pytest.raises(VerificationError, match=name):
            verify(PAYLOAD, headers, SECRET)


@pytest.mark.parametrize("payload", [b"text", b"[1]"])
def test_bodies_that_are_no_object(payload: bytes) -> None:
    with pytest.raises(VerificationError, match="JSON"):
        verify(payload, signed(payload=payload), SECRET)


def test_a_malformed_secret_is_the_callers_fault() -> None:
    with pytest.raises(ValueError, match="whsec_"):
        verify(PAYLOAD, signed(), "whsec_!")
