"""Receipts in both forms, and what statuses mean."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghasi.carriers.carrier import Outcome
from ghasi.carriers.smpp import statuses
from ghasi.carriers.smpp.errors import GSM_ERRORS, ErrorTable
from ghasi.carriers.smpp.identifiers import reader_of
from ghasi.carriers.smpp.pdu import MESSAGE_PAYLOAD, NETWORK_ERROR_CODE, Address, ShortMessage
from ghasi.carriers.smpp.receipts import ReceiptReader, is_receipt, read_receipt
from ghasi.contract.message_errors import MESSAGE_ERRORS
from tests.carriers.test_smpp_round_trip import configured

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
        ("99991231235959", NOW),  # there is no second after it
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


IDS = st.text(st.sampled_from("0123456789abcdefABCDEF-_."), min_size=1, max_size=40)
STATES = {
    "DELIVRD": "delivered", "EXPIRED": "expired", "DELETED": "undelivered", "UNDELIV": "undelivered",
    "UNKNOWN": "unknown", "REJECTD": "failed", "ACCEPTD": "accepted", "ENROUTE": "accepted",
    "Delivered": "delivered", "UNDELIVERED": "undelivered", "FAILED": "undelivered", "REJECTED": "failed",
}  # fmt: skip
SPELLINGS = {
    "id": ["id:{}", "ID:{}", "Id: {}", "id={}", "msgid:{}", "message id:{}", "message_id={}", "Message ID: {}"],
    "stat": ["stat:{}", "Stat: {}", "status:{}", "STATUS={}", "state:{}", "message_state:{}"],
    "err": ["err:{}", "Err:{}", "error:{}", "err code:{}", "error_code={}"],
    "date": ["done date:{}", "Done Date:{}", "done_date:{}", "donedate={}"],
    "sub": ["sub:001"],
    "dlvrd": ["dlvrd:001"],
    "submit": ["submit date:2611221228", ""],
}


@given(st.data(), IDS, st.sampled_from(sorted(STATES)), st.sampled_from(["000", "27", "0x1B", "00B", "69"]))
def test_a_text_in_any_order_and_spelling(data: st.DataObject, identifier: str, stat: str, err: str) -> None:
    values = {"id": identifier, "stat": stat, "err": err, "date": "2611221229"}
    order = data.draw(st.permutations(sorted(SPELLINGS)))
    left_out = data.draw(st.sets(st.sampled_from(["err", "date", "sub", "dlvrd", "submit"])))
    fields = [
        data.draw(st.sampled_from(SPELLINGS[name])).format(values.get(name)) for name in order if name not in left_out
    ]
    ending = data.draw(st.sampled_from(["", " text:id:9 stat:DELIVRD err:1", " Text: stat:EXPIRED"]))
    receipt = read_receipt(deliver(" ".join(fields) + ending), NOW)
    assert receipt is not None
    assert (receipt.carrier_message_id, receipt.state) == (identifier, STATES[stat])
    assert receipt.at == (NOW if "date" in left_out else datetime(2026, 11, 22, 12, 30, tzinfo=UTC))
    assert receipt.detail == (stat.upper() if "err" in left_out else f"{stat.upper()} err {err}")


@given(
    st.integers(0, 2**63), st.sampled_from(["hex", "decimal"]), st.sampled_from(["hex", "decimal"]), st.integers(0, 4)
)
def test_ids_of_two_forms_are_one(number: int, first: str, second: str, zeros: int) -> None:
    written = {"hex": [f"{number:x}", f"{number:X}", "0" * zeros + f"{number:x}"], "decimal": [f"{number:0{zeros}d}"]}
    read = {reader_of(form)(one) for form in (first, second) for one in written[form]}  # type: ignore[arg-type]
    assert len(read) == 1
    assert reader_of("text")("00aB") == "00aB"


@pytest.mark.parametrize("written", ["", "-1", "1_0", " 1", "no", "\u0661", "0x", "+1"])
def test_an_id_that_is_no_number_stays_as_it_is(written: str) -> None:
    assert reader_of("hex")(written) == reader_of("decimal")(written) == written


@pytest.mark.parametrize(
    ("told", "text", "tlvs", "state", "code"),
    [
        ({}, "UNDELIV", {NETWORK_ERROR_CODE: b"\3\0\1"}, "undelivered", "unknown_subscriber"),
        ({}, "UNDELIV", {NETWORK_ERROR_CODE: b"\3\0\x1b"}, "undelivered", "absent_subscriber"),
        ({}, "EXPIRED", {NETWORK_ERROR_CODE: b"\3\0\6"}, "expired", "absent_subscriber"),
        ({}, "UNDELIV", {NETWORK_ERROR_CODE: b"\3\0\xd3"}, "undelivered", "handset_full"),
        ({}, "REJECTD", {NETWORK_ERROR_CODE: b"\3\0\x0d"}, "failed", "barred"),
        ({}, "UNDELIV", {NETWORK_ERROR_CODE: b"\3\0\x22"}, "undelivered", "network_error"),
        ({}, "UNDELIV", {NETWORK_ERROR_CODE: b"\3\0\0"}, "undelivered", "undeliverable"),
        ({}, "UNDELIV", {NETWORK_ERROR_CODE: b"\3\7\7"}, "undelivered", "undeliverable"),
        ({}, "UNDELIV", {NETWORK_ERROR_CODE: b"\1\0\1"}, "undelivered", "undeliverable"),
        ({}, "UNDELIV", {NETWORK_ERROR_CODE: b"\7\0\x0b"}, "undelivered", "invalid_destination"),
        ({}, "UNDELIV", {NETWORK_ERROR_CODE: b"\3\1"}, "undelivered", "undeliverable"),
        ({}, "DELIVRD", {NETWORK_ERROR_CODE: b"\3\0\1"}, "delivered", None),
        ({}, "UNKNOWN", {NETWORK_ERROR_CODE: b"\3\0\1"}, "unknown", "delivery_unknown"),
        ({"receipt_errors": {"1": "barred"}}, "UNDELIV", {NETWORK_ERROR_CODE: b"\3\0\1"}, "undelivered", "barred"),
        (
            {"receipt_errors": {"0x22": "barred"}},
            "UNDELIV",
            {NETWORK_ERROR_CODE: b"\x08\0\x22"},
            "undelivered",
            "barred",
        ),
        ({"receipt_errors": {"12": "spam_filtered"}}, "REJECTD", {}, "failed", "spam_filtered"),
        ({"receipt_errors": {"12": "spam_filtered"}}, "DELIVRD", {}, "delivered", None),
        ({"receipt_errors": {"12": "spam_filtered"}}, "ENROUTE", {}, "accepted", None),
        ({"receipt_err_is_gsm": True}, "UNDELIV", {}, "undelivered", "barred"),
        ({"receipt_states": {"undeliv": "delivered"}}, "UNDELIV", {}, "delivered", None),
        ({"receipt_states": {"GONE": "expired"}}, "GONE", {}, "expired", "expired"),
        ({"receipt_states": {"11": "failed"}}, "DELIVRD", {0x0427: b"\x0b"}, "failed", "message_rejected"),
        ({"receipt_states": {"2": "undelivered"}}, "DELIVRD", {0x0427: b"\2"}, "undelivered", "undeliverable"),
        ({}, "DELIVRD", {0x0427: b"\x09"}, "failed", "message_rejected"),
    ],
)
def test_tables_of_the_operator_and_of_gsm(
    told: dict[str, object], text: str, tlvs: dict[int, bytes], state: str, code: str | None
) -> None:
    receipt = ReceiptReader(configured(**told)).read(deliver(appendix_b(text, err="012"), tlvs=tlvs), NOW)
    assert receipt is not None
    assert (receipt.state, receipt.error_code) == (state, code)


def test_the_errors_of_gsm_are_in_the_catalogue() -> None:
    assert set(GSM_ERRORS.values()) <= MESSAGE_ERRORS.keys()
    assert GSM_ERRORS[9] == GSM_ERRORS[11] == "barred"


def test_errors_are_found_however_they_are_written() -> None:
    table = ErrorTable({"027": "barred", "0x1F": "no_credit", "aB1": "handset_full"})
    assert [table.find(written) for written in ("27", "0027", "0x1B", "0X01b")] == ["barred"] * 4
    assert [table.find(written) for written in ("31", "0x1f", "AB1", "ab1", "0ab1")] == ["no_credit"] * 2 + [
        "handset_full"
    ] * 3
    assert table.find("28") is table.find("") is ErrorTable({}).find("27") is None


def test_receipts_by_their_text_alone_where_that_was_asked_for() -> None:
    message = deliver(appendix_b(), esm_class=0)
    assert not ReceiptReader(configured()).is_receipt(message)
    reader = ReceiptReader(configured(receipts_by_text=True))
    assert reader.is_receipt(message)
    for text in (
        "id:1 sub:001 dlvrd:001 submit date:2611221228 done date:2611221229 stat:DELIVRD text:Hello",
        "id:1 stat:UNDELIV err:027",
        "ID:1 DONE DATE:261122122911 STAT:delivrd ERR:",
    ):
        assert reader.is_receipt(deliver(text, esm_class=0)), text
    for text in (
        "id:1 is what I want",
        "id:1 what about its stat:us",
        "My ID: 4711, status: failed",
        "id:1 text:stat:DELIVRD",
        "text id:1 stat:DELIVRD",
    ):
        assert not reader.is_receipt(deliver(text, esm_class=0)), text


def test_states_of_ones_own_count_in_receipts_by_text() -> None:
    told = configured(receipts_by_text=True, receipt_states={"DELIVERED_OK": "delivered"})
    assert ReceiptReader(told).is_receipt(deliver("id:1 stat:DELIVERED_OK", esm_class=0))
    assert not ReceiptReader(configured(receipts_by_text=True)).is_receipt(
        deliver("id:1 stat:DELIVERED_OK", esm_class=0)
    )


def test_a_text_of_64_kib_is_told_from_a_receipt_in_no_time() -> None:
    reader = ReceiptReader(configured(receipts_by_text=True))
    for piece in ("id:1 ", " stat:", "text", "id:1 stat:a "):
        assert not reader.is_receipt(deliver(esm_class=0, tlvs={MESSAGE_PAYLOAD: (piece * 65536)[:65000].encode()}))


@pytest.mark.parametrize("date", ["20261122122911", "261122122911"])
def test_a_done_date_with_its_century(date: str) -> None:
    receipt = read_receipt(deliver(appendix_b(date=date)), NOW)
    assert receipt is not None
    assert receipt.at == datetime(2026, 11, 22, 12, 29, 12, tzinfo=UTC)


def test_a_receipt_of_64_kib_is_read_in_no_time() -> None:
    for piece in ("id:", "done date:1 ", "id: a b c ", "err code ", "done date:11 stat:A ", "stat:" + "x" * 50 + "="):
        read_receipt(deliver(tlvs={MESSAGE_PAYLOAD: (piece * 65536)[:65000].encode()}), NOW)
