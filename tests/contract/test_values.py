"""Ids, times, money and cursors: what is written is read back, and what others write is refused with a code."""

import base64
import re
import time
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID, uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ghasi.contract import values
from ghasi.contract.errors import Problem

TIMES = st.datetimes(datetime(1970, 1, 2), datetime(9998, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - it follows


def test_ids_sort_by_the_time_they_were_made() -> None:
    made = [values.new_id() for _ in range(1000)]
    assert made == sorted(made)
    assert len(set(made)) == 1000
    assert {identifier.version for identifier in made} == {7}
    assert abs(values.id_time(made[-1]).timestamp() - time.time()) < 5


@given(st.datetimes(datetime(1970, 1, 2), datetime(2199, 12, 31), timezones=st.just(UTC)))  # noqa: DTZ001 - it follows
def test_the_first_id_of_a_time_parts_what_was_made_before(at: datetime) -> None:
    at = at.replace(microsecond=at.microsecond // 1000 * 1000)
    first = values.first_id(at)
    assert values.id_time(first) == at
    assert first.version == 7
    before = values.first_id(at - timedelta(milliseconds=1))
    assert before.int | ((1 << 76) - 1) < first.int


def test_an_id_is_read_as_it_was_written() -> None:
    identifier = values.new_id()
    assert values.parse_id(str(identifier)) == identifier


@given(
    st.one_of(
        st.text(max_size=40),
        st.text("0123456789abcdefABCDEF-{}_ ", min_size=36, max_size=36),
        st.uuids().map(lambda identifier: str(identifier).upper()),
        st.uuids().map(lambda identifier: f"{{{{{identifier.hex}}}}}"),
    )
)
@example("urn:" + "0" * 32)
@example("\u0660" * 32 + "----")
def test_an_id_has_one_spelling(text: str) -> None:
    try:
        identifier = values.parse_id(text)
    except Problem as problem:
        refused = problem
    else:
        assert str(identifier) == text
        return
    assert refused.code == "not_found"
    assert not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text)


@given(TIMES, st.integers(-14 * 60, 14 * 60))
def test_times_are_written_in_utc_with_milliseconds(at: datetime, offset_minutes: int) -> None:
    written = values.rfc3339(at.astimezone(timezone(timedelta(minutes=offset_minutes))))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", written)
    assert timedelta(0) <= at - datetime.fromisoformat(written) < timedelta(milliseconds=1)
    assert values.optional_rfc3339(at) == values.rfc3339(at)


def test_a_missing_time_stays_missing() -> None:
    assert values.optional_rfc3339(None) is None


@pytest.mark.parametrize(
    ("at", "written"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, 678_999, UTC), "2026-01-02T03:04:05.678Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 0, UTC), "2026-01-02T03:04:05.000Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 999, UTC), "2026-01-02T03:04:05.000Z"),
        (datetime(1970, 1, 1, tzinfo=UTC), "1970-01-01T00:00:00.000Z"),
        (datetime(2999, 12, 31, 23, 59, 59, 999_999, UTC), "2999-12-31T23:59:59.999Z"),
    ],
)
def test_a_time_is_cut_to_milliseconds_and_an_id_tells_the_same(at: datetime, written: str) -> None:
    whole = at.replace(microsecond=at.microsecond // 1000 * 1000)
    assert values.rfc3339(at) == values.id_rfc3339(values.first_id(whole)) == written


@given(st.integers(-(2**63), 2**63 - 1), st.sampled_from([0, 2, 4, 6]))
def test_money_is_read_as_it_was_written(amount: int, digits: int) -> None:
    written = values.decimal_string(amount, digits)
    assert values.micros(written) == amount
    whole = amount // 10**12 * 1_000_000  # few amounts are whole by chance, and only those have no decimals at all
    assert values.micros(values.decimal_string(whole, digits)) == whole
    decimals = written.partition(".")[2]
    assert digits <= len(decimals) <= 6
    assert "e" not in written.lower()


@pytest.mark.parametrize(
    ("amount", "digits", "written"),
    [
        (45_000, 4, "0.0450"),
        (0, 4, "0.0000"),
        (-1, 2, "-0.000001"),
        (54_000_000, 2, "54.00"),
        (2_000_000, 0, "2"),
        (-2_000_000, 0, "-2"),
    ],
)
def test_money_as_it_is_written(amount: int, digits: int, written: str) -> None:
    assert values.decimal_string(amount, digits) == written


def test_money_has_its_currency() -> None:
    assert (values.money(45_000, "USD").amount, values.money(45_000, "USD").currency) == ("0.0450", "USD")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "NaN",
        "sNaN",
        "Infinity",
        "-Infinity",
        "0.0000001",
        "1e-7",
        "1e999999999",
        "1e3",
        "1_0",
        " 1",
        "\u0660.5",
        "--1",
        "1.",
        "9999999999999.5",
        "-9999999999999",
    ],
)
def test_what_is_no_amount_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="not a decimal number"):
        values.micros(text)


def test_a_cursor_is_read_as_it_was_written() -> None:
    identifier = uuid4()
    assert values.decode_id_cursor(values.encode_cursor(str(identifier))) == identifier
    assert values.decode_id_cursor(None) is None


@given(
    st.one_of(
        st.text(max_size=60),
        st.binary(max_size=60).map(lambda raw: base64.urlsafe_b64encode(raw).decode()),
        st.text(max_size=40).map(values.encode_cursor),
        st.integers().map(values.encode_cursor),
    )
)
@example("\x00")
@example("A")
@example("====")
@example("\ud800")
@example(values.encode_cursor())
@example(base64.urlsafe_b64encode(b"[" * 300).decode())
@example(base64.urlsafe_b64encode(b'["' + b"[" * 5000).decode())
@example(base64.urlsafe_b64encode(b"[" * 5000).decode())
@example(base64.urlsafe_b64encode(b'["\xff"]').decode())
def test_another_cursor_is_invalid_and_nothing_worse(cursor: str) -> None:
    with pytest.raises(Problem) as raised:
        assert not isinstance(values.decode_id_cursor(cursor), UUID)
    assert raised.value.code == "invalid_cursor"


@given(st.integers(0, 253_402_300_799_999), st.integers(0, 2**74 - 1))
def test_an_ids_time_is_written_as_any_time(milliseconds: int, rest: int) -> None:
    identifier = UUID(int=(milliseconds << 80) | rest)
    assert values.id_rfc3339(identifier) == values.rfc3339(values.id_time(identifier))
