"""Receipts in both forms, and what statuses mean."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghasi.carriers.carrier import Outcome
from ghasi.carriers.smpp import statuses
from ghasi.carriers.smpp.pdu import MESSAGE_PAYLOAD, NETWORK_ERROR_CODE, Address, ShortMessage
from ghasi.carriers.smpp.receipts import is_receipt, read_receipt
from ghasi.contract.message_errors import MESSAGE_ERRORS

NOW = datetime(2026, 11, 22, 12, 30, 40, tzinfo=UTC)
NOBODY = Address(0, 0, "")
TEXT = "id:0a1B sub:001 dlvrd:001 submit date:2611221229 done date:{date} stat:{stat} err:{err} text:{text}"


def deliver(text: str = "", esm_class: int = 4, **more: object) -> ShortMessage:
    return ShortMessage(
        source=NOBODY, destination=NOBODY, short_message=text.encode("latin-1"), esm_class=esm_class, **more
    )  # type: ignore[arg-type]


def appendix_b(stat: str = "DELIVRD", date: str = "2611221229", err: str = "000", text: str = "") -> str:
    return TEXT.format(stat=stat, date=date, err=err, text=text)


@pytest.mark.parametrize(
    ("stat", "number", "state", "error_code"),
    [
        ("ENROUTE", 1, "accepted", None),
        ("ACCEPTD", 6, "accepted", None),
        ("DELIVRD", 2, "delivered", None),
        ("EXPIRED", 3, "expired", "expired"),
        ("DELETED", 4, "undelivered", "deleted"),
        ("UNDELIV", 5, "undelivered", "undeliverable"),
        ("UNKNOWN", 7, "unknown", "delivery_unknown"),
        ("REJECTD", 8, "failed", "message_rejected"),
        ("NONSENS", 99, "unknown", "delivery_unknown"),
    ],
)
def test_states_by_text_and_by_number(stat: str, number: int, state: str, error_code: str | None) -> None:
    by_text = read_receipt(deliver(appendix_b(stat, err="012")), NOW)
    by_tlv = read_receipt(deliver(tlvs={0x001E: b"0a1B\0", 0x0427: bytes((number,))}), NOW)
    for receipt in (by_text, by_tlv):
        assert receipt is not None
        assert (receipt.carrier_message_id, receipt.state, receipt.error_code) == ("0a1B", state, error_code)
        assert error_code is None or error_code in MESSAGE_ERRORS
    assert by_text is not None
    assert by_text.detail == f"{stat} err 012"


def test_optional_parameters_win_over_the_text() -> None:
    tlvs = {0x001E: b"ffff\0", 0x0427: b"\5", NETWORK_ERROR_CODE: b"\3\1\2"}
    receipt = read_receipt(deliver(appendix_b("DELIVRD"), tlvs=tlvs), NOW)
    assert receipt is not None
    assert (receipt.carrier_message_id, receipt.state, receipt.detail) == ("ffff", "undelivered", "UNDELIV err 258")
    # an empty one names nothing, so the text does
    receipt = read_receipt(deliver(appendix_b("DELIVRD"), tlvs={0x001E: b"", 0x0427: b""}), NOW)
    assert receipt is not None
    assert (receipt.carrier_message_id, receipt.state) == ("0a1B", "delivered")


@pytest.mark.parametrize(
    ("date", "at"),
    [
        ("2611221229", datetime(2026, 11, 22, 12, 30, tzinfo=UTC)),
        ("261122122911", datetime(2026, 11, 22, 12, 29, 12, tzinfo=UTC)),
        ("2611221230", NOW),  # the minute isn't over
        ("2611221530", NOW),  # local time of somewhere east
        ("2611010000", NOW),  # too long ago to be true
        ("2613450000", NOW),
        ("99", NOW),
        ("٢٦١١٢٢١٢٢٩".encode().decode("latin-1"), NOW),
    ],
)
def test_the_done_date(date: str, at: datetime) -> None:
    receipt = read_receipt(deliver(appendix_b(date=date)), NOW)
    assert receipt is not None
    assert receipt.at == at


def test_the_customers_text_cannot_pose_as_a_field() -> None:
    receipt = read_receipt(deliver(appendix_b("UNDELIV", text="id:9 stat:DELIVRD err:7")), NOW)
    assert receipt is not None
    assert (receipt.carrier_message_id, receipt.state, receipt.detail) == ("0a1B", "undelivered", "UNDELIV err 000")


def test_text_in_message_payload_in_ucs2_and_in_small_letters() -> None:
    text = appendix_b("EXPIRED")
    for message in (
        deliver(tlvs={MESSAGE_PAYLOAD: text.encode()}),
        deliver(text.encode("utf-16-be").decode("latin-1"), data_coding=8),
        deliver(text.replace("id:", "ID:").replace("stat:EXPIRED", "Stat:expired").replace("text:", "Text:")),
    ):
        receipt = read_receipt(message, NOW)
        assert receipt is not None
        assert (receipt.carrier_message_id, receipt.state) == ("0a1B", "expired")


def test_an_intermediate_notification_is_never_final() -> None:
    receipt = read_receipt(deliver(appendix_b("UNDELIV"), esm_class=0x20), NOW)
    assert receipt is not None
    assert (receipt.state, receipt.error_code) == ("accepted", None)


def test_a_subscribers_text_is_no_receipt_whatever_it_says() -> None:
    assert not is_receipt(deliver(appendix_b(), esm_class=0))
    assert not is_receipt(deliver(appendix_b(), esm_class=0x40))
    assert is_receipt(deliver(esm_class=0, tlvs={0x001E: b"1\0"}))
    assert is_receipt(deliver(esm_class=0x44))


def test_a_receipt_that_names_no_message_is_none() -> None:
    for text in ("", "stat:DELIVRD", "id: sub:001 stat:DELIVRD", "Hello", "id:" + "a" * 65):
        assert read_receipt(deliver(text), NOW) is None


@given(st.binary(max_size=255), st.dictionaries(st.sampled_from([0x1E, 0x427, 0x423, 0x424]), st.binary(max_size=70)))
def test_any_receipt_is_read_or_refused(text: bytes, tlvs: dict[int, bytes]) -> None:
    for coding in (0, 8):
        receipt = read_receipt(deliver(text.decode("latin-1"), tlvs=tlvs, data_coding=coding), NOW)
        if receipt is not None:
            assert 1 <= len(receipt.carrier_message_id) <= 64
            assert "\0" not in receipt.carrier_message_id
            assert NOW - timedelta(days=4) < receipt.at <= NOW
            assert receipt.detail is None or receipt.detail.isprintable()


def test_every_status_has_an_outcome_and_a_code_of_the_catalogue() -> None:
    for status in [*range(1, 0x110), 0x400, 0xFFFFFFFF]:
        result = statuses.failed_submit(status)
        assert result.outcome in (Outcome.REFUSED, Outcome.THROTTLED, Outcome.UNSENT)
        if result.outcome is not Outcome.UNSENT:
            assert MESSAGE_ERRORS[result.error_code or ""]
        assert result.detail


@pytest.mark.parametrize(
    ("status", "outcome", "code"),
    [
        (0x58, Outcome.THROTTLED, "throttled"),
        (0x14, Outcome.THROTTLED, "queue_full"),
        (0x64, Outcome.THROTTLED, "throttled"),
        (0x0A, Outcome.REFUSED, "invalid_source"),
        (0x0B, Outcome.REFUSED, "invalid_destination"),
        (0x08, Outcome.REFUSED, "carrier_error"),
        (0x45, Outcome.REFUSED, "submit_failed"),
        (0x66, Outcome.REFUSED, "message_rejected"),
        (0x0400, Outcome.REFUSED, "submit_failed"),
        (0x04, Outcome.UNSENT, None),
    ],
)
def test_statuses(status: int, outcome: Outcome, code: str | None) -> None:
    result = statuses.failed_submit(status)
    assert (result.outcome, result.error_code) == (outcome, code)
