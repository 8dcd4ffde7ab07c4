"""The splitter against its rules, and against two oracles that other people wrote."""

import gsmcodecs  # noqa: F401 - registers the gsm23.038 codec
import pytest
import smsutil
from hypothesis import example, given
from hypothesis import strategies as st

from ghasi.carriers.segmentation import count_segments, segment

ALPHABET = b"".join(bytes((code,)) for code in range(128) if code != 0x1B).decode("gsm23.038")
EXTENSION = "\f^{}\\[~]|€"

gsm_texts = st.one_of(
    st.text(st.sampled_from(ALPHABET), max_size=500),
    st.text(st.sampled_from(ALPHABET + EXTENSION * 12), max_size=500),
    st.builds(
        lambda text, times: text * times, st.text(st.sampled_from(ALPHABET + EXTENSION), max_size=9), st.integers(0, 99)
    ),
)
texts = st.one_of(
    gsm_texts,
    st.text(max_size=300),
    st.text(st.sampled_from("aд😀€\x1b\0"), max_size=400),
    st.builds(
        lambda left, right, n: left * n + right * 70, st.text(max_size=3), st.text(max_size=2), st.integers(0, 140)
    ),
)


def decoded(encoding: str, parts: list[bytes]) -> list[str]:
    return [part.decode("gsm23.038" if encoding == "gsm7" else "utf-16-be") for part in parts]


def test_the_alphabet_has_127_characters_and_ten_more() -> None:
    assert len(set(ALPHABET)) == 127
    for character in ALPHABET:
        assert segment(character).parts == [character.encode("gsm23.038")]
    for character in EXTENSION:
        parts = segment(character).parts
        assert parts == [character.encode("gsm23.038")]
        assert len(parts[0]) == 2
        assert parts[0][0] == 0x1B


def test_every_other_character_needs_ucs2() -> None:
    gsm = set(ALPHABET + EXTENSION)
    for code in [*range(0xD800), *range(0xE000, 0x10000, 7), 0x1F600]:
        assert (count_segments(chr(code))[0] == "gsm7") == (chr(code) in gsm), hex(code)


@given(texts)
@example("")
@example("\x1b")
@example("\0")
@example("`")
def test_parts_decode_to_the_text(text: str) -> None:
    result = segment(text)
    pieces = decoded(result.encoding, result.parts)  # strict decoding: a split pair or escape would not decode
    assert "".join(pieces) == text
    single, part = (160, 153) if result.encoding == "gsm7" else (140, 134)
    if result.count == 1:
        assert len(result.parts[0]) <= single
    else:
        assert sum(map(len, result.parts)) > single
        assert all(0 < len(octets) <= part for octets in result.parts)
        assert all(len(octets) >= part - (1 if result.encoding == "gsm7" else 2) for octets in result.parts[:-1])


@given(texts)
def test_counting_is_segmenting_without_the_parts(text: str) -> None:
    result = segment(text)
    assert count_segments(text) == (result.encoding, result.count)


@given(texts.filter(lambda text: text and "\x1b" not in text))
def test_smsutil_splits_alike(text: str) -> None:
    # smsutil gives the escape character a septet of its own, so texts with it are left out; it never splits a pair
    oracle = smsutil.split(text)
    result = segment(text)
    assert result.encoding == ("gsm7" if oracle.encoding == "gsm0338" else "ucs2")
    assert decoded(result.encoding, result.parts) == [part.content for part in oracle.parts]


@given(gsm_texts)
def test_gsmcodecs_encodes_alike(text: str) -> None:
    result = segment(text)
    assert result.encoding == "gsm7"
    assert b"".join(result.parts) == text.encode("gsm23.038")


@pytest.mark.parametrize(
    ("text", "encoding", "count"),
    [
        ("a" * 160, "gsm7", 1),
        ("a" * 161, "gsm7", 2),
        ("a" * 306, "gsm7", 2),
        ("a" * 307, "gsm7", 3),
        ("€" * 80, "gsm7", 1),
        ("€" * 81, "gsm7", 2),
        ("€" * 152, "gsm7", 2),  # 76 to a part: the 153rd septet would be an escape alone
        ("€" * 153, "gsm7", 3),
        ("a" * 152 + "€" + "a" * 151, "gsm7", 2),
        ("a" * 152 + "€" + "a" * 152, "gsm7", 3),
        ("д" * 70, "ucs2", 1),
        ("д" * 71, "ucs2", 2),
        ("д" * 134, "ucs2", 2),
        ("д" * 135, "ucs2", 3),
        ("😀" * 35, "ucs2", 1),
        ("😀" * 36, "ucs2", 2),
        ("😀" * 66, "ucs2", 2),  # 33 to a part: the 67th unit would be a high surrogate alone
        ("😀" * 67, "ucs2", 3),
        ("", "gsm7", 1),
    ],
)
def test_the_edges(text: str, encoding: str, count: int) -> None:
    assert count_segments(text) == (encoding, count)
    assert segment(text).count == count


def test_a_lone_surrogate_is_a_value_error() -> None:
    for text in ("\ud83d", "a" * 200 + "\ude00"):
        with pytest.raises(ValueError, match="surrogates"):
            segment(text)
        with pytest.raises(ValueError, match="surrogates"):
            count_segments(text)


def test_more_than_255_parts_cannot_be_concatenated() -> None:
    assert segment("a" * 153 * 255).count == 255
    assert count_segments("a" * (153 * 255 + 1)) == ("gsm7", 256)
    with pytest.raises(ValueError, match="256 segments"):
        segment("a" * (153 * 255 + 1))
