"""The alphabets: against gsmcodecs, against the examples of TS 23.038, and there and back."""

import gsmcodecs  # noqa: F401 - registers the gsm23.038 codec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghasi.carriers import alphabet
from ghasi.carriers.alphabet import GSM7_CHARACTERS, alphabet_of, decode_gsm7, encode_gsm7, pack, unpack

gsm_texts = st.text(st.sampled_from(sorted(GSM7_CHARACTERS)), max_size=200)
septets = st.binary(max_size=160).map(lambda data: bytes(octet & 0x7F for octet in data))


@given(gsm_texts)
def test_gsm7_there_and_back_and_as_gsmcodecs(text: str) -> None:
    assert encode_gsm7(text) == text.encode("gsm23.038")
    assert decode_gsm7(encode_gsm7(text)) == text


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"\x1be", "€"),
        (b"\x1bZ", "Z"),  # no meaning in the extension table: the character of the default alphabet
        (b"\x1b\x00", "@"),
        (b"a\x1b", "a "),
        (b"\x1b\x1be", " €"),
        (b"\x1b\x0d", "\r"),
        (b"a\xffb", "a\ufffdb"),
        (b"", ""),
    ],
)
def test_what_an_escape_leads_to(octets: bytes, text: str) -> None:
    assert decode_gsm7(octets) == text


def test_a_text_beyond_gsm7_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="lacks"):
        encode_gsm7("д")


def test_packing_is_that_of_the_specification() -> None:
    assert alphabet.pack_septets(b"hellohello").hex() == "e8329bfd4697d9ec37"
    assert alphabet.unpack_septets(bytes.fromhex("e8329bfd4697d9ec37")) == b"hellohello"
    # behind a header of six octets one bit is left free
    assert alphabet.fill_bits_after(6) == 1
    assert alphabet.fill_bits_after(7) == alphabet.fill_bits_after(0) == 0
    assert alphabet.pack_septets(b"A", 1) == b"\x82"


@given(septets, st.sampled_from([0, 6, 7]))
def test_packed_there_and_back(data: bytes, header_octets: int) -> None:
    before = -(-8 * header_octets // 7)
    data = data[: 160 - before]
    octets = pack(data, header_octets)
    assert header_octets + len(octets) <= 140
    back = unpack(octets, header_octets)
    # a carriage return more is nothing to a phone; one at the very end of a full message is lost, nothing else ever is
    assert back in (data, data + b"\r") or (len(data) + before == 160 and data == back + b"\r")


@given(septets, st.integers(0, 6))
def test_septets_there_and_back(data: bytes, fill_bits: int) -> None:
    back = alphabet.unpack_septets(alphabet.pack_septets(data, fill_bits), fill_bits)
    assert back[: len(data)] == data
    assert len(back) - len(data) <= 1


def test_64_kib_are_unpacked_without_holding_anything_up() -> None:
    data = bytes(range(128)) * 500
    assert alphabet.unpack_septets(alphabet.pack_septets(data, 1), 1)[: len(data)] == data


@pytest.mark.parametrize("word", [b"STOPALL", b"STOP", b"UNSUBSC", b"a" * 15])
def test_zeros_that_pad_are_no_at_sign(word: bytes) -> None:
    assert unpack(alphabet.pack_septets(word)) == word


@pytest.mark.parametrize(
    ("coding", "expected"),
    [
        (0, "gsm7"), (1, "ascii"), (2, "binary"), (3, "latin1"), (4, "binary"), (5, "japanese"), (6, "cyrillic"),
        (7, "hebrew"), (8, "ucs2"), (14, "korean"), (0x10, "gsm7"), (0x11, "gsm7"), (0x14, "binary"), (0x18, "ucs2"),
        (0x19, "ucs2"), (0x20, "compressed"), (0x48, "ucs2"), (0x80, "gsm7"), (0xC0, "gsm7"), (0xD8, "gsm7"),
        (0xE0, "ucs2"), (0xF0, "gsm7"), (0xF1, "gsm7"), (0xF4, "binary"), (0xF7, "binary"),
    ],
)  # fmt: skip
def test_data_codings(coding: int, expected: str) -> None:
    assert alphabet_of(coding) == expected


@pytest.mark.parametrize(
    ("kind", "data", "encoding", "text"),
    [
        ("gsm7", b"\x00\x1be", "gsm7", "@€"),
        ("gsm7", b"caf\xe9", "latin1", "café"),
        ("ascii", b"a@", "latin1", "a@"),
        ("latin1", b"\xe9", "latin1", "é"),
        ("ucs2", "дa😀".encode("utf-16-be"), "ucs2", "дa😀"),
        ("ucs2", "да".encode("utf-16-be") + b"\x04", "ucs2", "да"),
        ("ucs2", b"\xff\xfe" + "да".encode("utf-16-le"), "ucs2", "да"),
        ("ucs2", b"\xfe\xff" + "да".encode("utf-16-be"), "ucs2", "да"),
        ("cyrillic", "да".encode("iso8859-5"), "text", "да"),
        ("hebrew", "שלום".encode("iso8859-8"), "text", "שלום"),
        ("japanese", "かな".encode("shift_jis"), "text", "かな"),
        ("korean", "한글".encode("euc_kr"), "text", "한글"),
        ("binary", b"\x00\xff", "latin1", "\0ÿ"),
    ],
)
def test_user_data_is_read(kind: str, data: bytes, encoding: str, text: str) -> None:
    read = alphabet.read_user_data(kind, data)  # type: ignore[arg-type]
    assert read[0] == encoding
    assert alphabet.decode(*read) == text


@given(st.binary(max_size=300), st.integers(0, 255), st.sampled_from([0, 6, 7]))
def test_no_user_data_raises(data: bytes, coding: int, header_octets: int) -> None:
    kind = alphabet_of(coding)
    if kind != "compressed":
        alphabet.decode(*alphabet.read_user_data(kind, data))
    alphabet.decode("gsm7", unpack(data, header_octets))


def test_latin1_has_no_control_characters() -> None:
    assert alphabet.encode_latin1("café\r\n") == b"caf\xe9\r\n"
    for text in ("€", "\x00", "\x1b", "\x85", "д"):
        assert alphabet.encode_latin1(text) is None
