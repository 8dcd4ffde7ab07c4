"""What each key of a carrier does to the octets that leave, and which of them can't be together."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from ghasi.carriers.carrier import Segment
from ghasi.carriers.smpp import pdu
from ghasi.carriers.smpp.addresses import Addresses, UnusableAddressError
from ghasi.carriers.smpp.configuration import SmppConfiguration, resolve_files, timing_of
from ghasi.carriers.smpp.pdu import Address
from ghasi.carriers.smpp.submit import Submitter
from tests.carriers.test_smpp_round_trip import configured

PAGE = (Path(__file__).parents[2] / "docs" / "carriers.md").read_text()


def sent(segment: Segment | None = None, **told: object) -> pdu.ShortMessage:
    body = Submitter(configured(**told)).encode(segment or Segment("+93701234567", "Ghasi", "gsm7", b"Hello"))
    return pdu.decode_short_message(body)


def sent_long(text: str = "a" * 200, **told: object) -> list[pdu.ShortMessage]:
    submitter = Submitter(configured(**told))
    split = submitter.split(text)
    return [
        pdu.decode_short_message(
            submitter.encode(Segment("+937", None, split.encoding, part, n, split.count, 0x2A, None, "m-1"))
        )
        for n, part in enumerate(split.parts, 1)
    ]


def test_every_key_is_described_and_no_other() -> None:
    rows = {line.split("`")[1] for line in PAGE.splitlines() if line.startswith("| `")}
    assert rows == set(SmppConfiguration.__struct_encode_fields__)


def test_the_octets_by_default() -> None:
    one = Segment("+93701234567", "Ghasi", "gsm7", b"Hello", validity_s=60)
    assert Submitter(configured()).encode(one) == (
        b"\0" + b"\5\0Ghasi\0" + b"\1\00193701234567\0" + b"\0\0\0" + b"\0" + b"000000000100000R\0" + b"\1\0\0\0"
        + b"\5Hello"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("told", "read", "value"),
    [
        ({"service_type": "WAP"}, lambda m: m.service_type, "WAP"),
        ({"priority": 3}, lambda m: m.priority, 3),
        ({"protocol_id": 0x7F}, lambda m: m.protocol_id, 0x7F),
        ({"registered_delivery": 0}, lambda m: m.registered_delivery, 0),
        ({"registered_delivery": 17}, lambda m: m.registered_delivery, 17),
        ({"gsm7_data_coding": 1}, lambda m: m.data_coding, 1),
        ({"default_validity_s": 90}, lambda m: m.validity_period, "000000000130000R"),
        ({}, lambda m: m.validity_period, ""),
        ({"strip_plus": False}, lambda m: m.destination, (1, 1, "+93701234567")),
        ({"dest_ton": 0, "dest_npi": 8}, lambda m: m.destination, (0, 8, "93701234567")),
        ({"source_ton": 2}, lambda m: m.source, (2, 0, "Ghasi")),
    ],
)  # fmt: skip
def test_single_fields(told: dict[str, object], read: Callable[[pdu.ShortMessage], object], value: object) -> None:
    assert read(sent(**told)) == value


@pytest.mark.parametrize(
    ("validity", "written"), [("relative", "000000010000000R"), ("absolute", "%y%m%d%H%M%S000+"), ("off", "")]
)
def test_validity(validity: str, written: str) -> None:
    before = int(time.time())
    period = sent(Segment("+937", None, "gsm7", b"a", validity_s=3600), validity=validity).validity_period
    assert period in {
        datetime.fromtimestamp(second + 3600, UTC).strftime(written) for second in range(before, before + 9)
    }


@pytest.mark.parametrize(
    ("sender", "told", "address"),
    [
        ("+93701234567", {}, (1, 1, "93701234567")),
        ("+93701234567", {"strip_plus": False}, (1, 1, "+93701234567")),
        ("+93701234567", {"source_ton": {"international": 0}}, (0, 1, "93701234567")),
        ("12345", {}, (3, 0, "12345")),
        ("12345", {"source_ton": {"short": 0}, "source_npi": {"short": 1}}, (0, 1, "12345")),
        ("0701234567", {}, (0, 1, "0701234567")),
        ("0701234567", {"source_ton": {"national": 2}}, (2, 1, "0701234567")),
        ("Ghasi", {"source_npi": {"alphanumeric": 1}}, (5, 1, "Ghasi")),
        (None, {"default_sender": "12345"}, (3, 0, "12345")),
        (None, {}, (0, 0, "")),
    ],
)
def test_addresses_by_kind(sender: str | None, told: dict[str, object], address: tuple[int, int, str]) -> None:
    base = {"name": "one", "kind": "smpp", "host": "h", "port": 1, "system_id": "me", "password": ""}
    submitter = Submitter(msgspec.convert(base | told, SmppConfiguration))
    message = pdu.decode_short_message(submitter.encode(Segment("+93701234567", sender, "gsm7", b"a")))
    assert tuple(message.source) == address


def test_a_destination_is_national_or_short_too() -> None:
    addresses = Addresses(configured())
    assert addresses.encode_destination("12345") == b"\3\00012345\0"
    assert addresses.encode_destination("0701234567") == b"\0\0010701234567\0"
    with pytest.raises(UnusableAddressError):
        addresses.encode_destination("Ghasi")


@pytest.mark.parametrize(
    ("address", "told", "read"),
    [
        ((1, 1, "93701234567"), {}, "+93701234567"),
        ((1, 1, "+93701234567"), {}, "+93701234567"),
        ((1, 1, "0093701234567"), {}, "+93701234567"),
        ((1, 1, "12345"), {}, "12345"),
        ((0, 1, "93701234567"), {}, "+93701234567"),
        ((0, 1, "+4930123456"), {}, "+4930123456"),
        ((0, 1, "0093701234567"), {}, "+93701234567"),
        ((0, 1, "0701234567"), {}, "0701234567"),
        ((0, 1, "0701234567"), {"country_code": "93"}, "+93701234567"),
        ((2, 1, "701234567"), {"country_code": "93"}, "+93701234567"),
        ((2, 1, "701234567"), {}, "701234567"),
        ((0, 1, "4912345678"), {}, "4912345678"),
        ((3, 0, "93701234567"), {}, "93701234567"),
        ((0, 0, "12345"), {"country_code": "93"}, "12345"),
        ((5, 0, "12345678901"), {}, "12345678901"),
        ((5, 0, "Bank"), {}, "Bank"),
        ((1, 1, "9370#234567"), {}, "9370#234567"),
        ((1, 1, "²²²²²²²²"), {}, "²²²²²²²²"),
        ((0, 0, ""), {}, ""),
        ((1, 1, "1" * 16), {}, "1" * 16),
    ],
)
def test_numbers_that_come_in(address: tuple[int, int, str], told: dict[str, object], read: str) -> None:
    assert Addresses(configured(**told)).read(Address(*address)) == read


def test_long_messages_with_8_bits() -> None:
    one, two = sent_long()
    assert (one.esm_class, one.short_message[:6], two.short_message[:6]) == (0x40, b"\5\0\3\x2a\2\1", b"\5\0\3\x2a\2\2")
    assert one.short_message[6:] == b"a" * 153


def test_long_messages_with_16_bits_hold_one_septet_less() -> None:
    one, two = sent_long(long_messages="udh16")
    assert one.esm_class == 0x40
    assert (one.short_message[:3], one.short_message[4:7]) == (b"\6\x08\4", b"\x2a\2\1")
    assert one.short_message[3] == two.short_message[3] != 0
    assert one.short_message[7:] == b"a" * 152
    ucs2 = sent_long("д" * 71, long_messages="udh16")
    assert [len(part.short_message) for part in ucs2] == [7 + 132, 7 + 10]


def test_long_messages_by_sar_parameters() -> None:
    one, two = sent_long(long_messages="sar")
    assert (one.esm_class, one.short_message) == (0, b"a" * 153)
    assert one.tlvs[0x020C][1:] == b"\x2a"
    assert (one.tlvs[0x020C], one.tlvs[0x020E], one.tlvs[0x020F]) == (two.tlvs[0x020C], b"\2", b"\1")
    assert two.tlvs[0x020F] == b"\2"
    assert sent(long_messages="sar").tlvs == {}


def test_long_messages_as_a_payload() -> None:
    (one,) = sent_long("a" * 2000, long_messages="payload")
    assert (one.short_message, one.tlvs, one.esm_class) == (b"", {0x0424: b"a" * 2000}, 0)
    assert sent(long_messages="payload").short_message == b"Hello"
    (cyrillic,) = sent_long("д" * 71, long_messages="payload")
    assert (cyrillic.data_coding, cyrillic.tlvs) == (8, {0x0424: ("д" * 71).encode("utf-16-be")})
    with pytest.raises(ValueError, match="256 segments"):
        Submitter(configured(long_messages="payload")).split("a" * (153 * 255 + 1))


def test_gsm7_packed() -> None:
    assert sent(gsm7="packed").short_message == bytes.fromhex("c8329bfd06")
    one, two = sent_long(gsm7="packed")
    assert len(one.short_message) == 140
    assert one.short_message[6] == ord("a") << 1 & 0xFF  # the bit left free
    assert two.short_message[:6] == b"\5\0\3\x2a\2\2"


def test_gsm7_as_latin1() -> None:
    (one,) = sent_long("café", gsm7="latin1")
    assert (one.data_coding, one.short_message) == (3, b"caf\xe9")
    (two,) = sent_long("€", gsm7="latin1", latin1_data_coding=1)
    assert (two.data_coding, two.short_message) == (8, b"\x20\xac")
    (three,) = sent_long("a", gsm7="latin1", latin1_data_coding=1)
    assert three.data_coding == 1
    assert [len(part.short_message) for part in sent_long("a" * 141, gsm7="latin1")] == [6 + 134, 6 + 7]
    assert [len(part.short_message) for part in sent_long("a" * 141, gsm7="latin1", long_messages="udh16")] == [140, 15]
    assert [part.short_message for part in sent_long("", gsm7="latin1")] == [b""]


def test_ucs2_data_coding() -> None:
    assert sent_long("д", ucs2_data_coding=0x18)[0].data_coding == 0x18


def test_an_encoding_that_smpp_has_not_is_a_pdu_error() -> None:
    with pytest.raises(pdu.PduError, match="no text"):
        Submitter(configured()).encode(Segment("+937", None, "text", b"a"))


def test_times_are_those_asked_for() -> None:
    timing = timing_of(configured(enquire_link_s=40.0, response_timeout_s=3.0))
    assert (timing.enquire_after_s, timing.response_timeout_s) == (40, 3)


@pytest.mark.parametrize(
    ("told", "key"),
    [
        ({"tls_cert_file": "a"}, "tls_cert_file"),
        ({"tls_server_name": "a"}, "tls_server_name"),
        ({"tls": True, "tls_key_file": "a"}, "tls_key_file"),
        ({"receiver_port": 3}, "receiver_port"),
        ({"default_sender": "twelve chars"}, "default_sender"),
        ({"default_validity_s": 3, "validity": "off"}, "default_validity_s"),
        ({"gsm7_data_coding": 8}, "gsm7_data_coding"),
        ({"gsm7": "latin1", "latin1_data_coding": 8}, "latin1_data_coding"),
        ({"receipt_errors": {"1": "nonsense"}}, "receipt_errors"),
        ({"status_errors": {"0x45": "nonsense"}}, "status_errors"),
        ({"status_errors": {"ESME": "barred"}}, "status_errors"),
        ({"status_errors": {"0": "barred"}}, "status_errors"),
    ],
)
def test_what_cannot_be_together(told: dict[str, object], key: str) -> None:
    with pytest.raises(ValueError, match=f"^`{key}`: "):
        configured(**told)


def test_files_are_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "a.pem").touch()
    (tmp_path / "k.pem").touch()
    told = configured(tls=True, tls_cert_file="a.pem", tls_key_file="k.pem")
    found = resolve_files(told, tmp_path)
    assert (found.tls_cert_file, found.tls_key_file) == (str(tmp_path / "a.pem"), str(tmp_path / "k.pem"))
    with pytest.raises(ValueError, match=r"^`tls_ca_file`: there is no file"):
        resolve_files(configured(tls=True, tls_ca_file="none"), tmp_path)
