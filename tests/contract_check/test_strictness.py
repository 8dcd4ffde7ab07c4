"""JSON is held against a shape member by member; what is said of a fault shows no value of it."""

from typing import Any

import msgspec
import pytest

from ghasi.contract import shapes
from ghasi.contract.check.strictness import find_fault
from ghasi.contract.emit.examples import EXAMPLES
from ghasi.contract.table import ROWS

OTHERWISE = "a string of another form"
TIME = "an RFC 3339 time in UTC with milliseconds and Z"


def message(**changed: Any) -> dict[str, Any]:
    return EXAMPLES["Message"] | changed


def test_every_example_has_its_shape() -> None:
    """Secrets' examples are cut, and so are no ids, times or amounts."""
    looked_at = 0
    for row in ROWS:
        name = getattr(row.response, "__name__", "")
        if name in EXAMPLES:
            looked_at += 1
            assert find_fault(EXAMPLES[name], row.response) is None, name
    assert looked_at > 20


@pytest.mark.parametrize(
    ("value", "expected", "seen"),
    [
        (message(surprise=1), "no $.surprise", "such a member"),
        ({name: value for name, value in message().items() if name != "to"}, "$.to", "no such member"),
        (message(id="5"), "$.id: a UUIDv7", OTHERWISE),
        (message(id="0190a0a0-0000-4000-8000-000000000001"), "$.id: a UUIDv7", OTHERWISE),
        (message(segments="2"), "$.segments: a whole number", "a string"),
        (message(segments=2.0), "$.segments: a whole number", "a number with a point"),
        (message(segments=True), "$.segments: a whole number", "true or false"),
        (message(price=0.045), "$.price: an object or null", "a number with a point"),
        (message(price={"amount": 0.045, "currency": "USD"}), "$.price.amount: a string", "a number with a point"),
        (message(price={"amount": "4.5e-2", "currency": "USD"}), "$.price.amount: a decimal string", OTHERWISE),
        (message(price={"amount": "1", "currency": "usd"}), "$.price.currency: an ISO 4217 code", OTHERWISE),
        (message(created_at="2026-11-22T09:41:08Z"), f"$.created_at: {TIME}", OTHERWISE),
        (message(created_at="2026-11-22T09:41:08.112+00:00"), f"$.created_at: {TIME}", OTHERWISE),
        ([], "$: an object", "a list"),
    ],
)  # fmt: skip
def test_a_fault_is_told_by_its_place_and_kind(value: Any, expected: str, seen: str) -> None:
    assert find_fault(value, shapes.Message) == (expected, seen)


def test_a_fault_in_a_list_is_told_by_its_index() -> None:
    page = {"data": [message(), message(body=7)], "next_cursor": None}
    assert find_fault(page, shapes.Page[shapes.Message]) == ("$.data[1].body: a string or null", "a number")


def test_a_value_of_no_such_name_is_not_shown() -> None:
    expected, seen = find_fault(message(status="the text of a message"), shapes.Message) or ("", "")
    assert expected.startswith("$.status: one of accepted, ")
    assert seen == "a string"


def test_bounds_of_a_field_hold_too() -> None:
    webhook = EXAMPLES["Webhook"] | {"fifo": {"by": "to", "hold_s": 10**9, "after_hold": "skip"}}
    expected, seen = find_fault(webhook, shapes.Webhook) or ("", "")
    assert expected == "the contract's shape"
    assert "hold_s" in seen
    assert msgspec.to_builtins(webhook) == webhook
