"""How a text becomes short messages: its alphabet, and where it is split.

Owns the sizes of a message's parts (3GPP TS 23.040, 9.2.3.24.1 and 9.2.3.24.8) and where one may end. Never packs
septets and adds no header: that is the carrier's. The characters are alphabet.py's.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from ghasi.carriers.alphabet import (
    ESCAPE,
    GSM7_CHARACTERS,
    count_extended,
    encode_latin1,
    pads_alike,
    translate_gsm7,
)
from ghasi.carriers.carrier import Split

Encoding = Literal["gsm7", "ucs2"]
"""What a text is sent in unless a carrier says otherwise."""

GSM7_SINGLE = 160  # septets
GSM7_PART = 153
UCS2_SINGLE = 140  # octets: 70 UTF-16 units
UCS2_PART = 134
MOST_PARTS = 255  # the header's count is one octet


class Sizes(Struct, frozen=True):
    """How much a part of a long message holds: septets of GSM-7, octets of UCS-2 (even) and of Latin-1."""

    gsm7: int = GSM7_PART
    ucs2: int = UCS2_PART
    latin1: int = UCS2_PART


BEHIND_8_BITS = Sizes()
"""Behind a header of six octets, whose reference has 8 bits."""
BEHIND_16_BITS = Sizes(152, 132, 133)
"""Behind a header of seven octets, whose reference has 16 bits."""


def segment(text: str, sizes: Sizes = BEHIND_8_BITS, *, header_octets: int | None = None) -> Split:
    """Split a text into the user data of its segments.

    GSM-7 where every character has a septet, else UCS-2 (also for NUL and for the escape character, which the
    alphabet gives no meaning of their own). An extension character is two septets and, like a surrogate pair, never
    split. With `header_octets` the parts are going to be packed behind headers of that length, and none but the last
    ends so that its last septet could be taken for padding. Raises ValueError for lone surrogates and for texts of
    more than 255 segments.
    """
    if count_extended(text) is None:
        return _ucs2(text, sizes)
    septets = translate_gsm7(text)
    if header_octets is None or len(septets) <= GSM7_SINGLE:
        cuts = _gsm7_cuts(septets, sizes.gsm7)
    else:
        cuts = _packed_cuts(septets, sizes.gsm7, -(-8 * header_octets // 7))
    return Split("gsm7", _bounded([septets[start:end] for start, end in cuts]))


def segment_latin1(text: str, sizes: Sizes = BEHIND_8_BITS) -> Split:
    """Split a text like `segment`, but as Latin-1 where that has all its characters, else as UCS-2."""
    data = encode_latin1(text)
    if data is None:
        return _ucs2(text, sizes)
    size = len(data) if len(data) <= UCS2_SINGLE else sizes.latin1
    return Split("latin1", _bounded([data[start : start + size] for start in range(0, len(data), size or 1)] or [b""]))


def whole(text: str, *, latin1: bool = False) -> Split:
    """Return a text as one part, however long, in the alphabet that `segment` or `segment_latin1` gives it.

    Raises ValueError for lone surrogates and for texts of more than 255 segments.
    """
    split = segment_latin1(text) if latin1 else segment(text)
    return split if split.count == 1 else Split(split.encoding, [b"".join(split.parts)])


def count_segments(text: str) -> tuple[Encoding, int]:
    """Return the encoding and number of segments that `segment` would give, without building them.

    Raises ValueError for lone surrogates; has no upper bound.
    """
    extended = count_extended(text)
    if extended is None:
        data = text.encode("utf-16-be")
        return "ucs2", 1 if len(data) <= UCS2_SINGLE else sum(1 for _ in _ucs2_cuts(data))
    septets = len(text) + extended
    if septets <= GSM7_SINGLE:
        return "gsm7", 1
    if not extended:
        return "gsm7", -(-septets // GSM7_PART)
    return "gsm7", sum(1 for _ in _gsm7_cuts(translate_gsm7(text)))


class Measure(Struct, frozen=True):
    """A text's size: `units` are septets or UTF-16 code units, `left` is what still fits into its last segment.

    An empty text has no segment. `units_per_segment` is less where there are several, since each has a header then.
    """

    encoding: Encoding
    segments: int
    units: int
    units_per_segment: int
    left: int


def measure(text: str) -> Measure:
    """Measure a text as `segment` would split it; raises ValueError for lone surrogates, has no upper bound."""
    if count_extended(text) is None:
        encoding: Encoding = "ucs2"
        data = text.encode("utf-16-be")
        cuts = list(_ucs2_cuts(data))
        octets, single, part = 2, UCS2_SINGLE, UCS2_PART
    else:
        encoding = "gsm7"
        data = translate_gsm7(text)
        cuts = list(_gsm7_cuts(data))
        octets, single, part = 1, GSM7_SINGLE, GSM7_PART
    start, end = cuts[-1]
    room = single if len(cuts) == 1 else part
    segments = len(cuts) if text else 0
    return Measure(encoding, segments, len(data) // octets, room // octets, (room - (end - start)) // octets)


def count_forcing(text: str) -> Counter[str]:
    """Return the characters that GSM-7 lacks, with how often each is there, in the order of the text."""
    return Counter(character for character in text if character not in GSM7_CHARACTERS)


def _ucs2(text: str, sizes: Sizes) -> Split:
    data = text.encode("utf-16-be")
    return Split("ucs2", _bounded([data[start:end] for start, end in _ucs2_cuts(data, sizes.ucs2)]))


def _bounded(parts: list[bytes]) -> list[bytes]:
    if len(parts) > MOST_PARTS:
        raise ValueError(f"a text of {len(parts)} segments is longer than the {MOST_PARTS} that can be concatenated")
    return parts


def _gsm7_cuts(septets: bytes, part: int = GSM7_PART) -> Iterator[tuple[int, int]]:
    """Yield where each part begins and ends; an escape never ends a part, since no second septet is an escape."""
    length = len(septets)
    if length <= GSM7_SINGLE:
        yield 0, length
        return
    start = 0
    while start < length:
        end = start + part
        if end < length and septets[end - 1] == ESCAPE:
            end -= 1
        yield start, min(end, length)
        start = end


def _packed_cuts(septets: bytes, part: int, before: int) -> Iterator[tuple[int, int]]:
    """Yield the cuts of parts that are packed behind `before` septets of header."""
    start, length = 0, len(septets)
    while start < length:
        end = min(start + part, length)
        while end < length and (septets[end - 1] == ESCAPE or pads_alike(before + end - start, septets[end - 1])):
            end -= 1
        yield start, end
        start = end


def _ucs2_cuts(octets: bytes, part: int = UCS2_PART) -> Iterator[tuple[int, int]]:
    """Yield where each part begins and ends; a high surrogate (D800 to DBFF) never ends a part."""
    length = len(octets)
    if length <= UCS2_SINGLE:
        yield 0, length
        return
    start = 0
    while start < length:
        end = start + part
        if end < length and octets[end - 2] & 0xFC == 0xD8:  # noqa: PLR2004 - the six bits that mark one
            end -= 2
        yield start, min(end, length)
        start = end
